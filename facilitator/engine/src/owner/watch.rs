//! What becomes of settlements that other nodes continue, for the callers that wait here.
//!
//! The journal tells the outcome. A payment that is not final is also read from the chain by this process, because a release
//! needs an observation that began after its caller came and was made by the process that answers: the slot of the payment
//! is polled like an own one, and nothing is recorded from it but releases.

use super::Owner;
use crate::state::settlement::Settlement;
use crate::state::slot::OpenSlot;
use journal::{JournalError, Outcome, SettlementRow, recorded_slot};
use sdk_plugin::StepIndex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Pause between two reads without a hint.
const READ_EVERY: Duration = Duration::from_millis(200);
/// The least pause between two reads.
const LEAST: Duration = Duration::from_millis(20);
/// Settlements in one query.
const PAGE: usize = 256;

impl Owner {
    pub(super) async fn keep_watching(self: Arc<Self>) {
        let mut is_failing = false;
        loop {
            let Some(shared) = self.runtime.journal.shared() else {
                return;
            };
            if self.runtime.elsewhere.is_empty() {
                self.runtime.elsewhere.added.notified().await;
            }
            match self.read_all().await {
                Ok(()) => is_failing = false,
                Err(error) => {
                    if !is_failing {
                        tracing::error!(%error, "settlements that other nodes continue can't be read");
                    }
                    is_failing = true;
                }
            }
            tokio::time::sleep(LEAST).await;
            // The hint may never come.
            let _ = tokio::time::timeout(READ_EVERY, shared.hint()).await;
        }
    }

    async fn read_all(&self) -> Result<(), JournalError> {
        let mut waiting = Vec::new();
        for settlement in self.runtime.elsewhere.all() {
            let run = self.runtime.run_of(settlement.network.id());
            if self.runtime.elsewhere.remove_deserted(&settlement) {
                if let Some(run) = run {
                    run.remove_watched_settlement(settlement.id);
                }
            } else {
                waiting.push(settlement);
            }
        }
        for page in waiting.chunks(PAGE) {
            let ids: Vec<u64> = page.iter().map(|settlement| settlement.id).collect();
            let rows = self.runtime.journal.settlements(&ids).await?;
            let mut rows: BTreeMap<u64, SettlementRow> = rows.into_iter().map(|row| (row.id, row)).collect();
            for settlement in page {
                if let Some(row) = rows.remove(&settlement.id) {
                    self.follow(settlement, row).await?;
                }
            }
        }
        Ok(())
    }

    /// The row of a settlement as the journal has it now.
    async fn follow(&self, settlement: &Arc<Settlement>, row: SettlementRow) -> Result<(), JournalError> {
        let is_open = row.outcome == Outcome::Open;
        let reads_chain = matches!(row.outcome, Outcome::Paid(_)) && !row.paid_is_final();
        {
            let _deciding = settlement.deciding.lock().await;
            if !self.runtime.elsewhere.set_row(settlement, row) {
                return Ok(());
            }
        }
        settlement.changed.notify_waiters();
        let Some(run) = self.runtime.run_of(settlement.network.id()) else {
            return Ok(());
        };
        if !reads_chain {
            run.remove_watched_settlement(settlement.id);
        }
        if is_open {
            return Ok(());
        }
        self.outcomes.serve_waiters(settlement, None).await;
        if reads_chain && settlement.has_waiters() && !run.is_watched(settlement.id) {
            let Some(step) = paying_step(settlement) else {
                return Ok(());
            };
            if let Some((slot, attempts)) = recorded_slot(&*self.runtime.journal, settlement.id, step).await?
            {
                let covers = vec![(Arc::clone(settlement), step)];
                let slot = OpenSlot::watched(attempts, slot.lane, slot.sequence, covers);
                slot.resume_decision();
                run.add_slot(Arc::new(slot));
            }
        }
        Ok(())
    }
}

fn paying_step(settlement: &Settlement) -> Option<StepIndex> {
    let state = settlement.lock();
    StepIndex::each(&state.row.steps)
        .find(|(_, step)| step.pays)
        .map(|(index, _)| index)
}
