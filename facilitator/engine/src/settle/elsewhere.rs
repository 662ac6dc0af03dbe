//! A claim whose settlement another node continues: its callers wait here, and the journal tells what became of it.

use super::known_claim::KnownClaim;
use super::{Lookup, PaymentCall, Settling};
use crate::decide::claim::{Decision, decide};
use crate::decide::replies::unavailable;
use crate::state::settlement::Settlement;
use base::service::{SettleAnswer, Settled};
use journal::{JournalError, Outcome, SettlementRow};
use sdk_plugin::wire::reason;
use std::sync::Arc;
use std::time::Duration;

/// Pause while another payload of the same claim is being planned here.
const OPENING: Duration = Duration::from_millis(200);

impl Settling {
    /// Says to the other nodes that this one plans a settlement of the claim, so that none of them calls an equal request
    /// refused meanwhile. `false` when the settlement was answered.
    pub(super) async fn announce(&self, settlement: &Arc<Settlement>) -> bool {
        let Some(shared) = self.runtime.journal.shared() else {
            return true;
        };
        match shared.announce(&settlement.claim).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(settlement = settlement.id, %error, "a settlement was not started");
                settlement.give_up(|_| unavailable("the journal can't be written"));
                false
            }
        }
    }

    /// Takes the announcement back, once nothing of the claim is being opened here.
    pub(super) fn withdraw(self: &Arc<Self>, claim: &str) {
        if !self.runtime.ownership.is_shared() {
            return;
        }
        let (settling, claim) = (Arc::clone(self), claim.to_owned());
        self.runtime.spawn(async move {
            let Some(shared) = settling.runtime.journal.shared() else {
                return;
            };
            while settling.runtime.claims.is_opening(&claim) {
                tokio::time::sleep(OPENING).await;
            }
            // One that stays ends by itself.
            if let Err(error) = shared.withdraw(&claim).await {
                tracing::debug!(%error, "an announcement was not withdrawn");
            }
        });
    }

    /// A refusal of a request of which nothing is recorded, unless another node has recorded the payment meanwhile or is
    /// about to: a caller that gets a failure may not learn of a success later.
    pub(super) async fn unless_elsewhere(&self, settled: Settled, known: &KnownClaim) -> Settled {
        let Some(shared) = self.runtime.journal.shared() else {
            return settled;
        };
        let SettleAnswer::Reply(reply) = &settled.answer else {
            return settled;
        };
        let says_nothing_was_sent = !reply.success
            && reply.transaction.is_empty()
            && !matches!(
                reply.error_reason.as_deref(),
                Some(reason::SETTLEMENT_PENDING | reason::DUPLICATE_SETTLEMENT)
            );
        let claim = known.claim();
        if !says_nothing_was_sent || claim.is_empty() {
            return settled;
        }
        // In this order: what is announced is recorded before the announcement ends.
        let may_be_paid = match shared.is_announced(&claim).await {
            Ok(true) => Ok(true),
            // Not from memory: another payload of the claim may be being recorded here.
            Ok(false) => self.runtime.journal.claim(&claim).await.map(|row| {
                row.is_some_and(|row| match row.outcome {
                    // Of another request with this authorization: the refusal is the answer about that.
                    Outcome::Open | Outcome::Paid(_) => known.is_equal(&row),
                    Outcome::Failed { .. } | Outcome::Reversed { .. } => false,
                })
            }),
            Err(error) => Err(error),
        };
        match may_be_paid {
            Ok(false) => settled,
            Ok(true) => {
                settled.receipt.cancel();
                unavailable("another node settles this payment; try again").into()
            }
            Err(error) => {
                tracing::error!(%error, "a claim can't be read");
                settled.receipt.cancel();
                unavailable("the journal can't be read").into()
            }
        }
    }

    /// Whether a caller waits for what another node does.
    pub(super) fn is_elsewhere(&self, row: &SettlementRow, call: &PaymentCall) -> bool {
        let Some(home) = row.home.as_ref().filter(|_| !row.finished) else {
            return false;
        };
        // What may still be reorganised away is read from the chain first.
        let waits = match decide(row, &call.identity) {
            Decision::Wait | Decision::TakeRelease | Decision::Replay(_) => true,
            Decision::Duplicate { .. }
            | Decision::ReplayReason
            | Decision::SameFailure
            | Decision::Reopen => false,
        };
        waits && !self.runtime.ownership.owns(&row.network, home)
    }

    pub(super) async fn join_elsewhere(
        &self,
        row: SettlementRow,
        call: &PaymentCall,
    ) -> Result<Lookup, JournalError> {
        let found = self.runtime.journal.with_plans(&[row.id]).await?;
        let Some((row, plan)) = found.into_iter().next() else {
            return Ok(Lookup::Retry);
        };
        let Some(made) = self.runtime.as_recorded(row) else {
            return Ok(Lookup::Retry);
        };
        let is_here = self
            .runtime
            .claims
            .holder(&made.claim)
            .is_some_and(|holder| holder.id == made.id);
        if is_here {
            return Ok(Lookup::Retry);
        }
        let settlement = self.runtime.elsewhere.get_or(made.id, || made);
        self.runtime.read_plan(&settlement, plan);
        let (number, answer) = settlement
            .lock()
            .join(call.identity.clone(), call.request.network_as_sent.clone());
        // Also when its last caller left meanwhile.
        self.runtime.elsewhere.add(&settlement);
        Ok(Lookup::Waiting {
            settlement: Arc::clone(&settlement),
            number,
            answer,
        })
    }
}
