//! Checks that the chain that answers is the chain that the journal knows.
//!
//! A development chain that was reset, or a node of another chain with the same id, lacks transactions that are
//! final in the journal. Transactions sent there would go to the wrong chain, and missing ones would count as
//! reorganised. Therefore the network is not ready, and nothing is sent, until the operator has decided.

use crate::health::Checks;
use crate::state::network::NetworkRun;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sdk_plugin::chain::LaneState;
use tokio::time::Instant;

/// What the journal knows of a network's past.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By signer of ordered lanes: one past the highest closed slot. A chain with this history has used at least
    /// this many slots.
    used_below: BTreeMap<String, u64>,
    /// The highest block in which something is final.
    final_height: Option<u64>,
}

/// A node whose head stays below an observed block for this long does not merely lag.
const LONGEST_LAG: Duration = Duration::from_secs(20);

const WHAT_TO_DO: &str = "either the rpc urls lead to another chain or to a node that lags far: correct rpc; or this \
                          development chain was reset: write another data.directory for it";

impl NetworkRun {
    /// Compares what a chain shows with what was known before it was queried. The result says what to do.
    pub(crate) fn history_lost(
        &self,
        known: &Known,
        states: &BTreeMap<String, LaneState>,
        head_height: u64,
    ) -> Option<String> {
        let mut lost = lost(known, states, head_height).or_else(|| self.behind(head_height));
        let is_unseen = known.used_below.keys().any(|signer| !states.contains_key(signer));
        if lost.is_none() && is_unseen && self.is_on_wrong_chain() {
            // A missing answer about a signer does not bring a history back.
            lost = self.network.readiness().err();
        }
        self.health
            .on_wrong_chain
            .store(lost.is_some(), Ordering::Relaxed);
        lost
    }
}

impl NetworkRun {
    /// An error if the head has been below a block with an observed payment for longer than any node lags.
    fn behind(&self, head_height: u64) -> Option<String> {
        let slots = self.slots();
        let decided = slots
            .iter()
            .filter_map(|slot| Some(slot.lock().decision.as_ref()?.on.height));
        let seen = decided.max().filter(|height| head_height < *height);
        let mut since = self.health.lagging_since.lock();
        let Some(height) = seen else {
            *since = None;
            return None;
        };
        let now = Instant::now();
        let began = *since.get_or_insert(now);
        (now.saturating_duration_since(began) >= LONGEST_LAG).then(|| {
            format!(
                "the chain has lost its history: its head is block {head_height}, and a payment was seen in block \
                 {height}; {WHAT_TO_DO}"
            )
        })
    }
}

impl Known {
    /// Whether the journal has more final transactions of a signer than this state shows.
    pub(crate) fn is_used_above(&self, signer: &str, state: &LaneState) -> bool {
        let used = self.used_below.get(signer);
        used.is_some_and(|used| state.next_sequence < *used)
    }
}

fn lost(known: &Known, states: &BTreeMap<String, LaneState>, head_height: u64) -> Option<String> {
    if let Some(height) = known.final_height.filter(|height| head_height < *height) {
        return Some(format!(
            "the chain has lost its history: its head is block {head_height}, and the journal has payments that are final \
             in block {height}; {WHAT_TO_DO}"
        ));
    }
    known.used_below.iter().find_map(|(signer, used)| {
        let state = states.get(signer)?;
        let next = state.next_sequence;
        known.is_used_above(signer, state).then(|| {
            format!(
                "the chain has lost its history: signer {signer} has {next} transactions there, and the journal has {used} \
                 that are final; {WHAT_TO_DO}"
            )
        })
    })
}

impl Checks {
    /// What the journal knows. Must be read before the chain is queried: what is final then must be on the chain
    /// already.
    pub(crate) async fn journaled_history(&self, run: &NetworkRun) -> Known {
        let network = run.network.id();
        let final_height = run
            .health
            .final_height
            .get_or_try_init(|| self.runtime.journal.final_height(network));
        let mut known = Known {
            final_height: final_height.await.ok().copied().flatten(),
            ..Known::default()
        };
        let lanes = run.network.all_lanes();
        for lane in lanes.into_iter().filter(|lane| lane.ordered) {
            if let Ok(Some(used)) = self.runtime.journal.closed_below(network, &lane.signer).await {
                known.used_below.insert(lane.signer, used);
            }
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use sdk_plugin::Amount;

    use super::*;

    fn states(next_sequence: u64) -> BTreeMap<String, LaneState> {
        let state = LaneState {
            next_sequence,
            balance: Amount::ZERO,
            head_height: 0,
        };
        BTreeMap::from([("0xa".to_owned(), state)])
    }

    fn known() -> Known {
        Known {
            used_below: BTreeMap::from([("0xa".to_owned(), 5)]),
            final_height: Some(90),
        }
    }

    #[test]
    fn a_chain_without_the_final_history_is_detected() {
        assert_eq!(lost(&known(), &states(5), 90), None);
        assert_eq!(
            lost(&known(), &BTreeMap::new(), 90),
            None,
            "an unknown state is no proof"
        );
        let reset = lost(&known(), &states(0), 90).unwrap();
        assert!(
            reset.contains("has 0 transactions there") && reset.contains("write another data.directory"),
            "{reset}"
        );
        let short = lost(&known(), &states(5), 89).unwrap();
        assert!(
            short.contains("head is block 89") && short.contains("correct rpc"),
            "{short}"
        );
        assert_eq!(lost(&Known::default(), &states(0), 0), None, "a new journal");
    }
}
