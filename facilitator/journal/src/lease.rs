//! Several nodes on one journal: which node owns which lane.
//!
//! A **unit** is what one node owns as a whole: a lane, named by its network and signer. Its [`Lease`] has an epoch, which is
//! greater with each owner, and a beat, which its owner changes while it lives. A node takes a unit over when it has seen
//! the same epoch and beat for long enough *by its own monotonic time*: no clocks are compared, so a clock that jumps moves
//! no lease. The first that changes the row wins.
//!
//! **Fencing.** Each commit reads the leases that its node holds, locked until the commit ends, and an event that changes a
//! slot, a step or an outcome of another node's unit is refused ([`CommitError::Fenced`]). A node that was stopped and
//! wakes later therefore records nothing, whatever it believes. Not fenced, because any node may do it: to open a
//! settlement for the owner of its unit, to take a release or to give it back, rows of plugins' stores, and jobs.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use parking_lot::Mutex;
use sdk_plugin::Amount;
use serde::{Deserialize, Serialize};

use crate::keys::lane_key;
use crate::queries::{decode, get};
use crate::reservations::{Promise, Promised};
use crate::row::SettlementRow;
use crate::{CommitError, JournalError, Rows, Storage, Table, Write};

/// Who owns a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The lane, or the name of a task that one node does for all.
    pub unit: String,
    /// The node that owns it; empty: nobody since its owner gave it up.
    pub node: String,
    /// Greater with each owner.
    pub epoch: u64,
    /// Its owner changes it while it lives.
    pub beat: u64,
    /// Its owner has compared the journal with the chain since it took the unit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_compared: bool,
    /// Every settlement that the unit's owners have continued is in the order by unit: see [`units`](crate::units). Not set
    /// by earlier versions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_indexed: bool,
    /// In the lease of a node itself: the networks, CAIP-2, on which it can send and observe now; `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<BTreeSet<String>>,
}

/// The leases of nodes themselves begin with this.
pub const NODE: &str = "node|";

/// The unit that stands for a node: its lease shows that the node lives.
#[must_use]
pub fn node_unit(node: &str) -> String {
    format!("{NODE}{node}")
}

/// What a journal offers when several nodes share it.
#[async_trait]
pub trait Shared: Send + Sync {
    /// The name of this node: no other process has it.
    fn node(&self) -> &str;

    /// Every lease.
    async fn leases(&self) -> Result<Vec<Lease>, JournalError>;

    /// Takes a unit whose lease is still as it was seen; `seen` is `None` where it had none. Returns the new lease; `None`:
    /// it has changed.
    async fn take(&self, unit: &str, seen: Option<&Lease>) -> Result<Option<Lease>, CommitError>;

    /// Changes the beat of every lease that this node holds. Returns those that it lost.
    async fn renew(&self) -> Result<Vec<String>, CommitError>;

    /// Records that this node has compared the journal with the chain for a unit that it holds.
    async fn record_compared(&self, unit: &str) -> Result<(), CommitError>;

    /// Records, in the lease of this node itself, which networks it can send and observe on.
    async fn record_serves(&self, networks: &BTreeSet<String>) -> Result<(), CommitError>;

    /// Gives a unit up, so that others take it at once.
    async fn give_up(&self, unit: &str) -> Result<(), CommitError>;

    /// Removes the lease of a node itself that is gone, if the lease still is as it was seen. Returns whether it is removed.
    /// A node that comes back then has lost it. Other leases stay: their epochs must not begin again.
    async fn remove_node(&self, seen: &Lease) -> Result<bool, CommitError>;

    /// Ids of settlements that other nodes have opened for these units, without those that are known, at most `limit` of
    /// each.
    async fn handed_over(
        &self,
        units: &[String],
        known: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<Vec<u64>, JournalError>;

    /// Records that every unfinished settlement of a unit that this node holds is in the order by unit. `ids`: those that
    /// were opened before. See [`units`](crate::units). In several transactions: after an error some may be in the order,
    /// and it can be repeated.
    async fn index(&self, unit: &str, ids: &[u64]) -> Result<(), CommitError>;

    /// Removes rows that count for nothing any more, at most `limit` of each kind: parts of budgets of days that ended long
    /// ago, and announcements of nodes that were killed. Returns how many.
    async fn remove_dead(&self, limit: usize) -> Result<usize, CommitError>;

    /// Takes an amount from what all nodes may use together; `false`: less is left than this. `key` names the sum, `limit`
    /// bounds it.
    async fn take_grant(&self, key: &str, amount: Amount, limit: Amount) -> Result<bool, CommitError>;

    /// Says that this node plans a settlement of a claim. Call it before the plan is made. Need not be durable: it ends with
    /// the node's life.
    async fn announce(&self, claim: &str) -> Result<(), CommitError>;

    /// Takes that back.
    async fn withdraw(&self, claim: &str) -> Result<(), CommitError>;

    /// Whether another node has announced the claim within [`INTENT_MS`](crate::temporary::INTENT_MS).
    async fn is_announced(&self, claim: &str) -> Result<bool, JournalError>;

    /// Promises a payment to a tenant, in one step with the check that nothing contradicts it. A reservation with the same
    /// claim and fingerprint is renewed. Need not be durable.
    async fn reserve(&self, promise: &Promise) -> Result<Promised, CommitError>;

    /// Ends the reservation of a claim: this tenant's, or that of any holder. Returns whether a tenant that is named held it.
    async fn end_reservation(&self, claim: &str, tenant: Option<&str>) -> Result<bool, CommitError>;

    /// What operators have set, by name: see [`settings`](crate::settings).
    async fn settings(&self) -> Result<BTreeMap<String, String>, JournalError>;

    /// Sets it if it still is as it was seen; `seen` is `None` where it was not set. Returns whether it is set.
    async fn put_setting(&self, name: &str, seen: Option<&str>, text: &str) -> Result<bool, CommitError>;

    /// Waits until another node may have changed something. A hint: it may come for nothing, late, or never.
    async fn hint(&self);
}

/// The leases that a node believes to hold.
#[derive(Debug)]
pub struct Holder {
    node: String,
    /// Unit → epoch.
    held: Mutex<BTreeMap<String, u64>>,
}

/// What a commit of a node may change.
#[derive(Debug, Clone)]
pub struct Fence {
    pub(crate) node: String,
    /// Unit → epoch.
    pub(crate) held: BTreeMap<String, u64>,
}

impl Holder {
    /// A node that holds nothing.
    #[must_use]
    pub fn new(node: String) -> Self {
        Self {
            node,
            held: Mutex::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What a commit that begins now may change.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence {
            node: self.node.clone(),
            held: self.held.lock().clone(),
        }
    }

    /// The node has taken a unit. Call it once that is durable.
    pub fn add(&self, lease: &Lease) {
        self.held.lock().insert(lease.unit.clone(), lease.epoch);
    }

    /// The node has lost a unit, or gives it up. Call it before that becomes durable.
    pub fn remove(&self, unit: &str) {
        self.held.lock().remove(unit);
    }
}

impl Fence {
    /// The units whose leases a commit reads.
    pub(crate) fn units(&self) -> impl Iterator<Item = &str> {
        self.held.keys().map(String::as_str)
    }
}

impl SettlementRow {
    /// The unit whose owner continues it; `None`: the journal has one node.
    #[must_use]
    pub fn unit(&self) -> Option<String> {
        let home = self.home.as_ref();
        home.map(|signer| lane_key(&self.network, signer))
    }
}

/// Takes a unit inside the caller's transaction; see [`Shared::take`].
///
/// # Errors
/// When the row can't be read or written.
pub fn take(
    rows: &mut dyn Storage,
    node: &str,
    unit: &str,
    seen: Option<&Lease>,
) -> Result<Option<Lease>, JournalError> {
    let now: Option<Lease> = get(as_rows(rows), Table::Leases, unit)?;
    if now.as_ref() != seen {
        return Ok(None);
    }
    let lease = Lease {
        unit: unit.to_owned(),
        node: node.to_owned(),
        epoch: now.as_ref().map_or(1, |lease| lease.epoch.saturating_add(1)),
        beat: 0,
        is_compared: false,
        // A unit without a lease had no owner, and so has no settlement that an owner continued.
        is_indexed: now.as_ref().is_none_or(|lease| lease.is_indexed),
        serves: None,
    };
    let text = written(&lease)?;
    let write = if now.is_some() {
        Write::Put(text)
    } else {
        Write::Insert(text)
    };
    rows.write(Table::Leases, unit, &write)?;
    Ok(Some(lease))
}

/// Changes the beats of the leases that the fence names, inside the caller's transaction. Returns the units of those that
/// are lost.
///
/// # Errors
/// When a row can't be read or written.
pub fn renew(rows: &mut dyn Storage, fence: &Fence) -> Result<Vec<String>, JournalError> {
    let keys: Vec<_> = fence
        .units()
        .map(|unit| (Table::Leases, unit.to_owned()))
        .collect();
    let found = rows.get_all(&keys)?;
    let (mut lost, mut writes) = (Vec::new(), Vec::new());
    for ((table, unit), text) in keys.into_iter().zip(found) {
        let lease: Option<Lease> = text.map(|text| decode(table, &unit, &text)).transpose()?;
        match lease.filter(|lease| {
            lease.node == fence.node && fence.held.get(&unit).is_some_and(|epoch| *epoch == lease.epoch)
        }) {
            Some(lease) => {
                let beat = lease.beat.wrapping_add(1);
                let text = written(&Lease { beat, ..lease })?;
                writes.push(((table, unit), Write::Put(text)));
            }
            None => lost.push(unit),
        }
    }
    rows.write_all(&writes)?;
    Ok(lost)
}

/// See [`Shared::record_compared`].
///
/// # Errors
/// When the row can't be read or written.
pub fn record_compared(rows: &mut dyn Storage, fence: &Fence, unit: &str) -> Result<(), JournalError> {
    change_own(rows, fence, unit, |lease| lease.is_compared = true)
}

/// See [`Shared::record_serves`].
///
/// # Errors
/// When the row can't be read or written.
pub fn record_serves(
    rows: &mut dyn Storage,
    fence: &Fence,
    networks: &BTreeSet<String>,
) -> Result<(), JournalError> {
    let own = node_unit(&fence.node);
    change_own(rows, fence, &own, |lease| lease.serves = Some(networks.clone()))
}

/// Changes the lease of a unit, if the fence still holds it.
pub(crate) fn change_own(
    rows: &mut dyn Storage,
    fence: &Fence,
    unit: &str,
    change: impl FnOnce(&mut Lease),
) -> Result<(), JournalError> {
    let Some(mut lease) = own(rows, fence, unit)? else {
        return Ok(());
    };
    change(&mut lease);
    let text = written(&lease)?;
    rows.write(Table::Leases, unit, &Write::Put(text))
}

/// The lease of a unit, if the fence still holds it.
pub(crate) fn own(rows: &mut dyn Storage, fence: &Fence, unit: &str) -> Result<Option<Lease>, JournalError> {
    let lease: Option<Lease> = get(as_rows(rows), Table::Leases, unit)?;
    Ok(lease.filter(|lease| {
        lease.node == fence.node && fence.held.get(unit).is_some_and(|epoch| *epoch == lease.epoch)
    }))
}

/// Gives a unit up, inside the caller's transaction, if the fence still holds it.
///
/// # Errors
/// When the row can't be read or written.
pub fn give_up(rows: &mut dyn Storage, fence: &Fence, unit: &str) -> Result<(), JournalError> {
    change_own(rows, fence, unit, |lease| {
        lease.node.clear();
        lease.is_compared = false;
        lease.serves = None;
        lease.beat = lease.beat.wrapping_add(1);
    })
}

/// See [`Shared::remove_node`].
///
/// # Errors
/// When the row can't be read or removed.
pub fn remove_node(rows: &mut dyn Storage, seen: &Lease) -> Result<bool, JournalError> {
    let now: Option<Lease> = get(as_rows(rows), Table::Leases, &seen.unit)?;
    let is_it = seen.unit.starts_with(NODE) && now.as_ref() == Some(seen);
    if is_it {
        rows.write(Table::Leases, &seen.unit, &Write::Delete)?;
    }
    Ok(is_it)
}

/// Every lease.
///
/// # Errors
/// When a row can't be read.
pub fn all(rows: &mut dyn Rows) -> Result<Vec<Lease>, JournalError> {
    let found = rows.scan(Table::Leases, "", None, usize::MAX)?;
    let read = found.iter().map(|(key, text)| decode(Table::Leases, key, text));
    read.collect()
}

fn written(lease: &Lease) -> Result<String, JournalError> {
    serde_json::to_string(lease)
        .map_err(|error| JournalError(format!("the lease of {} can't be written: {error}", lease.unit)))
}

pub(crate) fn as_rows<'a>(rows: &'a mut (dyn Storage + '_)) -> &'a mut (dyn Rows + 'a) {
    rows
}
