//! Payments that one node's word is not enough for: nothing of theirs is decided before two nodes, each asked by
//! itself, show the same transaction in the same block with the same logs.
//!
//! Assumed: two of the configured nodes do not lie in the same way. A payment of this kind stays pending while fewer
//! than two nodes answer, and while no two of them agree.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sdk_plugin::chain::{Anchor, ForeignTx, Observation, Shown, Watch};
use tokio::time::Instant;

use super::Engine;
use super::network::NetworkRun;
use super::observer::watches_of;
use super::slot::OpenSlot;
use super::verdict::{Look, Verdict, View, verdict};
use crate::registry::Network;

/// After this long without a second node that answers, one node decides where two should, with an alarm.
pub(super) const ONE_NODE_DECIDES_AFTER: Duration = Duration::from_secs(600);

impl OpenSlot {
    /// Whether the time since one node answered alone is long enough; the first call starts it.
    pub(super) fn may_one_node_decide(&self) -> bool {
        let since = *self.lock().one_node_since.get_or_insert_with(Instant::now);
        Instant::now().saturating_duration_since(since) >= ONE_NODE_DECIDES_AFTER
    }

    /// Whether any payment in it needs two nodes.
    pub(super) fn wants_second_source(&self) -> bool {
        self.covers
            .iter()
            .any(|(settlement, _)| settlement.lock().row.second_source)
    }
}

impl Engine {
    /// What two nodes agree on; `None`: not yet. `first` is what the poll showed that raised the question.
    pub(super) async fn agreed(&self, run: &NetworkRun, slot: &Arc<OpenSlot>, first: View) -> Option<View> {
        let watches = watches_of(slot, &run.network.settings, run.head());
        let settings = &run.network.settings;
        let answers = self.through_each(&run.network, &watches).await;
        let answered = answers.len();
        let views = answers.into_iter().filter_map(|seen| {
            let state = slot.lock();
            if state.closed || seen.len() != state.attempts.len() {
                return None;
            }
            let verdict = verdict(&Look {
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
            slot.lock().one_node_since = None;
            return found;
        }
        let first_time = !std::mem::replace(&mut slot.lock().disagreed, true);
        if first_time {
            tracing::warn!(network = run.network.id(), signer = %slot.lane.signer, sequence = slot.sequence,
                "one node shows an outcome that two must show (a failure, or a payment above second_source_above), and no second one \
                 does: it stays pending");
        }
        let labels = [("network", run.network.id())];
        self.metrics
            .add("switchyard_second_source_waits_total", &labels, 1);
        if answered >= 2 || settings.nodes < 2 {
            // Two nodes that answer and do not agree never become one that decides.
            slot.lock().one_node_since = None;
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
    pub(super) async fn anchors_of_each(&self, run: &NetworkRun, slot: &OpenSlot) -> Vec<Anchor> {
        let mut watches = watches_of(slot, &run.network.settings, run.head());
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
    pub(super) async fn agreed_watch(&self, network: &Network, watch: Watch) -> Option<Observation> {
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
        let asked = nodes.map(|node| self.ops.observe_through(network, watches, node));
        let answers = join_all(asked).await;
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

/// The first of the earliest two that agree.
fn two_alike<T>(all: impl Iterator<Item = T>, agree: impl Fn(&T, &T) -> bool) -> Option<T> {
    let mut before: Vec<T> = Vec::new();
    for one in all {
        if let Some(found) = before.iter().position(|other| agree(other, &one)) {
            return Some(before.swap_remove(found));
        }
        before.push(one);
    }
    None
}

/// Whether two nodes tell the same of what matters. Depths, heads and the wording of failures may differ.
fn agree(one: &View, other: &View) -> bool {
    let same_end = match (&one.shown, &other.shown) {
        (Shown::Landed { .. }, Shown::Landed { .. }) | (Shown::Reverted { .. }, Shown::Reverted { .. }) => {
            one.decided == other.decided
        }
        // A proof is in each node's own words.
        (Shown::Dead { .. }, Shown::Dead { .. }) => {
            one.decided.attempt == other.decided.attempt && one.decided.foreign == other.decided.foreign
        }
        (Shown::Landed { .. } | Shown::Reverted { .. } | Shown::Dead { .. }, _) => false,
    };
    let (a, b) = (&one.observation, &other.observation);
    same_end
        && a.attempt_id == b.attempt_id
        && a.logs == b.logs
        && a.deltas == b.deltas
        && a.reads == b.reads
        && one.guards == other.guards
        && same_foreign(&one.foreign, &other.foreign)
}

/// The same transactions of others; their depths may differ.
fn same_foreign(one: &[ForeignTx], other: &[ForeignTx]) -> bool {
    let proofs = |all: &[ForeignTx]| {
        let mut proofs: Vec<ForeignTx> = all
            .iter()
            .map(|tx| ForeignTx {
                depth: 0,
                ..tx.clone()
            })
            .collect();
        proofs.sort_by(|a, b| a.tx_id.cmp(&b.tx_id));
        proofs
    };
    proofs(one) == proofs(other)
}

#[cfg(test)]
mod tests {
    use sdk_plugin::HexBytes;
    use sdk_plugin::chain::{LogEntry, ReadResult, TxState};

    use super::*;
    use crate::slot::Decided;
    use crate::verdict::Source;
    use journal::GroundAt;

    fn log(data: u8) -> LogEntry {
        LogEntry {
            id: "tx:0".into(),
            emitter: "token".into(),
            topics: Vec::new(),
            data: HexBytes(vec![data]),
        }
    }

    fn foreign(tx_id: &str, height: u64, depth: u64) -> ForeignTx {
        ForeignTx {
            tx_id: tx_id.into(),
            height,
            block: format!("b{height}"),
            earlier: false,
            in_slot: false,
            depth,
            logs: vec![log(1)],
        }
    }

    fn landed(block: &str) -> View {
        let state = TxState::Landed {
            height: 5,
            block: block.into(),
            depth: 3,
        };
        View {
            observation: Observation {
                logs: vec![log(1)],
                ..Observation::of("1", state, 7)
            },
            shown: Shown::Landed { height: 5 },
            decided: Decided {
                attempt: 1,
                at: GroundAt::Block(block.into()),
                height: 5,
                foreign: None,
            },
            guards: Vec::new(),
            source: Source::Receipt,
            foreign: Vec::new(),
        }
    }

    fn dead(why: &str, by: &str, found: Vec<ForeignTx>) -> View {
        let mut view = landed(by);
        view.shown = Shown::Dead { why: why.into() };
        view.observation.logs.clear();
        view.decided.at = GroundAt::Dead(by.into());
        view.foreign = found;
        view
    }

    #[test]
    fn t14_nodes_agree_on_the_block_and_the_logs_not_on_depths_and_words() {
        let alike = agree;
        let one = landed("0xb");
        let mut higher = landed("0xb");
        higher.observation.head_height = 9;
        higher.observation.state = TxState::Landed {
            height: 5,
            block: "0xb".into(),
            depth: 5,
        };
        assert!(alike(&one, &higher));
        assert!(!alike(&one, &landed("0xfork")));
        let mut other_log = landed("0xb");
        other_log.observation.logs = vec![log(2)];
        assert!(!alike(&one, &other_log));
        let mut other_read = landed("0xb");
        other_read.observation.reads = vec![ReadResult {
            name: "r".into(),
            data: None,
        }];
        assert!(!alike(&one, &other_read));
        let reverted = |message: &str| View {
            shown: Shown::Reverted {
                height: 5,
                message: Some(message.into()),
            },
            ..landed("0xb")
        };
        assert!(alike(
            &reverted("paused"),
            &reverted("execution reverted: paused")
        ));
        assert!(!alike(&one, &reverted("paused")));
        assert!(!alike(&one, &dead("expired", "0xb", vec![])));
        assert!(alike(
            &dead("one's words", "gone:a", vec![]),
            &dead("other words", "gone:b", vec![])
        ));
    }

    #[test]
    fn t14_payments_of_others_need_two_nodes_as_well() {
        let alike =
            |one: Vec<ForeignTx>, other: Vec<ForeignTx>| agree(&dead("d", "g", one), &dead("d", "g", other));
        let (a, b) = (foreign("a", 5, 1), foreign("b", 6, 1));
        assert!(alike(
            vec![a.clone(), b.clone()],
            vec![b.clone(), foreign("a", 5, 2)]
        ));
        assert!(!alike(vec![a.clone()], vec![]), "one node made it up");
        assert!(
            !alike(vec![a.clone()], vec![foreign("a", 6, 1)]),
            "in another block"
        );
    }

    #[test]
    fn t14_two_of_three_are_enough_and_two_that_differ_are_not() {
        let same = |a: &u32, b: &u32| a == b;
        assert_eq!(two_alike([9, 5, 5].into_iter(), same), Some(5));
        assert_eq!(two_alike([9, 5].into_iter(), same), None);
        assert_eq!(two_alike([9].into_iter(), same), None);
        assert_eq!(two_alike(std::iter::empty(), same), None);
    }
}
