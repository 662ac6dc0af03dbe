//! Answers the callers of a decided settlement, and gives one of them the release.

use super::Outcomes;
use crate::decide::claim::{Decision, decide};
use crate::decide::replies;
use crate::decide::replies::unavailable;
use crate::state::settlement::{Settlement, Waiter};
use base::service::{SettleAnswer, Settled};
use journal::{CommitError, Event, Outcome, Release, SettlementRow};
use std::sync::Arc;
use tokio::time::Instant;

impl Outcomes {
    /// Answers the callers that wait for a decided settlement, as the table says; the first gets an open release. A
    /// release, and a replay of a payment that is not final, need an observation that began after the caller came:
    /// `seen` is when the newest one began that showed the payment. Callers for whom it is too old keep waiting.
    pub(crate) async fn serve_waiters(self: &Arc<Self>, settlement: &Arc<Settlement>, seen: Option<Instant>) {
        let _deciding = settlement.deciding.lock().await;
        loop {
            let (row, caller) = {
                let mut state = settlement.lock();
                if state.row.outcome == Outcome::Open && state.row.release.is_none() {
                    return;
                }
                let row = state.row.clone();
                let may_release = self.may_release(settlement.network.id(), settlement.id);
                let caller = state.next_caller_if(|waiter| {
                    let was_seen = seen.is_some_and(|began| waiter.joined <= began);
                    match decide(&row, &waiter.identity) {
                        Decision::TakeRelease => may_release && (was_seen || row.paid_is_final()),
                        // A replay sent now would be a second success if the first answer got lost and its release
                        // were given back.
                        Decision::Replay(_) => {
                            (was_seen || row.paid_is_final()) && !self.is_in_delivery(row.id)
                        }
                        // It waits until the payment is final.
                        Decision::Wait => false,
                        Decision::Duplicate { .. }
                        | Decision::ReplayReason
                        | Decision::SameFailure
                        | Decision::Reopen => true,
                    }
                });
                (row, caller)
            };
            let Some(caller) = caller else { return };
            if let Decision::Replay(_) = decide(&row, &caller.identity)
                && !self.keep_release(&row).await
            {
                // Read again: it was given back, or another node answers it.
                self.refresh_locked(settlement).await;
                let again = unavailable("the claim changed; try again");
                let _ = caller.reply.send(again.into());
                continue;
            }
            let network = caller.network_as_sent.clone();
            let answer = match (decide(&row, &caller.identity), &row.outcome) {
                (Decision::TakeRelease, Outcome::Paid(paid)) => {
                    let reply = replies::success(paid, &row, &network);
                    let release = self.release_to(&caller, &reply);
                    let number = release.number;
                    let receipt = self.receipt(row.id, &row.claim, number);
                    match self
                        .runtime
                        .journal
                        .commit(vec![Event::Released {
                            settlement: row.id,
                            release,
                        }])
                        .await
                    {
                        Ok(()) => {
                            self.refresh_locked(settlement).await;
                            let answer = SettleAnswer::Reply(reply);
                            let answer = Settled { answer, receipt };
                            self.tell(settlement, caller, answer, number).await;
                            continue;
                        }
                        Err(CommitError::AlreadyReleased) => {
                            receipt.cancel();
                            self.refresh_locked(settlement).await;
                            SettleAnswer::Reply(replies::duplicate(&row, &paid.tx_id, &network))
                        }
                        Err(error) => {
                            receipt.cancel();
                            tracing::error!(settlement = row.id, %error, "a release was not recorded");
                            SettleAnswer::Reply(replies::pending(&row, &network))
                        }
                    }
                }
                (Decision::Duplicate { tx_id }, _) => {
                    SettleAnswer::Reply(replies::duplicate(&row, &tx_id, &network))
                }
                (Decision::Replay(body), _) => SettleAnswer::Replay(body),
                (Decision::ReplayReason, _) => SettleAnswer::Reply(replies::replayed(&row, &network)),
                (Decision::SameFailure | Decision::Reopen, Outcome::Failed { .. }) => {
                    SettleAnswer::Reply(replies::same_failure(&row, &network))
                }
                (Decision::SameFailure | Decision::Reopen | Decision::Wait | Decision::TakeRelease, _) => {
                    unavailable("the claim changed; try again")
                }
            };
            let _ = caller.reply.send(answer.into());
        }
    }

    /// Answers `success`. A caller that was gone before anything was written to it gives the release back.
    pub(super) async fn tell(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        caller: Waiter,
        answer: Settled,
        number: u64,
    ) {
        let Err(Settled { receipt, .. }) = caller.reply.send(answer) else {
            return;
        };
        let event = Event::ReleaseReturned {
            settlement: settlement.id,
            number,
        };
        match self.runtime.journal.commit(vec![event]).await {
            Ok(()) => {
                receipt.cancel();
                self.refresh_locked(settlement).await;
            }
            Err(error) => {
                tracing::error!(settlement = settlement.id, %error, "a release was not given back; it is tried again");
                // The dropped receipt tries again until the journal accepts it.
                drop(receipt);
            }
        }
    }

    /// Before a release is answered once more: where another node may have taken it and may be about to give it back, that
    /// node can't any more. `false`: it has, or that is not known.
    pub(crate) async fn keep_release(&self, row: &SettlementRow) -> bool {
        let Some(release) = row
            .release
            .as_ref()
            .filter(|_| self.runtime.ownership.is_shared())
        else {
            return true;
        };
        let kept = Event::ReleaseKept {
            settlement: row.id,
            from: release.number,
            to: self.runtime.journal.new_id(),
        };
        match self.runtime.journal.commit(vec![kept]).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(settlement = row.id, %error, "a release was not answered again");
                false
            }
        }
    }

    pub(super) fn release_to(&self, caller: &Waiter, reply: &sdk_plugin::wire::SettleReply) -> Release {
        Release {
            number: self.runtime.journal.new_id(),
            tenant: caller.identity.tenant.clone(),
            idempotency_key: caller.identity.idempotency_key.clone(),
            body: serde_json::to_string(reply).unwrap_or_default(),
            at_ms: self.runtime.clock.now_ms(),
        }
    }
}
