//! Who holds a claim and the conflict keys, in memory. The journal decides on both: it refuses a second holder.

use crate::decide::conflicts::Conflicts;
use crate::state::settlement::{Phase, Settlement};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;

use journal::{Outcome, SettlementRow};

/// The settlements of one claim key.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    /// The settlement that is journaled, or being journaled.
    pub(crate) holder: Option<Arc<Settlement>>,
    /// Settlements without a commit: one for each distinct payload and terms.
    pub(crate) opening: Vec<Arc<Settlement>>,
}

/// Every claim with an unfinished settlement, and the conflict keys that settlements hold.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Ordered by key, so that every walk over all of them has the same order.
    claims: Mutex<BTreeMap<String, Claim>>,
    conflicts: Mutex<Conflicts>,
}

impl Claims {
    /// The conflict keys, locked.
    pub(crate) fn conflicts(&self) -> MutexGuard<'_, Conflicts> {
        self.conflicts.lock()
    }

    /// The settlement that holds a claim.
    pub(crate) fn holder(&self, claim: &str) -> Option<Arc<Settlement>> {
        self.claims.lock().get(claim)?.holder.clone()
    }

    /// Every journaled settlement that is not finished.
    pub(crate) fn holders(&self) -> Vec<Arc<Settlement>> {
        let claims = self.claims.lock();
        claims.values().filter_map(|claim| claim.holder.clone()).collect()
    }

    /// Journaled settlements of a network that are not finished.
    pub(crate) fn holders_on(&self, network: &str) -> Vec<Arc<Settlement>> {
        let mut holders = self.holders();
        holders.retain(|settlement| settlement.network.id() == network);
        holders
    }

    /// The settlement with this request hash whose first commit is running.
    pub(crate) fn committing(&self, request: &str) -> Option<SettlementRow> {
        let claims = self.claims.lock();
        claims.values().find_map(|claim| {
            let state = claim.holder.as_ref()?.lock();
            let is_it = state.phase == Phase::Committing && state.row.request == request;
            is_it.then(|| state.row.clone())
        })
    }

    /// Whether a settlement of the claim is being planned, or its first commit is in progress.
    pub(crate) fn is_opening(&self, claim: &str) -> bool {
        let claims = self.claims.lock();
        claims.get(claim).is_some_and(|claim| {
            let is_committing =
                |holder: &Arc<Settlement>| matches!(holder.lock().phase, Phase::Opening | Phase::Committing);
            !claim.opening.is_empty() || claim.holder.as_ref().is_some_and(is_committing)
        })
    }

    /// Runs `with` on a claim, which exists afterwards, under the lock of all claims.
    pub(crate) fn with<T>(&self, claim: &str, with: impl FnOnce(&mut Claim) -> T) -> T {
        with(self.claims.lock().entry(claim.to_owned()).or_default())
    }

    /// Adds a journaled settlement at a start, with the conflict keys that it holds.
    pub(crate) fn resume(&self, settlement: &Arc<Settlement>, keys: Vec<String>) {
        {
            let mut conflicts = self.conflicts();
            for key in keys {
                conflicts.hold(key, settlement.id);
            }
        }
        self.with(&settlement.claim, |claim| {
            claim.holder = Some(Arc::clone(settlement));
        });
    }

    /// Makes a settlement the claim's holder before its first commit; `false` when another settlement holds the claim.
    pub(crate) fn hold_claim(&self, settlement: &Arc<Settlement>) -> bool {
        self.with(&settlement.claim, |claim| match &claim.holder {
            Some(holder) => holder.id == settlement.id,
            None => {
                claim.opening.retain(|other| other.id != settlement.id);
                claim.holder = Some(Arc::clone(settlement));
                true
            }
        })
    }

    /// Frees a settlement's conflict keys.
    pub(crate) fn free_keys(&self, id: u64) {
        self.conflicts().free(id);
    }

    /// Removes a settlement, with its conflict keys.
    pub(crate) fn forget(&self, settlement: &Arc<Settlement>) {
        self.free_keys(settlement.id);
        let mut claims = self.claims.lock();
        if let Some(claim) = claims.get_mut(&settlement.claim) {
            claim.opening.retain(|other| other.id != settlement.id);
            let is_holder = |holder: &Arc<Settlement>| holder.id == settlement.id;
            if claim.holder.as_ref().is_some_and(is_holder) {
                claim.holder = None;
            }
            if claim.holder.is_none() && claim.opening.is_empty() {
                claims.remove(&settlement.claim);
            }
        }
    }

    /// How many claims there are.
    pub(crate) fn count(&self) -> usize {
        self.claims.lock().len()
    }

    /// Settlements without an outcome, journaled or not.
    pub(crate) fn undecided(&self) -> usize {
        let claims = self.claims.lock();
        claims
            .values()
            .flat_map(|claim| claim.holder.iter().chain(&claim.opening))
            .filter(|settlement| settlement.lock().row.outcome == Outcome::Open)
            .count()
    }
}
