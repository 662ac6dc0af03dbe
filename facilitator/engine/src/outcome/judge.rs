//! Has schemes judge what the chain showed, and records the result.

use crate::decide::hashes::subject_of_row;
use crate::decide::steps::{Decided, proves_failure};
use crate::outcome::Outcomes;
use crate::state::settlement::Settlement;
use base::trace;
use sdk_plugin::StepIndex;
use std::sync::Arc;

use journal::Event;
use sdk_plugin::chain::{Evidence, Shown};
use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::scheme::Judgement;
use tokio::time::Instant;

/// What a decision that is not final yet rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Basis<'a> {
    pub(crate) decided: &'a Decided,
    /// When the observation began. It proves nothing to callers that came later.
    pub(crate) began: Instant,
}

/// The result of a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    Decided,
    /// The scheme needs more evidence.
    Unproven,
    /// It could not be judged, or the judgement was not recorded.
    Open,
}

impl Judged {
    fn of(is_recorded: bool) -> Self {
        if is_recorded { Self::Decided } else { Self::Open }
    }
}

impl Outcomes {
    /// Has the scheme judge a step. Without a basis the decision is final at once: no attempt of the step can land.
    /// `may_fail`: the evidence is complete enough to count against the step.
    pub(crate) async fn judge_step(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        evidence: &Evidence,
        basis: Option<Basis<'_>>,
        may_fail: bool,
    ) -> Judged {
        let decided = basis.map(|basis| basis.decided);
        let step = evidence.step;
        let network = settlement.network.id();
        let (Some(kind), Some(plan)) = (&settlement.kind, settlement.plan()) else {
            tracing::error!(
                settlement = settlement.id,
                "a payment landed and no loaded plugin can judge it: load the \
                 version that planned it"
            );
            self.runtime
                .metrics
                .add("switchyard_unjudged_total", &[("network", network)], 1);
            return Judged::Open;
        };
        let pays = step.of(&plan.steps).is_some_and(|step| step.pays);
        let subject = subject_of_row(&settlement.lock().row);
        let judged = self.runtime.ops.judge(kind, plan, evidence, subject);
        match trace::within(settlement.trace, judged).await {
            Ok(Judgement::Paid(paid)) if pays => {
                Judged::of(self.conclude_paid(settlement, paid, evidence, basis).await)
            }
            // The guard is read first.
            Ok(Judgement::NotPaid(_)) if !may_fail => Judged::Open,
            Ok(Judgement::NotPaid(refusal)) if !proves_failure(evidence) => {
                let reason = refusal.reason;
                let what = format!("the scheme calls a step failed that may have had its effect ({reason})");
                self.refuse_judgement(settlement, step, &what);
                Judged::Open
            }
            Ok(Judgement::NotPaid(refusal)) if pays => {
                Judged::of(self.conclude_failed(settlement, refusal, evidence, decided).await)
            }
            Ok(Judgement::Paid(paid)) if !pays => {
                let rows = (paid.writes, paid.jobs);
                self.step_done(settlement, evidence, decided, rows).await
            }
            Ok(Judgement::Next) if !pays => {
                self.step_done(settlement, evidence, decided, (Vec::new(), Vec::new()))
                    .await
            }
            Ok(Judgement::NotPaid(refusal)) => {
                let failed = Event::StepFailed {
                    settlement: settlement.id,
                    step,
                    reason: refusal.reason,
                };
                let rows = (refusal.writes, Vec::new());
                Judged::of(
                    self.conclude_step(settlement, failed, evidence, decided, rows)
                        .await,
                )
            }
            Ok(Judgement::Next | Judgement::Paid(_)) => {
                self.refuse_judgement(settlement, step, "it does not fit the step");
                Judged::Open
            }
            Ok(Judgement::Unproven { why }) => self.unproven(settlement, step, &why),
            Err(_) => Judged::Open,
        }
    }

    /// A step that does not pay had its effect. `rows`: what the scheme writes and schedules with it.
    async fn step_done(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        evidence: &Evidence,
        decided: Option<&Decided>,
        rows: (Vec<StoreWrite>, Vec<Job>),
    ) -> Judged {
        let step = evidence.step;
        let (height, tx_id) = match (&evidence.shown, evidence.foreign.first()) {
            (Shown::Landed { height } | Shown::Reverted { height, .. }, _) => (*height, &evidence.tx_id),
            (Shown::Dead { .. }, Some(tx)) => (tx.height, &tx.tx_id),
            (Shown::Dead { .. }, None) => {
                self.refuse_judgement(
                    settlement,
                    step,
                    "the scheme calls a step done that can't have happened",
                );
                return Judged::Open;
            }
        };
        let done = Event::StepDone {
            settlement: settlement.id,
            step,
            tx_id: tx_id.clone(),
            height,
        };
        let recorded = self
            .conclude_step(settlement, done, evidence, decided, rows)
            .await;
        Judged::of(recorded)
    }

    /// A scheme judges against its evidence: the step stays open.
    pub(super) fn refuse_judgement(&self, settlement: &Settlement, step: StepIndex, what: &str) {
        let sentence = format!("a judgement was refused: {what}");
        if self.count_unproven(settlement, &sentence) {
            tracing::error!(settlement = settlement.id, step = step.number(), "{sentence}");
        }
    }

    /// The scheme needs more evidence.
    fn unproven(&self, settlement: &Settlement, step: StepIndex, why: &str) -> Judged {
        let sentence = format!("not proven yet: {why}");
        if self.count_unproven(settlement, &sentence) {
            tracing::warn!(settlement = settlement.id, step = step.number(), "{sentence}");
        }
        Judged::Unproven
    }

    /// Counts a poll that decided nothing. `true`: its sentence is news. The slot is polled several times a second, so it is logged once
    /// in a while.
    fn count_unproven(&self, settlement: &Settlement, sentence: &str) -> bool {
        let network = settlement.network.id();
        self.runtime
            .metrics
            .add("switchyard_unproven_total", &[("network", network)], 1);
        let run = self.runtime.run_of(network);
        run.is_none_or(|run| run.health.is_news(sentence))
    }
}
