//! What was judged becomes durable, is released to one caller, and only then answered.

use crate::decide::claim::{Decision, decide};
use crate::decide::payers::{Griefing, concerns_payer};
use crate::decide::replies;
use crate::decide::replies::unavailable;
use crate::decide::rows::{job_events, store_events};
use crate::decide::steps::{Decided, ends_with, ground, height_of, height_shown, is_gate_open, skipped};
use crate::outcome::rows::{judged_rows, rows_lost};
use crate::runtime::Runtime;
use crate::state::lane::{Ask, Work};
use crate::state::settlement::{Phase, Settlement, Waiter};
pub(crate) mod delivery;
pub(crate) mod judge;
pub(crate) mod rows;
pub(crate) mod withheld;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

use sdk_plugin::chain::{Evidence, Shown};
use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::scheme::{Paid, Refusal};
use tokio::time::Instant;

use base::service::{SettleAnswer, Settled};
use journal::{CommitError, Event, Outcome, PaidRow, Release, StepState};

/// Judges, records, releases and answers.
pub(crate) struct Outcomes {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) griefing: Griefing,
    /// Settlements whose release was taken for an answer that has not arrived yet, or is being given back; how many such
    /// answers there are of each.
    pub(crate) in_delivery: Mutex<BTreeMap<u64, u32>>,
}

impl Outcomes {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self {
            runtime,
            griefing: Griefing::default(),
            in_delivery: Mutex::default(),
        }
    }

    /// The scheme takes the evidence for proof of payment. `true` when that is recorded.
    pub(crate) async fn conclude_paid(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        paid: Paid,
        evidence: &Evidence,
        decided: Option<&Decided>,
    ) -> bool {
        let step = evidence.step;
        let height = match height_of(&paid, evidence) {
            Ok(height) => height,
            Err(what) => {
                tracing::error!(settlement = settlement.id, "a judgement was refused: {what}");
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
        let (row, caller) = {
            let mut state = settlement.lock();
            let may_release = self.may_release(settlement.network.id(), settlement.id);
            let caller = if state.row.release.is_none() && !state.row.withheld && may_release {
                state.next_caller()
            } else {
                None
            };
            (state.row.clone(), caller)
        };
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
        events.push(ground(settlement.id, step, decided, foreign, height));
        let (writes, jobs) = judged_rows(settlement, paid.writes, paid.jobs);
        events.extend(job_events(&row.plugin, jobs));
        let answer = caller.map(|caller| {
            let reply = replies::success(&row_paid, &row.payer, &caller.network_as_sent);
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
                // Back to the head of the line: it is answered when the commit goes through, or told pending.
                settlement.lock().waiters.insert(0, caller);
                settlement.changed.notify_waiters();
            }
            self.refresh_locked(settlement).await;
            return false;
        }
        tracing::info!(settlement = settlement.id, network = settlement.network.id(), claim = row.claim.as_str(),
            payer = %row.payer, tx = %row_paid.tx_id, height, tenant = row.tenant.as_deref(), "paid");
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
            self.griefing.note_paid(settlement.network.id(), &row.payer);
        }
        self.refresh_locked(settlement).await;
        if let Some((caller, answer, number)) = answer {
            self.tell(settlement, caller, answer, number).await;
        }
        drop(deciding);
        self.serve_waiters(settlement, None).await;
        self.after_step(settlement);
        true
    }

    fn note_failed_payment(&self, network: &str, payer: &str) {
        if self.griefing.note(network, payer) {
            tracing::error!(
                network,
                "many payments failed on chain within minutes after passing every check: payers who have not paid here since \
                 the start have to wait. Look in this log for what failed"
            );
            self.runtime
                .metrics
                .add("switchyard_failing_payments_total", &[("network", network)], 1);
        }
    }

    /// What the chain shows has to be recorded and told, whatever the scheme's rows have become.
    async fn commit_with_rows(
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
        // A hash in an answer is on the chain; what was given as paid before is kept for the operator. A fill's means nothing to
        // callers.
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
        events.push(ground(settlement.id, step, decided, None, height_shown(evidence)));
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
            self.note_failed_payment(settlement.network.id(), &row.payer);
        }
        let reversed = row.release.is_some();
        if reversed {
            tracing::error!(settlement = settlement.id, claim = row.claim.as_str(), tx = %evidence.tx_id, proof,
                "REVERSED: a payment that was told as success is gone from the chain for good");
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

    /// A step that does not pay is done or has failed. A paying step that it keeps from being begun has failed with it.
    /// `rows`: what the scheme writes and schedules with it.
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
        let mut over = Vec::new();
        let mut reason = None;
        if let Event::StepFailed { reason: why, .. } = &event {
            over = skipped(settlement.plan().map(|plan| &**plan), &row, step);
            reason = Some(why.clone());
        }
        let mut events = vec![event, ground(id, step, decided, None, height_shown(evidence))];
        events.extend(job_events(&row.plugin, jobs));
        for step in &over {
            let pays = usize::try_from(*step)
                .ok()
                .and_then(|i| row.steps.get(i))
                .is_some_and(|row| row.pays);
            if pays && row.outcome == Outcome::Open {
                let reason = reason.clone().unwrap_or_default();
                let refusal = Refusal::new(reason, row.payer.clone())
                    .with_message("a step that had to come before the payment failed");
                let proof = "the paying step was never begun".into();
                events.push(Event::Failed {
                    settlement: id,
                    step: *step,
                    refusal,
                    // The earlier step's transaction is not the payment's, and may land again as another one.
                    tx_id: String::new(),
                    proof,
                });
                events.push(Event::StepFinal {
                    settlement: id,
                    step: *step,
                });
            } else {
                events.push(Event::StepSkipped {
                    settlement: id,
                    step: *step,
                });
            }
        }
        over.push(step);
        if ends_with(&row, &over) {
            events.push(Event::KeysFreed { settlement: id });
        }
        if let Err(error) = self
            .commit_with_rows(settlement, &row.plugin, events, writes)
            .await
        {
            tracing::error!(settlement = id, step, %error, "a step's end was not recorded");
            self.refresh_locked(settlement).await;
            return false;
        }
        self.refresh_locked(settlement).await;
        drop(deciding);
        self.serve_waiters(settlement, None).await;
        self.after_step(settlement);
        true
    }

    /// Gives the callers who wait for a decided settlement what the table says; the first gets an open release. A release and
    /// a replay of a payment that is not final need an observation that began after the caller came: `seen` is when the
    /// newest one began that showed the payment. Callers for whom it is too old stay in line.
    pub(crate) async fn serve_waiters(self: &Arc<Self>, settlement: &Arc<Settlement>, seen: Option<Instant>) {
        let _deciding = settlement.deciding.lock().await;
        loop {
            let (row, caller) = {
                let mut state = settlement.lock();
                if state.row.outcome == Outcome::Open && state.row.release.is_none() {
                    return;
                }
                let row = state.row.clone();
                let may_release = self.may_release(settlement.network.id(), settlement.id);
                let caller = state.next_caller_if(|waiter| {
                    let was_seen = seen.is_some_and(|began| waiter.joined <= began);
                    match decide(&row, &waiter.asker) {
                        Decision::TakeRelease => may_release && (was_seen || row.paid_is_final()),
                        // A replay told now would be a second success if the first answer got lost and were given back.
                        Decision::Replay(_) => {
                            (was_seen || row.paid_is_final()) && !self.is_in_delivery(row.id)
                        }
                        Decision::Wait
                        | Decision::Duplicate { .. }
                        | Decision::ReplayReason
                        | Decision::SameFailure
                        | Decision::Reopen => true,
                    }
                });
                (row, caller)
            };
            let Some(caller) = caller else { return };
            let network = caller.network_as_sent.clone();
            let answer = match (decide(&row, &caller.asker), &row.outcome) {
                (Decision::TakeRelease, Outcome::Paid(paid)) => {
                    let reply = replies::success(paid, &row.payer, &network);
                    let release = self.release_to(&caller, &reply);
                    let number = release.number;
                    let receipt = self.receipt(row.id, &row.claim, number);
                    match self
                        .runtime
                        .journal
                        .commit(vec![Event::Released {
                            settlement: row.id,
                            release,
                        }])
                        .await
                    {
                        Ok(()) => {
                            self.refresh_locked(settlement).await;
                            let answer = SettleAnswer::Reply(reply);
                            let answer = Settled { answer, receipt };
                            self.tell(settlement, caller, answer, number).await;
                            continue;
                        }
                        Err(CommitError::AlreadyReleased) => {
                            receipt.cancel();
                            self.refresh_locked(settlement).await;
                            SettleAnswer::Reply(replies::duplicate(&row, &paid.tx_id, &network))
                        }
                        Err(error) => {
                            receipt.cancel();
                            tracing::error!(settlement = row.id, %error, "a release was not recorded");
                            SettleAnswer::Reply(replies::pending(&row, &network))
                        }
                    }
                }
                (Decision::Duplicate { tx_id }, _) => {
                    SettleAnswer::Reply(replies::duplicate(&row, &tx_id, &network))
                }
                (Decision::Replay(body), _) => SettleAnswer::Replay(body),
                (Decision::ReplayReason, _) => SettleAnswer::Reply(replies::replayed(&row, &network)),
                (Decision::SameFailure | Decision::Reopen, Outcome::Failed { .. }) => {
                    SettleAnswer::Reply(replies::same_failure(&row, &network))
                }
                (Decision::SameFailure | Decision::Reopen | Decision::Wait | Decision::TakeRelease, _) => {
                    unavailable("the claim changed; try again")
                }
            };
            let _ = caller.reply.send(answer.into());
        }
    }

    /// Tells `success`; a caller that was gone before anything was written to it gives the release back.
    async fn tell(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        caller: Waiter,
        answer: Settled,
        number: u64,
    ) {
        let Err(Settled { receipt, .. }) = caller.reply.send(answer) else {
            return;
        };
        let event = Event::ReleaseReturned {
            settlement: settlement.id,
            number,
        };
        match self.runtime.journal.commit(vec![event]).await {
            Ok(()) => {
                receipt.cancel();
                self.refresh_locked(settlement).await;
            }
            Err(error) => {
                tracing::error!(settlement = settlement.id, %error, "a release was not given back; it is tried again");
                // Dropped, the receipt has it tried again until the journal takes it.
                drop(receipt);
            }
        }
    }

    fn release_to(&self, caller: &Waiter, reply: &sdk_plugin::wire::SettleReply) -> Release {
        Release {
            number: self.runtime.journal.new_id(),
            tenant: caller.asker.tenant.clone(),
            idempotency_key: caller.asker.idempotency_key.clone(),
            body: serde_json::to_string(reply).unwrap_or_default(),
            at_ms: self.runtime.clock.now_ms(),
        }
    }

    /// Takes the row as the journal has it now; the settlement's `deciding` lock is held.
    pub(crate) async fn refresh_locked(&self, settlement: &Arc<Settlement>) {
        match self.runtime.journal.settlement(settlement.id).await {
            Ok(Some(row)) => settlement.lock().row = row,
            Ok(None) => tracing::error!(
                settlement = settlement.id,
                "the journal has no row of a settlement"
            ),
            Err(error) => tracing::error!(settlement = settlement.id, %error, "a row can't be read back"),
        }
    }

    /// After a step was decided: free keys in memory, begin what may begin.
    fn after_step(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        if !settlement.lock().row.holds_keys() {
            self.runtime.claims.free_keys(settlement.id);
        }
        self.advance(settlement);
    }

    /// Hands the next step to a lane once its gate is open.
    pub(crate) fn advance(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        let Some(plan) = settlement.plan() else { return };
        let next = {
            let state = settlement.lock();
            if state.phase != Phase::Committed {
                return;
            }
            let waiting = state
                .row
                .steps
                .iter()
                .position(|row| row.state == StepState::Waiting);
            let Some(index) = waiting else { return };
            let Some(step) = plan.steps.get(index) else { return };
            if !is_gate_open(&state.row, index, step.gate) {
                return;
            }
            (index, step.lane.clone())
        };
        let (index, choice) = next;
        let Ok(step) = u32::try_from(index) else { return };
        if let Some(lane) = self
            .runtime
            .run_of(settlement.network.id())
            .and_then(|run| run.choose(&choice, self.runtime.clock.now_ms()))
        {
            lane.ask(Ask::Step(Work {
                settlement: Arc::clone(settlement),
                step,
                payer: None,
            }));
        }
    }

    /// Ends a settlement of which every step is final, and tries again when the journal can't take that.
    pub(crate) async fn finish_if_ended(self: Arc<Self>, settlement: Arc<Settlement>) {
        loop {
            let deciding = settlement.deciding.lock().await;
            let ended = {
                let state = settlement.lock();
                !state.row.finished
                    && state.row.outcome != Outcome::Open
                    && state.row.steps.iter().all(|step| step.is_final)
            };
            if !ended {
                drop(deciding);
                return self.forget_if_finished(&settlement);
            }
            let id = settlement.id;
            let events = vec![
                Event::KeysFreed { settlement: id },
                Event::Finished {
                    settlement: id,
                    at_ms: self.runtime.clock.now_ms(),
                },
            ];
            let committed = self.runtime.journal.commit(events).await;
            self.refresh_locked(&settlement).await;
            drop(deciding);
            match committed {
                Ok(()) => return self.forget_if_finished(&settlement),
                Err(error) => {
                    tracing::error!(settlement = id, %error, "a settlement's end was not recorded; it is tried again");
                    tokio::time::sleep(FINISH_AGAIN).await;
                }
            }
        }
    }

    /// A finished settlement is the journal's alone.
    pub(crate) fn forget_if_finished(&self, settlement: &Arc<Settlement>) {
        if settlement.lock().row.finished {
            self.runtime.claims.forget(settlement);
        }
    }
}

/// Between two tries to record a settlement's end.
const FINISH_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);
