//! Records judgements, each in one commit with the release that follows from it.

use super::Outcomes;
use crate::decide::payers::concerns_payer;
use crate::decide::replies;
use crate::decide::rows::{job_events, store_events};
use crate::decide::steps::{
    Decided, ends_with, ground, height_of, height_shown, never_started, released_by, skipped, stops,
};
use crate::outcome::judge::Basis;
use crate::outcome::rows::{judged_rows, rows_lost};
use crate::state::settlement::{Settlement, Waiter};
use base::service::{SettleAnswer, Settled};
use base::span::{self, SpanKind};
use journal::{CommitError, Event, Outcome, PaidRow, SettlementRow};
use sdk_plugin::chain::{Evidence, Shown};
use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::scheme::{LaneChoice, Paid, Refusal};
use std::sync::Arc;

impl Outcomes {
    /// The scheme accepts the evidence as proof of payment. `true` when that is recorded.
    pub(crate) async fn conclude_paid(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        paid: Paid,
        evidence: &Evidence,
        basis: Option<Basis<'_>>,
    ) -> bool {
        let decided = basis.map(|basis| basis.decided);
        let step = evidence.step;
        let height = match height_of(&paid, evidence) {
            Ok(height) => height,
            Err(what) => {
                self.refuse_judgement(settlement, step, &what);
                return false;
            }
        };
        let deciding = settlement.deciding.lock().await;
        let row_paid = PaidRow {
            tx_id: paid.tx_id.clone(),
            height,
            items: paid.items.clone(),
            reply: paid.reply.clone(),
            repeatable: paid.repeatable,
        };
        let (row, caller) = self.caller_of_paid(settlement, basis);
        let foreign = evidence
            .foreign
            .iter()
            .find(|tx| tx.tx_id == paid.tx_id && tx.tx_id != evidence.tx_id);
        let mut events = vec![Event::Paid {
            settlement: settlement.id,
            step,
            tx_id: paid.tx_id,
            height,
            items: paid.items,
            reply: paid.reply,
            repeatable: paid.repeatable,
        }];
        events.push(ground(
            settlement.id,
            step,
            decided,
            foreign,
            &evidence.shown,
            height,
        ));
        events.extend(self.fee_to_record(settlement, &row, step));
        let plan = settlement.plan().map(|plan| &**plan);
        events.extend(released_by(plan, &row, step, false, None));
        let (writes, jobs) = judged_rows(settlement, paid.writes, paid.jobs);
        events.extend(job_events(&row.plugin, jobs));
        let answer = caller.map(|caller| {
            let reply = replies::success(&row_paid, &row, &caller.network_as_sent);
            let release = self.release_to(&caller, &reply);
            let number = release.number;
            events.push(Event::Released {
                settlement: settlement.id,
                release,
            });
            let receipt = self.receipt(settlement.id, &settlement.claim, number);
            let answer = SettleAnswer::Reply(reply);
            (caller, Settled { answer, receipt }, number)
        });
        if ends_with(&row, &[step]) {
            events.push(Event::KeysFreed {
                settlement: settlement.id,
            });
        }
        if let Err(error) = self
            .commit_with_rows(settlement, &row.plugin, events, writes)
            .await
        {
            tracing::error!(settlement = settlement.id, %error, "a payment landed and its outcome was not recorded");
            if let Some((caller, answer, _)) = answer {
                answer.receipt.cancel();
                // Back to the first position: it is answered when the commit succeeds, or with `settlement_pending`.
                settlement.lock().waiters.insert(0, caller);
                if !self.runtime.continues(settlement) {
                    // Its lane has another owner now, and without a waiter it was not watched any more.
                    self.runtime.elsewhere.add_again(settlement);
                }
                settlement.changed.notify_waiters();
            }
            self.refresh_locked(settlement).await;
            return false;
        }
        self.report_paid(settlement, &row, &row_paid);
        self.refresh_locked(settlement).await;
        if let Some((caller, answer, number)) = answer {
            self.tell(settlement, caller, answer, number).await;
        }
        drop(deciding);
        self.serve_waiters(settlement, None).await;
        self.after_step(settlement);
        true
    }

    /// The row of a payment that is about to be recorded, and the caller that gets the release with it: one that came
    /// before the observation began. A judgement or a commit may be slow, and a reorganisation may have removed the
    /// payment since. Later callers wait for the next poll.
    fn caller_of_paid(
        &self,
        settlement: &Settlement,
        basis: Option<Basis<'_>>,
    ) -> (SettlementRow, Option<Waiter>) {
        let mut state = settlement.lock();
        let may_release = self.may_release(settlement.network.id(), settlement.id);
        let caller = if state.row.release.is_none() && !state.row.withheld && may_release {
            state.next_caller_if(|waiter| {
                let was_seen = basis.is_none_or(|basis| waiter.joined <= basis.began);
                was_seen && !waiter.identity.until_final
            })
        } else {
            None
        };
        (state.row.clone(), caller)
    }

    /// Logs and counts a payment.
    pub(crate) fn report_paid(&self, settlement: &Settlement, row: &SettlementRow, paid: &PaidRow) {
        tracing::info!(settlement = settlement.id, network = settlement.network.id(), claim = row.claim.as_str(),
            payer = %row.payer, tx = %paid.tx_id, height = paid.height, tenant = row.tenant.as_deref(), "paid");
        record_span(settlement, row, paid);
        self.runtime.metrics.add(
            "switchyard_settlements_total",
            &[
                ("network", settlement.network.id()),
                ("scheme", &row.scheme),
                ("outcome", "paid"),
            ],
            1,
        );
        if settlement
            .plan()
            .is_some_and(|plan| concerns_payer(plan, &row.conflict_keys))
        {
            self.griefing.record_paid(settlement.network.id(), &row.payer);
        }
    }

    pub(super) fn record_failed_payment(&self, network: &str, payer: &str) {
        if self.griefing.note(network, payer) {
            tracing::error!(
                network,
                "many payments failed on chain within minutes after passing every check: payers who have not paid here since \
                 the start have to wait. Search this log for what failed"
            );
            self.runtime
                .metrics
                .add("switchyard_failing_payments_total", &[("network", network)], 1);
        }
    }

    /// What the chain shows must be recorded and reported, even if the scheme's rows can't be written.
    pub(super) async fn commit_with_rows(
        &self,
        settlement: &Settlement,
        plugin: &str,
        events: Vec<Event>,
        writes: Vec<StoreWrite>,
    ) -> Result<(), CommitError> {
        let rows = store_events(plugin, writes, self.runtime.clock.now_ms());
        let whole = events.iter().chain(&rows).cloned().collect();
        match self.runtime.journal.commit(whole).await {
            Err(CommitError::StoreCondition(key)) => {
                rows_lost(
                    settlement,
                    &format!("the condition of its write to {key:?} does not hold"),
                );
                self.runtime.journal.commit(events).await
            }
            other => other,
        }
    }

    /// It is proven that the paying step did not pay and can't.
    pub(crate) async fn conclude_failed(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        refusal: Refusal,
        evidence: &Evidence,
        decided: Option<&Decided>,
    ) -> bool {
        let step = evidence.step;
        let deciding = settlement.deciding.lock().await;
        let row = settlement.lock().row.clone();
        let mut refusal = if refusal.payer.is_empty() {
            Refusal {
                payer: row.payer.clone(),
                ..refusal
            }
        } else {
            refusal
        };
        let (writes, _) = judged_rows(settlement, std::mem::take(&mut refusal.writes), Vec::new());
        let reason = refusal.reason.clone();
        let proof = match &evidence.shown {
            Shown::Landed { height } => format!("landed at {height} without the payment"),
            Shown::Reverted { height, .. } => format!("reverted at {height}"),
            Shown::Dead { why } => why.clone(),
        };
        // The hash in an answer must be on the chain. A payment that was reported as paid before keeps its hash for
        // the operator. A fill's hash means nothing to callers.
        let tx_id = match &evidence.shown {
            Shown::Landed { .. } | Shown::Reverted { .. } => evidence.tx_id.clone(),
            Shown::Dead { .. } if row.release.is_some() => row.tx_id.clone().unwrap_or_default(),
            Shown::Dead { .. } => String::new(),
        };
        let mut events = vec![Event::Failed {
            settlement: settlement.id,
            step,
            refusal,
            tx_id,
            proof: proof.clone(),
        }];
        events.push(ground(
            settlement.id,
            step,
            decided,
            None,
            &evidence.shown,
            height_shown(evidence),
        ));
        events.extend(self.fee_to_record(settlement, &row, step));
        let mut over = skipped(settlement.plan().map(|plan| &**plan), &row, step);
        events.extend(over.iter().map(|step| Event::StepSkipped {
            settlement: settlement.id,
            step: *step,
        }));
        over.push(step);
        if ends_with(&row, &over) {
            events.push(Event::KeysFreed {
                settlement: settlement.id,
            });
        }
        if let Err(error) = self
            .commit_with_rows(settlement, &row.plugin, events, writes)
            .await
        {
            tracing::error!(settlement = settlement.id, %error, "a failure was not recorded");
            self.refresh_locked(settlement).await;
            return false;
        }
        let concerns_payer = settlement
            .plan()
            .is_none_or(|plan| concerns_payer(plan, &row.conflict_keys));
        if concerns_payer && matches!(evidence.shown, Shown::Landed { .. } | Shown::Reverted { .. }) {
            self.record_failed_payment(settlement.network.id(), &row.payer);
        }
        let reversed = row.release.is_some();
        if reversed {
            tracing::error!(settlement = settlement.id, claim = row.claim.as_str(), tx = %evidence.tx_id, proof,
                "REVERSED: a payment that was answered with success is gone from the chain for good");
        } else {
            tracing::warn!(settlement = settlement.id, claim = row.claim.as_str(), tx = %evidence.tx_id, proof, reason,
                "a settlement failed");
        }
        let outcome = if reversed { "reversed" } else { "failed" };
        self.runtime.metrics.add(
            "switchyard_settlements_total",
            &[
                ("network", settlement.network.id()),
                ("scheme", &row.scheme),
                ("outcome", outcome),
            ],
            1,
        );
        self.refresh_locked(settlement).await;
        drop(deciding);
        self.serve_waiters(settlement, None).await;
        self.after_step(settlement);
        true
    }

    /// A step that does not pay is done or has failed. A paying step that can't start because of it has failed with
    /// it. `rows`: what the scheme writes and schedules with it.
    pub(crate) async fn conclude_step(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        event: Event,
        evidence: &Evidence,
        decided: Option<&Decided>,
        rows: (Vec<StoreWrite>, Vec<Job>),
    ) -> bool {
        let (id, step) = (settlement.id, evidence.step);
        let deciding = settlement.deciding.lock().await;
        let row = settlement.lock().row.clone();
        let (writes, jobs) = judged_rows(settlement, rows.0, rows.1);
        let plan = settlement.plan().map(|plan| &**plan);
        let mut over = Vec::new();
        let mut reason = None;
        if let Event::StepFailed { reason: why, .. } = &event {
            over = skipped(plan, &row, step);
            reason = Some(why.clone());
        }
        let is_stopped = reason.is_some() && stops(plan, step);
        let mut events = vec![
            event,
            ground(id, step, decided, None, &evidence.shown, height_shown(evidence)),
        ];
        events.extend(self.fee_to_record(settlement, &row, step));
        events.extend(job_events(&row.plugin, jobs));
        for step in &over {
            let pays = step.of(&row.steps).is_some_and(|row| row.pays);
            if pays && row.outcome == Outcome::Open {
                events.extend(never_started(&row, *step, reason.as_deref()));
            } else {
                events.push(Event::StepSkipped {
                    settlement: id,
                    step: *step,
                });
            }
        }
        events.extend(released_by(plan, &row, step, is_stopped, reason.as_deref()));
        over.push(step);
        if ends_with(&row, &over) {
            events.push(Event::KeysFreed { settlement: id });
        }
        if let Err(error) = self
            .commit_with_rows(settlement, &row.plugin, events, writes)
            .await
        {
            tracing::error!(settlement = id, step = step.number(), %error, "a step's end was not recorded");
            self.refresh_locked(settlement).await;
            return false;
        }
        // The payer signed what failed, or had the facilitator pay for it.
        let is_payers = plan.is_some_and(|plan| {
            let has_client_signed = plan.steps.iter().any(|step| step.lane == LaneChoice::Foreign);
            has_client_signed && concerns_payer(plan, &row.conflict_keys)
        });
        if is_stopped && is_payers {
            self.record_failed_payment(settlement.network.id(), &row.payer);
        }
        self.refresh_locked(settlement).await;
        drop(deciding);
        self.serve_waiters(settlement, None).await;
        self.after_step(settlement);
        true
    }
}

/// Records how long a payment took, from its first commit until a block showed it.
fn record_span(settlement: &Settlement, row: &SettlementRow, paid: &PaidRow) {
    let mut span = span::open_under(settlement.trace, "settlement", SpanKind::Internal);
    if span.is_recorded() {
        span.started_at_ms(row.opened_at_ms);
        span.text("switchyard.network", settlement.network.id());
        span.text("switchyard.scheme", &row.scheme);
        span.text("switchyard.settlement.reference", &row.reference);
        span.text("switchyard.settlement.outcome", "paid");
        span.text("switchyard.transaction.id", &paid.tx_id);
        span.number("switchyard.block.height", paid.height);
    }
}
