//! Who holds a claim and the conflict keys, in memory. The journal has the last word on both.

use std::sync::Arc;

use super::wait::withdrawn;
use crate::engine::settlement::Settlement;
use crate::engine::{Claim, Engine, lock};

impl Engine {
    /// Takes all conflict keys or none, waiting in turn; `false` when the settlement was withdrawn meanwhile: whoever
    /// forgets it gives its place back.
    pub(super) async fn take_keys(&self, settlement: &Arc<Settlement>, keys: &[String]) -> bool {
        let turn = lock(&self.conflicts).queue(keys, settlement.id);
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

    /// Gives a settlement's conflict keys back in memory.
    pub(in crate::engine) fn free_keys(&self, id: u64) {
        lock(&self.conflicts).free(id);
    }

    /// Forgets a settlement of which nothing is journaled.
    pub(in crate::engine) fn forget(&self, settlement: &Arc<Settlement>) {
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
    pub(in crate::engine) fn hold_claim(&self, settlement: &Arc<Settlement>) -> bool {
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
