//! One batched loop a network: where does every open transaction stand, and what follows from it?
//!
//! What to do with a slot is a pure function ([`verdict`]) of what was observed, of what was decided before, and of
//! the time; the loop around it is dull.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sdk_plugin::chain::{Evidence, ForeignTx, Observation, Shown, TxState, Watch};
use sdk_plugin::scheme::{EvidenceWanted, Judgement};
use tokio::time::Instant;

use super::lane::Ask;
use super::network::NetworkRun;
use super::settlement::Settlement;
use super::slot::{Decided, OpenSlot, SlotState};
use super::{Engine, lock};
use crate::journal::{AttemptKind, Event, StepState};
use crate::registry::NetworkSettings;

/// The first look after a send, and the least pause between two looks at a slot.
const QUICK: Duration = Duration::from_millis(40);
/// A transaction that no node knows is sent again after this long.
const RESEND_AFTER: Duration = Duration::from_secs(2);
/// Without open slots the loop sleeps this long, or until it is woken.
const IDLE: Duration = Duration::from_secs(60);
/// Blocks that must have come since a bid before it counts as too low.
const BLOCKS_BEFORE_REBID: u64 = 2;
/// Looks in a row that must miss a decided transaction before it counts as gone: one node may lag behind another.
const MISSES_BEFORE_REORG: u32 = 2;
/// Slots that are watched in one call.
const BATCH: usize = 256;

/// What follows from a look at a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Wait,
    /// Look again with a search for other transactions that made the payment.
    SearchForeign,
    /// Have the schemes judge: `index` is the observation that shows it.
    Judge { index: usize, shown: Shown, decided: Decided },
    /// What was decided before is not on the chain any more.
    Reorged,
    /// What was decided before was not seen by a node that should have it.
    Missed,
    /// Decided and final: the slot is this transaction's.
    Close { by: String },
    /// Another transaction has the slot for good, and the steps are still good: they take another slot.
    Free { by: String },
    Resend,
    Rebid,
    Fill,
}

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
                    let mut by_attempt: HashMap<String, Observation> =
                        observations.into_iter().map(|seen| (seen.attempt_id.clone(), seen)).collect();
                    let looked = slots.iter().map(|slot| {
                        let ids: Vec<String> =
                            slot.lock().attempts.iter().map(|attempt| attempt.id.to_string()).collect();
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
        let pause = if state.search_foreign && state.decided.is_none() {
            QUICK
        } else if state.decided.is_some() {
            poll.saturating_mul(5)
        } else {
            (now.saturating_duration_since(state.last_sent) / 2).clamp(QUICK, poll)
        };
        state.due = now + pause;
    }

    async fn act(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>, seen: &[Observation]) {
        let verdict = {
            let state = slot.lock();
            if state.closed || seen.len() != state.attempts.len() {
                return;
            }
            verdict(slot, &state, seen, &run.network.settings, self.clock.now_s())
        };
        let missed = {
            let mut state = slot.lock();
            state.missed = if verdict == Verdict::Missed { state.missed.saturating_add(1) } else { 0 };
            state.missed
        };
        match verdict {
            Verdict::Wait => {}
            Verdict::SearchForeign => slot.lock().search_foreign = true,
            Verdict::Judge { index, shown, decided } => {
                let Some(observation) = seen.get(index) else { return };
                if self.judge_slot(run, slot, observation, &shown).await {
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
            Verdict::Rebid => ask(run, slot, Ask::Rebid(slot.key())),
            Verdict::Fill => ask(run, slot, Ask::Fill(slot.key())),
        }
    }

    /// Has every step in the slot judged; `true` when all of them are decided.
    async fn judge_slot(
        self: &Arc<Self>,
        run: &NetworkRun,
        slot: &OpenSlot,
        observation: &Observation,
        shown: &Shown,
    ) -> bool {
        let mut all = true;
        for (settlement, step) in &slot.covers {
            all &= self.judge_step(run, slot, settlement, *step, observation, shown).await;
        }
        all
    }

    async fn judge_step(
        self: &Arc<Self>,
        run: &NetworkRun,
        slot: &OpenSlot,
        settlement: &Arc<Settlement>,
        step: u32,
        observation: &Observation,
        shown: &Shown,
    ) -> bool {
        let index = usize::try_from(step).unwrap_or(usize::MAX);
        let is_open = settlement
            .lock()
            .row
            .steps
            .get(index)
            .is_some_and(|row| matches!(row.state, StepState::InSlot { .. }));
        if !is_open {
            return true;
        }
        let (Some(kind), Some(plan)) = (&settlement.kind, settlement.plan()) else {
            tracing::error!(settlement = settlement.id, "a payment landed and no loaded plugin can judge it: load the \
                 version that planned it");
            self.metrics.add("switchyard_unjudged_total", &[("network", run.network.id())], 1);
            return false;
        };
        let (tx_id, since_height) = {
            let state = slot.lock();
            let tx_id = state
                .attempts
                .iter()
                .find(|attempt| attempt.id.to_string() == observation.attempt_id)
                .map(|attempt| attempt.tx_id.clone());
            (tx_id.unwrap_or_default(), state.since_height())
        };
        let evidence = Evidence {
            step,
            shown: shown.clone(),
            tx_id,
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
        let pays = plan.steps.get(index).is_some_and(|step| step.pays);
        match self.ops.judge(kind, plan, &evidence).await {
            Ok(Judgement::Paid(paid)) if pays => self.conclude_paid(settlement, step, paid, &evidence).await,
            Ok(Judgement::NotPaid(refusal)) if pays => {
                self.conclude_failed(settlement, step, refusal, &evidence).await
            }
            Ok(Judgement::Next | Judgement::Paid(_)) if !pays => {
                let height = match shown {
                    Shown::Landed { height } | Shown::Reverted { height, .. } => *height,
                    Shown::Dead { .. } => return false,
                };
                let done =
                    Event::StepDone { settlement: settlement.id, step, tx_id: evidence.tx_id.clone(), height };
                self.conclude_step(settlement, step, done).await
            }
            Ok(Judgement::NotPaid(refusal)) => {
                let failed = Event::StepFailed { settlement: settlement.id, step, reason: refusal.reason };
                self.conclude_step(settlement, step, failed).await
            }
            Ok(Judgement::Next | Judgement::Paid(_)) => {
                tracing::error!(settlement = settlement.id, step, "the scheme's judgement does not fit the step");
                false
            }
            Ok(Judgement::Unproven { why }) => {
                tracing::warn!(settlement = settlement.id, step, "not proven yet: {why}");
                self.metrics.add("switchyard_unproven_total", &[("network", run.network.id())], 1);
                false
            }
            Err(_) => false,
        }
    }

    /// The slot is another's or this transaction's for good.
    async fn close(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>, by: &str, free: bool) {
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
        let mut deciding = Vec::new();
        for (settlement, _) in &slot.covers {
            deciding.push(settlement.deciding.lock().await);
        }
        if let Err(error) = self.journal.commit(events).await {
            tracing::error!(%error, sequence = slot.sequence, "a slot could not be closed");
            return;
        }
        slot.lock().closed = true;
        run.remove_slot(&slot.key());
        if let Some(lane) = run.lane(&slot.lane.signer) {
            lane.room.notify_one();
        }
        drop(deciding);
        for (settlement, step) in &slot.covers {
            self.refresh(settlement).await;
            if free {
                tracing::warn!(settlement = settlement.id, step, "a step lost its slot and takes another");
            }
            self.advance(settlement);
            self.finish_if_ended(settlement).await;
        }
    }

    async fn reorged(self: &Arc<Self>, slot: &Arc<OpenSlot>) {
        for (settlement, step) in &slot.covers {
            let deciding = settlement.deciding.lock().await;
            let was_released = settlement.lock().row.release.is_some();
            tracing::error!(settlement = settlement.id, tx = ?settlement.lock().row.tx_id, was_released,
                "a payment's block was reorganised away; it is pending again");
            self.metrics.add("switchyard_reorgs_total", &[("network", &slot.lane.network)], 1);
            let event = Event::Reorged { settlement: settlement.id, step: *step };
            if let Err(error) = self.journal.commit(vec![event]).await {
                tracing::error!(%error, settlement = settlement.id, "a reorganisation could not be recorded");
                return;
            }
            drop(deciding);
            self.refresh(settlement).await;
        }
        let mut state = slot.lock();
        state.decided = None;
        state.due = Instant::now();
    }
}

fn ask(run: &NetworkRun, slot: &OpenSlot, what: Ask) {
    if let Some(lane) = run.lane(&slot.lane.signer) {
        slot.lock().asked = true;
        lane.ask(what);
    }
}

fn watches_of(slot: &OpenSlot) -> Vec<Watch> {
    let evidence: Vec<EvidenceWanted> = slot
        .covers
        .iter()
        .filter_map(|(settlement, step)| {
            let plan = settlement.plan()?;
            plan.steps.get(usize::try_from(*step).ok()?).map(|step| step.evidence.clone())
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

/// Whether somebody else's transaction may prove a payment: it came after our attempt, and is deep enough.
fn counts(tx: &ForeignTx, since_height: u64, settings: &NetworkSettings) -> bool {
    tx.height > since_height && tx.depth >= settings.confirmations
}

fn verdict(
    slot: &OpenSlot,
    state: &SlotState,
    seen: &[Observation],
    settings: &NetworkSettings,
    now_s: u64,
) -> Verdict {
    for (index, observation) in seen.iter().enumerate() {
        let (height, block, depth, reverted) = match &observation.state {
            TxState::Landed { height, block, depth } => (*height, block, *depth, None),
            TxState::Reverted { height, block, depth, message } => (*height, block, *depth, Some(message.clone())),
            TxState::Unknown | TxState::Pending | TxState::Superseded { .. } | TxState::Expired { .. } => continue,
        };
        let Some(attempt) = state.attempts.get(index) else { continue };
        let here = Decided { attempt: attempt.id, block: block.clone(), height };
        return match &state.decided {
            Some(decided) if *decided == here => {
                if depth >= settings.finality { Verdict::Close { by: attempt.tx_id.clone() } } else { Verdict::Wait }
            }
            Some(_) => Verdict::Reorged,
            None if depth < settings.confirmations => Verdict::Wait,
            None => {
                let shown = match (attempt.kind, reverted) {
                    (AttemptKind::Fill, _) => Shown::Dead { why: "its slot was filled".into() },
                    (AttemptKind::Steps, None) => Shown::Landed { height },
                    (AttemptKind::Steps, Some(message)) => Shown::Reverted { height, message },
                };
                judge_when_searched(slot, state, observation, settings, index, shown, here)
            }
        };
    }
    if let Some(decided) = &state.decided {
        // A slot lost to others or expired was decided on that ground, and stays so.
        return match decided.block.strip_prefix(GONE) {
            Some(by) => Verdict::Close { by: by.to_owned() },
            None if seen.iter().any(|observation| observation.head_height < decided.height) => Verdict::Wait,
            None => Verdict::Missed,
        };
    }
    if let Some((by, depth)) = superseded(seen) {
        if depth < settings.finality {
            return Verdict::Wait;
        }
        let expired = slot.expires_at_s().is_some_and(|at| now_s >= at);
        let index = seen.len().saturating_sub(1);
        let Some(observation) = seen.get(index) else { return Verdict::Wait };
        if wants_foreign(slot) && !observation.foreign_searched {
            return Verdict::SearchForeign;
        }
        if !expired && observation.foreign.is_empty() {
            return Verdict::Free { by };
        }
        return dead(slot, state, observation, settings, index, "another transaction has its slot", &by);
    }
    if let Some((index, proof)) = expired(seen) {
        let Some(observation) = seen.get(index) else { return Verdict::Wait };
        return dead(slot, state, observation, settings, index, &proof, "expired");
    }
    waiting(slot, state, seen, settings, now_s)
}

/// Marks a decision that no block of ours stands for.
const GONE: &str = "gone:";

fn dead(
    slot: &OpenSlot,
    state: &SlotState,
    observation: &Observation,
    settings: &NetworkSettings,
    index: usize,
    why: &str,
    by: &str,
) -> Verdict {
    let Some(newest) = state.newest() else { return Verdict::Wait };
    let decided = Decided { attempt: newest.id, block: format!("{GONE}{by}"), height: 0 };
    judge_when_searched(slot, state, observation, settings, index, Shown::Dead { why: why.to_owned() }, decided)
}

fn judge_when_searched(
    slot: &OpenSlot,
    state: &SlotState,
    observation: &Observation,
    settings: &NetworkSettings,
    index: usize,
    shown: Shown,
    decided: Decided,
) -> Verdict {
    let landed = matches!(shown, Shown::Landed { .. });
    if !landed && wants_foreign(slot) {
        if !observation.foreign_searched {
            return Verdict::SearchForeign;
        }
        let since = state.since_height();
        let unripe = |tx: &ForeignTx| tx.height > since && tx.depth < settings.confirmations;
        if observation.foreign.iter().any(unripe) {
            return Verdict::Wait;
        }
    }
    Verdict::Judge { index, shown, decided }
}

fn wants_foreign(slot: &OpenSlot) -> bool {
    slot.covers.iter().any(|(settlement, step)| {
        let wanted = || {
            let plan = settlement.plan()?;
            Some(!plan.steps.get(usize::try_from(*step).ok()?)?.evidence.foreign.is_empty())
        };
        wanted().unwrap_or(false)
    })
}

/// All attempts lost their slot: to whom, and how deep at least.
fn superseded(seen: &[Observation]) -> Option<(String, u64)> {
    let mut least: Option<(String, u64)> = None;
    for observation in seen {
        let TxState::Superseded { by, depth } = &observation.state else { return None };
        let by = by.clone().unwrap_or_else(|| "another transaction of the signer".into());
        if least.as_ref().is_none_or(|(_, least)| depth < least) {
            least = Some((by, *depth));
        }
    }
    least
}

/// All attempts have expired: the newest one's place, and the proof.
fn expired(seen: &[Observation]) -> Option<(usize, String)> {
    let mut last = None;
    for (index, observation) in seen.iter().enumerate() {
        let TxState::Expired { proof } = &observation.state else { return None };
        last = Some((index, proof.clone()));
    }
    last
}

/// Nothing landed: is anything to be done meanwhile?
fn waiting(
    slot: &OpenSlot,
    state: &SlotState,
    seen: &[Observation],
    settings: &NetworkSettings,
    now_s: u64,
) -> Verdict {
    if state.asked {
        return Verdict::Wait;
    }
    let (Some(newest), Some(observation)) = (state.newest(), seen.last()) else { return Verdict::Wait };
    if slot.lane.ordered && !state.has_fill() && slot.expires_at_s().is_some_and(|at| now_s >= at) {
        return Verdict::Fill;
    }
    let now = Instant::now();
    let stuck = now.saturating_duration_since(state.last_bid) >= Duration::from_millis(settings.stuck_after_ms)
        && observation.head_height >= newest.since_height.saturating_add(BLOCKS_BEFORE_REBID);
    if slot.lane.ordered && stuck {
        return Verdict::Rebid;
    }
    let unknown = matches!(observation.state, TxState::Unknown);
    if unknown && now.saturating_duration_since(state.last_sent) >= RESEND_AFTER {
        return Verdict::Resend;
    }
    Verdict::Wait
}

impl Engine {
    /// Starts a network's observer, its readiness checks, and counts what is open.
    pub(super) fn start_network(self: &Arc<Self>, run: &Arc<NetworkRun>) {
        self.spawn(Arc::clone(self).keep_looking(Arc::clone(run)));
        self.spawn(Arc::clone(self).keep_checking(Arc::clone(run)));
    }

    /// For tests and metrics: claims in memory.
    #[must_use]
    pub fn claims_in_memory(&self) -> usize {
        lock(&self.claims).len()
    }
}
