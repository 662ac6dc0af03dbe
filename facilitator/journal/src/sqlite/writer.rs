//! The thread that writes: group commit.

mod alone;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use base::clock::Clock;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::super::group::Group;
use super::super::{AdoptError, Adopted, Adoption, CommitError, Event, JournalError, Stamp};
use super::counters::Counters;
use super::event_log::{self, Head};
use super::fate::{Fate, fate, reported};
use super::files::InUse;
use super::known_claims::KnownClaims;
use super::mark::Mark;
use super::meta::{self, Ids};
use super::tables::Tables;

/// Most commits in one transaction: limits how long the first of them waits for the last.
const MAX_GROUP: usize = 256;
/// How long marks may wait for a commit to share its sync.
const NOTES_WAIT: Duration = Duration::from_millis(500);
/// Beyond this size the write-ahead log is checkpointed even if readers have to wait. Usually SQLite does it much
/// earlier, but it can't restart the log while a reader uses it.
const MAX_WAL_BYTES: u64 = 64 << 20;

/// Commands to the writer.
pub(super) enum Message {
    Commit {
        events: Vec<Event>,
        reply: oneshot::Sender<Result<(), CommitError>>,
        _place: OwnedSemaphorePermit,
    },
    Note(Event),
    /// Removes old events.
    DropEvents {
        before_ms: u64,
        limit: u32,
        reply: oneshot::Sender<Result<u32, CommitError>>,
    },
    /// Keeps everything of a plugin under another id.
    Adopt {
        adoption: Adoption,
        reply: oneshot::Sender<Result<Adopted, AdoptError>>,
    },
}

type Reply = oneshot::Sender<Result<(), CommitError>>;

/// A commit, or a mark that no caller waits for.
struct Entry {
    events: Vec<Event>,
    reply: Option<(Reply, OwnedSemaphorePermit)>,
}

/// Why nothing of a group is in the journal.
enum Failure {
    /// Some row or event of it can't be written. The entries may have better luck one by one.
    Rows(CommitError),
    /// No entry could be written now.
    Journal(CommitError),
}

pub(super) struct Writer {
    connection: Connection,
    head: Head,
    files: InUse,
    mark: Mark,
    /// The files were once found not to be where they were opened. It is not known what happened to them meanwhile, so
    /// only a restart, which reads them again, ends this.
    displaced: bool,
    wal: PathBuf,
    /// Length of the write-ahead log at which it is checkpointed.
    fold_at: u64,
    shared: Shared,
}

/// What the writer shares with the journal's callers.
pub(super) struct Shared {
    /// Marks in the queue.
    pub(super) notes_queued: Arc<AtomicUsize>,
    pub(super) ids: Arc<Ids>,
    pub(super) counters: Arc<Counters>,
    /// Receives every claim ahead of the commit that writes it.
    pub(super) known_claims: Arc<KnownClaims>,
    /// The time that commits carry.
    pub(super) clock: Arc<dyn Clock>,
}

/// Ends the process if the writer panics: a journal that accepts nothing any more must not seem alive.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            end("its writer panicked");
        }
    }
}

/// Ends the process without any clean-up: what is on disk is the truth, and a restart reads it.
fn end(why: &str) -> ! {
    tracing::error!("journal: {why}; ending the process, a restart continues from the disk");
    // The log may be filtered. If standard error is closed, the message is lost.
    let _ = writeln!(
        std::io::stderr(),
        "journal: {why}; ending the process, a restart continues from the disk"
    );
    std::process::abort()
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        head: Head,
        files: InUse,
        mark: Mark,
        wal: PathBuf,
        shared: Shared,
    ) -> Self {
        Self {
            connection,
            head,
            files,
            mark,
            displaced: false,
            wal,
            fold_at: MAX_WAL_BYTES,
            shared,
        }
    }

    /// Writes until the journal is dropped, and then what is left in the queue.
    #[allow(
        clippy::disallowed_methods,
        reason = "a thread of its own, whose time is the disk's and not tokio's"
    )]
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let _end_on_panic = EndOnPanic;
        let mut group: Vec<Entry> = Vec::new();
        let mut write_by: Option<Instant> = None;
        loop {
            let next = match write_by {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(by) => messages.recv_timeout(by.saturating_duration_since(Instant::now())),
            };
            let ended = matches!(next, Err(RecvTimeoutError::Disconnected));
            let mut due = next.is_err();
            if let Ok(message) = next {
                let room = MAX_GROUP.saturating_sub(group.len());
                let more = messages.try_iter().take(room.saturating_sub(1));
                for message in std::iter::once(message).chain(more) {
                    group.extend(self.take(message));
                }
            }
            // Marks alone justify no sync until they have waited or become many.
            due |= group.len() >= MAX_GROUP || group.iter().any(|entry| entry.reply.is_some());
            if due {
                write_by = None;
                self.write(std::mem::take(&mut group));
            } else {
                write_by = write_by.or_else(|| Some(Instant::now() + NOTES_WAIT));
            }
            if ended {
                if !self.displaced {
                    // What was not used of the block. If this can't be written, the ids are not used.
                    let _ = meta::put_ids(&self.connection, self.shared.ids.unused());
                    self.mark.write(self.head.seq(), true);
                }
                return;
            }
        }
    }

    /// A commit or a mark joins the group. Anything else is done at once, in a transaction of its own.
    fn take(&mut self, message: Message) -> Option<Entry> {
        match message {
            Message::Commit {
                events,
                reply,
                _place,
            } => Some(Entry {
                events,
                reply: Some((reply, _place)),
            }),
            Message::Note(event) => Some(Entry {
                events: vec![event],
                reply: None,
            }),
            Message::DropEvents {
                before_ms,
                limit,
                reply,
            } => {
                drop(reply.send(self.drop_events(before_ms, limit)));
                None
            }
            Message::Adopt { adoption, reply } => {
                drop(reply.send(self.adopt(&adoption)));
                None
            }
        }
    }

    fn write(&mut self, group: Vec<Entry>) {
        if group.is_empty() {
            return;
        }
        let results = self.commit(&group);
        for (entry, result) in group.into_iter().zip(results) {
            match entry.reply {
                // The caller may have left; the commit is done in any case.
                Some((reply, _place)) => drop(reply.send(result)),
                None => {
                    self.shared.notes_queued.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
        self.fold();
    }

    /// One result for each entry. If some row of a group can't be written, each entry has a transaction of its own.
    fn commit(&mut self, group: &[Entry]) -> Vec<Result<(), CommitError>> {
        let failure = match self.transact(group) {
            Ok(results) => return results,
            Err(failure) => failure,
        };
        self.undo();
        match failure {
            Failure::Rows(_) if group.len() > 1 => {
                group.chunks(1).flat_map(|entry| self.commit(entry)).collect()
            }
            Failure::Rows(error) | Failure::Journal(error) => vec![Err(error); group.len()],
        }
    }

    /// All entries in one transaction: one result each once it is durable, or why nothing of it is.
    fn transact(&mut self, group: &[Entry]) -> Result<Vec<Result<(), CommitError>>, Failure> {
        // Checked before anything is written in vain, and again at the last moment: another program may have held the
        // database for seconds.
        self.in_place().map_err(Failure::Journal)?;
        self.connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|error| Failure::Journal(reported(&error)))?;
        let (results, head) = self.apply(group)?;
        let ids_below = self.shared.ids.wanted();
        if let Some(below) = ids_below {
            meta::put_ids(&self.connection, below).map_err(|error| Failure::Journal(reported(&error)))?;
        }
        self.in_place().map_err(Failure::Journal)?;
        match self.connection.execute_batch("COMMIT") {
            Ok(()) => {
                self.head = head;
                if let Some(below) = ids_below {
                    self.shared.ids.extend(below);
                }
                self.mark.write(head.seq(), false);
                Ok(results)
            }
            Err(error) => match fate(&error) {
                Fate::Undo(reported) => Err(Failure::Journal(reported)),
                Fate::Unknown => end(&format!("a commit could not be synced ({error})")),
            },
        }
    }

    /// Refuses to write into files that the next start would not find.
    fn in_place(&mut self) -> Result<(), CommitError> {
        if !self.displaced {
            let Err(what) = self.files.check() else {
                return Ok(());
            };
            self.displaced = true;
            tracing::error!(
                "journal: {what}. The journal's files must not be moved, deleted or replaced while they are in use. From \
                 now on nothing is recorded, no payment is started (503), and in-flight payments are only watched. Put the \
                 files back (what was deleted is still open: on Linux, copy it from /proc/{}/fd before this process \
                 ends), then stop the process and start it again; without them it will not know its payments",
                std::process::id()
            );
        }
        Err(CommitError::Io(
            "its files are not where they were opened; the log says what to do".into(),
        ))
    }

    /// Applies the entries in memory, then writes rows and events of those that are not refused. Returns one result for
    /// each entry, and the head after them.
    fn apply(&self, group: &[Entry]) -> Result<(Vec<Result<(), CommitError>>, Head), Failure> {
        let mut tables = Tables::of_writer(&self.connection, &self.shared.known_claims);
        let stamp = self.next_stamp();
        let at_ms = stamp.at_ms;
        let applied = apply_in_memory(&self.connection, &mut tables, group, stamp);
        if tables.disk_full() {
            return Err(Failure::Journal(CommitError::Full));
        }
        let results = applied.map_err(|error| Failure::Rows(error.into()))?;
        let accepted = group.iter().zip(&results).filter(|(_, result)| result.is_ok());
        let events = accepted.flat_map(|(entry, _)| &entry.events);
        let head =
            event_log::append(&self.connection, self.head, events, at_ms).map_err(|error| {
                match fate(&error) {
                    Fate::Undo(error) => Failure::Journal(error),
                    Fate::Unknown => Failure::Rows(CommitError::Io(error.to_string())),
                }
            })?;
        let events = head.next_seq().saturating_sub(self.head.next_seq());
        let counters = &self.shared.counters;
        counters.record_group(tables.statements().saturating_add(events));
        Ok((results, head))
    }

    fn next_stamp(&self) -> Stamp {
        Stamp {
            at_ms: self.shared.clock.now_ms(),
            seq: self.head.next_seq(),
        }
    }

    /// Ends an open transaction.
    fn undo(&self) {
        if self.connection.is_autocommit() {
            return;
        }
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            end(&format!("a failed commit could not be undone ({error})"));
        }
    }

    /// Checkpoints a write-ahead log that has grown because some reader was always using it.
    fn fold(&mut self) {
        if self.displaced {
            return;
        }
        let length = std::fs::metadata(&self.wal).map_or(0, |metadata| metadata.len());
        if length < self.fold_at {
            return;
        }
        let checkpoint = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
        self.fold_at = match checkpoint {
            Ok(false) => MAX_WAL_BYTES,
            // A reader uses it for long (a backup): tried again after it has grown by as much again.
            Ok(true) => length.saturating_add(MAX_WAL_BYTES),
            Err(error) => match fate(&error) {
                Fate::Undo(_) => length.saturating_add(MAX_WAL_BYTES),
                Fate::Unknown => end(&format!(
                    "the write-ahead log could not be checkpointed ({error})"
                )),
            },
        };
    }
}

/// One result for each entry; the rows of all that are not refused are written.
fn apply_in_memory(
    connection: &Connection,
    tables: &mut Tables<'_>,
    group: &[Entry],
    mut stamp: Stamp,
) -> Result<Vec<Result<(), CommitError>>, JournalError> {
    let mut commits = Group::fetch(tables, group.iter().flat_map(|entry| &entry.events), None)?;
    let mut results = Vec::with_capacity(group.len());
    for entry in group {
        let result = commits.apply(&entry.events, stamp);
        if result.is_ok() {
            let events = u64::try_from(entry.events.len()).unwrap_or(u64::MAX);
            stamp.seq = stamp.seq.saturating_add(events);
        }
        results.push(result);
    }
    if connection.is_autocommit() {
        // A write would now be durable on its own.
        return Err(JournalError("SQLite has given up the transaction".into()));
    }
    commits.flush()?;
    Ok(results)
}
