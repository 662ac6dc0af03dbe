//! A journal in memory, for the simulator and tests. It can be set to fail, to be slow, or to lie. Several handles can share
//! one, each as a node of its own, which can be stopped or cut off.

mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sdk_plugin::Amount;
use tokio::sync::{Notify, watch};

use super::group::Group;
use super::lease::{self, Holder, Lease, Shared};
use super::reservations::{MemoryReservations, Promise, Promised};
use super::{
    AdoptError, Adopted, Adoption, CommitError, Event, Journal, JournalError, RowKey, Stamp, adopt, settings,
    temporary, units,
};

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
    /// Whether the node can't reach the journal: everything fails.
    fn is_cut_off(&self) -> bool {
        false
    }
    /// While it is `true`, the node is stopped: no call of it to the journal begins.
    fn stopped(&self) -> Option<watch::Receiver<bool>> {
        None
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
    store: Arc<Store>,
    faults: Box<dyn Faults>,
    /// Where several nodes share the journal.
    holder: Option<Holder>,
}

#[derive(Default)]
struct Store {
    tables: Mutex<Tables>,
    log: Mutex<Vec<Event>>,
    /// Ids that were taken.
    ids: AtomicU64,
    reservations: MemoryReservations,
    /// Wakes those who wait for a change.
    changed: Notify,
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
            store: Arc::default(),
            faults,
            holder: None,
        }
    }

    /// The same journal for another node.
    #[must_use]
    pub fn node(&self, name: &str, faults: Box<dyn Faults>) -> Self {
        Self {
            store: Arc::clone(&self.store),
            faults,
            holder: Some(Holder::new(name.to_owned())),
        }
    }

    /// Every event committed so far.
    #[must_use]
    pub fn log(&self) -> Vec<Event> {
        lock(&self.store.log).clone()
    }

    fn apply_all(&self, events: Vec<Event>) -> Result<(), CommitError> {
        let fence = self.holder.as_ref().map(Holder::fence);
        let mut tables = lock(&self.store.tables);
        let mut log = lock(&self.store.log);
        let stamp = Stamp {
            at_ms: self.faults.now_ms(),
            seq: u64::try_from(log.len()).unwrap_or(u64::MAX).saturating_add(1),
        };
        let mut group = Group::fetch(&mut *tables, events.iter(), fence.as_ref())?;
        group.apply(&events, stamp)?;
        group.flush()?;
        log.extend(events);
        self.store.changed.notify_waiters();
        Ok(())
    }

    /// Waits while the node is stopped.
    async fn reach(&self) -> Result<(), JournalError> {
        if let Some(mut stopped) = self.faults.stopped() {
            // Without a sender nothing stops it any more.
            let _ = stopped.wait_for(|is_stopped| !is_stopped).await;
        }
        if self.faults.is_cut_off() {
            return Err(JournalError("the database can't be reached".into()));
        }
        Ok(())
    }

    /// Changes leases or grants.
    async fn change<T>(
        &self,
        with: impl FnOnce(&mut Tables, &Holder) -> Result<T, JournalError> + Send,
    ) -> Result<T, CommitError> {
        self.reach().await?;
        let holder = self
            .holder
            .as_ref()
            .ok_or_else(|| JournalError("one node has this journal".into()))?;
        Ok(with(&mut lock(&self.store.tables), holder)?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Code that holds this lock does not panic between two writes that belong together.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Journal for MemoryJournal {
    fn new_id(&self) -> u64 {
        self.store.ids.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    fn secret(&self) -> [u8; 32] {
        // What is in memory only has no references that outlive it.
        [0; 32]
    }

    fn shared(&self) -> Option<&dyn Shared> {
        self.holder.as_ref().map(|_| self as &dyn Shared)
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError> {
        self.reach().await?;
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
        if self.faults.keeps_note(&event) && !self.faults.is_cut_off() {
            // A mark about a missing row is useless.
            let _ = self.apply_all(vec![event]);
        }
    }

    async fn adopt(&self, adoption: &Adoption) -> Result<Adopted, AdoptError> {
        self.reach().await?;
        let gone = match self.shared() {
            Some(shared) => adopt::gone_nodes(shared).await?,
            None => Vec::new(),
        };
        let now_ms = self.faults.now_ms();
        let mut tables = lock(&self.store.tables);
        // A copy, so that nothing of it is left after an error.
        let mut changed = tables.clone();
        let adopted = adopt::change(&mut changed, adoption, &gone, now_ms)?;
        *tables = changed;
        lock(&self.store.log).push(adoption.event(now_ms));
        Ok(adopted)
    }

    async fn view(&self, task: super::ReadTask) -> Result<(), JournalError> {
        self.reach().await?;
        let mut tables = lock(&self.store.tables);
        task(&mut *tables);
        Ok(())
    }
}

#[async_trait]
impl Shared for MemoryJournal {
    fn node(&self) -> &str {
        self.holder.as_ref().map_or("", Holder::node)
    }

    async fn leases(&self) -> Result<Vec<Lease>, JournalError> {
        self.reach().await?;
        lease::all(&mut *lock(&self.store.tables))
    }

    async fn take(&self, unit: &str, seen: Option<&Lease>) -> Result<Option<Lease>, CommitError> {
        self.change(|tables, holder| {
            let taken = lease::take(tables, holder.node(), unit, seen)?;
            taken.iter().for_each(|lease| holder.add(lease));
            Ok(taken)
        })
        .await
    }

    async fn renew(&self) -> Result<Vec<String>, CommitError> {
        self.change(|tables, holder| {
            let lost = lease::renew(tables, &holder.fence())?;
            lost.iter().for_each(|unit| holder.remove(unit));
            Ok(lost)
        })
        .await
    }

    async fn record_compared(&self, unit: &str) -> Result<(), CommitError> {
        self.change(|tables, holder| lease::record_compared(tables, &holder.fence(), unit))
            .await
    }

    async fn record_serves(&self, networks: &BTreeSet<String>) -> Result<(), CommitError> {
        self.change(|tables, holder| lease::record_serves(tables, &holder.fence(), networks))
            .await
    }

    async fn give_up(&self, unit: &str) -> Result<(), CommitError> {
        self.change(|tables, holder| {
            let fence = holder.fence();
            holder.remove(unit);
            lease::give_up(tables, &fence, unit)
        })
        .await
    }

    async fn remove_node(&self, seen: &Lease) -> Result<bool, CommitError> {
        self.change(|tables, _| lease::remove_node(tables, seen)).await
    }

    async fn handed_over(
        &self,
        units: &[String],
        known: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<Vec<u64>, JournalError> {
        self.reach().await?;
        units::handed_over(&mut *lock(&self.store.tables), units, known, limit)
    }

    async fn index(&self, unit: &str, ids: &[u64]) -> Result<(), CommitError> {
        let fence = self.change(|_, holder| Ok(holder.fence())).await?;
        for part in ids.chunks(units::PAGE) {
            self.change(|tables, _| units::put_into_order(tables, &fence, unit, part))
                .await?;
        }
        self.change(|tables, _| units::set_indexed(tables, &fence, unit))
            .await
    }

    async fn remove_dead(&self, limit: usize) -> Result<usize, CommitError> {
        let now_ms = self.faults.now_ms();
        self.change(|tables, _| {
            let keys = temporary::dead(tables, now_ms, limit)?;
            temporary::remove_dead(tables, now_ms, &keys)
        })
        .await
    }

    async fn take_grant(&self, key: &str, amount: Amount, limit: Amount) -> Result<bool, CommitError> {
        self.change(|tables, _| temporary::take_grant(tables, key, amount, limit))
            .await
    }

    async fn announce(&self, claim: &str) -> Result<(), CommitError> {
        let now_ms = self.faults.now_ms();
        self.change(|tables, holder| temporary::announce(tables, holder.node(), claim, now_ms))
            .await
    }

    async fn withdraw(&self, claim: &str) -> Result<(), CommitError> {
        self.change(|tables, holder| temporary::withdraw(tables, holder.node(), claim))
            .await
    }

    async fn is_announced(&self, claim: &str) -> Result<bool, JournalError> {
        self.reach().await?;
        let now_ms = self.faults.now_ms();
        temporary::is_announced(&mut *lock(&self.store.tables), Shared::node(self), claim, now_ms)
    }

    async fn reserve(&self, promise: &Promise) -> Result<Promised, CommitError> {
        self.reach().await?;
        Ok(self.store.reservations.reserve(promise.clone()))
    }

    async fn end_reservation(&self, claim: &str, tenant: Option<&str>) -> Result<bool, CommitError> {
        self.reach().await?;
        match tenant {
            Some(tenant) => Ok(self.store.reservations.end_of(claim, tenant)),
            None => {
                self.store.reservations.end(claim);
                Ok(false)
            }
        }
    }

    async fn settings(&self) -> Result<BTreeMap<String, String>, JournalError> {
        self.reach().await?;
        settings::all(&mut *lock(&self.store.tables))
    }

    async fn put_setting(&self, name: &str, seen: Option<&str>, text: &str) -> Result<bool, CommitError> {
        self.change(|tables, _| settings::put(tables, name, seen, text))
            .await
    }

    async fn hint(&self) {
        self.store.changed.notified().await;
    }
}
