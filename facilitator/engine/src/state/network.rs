//! A running network: its open slots and its lanes.

use crate::decide::budget::Budget;
use crate::decide::head::Head;
use crate::registry::Network;
use crate::state::blocks::BlockClock;
use crate::state::health::Health;
use crate::state::jobs::Jobs;
use crate::state::lane::LaneHandle;
use crate::state::settlement::Settlement;
use crate::state::slot::{OpenSlot, SlotKey};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use journal::CLIENT_SIGNED_FROM;
use sdk_plugin::Amount;
use sdk_plugin::chain::Lane;
use sdk_plugin::scheme::LaneChoice;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The changing state of one network.
#[derive(Debug)]
pub struct NetworkRun {
    pub network: Arc<Network>,
    slots: Mutex<BTreeMap<SlotKey, Arc<OpenSlot>>>,
    lanes: Mutex<BTreeMap<String, LaneHandle>>,
    /// Wakes the observer before its time.
    pub wake_observer: Notify,
    /// The limits on what transactions may cost today.
    pub(crate) budget: Budget,
    /// Signers that recorded payments name, each with the second since the epoch until which it is needed. As read at
    /// the start.
    pub(crate) held: Mutex<BTreeMap<String, u64>>,
    head: Mutex<Head>,
    /// When blocks are due.
    pub(crate) blocks: Mutex<BlockClock>,
    /// Native currency of each signer at the last check, atomic units.
    pub(crate) balances: Mutex<BTreeMap<String, Amount>>,
    /// Wakes the checks of its schemes before their time.
    pub(crate) schemes_due: Notify,
    /// Running jobs.
    pub(crate) jobs: Jobs,
    /// What its checks have found and logged.
    pub(crate) health: Health,
}

impl NetworkRun {
    /// `is_shared`: other nodes use the same journal.
    pub fn new(network: Arc<Network>, is_shared: bool) -> Self {
        Self {
            budget: Budget::new(&network.settings, is_shared),
            network,
            slots: Mutex::default(),
            lanes: Mutex::default(),
            wake_observer: Notify::new(),
            held: Mutex::default(),
            head: Mutex::default(),
            blocks: Mutex::new(BlockClock::new(Instant::now())),
            balances: Mutex::default(),
            schemes_due: Notify::new(),
            jobs: Jobs::default(),
            health: Health::default(),
        }
    }

    /// Signers whose lanes have been closed for this long since their start, because their sequence on chain has not been
    /// compared with the journal's yet.
    #[must_use]
    pub fn long_closed(&self, long: Duration) -> Vec<String> {
        let lanes = self.lanes.lock();
        let closed = lanes.values().filter(|lane| lane.is_closed_for(long));
        closed.map(|lane| lane.lane.signer.clone()).collect()
    }

    /// Counts a transaction of one of the signers. The signers' balances are read again before they may be used up.
    pub(crate) fn record_spending(&self) {
        let spent = self.health.spent_since.fetch_add(1, Ordering::Relaxed);
        if self.may_be_unfunded(spent.saturating_add(1)) {
            self.health.check_is_due.notify_one();
        }
    }

    /// Whether one of the signers may not be able to pay for another transaction, after this many since its balance was
    /// read.
    pub(crate) fn may_be_unfunded(&self, spent: u64) -> bool {
        let max_cost = self.network.settings.max_cost;
        let needed = max_cost.0.saturating_mul(Amount::from(spent.saturating_add(1)).0);
        let balances = self.balances.lock();
        let is_short = |lane: &Lane| balances.get(&lane.signer).is_some_and(|has| has.0 < needed);
        self.network
            .with_lanes(|mut lanes| Iterator::any(&mut lanes, is_short))
    }

    /// Whether nothing may be sent, because the chain is not the one that the journal knows.
    #[must_use]
    pub fn is_on_wrong_chain(&self) -> bool {
        self.health.on_wrong_chain.load(Ordering::Relaxed)
    }

    pub fn add_slot(&self, slot: Arc<OpenSlot>) {
        {
            let mut slots = self.slots.lock();
            // Watching never replaces owning.
            let is_owned = |known: &Arc<OpenSlot>| !known.is_watched;
            if slot.is_watched && slots.get(&slot.key()).is_some_and(is_owned) {
                return;
            }
            slots.insert(slot.key(), slot);
        }
        self.wake_observer.notify_one();
    }

    /// Records the head that a reply named.
    pub fn record_head(&self, height: u64) {
        self.head.lock().observe(height);
    }

    /// Records the head that a reply named, when the chain had it now.
    pub(crate) fn record_current_head(&self, height: u64) {
        self.record_head(height);
        self.blocks.lock().record_head(height, Instant::now());
    }

    /// Whether polls follow blocks, as configured. Where lanes have no order, transactions can expire between two blocks,
    /// and polls have a fixed pause.
    #[must_use]
    pub fn follows_blocks(&self) -> bool {
        self.network.settings.follow_blocks && self.network.is_ordered()
    }

    /// The time between two blocks; `None`: it is not known, or polls do not follow it.
    #[must_use]
    pub fn block_time(&self) -> Option<Duration> {
        if !self.follows_blocks() {
            return None;
        }
        self.blocks.lock().block_time()
    }

    /// When the next block is due, where polls follow blocks.
    #[must_use]
    pub fn next_block_due(&self) -> Option<Instant> {
        let _ = self.block_time()?;
        self.blocks.lock().next_due(Instant::now())
    }

    /// The highest block that two replies have named; 0 before that.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head.lock().height()
    }

    /// Whether every signer's sequence has been compared with the journal's. Before that the journal may be an old
    /// copy, and nothing in it is released.
    #[must_use]
    pub fn is_compared(&self) -> bool {
        let lanes = self.lanes.lock();
        // Before the first successful check no signer is known.
        let are_known = !lanes.is_empty() || self.network.readiness().is_ok();
        are_known && lanes.values().all(LaneHandle::is_reconciled)
    }

    /// Polls every slot at once.
    pub fn poll_all_now(&self) {
        for slot in self.slots() {
            slot.lock().polling.set_due(Instant::now());
        }
        self.wake_observer.notify_one();
    }

    /// Polls a settlement's slots at once.
    pub fn poll_now(&self, settlement: &Settlement) {
        for slot in self.slots() {
            if slot.covers.iter().any(|(covered, _)| covered.id == settlement.id) {
                slot.lock().polling.set_due(Instant::now());
            }
        }
        self.wake_observer.notify_one();
    }

    /// A signer's balance at the last check, native atomic units; `None`: not known.
    #[must_use]
    pub fn balance_of(&self, signer: &str) -> Option<Amount> {
        self.balances.lock().get(signer).copied()
    }

    /// The sequence of the first slot of a signer that has not landed.
    #[must_use]
    pub fn lowest_in_flight(&self, signer: &str) -> Option<u64> {
        let slots = self.slots.lock();
        let first = slots
            .range(of_signer(signer))
            .find(|(_, slot)| slot.is_in_flight());
        first.map(|((_, sequence), _)| *sequence)
    }

    pub fn remove_slot(&self, key: &SlotKey) {
        self.slots.lock().remove(key);
    }

    #[must_use]
    pub fn slot(&self, key: &SlotKey) -> Option<Arc<OpenSlot>> {
        self.slots.lock().get(key).cloned()
    }

    #[must_use]
    pub fn slots(&self) -> Vec<Arc<OpenSlot>> {
        self.slots.lock().values().cloned().collect()
    }

    /// Transactions that clients have signed and that one signer's lane sends, as far as they have not landed.
    #[must_use]
    pub fn client_signed(&self, signer: &str) -> usize {
        let slots = self.slots.lock();
        let own = slots.range(of_clients(signer));
        own.filter(|(_, slot)| slot.is_in_flight()).count()
    }

    /// Slots of one signer's own transactions that have not landed.
    #[must_use]
    pub fn in_flight(&self, signer: &str) -> usize {
        let slots = self.slots.lock();
        let own = slots.range(of_signer(signer));
        own.filter(|(_, slot)| slot.is_in_flight()).count()
    }

    #[must_use]
    pub fn lane(&self, signer: &str) -> Option<LaneHandle> {
        self.lanes.lock().get(signer).cloned()
    }

    /// Nothing new is queued in it. [`LaneHandle::end`] ends its task.
    pub(crate) fn remove_lane(&self, signer: &str) -> Option<LaneHandle> {
        self.lanes.lock().remove(signer)
    }

    /// Removes every slot of a signer: they are read again from the journal.
    pub(crate) fn remove_slots(&self, signer: &str) {
        self.slots.lock().retain(|_, slot| slot.lane.signer != signer);
    }

    /// Stops watching the slot of a settlement that another node continues.
    pub(crate) fn remove_watched_settlement(&self, id: u64) {
        self.slots
            .lock()
            .retain(|_, slot| !(slot.is_watched && slot.covers.iter().any(|(covered, _)| covered.id == id)));
    }

    /// Whether the slot of a settlement that another node continues is polled.
    pub(crate) fn is_watched(&self, id: u64) -> bool {
        let slots = self.slots.lock();
        slots
            .values()
            .any(|slot| slot.is_watched && slot.covers.iter().any(|(covered, _)| covered.id == id))
    }

    pub fn add_lane(&self, handle: LaneHandle) {
        self.lanes.lock().insert(handle.lane.signer.clone(), handle);
    }

    /// The lane for a step: the named one, or the active one with the shortest queue. Lanes whose signer has no budget
    /// left today come last.
    #[must_use]
    pub fn choose(&self, choice: &LaneChoice, now_ms: u64) -> Option<LaneHandle> {
        match choice {
            LaneChoice::Signer { address } => self.lane(address),
            LaneChoice::Any | LaneChoice::Foreign => {
                let handles = self.lanes.lock();
                let most = self.network.settings.max_cost;
                let load = |handle: &&LaneHandle| {
                    (
                        !self.budget.signer_has(now_ms, most, &handle.lane.signer),
                        handle.waiting().saturating_add(handle.in_flight()),
                    )
                };
                // Compared after the network's lock is free: budgets have a lock of their own.
                let known: Vec<&LaneHandle> = self
                    .network
                    .with_lanes(|lanes| lanes.filter_map(|lane| handles.get(&lane.signer)).collect());
                known.into_iter().min_by_key(load).cloned()
            }
        }
    }
}

/// The keys of the slots of one signer's own transactions: a lane reads only these, so that other signers' slots do not slow
/// it down.
fn of_signer(signer: &str) -> Range<SlotKey> {
    (signer.to_owned(), 0)..(signer.to_owned(), CLIENT_SIGNED_FROM)
}

/// The keys of the slots of transactions that clients have signed and that one signer's lane sends.
fn of_clients(signer: &str) -> RangeInclusive<SlotKey> {
    (signer.to_owned(), CLIENT_SIGNED_FROM)..=(signer.to_owned(), u64::MAX)
}
