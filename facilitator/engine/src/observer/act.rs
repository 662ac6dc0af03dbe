//! What follows from a poll of one slot.

use super::Observer;
use crate::decide::steps::{follows_client_signed, is_gate_open, revived};
use crate::outcome::judge::{Basis, Judged};
use crate::state::lane::LaneCommand;
use crate::state::network::NetworkRun;
use crate::state::settlement::Settlement;
use crate::state::slot::{OpenSlot, Reads, SlotDecision, SlotState};
use crate::verdict::{Verdict, VerdictInput, View, verdict};
use journal::{Event, GroundAt, StepState};
use sdk_plugin::StepIndex;
use sdk_plugin::chain::{Evidence, GuardState, LogEntry, Observation, Shown, TxState};
use sdk_plugin::scheme::EvidenceWanted;
use std::sync::Arc;
use tokio::time::Instant;

/// Polls in a row that must show another block in place of the one that decided: one node may be on a fork.
const REPLACED_BEFORE_REORG: u32 = 2;

impl Observer {
    pub(super) async fn act(
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
            state.record_poll(seen);
            let verdict = verdict(&VerdictInput {
                slot,
                state: &state,
                seen,
                settings: &run.network.settings,
                now_s: self.runtime.clock.now_s(),
            });
            record_observations(&mut state, &verdict, seen);
            match verdict {
                // What was observed only answers callers.
                Verdict::Stands { .. } | Verdict::GroundFinal => verdict,
                _ if slot.is_watched => return,
                verdict => verdict,
            }
        };
        if slot.lock().last_poll.is_lapsed()
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
            // Most polls decide nothing: boxed, what seldom runs is no part of every poll's task.
            Verdict::GroundFinal => Box::pin(self.serve_seen(run, slot, u64::MAX, began)).await,
            Verdict::Stands { depth } => Box::pin(self.serve_seen(run, slot, depth, began)).await,
            Verdict::Judge(view) => Box::pin(self.judge(run, slot, *view, began)).await,
            Verdict::Replaced if replaced(slot) >= REPLACED_BEFORE_REORG => {
                Box::pin(self.reorged(slot)).await;
            }
            Verdict::Replaced => {}
            Verdict::Close { by } => Box::pin(self.endings.close(run, slot, &by)).await,
            Verdict::CloseDecided => Box::pin(self.endings.close_decided(run, slot)).await,
            Verdict::Used => Box::pin(self.endings.close_used(run, slot)).await,
            // A reorganisation has taken a client's transaction back that its call needs: sent before that one, it would revert.
            Verdict::Resend | Verdict::Rebid if waits_for_client(slot) => {}
            Verdict::Resend => command(run, slot, LaneCommand::Resend(slot.key())),
            // A later transaction of a lane can't land before the first one: a higher bid for it would gain nothing.
            Verdict::Rebid if run.lowest_in_flight(&slot.lane.signer) != Some(slot.sequence) => {}
            Verdict::Rebid => command(run, slot, LaneCommand::Rebid(slot.key())),
            Verdict::Fill => command(run, slot, LaneCommand::Fill(slot.key())),
        }
    }

    /// The chain shows what was decided, this deep, in an observation that began at this moment: callers that came
    /// before it can be answered.
    pub(super) async fn serve_seen(
        self: &Arc<Self>,
        run: &NetworkRun,
        slot: &OpenSlot,
        depth: u64,
        began: Instant,
    ) {
        if depth < run.network.settings.confirmations {
            return;
        }
        for (settlement, step) in &slot.covers {
            // The slot of another step shows nothing about the payment.
            let pays = step.of(&settlement.lock().row.steps).is_some_and(|row| row.pays);
            if pays && settlement.has_waiters() {
                self.outcomes.serve_waiters(settlement, Some(began)).await;
            }
        }
    }

    pub(super) async fn judge(
        self: &Arc<Self>,
        run: &Arc<NetworkRun>,
        slot: &Arc<OpenSlot>,
        view: View,
        began: Instant,
    ) {
        // A failure is a final answer. On a network whose transactions have no order the driver has queried two nodes.
        let may_end_badly = (slot.lane.ordered || slot.is_client_signed())
            && run.network.settings.nodes >= 2
            && matches!(view.shown, Shown::Reverted { .. });
        let view = if may_end_badly || slot.wants_second_source() {
            match self.runtime.agreed(run, slot, view).await {
                Some(agreed) => agreed,
                None => return,
            }
        } else {
            view
        };
        // A transaction that is not the client's may be made once more.
        let is_dead = matches!(view.decided.at, GroundAt::Dead(_));
        if is_dead && !slot.is_client_signed() && self.endings.renew(run, slot).await {
            return;
        }
        if self.judge_slot(slot, &view, began).await {
            slot.record_decision(view.decided, &view.shown);
            let mut state = slot.lock();
            state.reads = Reads::default();
            // Callers that came during the judgement wait for a poll that began after they came.
            if slot.covers.iter().any(|(settlement, _)| settlement.has_waiters()) {
                state.polling.repeat_soon();
            }
            drop(state);
            if let Some(lane) = run.lane(&slot.lane.signer) {
                lane.room.notify_one();
            }
            return;
        }
        // Those of its steps that are decided rest on a block, which is followed from now on.
        slot.resume_decision();
        if let TxState::Landed { depth, .. } = view.observation.state {
            self.serve_seen(run, slot, depth, began).await;
        }
        if matches!(view.shown, Shown::Landed { .. }) {
            let mut state = slot.lock();
            state.reads.whole_block = true;
            // A receipt may lack what the transaction did: the guard and other nodes' logs show it.
            let has_guard = slot.evidence().iter().any(|wanted| wanted.guard.is_some());
            let is_unread = view.guards.is_empty() || view.guards.contains(&GuardState::Unread);
            if has_guard && is_unread && state.reads.add_guards() {
                state.polling.repeat_soon();
            }
            if view.guards.contains(&GuardState::Changed) && state.reads.add_search() {
                state.polling.repeat_soon();
            }
        }
    }

    /// Judges every step in the slot; `true` when all of them are decided on this ground.
    pub(super) async fn judge_slot(self: &Arc<Self>, slot: &OpenSlot, view: &View, began: Instant) -> bool {
        let tx_id = {
            let state = slot.lock();
            let attempt = state
                .attempts
                .iter()
                .find(|attempt| attempt.id.to_string() == view.observation.attempt_id);
            attempt.map(|attempt| attempt.tx_id.clone()).unwrap_or_default()
        };
        let (mut all, mut unproven) = (true, false);
        let wanted = slot.evidence();
        let is_shared = slot.is_shared();
        for (index, (settlement, step)) in slot.covers.iter().enumerate() {
            let row = step.of(&settlement.lock().row.steps).cloned();
            let Some(row) = row else { continue };
            if !matches!(row.state, StepState::InSlot { .. }) {
                // Decided before. As long as others are not, the decision of the slot follows its block.
                all &= row
                    .ground
                    .as_ref()
                    .is_some_and(|ground| view.decided.is_ground(ground));
                continue;
            }
            let observation = &view.observation;
            let wanted = wanted.get(index);
            let evidence = Evidence {
                step: *step,
                shown: view.shown.clone(),
                tx_id: tx_id.clone(),
                head_height: observation.head_height,
                logs: own_logs(&observation.logs, wanted, is_shared),
                deltas: observation.deltas.clone(),
                reads: view.reads(),
                foreign: view.foreign.clone(),
                guard: view.guards.get(index).copied().unwrap_or_default(),
                block_logs: observation.block_logs.clone(),
                shared: is_shared,
            };
            let wants_guard = wanted.is_some_and(|wanted| wanted.guard.is_some());
            let may_fail = view.may_fail(wants_guard, evidence.guard);
            let basis = Some(Basis {
                decided: &view.decided,
                began,
            });
            let judged = self
                .outcomes
                .judge_step(settlement, &evidence, basis, may_fail)
                .await;
            all &= judged == Judged::Decided;
            unproven |= judged == Judged::Unproven;
        }
        let explains_nothing = unproven && !view.foreign.is_empty();
        slot.lock().reads.record_search(explains_nothing);
        all
    }

    pub(super) async fn reorged(self: &Arc<Self>, slot: &Arc<OpenSlot>) {
        let mut all = true;
        for (settlement, step) in &slot.covers {
            all &= self.reorged_step(slot, settlement, *step).await;
        }
        if all {
            slot.lock().reopen();
        }
    }

    /// The ground of a step's decision is gone: the step is open again. `true` when that is recorded.
    pub(super) async fn reorged_step(
        self: &Arc<Self>,
        slot: &OpenSlot,
        settlement: &Arc<Settlement>,
        step: StepIndex,
    ) -> bool {
        let _deciding = settlement.deciding.lock().await;
        let row = settlement.lock().row.clone();
        let is_open = |row: &journal::StepRow| {
            matches!(
                row.state,
                StepState::Waiting | StepState::InSlot { .. } | StepState::Unexplained { .. }
            )
        };
        if step.of(&row.steps).is_none_or(is_open) {
            return true;
        }
        let why = if slot
            .lock()
            .decision
            .as_ref()
            .is_some_and(SlotDecision::is_by_revert)
        {
            "nodes no longer show the revert that decided a payment: its block was reorganised away, or a node was wrong; it \
             is pending again"
        } else {
            "a payment's block was reorganised away; it is pending again"
        };
        tracing::error!(settlement = settlement.id, step = step.number(), tx = ?row.tx_id, was_released = row.release.is_some(),
            "{why}");
        self.runtime
            .metrics
            .add("switchyard_reorgs_total", &[("network", &slot.lane.network)], 1);
        let mut events = vec![Event::Reorged {
            settlement: settlement.id,
            step,
        }];
        events.extend(revived(settlement.plan().map(|plan| &**plan), &row, step));
        let committed = self.runtime.journal.commit(events).await;
        if let Err(error) = &committed {
            tracing::error!(%error, settlement = settlement.id, "a reorganisation could not be recorded");
        }
        self.outcomes.refresh_locked(settlement).await;
        committed.is_ok()
    }
}

/// The logs of a transaction that a step wants to see. A transaction of several steps is read with what all of them want,
/// and the logs of one prove nothing about another.
fn own_logs(logs: &[LogEntry], wanted: Option<&EvidenceWanted>, is_shared: bool) -> Vec<LogEntry> {
    let is_own = |log: &&LogEntry| {
        !is_shared || wanted.is_some_and(|wanted| wanted.logs.iter().any(|filter| log.matches(filter)))
    };
    logs.iter().filter(is_own).cloned().collect()
}

/// Polls in a row that showed another block in place of the one that decided.
fn replaced(slot: &OpenSlot) -> u32 {
    slot.lock().decision.as_ref().map_or(0, SlotDecision::replaced)
}

/// Stores what a poll leaves in the slot for the next one.
pub(super) fn record_observations(state: &mut SlotState, verdict: &Verdict, seen: &[Observation]) {
    if let Some(decision) = &mut state.decision {
        decision.record_replaced(*verdict == Verdict::Replaced);
    }
    match verdict {
        Verdict::SearchForeign => {
            if state.reads.add_search() {
                state.polling.repeat_soon();
            }
        }
        Verdict::ReadGuards => {
            if state.reads.add_guards() {
                state.polling.repeat_soon();
            }
        }
        Verdict::KeepAnchor => {
            state.anchor = seen.last().and_then(|observation| observation.anchor.clone());
            state.reads.guards = false;
            state.polling.repeat_soon();
        }
        Verdict::DropAnchor => {
            state.anchor = None;
            state.reads.guards = true;
        }
        Verdict::GroundFinal => {
            if let Some(decision) = &mut state.decision {
                decision.make_final();
            }
            state.polling.repeat_soon();
        }
        // The receipt of a revert brought its own anchor.
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

/// Whether a step of the slot needs the effect of a client's own transaction that is not shown any more.
fn waits_for_client(slot: &OpenSlot) -> bool {
    slot.covers.iter().any(|(settlement, step)| {
        let plan = settlement.plan().map(|plan| &**plan);
        let gate = plan.and_then(|plan| Some(step.of(&plan.steps)?.gate));
        follows_client_signed(plan, *step)
            && gate.is_some_and(|gate| !is_gate_open(&settlement.lock().row, *step, gate))
    })
}

pub(crate) fn command(run: &NetworkRun, slot: &OpenSlot, what: LaneCommand) {
    if let Some(lane) = run.lane(&slot.lane.signer) {
        slot.lock().command_pending = true;
        lane.send_command(what);
    }
}
