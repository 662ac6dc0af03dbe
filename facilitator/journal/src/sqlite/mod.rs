//! The journal on one machine: SQLite in WAL mode with `synchronous=FULL`.
//!
//! One thread writes. It takes all commits that queued during the last sync and makes them one transaction: it fetches
//! the rows that they read, applies them in memory ([`Group`]), where a refused commit is
//! undone alone, and writes what has changed. All of them share one sync. Reads run in
//! parallel on connections of their own. A lock file keeps a second process away for as long as this one lives.
//!
//! A full disk refuses commits and nothing else. Files that were moved, deleted or replaced while they are in use do
//! the same until the next start: a commit into them would be durable only where no start finds it. Any other failure
//! to make a commit durable ends the process, because the content of the journal would be unknown.
//!
//! Values are compressed, most keys are packed, and events of a transaction share rows: `values`, `packed` and `event_log` say how.
//! Callers see texts.
//!
//! Not guaranteed: safety on network file systems (locks and syncs lie there), against a disk that acknowledges a sync
//! without doing it, and against a program that writes into the files. A commit may still be carried out after its
//! caller has left.

mod advice;
mod counters;
mod event_log;
mod fate;
mod files;
mod known_claims;
mod mark;
mod meta;
mod packed;
mod reader;
mod tables;
pub mod tools;
mod values;
mod writer;

#[cfg(test)]
mod adoption_tests;
#[cfg(test)]
mod migration_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tools_tests;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::group::Group;
use super::{
    AdoptError, Adopted, Adoption, CommitError, Event, Journal, JournalError, ReadTask, Rows, SettlementRow,
    Stamp, WithheldRow,
};
use base::clock::{Clock, SystemClock};
use counters::Counters;
pub use counters::Counts;
use event_log::Head;
use known_claims::KnownClaims;
use mark::Mark;
use meta::Ids;
use reader::Read;
use tables::Tables;
use writer::{Message, Shared, Writer};

/// Threads that read: one slow scan must not delay the query for a claim.
const READERS: usize = 2;
/// Commits that may be queued; the caller of any further commit waits.
const MAX_QUEUED: usize = 4_096;
/// Marks that may be queued; any further mark is lost, as marks may be.
const MAX_NOTES: usize = 16_384;

/// The journal in a file.
pub struct SqliteJournal {
    ids: Arc<Ids>,
    secret: [u8; 32],
    places: Arc<Semaphore>,
    notes_queued: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    known_claims: Arc<KnownClaims>,
    // Ended when the journal is dropped: the readers first, then the writer, and the lock last.
    writes: Option<mpsc::Sender<Message>>,
    reads: Option<mpsc::Sender<Read>>,
    /// The writer, then those that read.
    threads: Vec<JoinHandle<()>>,
    _lock: files::Lock,
}

impl fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteJournal").finish_non_exhaustive()
    }
}

impl SqliteJournal {
    /// Opens or creates the journal in this directory, brings its schema up to date and checks its event log. The
    /// error is a text for the operator.
    pub fn open(directory: &Path) -> Result<Self, JournalError> {
        Self::open_with(directory, Arc::new(SystemClock))
    }

    /// The same. Commits carry the time of this clock.
    pub fn open_with(directory: &Path, clock: Arc<dyn Clock>) -> Result<Self, JournalError> {
        let path = &files::database(directory)?;
        let lock = files::lock(path)?;
        files::prepare(path)?;
        let mut connection = files::connect(path)?;
        files::migrate(&mut connection, path)?;
        Self::start(path, connection, lock, clock)
    }

    /// What the database was made to do since the journal was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Starts the threads over the writer's connection.
    fn start(
        path: &Path,
        connection: Connection,
        lock: files::Lock,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, JournalError> {
        let in_use = files::InUse::note(path, &lock)?;
        let mut head = event_log::verify(&connection)?;
        meta::add_lookups(&connection)?;
        let secret = meta::secret(&connection)?;
        let mut ids = Arc::new(meta::first_ids(&connection)?);
        let (mut mark, older) = Mark::open(path, head.seq())?;
        if let Some(why) = older {
            // Before the mark is written again: a crash in between must not make an old copy appear current.
            head = old_copy(path, &connection, head, ids.take(), &why)?;
            meta::skip_ids(&connection)?;
            ids = Arc::new(meta::first_ids(&connection)?);
        }
        mark.write(head.seq(), false);

        let notes_queued = Arc::new(AtomicUsize::new(0));
        let counters = Arc::new(Counters::default());
        let known_claims = Arc::new(KnownClaims::new(ids.used()));
        let (writes, written) = mpsc::channel();
        let shared = Shared {
            notes_queued: Arc::clone(&notes_queued),
            ids: Arc::clone(&ids),
            counters: Arc::clone(&counters),
            known_claims: Arc::clone(&known_claims),
            clock,
        };
        let writer = Writer::new(connection, head, in_use, mark, files::wal(path), shared);
        let mut threads = vec![spawn("journal-writer", move || writer.run(&written))?];

        let (reads, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..READERS {
            let connection = files::connect_read_only(path)?;
            let (waiting, counters) = (Arc::clone(&waiting), Arc::clone(&counters));
            threads.push(spawn("journal-reader", move || {
                reader::run(&connection, &waiting, &counters)
            })?);
        }
        let (known, path) = (Arc::clone(&known_claims), path.to_owned());
        threads.push(spawn("journal-claims", move || known_claims::run(&known, &path))?);
        Ok(Self {
            ids,
            secret,
            places: Arc::new(Semaphore::new(MAX_QUEUED)),
            notes_queued,
            counters,
            known_claims,
            writes: Some(writes),
            reads: Some(reads),
            threads,
            _lock: lock,
        })
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        // Readers first: the last connection to close saves the write-ahead log into the database, and of two that
        // close at once neither is the last. A reader that panicked has already failed its query, and a writer that
        // panicked has ended the process.
        self.known_claims.stop();
        self.reads = None;
        for reader in self.threads.drain(1.min(self.threads.len())..) {
            let _ = reader.join();
        }
        self.writes = None;
        for writer in self.threads.drain(..) {
            let _ = writer.join();
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, JournalError> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|error| JournalError(format!("no thread for the journal: {error}")))
}

/// Withholds what is unreleased in a journal that is older than the answers that callers got, and logs it.
fn old_copy(
    path: &Path,
    connection: &Connection,
    head: Head,
    next_id: u64,
    why: &str,
) -> Result<Head, JournalError> {
    let failed = |error: &dyn fmt::Display| {
        JournalError(format!(
            "{} is an old copy ({why}), and that can't be recorded: {error}",
            path.display()
        ))
    };
    let now_ms: i64 = connection
        .query_row("SELECT unixepoch() * 1000", [], |row| row.get(0))
        .map_err(|error| failed(&error))?;
    let event = Event::ReleasesWithheld {
        up_to_id: next_id.saturating_sub(1),
        why: why.to_owned(),
        at_ms: u64::try_from(now_ms).unwrap_or(0),
    };
    let transaction = connection
        .unchecked_transaction()
        .map_err(|error| failed(&error))?;
    let mut tables = Tables::new(&transaction);
    let mut group =
        Group::fetch(&mut tables, std::iter::once(&event), None).map_err(|error| failed(&error))?;
    let stamp = Stamp {
        at_ms: u64::try_from(now_ms).unwrap_or(0),
        seq: head.next_seq(),
    };
    group
        .apply(std::slice::from_ref(&event), stamp)
        .map_err(|error| failed(&error))?;
    group.flush().map_err(|error| failed(&error))?;
    let head =
        event_log::append(&transaction, head, [&event], stamp.at_ms).map_err(|error| failed(&error))?;
    transaction.commit().map_err(|error| failed(&error))?;
    tracing::error!(
        "journal_is_old: {} is older than the answers that callers got: {why}. Payments that are unreleased \
         in it are answered `duplicate_settlement` with the hash, and not `success`, until you allow it: `switchyard \
         releases` lists them. Payments that were started after the copy was made are not in the journal: search for them \
         in the signers' transactions",
        path.display()
    );
    Ok(head)
}

/// Settlements whose release is withheld in this directory's journal, which is only read. Empty if there is no
/// journal. An earlier version has withheld nothing.
pub fn withheld(directory: &Path) -> Result<Vec<(SettlementRow, WithheldRow)>, JournalError> {
    Ok(read(directory, super::withheld::all)?.unwrap_or_default())
}

/// The result of a query over one state of a directory's journal, which is only read; a process may be using it. `None`:
/// there is no journal, or one of an earlier version that this one can't read before the next start brings it up to date.
///
/// # Errors
/// When it can't be read, or is a later version's.
pub fn read<T>(
    directory: &Path,
    query: impl FnOnce(&mut dyn Rows) -> Result<T, JournalError>,
) -> Result<Option<T>, JournalError> {
    let path = directory.join(files::DATABASE);
    if !path.exists() {
        return Ok(None);
    }
    let connection = files::connect_read_only(&path)?;
    // Several statements make one query: a row may be written in another form between them.
    let transaction = connection
        .unchecked_transaction()
        .map_err(|error| JournalError(error.to_string()))?;
    if files::schema(&transaction, &path)? < files::READABLE_FROM {
        return Ok(None);
    }
    tools::readable(&transaction, &path)?;
    query(&mut Tables::new(&transaction)).map(Some)
}

/// Changes rows of a directory's journal, as a test of what notices it: those for whose text `change` has another one. Returns how
/// many.
#[cfg(any(test, feature = "testkit"))]
pub fn edit(
    directory: &Path,
    table: super::Table,
    change: impl Fn(&str) -> Option<String>,
) -> Result<usize, JournalError> {
    let connection = files::connect(&directory.join(files::DATABASE))?;
    let mut edited = 0;
    meta::each(&mut Tables::new(&connection), table, |tables, key, text| {
        let Some(other) = change(text) else { return Ok(()) };
        edited += 1;
        super::Storage::write(tables, table, key, &super::Write::Put(other))
    })?;
    Ok(edited)
}

/// The journal's file in its directory.
pub const FILE: &str = files::DATABASE;

/// The file that is locked by the process that uses a directory's journal.
#[must_use]
pub fn lock_file(directory: &Path) -> std::path::PathBuf {
    files::lock_file(&directory.join(files::DATABASE))
}

fn stopped() -> JournalError {
    JournalError("its thread has ended; restart the process".into())
}

#[async_trait]
impl Journal for SqliteJournal {
    fn new_id(&self) -> u64 {
        self.ids.take()
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError> {
        // The permit travels with the commit: callers that leave do not make the queue longer.
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let message = Message::Commit {
            events,
            reply,
            _place: place,
        };
        let writes = self.writes.as_ref().ok_or_else(stopped)?;
        writes.send(message).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    async fn drop_events(&self, before_ms: u64, limit: u32) -> Result<u32, CommitError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::DropEvents {
            before_ms,
            limit,
            reply,
        };
        let writes = self.writes.as_ref().ok_or_else(stopped)?;
        writes.send(message).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    fn note(&self, event: Event) {
        if self.notes_queued.fetch_add(1, Ordering::AcqRel) >= MAX_NOTES {
            self.notes_queued.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        if let Some(writes) = &self.writes {
            // Without a writer a mark can't be written.
            let _ = writes.send(Message::Note(event));
        }
    }

    async fn adopt(&self, adoption: &Adoption) -> Result<Adopted, AdoptError> {
        let (reply, answer) = oneshot::channel();
        let adoption = adoption.clone();
        let writes = self.writes.as_ref().ok_or_else(stopped)?;
        let message = Message::Adopt { adoption, reply };
        writes.send(message).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    async fn claim(&self, key: &str) -> Result<Option<SettlementRow>, JournalError> {
        if self.known_claims.is_unknown(key) {
            return Ok(None);
        }
        let key = key.to_owned();
        super::read(self, move |rows| super::queries::claim(rows, &key)).await
    }

    async fn view(&self, task: ReadTask) -> Result<(), JournalError> {
        let (done, ended) = oneshot::channel();
        let reads = self.reads.as_ref().ok_or_else(stopped)?;
        reads.send(Read { task, done }).map_err(|_| stopped())?;
        ended.await.map_err(|_| stopped())?
    }
}

/// Locks data that a panic can't leave half-changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
