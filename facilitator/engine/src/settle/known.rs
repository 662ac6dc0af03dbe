//! What is known of a request's claim while the request is on its way: enough for an answer when something hangs.

use std::sync::{Arc, Mutex};

use crate::lock;
use crate::settlement::Settlement;
use journal::SettlementRow;

/// Filled in by the request's task, read when its time is over.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    claim: String,
    row: Option<SettlementRow>,
    held: Option<Arc<Settlement>>,
}

impl Known {
    pub(super) fn set_claim(&self, claim: &str) {
        claim.clone_into(&mut lock(&self.0).claim);
    }

    /// The claim's row, which is about the caller's own payment: the hash in it may be told.
    pub(super) fn set_row(&self, row: &SettlementRow) {
        lock(&self.0).row = Some(row.clone());
    }

    /// The settlement that the caller waits for.
    pub(super) fn set_held(&self, settlement: &Arc<Settlement>) {
        lock(&self.0).held = Some(Arc::clone(settlement));
    }

    /// Empty while the request is not identified.
    pub(super) fn claim(&self) -> String {
        lock(&self.0).claim.clone()
    }

    /// The newest that is known of the claim.
    pub(super) fn row(&self) -> Option<SettlementRow> {
        let found = lock(&self.0);
        match &found.held {
            Some(settlement) => Some(settlement.lock().row.clone()),
            None => found.row.clone(),
        }
    }
}
