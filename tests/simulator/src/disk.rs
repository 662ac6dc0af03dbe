//! Where the journal lies: in memory, or in files of the real SQLite back end whose unsynced writes a power cut loses, tears
//! and reorders.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::clock::Clock;
use journal::lease::Shared;
use journal::memory::{CommitFault, Faults as JournalFaults, MemoryJournal};
use journal::sqlite::SqliteJournal;
use journal::{
    AdoptError, Adopted, Adoption, CommitError, Event, Journal, JournalError, ReadTask, Rows, Table,
};
use sdk_plugin::async_trait;

use crate::faults::{AtCommit, Faults};
use crate::rng::Rng;

mod files;
mod mark;
mod record;
pub mod recorder;
mod wait;

use files::Files;
use record::Record;
use wait::wait_for;

/// A journal that outlives the process.
#[derive(Debug)]
pub enum Disk {
    Memory(MemoryJournal),
    Files(Box<FileDisk>),
}

/// The date that commits carry, for threads that do not live in virtual time.
#[derive(Debug, Default)]
struct Date(AtomicU64);

impl Clock for Date {
    fn now_unix_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_mul(1_000_000)
    }
}

/// The model's clock; the model itself never fails.
#[derive(Debug)]
struct ModelDate(Arc<Date>);

impl JournalFaults for ModelDate {
    fn on_commit(&self, _: &[Event]) -> CommitFault {
        CommitFault::None
    }

    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }
}

/// The real back end in a folder, and beside it a model of what must be in it.
#[derive(Debug)]
pub struct FileDisk {
    folder: PathBuf,
    date: Arc<Date>,
    clock: Box<dyn ClockOf>,
    faults: Arc<Faults>,
    /// Every acknowledged commit.
    model: MemoryJournal,
    inner: Mutex<Inner>,
}

/// A clock that can be printed.
trait ClockOf: Clock + std::fmt::Debug {}
impl<T: Clock + std::fmt::Debug> ClockOf for T {}

#[derive(Debug)]
struct Inner {
    /// `None` before the first start, and after one that failed.
    journal: Option<SqliteJournal>,
    record: Record,
    files: Files,
    /// What the disk holds after the power cut.
    cut: bool,
    /// The commit during which the process died, and its date: all of it is there, or nothing.
    in_flight: Option<(Vec<Event>, u64)>,
    wrong: Vec<String>,
    rng: Rng,
}

impl FileDisk {
    /// An empty folder. Only in a process that [`recorder`] records.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn create(
        clock: impl Clock + std::fmt::Debug,
        faults: Arc<Faults>,
        rng: Rng,
    ) -> std::io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let root = recorder::root().ok_or_else(|| std::io::Error::other("this process is not recorded"))?;
        let folder = root.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir_all(&folder)?;
        let date = Arc::new(Date::default());
        let inner = Inner {
            journal: None,
            record: Record::of(&folder),
            files: Files::default(),
            cut: false,
            in_flight: None,
            wrong: Vec::new(),
            rng,
        };
        let disk = Self {
            folder,
            model: MemoryJournal::with_faults(Box::new(ModelDate(Arc::clone(&date)))),
            date,
            clock: Box::new(clock),
            faults,
            inner: Mutex::new(inner),
        };
        disk.start(&mut disk.lock());
        Ok(disk)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, inner: &mut Inner) {
        self.date.0.store(self.clock.now_ms(), Ordering::Relaxed);
        match SqliteJournal::open_with(&self.folder, Arc::clone(&self.date) as Arc<dyn Clock>) {
            Ok(journal) => inner.journal = Some(journal),
            Err(error) => inner.wrong.push(format!("the journal does not start: {error}")),
        }
    }

    /// The process is started again after it died: by a kill, which loses nothing that was written, or by a power cut.
    fn restart(&self, unsynced: bool) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let loses = inner.cut || inner.rng.chance(500);
        if !inner.cut {
            inner.files.apply(inner.record.read());
        }
        inner.cut = false;
        if unsynced {
            inner.files.forget_the_log();
        }
        let image = inner.files.after_crash(loses, &mut inner.rng);
        // What closing writes is not there after a crash.
        inner.journal = None;
        let put = image.put(&self.folder).and_then(|files| {
            inner.files = files;
            inner.record.clear()
        });
        if let Err(error) = put {
            inner
                .wrong
                .push(format!("the folder could not be restored: {error}"));
            return;
        }
        tracing::info!("the disk has {image:?}");
        self.start(inner);
        self.check(inner);
    }

    /// Everything acknowledged is there, and nothing is there in part.
    fn check(&self, inner: &mut Inner) {
        let Some(journal) = &inner.journal else { return };
        let newest = match journal::sqlite::tools::verify(&self.folder) {
            Ok(verified) => u64::try_from(verified.events.1).unwrap_or(0),
            Err(error) => return inner.wrong.push(format!("after a crash: {error}")),
        };
        let acknowledged = u64::try_from(self.model.log().len()).unwrap_or(u64::MAX);
        if let Some((events, at_ms)) = inner.in_flight.take()
            && newest > acknowledged
        {
            self.date.0.store(at_ms, Ordering::Relaxed);
            if let Err(error) = wait_for(self.model.commit(events)) {
                inner.wrong.push(format!("a refused commit is there: {error}"));
            }
        }
        let (found, expected) = (rows_of(journal), rows_of(&self.model));
        if found != expected {
            let key = |(table, key, _): &Row| format!("{table:?} {key}");
            let missing = expected
                .iter()
                .filter(|row| !found.contains(row))
                .take(3)
                .map(key);
            let surplus = found
                .iter()
                .filter(|row| !expected.contains(row))
                .take(3)
                .map(key);
            inner.wrong.push(format!(
                "after a crash the rows are others than those of the acknowledged commits; missing: {:?}; not expected: {:?}",
                missing.collect::<Vec<_>>(),
                surplus.collect::<Vec<_>>()
            ));
        }
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError> {
        // The process is dead, and some of its tasks have not noticed yet.
        if self.lock().cut {
            return std::future::pending().await;
        }
        if self.faults.take_power_cut() {
            self.cut_power_during(events);
            return std::future::pending().await;
        }
        match AtCommit(Arc::clone(&self.faults)).on_commit(&events) {
            CommitFault::None => self.commit_now(events),
            CommitFault::Full => self.commit_without_space(events),
            CommitFault::Lie => Ok(()),
            CommitFault::CrashAfter => {
                self.commit_now(events)?;
                std::future::pending().await
            }
            CommitFault::CrashBefore => std::future::pending().await,
        }
    }

    /// Virtual time stands still meanwhile.
    fn write(&self, inner: &Inner, events: Vec<Event>) -> Result<(), CommitError> {
        self.date.0.store(self.clock.now_ms(), Ordering::Relaxed);
        match &inner.journal {
            Some(journal) => wait_for(journal.commit(events)),
            None => Err(CommitError::Io("the journal did not start".into())),
        }
    }

    fn commit_now(&self, events: Vec<Event>) -> Result<(), CommitError> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let result = self.write(inner, events.clone());
        inner.files.apply(inner.record.read());
        if !matches!(result, Err(CommitError::Io(_) | CommitError::Full)) {
            let expected = wait_for(self.model.commit(events));
            if format!("{expected:?}") != format!("{result:?}") {
                inner
                    .wrong
                    .push(format!("SQLite answers {result:?} and the model {expected:?}"));
            }
        }
        result
    }

    fn commit_without_space(&self, events: Vec<Event>) -> Result<(), CommitError> {
        let full = self.folder.with_extension("full");
        if let Err(error) = std::fs::write(&full, "") {
            return Err(CommitError::Io(error.to_string()));
        }
        let result = self.commit_now(events);
        // Whether it is still there shows at the next commit.
        let _ = std::fs::remove_file(&full);
        result
    }

    /// The power fails after any one of the writes and syncs of this commit.
    fn cut_power_during(&self, events: Vec<Event>) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        // It ends in some way; nobody hears of it.
        let _ = self.write(inner, events.clone());
        let mut changes = inner.record.read();
        let most = u64::try_from(changes.len()).unwrap_or(0);
        let kept = inner.rng.between(0, most);
        changes.truncate(usize::try_from(kept).unwrap_or(0));
        inner.files.apply(changes);
        inner.cut = true;
        inner.in_flight = Some((events, self.date.now_ms()));
    }

    fn view(&self, task: ReadTask) -> Result<(), JournalError> {
        match &self.lock().journal {
            Some(journal) => wait_for(journal.view(task)),
            None => Err(JournalError("the journal did not start".into())),
        }
    }
}

impl Drop for FileDisk {
    fn drop(&mut self) {
        self.lock().journal = None;
        // Left over, they cost space in a temporary folder.
        let _ = std::fs::remove_dir_all(&self.folder);
        let _ = std::fs::remove_file(record::path(&self.folder));
    }
}

type Row = (Table, String, String);

fn rows_of(journal: &dyn Journal) -> Vec<Row> {
    let found: Arc<Mutex<Vec<Row>>> = Arc::default();
    let rows = Arc::clone(&found);
    let read = move |of: &mut dyn Rows| {
        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
        for table in Table::ALL {
            for (key, value) in of.scan(table, "", None, usize::MAX).unwrap_or_default() {
                rows.push((table, key, value));
            }
        }
    };
    // A journal that can't be read has no rows, and differs.
    let _ = wait_for(journal.view(Box::new(read)));
    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut found)
}

impl Disk {
    /// Every event committed so far.
    #[must_use]
    pub fn log(&self) -> Vec<Event> {
        match self {
            Self::Memory(journal) => journal.log(),
            Self::Files(disk) => disk.model.log(),
        }
    }

    /// The process starts again.
    /// `unsynced`: as if nothing had been synced since the last one, a defect that must be noticed.
    pub fn restart(&self, unsynced: bool) {
        if let Self::Files(disk) = self {
            disk.restart(unsynced);
        }
    }

    /// What crashes did that they must not do.
    #[must_use]
    pub fn wrong(&self) -> Vec<String> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Files(disk) => disk.lock().wrong.clone(),
        }
    }

    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Memory(_) => None,
            Self::Files(disk) => Some(&disk.folder),
        }
    }
}

#[async_trait]
impl Journal for Disk {
    fn new_id(&self) -> u64 {
        match self {
            Self::Memory(journal) => journal.new_id(),
            Self::Files(disk) => disk.lock().journal.as_ref().map_or(0, Journal::new_id),
        }
    }

    fn secret(&self) -> [u8; 32] {
        // The same in each run, so that runs can be repeated.
        [0; 32]
    }

    fn shared(&self) -> Option<&dyn Shared> {
        match self {
            Self::Memory(journal) => journal.shared(),
            // Files belong to one process.
            Self::Files(_) => None,
        }
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError> {
        match self {
            Self::Memory(journal) => journal.commit(events).await,
            Self::Files(disk) => disk.commit(events).await,
        }
    }

    async fn adopt(&self, adoption: &Adoption) -> Result<Adopted, AdoptError> {
        match self {
            Self::Memory(journal) => journal.adopt(adoption).await,
            // The model beside the files has the old id.
            Self::Files(_) => Err(AdoptError::Unsupported),
        }
    }

    fn note(&self, event: Event) {
        match self {
            Self::Memory(journal) => journal.note(event),
            Self::Files(disk) => {
                // Written at once, so that runs can be repeated. A mark about a missing row is useless.
                let is_dead = disk.lock().cut;
                if !is_dead && AtCommit(Arc::clone(&disk.faults)).keeps_note(&event) {
                    let _ = disk.commit_now(vec![event]);
                }
            }
        }
    }

    async fn view(&self, task: ReadTask) -> Result<(), JournalError> {
        match self {
            Self::Memory(journal) => journal.view(task).await,
            Self::Files(disk) => disk.view(task),
        }
    }
}
