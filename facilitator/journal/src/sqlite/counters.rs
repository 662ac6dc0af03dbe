//! What SQLite was made to do, for tests and measurements.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the journal was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions of commits that were tried: each is one sync of the write-ahead log. Checkpoints are not counted.
    pub groups: u64,
    /// Statements, of commits and of reads, with those that begin and end a transaction.
    pub statements: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    groups: AtomicU64,
    statements: AtomicU64,
}

/// The statements that begin and end a transaction.
const AROUND: u64 = 2;

impl Counters {
    /// A transaction of commits has ended, with so many statements inside.
    pub(super) fn record_group(&self, statements: u64) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.record_read(statements);
    }

    /// A transaction of reads has ended, with so many statements inside.
    pub(super) fn record_read(&self, statements: u64) {
        self.statements
            .fetch_add(statements.saturating_add(AROUND), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        Counts {
            groups: self.groups.load(Ordering::Relaxed),
            statements: self.statements.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Journal as _;
    use crate::sqlite::SqliteJournal;
    use crate::testkit::{opened, prepared};

    #[tokio::test]
    async fn a_commit_is_one_group_and_a_read_of_one_row_three_statements() {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(folder.path()).unwrap();
        let at_first = journal.counts();
        let events = vec![opened(1, "c1"), prepared(2, 1, 5)];
        journal.commit(events).await.unwrap();
        let committed = journal.counts();
        assert_eq!(committed.groups, at_first.groups + 1);
        assert!(committed.statements > at_first.statements + 4, "{committed:?}");
        assert!(journal.settlement(1).await.unwrap().is_some());
        let read = journal.counts();
        assert_eq!(
            (read.groups, read.statements),
            (committed.groups, committed.statements + 3)
        );
    }
}
