//! How events change rows, for every back end alike.
//!
//! An error leaves the commit undone: the back end rolls back what was put so far. What this function refuses can't
//! happen, whatever the engine believes.

use sdk_plugin::Amount;
use sdk_plugin::host::{StoreCondition, StoreWrite};
use sdk_plugin::scheme::Reserve;
use serde::Serialize;
use serde_json::Value;

use super::event::{Event, NewAttempt, NewSettlement};
use super::keys::{id_key, lane_key, slot_key, step_prefix, store_key};
use super::queries::{decode, get};
use super::row::{
    AttemptKind, AttemptRow, Outcome, PaidRow, ReserveRow, SettlementRow, SlotRow, StepRow, StepState,
    StoreValue,
};
use super::{CommitError, JournalError, Rows, Table, jobs, withheld};

/// Applies one event.
pub fn apply(rows: &mut dyn Rows, event: &Event) -> Result<(), CommitError> {
    match event {
        Event::Opened(new) => opened(rows, new),
        Event::Prepared(new) => prepared(rows, new),
        Event::Sent { attempt } => {
            let key = id_key(*attempt);
            if let Some(mut row) = get::<AttemptRow>(rows, Table::Attempts, &key)? {
                row.sent = true;
                put(rows, Table::Attempts, &key, &row)?;
            }
            Ok(())
        }
        Event::StepDone {
            settlement,
            step,
            tx_id,
            height,
        } => change_step(rows, *settlement, *step, |row| {
            in_slot(row)?;
            row.state = StepState::Done {
                tx_id: tx_id.clone(),
                height: *height,
            };
            Ok(())
        }),
        Event::StepFailed {
            settlement,
            step,
            reason,
        } => change_step(rows, *settlement, *step, |row| {
            undecided(row)?;
            row.state = StepState::Failed {
                reason: reason.clone(),
            };
            Ok(())
        }),
        Event::StepSkipped { settlement, step } => change_step(rows, *settlement, *step, |row| {
            if row.state != StepState::Waiting {
                return Err(stale("a step that was begun can't be skipped"));
            }
            row.state = StepState::Skipped;
            row.is_final = true;
            Ok(())
        }),
        Event::StepRevived { settlement, step } => change_step(rows, *settlement, *step, |row| {
            if row.state != StepState::Skipped {
                return Err(stale("only a skipped step can be revived"));
            }
            row.state = StepState::Waiting;
            row.is_final = false;
            Ok(())
        }),
        Event::StepGrounded {
            settlement,
            step,
            ground,
        } => change_step(rows, *settlement, *step, |row| match row.state {
            StepState::Done { .. } | StepState::Failed { .. } => {
                row.ground = Some(ground.clone());
                Ok(())
            }
            StepState::Waiting
            | StepState::InSlot { .. }
            | StepState::Skipped
            | StepState::Unexplained { .. } => Err(stale("an undecided step rests on nothing")),
        }),
        Event::StepFreed { settlement, step } => step_freed(rows, *settlement, *step),
        Event::StepUnexplained {
            settlement,
            step,
            height,
        } => step_unexplained(rows, *settlement, *step, *height),
        Event::StepFinal { settlement, step } => {
            change_step(rows, *settlement, *step, |row| match row.state {
                StepState::Done { .. } | StepState::Failed { .. } | StepState::Skipped => {
                    row.is_final = true;
                    Ok(())
                }
                StepState::Waiting | StepState::InSlot { .. } | StepState::Unexplained { .. } => {
                    Err(stale("an undecided step can't be final"))
                }
            })
        }
        Event::Paid {
            settlement,
            step,
            tx_id,
            height,
            items,
            reply,
            repeatable,
        } => {
            let paid = PaidRow {
                tx_id: tx_id.clone(),
                height: *height,
                items: items.clone(),
                reply: reply.clone(),
                repeatable: *repeatable,
            };
            paid_event(rows, *settlement, *step, paid)
        }
        Event::Failed {
            settlement,
            step,
            refusal,
            tx_id,
            proof,
        } => change(rows, *settlement, |rows, row| {
            open_outcome(row)?;
            let step = step_mut(row, *step)?;
            undecided(step)?;
            step.state = StepState::Failed {
                reason: refusal.reason.clone(),
            };
            row.outcome = if row.release.is_some() {
                Outcome::Reversed {
                    tx_id: tx_id.clone(),
                    proof: proof.clone(),
                    refusal: Some(refusal.clone()),
                }
            } else {
                Outcome::Failed {
                    refusal: refusal.clone(),
                    tx_id: tx_id.clone(),
                    proof: proof.clone(),
                }
            };
            drop_reserves(rows, row.id)
        }),
        Event::Reorged { settlement, step } => reorged(rows, *settlement, *step),
        Event::Released { settlement, release } => change(rows, *settlement, |_, row| {
            if row.release.is_some() {
                return Err(CommitError::AlreadyReleased);
            }
            if row.withheld {
                return Err(stale("the release is withheld until the operator allows it"));
            }
            if !matches!(row.outcome, Outcome::Paid(_)) {
                return Err(stale("only a payment that the chain shows can be released"));
            }
            row.release = Some(release.clone());
            Ok(())
        }),
        Event::ReleaseReturned { settlement, number } => change(rows, *settlement, |_, row| {
            if row
                .release
                .as_ref()
                .is_none_or(|release| release.number != *number)
            {
                return Err(stale("this release is not there to be given back"));
            }
            row.release = None;
            Ok(())
        }),
        Event::ReleasesWithheld { up_to_id, why, at_ms } => withheld::withhold(rows, *up_to_id, why, *at_ms),
        Event::ReleasesAllowed { settlements } => withheld::allow(rows, settlements),
        Event::KeysFreed { settlement } => change(rows, *settlement, |rows, row| {
            for key in &row.conflict_keys {
                if get::<u64>(rows, Table::ConflictKeys, key)? == Some(row.id) {
                    rows.delete(Table::ConflictKeys, key)?;
                }
            }
            Ok(())
        }),
        Event::Finished { settlement, at_ms } => {
            change(rows, *settlement, |rows, row| {
                if row.outcome == Outcome::Open || !row.steps.iter().all(|s| s.is_final) {
                    return Err(stale("a settlement with an undecided step can't be finished"));
                }
                row.finished = true;
                withheld::finished(rows, row)?;
                drop_reserves(rows, row.id)
            })?;
            let key = id_key(*settlement);
            rows.delete(Table::Unfinished, &key)?;
            put(rows, Table::Finished, &format!("{at_ms:020}|{key}"), &())
        }
        Event::SlotClosed {
            network,
            signer,
            sequence,
            by,
        } => {
            let key = slot_key(network, signer, *sequence);
            let mut slot: SlotRow =
                get(rows, Table::OpenSlots, &key)?.ok_or_else(|| stale("the slot is not open"))?;
            slot.closed_by = Some(by.clone());
            rows.delete(Table::OpenSlots, &key)?;
            put(rows, Table::ClosedSlots, &key, &slot)
        }
        Event::Stored {
            plugin,
            write,
            now_ms,
        } => stored(rows, plugin, write, *now_ms),
        Event::JobScheduled { plugin, job } => jobs::scheduled(rows, plugin, job),
        Event::JobCancelled { plugin, id } => jobs::cancelled(rows, plugin, id),
        Event::JobDone {
            plugin,
            id,
            run_at_ms,
        } => jobs::done(rows, plugin, id, *run_at_ms),
        Event::JobPutOff {
            plugin,
            id,
            run_at_ms,
            again_at_ms,
        } => jobs::put_off(rows, plugin, id, *run_at_ms, *again_at_ms),
        Event::PayloadsDropped { finished_before_ms } => payloads_dropped(rows, *finished_before_ms),
    }
}

fn opened(rows: &mut dyn Rows, new: &NewSettlement) -> Result<(), CommitError> {
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
    for key in &row.conflict_keys {
        if get::<u64>(rows, Table::ConflictKeys, key)?.is_some() {
            return Err(CommitError::ConflictKeyTaken(key.clone()));
        }
        put(rows, Table::ConflictKeys, key, &row.id)?;
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
    put(rows, Table::Settlements, &key, row)?;
    rows.put(Table::Plans, &key, &new.plan)?;
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

fn reserve_prefix(network: &str, reserve: &Reserve) -> String {
    // A scheme's own texts must not run into each other.
    let part = |text: &str| text.replace('%', "%25").replace('|', "%7C");
    format!("{network}|{}|{}|", part(&reserve.asset), part(&reserve.payer))
}

fn drop_reserves(rows: &mut dyn Rows, settlement: u64) -> Result<(), CommitError> {
    for key in reserve_keys(rows, settlement)? {
        rows.delete(Table::Reserves, &key)?;
    }
    Ok(())
}

/// Keys of a settlement's reserves: their prefixes are noted in its `Unfinished` row.
fn reserve_keys(rows: &mut dyn Rows, settlement: u64) -> Result<Vec<String>, CommitError> {
    let id = id_key(settlement);
    let prefixes: Vec<String> = get(rows, Table::Unfinished, &id)?.unwrap_or_default();
    Ok(prefixes
        .into_iter()
        .map(|prefix| format!("{prefix}{id}"))
        .collect())
}

/// From which height on a read of the payer's balance has the settlement's transfer in it.
fn mark_reserves(
    rows: &mut dyn Rows,
    settlement: u64,
    settled_at_height: Option<u64>,
) -> Result<(), CommitError> {
    for key in reserve_keys(rows, settlement)? {
        if let Some(mut reserve) = get::<ReserveRow>(rows, Table::Reserves, &key)? {
            reserve.settled_at_height = settled_at_height;
            put(rows, Table::Reserves, &key, &reserve)?;
        }
    }
    Ok(())
}

fn reserve_fits(rows: &mut dyn Rows, network: &str, reserve: &Reserve) -> Result<(), CommitError> {
    let mut wanted = reserve.amount;
    for (key, text) in rows.scan(
        Table::Reserves,
        &reserve_prefix(network, reserve),
        None,
        usize::MAX,
    )? {
        let spoken: ReserveRow = decode(Table::Reserves, &key, &text)?;
        if spoken
            .settled_at_height
            .is_none_or(|height| height > reserve.as_of_height)
        {
            wanted = wanted.checked_add(spoken.amount).unwrap_or(Amount::MAX);
        }
    }
    if wanted > reserve.available {
        return Err(CommitError::ReserveShort {
            reason: reserve.refusal_reason.clone(),
        });
    }
    Ok(())
}

fn prepared(rows: &mut dyn Rows, new: &NewAttempt) -> Result<(), CommitError> {
    let attempt = &new.row;
    let (network, signer) = (&attempt.lane.network, &attempt.lane.signer);
    let slot_name = slot_key(network, signer, attempt.sequence);
    if rows.get(Table::ClosedSlots, &slot_name)?.is_some() {
        return Err(stale("the slot is closed"));
    }
    let mut slot = get::<SlotRow>(rows, Table::OpenSlots, &slot_name)?.unwrap_or(SlotRow {
        lane: attempt.lane.clone(),
        sequence: attempt.sequence,
        attempts: Vec::new(),
        closed_by: None,
    });
    slot.attempts.push(attempt.id);
    put(rows, Table::OpenSlots, &slot_name, &slot)?;

    let lane_name = lane_key(network, signer);
    let behind = attempt
        .sequence
        .checked_add(1)
        .ok_or_else(|| stale("the lane's sequence is exhausted"))?;
    let next = get::<u64>(rows, Table::Lanes, &lane_name)?
        .unwrap_or(0)
        .max(behind);
    put(rows, Table::Lanes, &lane_name, &next)?;

    for (settlement, step) in &attempt.covers {
        change(rows, *settlement, |_, row| {
            let here = StepState::InSlot {
                lane: attempt.lane.clone(),
                sequence: attempt.sequence,
            };
            let target = step_mut(row, *step)?;
            match (&target.state, attempt.kind) {
                (StepState::Waiting, AttemptKind::Steps) => target.state = here,
                (state, _) if *state == here => {}
                _ => return Err(stale("the step has attempts in another slot, or is decided")),
            }
            if attempt.kind == AttemptKind::Steps {
                row.note_tx_id(*step, &attempt.tx_id);
            }
            Ok(())
        })?;
        let key = format!("{}{}", step_prefix(*settlement, *step), id_key(attempt.id));
        put(rows, Table::AttemptSteps, &key, &())?;
    }
    let key = id_key(attempt.id);
    put(rows, Table::Attempts, &key, attempt)?;
    put(rows, Table::Payloads, &key, &new.bytes)
}

fn step_freed(rows: &mut dyn Rows, settlement: u64, step: u32) -> Result<(), CommitError> {
    change(rows, settlement, |rows, row| {
        let target = step_mut(row, step)?;
        let StepState::InSlot { lane, sequence } = &target.state else {
            return Err(stale("the step is in no slot"));
        };
        let key = slot_key(&lane.network, &lane.signer, *sequence);
        if rows.get(Table::ClosedSlots, &key)?.is_none() {
            return Err(stale("the step's slot is still open: its attempts may land"));
        }
        target.state = StepState::Waiting;
        Ok(())
    })
}

/// Whatever changed the guard is in the payer's balance at this height: the reserve counts no longer in later reads.
fn step_unexplained(rows: &mut dyn Rows, settlement: u64, step: u32, height: u64) -> Result<(), CommitError> {
    change(rows, settlement, |rows, row| {
        let target = step_mut(row, step)?;
        if let StepState::InSlot { lane, sequence } = &target.state {
            let key = slot_key(&lane.network, &lane.signer, *sequence);
            if rows.get(Table::ClosedSlots, &key)?.is_none() {
                return Err(stale("the step's slot is still open: its attempts may land"));
            }
        } else if target.state != StepState::Waiting {
            return Err(stale("the step is decided"));
        }
        target.state = StepState::Unexplained { height };
        mark_reserves(rows, row.id, Some(height))
    })
}

fn paid_event(rows: &mut dyn Rows, settlement: u64, step: u32, paid: PaidRow) -> Result<(), CommitError> {
    change(rows, settlement, |rows, row| {
        open_outcome(row)?;
        for item in &paid.items {
            let key = format!("{}|{item}", row.network);
            match get::<u64>(rows, Table::Evidence, &key)? {
                Some(other) if other != row.id => return Err(CommitError::EvidenceUsed(item.clone())),
                _ => put(rows, Table::Evidence, &key, &row.id)?,
            }
        }
        mark_reserves(rows, row.id, Some(paid.height))?;
        if !row.steps.is_empty() {
            let done = StepState::Done {
                tx_id: paid.tx_id.clone(),
                height: paid.height,
            };
            let target = step_mut(row, step)?;
            undecided(target)?;
            if !target.pays {
                return Err(stale("a step that does not pay can't have paid"));
            }
            target.state = done;
        }
        row.tx_id = Some(paid.tx_id.clone());
        row.outcome = Outcome::Paid(paid);
        Ok(())
    })
}

fn reorged(rows: &mut dyn Rows, settlement: u64, step: u32) -> Result<(), CommitError> {
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
                    rows.delete(Table::Evidence, &format!("{}|{item}", row.network))?;
                }
            }
            mark_reserves(rows, row.id, None)?;
            row.tx_id = Some(tx_id);
            row.outcome = Outcome::Open;
        }
        Ok(())
    })
}

fn stored(rows: &mut dyn Rows, plugin: &str, write: &StoreWrite, now_ms: u64) -> Result<(), CommitError> {
    let key = store_key(plugin, &write.key);
    let current: Option<StoreValue> = get(rows, Table::Store, &key)?;
    let current = current
        .filter(|v| v.expires_at_ms.is_none_or(|at| at > now_ms))
        .map(|v| v.value);
    let holds = match &write.condition {
        StoreCondition::Always => true,
        StoreCondition::Absent => current.is_none(),
        StoreCondition::Equals { value } => current.as_ref() == Some(value),
    };
    if !holds {
        return Err(CommitError::StoreCondition(write.key.clone()));
    }
    if write.value == Value::Null {
        return Ok(rows.delete(Table::Store, &key)?);
    }
    put(
        rows,
        Table::Store,
        &key,
        &StoreValue {
            value: write.value.clone(),
            expires_at_ms: write.expires_at_ms,
        },
    )
}

fn payloads_dropped(rows: &mut dyn Rows, finished_before_ms: u64) -> Result<(), CommitError> {
    let bound = format!("{finished_before_ms:020}");
    for (key, _) in rows.scan(Table::Finished, "", None, usize::MAX)? {
        if key >= bound {
            break;
        }
        let Some((_, id)) = key.split_once('|') else {
            continue;
        };
        rows.delete(Table::Plans, id)?;
        for (link, _) in rows.scan(Table::AttemptSteps, &format!("{id}|"), None, usize::MAX)? {
            if let Some(attempt) = link.rsplit('|').next() {
                rows.delete(Table::Payloads, attempt)?;
            }
        }
        rows.delete(Table::Finished, &key)?;
    }
    Ok(())
}

fn change(
    rows: &mut dyn Rows,
    settlement: u64,
    with: impl FnOnce(&mut dyn Rows, &mut SettlementRow) -> Result<(), CommitError>,
) -> Result<(), CommitError> {
    let key = id_key(settlement);
    let mut row: SettlementRow =
        get(rows, Table::Settlements, &key)?.ok_or_else(|| stale("no such settlement"))?;
    with(rows, &mut row)?;
    put(rows, Table::Settlements, &key, &row)
}

fn change_step(
    rows: &mut dyn Rows,
    settlement: u64,
    step: u32,
    with: impl FnOnce(&mut StepRow) -> Result<(), CommitError>,
) -> Result<(), CommitError> {
    change(rows, settlement, |_, row| with(step_mut(row, step)?))
}

fn step_mut(row: &mut SettlementRow, step: u32) -> Result<&mut StepRow, CommitError> {
    usize::try_from(step)
        .ok()
        .and_then(|i| row.steps.get_mut(i))
        .ok_or_else(|| stale("no such step"))
}

fn in_slot(row: &StepRow) -> Result<(), CommitError> {
    match row.state {
        StepState::InSlot { .. } | StepState::Unexplained { .. } => Ok(()),
        _ => Err(stale("the step is in no slot")),
    }
}

fn undecided(row: &StepRow) -> Result<(), CommitError> {
    match row.state {
        StepState::Waiting | StepState::InSlot { .. } | StepState::Unexplained { .. } => Ok(()),
        StepState::Done { .. } | StepState::Failed { .. } | StepState::Skipped => {
            Err(stale("the step is decided"))
        }
    }
}

fn open_outcome(row: &SettlementRow) -> Result<(), CommitError> {
    match row.outcome {
        Outcome::Open => Ok(()),
        _ => Err(stale("the settlement is decided")),
    }
}

pub(super) fn put<T: Serialize>(
    rows: &mut dyn Rows,
    table: Table,
    key: &str,
    value: &T,
) -> Result<(), CommitError> {
    let text = serde_json::to_string(value)
        .map_err(|e| JournalError(format!("{} row {key} can't be written: {e}", table.name())))?;
    Ok(rows.put(table, key, &text)?)
}

fn stale(what: &str) -> CommitError {
    CommitError::Stale(what.to_owned())
}
