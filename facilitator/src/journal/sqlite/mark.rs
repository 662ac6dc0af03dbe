//! The mark: a small file beside the database that says how far its event log had come, and in which file.
//!
//! A database that is behind its mark was restored from an older copy, or has lost its write-ahead log. So was one that
//! lies in another file than the one that was written to last, unless that process ended cleanly: it is a copy that was
//! made while the process ran. In both cases callers may have been told `success` of payments that are unreleased here.
//!
//! The mark is written after each group of commits, and not synced: it is a lower bound. Without a mark (a new journal,
//! or one of an earlier version) nothing is known, and nothing is said.
//!
//! Not noticed: a copy that was made after a clean stop and restored together with its mark. The nonces on chain show most
//! of those.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::super::JournalError;
use super::files::mark as path_of;

/// What the line begins with; the number is the format's version.
const MAGIC: &str = "switchyard-mark 1";

/// The mark of an open journal.
pub(super) struct Mark {
    path: PathBuf,
    file: File,
    database: u64,
    /// It was said that the mark can't be written.
    failed: bool,
}

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    /// Number of the last event that was durable for certain.
    seq: i64,
    /// The database file's inode.
    database: u64,
    /// The process that wrote it ended cleanly.
    clean: bool,
}

impl Content {
    fn encode(self) -> String {
        let Self { seq, database, clean } = self;
        let state = if clean { "clean" } else { "open " };
        // Always as long as before, so that it can be written over.
        let text = format!("{MAGIC} {seq:020} {database:020} {state}");
        format!("{text} {}\n", checksum(&text))
    }

    fn decode(line: &str) -> Option<Self> {
        let (text, sum) = line.strip_suffix('\n')?.rsplit_once(' ')?;
        if checksum(text) != sum {
            return None;
        }
        let mut parts = text.strip_prefix(MAGIC)?.split_ascii_whitespace();
        let seq = parts.next()?.parse().ok()?;
        let database = parts.next()?.parse().ok()?;
        let clean = match parts.next()? {
            "clean" => true,
            "open" => false,
            _ => return None,
        };
        parts.next().is_none().then_some(Self { seq, database, clean })
    }
}

fn checksum(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text).into();
    hex::encode(digest).chars().take(16).collect()
}

impl Mark {
    /// Opens the mark of the database at `path`, or creates it; and says what is wrong with a database whose event log ends
    /// at `seq`. The mark is not changed yet.
    pub(super) fn open(path: &Path, seq: i64) -> Result<(Self, Option<String>), JournalError> {
        let failed = |path: &Path, error: &io::Error| {
            JournalError(format!(
                "{} can't be used ({error}); give the user that runs switchyard the right to read and write there",
                path.display()
            ))
        };
        let database = std::fs::metadata(path)
            .map_err(|error| failed(path, &error))?
            .ino();
        let path = path_of(path);
        let before = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path, &error)),
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(&path, &error))?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
            .map_err(|error| failed(&path, &error))?;
        let content = before.and_then(|bytes| {
            let content = std::str::from_utf8(&bytes).ok().and_then(Content::decode);
            if content.is_none() {
                // A power cut can leave half a line behind.
                tracing::warn!(
                    "journal: {} is damaged and is written anew; whether the journal is an old copy is not \
                     known this time",
                    path.display()
                );
            }
            content
        });
        let mark = Self {
            path,
            file,
            database,
            failed: false,
        };
        Ok((mark, content.and_then(|content| older(content, seq, database))))
    }

    /// Notes that everything up to this event is durable. A mark that can't be written is no reason to stop.
    pub(super) fn write(&mut self, seq: i64, clean: bool) {
        let content = Content {
            seq,
            database: self.database,
            clean,
        };
        let line = content.encode();
        let written = self.file.write_all_at(line.as_bytes(), 0);
        // Rests of a longer or damaged one.
        let written = written.and_then(|()| {
            let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
            if self.file.metadata()?.len() == length {
                Ok(())
            } else {
                self.file.set_len(length)
            }
        });
        match written {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::error!(
                    "journal: {} can't be written ({error}): an old copy of the journal would not be noticed",
                    self.path.display()
                );
            }
            Err(_) => {}
        }
    }
}

/// Why the database is older than what was written before, if it is.
fn older(mark: Content, seq: i64, database: u64) -> Option<String> {
    if seq < mark.seq {
        return Some(format!(
            "it holds {seq} events and {} had been written: an older copy was restored, or its -wal file was lost",
            mark.seq
        ));
    }
    if database != mark.database && !mark.clean {
        return Some(format!(
            "it is another file (inode {database}, {seq} events) than the one that was written to last (inode {}, {} \
             events), and that process did not stop cleanly: a copy was restored that was made while the process ran",
            mark.database, mark.seq
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is() {
        for content in [
            Content {
                seq: 0,
                database: u64::MAX,
                clean: true,
            },
            Content {
                seq: i64::MAX,
                database: 0,
                clean: false,
            },
        ] {
            let line = content.encode();
            assert_eq!(Content::decode(&line), Some(content));
            for cut in 0..line.len() {
                assert_eq!(Content::decode(&line[..cut]), None, "cut at {cut}");
            }
            for at in 0..line.len() {
                let mut bytes = line.clone().into_bytes();
                bytes[at] ^= 1;
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(Content::decode(&changed), None, "changed at {at}");
            }
        }
    }

    #[test]
    fn a_database_is_older_when_it_is_behind_or_a_copy_of_a_running_one() {
        let mark = |clean| Content {
            seq: 10,
            database: 7,
            clean,
        };
        assert!(older(mark(true), 9, 7).unwrap().contains("holds 9 events and 10"));
        assert!(older(mark(false), 10, 8).unwrap().contains("another file"));
        for (mark, seq, database) in [
            // The mark may lag behind, and after a clean stop the files may be moved.
            (mark(false), 10, 7),
            (mark(false), 12, 7),
            (mark(true), 10, 8),
        ] {
            assert_eq!(older(mark, seq, database), None);
        }
    }
}
