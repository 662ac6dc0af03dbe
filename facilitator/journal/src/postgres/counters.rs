//! What the database was made to do, for tests and measurements.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the journal was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Groups of commits that were tried.
    pub groups: u64,
    /// Transactions that ended with a COMMIT of changes: each is one sync of the database's log.
    pub syncs: u64,
    /// Statements, of commits and of reads.
    pub statements: u64,
    /// Round trips, of commits and of reads.
    pub round_trips: u64,
    /// Groups that were tried again because another node was faster.
    pub conflicts: u64,
    /// Lost answers to a COMMIT that were looked up.
    pub looked_up: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) groups: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) statements: AtomicU64,
    pub(super) round_trips: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) looked_up: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, by: usize) {
        counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            groups: of(&self.groups),
            syncs: of(&self.syncs),
            statements: of(&self.statements),
            round_trips: of(&self.round_trips),
            conflicts: of(&self.conflicts),
            looked_up: of(&self.looked_up),
        }
    }
}
