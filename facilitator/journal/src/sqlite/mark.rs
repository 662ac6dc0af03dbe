//! The mark: a small file next to the database. It says how far the database's event log had come, and in which file.
//!
//! A database counts as old in three cases. Its event log is shorter than the mark says: an older copy was restored,
//! or the write-ahead log was lost. It is in another file than the one that was written last, and that process did
//! not end cleanly: the copy was made while the process ran. Or its mark was put there later than the time that
//! the mark names: the file's change time shows this, and no copying tool can set it. In all these cases callers may
//! have got `success` for payments that are unreleased here.
//!
//! The mark is written after each group of commits, and not synced. It is a lower bound, and after a power cut its
//! content may be some time older than its change time. Without a mark (a new journal, or one of an earlier version)
//! nothing is known, and nothing is reported.
//!
//! Not detected: a copy that was made after a clean stop and restored together with its mark, and a machine whose
//! whole disk is set back. The nonces on chain show most of those.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::super::JournalError;
use super::files::mark as path_of;

/// The line begins with this; the number is the format's version.
const MAGIC: &str = "switchyard-mark 2";
/// How much later than the time in its line the file's change time may be. While the machine stays up the two are
/// written together. Over a power cut the kernel may have kept only the change time.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
const SYNCED_WITHIN: Duration = Duration::from_secs(120);

/// The mark of an open journal.
pub(super) struct Mark {
    path: PathBuf,
    file: File,
    database: u64,
    boot: u64,
    /// It was logged that the mark can't be written.
    failed: bool,
}

/// The content of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    /// Number of the last event that was durable for certain.
    seq: i64,
    /// The database file's inode.
    database: u64,
    /// When it was written, Unix time.
    at_ms: u64,
    /// The boot of the machine under which it was written; 0 if that is not known.
    boot: u64,
    /// The process that wrote it ended cleanly.
    clean: bool,
}

/// The files as found at a start.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Number of the database's last event.
    seq: i64,
    database: u64,
    /// When the mark's file was last changed, Unix time.
    changed_ms: u64,
    boot: u64,
}

impl Content {
    fn encode(self) -> String {
        let Self {
            seq,
            database,
            at_ms,
            boot,
            clean,
        } = self;
        let state = if clean { "clean" } else { "open " };
        // Always the same length, so that it can be overwritten.
        let text = format!("{MAGIC} {seq:020} {database:020} {at_ms:020} {boot:016x} {state}");
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
        let at_ms = parts.next()?.parse().ok()?;
        let boot = u64::from_str_radix(parts.next()?, 16).ok()?;
        let clean = match parts.next()? {
            "clean" => true,
            "open" => false,
            _ => return None,
        };
        parts.next().is_none().then_some(Self {
            seq,
            database,
            at_ms,
            boot,
            clean,
        })
    }
}

/// Identifies this boot of the machine; 0 if the system does not show it.
fn this_boot() -> u64 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is held against the file system's times, which no other clock makes"
)]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// When the file was last written or replaced, or its owner or rights were changed: Unix time.
fn changed_ms(file: &std::fs::Metadata) -> u64 {
    let ms = i128::from(file.ctime()) * 1_000 + i128::from(file.ctime_nsec()) / 1_000_000;
    u64::try_from(ms.max(0)).unwrap_or(u64::MAX)
}

fn checksum(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text).into();
    hex::encode(digest).chars().take(16).collect()
}

impl Mark {
    /// Opens the mark of the database at `path`, or creates it. Also returns what is wrong with a database whose event
    /// log ends at `seq`. The mark is not changed yet.
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
        let read = || -> io::Result<_> { Ok((std::fs::read(&path)?, std::fs::metadata(&path)?)) };
        let before = match read() {
            Ok(before) => Some(before),
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
        // Only if they differ: it would set the change time, and this process may end before it writes.
        let is_private = |meta: &std::fs::Metadata| meta.permissions().mode() & 0o777 == 0o600;
        if !before.as_ref().is_some_and(|(_, meta)| is_private(meta)) {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))
                .map_err(|error| failed(&path, &error))?;
        }
        let boot = this_boot();
        let found = Found {
            seq,
            database,
            changed_ms: before.as_ref().map_or(0, |(_, meta)| changed_ms(meta)),
            boot,
        };
        let content = before.and_then(|(bytes, _)| {
            let content = std::str::from_utf8(&bytes).ok().and_then(Content::decode);
            if content.is_none() {
                // A power cut can leave half a line.
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
            boot,
            failed: false,
        };
        Ok((mark, content.and_then(|content| older(content, found))))
    }

    /// Writes that everything up to this event is durable. A mark that can't be written does not stop the journal.
    pub(super) fn write(&mut self, seq: i64, clean: bool) {
        let content = Content {
            seq,
            database: self.database,
            at_ms: now_ms(),
            boot: self.boot,
            clean,
        };
        let line = content.encode();
        let written = self.file.write_all_at(line.as_bytes(), 0);
        // Removes the rest of a longer or damaged line.
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
fn older(mark: Content, found: Found) -> Option<String> {
    let Found {
        seq,
        database,
        changed_ms,
        boot,
    } = found;
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
    let is_up_since = boot != 0 && boot == mark.boot;
    let slack = if is_up_since {
        WRITTEN_WITHIN
    } else {
        SYNCED_WITHIN
    };
    let slack_ms = u64::try_from(slack.as_millis()).unwrap_or(u64::MAX);
    if !mark.clean && changed_ms > mark.at_ms.saturating_add(slack_ms) {
        return Some(format!(
            "its mark was written by switchyard {} s before the file was put there or changed, and that process did not stop \
             cleanly: a copy was restored that was made while the process ran (or the files were given other rights or \
             another owner meanwhile)",
            changed_ms.saturating_sub(mark.at_ms) / 1_000
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: Content = Content {
        seq: 10,
        database: 7,
        at_ms: 1_800_000_000_000,
        boot: 3,
        clean: false,
    };
    const FOUND: Found = Found {
        seq: 10,
        database: 7,
        changed_ms: 1_800_000_000_004,
        boot: 3,
    };

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is() {
        for content in [
            Content {
                seq: 0,
                database: u64::MAX,
                at_ms: 0,
                boot: u64::MAX,
                clean: true,
            },
            Content {
                seq: i64::MAX,
                database: 0,
                at_ms: u64::MAX,
                boot: 0,
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
        let clean = Content {
            clean: true,
            ..WRITTEN
        };
        let behind = older(clean, Found { seq: 9, ..FOUND });
        assert!(behind.unwrap().contains("holds 9 events and 10"));
        let moved = Found { database: 8, ..FOUND };
        assert!(older(WRITTEN, moved).unwrap().contains("another file"));
        for (mark, found) in [
            // The mark may lag, and after a clean stop the files may be moved.
            (WRITTEN, FOUND),
            (WRITTEN, Found { seq: 12, ..FOUND }),
            (clean, moved),
        ] {
            assert_eq!(older(mark, found), None);
        }
    }

    #[test]
    fn a_mark_that_was_put_there_later_than_it_was_written_is_a_copys() {
        let after = |ms: u64| Found {
            changed_ms: WRITTEN.at_ms + ms,
            ..FOUND
        };
        let put_back = older(WRITTEN, after(5_000)).unwrap();
        assert!(put_back.contains("5 s before"), "{put_back}");
        // A clock that was set back shows nothing, and neither does a copy after a clean stop.
        let before = Found {
            changed_ms: 0,
            ..FOUND
        };
        assert_eq!(older(WRITTEN, before), None);
        let clean = Content {
            clean: true,
            ..WRITTEN
        };
        assert_eq!(older(clean, after(5_000)), None);
        // After a power cut the line may be older than the file.
        for boot in [0, 4] {
            assert_eq!(
                older(
                    WRITTEN,
                    Found {
                        boot,
                        ..after(100_000)
                    }
                ),
                None
            );
            assert!(
                older(
                    WRITTEN,
                    Found {
                        boot,
                        ..after(200_000)
                    }
                )
                .is_some()
            );
        }
        assert!(
            older(
                Content { boot: 0, ..WRITTEN },
                Found {
                    boot: 0,
                    ..after(5_000)
                }
            )
            .is_none()
        );
    }

    #[test]
    fn what_this_machine_writes_is_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("switchyard.db");
        std::fs::write(&database, "").unwrap();
        let open = |seq| Mark::open(&database, seq).unwrap();
        let (mut mark, why) = open(0);
        assert_eq!(why, None);
        mark.write(5, false);
        drop(mark);
        // Opened and not written, any number of times.
        assert_eq!(open(5).1, None);
        assert_eq!(open(5).1, None);
        assert!(open(4).1.is_some());
    }
}
