//! Who holds a claim and the conflict keys, in memory. The journal has the last word on both.

use std::sync::Arc;

use sdk_plugin::Purpose;
use sdk_plugin::scheme::Verdict;

use super::answers::unavailable;
use super::refuse_now;
use super::wait::withdrawn;
use crate::conflicts::Caller;
use crate::settlement::Settlement;
use crate::{Claim, Engine, lock};

impl Engine {
    /// Takes all conflict keys or none, waiting in turn; `false` when the settlement was withdrawn or answered meanwhile:
    /// forgetting it gives its place back.
    pub(super) async fn take_keys(&self, settlement: &Arc<Settlement>, keys: &[String]) -> bool {
        let caller = caller_of(settlement);
        let are_free = lock(&self.conflicts).are_free(keys);
        if caller != Caller::Job && !are_free && !self.may_wait(settlement).await {
            return false;
        }
        let queued = lock(&self.conflicts).queue(keys, settlement.id, &caller);
        let Ok(turn) = queued else {
            settlement.give_up(|_| unavailable("too many operations wait for this payment; try again"));
            return false;
        };
        loop {
            if lock(&self.conflicts).take(keys, settlement.id) {
                return true;
            }
            tokio::select! {
                biased;
                () = withdrawn(settlement) => return false,
                () = turn.notified() => {}
            }
        }
    }

    /// Whether a request is worth a place behind others. Any caller can ask for an operation on a payment: one that is
    /// not entitled to it gets its refusal now, and keeps no other caller waiting. What only the payment's present state
    /// speaks against may be good after those before it.
    async fn may_wait(&self, settlement: &Arc<Settlement>) -> bool {
        let (Some(kind), Some(request)) = (&settlement.kind, &settlement.request) else {
            return true;
        };
        let verdict = tokio::select! {
            biased;
            () = withdrawn(settlement) => return false,
            verdict = self.ops.verify(kind, request) => verdict,
        };
        match verdict {
            Ok(Verdict::Invalid(refusal)) if !refusal.of_state => {
                refuse_now(settlement, &refusal);
                false
            }
            Ok(Verdict::Invalid(_) | Verdict::Valid(_)) => true,
            // Planning says what a node that does not answer now means.
            Err(_) => true,
        }
    }

    /// Gives a settlement's conflict keys back in memory.
    pub(crate) fn free_keys(&self, id: u64) {
        lock(&self.conflicts).free(id);
    }

    /// Forgets a settlement of which nothing is journaled.
    pub(crate) fn forget(&self, settlement: &Arc<Settlement>) {
        self.free_keys(settlement.id);
        let mut claims = lock(&self.claims);
        if let Some(claim) = claims.get_mut(&settlement.claim) {
            claim.opening.retain(|other| other.id != settlement.id);
            if claim
                .holder
                .as_ref()
                .is_some_and(|holder| holder.id == settlement.id)
            {
                claim.holder = None;
            }
            if claim.holder.is_none() && claim.opening.is_empty() {
                claims.remove(&settlement.claim);
            }
        }
    }

    /// Makes a settlement the claim's holder before its first commit; `false` when another one is.
    pub(crate) fn hold_claim(&self, settlement: &Arc<Settlement>) -> bool {
        let mut claims = lock(&self.claims);
        let claim: &mut Claim = claims.entry(settlement.claim.clone()).or_default();
        match &claim.holder {
            Some(holder) => holder.id == settlement.id,
            None => {
                claim.opening.retain(|other| other.id != settlement.id);
                claim.holder = Some(Arc::clone(settlement));
                true
            }
        }
    }
}

fn caller_of(settlement: &Settlement) -> Caller {
    match settlement.request.as_ref().map(|request| request.purpose) {
        Some(Purpose::Job) => Caller::Job,
        Some(Purpose::Verify | Purpose::Settle | Purpose::Route) | None => {
            Caller::Of(settlement.lock().row.tenant.clone())
        }
    }
}
