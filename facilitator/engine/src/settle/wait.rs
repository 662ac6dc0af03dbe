//! The wait of a caller, and what happens when the caller leaves.

use crate::decide::replies;
use crate::decide::replies::unavailable;
use crate::settle::{COMMIT_GRACE, PaymentCall, Settling};
use crate::state::settlement::{Phase, Settlement};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use base::service::Settled;
use journal::Outcome;

/// How long a caller waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From then on the caller prefers `settlement_pending` with the hash, as soon as there is one, to waiting longer.
    pub(crate) early: Option<Instant>,
    pub(crate) last: Instant,
    /// The caller gets `success` only once the payment is final.
    pub(crate) until_final: bool,
    /// How long the payment may wait for others to share its transaction.
    pub(crate) gather: Duration,
}

impl Settling {
    /// Waits for the answer. Dropping this future means that the caller hung up.
    pub(crate) async fn wait(
        self: &Arc<Self>,
        call: &PaymentCall,
        settlement: Arc<Settlement>,
        number: u64,
        mut answer: oneshot::Receiver<Settled>,
        patience: Patience,
    ) -> Settled {
        let seat = Seat {
            settlement: Arc::clone(&settlement),
            number,
        };
        if let Some(early) = patience.early {
            let recorded = async {
                tokio::time::sleep_until(early).await;
                recorded(&settlement, patience.until_final).await;
            };
            tokio::select! {
                biased;
                answered = &mut answer => {
                    drop(seat);
                    return answered.unwrap_or_else(|_| unanswered(&settlement, call));
                }
                () = recorded => {
                    let mut state = settlement.lock();
                    if state.leave(number) {
                        return replies::late(&state.row, &call.request.network_as_sent).into();
                    }
                    // The answer is being sent.
                }
                () = tokio::time::sleep_until(patience.last) => {}
            }
        }
        if let Ok(answered) = tokio::time::timeout_at(patience.last, &mut answer).await {
            drop(seat);
            return answered.unwrap_or_else(|_| unanswered(&settlement, call));
        }
        let grace = Instant::now() + COMMIT_GRACE;
        loop {
            let changed = settlement.changed.notified();
            {
                let mut state = settlement.lock();
                let phase = state.phase;
                match phase {
                    Phase::Committed if state.leave(number) => {
                        return replies::late(&state.row, &call.request.network_as_sent).into();
                    }
                    Phase::Opening if state.leave(number) => {
                        drop(state);
                        settlement.withdraw_if_deserted();
                        return unavailable("nothing was started within the time; try again").into();
                    }
                    // The answer or the commit is in progress.
                    Phase::Committing | Phase::Committed | Phase::Opening | Phase::Gone => {}
                }
            }
            tokio::select! {
                biased;
                answered = &mut answer => {
                    return answered.unwrap_or_else(|_| unanswered(&settlement, call));
                }
                () = changed => {}
                () = tokio::time::sleep_until(grace) => {
                    // A commit that takes this long may still succeed: only the journal knows.
                    let row = settlement.lock().row.clone();
                    return replies::late(&row, &call.request.network_as_sent).into();
                }
            }
        }
    }
}

/// For a caller that gets no other answer, because this process stops or has a defect. A settlement that may be
/// recorded is not reported as "not started".
fn unanswered(settlement: &Settlement, call: &PaymentCall) -> Settled {
    let state = settlement.lock();
    match state.phase {
        Phase::Committing | Phase::Committed => {
            replies::late(&state.row, &call.request.network_as_sent).into()
        }
        Phase::Opening | Phase::Gone => unavailable("the settlement was given up; try again").into(),
    }
}

/// A caller's position among the waiters; leaving it may withdraw the settlement.
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

/// Ends once a transaction of the settlement is recorded, unless it is decided by then: that answer is better. For a caller
/// that waits `until_final`, a payment is decided when it is final.
async fn recorded(settlement: &Settlement, until_final: bool) {
    loop {
        let changed = settlement.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        {
            let state = settlement.lock();
            let has_hash = state.phase == Phase::Committed && state.row.tx_id.is_some();
            let is_decided = match &state.row.outcome {
                Outcome::Open => false,
                Outcome::Paid(_) => !until_final || state.row.paid_is_final(),
                Outcome::Failed { .. } | Outcome::Reversed { .. } => true,
            };
            if has_hash && !is_decided {
                return;
            }
        }
        changed.await;
    }
}

/// Ends once the settlement is withdrawn.
pub(crate) async fn withdrawn(settlement: &Settlement) {
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
