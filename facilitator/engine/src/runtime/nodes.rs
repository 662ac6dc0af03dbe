//! Which nodes of a network may be used, and what each of them shows of a signer.

use crate::runtime::Runtime;
use crate::state::network::NetworkRun;
use futures_util::future::join_all;
use sdk_plugin::chain::{Lane, LaneState};

impl Runtime {
    /// Whether most of the nodes that answer show more transactions of a signer than this; `None` while only a
    /// minority shows more.
    pub(crate) async fn most_show_more_than(
        &self,
        run: &NetworkRun,
        lane: &Lane,
        sequence: u64,
    ) -> Option<bool> {
        let shown = self.sequences(run, lane).await;
        let most = reached_by_most(&shown)?;
        let any = shown.iter().any(|next| *next > sequence);
        (most > sequence || !any).then_some(most > sequence)
    }

    /// The next sequence that most of the nodes that answer have reached.
    pub(crate) async fn shown_by_most(&self, run: &NetworkRun, lane: &Lane) -> Option<u64> {
        reached_by_most(&self.sequences(run, lane).await)
    }

    /// A signer's state, of which at least half of the nodes that answer show as much; `None` if none answers. What one of two
    /// nodes shows too low does not count.
    pub(crate) async fn lane_of_half(&self, run: &NetworkRun, lane: &Lane) -> Option<LaneState> {
        let shown = self.lane_of_each(run, lane).await;
        let sequences = shown.iter().map(|state| state.next_sequence).collect();
        let balances = shown.iter().map(|state| state.balance).collect();
        Some(LaneState {
            next_sequence: reached_by_half(sequences)?,
            balance: reached_by_half(balances)?,
            head_height: shown.iter().map(|state| state.head_height).min()?,
        })
    }

    /// A signer's next sequence as each node shows it now.
    async fn sequences(&self, run: &NetworkRun, lane: &Lane) -> Vec<u64> {
        let shown = self.lane_of_each(run, lane).await;
        shown.iter().map(|state| state.next_sequence).collect()
    }

    async fn lane_of_each(&self, run: &NetworkRun, lane: &Lane) -> Vec<LaneState> {
        let nodes = self.usable_nodes(&run.network).into_iter();
        let reads = nodes.map(|node| self.ops.lane_through(&run.network, lane, node));
        join_all(reads).await.into_iter().filter_map(Result::ok).collect()
    }

    /// Indices of the nodes that may be queried.
    pub(crate) fn usable_nodes(&self, network: &crate::registry::Network) -> Vec<usize> {
        let is_usable = |node: &usize| {
            self.ops
                .pools()
                .is_none_or(|pools| pools.is_usable(network.id(), *node))
        };
        (0..network.settings.nodes).filter(is_usable).collect()
    }
}

/// The highest number that more than half of these reach; `None` without any.
fn reached_by_most(shown: &[u64]) -> Option<u64> {
    let mut shown = shown.to_vec();
    shown.sort_unstable_by(|one, other| other.cmp(one));
    shown.get(shown.len() / 2).copied()
}

/// The highest value that at least half of these reach; `None` without any.
fn reached_by_half<T: Ord + Copy>(mut shown: Vec<T>) -> Option<T> {
    shown.sort_unstable_by(|one, other| other.cmp(one));
    let last = shown.len().checked_sub(1)?;
    shown.get(last / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_of_several_does_not_decide_a_signers_sequence() {
        for (shown, most) in [
            (vec![], None),
            (vec![7], Some(7)),
            (vec![47, 7], Some(7)),
            (vec![0, 7], Some(0)),
            (vec![47, 7, 7], Some(7)),
            (vec![0, 7, 7], Some(7)),
            (vec![6, 7, 8, 9], Some(7)),
        ] {
            assert_eq!(reached_by_most(&shown), most, "{shown:?}");
        }
    }

    #[test]
    fn what_less_than_half_of_the_nodes_show_too_low_does_not_count() {
        for (shown, half) in [
            (vec![], None),
            (vec![7], Some(7)),
            (vec![0, 7], Some(7)),
            (vec![0, 7, 7], Some(7)),
            (vec![0, 0, 7], Some(0)),
            (vec![6, 7, 8, 9], Some(8)),
        ] {
            assert_eq!(reached_by_half(shown.clone()), half, "{shown:?}");
        }
    }
}
