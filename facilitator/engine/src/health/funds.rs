//! Checks that the signers can pay. A signer whose balance is below `max_cost` takes no new payments while another
//! signer can pay. A network on which no signer can pay is not ready.

use crate::decide::figure;
use crate::health::Checks;
use crate::state::network::NetworkRun;
use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::Amount;
use sdk_plugin::chain::LaneState;

/// What follows from the signers' balances.
#[derive(Debug, PartialEq, Eq)]
enum Funds {
    /// The signers in `unfunded` can't pay, and another one can.
    Enough { unfunded: BTreeSet<String> },
    /// No signer can pay.
    None,
}

/// `signers` are the active ones. An unknown balance counts as enough.
fn judge(signers: &[String], states: &BTreeMap<String, LaneState>, max_cost: Amount) -> Funds {
    let is_unfunded = |signer: &&String| states.get(*signer).is_some_and(|state| state.balance < max_cost);
    let unfunded: BTreeSet<String> = signers.iter().filter(is_unfunded).cloned().collect();
    if !signers.is_empty() && unfunded.len() == signers.len() {
        Funds::None
    } else {
        Funds::Enough { unfunded }
    }
}

impl Checks {
    /// Records the balances. The result says why the network can't be used.
    pub(crate) fn watch_funds(
        &self,
        run: &NetworkRun,
        states: &BTreeMap<String, LaneState>,
    ) -> Option<String> {
        let balances = states
            .iter()
            .map(|(signer, state)| (signer.clone(), state.balance));
        run.balances.lock().extend(balances);
        let network = &run.network;
        let max_cost = network.settings.max_cost;
        let signers = network.active_signers();
        for (signer, state) in states {
            let labels = [("network", network.id()), ("signer", signer.as_str())];
            self.runtime.metrics.set(
                "switchyard_signer_balance",
                &labels,
                figure::of_amount(state.balance),
            );
            let is_low = signers.contains(signer) && state.balance < max_cost;
            self.runtime.metrics.set(
                "switchyard_signer_cannot_pay",
                &labels,
                if is_low { 1.0 } else { 0.0 },
            );
        }
        match judge(&signers, states, max_cost) {
            Funds::Enough { unfunded } => {
                let usable: BTreeSet<String> = network.lanes().into_iter().map(|lane| lane.signer).collect();
                for signer in unfunded.iter().filter(|signer| usable.contains(*signer)) {
                    let balance = states.get(signer).map(|state| state.balance).unwrap_or_default();
                    tracing::error!(network = network.id(), %signer, %balance, %max_cost,
                        "the signer's balance is below max_cost and it takes no new payments: send it native currency");
                }
                for signer in signers
                    .iter()
                    .filter(|signer| !usable.contains(*signer) && !unfunded.contains(*signer))
                {
                    tracing::info!(network = network.id(), %signer, "this signer can pay again");
                }
                network.set_unfunded(unfunded);
                None
            }
            Funds::None => {
                let have: Vec<String> = signers
                    .iter()
                    .filter_map(|signer| Some(format!("{signer} has {}", states.get(signer)?.balance)))
                    .collect();
                Some(format!(
                    "no signer can pay for a transaction of max_cost ({max_cost}): {}; send one of them native currency",
                    have.join(", ")
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(balances: &[(&str, u64)]) -> BTreeMap<String, LaneState> {
        let state = |balance: u64| LaneState {
            next_sequence: 0,
            balance: Amount::from(balance),
            head_height: 0,
        };
        balances
            .iter()
            .map(|(signer, balance)| ((*signer).to_owned(), state(*balance)))
            .collect()
    }

    #[test]
    fn an_unfunded_signer_is_tolerated_while_another_can_pay() {
        let signers = ["a".to_owned(), "b".to_owned()];
        let enough = |unfunded: &[&str]| Funds::Enough {
            unfunded: unfunded.iter().map(|name| (*name).to_owned()).collect(),
        };
        let judged = |balances: &[(&str, u64)]| judge(&signers, &with(balances), Amount::from(10u64));
        assert_eq!(judged(&[("a", 10), ("b", 11)]), enough(&[]));
        assert_eq!(judged(&[("a", 9), ("b", 10)]), enough(&["a"]));
        assert_eq!(judged(&[("a", 9), ("b", 0)]), Funds::None);
        assert_eq!(judged(&[("a", 9)]), enough(&["a"]), "b's balance is not known");
        assert_eq!(judge(&[], &with(&[]), Amount::ZERO), enough(&[]));
    }
}
