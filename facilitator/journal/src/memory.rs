//! A journal in memory, for the simulator and tests. It can be set to fail, to be slow, or to lie.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::group::Group;
use super::{CommitError, Event, Journal, JournalError, RowKey, Rows, Stamp, Storage, Table, Write};

/// The rows.
pub(crate) type Tables = BTreeMap<RowKey, String>;

/// What a fault does to one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// Everything is written.
    None,
    /// The disk is full: nothing is written.
    Full,
    /// Nothing is written and it is reported as written: a journal that lies, to prove that tests notice.
    Lie,
    /// Written, but the process dies before it gets the result.
    CrashAfter,
    /// Not written; the process dies.
    CrashBefore,
}

/// Decides what happens to each commit and mark.
pub trait Faults: Send + Sync + 'static {
    /// What happens to a commit of these events.
    fn on_commit(&self, events: &[Event]) -> CommitFault;
    /// Whether a lazy mark reaches the journal.
    fn keeps_note(&self, _event: &Event) -> bool {
        true
    }
    /// The time that commits carry, milliseconds since the epoch.
    fn now_ms(&self) -> u64 {
        0
    }
    /// How long the commit takes, milliseconds of `tokio::time`.
    fn delay_ms(&self) -> u64 {
        0
    }
}

/// No faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn on_commit(&self, _: &[Event]) -> CommitFault {
        CommitFault::None
    }
}

/// The journal. It outlives the engine that uses it, as a disk would.
pub struct MemoryJournal {
    tables: Mutex<Tables>,
    log: Mutex<Vec<Event>>,
    next_id: AtomicU64,
    faults: Box<dyn Faults>,
}

impl fmt::Debug for MemoryJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryJournal").finish_non_exhaustive()
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::with_faults(Box::new(NoFaults))
    }
}

impl MemoryJournal {
    /// An empty journal that consults `faults` for each commit and mark.
    #[must_use]
    pub fn with_faults(faults: Box<dyn Faults>) -> Self {
        Self {
            tables: Mutex::default(),
            log: Mutex::default(),
            next_id: AtomicU64::new(1),
            faults,
        }
    }

    /// Every event committed so far.
    #[must_use]
    pub fn log(&self) -> Vec<Event> {
        lock(&self.log).clone()
    }

    fn apply_all(&self, events: Vec<Event>) -> Result<(), CommitError> {
        let mut tables = lock(&self.tables);
        let mut log = lock(&self.log);
        let stamp = Stamp {
            at_ms: self.faults.now_ms(),
            seq: u64::try_from(log.len()).unwrap_or(u64::MAX).saturating_add(1),
        };
        let mut group = Group::fetch(&mut *tables, events.iter())?;
        group.apply(&events, stamp)?;
        group.flush()?;
        log.extend(events);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Code that holds this lock does not panic between two writes that belong together.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Journal for MemoryJournal {
    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn secret(&self) -> [u8; 32] {
        // What is in memory only has no references that outlive it.
        [0; 32]
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError> {
        let delay_ms = self.faults.delay_ms();
        if delay_ms > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
        }
        match self.faults.on_commit(&events) {
            CommitFault::None => self.apply_all(events),
            CommitFault::Full => Err(CommitError::Full),
            CommitFault::Lie => Ok(()),
            CommitFault::CrashAfter => {
                self.apply_all(events)?;
                std::future::pending().await
            }
            CommitFault::CrashBefore => std::future::pending().await,
        }
    }

    fn note(&self, event: Event) {
        if self.faults.keeps_note(&event) {
            // A mark about a missing row is useless.
            let _ = self.apply_all(vec![event]);
        }
    }

    async fn view(&self, task: super::ReadTask) -> Result<(), JournalError> {
        let mut tables = lock(&self.tables);
        task(&mut *tables);
        Ok(())
    }
}

impl Rows for Tables {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<String>, JournalError> {
        Ok(BTreeMap::get(self, &(table, key.to_owned())).cloned())
    }

    fn scan(
        &mut self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let found = self
            .range((table, prefix.to_owned())..)
            .take_while(|((t, key), _)| *t == table && key.starts_with(prefix))
            .filter(|((_, key), _)| after.is_none_or(|after| key.as_str() > after))
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        Ok(found)
    }
}

impl Storage for Tables {
    fn write(&mut self, table: Table, key: &str, write: &Write) -> Result<(), JournalError> {
        let row = (table, key.to_owned());
        match write {
            Write::Insert(_) if self.contains_key(&row) => {
                let table = table.name();
                return Err(JournalError(format!("table {table} has a row {key:?} already")));
            }
            Write::Insert(value) | Write::Put(value) => self.insert(row, value.clone()),
            Write::Delete => self.remove(&row),
        };
        Ok(())
    }
}
