//! Payments for which one node's reply is not enough. They are decided only when two nodes, each queried separately,
//! show the same transaction in the same block with the same logs.
//!
//! Assumed: two of the configured nodes do not lie in the same way. A payment of this kind stays pending while fewer
//! than two nodes answer, and while no two of them agree.

use crate::registry::Network;
use crate::runtime::Runtime;
use crate::state::network::NetworkRun;
use crate::state::slot::{ONE_NODE_DECIDES_AFTER, OpenSlot};
use crate::verdict::agreement::{agree, same_foreign, two_alike};
use crate::verdict::watches::watches_of;
use crate::verdict::{Verdict, VerdictInput, View, verdict};
use std::sync::Arc;

use futures_util::future::join_all;
use sdk_plugin::chain::{Anchor, Observation, Watch};

impl Runtime {
    /// What two nodes agree on; `None`: not yet. `first` is what the poll showed that needs the agreement.
    pub(crate) async fn agreed(&self, run: &NetworkRun, slot: &Arc<OpenSlot>, first: View) -> Option<View> {
        let watches = watches_of(slot, &run.network.settings, run.head(), None);
        let settings = &run.network.settings;
        let answers = self.through_each(&run.network, &watches).await;
        let answered = answers.len();
        let views = answers.into_iter().filter_map(|seen| {
            let state = slot.lock();
            if state.closed || seen.len() != state.attempts.len() {
                return None;
            }
            let verdict = verdict(&VerdictInput {
                slot,
                state: &state,
                seen: &seen,
                settings,
                now_s: self.clock.now_s(),
            });
            match verdict {
                Verdict::Judge(view) => Some(*view),
                _ => None,
            }
        });
        let found = two_alike(views, agree);
        if found.is_some() {
            slot.lock().second_node.record_present();
            return found;
        }
        if slot.lock().second_node.is_news() {
            tracing::warn!(network = run.network.id(), signer = %slot.lane.signer, sequence = slot.sequence,
                "one node shows an outcome that two must show (a failure, or a payment above second_source_above), and no second one \
                 does: it stays pending");
        }
        let labels = [("network", run.network.id())];
        self.metrics
            .add("switchyard_second_source_waits_total", &labels, 1);
        if answered >= 2 || settings.nodes < 2 {
            // As long as two nodes answer and disagree, no single node decides.
            slot.lock().second_node.record_present();
            return None;
        }
        if !slot.may_one_node_decide() || answered == 0 {
            return None;
        }
        tracing::error!(network = run.network.id(), signer = %slot.lane.signer, sequence = slot.sequence,
            "one_node_decided: what two RPC nodes must show (a failure, or a payment above second_source_above) has waited {} \
             minutes for the second one; the other one's answer counts now. Bring the node back",
            ONE_NODE_DECIDES_AFTER.as_secs() / 60);
        Some(first)
    }

    /// The slot's sequence and guards as each node shows them now; nodes that do not answer are left out.
    pub(crate) async fn anchors_of_each(&self, run: &NetworkRun, slot: &OpenSlot) -> Vec<Anchor> {
        let mut watches = watches_of(slot, &run.network.settings, run.head(), None);
        let Some(mut newest) = watches.pop() else {
            return Vec::new();
        };
        newest.block = None;
        newest.search_foreign = false;
        newest.read_guards = true;
        let answers = self.through_each(&run.network, &[newest]).await;
        answers
            .into_iter()
            .filter_map(|seen| seen.into_iter().next()?.anchor)
            .collect()
    }

    /// What two nodes agree on for a watch outside any slot.
    pub(crate) async fn agreed_watch(&self, network: &Network, watch: Watch) -> Option<Observation> {
        let seen = self.through_each(network, &[watch]).await.into_iter();
        let seen = seen.filter_map(|seen| seen.into_iter().next());
        two_alike(seen, |one, other| {
            let guards = |seen: &Observation| seen.anchor.as_ref().map(|anchor| anchor.guards.clone());
            std::mem::discriminant(&one.state) == std::mem::discriminant(&other.state)
                && one.logs == other.logs
                && guards(one) == guards(other)
                && one.block.map(|block| std::mem::discriminant(&block))
                    == other.block.map(|block| std::mem::discriminant(&block))
                && same_foreign(&one.foreign, &other.foreign)
        })
    }

    /// What each node shows for itself, in the watches' order; nodes that do not answer are left out.
    async fn through_each(&self, network: &Network, watches: &[Watch]) -> Vec<Vec<Observation>> {
        let nodes = self.usable_nodes(network).into_iter();
        let polls = nodes.map(|node| self.ops.observe_through(network, watches, node));
        let answers = join_all(polls).await;
        answers
            .into_iter()
            .filter_map(Result::ok)
            .filter(|seen| {
                let ids = seen.iter().map(|seen| &seen.attempt_id);
                ids.eq(watches.iter().map(|watch| &watch.attempt_id))
            })
            .collect()
    }
}
