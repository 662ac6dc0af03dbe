//! What is known of a request's claim while the request is in progress: enough for an answer when something hangs.
//! The decision about a known claim is in [`crate::decide::claim`].

use crate::decide::claim::RequestIdentity;
use crate::state::settlement::Settlement;
use parking_lot::Mutex;
use std::sync::Arc;

use journal::SettlementRow;

/// Filled in by the request's task, and read when its time is over.
#[derive(Debug, Default)]
pub(crate) struct KnownClaim(Mutex<Fields>);

#[derive(Debug, Default)]
struct Fields {
    claim: String,
    identity: Option<RequestIdentity>,
    row: Option<SettlementRow>,
    held: Option<Arc<Settlement>>,
}

impl KnownClaim {
    pub(crate) fn set_claim(&self, claim: &str) {
        claim.clone_into(&mut self.0.lock().claim);
    }

    /// The claim's row. It is about the caller's own payment, so the caller may get its hash.
    pub(crate) fn set_row(&self, row: &SettlementRow) {
        self.0.lock().row = Some(row.clone());
    }

    /// The settlement that the caller waits for.
    pub(crate) fn set_held(&self, settlement: &Arc<Settlement>) {
        self.0.lock().held = Some(Arc::clone(settlement));
    }

    /// Whose request it is.
    pub(crate) fn set_identity(&self, identity: &RequestIdentity) {
        self.0.lock().identity = Some(identity.clone());
    }

    /// Whether the row is of an equal request.
    pub(crate) fn is_equal(&self, row: &SettlementRow) -> bool {
        let found = self.0.lock();
        found
            .identity
            .as_ref()
            .is_some_and(|identity| identity.is_equal(row))
    }

    /// Empty while the request is not identified.
    pub(crate) fn claim(&self) -> String {
        self.0.lock().claim.clone()
    }

    /// The newest known row of the claim.
    pub(crate) fn row(&self) -> Option<SettlementRow> {
        let found = self.0.lock();
        match &found.held {
            Some(settlement) => Some(settlement.lock().row.clone()),
            None => found.row.clone(),
        }
    }
}
