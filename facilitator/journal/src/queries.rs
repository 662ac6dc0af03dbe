//! What can be read from the journal: one function for each query, over the rows of one consistent view.

use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::host::StoreRow;
use sdk_plugin::{Amount, HexBytes, StepIndex};
use serde::de::DeserializeOwned;

use super::keys::{
    expiry_key, id_key, lane_key, slot_key, spending_prefix, stage_prefix, step_prefix, store_key,
};
use super::row::{
    AttemptRow, HeldRow, KeyRow, SettlementRow, SlotRow, SpentRow, StoreValue, is_client_signed,
};
use super::stage::Stage;
use super::{JournalError, RowKey, Rows, Table};

/// A settlement with its plan. The plan is missing after it was dropped.
pub type WithPlan = (SettlementRow, Option<String>);

pub(crate) fn decode<T: DeserializeOwned>(table: Table, key: &str, text: &str) -> Result<T, JournalError> {
    serde_json::from_str(text)
        .map_err(|e| JournalError(format!("{} row {key} can't be read: {e}", table.name())))
}

pub(crate) fn get<T: DeserializeOwned>(
    rows: &mut dyn Rows,
    table: Table,
    key: &str,
) -> Result<Option<T>, JournalError> {
    rows.get(table, key)?
        .map(|text| decode(table, key, &text))
        .transpose()
}

const ALL: usize = usize::MAX;
/// More slots than a lane ever has open at once, and few enough to be read one by one.
const CLOSED_SEARCHED: u64 = 2_048;

/// The newest settlement of a claim.
pub fn claim(rows: &mut dyn Rows, key: &str) -> Result<Option<SettlementRow>, JournalError> {
    newest(rows, Table::Claims, key)
}

/// The newest settlement that a request with this hash opened.
pub fn request(rows: &mut dyn Rows, hash: &str) -> Result<Option<SettlementRow>, JournalError> {
    newest(rows, Table::Requests, hash)
}

fn newest(rows: &mut dyn Rows, index: Table, key: &str) -> Result<Option<SettlementRow>, JournalError> {
    match get(rows, index, key)? {
        Some(id) => settlement(rows, id),
        None => Ok(None),
    }
}

/// A settlement by its id.
pub fn settlement(rows: &mut dyn Rows, id: u64) -> Result<Option<SettlementRow>, JournalError> {
    get(rows, Table::Settlements, &id_key(id))
}

/// Settlements that are not finished, with their plans, in the order of their ids after this one, at most `limit`.
pub fn unfinished(rows: &mut dyn Rows, after: u64, limit: usize) -> Result<Vec<WithPlan>, JournalError> {
    let open = rows.scan(Table::Unfinished, "", Some(&id_key(after)), limit)?;
    let keys: Vec<String> = open.into_iter().map(|(key, _)| key).collect();
    let found = with_plans_of(rows, &keys)?;
    if let Some((key, _)) = keys.iter().zip(&found).find(|(_, row)| row.is_none()) {
        return Err(JournalError(format!("unfinished settlement {key} has no row")));
    }
    Ok(found.into_iter().flatten().collect())
}

/// Settlements with these ids, as far as there are any.
pub fn settlements(rows: &mut dyn Rows, ids: &[u64]) -> Result<Vec<SettlementRow>, JournalError> {
    let keys: Vec<RowKey> = ids.iter().map(|id| (Table::Settlements, id_key(*id))).collect();
    let texts = rows.get_all(&keys)?;
    let found = keys.iter().zip(texts).filter_map(|((table, key), text)| {
        let text = text?;
        Some(decode(*table, key, &text))
    });
    found.collect()
}

/// The same, each with its plan.
pub fn with_plans(rows: &mut dyn Rows, ids: &[u64]) -> Result<Vec<WithPlan>, JournalError> {
    let keys: Vec<String> = ids.iter().map(|id| id_key(*id)).collect();
    let found = with_plans_of(rows, &keys)?;
    Ok(found.into_iter().flatten().collect())
}

/// The settlements with these keys, in this order, each with its plan; `None`: there is no such settlement.
fn with_plans_of(rows: &mut dyn Rows, keys: &[String]) -> Result<Vec<Option<WithPlan>>, JournalError> {
    let of = |table: Table| keys.iter().map(move |key| (table, key.clone()));
    let wanted: Vec<RowKey> = of(Table::Settlements).chain(of(Table::Plans)).collect();
    let mut texts = rows.get_all(&wanted)?;
    let plans = texts.split_off(keys.len().min(texts.len()));
    let found = keys.iter().zip(texts).zip(plans).map(|((key, text), plan)| {
        let Some(text) = text else { return Ok(None) };
        Ok(Some((decode(Table::Settlements, key, &text)?, plan)))
    });
    found.collect()
}

/// Which settlement has freed each of these conflict keys last, where several nodes share the journal. A key that nobody
/// has freed, or that is held, is left out.
pub fn freed_keys(rows: &mut dyn Rows, keys: &[String]) -> Result<BTreeMap<String, u64>, JournalError> {
    let mut found = BTreeMap::new();
    for key in keys {
        if let Some(KeyRow::Freed { freed_by }) = get(rows, Table::ConflictKeys, key)? {
            found.insert(key.clone(), freed_by);
        }
    }
    Ok(found)
}

/// Slots that are not closed and whose keys begin with this, each with its attempts, oldest first.
pub fn open_slots(
    rows: &mut dyn Rows,
    prefix: &str,
) -> Result<Vec<(SlotRow, Vec<AttemptRow>)>, JournalError> {
    let mut found = Vec::new();
    for (key, text) in rows.scan(Table::OpenSlots, prefix, None, ALL)? {
        let slot: SlotRow = decode(Table::OpenSlots, &key, &text)?;
        let mut attempts = Vec::new();
        for id in &slot.attempts {
            attempts.push(attempt(rows, &id_key(*id))?);
        }
        found.push((slot, attempts));
    }
    Ok(found)
}

fn attempt(rows: &mut dyn Rows, key: &str) -> Result<AttemptRow, JournalError> {
    get(rows, Table::Attempts, key)?.ok_or_else(|| JournalError(format!("attempt {key} has no row")))
}

/// One past the highest journaled sequence of a lane; `None` where the journal has none.
pub fn lane_next(rows: &mut dyn Rows, network: &str, signer: &str) -> Result<Option<u64>, JournalError> {
    get(rows, Table::Lanes, &lane_key(network, signer))
}

/// One past the highest closed slot of a lane: a chain with this history has used at least this many nonces. Only the
/// lane's newest slots are searched.
pub fn closed_below(rows: &mut dyn Rows, network: &str, signer: &str) -> Result<Option<u64>, JournalError> {
    let next = lane_next(rows, network, signer)?.unwrap_or(0);
    for sequence in (next.saturating_sub(CLOSED_SEARCHED)..next).rev() {
        let key = slot_key(network, signer, sequence);
        if rows.get(Table::ClosedSlots, &key)?.is_some() {
            return Ok(Some(sequence.saturating_add(1)));
        }
    }
    Ok(None)
}

/// Whether [`closed_below`] may read this slot.
pub(crate) fn closed_is_searched(
    rows: &mut dyn Rows,
    network: &str,
    signer: &str,
    sequence: u64,
) -> Result<bool, JournalError> {
    if is_client_signed(sequence) {
        return Ok(false);
    }
    let next = lane_next(rows, network, signer)?.unwrap_or(0);
    Ok(sequence >= next.saturating_sub(CLOSED_SEARCHED))
}

/// Settlements that wait for a stage since before this moment, each with the time by which it waits, at most `limit`.
pub fn due_for(
    rows: &mut dyn Rows,
    stage: Stage,
    before_ms: u64,
    limit: usize,
) -> Result<Vec<(u64, u64)>, JournalError> {
    let prefix = stage_prefix(stage);
    let mut due = Vec::new();
    for (key, _) in rows.scan(Table::Finished, prefix, None, limit)? {
        let numbers = key.strip_prefix(prefix).and_then(|rest| rest.split_once('|'));
        let (at_ms, id) = numbers
            .and_then(|(at_ms, id)| Some((at_ms.parse().ok()?, id.parse().ok()?)))
            .ok_or_else(|| JournalError(format!("{key} is no key of a finished settlement")))?;
        if at_ms >= before_ms {
            break;
        }
        due.push((at_ms, id));
    }
    Ok(due)
}

/// Keys of rows of plugins' stores that ended before this moment, at most `limit`.
pub fn expired_store(rows: &mut dyn Rows, now_ms: u64, limit: usize) -> Result<Vec<String>, JournalError> {
    let end = expiry_key(now_ms, "");
    let keys = rows.scan(Table::StoreExpiry, "", None, limit)?;
    Ok(keys
        .into_iter()
        .map(|(key, _)| key)
        .take_while(|key| *key < end)
        .collect())
}

/// Keys of holds of signers that ended before this moment, at most `limit`.
pub fn ended_holds(rows: &mut dyn Rows, now_s: u64, limit: usize) -> Result<Vec<String>, JournalError> {
    let mut ended = Vec::new();
    for (key, text) in rows.scan(Table::Holds, "", None, ALL)? {
        if ended.len() >= limit {
            break;
        }
        if decode::<u64>(Table::Holds, &key, &text)? < now_s {
            ended.push(key);
        }
    }
    Ok(ended)
}

/// The signed bytes of an attempt; `None`: no such attempt is journaled, or its bytes were dropped.
pub fn bytes(rows: &mut dyn Rows, attempt: u64) -> Result<Option<HexBytes>, JournalError> {
    get(rows, Table::Payloads, &id_key(attempt))
}

/// Every attempt that ever carried a step, oldest first.
pub fn attempts_of(
    rows: &mut dyn Rows,
    settlement: u64,
    step: StepIndex,
) -> Result<Vec<AttemptRow>, JournalError> {
    let prefix = step_prefix(settlement, step);
    let mut found = Vec::new();
    for (key, _) in rows.scan(Table::AttemptSteps, &prefix, None, ALL)? {
        let id = key.strip_prefix(&prefix).unwrap_or_default();
        found.push(attempt(rows, id)?);
    }
    Ok(found)
}

/// Every attempt in a slot, oldest first; empty where the slot was removed in time.
pub fn attempts_in_slot(
    rows: &mut dyn Rows,
    network: &str,
    signer: &str,
    sequence: u64,
) -> Result<Vec<AttemptRow>, JournalError> {
    let key = slot_key(network, signer, sequence);
    let slot: Option<SlotRow> = match get(rows, Table::OpenSlots, &key)? {
        Some(slot) => Some(slot),
        None => get(rows, Table::ClosedSlots, &key)?,
    };
    let mut found = Vec::new();
    for id in slot.iter().flat_map(|slot| &slot.attempts) {
        // One that carried settlements which were removed in time is gone: nothing can be said of the slot.
        match get(rows, Table::Attempts, &id_key(*id))? {
            Some(attempt) => found.push(attempt),
            None => return Ok(Vec::new()),
        }
    }
    Ok(found)
}

/// A live row of a plugin's store.
pub fn store_get(
    rows: &mut dyn Rows,
    plugin: &str,
    key: &str,
    now_ms: u64,
) -> Result<Option<StoreRow>, JournalError> {
    let value: Option<StoreValue> = get(rows, Table::Store, &store_key(plugin, key))?;
    let live = value.filter(|value| value.expires_at_ms.is_none_or(|at| at > now_ms));
    Ok(live.map(|live| StoreRow {
        key: key.to_owned(),
        value: live.value,
    }))
}

/// Live rows of a plugin's store whose keys begin with `prefix` and are greater than `after`, in the order of their
/// keys, at most `limit` and at most 1,000.
pub fn store_scan(
    rows: &mut dyn Rows,
    plugin: &str,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
    now_ms: u64,
) -> Result<Vec<StoreRow>, JournalError> {
    let base = store_key(plugin, "");
    let limit = usize::try_from(limit.min(1_000)).unwrap_or(1_000);
    let mut last = after.map(|key| store_key(plugin, key));
    let mut found = Vec::new();
    // Expired rows stay until they are overwritten: they must not use up the caller's limit.
    while found.len() < limit {
        let wanted = limit - found.len();
        let scanned = rows.scan(Table::Store, &store_key(plugin, prefix), last.as_deref(), wanted)?;
        let is_end = scanned.len() < wanted;
        last = scanned.last().map(|(key, _)| key.clone());
        for (key, text) in scanned {
            let value: StoreValue = decode(Table::Store, &key, &text)?;
            if value.expires_at_ms.is_none_or(|at| at > now_ms) {
                let key = key.strip_prefix(&base).unwrap_or(&key).to_owned();
                found.push(StoreRow {
                    key,
                    value: value.value,
                });
            }
        }
        if is_end {
            break;
        }
    }
    Ok(found)
}

/// The worst-case cost of a network's attempts since a moment, by signer and tenants. Each slot counts once, with its
/// most expensive attempt.
pub fn spent_since(rows: &mut dyn Rows, network: &str, since_ms: u64) -> Result<Vec<SpentRow>, JournalError> {
    let mut slots: BTreeMap<(String, u64), (Amount, BTreeSet<u64>)> = BTreeMap::new();
    let after = spending_prefix(network, since_ms);
    for (key, _) in rows.scan(Table::Spending, &format!("{network}|"), Some(&after), ALL)? {
        let row = attempt(rows, key.rsplit('|').next().unwrap_or_default())?;
        let (most, covers) = slots.entry((row.lane.signer, row.sequence)).or_default();
        *most = row.max_cost.max(*most);
        covers.extend(row.covers.iter().map(|(settlement, _)| *settlement));
    }
    let mut spent: BTreeMap<(String, BTreeMap<String, u64>, u64), Amount> = BTreeMap::new();
    for ((signer, _), (cost, covers)) in slots {
        let mut tenants: BTreeMap<String, u64> = BTreeMap::new();
        let mut steps: u64 = 0;
        for id in covers {
            steps = steps.saturating_add(1);
            if let Some(tenant) = settlement(rows, id)?.and_then(|row| row.tenant) {
                let of_tenant = tenants.entry(tenant).or_default();
                *of_tenant = of_tenant.saturating_add(1);
            }
        }
        let sum = spent.entry((signer, tenants, steps)).or_default();
        *sum = sum.checked_add(cost).unwrap_or(Amount::MAX);
    }
    let row = |((signer, tenants, steps), amount)| SpentRow {
        signer,
        tenants,
        steps,
        amount,
    };
    Ok(spent.into_iter().map(row).collect())
}

/// The highest block of a network in which a step of a settlement is final.
pub fn final_height(rows: &mut dyn Rows, network: &str) -> Result<Option<u64>, JournalError> {
    get(rows, Table::FinalHeights, network)
}

/// Settlements that hold a signer beyond this second since the epoch, with their plans.
pub fn held_settlements(rows: &mut dyn Rows, now_s: u64) -> Result<Vec<WithPlan>, JournalError> {
    let mut ids = BTreeSet::new();
    for (key, text) in rows.scan(Table::Holds, "", None, ALL)? {
        let until_s: u64 = decode(Table::Holds, &key, &text)?;
        // Network, signer and settlement; an id of a settlement holds no bar.
        let Some((_, settlement)) = key.rsplit_once('|') else {
            return Err(JournalError(format!("hold {key} names no settlement")));
        };
        if until_s > now_s {
            ids.insert(settlement.to_owned());
        }
    }
    let mut found = Vec::new();
    for id in ids {
        // A settlement's row is kept at least as long as its holds.
        if let Some(row) = get::<SettlementRow>(rows, Table::Settlements, &id)? {
            let plan = rows.get(Table::Plans, &id)?;
            found.push((row, plan));
        }
    }
    Ok(found)
}

/// Every signer of a network that recorded payments need, each with the last second in which they do.
pub fn held(rows: &mut dyn Rows, network: &str) -> Result<Vec<HeldRow>, JournalError> {
    let base = format!("{network}|");
    let mut latest: BTreeMap<String, u64> = BTreeMap::new();
    for (key, text) in rows.scan(Table::Holds, &base, None, ALL)? {
        let until_s: u64 = decode(Table::Holds, &key, &text)?;
        // What is left is signer and settlement; an id of a settlement holds no bar.
        let Some((signer, _)) = key.strip_prefix(&base).and_then(|rest| rest.rsplit_once('|')) else {
            return Err(JournalError(format!("hold {key} names no signer")));
        };
        let at = latest.entry(signer.to_owned()).or_default();
        *at = until_s.max(*at);
    }
    let row = |(signer, until_s)| HeldRow { signer, until_s };
    Ok(latest.into_iter().map(row).collect())
}
