//! Where promises of verify are kept: in this process, or in the journal that nodes share. Source:
//! status-and-reservations.md, section 3.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use journal::reservations::{MemoryReservations, Promise, Promised};
use journal::{CommitError, Journal};

/// All reservations.
pub(crate) struct Reservations {
    journal: Arc<dyn Journal>,
    own: MemoryReservations,
    /// Some tenant reserves: outcomes end reservations in the shared journal.
    in_use: AtomicBool,
}

impl Reservations {
    pub(crate) fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            own: MemoryReservations::default(),
            in_use: AtomicBool::new(false),
        }
    }

    /// Tenants of this facilitator reserve, here or at another node.
    pub(crate) fn expect(&self) {
        self.in_use.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// When the shared journal can't be reached: nothing is promised.
    pub(crate) async fn reserve(&self, promise: Promise) -> Result<Promised, CommitError> {
        self.expect();
        match self.journal.shared() {
            Some(shared) => shared.reserve(&promise).await,
            None => Ok(self.own.reserve(promise)),
        }
    }

    /// Ends the reservation of a claim, whichever tenant holds it, if that needs no call to a database. `false`: it does.
    pub(crate) fn ends_at_once(&self, claim: &str) -> bool {
        if self.journal.shared().is_some() {
            return !self.in_use.load(Ordering::Relaxed);
        }
        self.own.end(claim);
        true
    }

    /// Ends the reservation of a claim, whichever tenant holds it. If the shared journal can't be reached, it ends by its
    /// time.
    pub(crate) async fn end(&self, claim: &str) {
        let Some(shared) = self.journal.shared() else {
            return self.own.end(claim);
        };
        if let Err(error) = shared.end_reservation(claim, None).await {
            tracing::warn!(%error, "a reservation can't be ended; it ends by its time");
        }
    }

    /// Ends the reservation of a claim if this tenant holds it. Returns whether it did.
    ///
    /// # Errors
    /// When the shared journal can't be reached.
    pub(crate) async fn end_of(&self, claim: &str, tenant: &str) -> Result<bool, CommitError> {
        match self.journal.shared() {
            Some(shared) => shared.end_reservation(claim, Some(tenant)).await,
            None => Ok(self.own.end_of(claim, tenant)),
        }
    }
}
