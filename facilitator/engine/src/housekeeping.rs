//! Removes in time what is no longer needed, in small steps: every other commit waits for the one before it.

use std::sync::Arc;
use std::time::Duration;

use journal::{CommitError, Event, JournalError, Stage};

use crate::runtime::Runtime;
use crate::state::ownership::TASKS;

/// Pause between two rounds.
const ROUND_EVERY: Duration = Duration::from_secs(60);
/// Settlements of one step.
const SETTLEMENTS: usize = 16;
/// Rows that ended, of one step.
const ROWS: usize = 64;
/// Events of one step.
const EVENTS: u32 = 256;
/// Pause between two steps: payments come first.
const PAUSE: Duration = Duration::from_millis(20);

/// How long finished settlements are kept, in milliseconds after they finished. What refuses a replay is kept in any case,
/// until nobody can use the authorization any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Plans and signed bytes.
    pub payloads_ms: u64,
    /// Events of the log.
    pub events_ms: u64,
    /// Attempts, closed slots and the history.
    pub details_ms: u64,
    /// Everything that a claim does not need.
    pub settlements_ms: u64,
}

const DAY_MS: u64 = 24 * 3_600 * 1_000;

impl Retention {
    /// In days.
    #[must_use]
    pub const fn days(payloads: u64, events: u64, details: u64, settlements: u64) -> Self {
        Self {
            payloads_ms: payloads.saturating_mul(DAY_MS),
            events_ms: events.saturating_mul(DAY_MS),
            details_ms: details.saturating_mul(DAY_MS),
            settlements_ms: settlements.saturating_mul(DAY_MS),
        }
    }

    /// Before which moment a stage is due. A claim waits by the time until which it can be presented.
    fn due_before_ms(&self, stage: Stage, now_ms: u64) -> u64 {
        let kept_ms = match stage {
            Stage::Payloads => self.payloads_ms,
            Stage::Details => self.details_ms,
            Stage::Settlement => self.settlements_ms,
            Stage::Claim => 0,
        };
        now_ms.saturating_sub(kept_ms)
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::days(7, 30, 90, 400)
    }
}

/// A step could not be carried out; the next round tries again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Read(#[from] JournalError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Carries out the rounds.
pub(crate) struct Housekeeper {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) retention: Retention,
}

impl Housekeeper {
    pub(crate) fn start(self: &Arc<Self>) {
        let housekeeper = Arc::clone(self);
        self.runtime.keep("", "housekeeping", move || {
            let housekeeper = Arc::clone(&housekeeper);
            async move {
                loop {
                    tokio::time::sleep(ROUND_EVERY).await;
                    // One of several nodes does it for all.
                    if !housekeeper.runtime.ownership.owns_unit(TASKS) {
                        continue;
                    }
                    if let Err(error) = housekeeper.round().await {
                        tracing::warn!(%error, "housekeeping was postponed");
                    }
                }
            }
        });
    }

    /// Everything that is due now.
    async fn round(&self) -> Result<(), StepError> {
        let journal = &self.runtime.journal;
        let now_ms = self.runtime.clock.now_ms();
        for stage in Stage::ALL {
            let before_ms = self.retention.due_before_ms(stage, now_ms);
            loop {
                let due = journal.due_for(stage, before_ms, SETTLEMENTS).await?;
                if due.is_empty() {
                    break;
                }
                let is_last = due.len() < SETTLEMENTS;
                journal.commit(vec![Event::Dropped { stage, due }]).await?;
                if is_last {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        while let Some(expired) = journal.expired(now_ms, ROWS).await? {
            journal.commit(vec![expired]).await?;
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(shared) = journal.shared() {
            while shared.remove_dead(ROWS).await? >= ROWS {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let before_ms = now_ms.saturating_sub(self.retention.events_ms);
        // Fewer than the limit say nothing: events that were recorded together go together.
        while journal.drop_events(before_ms, EVENTS).await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::releases::{Disk, ready};

    #[tokio::test(start_paused = true)]
    async fn old_events_are_removed_until_none_is_left() {
        let disk = Disk::new();
        // The last comes first. Events that were recorded together go together, so that a part is seldom as large as it may be.
        disk.removals.lock().extend([EVENTS, 3, EVENTS - 5, EVENTS]);
        let engine = ready(&disk).await;
        let housekeeper = Housekeeper {
            runtime: Arc::clone(&engine.runtime),
            retention: Retention::default(),
        };
        housekeeper.round().await.unwrap();
        assert!(disk.removals.lock().is_empty());
    }
}
