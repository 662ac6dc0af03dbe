//! Recovery after a panic: the settlement or slot is restored from the journal, and the work that follows restarts.

use crate::decide::replies::unavailable;
use crate::endings::Endings;
use crate::endings::unsent::Ends;
use crate::state::network::NetworkRun;
use crate::state::settlement::{Phase, Settlement};
use crate::state::slot::OpenSlot;
use sdk_plugin::StepIndex;
use std::sync::Arc;

use journal::{JournalError, StepState, open_slots};

impl Endings {
    /// Recovers after a panic of the only work that may record a settlement. The settlement is restored from the
    /// journal, or given up. `true`: it is recorded.
    pub(crate) async fn recover_first_commit(
        &self,
        settlement: &Arc<Settlement>,
    ) -> Result<bool, JournalError> {
        if settlement.lock().phase == Phase::Gone {
            return Ok(false);
        }
        let Some(row) = self.runtime.journal.settlement(settlement.id).await? else {
            settlement.give_up(|_| unavailable("it could not be started; try again"));
            return Ok(false);
        };
        {
            let mut state = settlement.lock();
            state.row = row;
            state.phase = Phase::Committed;
        }
        settlement.changed.notify_waiters();
        Ok(true)
    }

    /// Starts what follows from the row of a settlement that was brought back into memory.
    pub(crate) fn resume(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        self.outcomes.advance(settlement);
        for step in unexplained_steps(settlement) {
            self.begin_again_to_explain(settlement, step);
        }
        self.begin_to_finish(settlement);
    }

    /// Recovers after a panic of work on a recorded settlement: everything that follows from its row restarts.
    pub(crate) async fn revive(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        {
            let _deciding = settlement.deciding.lock().await;
            self.outcomes.refresh_locked(settlement).await;
        }
        if !settlement.lock().row.holds_keys() {
            self.runtime.claims.free_keys(settlement.id);
        }
        self.outcomes.serve_waiters(settlement, None).await;
        self.outcomes.advance(settlement);
        for step in unexplained_steps(settlement) {
            self.begin_again_to_explain(settlement, step);
        }
        Arc::clone(&self.outcomes)
            .finish_if_ended(Arc::clone(settlement))
            .await;
        self.outcomes.forget_if_finished(settlement);
    }

    /// Recovers after a panic of work on a slot that nothing else closes: the slot and its settlements are restored
    /// from the journal.
    pub(crate) async fn revive_slot(
        self: &Arc<Self>,
        run: &Arc<NetworkRun>,
        slot: &Arc<OpenSlot>,
    ) -> Result<(), JournalError> {
        let open = open_slots(&*self.runtime.journal).await?;
        let is_open = open
            .iter()
            .any(|(row, _)| row.lane == slot.lane && row.sequence == slot.sequence);
        for settlement in slot.settlements() {
            self.revive(&settlement).await;
        }
        if is_open {
            let is_grounded = |(settlement, step): &(Arc<Settlement>, StepIndex)| {
                let state = settlement.lock();
                step.of(&state.row.steps).is_some_and(|row| row.ground.is_some())
            };
            let is_undone = !slot.covers.iter().any(is_grounded);
            {
                let mut state = slot.lock();
                state.command_pending = false;
                // The commit before the panic may have undone the decision.
                if is_undone {
                    state.reopen();
                }
            }
            slot.resume_decision();
        } else {
            self.remove_closed(run, slot);
        }
        Ok(())
    }

    /// Searches for what had the effect of a step, in a task that restarts after a panic.
    pub(crate) fn begin_again_to_explain(self: &Arc<Self>, settlement: &Arc<Settlement>, step: StepIndex) {
        let settlement = Arc::clone(settlement);
        let network = settlement.network.id().to_owned();
        let endings = Arc::clone(self);
        self.runtime
            .keep(&network, "the search for a step's effect", move || {
                Arc::clone(&endings).explain_anew(Arc::clone(&settlement), step)
            });
    }

    /// Judges a step that gets no slot, in a task that restarts after a panic; `false` when one does already.
    pub(crate) fn begin_to_end_unsent(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        step: StepIndex,
        ends: Ends,
    ) -> bool {
        if !settlement.lock().begin_to_end(step) {
            return false;
        }
        let settlement = Arc::clone(settlement);
        let network = settlement.network.id().to_owned();
        let endings = Arc::clone(self);
        self.runtime
            .keep(&network, "the judgement of a step without a slot", move || {
                let (endings, settlement) = (Arc::clone(&endings), Arc::clone(&settlement));
                async move {
                    endings.as_recorded(&settlement).await;
                    endings.end_unsent(Arc::clone(&settlement), step, ends).await;
                    settlement.lock().has_ended(step);
                }
            });
        true
    }

    /// Ends a settlement whose steps are all final, in a task that restarts after a panic.
    pub(crate) fn begin_to_finish(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        let settlement = Arc::clone(settlement);
        let network = settlement.network.id().to_owned();
        let outcomes = Arc::clone(&self.outcomes);
        self.runtime.keep(&network, "the end of a settlement", move || {
            Arc::clone(&outcomes).finish_if_ended(Arc::clone(&settlement))
        });
    }

    async fn explain_anew(self: Arc<Self>, settlement: Arc<Settlement>, step: StepIndex) {
        self.as_recorded(&settlement).await;
        self.explain(settlement, step).await;
    }

    /// Restores the settlement from the journal: an earlier try may have recorded its result before it panicked.
    async fn as_recorded(&self, settlement: &Arc<Settlement>) {
        let _deciding = settlement.deciding.lock().await;
        self.outcomes.refresh_locked(settlement).await;
    }
}

/// Steps that are recorded as unexplained.
fn unexplained_steps(settlement: &Settlement) -> Vec<StepIndex> {
    let state = settlement.lock();
    StepIndex::each(&state.row.steps)
        .filter(|(_, step)| matches!(step.state, StepState::Unexplained { .. }))
        .map(|(index, _)| index)
        .collect()
}
