//! Which nodes of a network may be used, and what each of them shows of a signer.

use crate::runtime::Runtime;
use crate::state::network::NetworkRun;
use futures_util::future::join_all;
use sdk_plugin::chain::Lane;

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

    /// A signer's next sequence as each node shows it now.
    async fn sequences(&self, run: &NetworkRun, lane: &Lane) -> Vec<u64> {
        let nodes = self.usable_nodes(&run.network).into_iter();
        let reads = nodes.map(|node| self.ops.lane_through(&run.network, lane, node));
        let states = join_all(reads).await.into_iter();
        states
            .filter_map(|state| Some(state.ok()?.next_sequence))
            .collect()
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
}
