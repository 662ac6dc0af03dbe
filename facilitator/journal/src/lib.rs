//! The journal: what the facilitator knows for certain, on disk before anything depends on it.
//!
//! Every change is a list of [`Event`]s. All of them or none are committed, and they are durable when
//! [`Journal::commit`] returns. Rows are projections of events, made by one function ([`project::apply`]) over a
//! [`group::Group`] of what a back end's [`Storage`] holds, so that SQLite, memory and others can't differ in what they allow. The projection
//! enforces the laws that it can check: one open settlement per claim and conflict key, live attempts of a step in one
//! slot only, one claim per piece of evidence, one release, reserves within what the payer has.
//!
//! Payload bytes (plans and signed transactions: bearer instruments) are in tables of their own and not in the event
//! log, so that they can be dropped when they are no longer needed.

#![warn(missing_docs)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

pub mod adopt;
mod change;
pub mod costs;
mod error;
pub mod event;
pub mod group;
pub mod history;
pub mod jobs;
mod journaled;
pub mod keys;
pub mod lease;
pub mod lookups;
pub mod memory;
mod overlay;
pub mod plugin_rows;
pub mod postgres;
pub mod project;
pub mod queries;
pub mod reservations;
pub mod row;
pub mod settings;
pub mod sqlite;
mod stage;
mod table;
pub mod temporary;
pub mod units;
mod withheld;

#[cfg(any(test, feature = "testkit"))]
pub mod conformance;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use sdk_plugin::host::StoreRow;
use sdk_plugin::{HexBytes, StepIndex};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

pub use adopt::{AdoptError, Adopted, Adoption};
pub use error::{CommitError, JournalError};
pub use event::{Event, NewAttempt, NewSettlement};
pub use history::{Happened, HistoryRow};
pub use journaled::{Journaled, open_slots, open_slots_of, record_attempt, recorded_slot};
pub use keys::REPLAY_KEYS;
pub use lookups::{Filter, Page, Reference};
pub use overlay::Stamp;
pub use queries::WithPlan;
pub use row::{
    AttemptKind, AttemptRow, CLIENT_SIGNED_FROM, CostRow, Ground, GroundAt, HeldRow, JobRow, KeyRow, Outcome,
    PaidRow, Release, SettlementRow, SlotRow, SpareCostRow, SpentRow, StepRow, StepState, WithheldRow,
    is_client_signed,
};
pub use stage::Stage;
pub use table::{Fetched, RowKey, Rows, Storage, Table, Write};
pub use withheld::all as withheld_releases;

/// A read over one consistent view. It must not block on anything else.
pub type ReadTask = Box<dyn FnOnce(&mut dyn Rows) + Send>;

/// Durable, atomic record of events.
///
/// A back end implements the methods without a body. The queries after them are the same for every back end. A back end
/// may answer a query in a better way, with the same result.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// A number never used before as a settlement's or attempt's id in this journal.
    fn new_id(&self) -> u64;

    /// A secret of this journal, from which references are made. Never shown.
    fn secret(&self) -> [u8; 32];

    /// What callers name a settlement by: 32 hex digits from which its id can't be learned, and which nobody can guess.
    fn reference(&self, id: u64) -> String {
        let mut hash = Sha256::new();
        hash.update(b"settlement reference");
        hash.update(self.secret());
        hash.update(id.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        hex::encode(digest.get(..16).unwrap_or(&digest))
    }

    /// What several nodes that share this journal need; `None`: this process is the only one that writes.
    fn shared(&self) -> Option<&dyn lease::Shared> {
        None
    }

    /// All events or none; durable when it returns `Ok`. After an error nothing of it is in the journal.
    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError>;

    /// Records a mark that may be lost in a crash. Does not wait.
    fn note(&self, event: Event);

    /// Runs a read over a consistent view that includes every acknowledged commit.
    async fn view(&self, task: ReadTask) -> Result<(), JournalError>;

    /// The newest settlement of a claim.
    async fn claim(&self, key: &str) -> Result<Option<SettlementRow>, JournalError> {
        let key = key.to_owned();
        read(self, move |rows| queries::claim(rows, &key)).await
    }

    /// The newest settlement that a request with this hash opened.
    async fn request(&self, hash: &str) -> Result<Option<SettlementRow>, JournalError> {
        let hash = hash.to_owned();
        read(self, move |rows| queries::request(rows, &hash)).await
    }

    /// A settlement by its id.
    async fn settlement(&self, id: u64) -> Result<Option<SettlementRow>, JournalError> {
        read(self, move |rows| queries::settlement(rows, id)).await
    }

    /// The settlements that a caller names, the oldest first.
    async fn find(&self, reference: &Reference) -> Result<Vec<SettlementRow>, JournalError> {
        let reference = reference.clone();
        read(self, move |rows| lookups::find(rows, &reference)).await
    }

    /// The settlements of an id, a claim or a transaction, each once, the oldest first.
    async fn named(&self, name: &str) -> Result<Vec<SettlementRow>, JournalError> {
        let name = name.to_owned();
        read(self, move |rows| lookups::named(rows, &name)).await
    }

    /// Settlements that pass the filter, the newest first, at most `limit`. `cursor`: that of the page before.
    async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page, JournalError> {
        let (filter, cursor) = (filter.clone(), cursor.map(str::to_owned));
        read(self, move |rows| {
            lookups::list(rows, &filter, cursor.as_deref(), limit)
        })
        .await
    }

    /// Everything that was recorded of a settlement, the oldest first.
    async fn history(&self, settlement: u64) -> Result<Vec<HistoryRow>, JournalError> {
        read(self, move |rows| history::of(rows, settlement)).await
    }

    /// What operators did, the newest first, at most about `limit`.
    async fn acts(&self, limit: usize) -> Result<Vec<HistoryRow>, JournalError> {
        read(self, move |rows| history::acts(rows, limit)).await
    }

    /// Settlements that were opened at or after a moment and before another one, the oldest first, in pages that read about
    /// `limit` rows. `cursor`: that of the page before.
    async fn oldest_first(
        &self,
        from_ms: u64,
        to_ms: u64,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, JournalError> {
        let cursor = cursor.map(str::to_owned);
        read(self, move |rows| {
            lookups::oldest_first(rows, from_ms, to_ms, cursor.as_deref(), limit)
        })
        .await
    }

    /// Settlements that are not finished, with their plans, in the order of their ids after this one, at most `limit`.
    async fn unfinished_after(&self, after: u64, limit: usize) -> Result<Vec<WithPlan>, JournalError> {
        read(self, move |rows| queries::unfinished(rows, after, limit)).await
    }

    /// Settlements of a unit that are not finished and that its owner continues, after this id. At most `limit` are read:
    /// fewer may be found.
    async fn unfinished_of(
        &self,
        unit: &str,
        after: u64,
        limit: usize,
    ) -> Result<units::OfUnit, JournalError> {
        let unit = unit.to_owned();
        read(self, move |rows| units::unfinished_of(rows, &unit, after, limit)).await
    }

    /// Those of these units whose owner has anything to continue or to begin. Where the order of a unit is not complete, all
    /// unfinished settlements are read: once for all such units, and in parts, with which other reads take turns.
    async fn with_open(&self, units: &[String]) -> Result<Vec<String>, JournalError> {
        let asked = units.to_vec();
        let known = read(self, move |rows| {
            let known = asked.iter().map(|unit| units::has_open(rows, unit));
            known.collect::<Result<Vec<Option<bool>>, JournalError>>()
        });
        let (mut open, mut unordered) = (BTreeSet::new(), BTreeSet::new());
        for (unit, has_open) in units.iter().zip(known.await?) {
            match has_open {
                Some(true) => open.insert(unit.clone()),
                Some(false) => false,
                None => unordered.insert(unit.clone()),
            };
        }
        let mut after = Some(0);
        while let Some(id) = after.filter(|_| !unordered.is_empty()) {
            let wanted = unordered.clone();
            let part = read(self, move |rows| {
                units::continued_among(rows, &wanted, id, units::PAGE)
            });
            let (found, more_after) = part.await?;
            unordered.retain(|unit| !found.contains(unit));
            open.extend(found);
            after = more_after;
        }
        let open = units.iter().filter(|unit| open.contains(*unit));
        Ok(open.cloned().collect())
    }

    /// Settlements that wait for a stage since before this moment, each with the time by which it waits, at most `limit`.
    async fn due_for(
        &self,
        stage: Stage,
        before_ms: u64,
        limit: usize,
    ) -> Result<Vec<(u64, u64)>, JournalError> {
        read(self, move |rows| queries::due_for(rows, stage, before_ms, limit)).await
    }

    /// The event that removes rows of plugins' stores and holds that ended before now, at most `limit` of each; `None`:
    /// there are none.
    async fn expired(&self, now_ms: u64, limit: usize) -> Result<Option<Event>, JournalError> {
        let found = read(self, move |rows| {
            let store = queries::expired_store(rows, now_ms, limit)?;
            Ok((store, queries::ended_holds(rows, now_ms / 1_000, limit)?))
        });
        let (store, holds) = found.await?;
        let is_any = !store.is_empty() || !holds.is_empty();
        Ok(is_any.then_some(Event::Expired { store, holds, now_ms }))
    }

    /// Removes events that were recorded before this moment, about `limit`: those that were recorded together go together.
    /// Returns how many; 0: none is left to remove. What is left is checked from the last one that was removed.
    async fn drop_events(&self, _before_ms: u64, _limit: u32) -> Result<u32, CommitError> {
        Ok(0)
    }

    /// Keeps everything of a plugin under another id, in one commit. No process may use the journal meanwhile. A journal around
    /// another one need not have it.
    async fn adopt(&self, _adoption: &Adoption) -> Result<Adopted, AdoptError> {
        Err(AdoptError::Unsupported)
    }

    /// Every plugin id under which something is kept, in order.
    async fn plugin_ids(&self) -> Result<Vec<String>, JournalError> {
        read(self, |rows| adopt::known_ids(rows)).await
    }

    /// Settlements with these ids, as far as there are any, each with its plan.
    async fn with_plans(&self, ids: &[u64]) -> Result<Vec<WithPlan>, JournalError> {
        let ids = ids.to_vec();
        read(self, move |rows| queries::with_plans(rows, &ids)).await
    }

    /// Settlements with these ids, as far as there are any.
    async fn settlements(&self, ids: &[u64]) -> Result<Vec<SettlementRow>, JournalError> {
        let ids = ids.to_vec();
        read(self, move |rows| queries::settlements(rows, &ids)).await
    }

    /// Which settlement has freed each of these conflict keys last; see [`KeyRow::Freed`].
    async fn freed_keys(&self, keys: &[String]) -> Result<BTreeMap<String, u64>, JournalError> {
        let keys = keys.to_vec();
        read(self, move |rows| queries::freed_keys(rows, &keys)).await
    }

    /// One past the highest journaled sequence of a lane.
    async fn lane_next(&self, network: &str, signer: &str) -> Result<Option<u64>, JournalError> {
        let (network, signer) = (network.to_owned(), signer.to_owned());
        read(self, move |rows| queries::lane_next(rows, &network, &signer)).await
    }

    /// One past the highest closed slot of a lane: a chain with this history has used at least this many nonces.
    async fn closed_below(&self, network: &str, signer: &str) -> Result<Option<u64>, JournalError> {
        let (network, signer) = (network.to_owned(), signer.to_owned());
        read(self, move |rows| queries::closed_below(rows, &network, &signer)).await
    }

    /// The signed bytes of an attempt; `None`: no such attempt is journaled, or its bytes were dropped.
    async fn bytes(&self, attempt: u64) -> Result<Option<HexBytes>, JournalError> {
        read(self, move |rows| queries::bytes(rows, attempt)).await
    }

    /// Every attempt that ever carried a step, oldest first.
    async fn attempts_of(&self, settlement: u64, step: StepIndex) -> Result<Vec<AttemptRow>, JournalError> {
        read(self, move |rows| queries::attempts_of(rows, settlement, step)).await
    }

    /// A live row of a plugin's store.
    async fn store_get(
        &self,
        plugin: &str,
        key: &str,
        now_ms: u64,
    ) -> Result<Option<StoreRow>, JournalError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        read(self, move |rows| queries::store_get(rows, &plugin, &key, now_ms)).await
    }

    /// Live rows of a plugin's store whose keys begin with `prefix` and are greater than `after`, in the order of their
    /// keys, at most `limit`.
    async fn store_scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now_ms: u64,
    ) -> Result<Vec<StoreRow>, JournalError> {
        let (plugin, prefix, after) = (plugin.to_owned(), prefix.to_owned(), after.map(str::to_owned));
        read(self, move |rows| {
            queries::store_scan(rows, &plugin, &prefix, after.as_deref(), limit, now_ms)
        })
        .await
    }

    /// The worst-case cost of a network's attempts since a moment, by signer and tenants.
    async fn spent_since(&self, network: &str, since_ms: u64) -> Result<Vec<SpentRow>, JournalError> {
        let network = network.to_owned();
        read(self, move |rows| queries::spent_since(rows, &network, since_ms)).await
    }

    /// The highest block of a network in which a step of a settlement is final.
    async fn final_height(&self, network: &str) -> Result<Option<u64>, JournalError> {
        let network = network.to_owned();
        read(self, move |rows| queries::final_height(rows, &network)).await
    }

    /// Jobs of a network that are due, the earliest first, after the key `after` in their order.
    async fn due_jobs(
        &self,
        network: &str,
        now_ms: u64,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<JobRow>, JournalError> {
        let (network, after) = (network.to_owned(), after.map(str::to_owned));
        read(self, move |rows| {
            jobs::due(rows, &network, now_ms, after.as_deref(), limit)
        })
        .await
    }

    /// Settlements whose release is withheld, the oldest first.
    async fn withheld(&self) -> Result<Vec<(SettlementRow, WithheldRow)>, JournalError> {
        read(self, withheld::all).await
    }

    /// Settlements that hold a signer beyond this second since the epoch, with their plans.
    async fn held_settlements(&self, now_s: u64) -> Result<Vec<WithPlan>, JournalError> {
        read(self, move |rows| queries::held_settlements(rows, now_s)).await
    }

    /// Every signer of a network that recorded payments need, each with the last second in which they do.
    async fn held(&self, network: &str) -> Result<Vec<HeldRow>, JournalError> {
        let network = network.to_owned();
        read(self, move |rows| queries::held(rows, &network)).await
    }
}

/// The result of a query over a consistent view.
async fn read<T: Send + 'static>(
    journal: &(impl Journal + ?Sized),
    query: impl FnOnce(&mut dyn Rows) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let (reply, answer) = oneshot::channel();
    let task: ReadTask = Box::new(move |rows| {
        // A caller that has left needs no answer.
        drop(reply.send(query(rows)));
    });
    journal.view(task).await?;
    answer
        .await
        .map_err(|_| JournalError("the read ended without an answer".into()))?
}
