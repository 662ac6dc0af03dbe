//! Queries to other nodes: when the node that reads go to gives no usable answer, or does not show a sent transaction
//! for a while.
//!
//! A node may pass its health check and be useless for the rest: it answers `null` to every count, its head stands
//! still, or it does not forward what it is sent. What one node shows is worth as much as what another shows. Where
//! two nodes must show the same, each is queried separately ([`super::second_source`]).

use crate::decide::faults::is_outage;
use crate::registry::Network;
use crate::runtime::Runtime;
use crate::state::network::NetworkRun;
use crate::state::slot::OpenSlot;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::Fault;
use sdk_plugin::chain::{Lane, LaneState, Observation, Watch};
use tokio::time::{Instant, timeout};

/// Time limit for a node that is queried instead of another one.
const OTHER_WITHIN: Duration = Duration::from_secs(2);
/// A transaction that is in no block is searched for at each node in turn when this time has passed since it was sent
/// or last seen in a block.
const OTHER_NODES_AFTER: Duration = Duration::from_secs(2);

impl Runtime {
    /// A signer's lane, as the node that reads go to shows it; if that node can't, as the first other node that can.
    pub(crate) async fn lane_of_any(&self, network: &Network, lane: &Lane) -> Result<LaneState, Fault> {
        let answer = self.ops.lane(network, lane).await;
        self.or_of_another(network, answer, |node| self.ops.lane_through(network, lane, node))
            .await
    }

    /// Where transactions stand, as the node that reads go to shows it; if that node can't, as the first other node
    /// that can.
    pub(crate) async fn observe_of_any(
        &self,
        network: &Network,
        watches: &[Watch],
    ) -> Result<Vec<Observation>, Fault> {
        let answer = self.ops.observe(network, watches).await;
        self.or_of_another(network, answer, |node| {
            self.ops.observe_through(network, watches, node)
        })
        .await
    }

    async fn or_of_another<T, F>(
        &self,
        network: &Network,
        answer: Result<T, Fault>,
        through: impl Fn(usize) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let is_for_others = |fault: &Fault| is_outage(fault.kind) && network.settings.nodes > 1;
        if !answer.as_ref().is_err_and(is_for_others) {
            return answer;
        }
        for node in self.usable_nodes(network) {
            if let Ok(Ok(other)) = timeout(OTHER_WITHIN, through(node)).await {
                return Ok(other);
            }
        }
        answer
    }

    /// As [`Self::observe_of_any`], but from this node if it can.
    pub(crate) async fn observe_first_by(
        &self,
        run: &NetworkRun,
        watches: &[Watch],
        node: usize,
    ) -> Result<Vec<Observation>, Fault> {
        let network = &run.network;
        let seen = self.ops.observe_through(network, watches, node);
        match timeout(OTHER_WITHIN, seen).await {
            Ok(Ok(seen)) => return Ok(seen),
            Ok(Err(_)) => {}
            // The next check decides whether the node is queried again.
            Err(_) => network.suspect.notify_one(),
        }
        self.observe_of_any(network, watches).await
    }

    /// The slots by the node to query about them; `None`: the node that reads go to. Transactions that no block has
    /// shown for a while are searched for at each node in turn.
    pub(crate) fn by_node(
        &self,
        slots: &[Arc<OpenSlot>],
        network: &Network,
    ) -> BTreeMap<Option<usize>, Vec<Arc<OpenSlot>>> {
        let now = Instant::now();
        let nodes = self.usable_nodes(network);
        let mut by_node: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for slot in slots {
            let node = if nodes.len() < 2 {
                None
            } else {
                slot.lock().next_turn(now, OTHER_NODES_AFTER)
            };
            let node = node.and_then(|turn| nodes.get(turn.checked_rem(nodes.len())?));
            by_node.entry(node.copied()).or_default().push(Arc::clone(slot));
        }
        by_node
    }
}
