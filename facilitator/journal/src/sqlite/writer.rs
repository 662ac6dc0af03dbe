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

/// Most commits in one transaction: bounds how long the first of them waits for the last.
const MAX_GROUP: usize = 256;
/// How long marks may wait for a commit to ride with.
const NOTES_WAIT: Duration = Duration::from_millis(500);
/// Beyond this size the write-ahead log is folded back even if readers have to wait; usually SQLite does it much
/// earlier, but it can't start the log anew while a reader looks at it.
const MAX_WAL_BYTES: u64 = 64 << 20;

/// What the writer is told.
pub(super) enum Message {
    Commit {
        events: Vec<Event>,
        reply: oneshot::Sender<Result<(), CommitError>>,
        _place: OwnedSemaphorePermit,
    },
    Note(Event),
}

type Reply = oneshot::Sender<Result<(), CommitError>>;

/// A savepoint's worth: a commit, or a mark that nobody waits for.
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
    /// Whether it is on disk, nobody knows.
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
    /// The files were once found not to be where they were opened. What happened to them meanwhile nobody knows, so
    /// only a restart, which reads them anew, ends it.
    displaced: bool,
    wal: PathBuf,
    /// Length of the write-ahead log at which it is folded back.
    fold_at: u64,
    notes_queued: Arc<AtomicUsize>,
}

/// Ends the process if the writer panics: a journal that takes nothing any more must not look alive.
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
    // The log may be filtered; where nobody reads standard error, there is nobody to tell.
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

    /// Writes until the journal is dropped, and then what is left.
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
            // Marks alone are worth no sync until they have waited or become many.
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
                // Whoever asked may be gone; what is done is done.
                Some((reply, _place)) => drop(reply.send(result)),
                None => {
                    self.notes_queued.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
        self.fold();
    }

    /// All entries in one transaction: a result each once it is durable, or why nothing of it is.
    fn transact(&mut self, group: &[Entry]) -> Result<Vec<Result<(), CommitError>>, CommitError> {
        // Before anything is written for nothing, and once more at the last moment: another program may have held the
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
                 now on nothing is recorded, no payment is begun (503), and what is under way is only watched. Put the \
                 files back (what was deleted is still open: on Linux, copy it from /proc/{}/fd before this process \
                 ends), then stop the process and start it again; without them it will not know its payments",
                std::process::id()
            );
        }
        Err(CommitError::Io(
            "its files are not where they were opened; the log says what to do".into(),
        ))
    }

    /// One entry inside its savepoint; the head behind it.
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

    /// Leaves no transaction behind.
    fn undo(&self) {
        if self.connection.is_autocommit() {
            return;
        }
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            end(&format!("a failed commit could not be undone ({error})"));
        }
    }

    /// Folds a write-ahead log back that has grown because readers never all looked away.
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
            // Somebody reads for long (a backup): not again before it has grown as much once more.
            Ok(true) => length.saturating_add(MAX_WAL_BYTES),
            Err(error) => match fate(&error) {
                Fate::Undo(_) => length.saturating_add(MAX_WAL_BYTES),
                Fate::Unknown => end(&format!("the write-ahead log could not be folded back ({error})")),
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
