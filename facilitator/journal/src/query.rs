//! Questions to the journal.

use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::host::StoreRow;
use sdk_plugin::{Amount, HexBytes};
use serde::de::DeserializeOwned;

use super::row::{
    AttemptRow, HeldRow, JobRow, SettlementRow, SlotRow, SpentRow, StepState, StoreValue, WithheldRow,
};
use super::{JournalError, Rows, Table, jobs, withheld};

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The newest settlement of a claim.
    Claim(String),
    /// The newest settlement that a request with this hash opened.
    Request(String),
    Settlement(u64),
    /// Settlements that are not finished, with their plans.
    Unfinished,
    OpenSlots,
    /// The sequence behind the highest journaled one of a lane: network, signer.
    LaneNext {
        network: String,
        signer: String,
    },
    Bytes {
        attempt: u64,
    },
    /// Every attempt that ever carried a step, oldest first.
    AttemptsOf {
        settlement: u64,
        step: u32,
    },
    StoreGet {
        plugin: String,
        key: String,
        now_ms: u64,
    },
    StoreScan {
        plugin: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
        now_ms: u64,
    },
    /// The most that a network's attempts since a moment can cost, each place of a lane at its dearest, by signer and
    /// tenants.
    SpentSince {
        network: String,
        since_ms: u64,
    },
    /// Behind the highest closed slot of a lane: what a chain that has the journal's history has used. Looked for among
    /// the lane's newest places.
    ClosedBelow {
        network: String,
        signer: String,
    },
    /// The highest block of a network in which a step of a settlement is final.
    FinalHeight {
        network: String,
    },
    /// Jobs of a network that are due, the earliest first, behind the place `after` in their order.
    DueJobs {
        network: String,
        now_ms: u64,
        after: Option<String>,
        limit: u32,
    },
    /// Settlements whose release is withheld, the oldest first.
    Withheld,
    /// Settlements that hold a signer beyond this second since the epoch, with their plans where these are still kept.
    HeldSettlements {
        now_s: u64,
    },
    /// Every signer of a network that is promised to stay usable, each with the last such moment.
    Held {
        network: String,
    },
}

/// Answers, in the shape of the query.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Settlement(Option<Box<SettlementRow>>),
    /// A plan may be missing when it was dropped.
    Settlements(Vec<(SettlementRow, Option<String>)>),
    Slots(Vec<(SlotRow, Vec<AttemptRow>)>),
    Attempts(Vec<AttemptRow>),
    Number(Option<u64>),
    Spent(Vec<SpentRow>),
    Held(Vec<HeldRow>),
    Withheld(Vec<(SettlementRow, WithheldRow)>),
    Bytes(Option<HexBytes>),
    Rows(Vec<StoreRow>),
    Jobs(Vec<JobRow>),
}

/// Keys sort as their numbers do.
#[must_use]
pub fn id_key(id: u64) -> String {
    format!("{id:020}")
}

/// Key of a lane.
#[must_use]
pub fn lane_key(network: &str, signer: &str) -> String {
    format!("{network}|{signer}")
}

/// Key of a slot.
#[must_use]
pub fn slot_key(network: &str, signer: &str, sequence: u64) -> String {
    format!("{network}|{signer}|{sequence:020}")
}

/// What keys of a step's attempts begin with.
#[must_use]
pub fn step_prefix(settlement: u64, step: u32) -> String {
    format!("{}|{step:010}|", id_key(settlement))
}

pub fn unexpected(answer: &Answer) -> JournalError {
    JournalError(format!("an answer of another shape: {answer:?}"))
}

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
/// More places than a lane ever has open at once, and few enough to be looked at one by one.
const CLOSED_LOOKED_AT: u64 = 2_048;

/// Answers a query from a consistent view.
pub fn answer(rows: &mut dyn Rows, query: &Query) -> Result<Answer, JournalError> {
    match query {
        Query::Claim(key) | Query::Request(key) => {
            let table = if matches!(query, Query::Claim(_)) {
                Table::Claims
            } else {
                Table::Requests
            };
            let id: Option<u64> = get(rows, table, key)?;
            let row = match id {
                Some(id) => get::<SettlementRow>(rows, Table::Settlements, &id_key(id))?,
                None => None,
            };
            Ok(Answer::Settlement(row.map(Box::new)))
        }
        Query::Settlement(id) => Ok(Answer::Settlement(
            get::<SettlementRow>(rows, Table::Settlements, &id_key(*id))?.map(Box::new),
        )),
        Query::Unfinished => {
            let mut found = Vec::new();
            for (key, _) in rows.scan(Table::Unfinished, "", None, ALL)? {
                let row: SettlementRow = get(rows, Table::Settlements, &key)?
                    .ok_or_else(|| JournalError(format!("unfinished settlement {key} has no row")))?;
                let plan = rows.get(Table::Plans, &key)?;
                found.push((row, plan));
            }
            Ok(Answer::Settlements(found))
        }
        Query::OpenSlots => {
            let mut found = Vec::new();
            for (key, text) in rows.scan(Table::OpenSlots, "", None, ALL)? {
                let slot: SlotRow = decode(Table::OpenSlots, &key, &text)?;
                let mut attempts = Vec::new();
                for id in &slot.attempts {
                    let key = id_key(*id);
                    let row: AttemptRow = get(rows, Table::Attempts, &key)?
                        .ok_or_else(|| JournalError(format!("attempt {key} has no row")))?;
                    attempts.push(row);
                }
                found.push((slot, attempts));
            }
            Ok(Answer::Slots(found))
        }
        Query::LaneNext { network, signer } => Ok(Answer::Number(get(
            rows,
            Table::Lanes,
            &lane_key(network, signer),
        )?)),
        Query::Bytes { attempt } => Ok(Answer::Bytes(get(rows, Table::Payloads, &id_key(*attempt))?)),
        Query::AttemptsOf { settlement, step } => {
            let prefix = step_prefix(*settlement, *step);
            let mut found = Vec::new();
            for (key, _) in rows.scan(Table::AttemptSteps, &prefix, None, ALL)? {
                let id = key.strip_prefix(&prefix).unwrap_or_default();
                let row: AttemptRow = get(rows, Table::Attempts, id)?
                    .ok_or_else(|| JournalError(format!("attempt {id} has no row")))?;
                found.push(row);
            }
            Ok(Answer::Attempts(found))
        }
        Query::StoreGet { plugin, key, now_ms } => {
            let value: Option<StoreValue> = get(rows, Table::Store, &store_key(plugin, key))?;
            let live = value.filter(|v| v.expires_at_ms.is_none_or(|at| at > *now_ms));
            Ok(Answer::Rows(
                live.map(|v| StoreRow {
                    key: key.clone(),
                    value: v.value,
                })
                .into_iter()
                .collect(),
            ))
        }
        Query::StoreScan {
            plugin,
            prefix,
            after,
            limit,
            now_ms,
        } => {
            let base = store_key(plugin, "");
            let limit = usize::try_from((*limit).min(1_000)).unwrap_or(1_000);
            let mut place = after.as_ref().map(|key| store_key(plugin, key));
            let mut found = Vec::new();
            // Expired rows lie there until somebody writes over them: they must not use up the caller's limit.
            while found.len() < limit {
                let wanted = limit - found.len();
                let scanned =
                    rows.scan(Table::Store, &store_key(plugin, prefix), place.as_deref(), wanted)?;
                let is_last = scanned.len() < wanted;
                place = scanned.last().map(|(key, _)| key.clone());
                for (key, text) in scanned {
                    let value: StoreValue = decode(Table::Store, &key, &text)?;
                    if value.expires_at_ms.is_none_or(|at| at > *now_ms) {
                        let key = key.strip_prefix(&base).unwrap_or(&key).to_owned();
                        found.push(StoreRow {
                            key,
                            value: value.value,
                        });
                    }
                }
                if is_last {
                    break;
                }
            }
            Ok(Answer::Rows(found))
        }
        Query::SpentSince { network, since_ms } => {
            let mut dearest: BTreeMap<(String, u64), (Amount, BTreeSet<u64>)> = BTreeMap::new();
            for (key, text) in rows.scan(Table::Attempts, "", None, ALL)? {
                let row: AttemptRow = decode(Table::Attempts, &key, &text)?;
                if row.lane.network == *network && row.prepared_at_ms >= *since_ms {
                    let (most, covers) = dearest.entry((row.lane.signer, row.sequence)).or_default();
                    *most = row.max_cost.max(*most);
                    covers.extend(row.covers.iter().map(|(settlement, _)| *settlement));
                }
            }
            let mut spent: BTreeMap<(String, BTreeSet<String>), Amount> = BTreeMap::new();
            for ((signer, _), (cost, covers)) in dearest {
                let mut tenants = BTreeSet::new();
                for id in covers {
                    let row: Option<SettlementRow> = get(rows, Table::Settlements, &id_key(id))?;
                    tenants.extend(row.and_then(|row| row.tenant));
                }
                let sum = spent.entry((signer, tenants)).or_default();
                *sum = sum.checked_add(cost).unwrap_or(Amount::MAX);
            }
            let row = |((signer, tenants), amount)| SpentRow {
                signer,
                tenants,
                amount,
            };
            Ok(Answer::Spent(spent.into_iter().map(row).collect()))
        }
        Query::ClosedBelow { network, signer } => {
            let next: Option<u64> = get(rows, Table::Lanes, &lane_key(network, signer))?;
            let next = next.unwrap_or(0);
            for sequence in (next.saturating_sub(CLOSED_LOOKED_AT)..next).rev() {
                let key = slot_key(network, signer, sequence);
                if rows.get(Table::ClosedSlots, &key)?.is_some() {
                    return Ok(Answer::Number(Some(sequence.saturating_add(1))));
                }
            }
            Ok(Answer::Number(None))
        }
        Query::FinalHeight { network } => {
            let mut highest = None;
            for (key, text) in rows.scan(Table::Settlements, "", None, ALL)? {
                let row: SettlementRow = decode(Table::Settlements, &key, &text)?;
                if row.network != *network {
                    continue;
                }
                for step in row.steps.iter().filter(|step| step.is_final) {
                    if let StepState::Done { height, .. } = step.state {
                        highest = highest.max(Some(height));
                    }
                }
            }
            Ok(Answer::Number(highest))
        }
        Query::Withheld => Ok(Answer::Withheld(withheld::all(rows)?)),
        Query::DueJobs {
            network,
            now_ms,
            after,
            limit,
        } => Ok(Answer::Jobs(jobs::due(
            rows,
            network,
            *now_ms,
            after.as_deref(),
            *limit,
        )?)),
        Query::HeldSettlements { now_s } => {
            let mut ids = BTreeSet::new();
            for (key, text) in rows.scan(Table::Holds, "", None, ALL)? {
                let until_s: u64 = decode(Table::Holds, &key, &text)?;
                // Network, signer and settlement; an id of a settlement holds no bar.
                let Some((_, settlement)) = key.rsplit_once('|') else {
                    return Err(JournalError(format!("hold {key} names no settlement")));
                };
                if until_s > *now_s {
                    ids.insert(settlement.to_owned());
                }
            }
            let mut found = Vec::new();
            for id in ids {
                // A hold outlives nothing: its settlement's row is kept at least as long.
                if let Some(row) = get::<SettlementRow>(rows, Table::Settlements, &id)? {
                    let plan = rows.get(Table::Plans, &id)?;
                    found.push((row, plan));
                }
            }
            Ok(Answer::Settlements(found))
        }
        Query::Held { network } => {
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
            Ok(Answer::Held(latest.into_iter().map(row).collect()))
        }
    }
}

/// Key of a plugin's row. Plugin ids hold no `|`.
#[must_use]
pub fn store_key(plugin: &str, key: &str) -> String {
    format!("{plugin}|{key}")
}
