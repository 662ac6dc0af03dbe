//! The wait of a caller, and what its leaving means.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answers::unavailable;
use super::{Asked, COMMIT_GRACE};
use crate::engine::Engine;
use crate::engine::settlement::{self, Phase, Settlement};
use crate::service::Settled;

impl Engine {
    /// Waits for the answer; the drop of this future is the caller's hang-up.
    pub(super) async fn wait(
        self: &Arc<Self>,
        asked: &Asked,
        settlement: Arc<Settlement>,
        number: u64,
        mut answer: oneshot::Receiver<Settled>,
        deadline: Instant,
    ) -> Settled {
        let seat = Seat {
            settlement: Arc::clone(&settlement),
            number,
        };
        if let Ok(answered) = tokio::time::timeout_at(deadline, &mut answer).await {
            drop(seat);
            return answered.unwrap_or_else(|_| unanswered(&settlement, asked));
        }
        let grace = Instant::now() + COMMIT_GRACE;
        loop {
            let changed = settlement.changed.notified();
            {
                let mut state = settlement.lock();
                let phase = state.phase;
                match phase {
                    Phase::Committed if state.leave(number) => {
                        return settlement::late(&state.row, &asked.request.network_as_sent).into();
                    }
                    Phase::Opening if state.leave(number) => {
                        drop(state);
                        settlement.withdraw_if_deserted();
                        return unavailable("nothing was begun within the time; try again").into();
                    }
                    // The answer is under way, or the commit is.
                    Phase::Committing | Phase::Committed | Phase::Opening | Phase::Gone => {}
                }
            }
            tokio::select! {
                biased;
                answered = &mut answer => {
                    return answered.unwrap_or_else(|_| unanswered(&settlement, asked));
                }
                () = changed => {}
                () = tokio::time::sleep_until(grace) => {
                    // A commit that takes this long may still succeed: only the journal knows.
                    let row = settlement.lock().row.clone();
                    return settlement::late(&row, &asked.request.network_as_sent).into();
                }
            }
        }
    }
}

/// For a caller whom nobody answers any more, because this process stops or has a defect. What may be recorded is not called
/// "not begun".
fn unanswered(settlement: &Settlement, asked: &Asked) -> Settled {
    let state = settlement.lock();
    match state.phase {
        Phase::Committing | Phase::Committed => {
            settlement::late(&state.row, &asked.request.network_as_sent).into()
        }
        Phase::Opening | Phase::Gone => unavailable("the settlement was given up; try again").into(),
    }
}

/// A caller's place in line; leaving it may withdraw the settlement.
struct Seat {
    settlement: Arc<Settlement>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.settlement.lock().leave(self.number);
        self.settlement.withdraw_if_deserted();
    }
}

/// Ends once the settlement is withdrawn.
pub(super) async fn withdrawn(settlement: &Settlement) {
    loop {
        let changed = settlement.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if settlement.lock().phase == Phase::Gone {
            return;
        }
        changed.await;
    }
}
