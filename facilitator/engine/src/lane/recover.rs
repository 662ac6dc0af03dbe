//! Recovery of a lane after a panic: recorded attempts are observed, and the next slot is after all of them. For
//! recovery after a crash of the process see [`crate::boot`].

use crate::lane::{LaneTask, RETRY_EVERY};
use crate::state::lane::{LaneCommand, Work, sending_lane};
use crate::state::settlement::Phase;
use crate::state::slot::{OpenSlot, SlotKey};
use std::sync::Arc;

use journal::{JournalError, open_slots_of};

/// Names the work in alarms of its panics.
const WORK: &str = "a signer's lane";

/// What a lane is doing.
#[derive(Debug, Clone)]
pub(crate) enum Doing {
    /// These settlements' first steps, most of which are not recorded.
    First(Vec<Work>),
    Later(Work),
    Slot(SlotKey),
    /// Reading the chain's sequence.
    Reading,
}

impl Doing {
    pub(crate) fn of(command: &LaneCommand) -> Self {
        match command {
            LaneCommand::Step(work) => Self::Later(work.clone()),
            LaneCommand::Rebid(key) | LaneCommand::Fill(key) | LaneCommand::Resend(key) => {
                Self::Slot(key.clone())
            }
            LaneCommand::CatchUp => Self::Reading,
        }
    }
}

impl LaneTask {
    /// Carries out a command, and recovers if that panics.
    pub(crate) async fn run_command_safely(&mut self, command: LaneCommand) {
        let doing = Doing::of(&command);
        let engine = Arc::clone(&self.lanes);
        let network = self.lane.network.clone();
        if engine
            .runtime
            .survives(&network, WORK, self.run_command(command))
            .await
            .is_none()
        {
            self.recover(&doing).await;
        }
    }

    /// Starts settlements, and recovers if that panics.
    pub(crate) async fn first_safely(&mut self, works: Vec<Work>) {
        // One that another node has recorded continues like a later step, and shares no transaction.
        let doing = match works.as_slice() {
            [work] if work.settlement.lock().phase == Phase::Committed => Doing::Later(work.clone()),
            _ => Doing::First(works.clone()),
        };
        let engine = Arc::clone(&self.lanes);
        let network = self.lane.network.clone();
        if engine
            .runtime
            .survives(&network, WORK, self.first_of_many(works))
            .await
            .is_none()
        {
            self.recover(&doing).await;
        }
    }

    /// Reads the chain's sequence and survives a panic. `is_start`: for the first time, and again until it
    /// succeeds.
    pub(crate) async fn read_safely(&mut self, is_start: bool) {
        let engine = Arc::clone(&self.lanes);
        let network = self.lane.network.clone();
        loop {
            let read = async {
                if is_start {
                    self.reconcile().await;
                } else {
                    self.catch_up().await;
                }
            };
            if engine.runtime.survives(&network, WORK, read).await.is_some() || !is_start {
                return;
            }
            tokio::time::sleep(RETRY_EVERY * 4).await;
        }
    }

    async fn recover(&mut self, doing: &Doing) {
        let engine = Arc::clone(&self.lanes);
        let network = self.lane.network.clone();
        loop {
            tokio::time::sleep(RETRY_EVERY * 4).await;
            match engine
                .runtime
                .survives(&network, WORK, self.try_recover(doing))
                .await
            {
                Some(Ok(())) => return,
                Some(Err(error)) => {
                    tracing::error!(%error, network, signer = %self.lane.signer, "a lane can't be read from the journal");
                }
                None => {}
            }
        }
    }

    async fn try_recover(&mut self, doing: &Doing) -> Result<(), JournalError> {
        let mut recorded = Vec::new();
        let begun = match doing {
            Doing::First(works) => works.as_slice(),
            Doing::Later(_) | Doing::Slot(_) | Doing::Reading => &[],
        };
        for work in begun {
            recorded.push(self.lanes.endings.recover_first_commit(&work.settlement).await?);
        }
        self.take_up_slots().await?;
        let lane = &self.lane;
        let next = self
            .lanes
            .runtime
            .journal
            .lane_next(&lane.network, &lane.signer)
            .await?;
        if lane.ordered {
            self.next_sequence = self.next_sequence.max(next.unwrap_or(0));
        }
        match doing {
            Doing::First(works) => {
                for (work, is_recorded) in works.iter().zip(recorded) {
                    if is_recorded {
                        self.lanes.endings.revive(&work.settlement).await;
                    } else {
                        self.lanes.runtime.claims.forget(&work.settlement);
                    }
                }
            }
            Doing::Later(work) => {
                self.lanes.endings.revive(&work.settlement).await;
                self.try_later(Arc::clone(&work.settlement), work.step);
            }
            Doing::Slot(key) => {
                if let Some(slot) = self.run.slot(key) {
                    slot.lock().command_pending = false;
                }
            }
            Doing::Reading => {}
        }
        Ok(())
    }

    /// Restores recorded attempts that nothing observes. Only this lane records attempts of its own.
    async fn take_up_slots(&self) -> Result<(), JournalError> {
        // Listed before the journal is read, so that a slot that closes meanwhile is not opened again.
        let known: Vec<Arc<OpenSlot>> = self.run.slots();
        let holders = self.lanes.runtime.claims.holders_on(self.run.network.id());
        let settlements = holders.into_iter().map(|holder| (holder.id, holder)).collect();
        let (network, signer) = (&self.lane.network, &self.lane.signer);
        for (row, attempts) in open_slots_of(&*self.lanes.runtime.journal, network, signer).await? {
            if sending_lane(&row.lane, row.sequence) != self.lane {
                continue;
            }
            let slot = known
                .iter()
                .find(|slot| slot.lane == row.lane && slot.sequence == row.sequence);
            match slot {
                Some(slot) => {
                    let mut state = slot.lock();
                    if state.attempts.len() < attempts.len() {
                        state.attempts = attempts;
                    }
                }
                None => self.run.add_slot(OpenSlot::resumed(row, attempts, &settlements)),
            }
        }
        Ok(())
    }
}
