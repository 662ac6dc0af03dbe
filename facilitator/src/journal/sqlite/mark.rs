//! How far this journal has come, in a small file beside it. A database that is behind its mark is an old copy, or has lost
//! its write-ahead log.
//!
//! The mark is written after each commit and not synced: it is a lower bound of what was committed, never more. Whoever
//! restores the whole folder restores the mark too; the signers' sequences on chain show most of those copies.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Digits of the largest sequence, and a line's end.
const LENGTH: usize = 20;

/// The file of a journal.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

fn path_of(database: &Path) -> PathBuf {
    database.with_file_name("journal.mark")
}

/// What the mark says; `None`: there is none, as before the first commit and after an upgrade.
pub(super) fn read(database: &Path) -> Option<i64> {
    fs::read_to_string(path_of(database)).ok()?.trim().parse().ok()
}

impl Mark {
    pub(super) fn open(database: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path_of(database))?;
        Ok(Self { file })
    }

    /// Records a sequence that is durable.
    pub(super) fn set(&self, sequence: i64) -> io::Result<()> {
        let line = format!("{sequence:019}\n");
        debug_assert_eq!(line.len(), LENGTH);
        self.file.write_all_at(line.as_bytes(), 0)
    }
}
