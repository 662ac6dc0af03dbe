//! What a lane does after a panic: whatever the work had recorded is looked after, and the next place is behind it.

use std::sync::Arc;

use super::{Ask, LaneTask, RETRY_EVERY, Work};
use crate::boot::covers_of;
use crate::slot::{OpenSlot, SlotKey};
use journal::{JournalError, open_slots};

/// Names the work in alarms of its panics.
const WORK: &str = "a signer's lane";

/// What a lane is at.
#[derive(Debug, Clone)]
pub(super) enum Doing {
    First(Work),
    Later(Work),
    Slot(SlotKey),
    /// Reading the chain's sequence.
    Reading,
}

impl Doing {
    pub(super) fn of(ask: &Ask) -> Self {
        match ask {
            Ask::Step(work) => Self::Later(work.clone()),
            Ask::Rebid(key) | Ask::Fill(key) | Ask::Resend(key) => Self::Slot(key.clone()),
            Ask::CatchUp => Self::Reading,
        }
    }
}

impl LaneTask {
    /// Carries out an ask, whatever happens.
    pub(super) async fn answer_safely(&mut self, ask: Ask) {
        let doing = Doing::of(&ask);
        let engine = Arc::clone(&self.engine);
        let network = self.lane.network.clone();
        if engine.survives(&network, WORK, self.answer(ask)).await.is_none() {
            self.recover(&doing).await;
        }
    }

    /// Begins a settlement, whatever happens.
    pub(super) async fn first_safely(&mut self, work: Work) {
        let doing = Doing::First(work.clone());
        let engine = Arc::clone(&self.engine);
        let network = self.lane.network.clone();
        if engine.survives(&network, WORK, self.first(work)).await.is_none() {
            self.recover(&doing).await;
        }
    }

    /// Reads the chain's sequence, whatever happens; `is_start`: for the first time.
    pub(super) async fn read_safely(&mut self, is_start: bool) {
        let engine = Arc::clone(&self.engine);
        let network = self.lane.network.clone();
        loop {
            let read = async {
                if is_start {
                    self.reconcile().await;
                } else {
                    self.catch_up().await;
                }
            };
            if engine.survives(&network, WORK, read).await.is_some() || !is_start {
                return;
            }
            tokio::time::sleep(RETRY_EVERY * 4).await;
        }
    }

    async fn recover(&mut self, doing: &Doing) {
        let engine = Arc::clone(&self.engine);
        let network = self.lane.network.clone();
        loop {
            tokio::time::sleep(RETRY_EVERY * 4).await;
            match engine.survives(&network, WORK, self.try_recover(doing)).await {
                Some(Ok(())) => return,
                Some(Err(error)) => {
                    tracing::error!(%error, network, signer = %self.lane.signer, "a lane can't be read from the journal");
                }
                None => {}
            }
        }
    }

    async fn try_recover(&mut self, doing: &Doing) -> Result<(), JournalError> {
        let recorded = match doing {
            Doing::First(work) => self.engine.recover_first_commit(&work.settlement).await?,
            Doing::Later(_) | Doing::Slot(_) | Doing::Reading => true,
        };
        self.take_up_slots().await?;
        let lane = &self.lane;
        let next = self.engine.journal.lane_next(&lane.network, &lane.signer).await?;
        if lane.ordered {
            self.next_sequence = self.next_sequence.max(next.unwrap_or(0));
        }
        match doing {
            Doing::First(work) if recorded => self.engine.revive(&work.settlement).await,
            Doing::First(work) => self.engine.forget(&work.settlement),
            Doing::Later(work) => {
                self.engine.revive(&work.settlement).await;
                self.try_later(Arc::clone(&work.settlement), work.step);
            }
            Doing::Slot(key) => {
                if let Some(slot) = self.run.slot(key) {
                    slot.lock().asked = false;
                }
            }
            Doing::Reading => {}
        }
        Ok(())
    }

    /// Attempts that were recorded, and that nothing looks after: only this lane records any of its own.
    async fn take_up_slots(&self) -> Result<(), JournalError> {
        // Before the journal is read: what is closed meanwhile is not opened again.
        let known: Vec<Arc<OpenSlot>> = self.run.slots();
        let holders = self.engine.holders_on(self.run.network.id());
        let settlements = holders.into_iter().map(|holder| (holder.id, holder)).collect();
        for (row, attempts) in open_slots(&*self.engine.journal).await? {
            if row.lane != self.lane {
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
                None => {
                    let covers = covers_of(&attempts, &settlements);
                    let slot = OpenSlot::new(attempts, row.lane, row.sequence, covers);
                    slot.resume_decision();
                    self.run.add_slot(Arc::new(slot));
                }
            }
        }
        Ok(())
    }
}
