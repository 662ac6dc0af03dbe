//! The journal of several nodes: PostgreSQL, or an engine that speaks its protocol.
//!
//! Each node has one thread that commits. All commits that queued during the last transaction are the next one, and the
//! projection is the same as that of every back end ([`Group`](crate::group::Group)): rows are fetched, changed in memory, and
//! written. A round of fetches is one round trip, and so is everything from the first write to COMMIT. Reads run in
//! parallel on other connections of the pool.
//!
//! # What keeps two nodes apart
//!
//! Transactions run at READ COMMITTED, and each takes locks:
//!
//! - **Rows that are there** are locked first (`FOR UPDATE`, in the order of table and key) and read by a later statement of the
//!   same round trip. That statement sees everything that was committed before the locks were there, so rows that were
//!   locked, and rows that another node inserted or removed while it held a lock, are read as one state.
//! - **Rows that are absent** can't be locked. A commit that rests on the absence of a row inserts that row
//!   ([`Write::Insert`](crate::Write)), and the second of two inserts fails. Claims, conflict keys, evidence, slots, lanes, rows of
//!   stores and jobs are of this kind. Two absences are not followed by an insert, and stay as they are: a closed slot is
//!   made only from an open one, whose row (or whose lane's row, for a new slot) is locked; and what is no longer
//!   `Unfinished` never becomes so again.
//! - **All rows with a prefix** have no row to lock either. Reserves of a payer are counted before another is added, so
//!   each of these prefixes has a lock row, by a hash. What marks or removes a reserve needs no such lock: a count
//!   that misses it is that of a moment earlier. Links of a settlement to its attempts are only changed under the lock of
//!   the settlement's row, which every reader of the links has. History is read by prefix only to remove it, days after
//!   the end; a mark that arrives in that moment stays, and is harmless.
//! - **The highest final block** of a network is a row that every node writes. It is read without a lock and only ever raised,
//!   by the statement that writes it: a value that was read too early changes nothing.
//!
//! On a serialization failure, a deadlock, a lock that took too long or a violated key (40001, 40P01, 55P03, 23505) the
//! whole group is tried again from fresh rows, a bounded number of times with random pauses, and then its commits one by one.
//! At SERIALIZABLE the same holds: there, a row that has changed since the transaction began is a serialization failure.
//! REPEATABLE READ alone would not do, because an absence that is not followed by an insert is not checked there.
//!
//! Ids come in blocks of which no two nodes have the same one. Times are those of the database's clock, read after the locks.
//!
//! # A lost answer
//!
//! If the connection breaks between COMMIT and its answer, the writer locks its own row, which waits for the lost
//! transaction's end, and compares the end of its event chain. Nothing is repeated and no caller gets an answer before
//! that is known.
//!
//! # Not guaranteed
//!
//! A replica that is promoted without the last commits, or a restored backup, is an older journal. A node that runs notices
//! it by its chain and refuses to commit; one that starts later does not. Use synchronous replication.

mod adoption;
mod chain;
mod counters;
mod hints;
mod ids;
mod operator;
mod promises;
mod reads;
mod rows;
mod schema;
mod settings;
mod shared;
mod tls;
mod transaction;
mod trouble;
mod writer;
mod writes;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use super::keys::id_key;
use super::lease::{Holder, Shared};
use super::{
    AdoptError, Adopted, Adoption, CommitError, Event, Journal, JournalError, ReadTask, SettlementRow, Table,
};
use async_trait::async_trait;
use chain::Head;
pub use counters::Counts;
use hints::Hints;
use ids::Ids;
pub use operator::{Operator, Stats};
use sdk_plugin::HexBytes;
pub use settings::{Isolation, Settings};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use transaction::{Link, Mode};
use writer::{Entry, Writer};

/// Commits that may be queued; the caller of any further commit waits.
const MAX_QUEUED: usize = 4_096;
/// Marks that may be queued; any further mark is lost, as marks may be.
const MAX_NOTES: usize = 16_384;
/// Threads that serve the connections.
const THREADS: usize = 2;

/// The journal in a database.
pub struct PostgresJournal {
    link: Link,
    holder: Arc<Holder>,
    hints: Arc<Hints>,
    ids: Arc<Ids>,
    secret: [u8; 32],
    places: Arc<Semaphore>,
    /// One connection is the writer's, and one is for leases.
    readers: Arc<Semaphore>,
    notes_queued: Arc<AtomicUsize>,
    is_closing: Arc<AtomicBool>,
    // Ended when the journal is dropped: the writer first, and its runtime last.
    writes: Option<mpsc::Sender<Entry>>,
    thread: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
    handle: Handle,
}

impl fmt::Debug for PostgresJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresJournal").finish_non_exhaustive()
    }
}

impl PostgresJournal {
    /// Opens the journal in this database, and makes or updates its schema. Blocks until that is done. The error is a text
    /// for the operator, without the password.
    ///
    /// # Errors
    /// The settings are wrong, the database can't be reached, or it is not usable.
    pub fn open(settings: &Settings) -> Result<Self, JournalError> {
        if settings.pool_size < 3 {
            return Err(JournalError(
                "the database needs at least 3 connections: one for commits, one for leases, the others for reads".into(),
            ));
        }
        let failed = |error: std::io::Error| JournalError(format!("no thread for the journal: {error}"));
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("journal-postgres")
            .enable_all()
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        let link = Link::new(settings)?;
        let address = settings.address();
        let opened = {
            let (link, handle) = (link.clone(), handle.clone());
            let open = move || {
                handle.block_on(async {
                    let opened = schema::open(&link, &address).await?;
                    let ids = Ids::open(&link).await?;
                    Ok::<_, JournalError>((opened, ids))
                })
            };
            on_thread("journal-open", open)?
        };
        let (opened, ids) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let (notes_queued, is_closing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let holder = Arc::new(Holder::new(format!("{}-{}", settings.node, opened.writer)));
        let hints = Arc::new(Hints::default());
        drop(handle.spawn(hints::listen(settings.clone(), Arc::clone(&hints))));
        let writer = Writer {
            runtime: handle.clone(),
            link: link.clone(),
            id: opened.writer,
            holder: Arc::clone(&holder),
            hints: Arc::clone(&hints),
            head: Head::EMPTY,
            notes_queued: Arc::clone(&notes_queued),
            is_closing: Arc::clone(&is_closing),
            is_displaced: false,
        };
        let (writes, written) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("journal-writer".into())
            .spawn(move || writer.run(&written))
            .map_err(failed)?;
        Ok(Self {
            link,
            holder,
            hints,
            ids: Arc::new(ids),
            secret: opened.secret,
            places: Arc::new(Semaphore::new(MAX_QUEUED)),
            readers: Arc::new(Semaphore::new(settings.pool_size.saturating_sub(2))),
            notes_queued,
            is_closing,
            writes: Some(writes),
            thread: Some(thread),
            runtime: Some(runtime),
            handle,
        })
    }

    /// Checks that [`PostgresJournal::open`] would succeed, as far as that can be seen without changing anything.
    ///
    /// # Errors
    /// As [`PostgresJournal::open`] has.
    pub fn check(settings: &Settings) -> Result<(), JournalError> {
        settings.check()?;
        let settings = settings.clone();
        let check = move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| JournalError(format!("no thread for the journal: {error}")))?;
            let link = Link::new(&settings)?;
            runtime.block_on(schema::check(&link, &settings.address()))
        };
        on_thread("journal-check", check)?
    }

    /// What the database was made to do since the journal was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.link.counters.read()
    }

    /// Follows the event chains of all writers to their ends. Returns how many writers and events there are.
    ///
    /// # Errors
    /// A chain is damaged, or can't be read.
    pub async fn verify(&self) -> Result<(usize, u64), JournalError> {
        let link = self.link.clone();
        self.on_runtime(async move { chain::verify(&link).await }).await?
    }

    /// Runs it where the connections are.
    async fn on_runtime<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.handle.spawn(task).await.map_err(|_| stopped())
    }

    async fn reader(&self) -> Result<OwnedSemaphorePermit, JournalError> {
        Arc::clone(&self.readers)
            .acquire_owned()
            .await
            .map_err(|_| stopped())
    }
}

impl Drop for PostgresJournal {
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::Release);
        self.writes = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has ended the process.
            let _ = thread.join();
        }
        if let Some(runtime) = self.runtime.take() {
            // The journal may be dropped inside another runtime, which must not be blocked.
            runtime.shutdown_background();
        }
    }
}

/// Runs it on a thread of its own: the caller may be inside another runtime.
fn on_thread<T: Send + 'static>(
    name: &str,
    task: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JournalError> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(task);
    thread
        .map_err(|error| JournalError(format!("no thread for the journal: {error}")))?
        .join()
        .map_err(|_| JournalError("opening the database panicked".into()))
}

fn stopped() -> JournalError {
    JournalError("its thread has ended; restart the process".into())
}

/// Locks data that a panic can't leave half-changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one read in a transaction of its own, so that several statements see one state.
fn run_view(
    handle: &Handle,
    link: &Link,
    task: ReadTask,
    permit: OwnedSemaphorePermit,
) -> Result<(), JournalError> {
    let mut transaction = handle.block_on(link.begin(Mode::View))?;
    task(&mut rows::Tables::view(handle, &mut transaction));
    // The caller has what it wanted, and does not wait for this round trip.
    drop(handle.spawn(async move {
        transaction.roll_back().await;
        drop(permit);
    }));
    Ok(())
}

#[async_trait]
impl Journal for PostgresJournal {
    fn new_id(&self) -> u64 {
        let (id, wants_block) = self.ids.take();
        if wants_block {
            let (ids, link) = (Arc::clone(&self.ids), self.link.clone());
            drop(self.handle.spawn(async move { ids.fetch(&link).await }));
        }
        id
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError> {
        // The permit travels with the commit: callers that leave do not make the queue longer.
        let permit = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let entry = Entry {
            events,
            reply: Some((reply, permit)),
        };
        let writes = self.writes.as_ref().ok_or_else(stopped)?;
        writes.send(entry).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    async fn adopt(&self, adoption: &Adoption) -> Result<Adopted, AdoptError> {
        self.change_ids(adoption).await
    }

    async fn drop_events(&self, before_ms: u64, limit: u32) -> Result<u32, CommitError> {
        let link = self.link.clone();
        self.on_runtime(async move { chain::drop_before(&link, before_ms, limit).await })
            .await?
    }

    fn note(&self, event: Event) {
        if self.notes_queued.fetch_add(1, Ordering::AcqRel) >= MAX_NOTES {
            self.notes_queued.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        if let Some(writes) = &self.writes {
            // Without a writer a mark can't be written.
            let _ = writes.send(Entry {
                events: vec![event],
                reply: None,
            });
        }
    }

    async fn view(&self, task: ReadTask) -> Result<(), JournalError> {
        let permit = self.reader().await?;
        let (handle, link) = (self.handle.clone(), self.link.clone());
        let view = self
            .handle
            .spawn_blocking(move || run_view(&handle, &link, task, permit));
        view.await.map_err(|_| stopped())?
    }

    async fn claim(&self, key: &str) -> Result<Option<SettlementRow>, JournalError> {
        self.read_claim(key).await
    }

    async fn settlement(&self, id: u64) -> Result<Option<SettlementRow>, JournalError> {
        self.read_row(Table::Settlements, &id_key(id)).await
    }

    async fn bytes(&self, attempt: u64) -> Result<Option<HexBytes>, JournalError> {
        self.read_row(Table::Payloads, &id_key(attempt)).await
    }
}
