//! One batched loop a network: where does every open transaction stand, and what follows from it?
//!
//! What to do with a slot is a pure function ([`super::verdict`]) of what was observed, of what was decided before, and
//! of the time; the loop around it carries it out. How slots close is in [`super::closing`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sdk_plugin::chain::{BlockStands, Evidence, ForeignTx, GuardState, Observation, Shown, TxState, Watch};
use sdk_plugin::scheme::Judgement;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::head::FAR_BLOCKS;
use super::lane::Ask;
use super::network::NetworkRun;
use super::settlement::Settlement;
use super::slot::{Decided, OpenSlot, SlotState};
use super::survive::AFTER_A_PANIC;
use super::verdict::{Look, Verdict, View, verdict};
use super::{Engine, lock};
use crate::registry::NetworkSettings;
use journal::{Event, StepState};

/// The first poll after a send, and the least pause between two polls of a slot.
const QUICK: Duration = Duration::from_millis(40);
/// Without open slots the loop sleeps this long, or until it is woken.
const IDLE: Duration = Duration::from_secs(60);
/// How long a look waits for what follows from it: slots that take longer are looked at apart from then on.
const TOGETHER: Duration = Duration::from_millis(100);
/// Names the work in alarms of its panics.
const WORK: &str = "the observer";
/// Polls in a row that must show another block in place of the one that decided: one node may be on a fork.
const REPLACED_BEFORE_REORG: u32 = 2;
/// Slots that are watched in one call.
const BATCH: usize = 256;
/// Blocks before the first attempt that searches look into at least.
const EARLIER_BLOCKS: u64 = 64;
/// A head that is more than this above the known one is confirmed by a second answer before depths are counted from it.
pub(super) const LEAP_BLOCKS: u64 = 16;
/// How far below the block that makes a slot final the known head may be when that block is asked for with the rest.
const NEAR_FINAL_BLOCKS: u64 = 8;
/// From when on after a send a node is asked whether it knows the transaction. Most land before.
const POOL_AFTER: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) async fn keep_looking(self: Arc<Self>, run: Arc<NetworkRun>) {
        loop {
            let now = Instant::now();
            let next = run
                .slots()
                .iter()
                .filter_map(|slot| slot.lock().is_due_at())
                .min();
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
        let began = now;
        let mut due: Vec<Arc<OpenSlot>> = run.slots();
        due.retain(|slot| slot.lock().is_due_at().is_some_and(|due| due <= now));
        for slots in due.chunks(BATCH) {
            let by_node = self.by_node(slots, &run.network);
            let looks = by_node.iter();
            join_all(looks.map(|(node, slots)| self.look_at(run, slots, *node, began))).await;
        }
    }

    /// Through this node, or through the one that reads go to.
    async fn look_at(
        self: &Arc<Self>,
        run: &Arc<NetworkRun>,
        slots: &[Arc<OpenSlot>],
        node: Option<usize>,
        began: Instant,
    ) {
        let watches: Vec<Watch> = slots
            .iter()
            .flat_map(|slot| watches_of(slot, &run.network.settings, run.head()))
            .collect();
        let seen = match node {
            Some(node) => self.observe_first_by(run, &watches, node).await,
            None => self.observe_of_any(&run.network, &watches).await,
        };
        let Ok(observations) = seen else {
            let later = Instant::now() + Duration::from_millis(run.network.settings.poll_interval_ms);
            for slot in slots {
                slot.lock().due = later;
            }
            return;
        };
        let known = run.head();
        // One answer is one head, however many watches it is about.
        if let Some(head) = observations.iter().map(|seen| seen.head_height).min() {
            run.saw_head(head);
        }
        let mut by_attempt: HashMap<String, Observation> = observations
            .into_iter()
            .map(|seen| (seen.attempt_id.clone(), without_leap(seen, known)))
            .collect();
        let looked = slots.iter().map(|slot| {
            let ids: Vec<String> = slot
                .lock()
                .attempts
                .iter()
                .map(|attempt| attempt.id.to_string())
                .collect();
            let seen: Option<Vec<Observation>> = ids.iter().map(|id| by_attempt.remove(id)).collect();
            (slot, seen)
        });
        let looked: Vec<_> = looked.collect();
        let mut acting = Vec::new();
        for (slot, seen) in looked {
            match seen {
                Some(seen) => acting.push(self.begin_to_act(run, slot, seen, began)),
                // An answer that misses an attempt says nothing about the slot.
                None => self.set_due(run, slot),
            }
        }
        if tokio::time::timeout(TOGETHER, join_all(acting)).await.is_err() {
            // What hangs holds up its own slot only.
            for slot in slots {
                let mut state = slot.lock();
                state.wakes = state.acting;
            }
        }
    }

    /// Acts on what was seen of a slot, in a task of its own: a scheme that hangs, or a panic, concerns this slot alone. The
    /// receiver ends with it.
    fn begin_to_act(
        self: &Arc<Self>,
        run: &Arc<NetworkRun>,
        slot: &Arc<OpenSlot>,
        seen: Vec<Observation>,
        began: Instant,
    ) -> oneshot::Receiver<()> {
        let (ends, end) = oneshot::channel();
        slot.lock().acting = true;
        let (engine, run, slot) = (Arc::clone(self), Arc::clone(run), Arc::clone(slot));
        self.spawn(async move {
            let id = run.network.id();
            let acting = engine.act(&run, &slot, &seen, began);
            if engine.survives(id, WORK, acting).await.is_none() {
                tokio::time::sleep(AFTER_A_PANIC).await;
                let revive = || engine.revive_slot(&run, &slot);
                while let Err(error) = engine.insist(id, WORK, revive).await {
                    tracing::error!(%error, sequence = slot.sequence, "a slot can't be read from the journal");
                    tokio::time::sleep(AFTER_A_PANIC).await;
                }
            }
            engine.set_due(&run, &slot);
            let wakes = {
                let mut state = slot.lock();
                state.acting = false;
                std::mem::take(&mut state.wakes)
            };
            if wakes {
                run.look.notify_one();
            }
            drop(ends);
        });
        end
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

    async fn act(
        self: &Arc<Self>,
        run: &Arc<NetworkRun>,
        slot: &Arc<OpenSlot>,
        seen: &[Observation],
        began: Instant,
    ) {
        let verdict = {
            let mut state = slot.lock();
            if state.closed || seen.len() != state.attempts.len() {
                return;
            }
            // A head that no later answer confirms must not keep the slot from a better bid.
            if let Some(head) = seen.last().map(|observation| observation.head_height) {
                state.bid_head = Some(state.bid_head.map_or(head, |known| known.min(head)));
            }
            state.lapsed = !seen.is_empty()
                && seen.iter().all(|observation| {
                    matches!(observation.state, TxState::Lapsed | TxState::Expired { .. })
                });
            let verdict = verdict(&Look {
                slot,
                state: &state,
                seen,
                settings: &run.network.settings,
                now_s: self.clock.now_s(),
            });
            take_note(&mut state, &verdict, seen);
            let in_block = |observation: &Observation| {
                matches!(
                    observation.state,
                    TxState::Landed { .. } | TxState::Reverted { .. }
                )
            };
            let is_in_block = seen.iter().any(in_block);
            state.unseen_since = if is_in_block {
                None
            } else {
                state.unseen_since.or_else(|| Some(Instant::now()))
            };
            let unseen = state.own_ground_in_question() && !is_in_block;
            state.soon |= unseen && !state.unseen;
            state.unseen = unseen;
            verdict
        };
        if slot.lock().lapsed
            && let Some(lane) = run.lane(&slot.lane.signer)
        {
            lane.room.notify_one();
        }
        match verdict {
            Verdict::Wait | Verdict::SearchForeign | Verdict::ReadGuards | Verdict::DropAnchor => {}
            Verdict::KeepAnchor => {
                // A used slot no longer fills the lane.
                if let Some(lane) = run.lane(&slot.lane.signer) {
                    lane.room.notify_one();
                }
            }
            Verdict::GroundFinal => self.serve_seen(run, slot, u64::MAX, began).await,
            Verdict::Stands { depth } => self.serve_seen(run, slot, depth, began).await,
            Verdict::Judge(view) => self.judge(run, slot, *view).await,
            Verdict::Replaced if slot.lock().replaced >= REPLACED_BEFORE_REORG => self.reorged(slot).await,
            Verdict::Replaced => {}
            Verdict::Close { by } => self.close(run, slot, &by).await,
            Verdict::CloseDecided => self.close_decided(run, slot).await,
            Verdict::Used => self.close_used(run, slot).await,
            Verdict::Resend => command(run, slot, Ask::Resend(slot.key())),
            // What is behind the first of a lane can't land before it: a higher bid there would buy nothing.
            Verdict::Rebid if run.lowest_in_flight(&slot.lane.signer) != Some(slot.sequence) => {}
            Verdict::Rebid => command(run, slot, Ask::Rebid(slot.key())),
            Verdict::Fill => command(run, slot, Ask::Fill(slot.key())),
        }
    }

    /// What was decided is in the chain, this deep, by an observation that began at this moment: callers that asked before
    /// it can be told.
    async fn serve_seen(self: &Arc<Self>, run: &NetworkRun, slot: &OpenSlot, depth: u64, began: Instant) {
        if depth < run.network.settings.confirmations {
            return;
        }
        for settlement in slot.settlements() {
            if settlement.has_waiters() {
                self.serve_waiters(&settlement, Some(began)).await;
            }
        }
    }

    async fn judge(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>, view: View) {
        // A failure is a final answer. Where transactions have no order the driver has asked both.
        let may_end_badly = slot.lane.ordered
            && run.network.settings.nodes >= 2
            && matches!(view.shown, Shown::Reverted { .. });
        let view = if may_end_badly || slot.wants_second_source() {
            match self.agreed(run, slot, view).await {
                Some(agreed) => agreed,
                None => return,
            }
        } else {
            view
        };
        if self.judge_slot(slot, &view).await {
            slot.resume_decision();
            let mut state = slot.lock();
            if state.decided.is_none() {
                state.decided = Some(view.decided);
                state.decided_by_revert = matches!(view.shown, Shown::Reverted { .. });
            }
            state.search_foreign = false;
            state.read_guards = false;
            state.whole_block = false;
            // Callers that came while it was judged wait for a poll that began after them.
            state.soon = slot.covers.iter().any(|(settlement, _)| settlement.has_waiters());
            drop(state);
            if let Some(lane) = run.lane(&slot.lane.signer) {
                lane.room.notify_one();
            }
        } else if matches!(view.shown, Shown::Landed { .. }) {
            let mut state = slot.lock();
            state.whole_block = true;
            // A receipt may lack what the transaction did: the guard tells, and other nodes' logs.
            let has_guard = slot.evidence().iter().any(|wanted| wanted.guard.is_some());
            let is_unread = view.guards.is_empty() || view.guards.contains(&GuardState::Unread);
            if has_guard && is_unread && !state.read_guards {
                state.read_guards = true;
                state.soon = true;
            }
            if view.guards.contains(&GuardState::Changed) && !state.search_foreign {
                state.search_foreign = true;
                state.soon = true;
            }
        }
    }

    /// Has every step in the slot judged; `true` when all of them are decided on this ground.
    async fn judge_slot(self: &Arc<Self>, slot: &OpenSlot, view: &View) -> bool {
        let tx_id = {
            let state = slot.lock();
            let attempt = state
                .attempts
                .iter()
                .find(|attempt| attempt.id.to_string() == view.observation.attempt_id);
            attempt.map(|attempt| attempt.tx_id.clone()).unwrap_or_default()
        };
        let (mut all, mut unproven) = (true, false);
        for (index, (settlement, step)) in slot.covers.iter().enumerate() {
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
                    .is_some_and(|ground| view.decided.is_ground(ground))
                {
                    self.reorged_step(slot, settlement, *step).await;
                    all = false;
                }
                continue;
            }
            let observation = &view.observation;
            let evidence = Evidence {
                step: *step,
                shown: view.shown.clone(),
                tx_id: tx_id.clone(),
                head_height: observation.head_height,
                logs: observation.logs.clone(),
                deltas: observation.deltas.clone(),
                reads: view.reads(),
                foreign: view.foreign.clone(),
                guard: view.guards.get(index).copied().unwrap_or_default(),
                block_logs: observation.block_logs.clone(),
            };
            let wants_guard = slot
                .evidence()
                .get(index)
                .is_some_and(|wanted| wanted.guard.is_some());
            let has_guard = !wants_guard || evidence.guard != GuardState::Absent;
            let ground = Some(&view.decided);
            let judged = self
                .judge_step(settlement, &evidence, ground, view.may_fail(has_guard))
                .await;
            all &= judged == Judged::Decided;
            unproven |= judged == Judged::Unproven;
        }
        slot.lock().foreign_explains_nothing = unproven && !view.foreign.is_empty();
        all
    }

    /// Has the scheme judge a step. Without a ground the decision is final at once: no
    /// attempt of the step can land. `may_fail`: what is shown is whole enough to speak against the step.
    pub(super) async fn judge_step(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        evidence: &Evidence,
        decided: Option<&Decided>,
        may_fail: bool,
    ) -> Judged {
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
            return Judged::Open;
        };
        let pays = usize::try_from(step)
            .ok()
            .and_then(|i| plan.steps.get(i))
            .is_some_and(|step| step.pays);
        match self.ops.judge(kind, plan, evidence).await {
            Ok(Judgement::Paid(paid)) if pays => {
                Judged::of(self.conclude_paid(settlement, paid, evidence, decided).await)
            }
            // The guard is read first.
            Ok(Judgement::NotPaid(_)) if !may_fail => Judged::Open,
            Ok(Judgement::NotPaid(refusal)) if !proves_failure(evidence) => {
                tracing::error!(settlement = settlement.id, step, reason = %refusal.reason,
                    "a judgement was refused: the scheme calls a step failed that may have had its effect");
                self.metrics
                    .add("switchyard_unproven_total", &[("network", network)], 1);
                Judged::Open
            }
            Ok(Judgement::NotPaid(refusal)) if pays => {
                Judged::of(self.conclude_failed(settlement, refusal, evidence, decided).await)
            }
            Ok(judgement @ (Judgement::Next | Judgement::Paid(_))) if !pays => {
                let (writes, jobs) = match judgement {
                    Judgement::Paid(paid) => (paid.writes, paid.jobs),
                    Judgement::Next | Judgement::NotPaid(_) | Judgement::Unproven { .. } => {
                        (Vec::new(), Vec::new())
                    }
                };
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
                        return Judged::Open;
                    }
                };
                let done = Event::StepDone {
                    settlement: settlement.id,
                    step,
                    tx_id: tx_id.clone(),
                    height,
                };
                let rows = (writes, jobs);
                Judged::of(
                    self.conclude_step(settlement, done, evidence, decided, rows)
                        .await,
                )
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
                tracing::error!(
                    settlement = settlement.id,
                    step,
                    "the scheme's judgement does not fit the step"
                );
                Judged::Open
            }
            Ok(Judgement::Unproven { why }) => {
                // Polled several times a second: said once in a while.
                let sentence = format!("not proven yet: {why}");
                if self
                    .run_of(network)
                    .is_none_or(|run| run.health.is_news(&sentence))
                {
                    tracing::warn!(settlement = settlement.id, step, "{sentence}");
                }
                self.metrics
                    .add("switchyard_unproven_total", &[("network", network)], 1);
                Judged::Unproven
            }
            Err(_) => Judged::Open,
        }
    }

    async fn reorged(self: &Arc<Self>, slot: &Arc<OpenSlot>) {
        let mut all = true;
        for (settlement, step) in &slot.covers {
            all &= self.reorged_step(slot, settlement, *step).await;
        }
        if all {
            let mut state = slot.lock();
            state.decided = None;
            state.decided_is_final = false;
            state.anchor = None;
            state.replaced = 0;
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
        let is_open = |row: &journal::StepRow| {
            matches!(
                row.state,
                StepState::Waiting | StepState::InSlot { .. } | StepState::Unexplained { .. }
            )
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

/// What came of a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    Decided,
    /// The scheme wants to see more.
    Unproven,
    /// It could not be judged, or the judgement was not recorded.
    Open,
}

impl Judged {
    fn of(is_recorded: bool) -> Self {
        if is_recorded { Self::Decided } else { Self::Open }
    }
}

/// What a poll leaves in the slot for the next one.
fn take_note(state: &mut SlotState, verdict: &Verdict, seen: &[Observation]) {
    state.replaced = if *verdict == Verdict::Replaced {
        state.replaced.saturating_add(1)
    } else {
        0
    };
    match verdict {
        Verdict::SearchForeign => {
            state.soon = !state.search_foreign;
            state.search_foreign = true;
        }
        Verdict::ReadGuards => {
            state.soon = !state.read_guards;
            state.read_guards = true;
        }
        Verdict::KeepAnchor => {
            state.anchor = seen.last().and_then(|observation| observation.anchor.clone());
            state.read_guards = false;
            state.soon = true;
        }
        Verdict::DropAnchor => {
            state.anchor = None;
            state.read_guards = true;
        }
        Verdict::GroundFinal => {
            state.decided_is_final = true;
            state.soon = true;
        }
        // A receipt that reverted has brought its own.
        Verdict::Used if state.anchor.is_none() => {
            state.anchor = seen.iter().find_map(|observation| observation.anchor.clone());
        }
        Verdict::Wait
        | Verdict::Judge(_)
        | Verdict::Replaced
        | Verdict::Stands { .. }
        | Verdict::Close { .. }
        | Verdict::CloseDecided
        | Verdict::Used
        | Verdict::Resend
        | Verdict::Rebid
        | Verdict::Fill => {}
    }
}

/// Law 4: a step has failed only where its own transaction shows it, its guard is unchanged, or something else explains the
/// change.
fn proves_failure(evidence: &Evidence) -> bool {
    match (&evidence.shown, evidence.guard) {
        (Shown::Landed { .. }, GuardState::Unchanged | GuardState::Absent) => true,
        (Shown::Landed { .. }, GuardState::Changed) => {
            !evidence.logs.is_empty() || !evidence.foreign.is_empty()
        }
        (Shown::Landed { .. }, GuardState::Unread) => false,
        (Shown::Reverted { .. } | Shown::Dead { .. }, GuardState::Unchanged | GuardState::Absent) => true,
        // By what others did, or by a state that excludes it.
        (Shown::Reverted { .. } | Shown::Dead { .. }, GuardState::Changed) => {
            !evidence.foreign.is_empty() || evidence.reads.iter().any(|read| read.data.is_some())
        }
        (Shown::Reverted { .. } | Shown::Dead { .. }, GuardState::Unread) => false,
    }
}

pub(super) fn command(run: &NetworkRun, slot: &OpenSlot, what: Ask) {
    if let Some(lane) = run.lane(&slot.lane.signer) {
        slot.lock().asked = true;
        lane.ask(what);
    }
}

/// Blocks that are searched where it is not known when a transaction was made.
const NEWEST_BLOCKS: u64 = 5_000;

/// Where searches begin. What changed a guard before our first attempt does not pay the claim, and explains its failure: the
/// node that planned may have lagged.
///
/// A journaled height far above the head is that of a node that was wrong: the newest blocks are searched.
pub(super) fn search_from(since_height: u64, head: u64, settings: &NetworkSettings) -> u64 {
    let since_height = if head > 0 && since_height > head.saturating_add(FAR_BLOCKS) {
        head.saturating_sub(NEWEST_BLOCKS)
    } else {
        since_height
    };
    since_height.saturating_sub(settings.finality.max(EARLIER_BLOCKS))
}

/// An observation whose head is far above what was known counts its depths from the known head: one answer alone may name a
/// head that never was, and the next one confirms a true one.
pub(super) fn without_leap(seen: Observation, known_head: u64) -> Observation {
    let excess = seen.head_height.saturating_sub(known_head);
    if known_head == 0 || excess <= LEAP_BLOCKS {
        return seen;
    }
    let less = |depth: u64| depth.saturating_sub(excess).max(1);
    let state = match seen.state {
        TxState::Landed { height, block, depth } => TxState::Landed {
            height,
            block,
            depth: less(depth),
        },
        TxState::Reverted {
            height,
            block,
            depth,
            message,
        } => TxState::Reverted {
            height,
            block,
            depth: less(depth),
            message,
        },
        other @ (TxState::Unknown
        | TxState::Pending
        | TxState::SlotUsed
        | TxState::Lapsed
        | TxState::Expired { .. }) => other,
    };
    let block = seen.block.map(|block| match block {
        BlockStands::Canonical { depth } => BlockStands::Canonical { depth: less(depth) },
        BlockStands::Replaced | BlockStands::Unknown => block,
    });
    let foreign = seen.foreign.into_iter().map(|tx| ForeignTx {
        depth: less(tx.depth),
        ..tx
    });
    Observation {
        state,
        block,
        foreign: foreign.collect(),
        ..seen
    }
}

/// One watch for each attempt. What concerns the slot as a whole is asked with the newest.
pub(super) fn watches_of(slot: &OpenSlot, settings: &NetworkSettings, head: u64) -> Vec<Watch> {
    let evidence = slot.evidence();
    let state = slot.lock();
    let since_height = search_from(state.since_height(), head, settings);
    let own_decided = state.own_ground_in_question();
    let may_be_lost = state.decided.is_none() || state.decided_is_final || state.unseen;
    // A slot that seems used is not, while a node has a transaction of ours waiting for it.
    let seems_used = state.decided.is_none() && (state.anchor.is_some() || state.read_guards);
    let pool = may_be_lost && Instant::now().saturating_duration_since(state.last_sent) >= POOL_AFTER;
    // The block that decided says whether our transaction is still there, whatever receipts a node keeps.
    let decided = state
        .decided
        .as_ref()
        .filter(|_| own_decided)
        .map(|decided| decided.attempt);
    let followed = state.followed();
    let final_at = followed
        .as_ref()
        .map(|block| block.height.saturating_add(settings.finality.saturating_sub(1)))
        .filter(|height| *height <= head.saturating_add(NEAR_FINAL_BLOCKS));
    let newest = state.attempts.len().saturating_sub(1);
    state
        .attempts
        .iter()
        .enumerate()
        .map(|(index, attempt)| {
            let is_newest = index == newest;
            let by_block = decided == Some(attempt.id);
            Watch {
                attempt_id: attempt.id.to_string(),
                tx_id: attempt.tx_id.clone(),
                lane: attempt.lane.clone(),
                sequence: attempt.sequence,
                since_height,
                evidence: evidence.clone(),
                search_foreign: state.search_foreign && is_newest,
                pool: seems_used || (pool && is_newest),
                block: followed.clone().filter(|_| is_newest || by_block),
                by_block,
                final_at: final_at.filter(|_| is_newest),
                read_guards: state.read_guards,
                whole_block: state.whole_block,
            }
        })
        .collect()
}

impl Engine {
    /// Starts a network's observer, its readiness checks, and counts what is open.
    pub(super) fn start_network(self: &Arc<Self>, run: &Arc<NetworkRun>) {
        let id = run.network.id();
        let (looked, checked, schemes) = (Arc::clone(run), Arc::clone(run), Arc::clone(run));
        let judged = Arc::clone(run);
        self.keep(id, "the judgement of nodes", move |engine| {
            engine.keep_judging(Arc::clone(&judged))
        });
        self.keep(id, "the observer", move |engine| {
            engine.keep_looking(Arc::clone(&looked))
        });
        self.keep(id, "the check of the network", move |engine| {
            engine.keep_checking(Arc::clone(&checked))
        });
        self.keep(id, "the check of the schemes", move |engine| {
            engine.keep_checking_schemes(Arc::clone(&schemes))
        });
    }

    /// For tests and metrics: claims in memory.
    #[must_use]
    pub fn claims_in_memory(&self) -> usize {
        lock(&self.claims).len()
    }
}
