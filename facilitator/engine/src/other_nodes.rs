//! Asking other nodes: when the one that reads go to gives no usable answer, or does not show for a while what was sent.
//!
//! A node may answer well what shows whether it is good, and be of no use for the rest: it answers `null` to every count, its head
//! stands still, it keeps what it is sent for itself. Whatever one node shows is worth as much as what another shows: what two must
//! show is asked of each by itself ([`super::second_source`]).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::Fault;
use sdk_plugin::chain::{Lane, LaneState, Observation, Watch};
use tokio::time::{Instant, timeout};

use super::Engine;
use super::network::NetworkRun;
use super::ops::is_outage;
use super::slot::OpenSlot;
use crate::registry::Network;

/// How long one node that is asked in another one's place may take.
const OTHER_WITHIN: Duration = Duration::from_secs(2);
/// From when on after a send, or after it was last seen in a block, a transaction that is in none is looked for at each node in
/// turn.
const LOOK_AROUND_AFTER: Duration = Duration::from_secs(2);

impl Engine {
    /// A signer's lane, as the node shows it that reads go to; where it can't, as the first other one does.
    pub(super) async fn lane_of_any(&self, network: &Network, lane: &Lane) -> Result<LaneState, Fault> {
        let answer = self.ops.lane(network, lane).await;
        self.or_of_another(network, answer, |node| self.ops.lane_through(network, lane, node))
            .await
    }

    /// Where transactions stand, as the node shows it that reads go to; where it can't, as the first other one does.
    pub(super) async fn observe_of_any(
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

    /// As [`Self::observe_of_any`], and by this node if it can.
    pub(super) async fn observe_first_by(
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
            // It shows what it serves, or is not asked again.
            Err(_) => network.suspect.notify_one(),
        }
        self.observe_of_any(network, watches).await
    }

    /// The slots by the node that is to be asked about them; `None`: the one that reads go to. Transactions that no block has shown
    /// for a while are looked for at each node in turn.
    pub(super) fn by_node(
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
                slot.lock().next_turn(now, LOOK_AROUND_AFTER)
            };
            let node = node.and_then(|turn| nodes.get(turn.checked_rem(nodes.len())?));
            by_node.entry(node.copied()).or_default().push(Arc::clone(slot));
        }
        by_node
    }
}
