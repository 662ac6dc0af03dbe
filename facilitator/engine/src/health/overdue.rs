//! Payments that are pending although nothing can change them any more: their authorizations have ended, and as
//! many blocks as make a chain final have passed since. Something hides their outcome, and a person must find out
//! what.

use crate::health::Checks;
use crate::state::network::NetworkRun;
use crate::state::settlement::{Phase, Settlement};
use sdk_plugin::StepIndex;
use std::sync::Arc;

use journal::{Outcome, StepState};

/// The alarm of a network with such payments starts with this.
const OVERDUE: &str = "payments are overdue: ";
/// Steps without an expiry of their own count as ended this many seconds after the settlement was opened.
const WITHOUT_END_S: u64 = 3_600;

impl Checks {
    /// Finds the overdue payments of a network. Must be called with every check.
    pub(crate) fn watch_overdue(&self, run: &NetworkRun) {
        let (head, now_s) = (run.head(), self.runtime.clock.now_s());
        let finality = run.network.settings.finality;
        let mut overdue: Vec<Arc<Settlement>> = self.runtime.claims.holders_on(run.network.id());
        overdue.retain(|settlement| is_overdue(settlement, now_s, head, finality));
        let count = u32::try_from(overdue.len()).unwrap_or(u32::MAX);
        self.runtime.metrics.set(
            "switchyard_overdue_settlements",
            &[("network", run.network.id())],
            f64::from(count),
        );
        let oldest = overdue.iter().min_by_key(|settlement| settlement.id);
        let sentence = oldest.map(|oldest| {
            let tx_id = oldest.lock().row.tx_id.clone().unwrap_or_default();
            format!(
                "{OVERDUE}{count} pending although their authorizations have ended and {finality} blocks have passed since; \
                 the oldest is settlement {}, transaction {tx_id}. The log names it and what is missing; check that the \
                 network's RPC nodes serve receipts and logs of its blocks",
                oldest.id
            )
        });
        match &sentence {
            Some(sentence) => {
                if run.health.is_news(OVERDUE) {
                    tracing::error!(network = run.network.id(), "{sentence}");
                }
            }
            None => run.health.forget(OVERDUE),
        }
        *run.health.overdue.lock() = sentence;
    }
}

/// Whether a payment is still undecided `finality` blocks after its end. Records the head at which it ended.
fn is_overdue(settlement: &Settlement, now_s: u64, head: u64, finality: u64) -> bool {
    let plan = settlement.plan().cloned();
    let mut state = settlement.lock();
    let is_open = state.phase == Phase::Committed && state.row.outcome == Outcome::Open;
    let ends_s = |step: StepIndex| {
        let planned = plan.as_ref().and_then(|plan| step.of(&plan.steps));
        let fallback_s = (state.row.opened_at_ms / 1_000).saturating_add(WITHOUT_END_S);
        planned.and_then(|step| step.expires_at_s).unwrap_or(fallback_s)
    };
    let steps = StepIndex::each(&state.row.steps);
    let undecided = steps.filter(|(_, row)| match row.state {
        StepState::Waiting | StepState::InSlot { .. } | StepState::Unexplained { .. } => true,
        StepState::Done { .. } | StepState::Failed { .. } | StepState::Skipped => false,
    });
    let ended = undecided
        .map(|(step, _)| ends_s(step))
        .max()
        .is_some_and(|end_s| now_s > end_s);
    // Without a known head, no blocks can be counted.
    if !is_open || !ended || head == 0 {
        state.ended_at_head = None;
        return false;
    }
    let since = *state.ended_at_head.get_or_insert(head);
    head > since.saturating_add(finality)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Engine;
    use crate::tests::releases::{Disk, NETWORK, engine, row_of};
    use journal::StepRow;

    fn pending(engine: &Engine) -> Settlement {
        let mut row = row_of(engine, 7);
        row.steps = vec![StepRow {
            state: StepState::Waiting,
            pays: true,
            is_final: false,
            ground: None,
        }];
        let network = Arc::clone(&engine.runtime.networks[NETWORK].network);
        Settlement::new(row, Phase::Committed, network, None, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_payment_is_overdue_when_its_end_is_final_by_the_chains_own_time() {
        let engine = engine(Disk::new());
        let settlement = pending(&engine);
        assert!(
            !is_overdue(&settlement, WITHOUT_END_S, 100, 10),
            "it has not ended"
        );
        let late = WITHOUT_END_S + 1;
        assert!(!is_overdue(&settlement, late, 0, 10), "no head is known");
        assert!(!is_overdue(&settlement, late, 100, 10));
        assert!(
            !is_overdue(&settlement, late + 9_999, 110, 10),
            "the chain stands still"
        );
        assert!(is_overdue(&settlement, late, 111, 10));
        settlement.lock().row.steps[0].state = StepState::Skipped;
        assert!(
            !is_overdue(&settlement, late, 111, 10),
            "nothing is undecided any more"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_overdue_payment_and_a_panic_are_alarms_of_their_network() {
        let engine = engine(Disk::new());
        let run = &engine.runtime.networks[NETWORK];
        let settlement = Arc::new(pending(&engine));
        assert!(engine.runtime.claims.hold_claim(&settlement));
        let alarms = || engine.readiness()[0].alarms.clone();
        for height in [100, 100] {
            run.record_head(height);
        }
        engine.checks.watch_overdue(run);
        assert_eq!(alarms(), Vec::<String>::new());
        let finality = run.network.settings.finality;
        for height in (101..=101 + finality).flat_map(|height| [height, height]) {
            run.record_head(height);
        }
        engine.checks.watch_overdue(run);
        assert!(alarms()[0].starts_with(OVERDUE), "{:?}", alarms());
        settlement.lock().row.outcome = Outcome::Reversed {
            refusal: None,
            tx_id: String::new(),
            proof: String::new(),
        };
        engine.checks.watch_overdue(run);
        assert_eq!(alarms(), Vec::<String>::new());
        let panicked = engine
            .runtime
            .survives(NETWORK, "a test", async { panic!("on purpose") })
            .await;
        assert_eq!(panicked, None::<()>);
        assert!(
            alarms()[0].starts_with("a test panicked 1 times"),
            "{:?}",
            alarms()
        );
    }
}
