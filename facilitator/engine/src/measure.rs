//! What the engine knows about its networks now, as data: for metrics and for operators.
//!
//! Everything is read from memory: no call goes to the journal, a plugin or a node. With several nodes of one journal, the numbers
//! are those of this node.

use std::sync::Arc;

use journal::Outcome;
use sdk_plugin::Amount;

use crate::decide::budget::AccountState;
use crate::decide::figure;
use crate::engine::Engine;
use crate::state::network::NetworkRun;
use crate::state::settlement::{Phase, Settlement};

/// One network, as this node sees it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFigures {
    /// CAIP-2.
    pub network: String,
    /// The most that one transaction may cost, native atomic units.
    pub max_cost: Amount,
    /// The highest block that two replies of nodes have named; `None` before that.
    pub block_height: Option<u64>,
    /// Recorded payments without an outcome.
    pub open_payments: usize,
    /// The age of the oldest of them, in seconds.
    pub oldest_pending_s: Option<u64>,
    /// Its reference, for look-ups.
    pub oldest_pending: Option<String>,
    /// Payments that wait for a slot, and have no recorded transaction yet.
    pub queued: usize,
    /// Slots with a recorded transaction that is not final yet.
    pub open_slots: usize,
    /// Every signer that may still sign, the active ones first.
    pub signers: Vec<SignerFigures>,
    /// Its schemes, each once.
    pub schemes: Vec<SchemeFigures>,
    /// The budgets of the day (UTC) that are configured.
    pub budgets: Vec<BudgetFigures>,
}

/// One signer of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerFigures {
    pub address: String,
    /// Native atomic units, as of the last check; `None`: not known yet.
    pub balance: Option<Amount>,
    /// It is among the configured `signers`, not among `retained_signers`.
    pub is_active: bool,
    /// An operator has drained it.
    pub is_drained: bool,
    /// Payments that wait for it.
    pub queued: usize,
    /// Its transactions that have not landed.
    pub in_flight: usize,
}

/// A scheme of a network that serves or would serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeFigures {
    pub scheme: String,
    pub is_paused: bool,
}

/// A budget of the day (UTC), in native atomic units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetFigures {
    /// `network`, `signer` or `tenant`.
    pub budget: &'static str,
    /// The signer's address or the tenant's name; empty for the whole network.
    pub of: String,
    pub limit: Amount,
    /// What recorded transactions can cost at most. With several nodes of one journal: those of this node.
    pub spent: Amount,
}

impl BudgetFigures {
    /// What is left of it today.
    #[must_use]
    pub fn left(&self) -> Amount {
        Amount(self.limit.0.saturating_sub(self.spent.0))
    }
}

impl Engine {
    /// Every configured network, in the order of their ids.
    #[must_use]
    pub fn figures(&self) -> Vec<NetworkFigures> {
        let runs = self.runtime.networks.values();
        runs.map(|run| self.figures_of(run)).collect()
    }

    fn figures_of(&self, run: &NetworkRun) -> NetworkFigures {
        let (network, now_ms) = (&run.network, self.runtime.clock.now_ms());
        let mut open = self.runtime.claims.holders_on(network.id());
        open.retain(is_pending);
        let oldest = open.iter().min_by_key(|settlement| {
            let state = settlement.lock();
            (state.row.opened_at_ms, state.row.id)
        });
        let oldest = oldest.map(|settlement| {
            let state = settlement.lock();
            (state.row.opened_at_ms, state.row.reference.clone())
        });
        let signers = signers_of(run);
        let active = signers.iter().filter(|signer| signer.is_active);
        NetworkFigures {
            network: network.id().to_owned(),
            max_cost: network.settings.max_cost,
            block_height: Some(run.head()).filter(|height| *height > 0),
            open_payments: open.len(),
            oldest_pending_s: oldest
                .as_ref()
                .map(|(opened_at_ms, _)| now_ms.saturating_sub(*opened_at_ms) / 1_000),
            oldest_pending: oldest.map(|(_, reference)| reference),
            queued: active.map(|signer| signer.queued).sum(),
            open_slots: run.slots().len(),
            budgets: run
                .budget
                .states(now_ms, &network.active_signers())
                .into_iter()
                .map(budget)
                .collect(),
            schemes: self.schemes_on(network.id()),
            signers,
        }
    }

    fn schemes_on(&self, network: &str) -> Vec<SchemeFigures> {
        let paused = self.runtime.paused();
        let mut schemes: Vec<SchemeFigures> = Vec::new();
        let kinds = self.runtime.registry.kinds();
        for kind in kinds.filter(|kind| kind.network.id() == network) {
            if schemes.iter().all(|known| known.scheme != kind.scheme) {
                schemes.push(SchemeFigures {
                    scheme: kind.scheme.clone(),
                    is_paused: paused.stops(network, &kind.scheme),
                });
            }
        }
        schemes
    }

    /// Writes the metrics that are read from the engine's state: call it every few seconds.
    pub fn measure(&self) {
        self.runtime.ops.measure_hanging(&self.runtime.registry);
        for figures in self.figures() {
            self.write(&figures);
        }
    }

    fn write(&self, figures: &NetworkFigures) {
        let metrics = &self.runtime.metrics;
        let network = ("network", figures.network.as_str());
        let counts = [
            ("switchyard_open_slots", figures.open_slots),
            ("switchyard_open_payments", figures.open_payments),
            ("switchyard_queued_payments", figures.queued),
        ];
        for (name, count) in counts {
            metrics.set(name, &[network], figure::of_count(count));
        }
        metrics.set(
            "switchyard_oldest_pending_payment_seconds",
            &[network],
            figure::of_large(figures.oldest_pending_s.unwrap_or(0)),
        );
        if let Some(height) = figures.block_height {
            metrics.set("switchyard_block_height", &[network], figure::of_large(height));
        }
        for signer in figures.signers.iter().filter(|signer| signer.is_active) {
            // From zero: the first transaction of a signer is an increase.
            metrics.add(figure::FEES, &[network, ("signer", &signer.address)], 0);
        }
        for budget in &figures.budgets {
            let kind = ("budget", budget.budget);
            let labels: &[_] = match budget.budget {
                "network" => &[network, kind],
                who => &[network, kind, (who, budget.of.as_str())],
            };
            let (limit, left) = (figure::of_amount(budget.limit), figure::of_amount(budget.left()));
            metrics.set("switchyard_budget_limit", labels, limit);
            metrics.set("switchyard_budget_left", labels, left);
        }
    }
}

fn signers_of(run: &NetworkRun) -> Vec<SignerFigures> {
    let (active, drained) = (run.network.active_signers(), run.network.drained());
    let lanes = run.network.all_lanes().into_iter();
    let figures = lanes.map(|lane| SignerFigures {
        balance: run.balance_of(&lane.signer),
        is_active: active.contains(&lane.signer),
        is_drained: drained.contains(&lane.signer),
        queued: run.lane(&lane.signer).map_or(0, |lane| lane.waiting()),
        in_flight: run.in_flight(&lane.signer),
        address: lane.signer,
    });
    figures.collect()
}

fn is_pending(settlement: &Arc<Settlement>) -> bool {
    let state = settlement.lock();
    state.phase == Phase::Committed && state.row.outcome == Outcome::Open
}

fn budget(state: AccountState) -> BudgetFigures {
    let AccountState {
        account,
        limit,
        spent,
    } = state;
    BudgetFigures {
        budget: account.kind(),
        of: account.holder().to_owned(),
        limit,
        spent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::budget::Spender;
    use crate::tests::releases::{Disk, NETWORK, engine, row_of};

    fn open(engine: &Engine, id: u64, opened_at_ms: u64, outcome: Outcome) {
        let mut row = row_of(engine, id);
        row.claim = format!("claim-{id}");
        row.reference = format!("reference-{id}");
        row.opened_at_ms = opened_at_ms;
        row.outcome = outcome;
        let network = Arc::clone(&engine.runtime.networks[NETWORK].network);
        let settlement = Arc::new(Settlement::new(row, Phase::Committed, network, None, None));
        assert!(engine.runtime.claims.hold_claim(&settlement));
    }

    fn reversed() -> Outcome {
        Outcome::Reversed {
            refusal: None,
            tx_id: String::new(),
            proof: String::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_payment_without_an_outcome_and_the_head_are_shown() {
        let engine = engine(Disk::new());
        let before = engine.figures().remove(0);
        assert_eq!((before.open_payments, before.oldest_pending_s), (0, None));
        assert_eq!(before.block_height, None, "no node has named one");
        let now_ms = engine.runtime.clock.now_ms();
        open(&engine, 7, now_ms, Outcome::Open);
        open(&engine, 8, now_ms + 2_000, Outcome::Open);
        open(&engine, 9, 0, reversed());
        for height in [41, 41] {
            engine.runtime.networks[NETWORK].record_head(height);
        }
        tokio::time::advance(std::time::Duration::from_secs(90)).await;
        let figures = engine.figures().remove(0);
        assert_eq!(figures.network, NETWORK);
        assert_eq!((figures.open_payments, figures.oldest_pending_s), (2, Some(90)));
        assert_eq!(figures.oldest_pending.as_deref(), Some("reference-7"));
        assert_eq!(figures.block_height, Some(41));
        engine.measure();
        let shown = engine.runtime.metrics.render();
        for line in [
            "\nswitchyard_oldest_pending_payment_seconds{network=\"eip155:1\"} 90\n",
            "\nswitchyard_open_payments{network=\"eip155:1\"} 2\n",
            "\nswitchyard_queued_payments{network=\"eip155:1\"} 0\n",
            "\nswitchyard_block_height{network=\"eip155:1\"} 41\n",
        ] {
            assert!(shown.contains(line), "{line} in {shown}");
        }
    }

    #[test]
    fn what_is_left_of_a_budget_is_never_negative() {
        let settings = crate::registry::NetworkSettings {
            max_cost_per_day: Some(Amount::from(10_u64)),
            max_cost_per_day_per_signer: Some(Amount::from(6_u64)),
            tenant_max_cost_per_day: std::iter::once(("shop".to_owned(), Amount::from(4_u64))).collect(),
            ..crate::decide::plan_check_tests::settings()
        };
        let of_day = crate::decide::budget::Budget::new(&settings, false);
        let shop = || Spender::new("0xa", [Some("shop".to_owned())]);
        of_day.charge(5, Amount::from(5_u64), &shop());
        let shown = |now_ms| {
            let states = of_day.states(now_ms, &["0xa".to_owned(), "0xb".to_owned()]);
            let shown = states.into_iter().map(budget);
            shown
                .map(|one| format!("{} {} {} {}", one.budget, one.of, one.limit, one.left()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            shown(6),
            [
                "network  10 5",
                "signer 0xa 6 1",
                "signer 0xb 6 6",
                "tenant shop 4 0"
            ]
        );
        let states = of_day.states(6, &["0xa".to_owned()]);
        let mut of_signer = states.into_iter().map(budget).filter(|one| one.of == "0xa");
        assert_eq!(of_signer.next().unwrap().spent, Amount::from(5_u64));
        let tomorrow = 86_400_000;
        assert_eq!(
            shown(tomorrow),
            [
                "network  10 10",
                "signer 0xa 6 6",
                "signer 0xb 6 6",
                "tenant shop 4 4"
            ]
        );
    }
}
