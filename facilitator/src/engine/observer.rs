//! One batched loop a network: where does every open transaction stand, and what follows from it?
//!
//! What to do with a slot is a pure function ([`super::verdict`]) of what was observed, of what was decided before, and
//! of the time; the loop around it is dull.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sdk_plugin::chain::{Evidence, Observation, Shown, Watch};
use sdk_plugin::scheme::{EvidenceWanted, Judgement};
use tokio::time::Instant;

use super::lane::Ask;
use super::network::NetworkRun;
use super::second_source::View;
use super::settlement::Settlement;
use super::slot::{Decided, OpenSlot};
use super::verdict::{Look, Verdict, counts, verdict};
use super::{Engine, lock};
use crate::journal::{Event, Outcome, StepState};

/// The first look after a send, and the least pause between two looks at a slot.
const QUICK: Duration = Duration::from_millis(40);
/// Without open slots the loop sleeps this long, or until it is woken.
const IDLE: Duration = Duration::from_secs(60);
/// Looks in a row that must miss a decided transaction before it counts as gone: one node may lag behind another.
const MISSES_BEFORE_REORG: u32 = 2;
/// Slots that are watched in one call.
const BATCH: usize = 256;

impl Engine {
    pub(super) async fn keep_looking(self: Arc<Self>, run: Arc<NetworkRun>) {
        loop {
            let now = Instant::now();
            let next = run.slots().iter().map(|slot| slot.lock().due).min();
            let pause = next.map_or(IDLE, |due| due.saturating_duration_since(now).max(QUICK));
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                () = run.look.notified() => tokio::time::sleep(QUICK).await,
            }
            self.look(&run).await;
        }
    }

    /// Looks at every slot that is due.
    pub(super) async fn look(self: &Arc<Self>, run: &Arc<NetworkRun>) {
        let now = Instant::now();
        let mut due: Vec<Arc<OpenSlot>> = run.slots();
        due.retain(|slot| slot.lock().due <= now);
        for slots in due.chunks(BATCH) {
            let watches: Vec<Watch> = slots.iter().flat_map(|slot| watches_of(slot)).collect();
            match self.ops.observe(&run.network, &watches).await {
                Ok(observations) => {
                    observations
                        .iter()
                        .for_each(|seen| run.saw_head(seen.head_height));
                    let mut by_attempt: HashMap<String, Observation> = observations
                        .into_iter()
                        .map(|seen| (seen.attempt_id.clone(), seen))
                        .collect();
                    let looked = slots.iter().map(|slot| {
                        let ids: Vec<String> = slot
                            .lock()
                            .attempts
                            .iter()
                            .map(|attempt| attempt.id.to_string())
                            .collect();
                        let seen: Option<Vec<Observation>> =
                            ids.iter().map(|id| by_attempt.remove(id)).collect();
                        (slot, seen)
                    });
                    let looked: Vec<_> = looked.collect();
                    join_all(looked.into_iter().map(|(slot, seen)| async {
                        // An answer that misses an attempt says nothing about the slot.
                        if let Some(seen) = seen {
                            self.act(run, slot, &seen).await;
                        }
                        self.set_due(run, slot);
                    }))
                    .await;
                }
                Err(_) => {
                    let later = Instant::now() + Duration::from_millis(run.network.settings.poll_interval_ms);
                    for slot in slots {
                        slot.lock().due = later;
                    }
                }
            }
        }
    }

    fn set_due(&self, run: &NetworkRun, slot: &OpenSlot) {
        let poll = Duration::from_millis(run.network.settings.poll_interval_ms).max(QUICK);
        let now = Instant::now();
        let mut state = slot.lock();
        let pause = if std::mem::take(&mut state.soon) {
            QUICK
        } else if state.decided.is_some() {
            poll.saturating_mul(5)
        } else {
            (now.saturating_duration_since(state.last_sent) / 2).clamp(QUICK, poll)
        };
        state.due = now + pause;
    }

    async fn act(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>, seen: &[Observation]) {
        let resting_on = slot.resting_on();
        let verdict = {
            let state = slot.lock();
            if state.closed || seen.len() != state.attempts.len() {
                return;
            }
            verdict(&Look {
                slot,
                state: &state,
                seen,
                resting_on: &resting_on,
                settings: &run.network.settings,
                now_s: self.clock.now_s(),
            })
        };
        let missed = {
            let mut state = slot.lock();
            state.missed = if verdict == Verdict::Missed {
                state.missed.saturating_add(1)
            } else {
                0
            };
            state.missed
        };
        match verdict {
            Verdict::Wait => {}
            Verdict::SearchForeign => {
                let mut state = slot.lock();
                state.soon = !state.search_foreign;
                state.search_foreign = true;
            }
            Verdict::Judge {
                index,
                shown,
                decided,
            } => {
                let Some(observation) = seen.get(index) else {
                    return;
                };
                let mut view = View {
                    observation: observation.clone(),
                    shown,
                    decided,
                };
                if slot.wants_second_source() {
                    match self.agreed(run, slot).await {
                        Some(agreed) => view = agreed,
                        None => return,
                    }
                }
                let View {
                    observation,
                    shown,
                    decided,
                } = view;
                if self.judge_slot(run, slot, &observation, &shown, &decided).await {
                    {
                        let mut state = slot.lock();
                        state.decided = Some(decided);
                        state.search_foreign = false;
                    }
                    if let Some(lane) = run.lane(&slot.lane.signer) {
                        lane.room.notify_one();
                    }
                }
            }
            Verdict::Reorged => self.reorged(slot).await,
            Verdict::Missed if missed >= MISSES_BEFORE_REORG => self.reorged(slot).await,
            Verdict::Missed => {}
            Verdict::Close { by } => self.close(run, slot, &by, false).await,
            Verdict::Free { by } => self.close(run, slot, &by, true).await,
            Verdict::Resend => ask(run, slot, Ask::Resend(slot.key())),
            // What is behind the first of a lane can't land before it: a higher bid there would buy nothing.
            Verdict::Rebid if run.lowest_in_flight(&slot.lane.signer) != Some(slot.sequence) => {}
            Verdict::Rebid => ask(run, slot, Ask::Rebid(slot.key())),
            Verdict::Fill => ask(run, slot, Ask::Fill(slot.key())),
        }
    }

    /// Has every step in the slot judged; `true` when all of them are decided on this ground.
    async fn judge_slot(
        self: &Arc<Self>,
        run: &NetworkRun,
        slot: &OpenSlot,
        observation: &Observation,
        shown: &Shown,
        decided: &Decided,
    ) -> bool {
        let (tx_id, since_height) = {
            let state = slot.lock();
            let attempt = state
                .attempts
                .iter()
                .find(|attempt| attempt.id.to_string() == observation.attempt_id);
            (
                attempt.map(|attempt| attempt.tx_id.clone()).unwrap_or_default(),
                state.since_height(),
            )
        };
        let mut all = true;
        for (settlement, step) in &slot.covers {
            let row = settlement
                .lock()
                .row
                .steps
                .get(usize::try_from(*step).unwrap_or(usize::MAX))
                .cloned();
            let Some(row) = row else { continue };
            if !matches!(row.state, StepState::InSlot { .. }) {
                // Decided before: on this ground, or on one that is gone, which a restart or a batch can hide.
                if !row
                    .ground
                    .as_ref()
                    .is_some_and(|ground| decided.is_ground(ground))
                {
                    self.reorged_step(slot, settlement, *step).await;
                    all = false;
                }
                continue;
            }
            let evidence = Evidence {
                step: *step,
                shown: shown.clone(),
                tx_id: tx_id.clone(),
                head_height: observation.head_height,
                logs: observation.logs.clone(),
                deltas: observation.deltas.clone(),
                reads: observation.reads.clone(),
                foreign: observation
                    .foreign
                    .iter()
                    .filter(|tx| counts(tx, since_height, &run.network.settings))
                    .cloned()
                    .collect(),
            };
            all &= self.judge_step(settlement, &evidence, Some(decided)).await;
        }
        all
    }

    /// Has the scheme judge a step; `true` when that decided it. Without a ground the decision is final at once: no
    /// attempt of the step can land.
    pub(super) async fn judge_step(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        evidence: &Evidence,
        decided: Option<&Decided>,
    ) -> bool {
        let step = evidence.step;
        let network = settlement.network.id();
        let (Some(kind), Some(plan)) = (&settlement.kind, settlement.plan()) else {
            tracing::error!(
                settlement = settlement.id,
                "a payment landed and no loaded plugin can judge it: load the \
                 version that planned it"
            );
            self.metrics
                .add("switchyard_unjudged_total", &[("network", network)], 1);
            return false;
        };
        let pays = usize::try_from(step)
            .ok()
            .and_then(|i| plan.steps.get(i))
            .is_some_and(|step| step.pays);
        match self.ops.judge(kind, plan, evidence).await {
            Ok(Judgement::Paid(paid)) if pays => {
                self.conclude_paid(settlement, paid, evidence, decided).await
            }
            Ok(Judgement::NotPaid(refusal)) if pays => {
                self.conclude_failed(settlement, refusal, evidence, decided).await
            }
            Ok(Judgement::Next | Judgement::Paid(_)) if !pays => {
                let foreign = evidence.foreign.first();
                let (height, tx_id) = match (&evidence.shown, foreign) {
                    (Shown::Landed { height } | Shown::Reverted { height, .. }, _) => {
                        (*height, &evidence.tx_id)
                    }
                    (Shown::Dead { .. }, Some(tx)) => (tx.height, &tx.tx_id),
                    (Shown::Dead { .. }, None) => {
                        tracing::error!(
                            settlement = settlement.id,
                            step,
                            "the scheme calls a step done that can't have happened"
                        );
                        return false;
                    }
                };
                let done = Event::StepDone {
                    settlement: settlement.id,
                    step,
                    tx_id: tx_id.clone(),
                    height,
                };
                self.conclude_step(settlement, done, evidence, decided).await
            }
            Ok(Judgement::NotPaid(refusal)) => {
                let failed = Event::StepFailed {
                    settlement: settlement.id,
                    step,
                    reason: refusal.reason,
                };
                self.conclude_step(settlement, failed, evidence, decided).await
            }
            Ok(Judgement::Next | Judgement::Paid(_)) => {
                tracing::error!(
                    settlement = settlement.id,
                    step,
                    "the scheme's judgement does not fit the step"
                );
                false
            }
            Ok(Judgement::Unproven { why }) => {
                tracing::warn!(settlement = settlement.id, step, "not proven yet: {why}");
                self.metrics
                    .add("switchyard_unproven_total", &[("network", network)], 1);
                false
            }
            Err(_) => false,
        }
    }

    /// The slot is another's or this transaction's for good.
    async fn close(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>, by: &str, free: bool) {
        let settlements = slot.settlements();
        let mut deciding = Vec::new();
        for settlement in &settlements {
            deciding.push(settlement.deciding.lock().await);
        }
        let mut events = vec![Event::SlotClosed {
            network: slot.lane.network.clone(),
            signer: slot.lane.signer.clone(),
            sequence: slot.sequence,
            by: by.to_owned(),
        }];
        for (settlement, step) in &slot.covers {
            let (settlement, step) = (settlement.id, *step);
            events.push(if free {
                Event::StepFreed { settlement, step }
            } else {
                Event::StepFinal { settlement, step }
            });
        }
        if !free {
            // What ends with its last slot ends in the same commit.
            events.extend(
                settlements
                    .iter()
                    .flat_map(|settlement| self.end_events(settlement, &slot.covers)),
            );
        }
        if let Err(error) = self.journal.commit(events).await {
            tracing::error!(%error, sequence = slot.sequence, "a slot could not be closed");
            return;
        }
        slot.lock().closed = true;
        run.remove_slot(&slot.key());
        if let Some(lane) = run.lane(&slot.lane.signer) {
            lane.room.notify_one();
            if free {
                lane.ask(Ask::CatchUp);
            }
        }
        for settlement in &settlements {
            self.refresh_locked(settlement).await;
        }
        drop(deciding);
        for settlement in &settlements {
            if free {
                tracing::warn!(
                    settlement = settlement.id,
                    "a step lost its slot and takes another"
                );
            }
            self.advance(settlement);
            self.forget_if_finished(settlement);
        }
    }

    /// What a settlement's end adds to the commit that makes these steps final.
    fn end_events(&self, settlement: &Arc<Settlement>, final_now: &[(Arc<Settlement>, u32)]) -> Vec<Event> {
        let state = settlement.lock();
        let ends = state.row.outcome != Outcome::Open
            && state.row.steps.iter().enumerate().all(|(index, row)| {
                row.is_final
                    || final_now
                        .iter()
                        .any(|(s, step)| s.id == settlement.id && usize::try_from(*step) == Ok(index))
            });
        if !ends || state.row.finished {
            return Vec::new();
        }
        let settlement = settlement.id;
        vec![
            Event::KeysFreed { settlement },
            Event::Finished {
                settlement,
                at_ms: self.clock.now_ms(),
            },
        ]
    }

    async fn reorged(self: &Arc<Self>, slot: &Arc<OpenSlot>) {
        let mut all = true;
        for (settlement, step) in &slot.covers {
            all &= self.reorged_step(slot, settlement, *step).await;
        }
        if all {
            let mut state = slot.lock();
            state.decided = None;
            state.due = Instant::now();
        }
    }

    /// What decided a step is gone: it is open again. `true` when that is recorded.
    async fn reorged_step(
        self: &Arc<Self>,
        slot: &OpenSlot,
        settlement: &Arc<Settlement>,
        step: u32,
    ) -> bool {
        let _deciding = settlement.deciding.lock().await;
        let row = settlement.lock().row.clone();
        let index = usize::try_from(step).unwrap_or(usize::MAX);
        let is_open = |row: &crate::journal::StepRow| {
            matches!(row.state, StepState::Waiting | StepState::InSlot { .. })
        };
        if row.steps.get(index).is_none_or(is_open) {
            return true;
        }
        tracing::error!(settlement = settlement.id, step, tx = ?row.tx_id, was_released = row.release.is_some(),
            "a payment's block was reorganised away; it is pending again");
        self.metrics
            .add("switchyard_reorgs_total", &[("network", &slot.lane.network)], 1);
        let mut events = vec![Event::Reorged {
            settlement: settlement.id,
            step,
        }];
        events.extend(super::outcome::revived(settlement, &row, index));
        let committed = self.journal.commit(events).await;
        if let Err(error) = &committed {
            tracing::error!(%error, settlement = settlement.id, "a reorganisation could not be recorded");
        }
        self.refresh_locked(settlement).await;
        committed.is_ok()
    }
}

fn ask(run: &NetworkRun, slot: &OpenSlot, what: Ask) {
    if let Some(lane) = run.lane(&slot.lane.signer) {
        slot.lock().asked = true;
        lane.ask(what);
    }
}

pub(super) fn watches_of(slot: &OpenSlot) -> Vec<Watch> {
    let evidence: Vec<EvidenceWanted> = slot
        .covers
        .iter()
        .filter_map(|(settlement, step)| {
            let plan = settlement.plan()?;
            plan.steps
                .get(usize::try_from(*step).ok()?)
                .map(|step| step.evidence.clone())
        })
        .collect();
    let state = slot.lock();
    let since_height = state.since_height();
    state
        .attempts
        .iter()
        .map(|attempt| Watch {
            attempt_id: attempt.id.to_string(),
            tx_id: attempt.tx_id.clone(),
            lane: attempt.lane.clone(),
            sequence: attempt.sequence,
            since_height,
            evidence: evidence.clone(),
            search_foreign: state.search_foreign,
        })
        .collect()
}

impl Engine {
    /// Starts a network's observer, its readiness checks, and counts what is open.
    pub(super) fn start_network(self: &Arc<Self>, run: &Arc<NetworkRun>) {
        self.spawn(Arc::clone(self).keep_looking(Arc::clone(run)));
        self.spawn(Arc::clone(self).keep_checking(Arc::clone(run)));
        self.spawn(Arc::clone(self).keep_checking_schemes(Arc::clone(run)));
    }

    /// For tests and metrics: claims in memory.
    #[must_use]
    pub fn claims_in_memory(&self) -> usize {
        lock(&self.claims).len()
    }
}
