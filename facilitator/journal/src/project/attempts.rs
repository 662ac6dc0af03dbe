//! Attempts, and steps that lose their slot.

use crate::event::NewAttempt;
use crate::keys::{id_key, lane_key, slot_key, spending_key, step_prefix};
use crate::overlay::Overlay;
use crate::queries::get;
use crate::row::{AttemptKind, AttemptRow, SlotRow, StepState, is_client_signed};
use crate::{CommitError, Rows, Table, lookups};
use sdk_plugin::StepIndex;

use super::fence;
use super::reserves::mark_reserves;
use crate::change::{change, put, stale, step_mut};

pub(crate) fn prepared(rows: &mut Overlay<'_>, new: &NewAttempt) -> Result<(), CommitError> {
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

    if !is_client_signed(attempt.sequence) {
        let lane_name = lane_key(network, signer);
        let behind = attempt
            .sequence
            .checked_add(1)
            .ok_or_else(|| stale("the lane's sequence is exhausted"))?;
        let next = get::<u64>(rows, Table::Lanes, &lane_name)?
            .unwrap_or(0)
            .max(behind);
        put(rows, Table::Lanes, &lane_name, &next)?;
    }

    for (settlement, step) in &attempt.covers {
        change(rows, *settlement, |rows, row| {
            let here = StepState::InSlot {
                lane: attempt.lane.clone(),
                sequence: attempt.sequence,
            };
            if row.unit().is_some_and(|unit| unit != lane_key(network, signer)) {
                return Err(stale("the settlement is continued in another lane"));
            }
            fence::taken_over(rows, row);
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
        lookups::transaction(rows, &attempt.tx_id, *settlement)?;
    }
    put(rows, Table::Spending, &spending_key(attempt), &())?;
    let key = id_key(attempt.id);
    put(rows, Table::Attempts, &key, attempt)?;
    put(rows, Table::Payloads, &key, &new.bytes)
}

pub(crate) fn step_freed(
    rows: &mut Overlay<'_>,
    settlement: u64,
    step: StepIndex,
) -> Result<(), CommitError> {
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

/// The payer's balance shows at this height whatever changed the guard: the reserve no longer counts in later reads.
pub(crate) fn step_unexplained(
    rows: &mut Overlay<'_>,
    settlement: u64,
    step: StepIndex,
    height: u64,
) -> Result<(), CommitError> {
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

/// A node has accepted the attempt. Does nothing if the attempt is unknown.
pub(crate) fn sent(rows: &mut Overlay<'_>, attempt: u64) -> Result<(), CommitError> {
    let key = id_key(attempt);
    if let Some(mut row) = get::<AttemptRow>(rows, Table::Attempts, &key)? {
        row.sent = true;
        put(rows, Table::Attempts, &key, &row)?;
    }
    Ok(())
}

/// The slot's use is final.
pub(crate) fn slot_closed(
    rows: &mut Overlay<'_>,
    network: &str,
    signer: &str,
    sequence: u64,
    by: &str,
) -> Result<(), CommitError> {
    let key = slot_key(network, signer, sequence);
    let mut slot: SlotRow =
        get(rows, Table::OpenSlots, &key)?.ok_or_else(|| stale("the slot is not open"))?;
    slot.closed_by = Some(by.to_owned());
    rows.delete(Table::OpenSlots, &key);
    put(rows, Table::ClosedSlots, &key, &slot)
}
