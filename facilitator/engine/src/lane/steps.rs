//! Steps that become transactions: the first step commits its settlement, later steps are tried until they have a
//! slot.

use super::first::refused;
use super::{LaneTask, Stop};
use crate::decide::budget::Spender;
use crate::decide::replies;
use crate::decide::replies::{paused, unavailable};
use crate::decide::steps::{
    MOST_NEW_SLOTS, follows_client_signed, is_gate_open, is_preparation, is_renewable,
};
use crate::endings::unsent::Ends;
use crate::runtime::first_commit::{Home, NotBegun};
use crate::runtime::grants::NotTaken;
use crate::state::lane::{LaneCommand, Work};
use crate::state::settlement::{Phase, Settlement, refuse, refuse_commit};
use base::backoff::Backoff;
use journal::{
    AttemptKind, AttemptRow, CLIENT_SIGNED_FROM, CommitError, Event, NewAttempt, StepState, record_attempt,
};
use sdk_plugin::chain::{Lane, Slot};
use sdk_plugin::scheme::{LaneChoice, Step};
use sdk_plugin::{Amount, StepIndex};
use std::sync::Arc;
use std::time::Duration;

/// Pause before a later step that got no slot is tried again.
const STEP_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(2),
    longest: Duration::from_secs(30),
};
/// The most transactions of clients that are on their way when another settlement begins with one. No one pays for them, so
/// their number needs a limit.
const MOST_CLIENT_SIGNED: usize = 64;

/// How often a step after a client's transaction is tried again because its call would fail.
const MOST_EARLY_TRIES: u32 = 3;

fn stop_of(why: NotBegun) -> Stop {
    match why {
        NotBegun::Withdrawn => Stop::Withdrawn,
        NotBegun::Taken => Stop::Taken,
        NotBegun::NoPlan => Stop::Unavailable("the plan can't be read"),
        NotBegun::Unwritable => refused("the plan can't be recorded"),
    }
}

/// Whether a step opens its settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The settlement is not recorded: it is given up if the step gets no slot.
    First,
    /// The same, and the call is simulated again: it would have failed in a transaction with others.
    FirstSimulated,
    /// The settlement is recorded: pause, budget and funds do not stop the step.
    Later,
}

impl Turn {
    pub(super) fn is_first(self) -> bool {
        match self {
            Self::First | Self::FirstSimulated => true,
            Self::Later => false,
        }
    }
}

impl LaneTask {
    /// Runs a settlement's first step: commits the settlement with its first attempt, or replies to its callers.
    pub(super) async fn first(&mut self, work: Work, turn: Turn) {
        if work.settlement.lock().phase == Phase::Committed {
            // Another node has recorded it for this lane.
            return self.later(work).await;
        }
        let Work { settlement, step, .. } = work;
        match self.bring_into_slot(&settlement, step, turn).await {
            Ok(()) => return,
            Err(Stop::Withdrawn) => settlement.give_up(|_| unavailable("withdrawn")),
            Err(Stop::Refused(refusal)) => refuse(&settlement, &refusal),
            Err(Stop::Unavailable(message)) => settlement.give_up(|_| unavailable(message)),
            // Nothing was sent. Its next check says why it would fail.
            Err(Stop::WouldFail(_)) => {
                settlement
                    .give_up(|_| unavailable("the payment would fail now; nothing was sent, try again"));
            }
            // The first step of an unrecorded settlement has lost no slot.
            Err(Stop::LostSlots) => settlement.give_up(|_| unavailable("it could not be started; try again")),
            Err(Stop::Paused) => settlement.give_up(|_| paused()),
            Err(Stop::Commit(CommitError::ClaimTaken) | Stop::Taken) => {
                // Forgotten first, or the query would find this settlement itself.
                self.lanes.runtime.claims.forget(&settlement);
                let claim_row = self.lanes.runtime.claim_row(&settlement.claim);
                let row = claim_row.await.ok().flatten();
                settlement.give_up(|waiter| {
                    replies::lost_the_race(row.as_ref(), &waiter.identity, &waiter.network_as_sent)
                });
            }
            Err(Stop::Commit(error)) => {
                tracing::warn!(settlement = settlement.id, %error, "a settlement was not started");
                refuse_commit(&settlement, &error);
            }
        }
        self.lanes.runtime.claims.forget(&settlement);
    }

    /// Runs a later step of a recorded settlement: it is tried until it has a slot, or can't succeed any more.
    pub(super) async fn later(&mut self, work: Work) {
        let Work { settlement, step, .. } = work;
        let is_waiting = step
            .of(&settlement.lock().row.steps)
            .is_some_and(|row| row.state == StepState::Waiting);
        let Some(planned) = settlement.plan().and_then(|plan| step.of(&plan.steps)).cloned() else {
            tracing::error!(
                settlement = settlement.id,
                step = step.number(),
                "the plan can't be read: load the version that made it"
            );
            return;
        };
        let is_open = is_gate_open(&settlement.lock().row, step, planned.gate);
        if !is_waiting || !is_open {
            // Commanded twice, decided meanwhile, or the step before it was reorganised away. Then `advance` sends
            // the command again.
            return;
        }
        if planned
            .expires_at_s
            .is_some_and(|at| self.lanes.runtime.clock.now_s() >= at)
        {
            return self.end(&settlement, step, Ends::Expired);
        }
        match self.bring_into_slot(&settlement, step, Turn::Later).await {
            Ok(()) => settlement.lock().tries.record_success(),
            // A pause stops first steps only.
            Err(Stop::Withdrawn | Stop::Taken | Stop::Paused) => {}
            // The node that simulated it may not have the block yet that it needs.
            Err(Stop::WouldFail(_))
                if follows_client_signed(settlement.plan().map(|plan| &**plan), step)
                    && settlement.lock().tries.record_would_fail() <= MOST_EARLY_TRIES =>
            {
                self.try_later(settlement, step);
            }
            Err(Stop::WouldFail(why)) => {
                settlement.lock().would_fail = Some(why);
                self.end(&settlement, step, Ends::WouldFail);
            }
            Err(Stop::LostSlots) => self.end(&settlement, step, Ends::LostSlots),
            Err(Stop::Refused(refusal)) => {
                tracing::error!(settlement = settlement.id, step = step.number(), reason = %refusal.reason, detail = ?refusal.message,
                    "a step of a settlement can't be built");
                self.try_later(settlement, step);
            }
            Err(Stop::Unavailable(_) | Stop::Commit(_)) => self.try_later(settlement, step),
        }
    }

    /// Every command for a step may find that it ends: it is judged, and reported, once.
    pub(super) fn end(&self, settlement: &Arc<Settlement>, step: StepIndex, ends: Ends) {
        if !self.lanes.endings.begin_to_end_unsent(settlement, step, ends) || ends != Ends::LostSlots {
            return;
        }
        tracing::error!(network = %self.lane.network, signer = %self.lane.signer, settlement = settlement.id,
            "key_used_elsewhere: other transactions have used every slot of a step; the signer's key is used elsewhere: stop \
             that, or replace the key");
        self.lanes.runtime.metrics.add(
            "switchyard_key_used_elsewhere_total",
            &[("network", self.lane.network.as_str())],
            1,
        );
    }

    /// Tries the step again after a pause, longer each time. Another command for the step meanwhile does not start
    /// a second series of tries.
    pub(super) fn try_later(&self, settlement: Arc<Settlement>, step: StepIndex) {
        let pause = {
            let Some(before) = settlement.lock().tries.schedule() else {
                return;
            };
            STEP_BACKOFF.after(before)
        };
        let (run, signer) = (Arc::clone(&self.run), self.lane.signer.clone());
        self.lanes.runtime.spawn_after(pause, move || {
            settlement.lock().tries.begin();
            // The lane may have ended meanwhile, and started again.
            let Some(lane) = run.lane(&signer) else { return };
            lane.send_command(LaneCommand::Step(Work {
                settlement,
                step,
                payer: None,
            }));
        });
    }

    pub(super) async fn bring_into_slot(
        &mut self,
        settlement: &Arc<Settlement>,
        step: StepIndex,
        turn: Turn,
    ) -> Result<(), Stop> {
        let planned = settlement.plan().and_then(|plan| step.of(&plan.steps)).cloned();
        let Some(planned) = planned else {
            return Err(Stop::Unavailable("the plan can't be read"));
        };
        if self.run.is_on_wrong_chain() || self.jump.is_some() {
            return Err(Stop::Unavailable("this network is not ready; try again"));
        }
        let is_first = turn.is_first();
        if is_first
            && planned
                .expires_at_s
                .is_some_and(|at| self.lanes.runtime.clock.now_s() >= at)
        {
            return Err(Stop::Unavailable("it expired while it waited for its turn"));
        }
        let (lane, sequence) = self.place_of(&planned, is_first)?;
        let (lost, first_height) = match turn {
            Turn::First | Turn::FirstSimulated => (0, u64::MAX),
            Turn::Later => self.earlier_slots(settlement, step).await?,
        };
        if lost > 0 && is_preparation(&planned) && !is_renewable(&planned, &lane) {
            return Err(Stop::LostSlots);
        }
        let slot = Slot {
            lost,
            simulate: turn == Turn::FirstSimulated
                || follows_client_signed(settlement.plan().map(|plan| &**plan), step),
            ..Slot::new(lane, sequence)
        };
        let (bid, built) = self.quote_and_build(settlement, &slot, &planned, turn).await?;
        self.check_cost(std::slice::from_ref(&planned), &built)?;
        let spare = self.spare(&planned, is_first);
        if is_first {
            self.check_funds(built.max_cost.checked_add(spare).unwrap_or(Amount::MAX))?;
        }

        let mut attempt = self.attempt_row(
            &slot,
            &bid,
            &built,
            AttemptKind::Steps,
            vec![(settlement.id, step)],
        );
        // A transaction that is not ours may have made the payment between the steps.
        attempt.since_height = attempt.since_height.min(first_height);
        let replay = self.replay_events(settlement, step, &built).await?;
        let spender = self.spender(std::iter::once(settlement));
        // The lane may be handed over before this or after it, and not meanwhile.
        let recording = Arc::clone(&self.recording);
        let _recording = recording.lock().await;
        let mut before = Vec::new();
        if is_first {
            before = self
                .begin_first_commit(settlement, &attempt, spare, &spender)
                .await?;
        }
        before.extend(replay);
        let (prepared_at_ms, max_cost) = (attempt.prepared_at_ms, attempt.max_cost);
        let was_handed_over = settlement.lock().row.handed_over;
        let deciding = settlement.deciding.lock().await;
        let recorded = record_attempt(
            &*self.lanes.runtime.journal,
            before,
            NewAttempt::new(attempt, built.bytes),
        )
        .await;
        let attempt = match recorded {
            Ok(attempt) => attempt,
            Err(error) => {
                if is_first {
                    self.run.budget.give_back(prepared_at_ms, max_cost, &spender);
                }
                // Still `Committing`: the caller of this function gives it up, or tries a later step again.
                return Err(Stop::Commit(error));
            }
        };
        // What another node recorded for this lane, it has charged.
        if !is_first && !was_handed_over {
            self.run.budget.charge(prepared_at_ms, max_cost, &spender);
        }
        if attempt.lane.ordered {
            self.next_sequence = sequence.saturating_add(1);
        }
        self.in_slot(settlement, step, &attempt);
        drop(deciding);
        settlement.changed.notify_waiters();
        self.open_slot(attempt, vec![(Arc::clone(settlement), step)]);
        self.lanes.outcomes.advance(settlement);
        Ok(())
    }

    /// What must be left after a first step: one that only prepares the payment is not started unless the payment can be paid
    /// for too.
    fn spare(&self, step: &Step, is_first: bool) -> Amount {
        if is_first && !step.pays {
            self.run.network.settings.max_cost
        } else {
            Amount::ZERO
        }
    }

    /// The lane and the number of the step's slot. A client's own transaction uses no sequence of the signer.
    fn place_of(&self, step: &Step, is_first: bool) -> Result<(Lane, u64), Stop> {
        let new_id = || self.lanes.runtime.journal.new_id();
        match (&step.lane, self.lane.ordered) {
            (LaneChoice::Foreign, true) => {
                if is_first && self.run.client_signed(&self.lane.signer) >= MOST_CLIENT_SIGNED {
                    return Err(Stop::Unavailable(
                        "too many transactions of clients are on their way; try again",
                    ));
                }
                let beside = Lane {
                    ordered: false,
                    ..self.lane.clone()
                };
                Ok((beside, CLIENT_SIGNED_FROM.saturating_add(new_id())))
            }
            (LaneChoice::Any | LaneChoice::Signer { .. }, true) => {
                Ok((self.lane.clone(), self.next_sequence))
            }
            (_, false) => Ok((self.lane.clone(), new_id())),
        }
    }

    /// How many slots the step has lost, and the head height when the settlement's first transaction was made.
    async fn earlier_slots(&self, settlement: &Settlement, step: StepIndex) -> Result<(u32, u64), Stop> {
        match self.lanes.endings.history_of(settlement, step).await {
            Some((slots, _)) if slots > MOST_NEW_SLOTS => Err(Stop::LostSlots),
            Some(history) => Ok(history),
            None => Err(Stop::Unavailable("the journal can't be read")),
        }
    }

    /// The events that open a settlement, unless it is paused or over budget.
    async fn begin_first_commit(
        &self,
        settlement: &Arc<Settlement>,
        attempt: &AttemptRow,
        spare: Amount,
        spender: &Spender,
    ) -> Result<Vec<Event>, Stop> {
        if settlement
            .kind
            .as_ref()
            .is_some_and(|kind| self.lanes.runtime.is_paused(kind))
        {
            return Err(Stop::Paused);
        }
        let home = Home::Here(&self.lane.signer);
        let events = self
            .lanes
            .runtime
            .begin_commit(settlement, home)
            .map_err(stop_of)?;
        let now_ms = attempt.prepared_at_ms;
        let cost = attempt.max_cost.checked_add(spare).unwrap_or(Amount::MAX);
        self.lanes
            .runtime
            .take_budget(&self.run, now_ms, cost, spender)
            .await
            .map_err(|why| match why {
                NotTaken::Over(over) => Stop::Refused(self.lanes.runtime.over_budget(&self.run, &over)),
                NotTaken::Journal(error) => Stop::Commit(error),
                NotTaken::Busy => Stop::Unavailable("the budget is being counted; try again"),
            })?;
        // Later steps are charged when they are sent.
        self.run.budget.give_back(now_ms, spare, spender);
        // A caller whose time ends during the commit gets this hash.
        settlement.lock().row.tx_id = Some(attempt.tx_id.clone());
        Ok(events)
    }

    /// Records in memory that a step is in a slot.
    pub(super) fn in_slot(&self, settlement: &Settlement, step: StepIndex, attempt: &AttemptRow) {
        let mut state = settlement.lock();
        state.phase = Phase::Committed;
        state.row.handed_over = false;
        if let Some(row) = step.of_mut(&mut state.row.steps) {
            row.state = StepState::InSlot {
                lane: attempt.lane.clone(),
                sequence: attempt.sequence,
            };
        }
        state.row.note_tx_id(step, &attempt.tx_id);
    }
}
