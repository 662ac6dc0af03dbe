//! What is removed in time, a few settlements in each commit.
//!
//! | stage | what goes | what stays |
//! |---|---|---|
//! | [`Stage::Payloads`] | plan and signed bytes, which are bearer instruments | everything else |
//! | [`Stage::Details`] | attempts, closed slots, history, the request's hash | the settlement and what it is found by |
//! | [`Stage::Settlement`] | evidence, look-up keys by time, steps, the bodies of answers | what refuses a replay: claim, fingerprint, digest, outcome, hash, release |
//! | [`Stage::Claim`] | the rest | nothing: nobody can use the authorization any more |
//!
//! A finished settlement waits for its next stage in the order of the time at which it finished; in the last stage, of the time
//! until which its authorization could be presented again. One whose scheme names no such time keeps its claim.

use crate::change::put;
use crate::keys::{due_stage_key, id_key, payload_key, slot_key, spending_key, step_prefix};
use crate::lookups;
use crate::overlay::Overlay;
use crate::queries::{closed_is_searched, get};
use crate::row::{AttemptRow, KeyRow, Outcome, SettlementRow, StoreValue};
use crate::stage::Stage;
use crate::{CommitError, Rows, Table};

/// How long a claim outlives the time until which its authorization could be presented again: clocks differ.
const CLAIM_MARGIN_MS: u64 = 24 * 3_600 * 1_000;

/// A settlement goes through a stage. One that is not in the queue of this stage stays as it is.
pub(super) fn dropped(
    rows: &mut Overlay<'_>,
    stage: Stage,
    due_ms: u64,
    settlement: u64,
) -> Result<(), CommitError> {
    let queued = due_stage_key(stage, due_ms, settlement);
    if rows.get(Table::Finished, &queued)?.is_none() {
        return Ok(());
    }
    rows.delete(Table::Finished, &queued);
    let key = id_key(settlement);
    let Some(row) = get::<SettlementRow>(rows, Table::Settlements, &key)? else {
        return Ok(());
    };
    if !row.finished {
        return Ok(());
    }
    match stage {
        Stage::Payloads => {
            rows.delete(Table::Plans, &key);
            for (_, attempt) in attempts(rows, settlement)? {
                if !is_needed(rows, &attempt, settlement)? {
                    rows.delete(Table::Payloads, &id_key(attempt.id));
                }
            }
            queue(rows, Stage::Details, due_ms, settlement)
        }
        Stage::Details => {
            details(rows, &row)?;
            queue(rows, Stage::Settlement, due_ms, settlement)
        }
        Stage::Settlement => compact(rows, row),
        Stage::Claim => {
            forget(rows, &row);
            Ok(())
        }
    }
}

pub(super) fn queue(
    rows: &mut Overlay<'_>,
    stage: Stage,
    due_ms: u64,
    settlement: u64,
) -> Result<(), CommitError> {
    put(
        rows,
        Table::Finished,
        &due_stage_key(stage, due_ms, settlement),
        &(),
    )
}

/// The settlement's attempts, each with the key of its link.
fn attempts(rows: &mut Overlay<'_>, settlement: u64) -> Result<Vec<(String, AttemptRow)>, CommitError> {
    let mut found = Vec::new();
    for (link, _) in rows.scan(
        Table::AttemptSteps,
        &format!("{}|", id_key(settlement)),
        None,
        usize::MAX,
    )? {
        let id = link.rsplit('|').next().unwrap_or_default();
        if let Some(attempt) = get::<AttemptRow>(rows, Table::Attempts, id)? {
            found.push((link, attempt));
        }
    }
    Ok(found)
}

/// Whether another settlement that is not finished rests on the attempt.
fn is_needed(rows: &mut Overlay<'_>, attempt: &AttemptRow, settlement: u64) -> Result<bool, CommitError> {
    for (other, _) in &attempt.covers {
        if *other != settlement && rows.get(Table::Unfinished, &id_key(*other))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn details(rows: &mut Overlay<'_>, row: &SettlementRow) -> Result<(), CommitError> {
    let key = id_key(row.id);
    for (link, attempt) in attempts(rows, row.id)? {
        rows.delete(Table::AttemptSteps, &link);
        if lookups::transactions_of(row).all(|tx_id| *tx_id != attempt.tx_id) {
            rows.delete(Table::Lookups, &lookups::transaction_key(&attempt.tx_id, row.id));
        }
        let mut is_linked = false;
        for (settlement, step) in &attempt.covers {
            let link = format!("{}{}", step_prefix(*settlement, *step), id_key(attempt.id));
            is_linked |= rows.get(Table::AttemptSteps, &link)?.is_some();
        }
        if is_linked {
            continue;
        }
        let id = id_key(attempt.id);
        rows.delete(Table::Attempts, &id);
        rows.delete(Table::Payloads, &id);
        rows.delete(Table::Spending, &spending_key(&attempt));
        let lane = &attempt.lane;
        if !closed_is_searched(rows, &lane.network, &lane.signer, attempt.sequence)? {
            rows.delete(
                Table::ClosedSlots,
                &slot_key(&lane.network, &lane.signer, attempt.sequence),
            );
        }
    }
    for (event, _) in rows.scan(Table::History, &format!("{key}|"), None, usize::MAX)? {
        rows.delete(Table::History, &event);
    }
    Ok(())
}

/// Only what refuses a replay and answers an equal request is kept, also a request whose plugin can't identify it. Of an earlier generation of a claim, nothing.
fn compact(rows: &mut Overlay<'_>, mut row: SettlementRow) -> Result<(), CommitError> {
    if let Outcome::Paid(paid) = &row.outcome {
        for item in &paid.items {
            let key = format!("{}|{item}", row.network);
            if get::<u64>(rows, Table::Evidence, &key)? == Some(row.id) {
                rows.delete(Table::Evidence, &key);
            }
        }
    }
    for key in &row.conflict_keys {
        if get(rows, Table::ConflictKeys, key)? == Some(KeyRow::Freed { freed_by: row.id }) {
            rows.delete(Table::ConflictKeys, key);
        }
    }
    if get::<u64>(rows, Table::Claims, &row.claim)? != Some(row.id) {
        forget(rows, &row);
        return Ok(());
    }
    for key in lookups::time_keys_of(&row) {
        rows.delete(Table::Lookups, &key);
    }
    row.steps.clear();
    row.conflict_keys.clear();
    if let Outcome::Paid(paid) = &mut row.outcome {
        paid.items.clear();
    }
    if let Some(release) = &mut row.release {
        release.body.clear();
    }
    if let Some(until_s) = row.replayable_until_s {
        let due_ms = until_s.saturating_mul(1_000).saturating_add(CLAIM_MARGIN_MS);
        queue(rows, Stage::Claim, due_ms, row.id)?;
    }
    put(rows, Table::Settlements, &id_key(row.id), &row)
}

fn forget(rows: &mut Overlay<'_>, row: &SettlementRow) {
    for key in lookups::keys_of(row) {
        rows.delete(Table::Lookups, &key);
    }
    for tx_id in lookups::transactions_of(row) {
        rows.delete(Table::Lookups, &lookups::transaction_key(tx_id, row.id));
    }
    let key = id_key(row.id);
    crate::withheld::forget(rows, &key);
    rows.delete(Table::Settlements, &key);
    for key in payload_key(row).iter().chain([&row.request]) {
        if let Ok(Some(newest)) = get::<u64>(rows, Table::Requests, key)
            && newest == row.id
        {
            rows.delete(Table::Requests, key);
        }
    }
    if let Ok(Some(newest)) = get::<u64>(rows, Table::Claims, &row.claim)
        && newest == row.id
    {
        rows.delete(Table::Claims, &row.claim);
    }
}

/// Rows of plugins' stores and holds of signers that ended before this.
pub(super) fn all_expired(
    rows: &mut Overlay<'_>,
    store: &[String],
    holds: &[String],
    now_ms: u64,
) -> Result<(), CommitError> {
    for key in holds {
        hold_ended(rows, key, now_ms)?;
    }
    store.iter().try_for_each(|key| expired(rows, key, now_ms))
}

/// A row of a plugin's store that ended before this.
fn expired(rows: &mut Overlay<'_>, key: &str, now_ms: u64) -> Result<(), CommitError> {
    rows.delete(Table::StoreExpiry, key);
    let Some((_, row_key)) = key.split_once('|') else {
        return Ok(());
    };
    let row: Option<StoreValue> = get(rows, Table::Store, row_key)?;
    if row.is_some_and(|row| row.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms)) {
        rows.delete(Table::Store, row_key);
    }
    Ok(())
}

/// A hold of a signer that ended before this.
fn hold_ended(rows: &mut Overlay<'_>, key: &str, now_ms: u64) -> Result<(), CommitError> {
    if get::<u64>(rows, Table::Holds, key)?.is_some_and(|until_s| until_s < now_ms / 1_000) {
        rows.delete(Table::Holds, key);
    }
    Ok(())
}
