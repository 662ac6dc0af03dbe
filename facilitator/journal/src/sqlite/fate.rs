//! What an error of SQLite means for a commit.

use rusqlite::ErrorCode;

use super::super::CommitError;

/// What a failed COMMIT means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It can be undone, and is reported.
    Undo(CommitError),
    /// It is not known whether it is on disk.
    Unknown,
}

pub(super) fn fate(error: &rusqlite::Error) -> Fate {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Fate::Undo(CommitError::Full),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Fate::Undo(CommitError::Io("another program has the journal locked".into()))
        }
        _ => Fate::Unknown,
    }
}

/// A failure before COMMIT, when nothing can be on disk.
pub(super) fn reported(error: &rusqlite::Error) -> CommitError {
    match fate(error) {
        Fate::Undo(error) => error,
        Fate::Unknown => CommitError::Io(error.to_string()),
    }
}
