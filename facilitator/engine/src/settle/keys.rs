//! Who holds a claim and the conflict keys, in memory. The journal decides on both.

use super::planning::refuse_now;
use super::wait::withdrawn;
use crate::decide::conflicts::Caller;
use crate::decide::replies::unavailable;
use crate::settle::Settling;
use crate::state::settlement::Settlement;
use std::sync::Arc;

use sdk_plugin::Purpose;
use sdk_plugin::scheme::Verdict;

impl Settling {
    /// Takes all conflict keys or none, waiting in turn; `false` when the settlement was withdrawn or answered
    /// meanwhile. Forgetting the settlement then frees its position in the queue.
    pub(crate) async fn take_keys(&self, settlement: &Arc<Settlement>, keys: &[String]) -> bool {
        let caller = caller_of(settlement);
        let are_free = self.runtime.claims.conflicts().are_free(keys);
        if caller != Caller::Job && !are_free && !self.may_wait(settlement).await {
            return false;
        }
        let queued = self
            .runtime
            .claims
            .conflicts()
            .queue(keys, settlement.id, &caller);
        let Ok(turn) = queued else {
            settlement.give_up(|_| unavailable("too many operations wait for this payment; try again"));
            return false;
        };
        loop {
            if self.runtime.claims.conflicts().take(keys, settlement.id) {
                return true;
            }
            tokio::select! {
                biased;
                () = withdrawn(settlement) => return false,
                () = turn.notified() => {}
            }
        }
    }

    /// Reads who used the keys last, where other nodes may use them too: the first commit is refused if another
    /// operation comes between this and the plan. `false` when the settlement was answered.
    pub(crate) async fn see_keys(&self, settlement: &Arc<Settlement>, keys: &[String]) -> bool {
        if keys.is_empty() || !self.runtime.ownership.is_shared() {
            return true;
        }
        match self.runtime.journal.freed_keys(keys).await {
            Ok(seen) => {
                // Set once: a settlement is planned once.
                let _ = settlement.keys_seen.set(seen);
                true
            }
            Err(error) => {
                tracing::error!(%error, "conflict keys can't be read");
                settlement.give_up(|_| unavailable("the journal can't be read"));
                false
            }
        }
    }

    /// Whether a request may wait in the queue. Any caller can request an operation on a payment: a caller that is not
    /// entitled to it is refused now and keeps no other caller waiting. A request that is refused only because of the
    /// payment's present state may be valid after those ahead of it.
    async fn may_wait(&self, settlement: &Arc<Settlement>) -> bool {
        let (Some(kind), Some(request)) = (&settlement.kind, &settlement.request) else {
            return true;
        };
        let verdict = tokio::select! {
            biased;
            () = withdrawn(settlement) => return false,
            verdict = self.runtime.ops.verify(kind, request) => verdict,
        };
        match verdict {
            Ok(Verdict::Invalid(refusal)) if !refusal.of_state => {
                refuse_now(settlement, &refusal);
                false
            }
            Ok(Verdict::Invalid(_) | Verdict::Valid(_)) => true,
            // Planning decides what it means that a node does not answer now.
            Err(_) => true,
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
