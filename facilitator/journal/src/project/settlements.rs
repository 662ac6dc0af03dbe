//! Settlements that are opened, paid and reorganised.

use crate::event::NewSettlement;
use crate::keys::{id_key, lane_key, payload_key, step_prefix};
use crate::overlay::Overlay;
use crate::queries::get;
use crate::row::{AttemptKind, AttemptRow, KeyRow, Outcome, ReserveRow, SettlementRow, StepState};
use crate::stage::Stage;
use crate::{CommitError, Rows, Table, lookups, withheld};
use sdk_plugin::StepIndex;

use super::fence;
use super::reserves::{drop_reserves, mark_reserves, reserve_fits, reserve_prefix};
use super::{costs, retention};
use crate::change::{change, put, stale, step_mut};

pub(crate) fn opened(rows: &mut Overlay<'_>, new: &NewSettlement) -> Result<(), CommitError> {
    let row = &new.row;
    let previous = match get::<u64>(rows, Table::Claims, &row.claim)? {
        Some(id) => get::<SettlementRow>(rows, Table::Settlements, &id_key(id))?,
        None => None,
    };
    let expected = match previous {
        None => 0,
        Some(previous) => {
            let reopens = match &previous.outcome {
                Outcome::Failed { .. } => previous.finished,
                Outcome::Paid(paid) => paid.repeatable && previous.release.is_some() && previous.finished,
                Outcome::Open | Outcome::Reversed { .. } => false,
            };
            if !reopens {
                return Err(CommitError::ClaimTaken);
            }
            previous
                .generation
                .checked_add(1)
                .ok_or_else(|| stale("too many generations"))?
        }
    };
    if row.generation != expected {
        return Err(CommitError::ClaimTaken);
    }
    if let Some(other) = claimed_payload(rows, row)? {
        return Err(CommitError::PayloadClaimed(other));
    }
    for key in &row.conflict_keys {
        let is_free = match get(rows, Table::ConflictKeys, key)? {
            None => true,
            Some(KeyRow::Held(_)) => false,
            Some(KeyRow::Freed { freed_by }) => new
                .keys_seen
                .as_ref()
                .is_none_or(|seen| seen.get(key) == Some(&freed_by)),
        };
        if !is_free {
            return Err(CommitError::ConflictKeyTaken(key.clone()));
        }
        put(rows, Table::ConflictKeys, key, &KeyRow::Held(row.id))?;
    }
    for reserve in &new.reserves {
        reserve_fits(rows, &row.network, reserve)?;
        let key = format!("{}{}", reserve_prefix(&row.network, reserve), id_key(row.id));
        let spoken = ReserveRow {
            amount: reserve.amount,
            settled_at_height: None,
        };
        put(rows, Table::Reserves, &key, &spoken)?;
    }
    for hold in &new.holds {
        let key = format!("{}|{}", lane_key(&row.network, &hold.signer), id_key(row.id));
        put(rows, Table::Holds, &key, &hold.until_s)?;
    }
    let key = id_key(row.id);
    put(rows, Table::Claims, &row.claim, &row.id)?;
    if !row.request.is_empty() {
        put(rows, Table::Requests, &row.request, &row.id)?;
    }
    if let Some(key) = payload_key(row) {
        put(rows, Table::Requests, &key, &row.id)?;
    }
    let mut stored = row.clone();
    stored.updated_at_ms = row.opened_at_ms.max(rows.stamp().at_ms);
    put(rows, Table::Settlements, &key, &stored)?;
    fence::opened(rows, row);
    lookups::opened(rows, row)?;
    rows.put(Table::Plans, &key, &new.plan);
    put(
        rows,
        Table::Unfinished,
        &key,
        &new.reserves
            .iter()
            .map(|r| reserve_prefix(&row.network, r))
            .collect::<Vec<_>>(),
    )
}

/// The other claim under which the row's payload may still pay, or has paid.
fn claimed_payload(rows: &mut Overlay<'_>, row: &SettlementRow) -> Result<Option<String>, CommitError> {
    let Some(key) = payload_key(row) else {
        return Ok(None);
    };
    let Some(id) = get::<u64>(rows, Table::Requests, &key)? else {
        return Ok(None);
    };
    let other = get::<SettlementRow>(rows, Table::Settlements, &id_key(id))?;
    let other = other.filter(|other| {
        let has_failed = matches!(other.outcome, Outcome::Failed { .. }) && other.finished;
        other.claim != row.claim && !has_failed
    });
    Ok(other.map(|other| other.claim))
}

pub(crate) fn reorged(rows: &mut Overlay<'_>, settlement: u64, step: StepIndex) -> Result<(), CommitError> {
    let prefix = step_prefix(settlement, step);
    let mut newest: Option<AttemptRow> = None;
    let mut newest_carrier: Option<AttemptRow> = None;
    for (key, _) in rows.scan(Table::AttemptSteps, &prefix, None, usize::MAX)? {
        let id = key.strip_prefix(&prefix).unwrap_or_default();
        let attempt: AttemptRow =
            get(rows, Table::Attempts, id)?.ok_or_else(|| stale("the step's attempt has no row"))?;
        if attempt.kind == AttemptKind::Steps {
            newest_carrier = Some(attempt.clone());
        }
        newest = Some(attempt);
    }
    let attempt = newest.ok_or_else(|| stale("the step has no attempt"))?;
    let tx_id = newest_carrier.map_or_else(|| attempt.tx_id.clone(), |carrier| carrier.tx_id);
    change(rows, settlement, |rows, row| {
        costs::remove(row, &attempt.lane.signer, attempt.sequence);
        let pays = {
            let target = step_mut(row, step)?;
            if target.is_final {
                return Err(stale("a final step can't be reorganised away"));
            }
            target.state = StepState::InSlot {
                lane: attempt.lane.clone(),
                sequence: attempt.sequence,
            };
            target.ground = None;
            target.pays
        };
        if pays {
            if let Outcome::Paid(paid) = &row.outcome {
                for item in &paid.items {
                    rows.delete(Table::Evidence, &format!("{}|{item}", row.network));
                }
            }
            mark_reserves(rows, row.id, None)?;
            row.tx_id = Some(tx_id);
            row.outcome = Outcome::Open;
        }
        Ok(())
    })
}

/// Other settlements may take the settlement's conflict keys.
pub(crate) fn keys_freed(rows: &mut Overlay<'_>, settlement: u64) -> Result<(), CommitError> {
    change(rows, settlement, |rows, row| {
        for key in &row.conflict_keys {
            if get(rows, Table::ConflictKeys, key)? == Some(KeyRow::Held(row.id)) {
                if row.home.is_some() {
                    put(
                        rows,
                        Table::ConflictKeys,
                        key,
                        &KeyRow::Freed { freed_by: row.id },
                    )?;
                } else {
                    rows.delete(Table::ConflictKeys, key);
                }
            }
        }
        Ok(())
    })
}

/// Every step is final: nothing more happens to the settlement.
pub(crate) fn finished(rows: &mut Overlay<'_>, settlement: u64, at_ms: u64) -> Result<(), CommitError> {
    change(rows, settlement, |rows, row| {
        if row.outcome == Outcome::Open || !row.steps.iter().all(|step| step.is_final) {
            return Err(stale("a settlement with an undecided step can't be finished"));
        }
        row.finished = true;
        fence::ended(rows, row);
        withheld::finished(rows, row)?;
        drop_reserves(rows, row.id)
    })?;
    let key = id_key(settlement);
    rows.delete(Table::Unfinished, &key);
    retention::queue(rows, Stage::Payloads, at_ms, settlement)
}
