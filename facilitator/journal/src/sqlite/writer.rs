//! The thread that writes: group commit.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::super::{CommitError, Event, project};
use super::event_log::{self, Head};
use super::files::InUse;
use super::mark::Mark;
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
}

type Reply = oneshot::Sender<Result<(), CommitError>>;

/// The content of one savepoint: a commit, or a mark that no caller waits for.
struct Entry {
    events: Vec<Event>,
    reply: Option<(Reply, OwnedSemaphorePermit)>,
}

impl From<Message> for Entry {
    fn from(message: Message) -> Self {
        match message {
            Message::Commit {
                events,
                reply,
                _place,
            } => Self {
                events,
                reply: Some((reply, _place)),
            },
            Message::Note(event) => Self {
                events: vec![event],
                reply: None,
            },
        }
    }
}

/// Why one entry is not in the group's transaction.
enum Refusal {
    /// It alone is undone.
    Alone(CommitError),
    /// The transaction is gone, and all entries with it.
    All(CommitError),
}

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
    notes_queued: Arc<AtomicUsize>,
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
        notes_queued: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            connection,
            head,
            files,
            mark,
            displaced: false,
            wal,
            fold_at: MAX_WAL_BYTES,
            notes_queued,
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
                group.push(message.into());
                let room = MAX_GROUP.saturating_sub(group.len());
                group.extend(messages.try_iter().take(room).map(Entry::from));
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
                    self.mark.write(self.head.seq(), true);
                }
                return;
            }
        }
    }

    fn write(&mut self, group: Vec<Entry>) {
        if group.is_empty() {
            return;
        }
        let results = self.transact(&group).unwrap_or_else(|error| {
            self.undo();
            group.iter().map(|_| Err(error.clone())).collect()
        });
        for (entry, result) in group.into_iter().zip(results) {
            match entry.reply {
                // The caller may have left; the commit is done in any case.
                Some((reply, _place)) => drop(reply.send(result)),
                None => {
                    self.notes_queued.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
        self.fold();
    }

    /// All entries in one transaction: one result each once it is durable, or why nothing of it is.
    fn transact(&mut self, group: &[Entry]) -> Result<Vec<Result<(), CommitError>>, CommitError> {
        // Checked before anything is written in vain, and again at the last moment: another program may have held the
        // database for seconds.
        self.in_place()?;
        self.connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|error| reported(&error))?;
        let mut head = self.head;
        let mut results = Vec::with_capacity(group.len());
        for entry in group {
            results.push(match self.apply(entry, head) {
                Ok(next) => {
                    head = next;
                    Ok(())
                }
                Err(Refusal::Alone(error)) => Err(error),
                Err(Refusal::All(error)) => return Err(error),
            });
        }
        self.in_place()?;
        match self.connection.execute_batch("COMMIT") {
            Ok(()) => {
                self.head = head;
                self.mark.write(head.seq(), false);
                Ok(results)
            }
            Err(error) => match fate(&error) {
                Fate::Undo(reported) => Err(reported),
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

    /// Applies one entry inside its savepoint; returns the head after it.
    fn apply(&self, entry: &Entry, mut head: Head) -> Result<Head, Refusal> {
        let all = |error: rusqlite::Error| Refusal::All(reported(&error));
        self.connection.execute_batch("SAVEPOINT entry").map_err(all)?;
        let mut tables = Tables::new(&self.connection);
        let mut run = || {
            for event in &entry.events {
                project::apply(&mut tables, event)?;
                head = event_log::append(&self.connection, head, event).map_err(|error| reported(&error))?;
            }
            Ok(head)
        };
        match run() {
            Ok(head) => {
                self.connection.execute_batch("RELEASE entry").map_err(all)?;
                Ok(head)
            }
            Err(CommitError::Full) => Err(Refusal::All(CommitError::Full)),
            Err(_) if tables.disk_full() => Err(Refusal::All(CommitError::Full)),
            // SQLite has given up the whole transaction.
            Err(error) if self.connection.is_autocommit() => Err(Refusal::All(error)),
            Err(error) => {
                self.connection
                    .execute_batch("ROLLBACK TO entry; RELEASE entry")
                    .map_err(all)?;
                Err(Refusal::Alone(error))
            }
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

/// A failure before COMMIT, when nothing can be on disk.
fn reported(error: &rusqlite::Error) -> CommitError {
    match fate(error) {
        Fate::Undo(error) => error,
        Fate::Unknown => CommitError::Io(error.to_string()),
    }
}
