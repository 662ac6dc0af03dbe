//! Searches for what had the effect of a step whose guard another transaction changed.

use super::unsent::{Ends, RETRY_EVERY, is_after_all, no_transaction, since, watch_of};
use crate::decide::observation::wider_search_from;
use crate::endings::Endings;
use crate::outcome::judge::Judged;
use crate::state::settlement::Settlement;
use crate::verdict::foreign_of;
use base::backoff::Backoff;
use journal::{AttemptKind, AttemptRow, StepState};
use sdk_plugin::StepIndex;
use sdk_plugin::chain::{Anchor, Evidence, ForeignTx, GuardState, Shown, TxState};
use sdk_plugin::scheme::Step;
use std::sync::Arc;
use std::time::Duration;

/// Pause between two searches for what changed a guard.
const SEARCH_BACKOFF: Backoff = Backoff {
    first: RETRY_EVERY,
    longest: Duration::from_secs(60),
};
/// After so many searches, about an hour, what is not found is not about to appear: it is searched seldom. A payer can make
/// each search cost many calls.
const PATIENT_SEARCHES: u32 = 60;
const SELDOM: Backoff = Backoff {
    first: Duration::from_secs(60),
    longest: Duration::from_secs(60 * 60),
};
/// An unexplained step is logged again after this many searches.
const REMIND_AFTER: u32 = 60;
/// Why an unexplained step had no effect after all.
const REORGANISED: &str =
    "its slot is used, and what had changed the state that it guards was reorganised away";

impl Endings {
    /// Searches for what had the effect of an unexplained step, until it is found.
    pub(crate) async fn explain(self: Arc<Self>, settlement: Arc<Settlement>, step: StepIndex) {
        let mut searches: u32 = 0;
        let mut anchor: Option<Anchor> = None;
        loop {
            let is_open = step
                .of(&settlement.lock().row.steps)
                .is_some_and(|row| matches!(row.state, StepState::Unexplained { .. }));
            let planned = settlement.plan().and_then(|plan| step.of(&plan.steps)).cloned();
            let (true, Some(planned)) = (is_open, planned) else {
                return self.go_on(settlement).await;
            };
            if !self.runtime.continues(&settlement) {
                return;
            }
            if let Some(attempts) = self.attempts_of(&settlement, step).await
                && (self
                    .is_explained(&settlement, step, &planned, &attempts, searches)
                    .await
                    || self
                        .is_unchanged_after_all(&settlement, step, &planned, &attempts, &mut anchor)
                        .await)
            {
                tracing::info!(
                    settlement = settlement.id,
                    step = step.number(),
                    "step_explained: the change of the state that the step guards is explained"
                );
                return self.go_on(settlement).await;
            }
            let pause = match searches.checked_sub(PATIENT_SEARCHES) {
                None => SEARCH_BACKOFF.after(searches),
                Some(more) => SELDOM.after(more),
            };
            searches = searches.saturating_add(1);
            if searches.is_multiple_of(REMIND_AFTER) || pause >= SELDOM.longest {
                tracing::error!(
                    settlement = settlement.id,
                    network = settlement.network.id(),
                    step = step.number(),
                    searches,
                    "step_unexplained: still no node shows the transaction that had its effect; check eth_getLogs and the \
                     history of the network's RPC nodes"
                );
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Decides the step if its guard is unchanged at a final block: what had changed it was reorganised away. A
    /// guard changes permanently, so the step had no effect, and its slots are used. If the guard is changed, the
    /// state at that block may decide. `true`: the step is decided.
    pub(super) async fn is_unchanged_after_all(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        step: StepIndex,
        planned: &Step,
        attempts: &[AttemptRow],
        anchor: &mut Option<Anchor>,
    ) -> bool {
        let Some(newest) = attempts.last() else {
            return false;
        };
        let ends = Ends::LostSlots;
        match self
            .final_guard(settlement, planned, attempts, newest, ends, anchor)
            .await
        {
            Some(GuardState::Unchanged) => self.judge_dead(settlement, step, REORGANISED).await,
            Some(GuardState::Changed) => match anchor.take() {
                Some(known) => self.is_excluded_by_state(settlement, step, known).await,
                None => false,
            },
            Some(GuardState::Absent | GuardState::Unread) => {
                *anchor = None;
                false
            }
            None => false,
        }
    }

    /// Whether the state at a final block shows that the step had no effect although its guard is changed.
    pub(super) async fn is_excluded_by_state(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        step: StepIndex,
        known: Anchor,
    ) -> bool {
        let evidence = Evidence {
            head_height: known.block.height,
            reads: known.reads,
            ..no_transaction(settlement, step, REORGANISED, GuardState::Changed)
        };
        self.outcomes.judge_step(settlement, &evidence, None, true).await == Judged::Decided
    }

    /// Runs one search, further back than the `searches` before it. What it finds counts once it is final, and then decides
    /// the step permanently.
    pub(super) async fn is_explained(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        step: StepIndex,
        planned: &Step,
        attempts: &[AttemptRow],
        searches: u32,
    ) -> bool {
        let settings = &settlement.network.settings;
        let finality = settings.finality;
        let mut evidence = no_transaction(settlement, step, "its slot is used", GuardState::Changed);
        let carriers = || {
            attempts
                .iter()
                .filter(|attempt| attempt.kind == AttemptKind::Steps)
        };
        let newest = carriers().next_back();
        let mut found: Vec<ForeignTx> = Vec::new();
        for attempt in carriers() {
            let is_newest = newest.is_some_and(|newest| newest.id == attempt.id);
            let head = self.head_of(settlement);
            let mut watch = watch_of(planned, attempts, attempt, head, settings);
            if is_newest && !planned.evidence.foreign.is_empty() {
                watch.since_height = wider_search_from(since(attempts), head, settings, searches);
            }
            watch.whole_block = true;
            watch.search_foreign = is_newest;
            watch.read_guards = is_newest;
            let Some(seen) = self.observe_one(settlement, watch).await else {
                continue;
            };
            evidence.head_height = seen.head_height;
            if let TxState::Landed { height, depth, .. } = seen.state
                && depth >= finality
            {
                evidence.shown = Shown::Landed { height };
                evidence.tx_id.clone_from(&attempt.tx_id);
                evidence.logs = seen.logs;
                evidence.reads = seen.reads;
                evidence.block_logs = seen.block_logs;
                evidence.shared = attempt.covers.len() > 1;
                let is_decided = self.is_decided(settlement, &evidence).await;
                if is_decided || !evidence.shared {
                    return is_decided;
                }
                // Its call failed beside others, of the same payer perhaps: what had used up what it needed is searched.
            }
            if let Some(anchor) = seen
                .anchor
                .filter(|anchor| is_newest && is_after_all(anchor, attempt, attempts))
            {
                evidence.reads = anchor.reads;
            }
            found.extend(seen.foreign);
        }
        // All transactions must be final: some of them could lead to another decision than all of them.
        if found.is_empty() || found.iter().any(|tx| tx.depth < finality) {
            return false;
        }
        let own_of = |tx: &ForeignTx| carriers().find(|own| own.tx_id.eq_ignore_ascii_case(&tx.tx_id));
        let own = found.iter().find_map(|tx| Some((tx, own_of(tx)?)));
        if let Some((tx, own)) = own {
            evidence.shown = Shown::Landed { height: tx.height };
            evidence.tx_id.clone_from(&tx.tx_id);
            evidence.logs.clone_from(&tx.logs);
            evidence.shared = own.covers.len() > 1;
            evidence.reads.clear();
            let is_decided = self.is_decided(settlement, &evidence).await;
            if is_decided || !evidence.shared {
                return is_decided;
            }
        }
        let foreign: Vec<ForeignTx> = found.iter().filter(|tx| own_of(tx).is_none()).cloned().collect();
        if foreign.is_empty() {
            return false;
        }
        evidence.foreign = foreign_of(&foreign, since(attempts));
        self.is_decided(settlement, &evidence).await
    }

    async fn is_decided(self: &Arc<Self>, settlement: &Arc<Settlement>, evidence: &Evidence) -> bool {
        self.outcomes.judge_step(settlement, evidence, None, true).await == Judged::Decided
    }
}
