//! How rows change: helpers of the projection and of the neighbouring modules.

use sdk_plugin::StepIndex;
use serde::Serialize;

use crate::keys::id_key;
use crate::overlay::Overlay;
use crate::queries::get;
use crate::row::{Outcome, SettlementRow, StepRow, StepState};
use crate::{CommitError, JournalError, Table};

pub(crate) fn change(
    rows: &mut Overlay<'_>,
    settlement: u64,
    with: impl FnOnce(&mut Overlay<'_>, &mut SettlementRow) -> Result<(), CommitError>,
) -> Result<(), CommitError> {
    let key = id_key(settlement);
    let mut row: SettlementRow =
        get(rows, Table::Settlements, &key)?.ok_or_else(|| stale("no such settlement"))?;
    with(rows, &mut row)?;
    row.updated_at_ms = row.updated_at_ms.max(rows.stamp().at_ms);
    put(rows, Table::Settlements, &key, &row)
}

pub(crate) fn change_step(
    rows: &mut Overlay<'_>,
    settlement: u64,
    step: StepIndex,
    with: impl FnOnce(&mut StepRow) -> Result<(), CommitError>,
) -> Result<(), CommitError> {
    change(rows, settlement, |_, row| with(step_mut(row, step)?))
}

pub(crate) fn step_mut(row: &mut SettlementRow, step: StepIndex) -> Result<&mut StepRow, CommitError> {
    step.of_mut(&mut row.steps).ok_or_else(|| stale("no such step"))
}

pub(crate) fn in_slot(row: &StepRow) -> Result<(), CommitError> {
    match row.state {
        StepState::InSlot { .. } | StepState::Unexplained { .. } => Ok(()),
        _ => Err(stale("the step is in no slot")),
    }
}

pub(crate) fn undecided(row: &StepRow) -> Result<(), CommitError> {
    match row.state {
        StepState::Waiting | StepState::InSlot { .. } | StepState::Unexplained { .. } => Ok(()),
        StepState::Done { .. } | StepState::Failed { .. } | StepState::Skipped => {
            Err(stale("the step is decided"))
        }
    }
}

pub(crate) fn open_outcome(row: &SettlementRow) -> Result<(), CommitError> {
    match row.outcome {
        Outcome::Open => Ok(()),
        _ => Err(stale("the settlement is decided")),
    }
}

pub(crate) fn put<T: Serialize>(
    rows: &mut Overlay<'_>,
    table: Table,
    key: &str,
    value: &T,
) -> Result<(), CommitError> {
    let text = serde_json::to_string(value)
        .map_err(|e| JournalError(format!("{} row {key} can't be written: {e}", table.name())))?;
    rows.put(table, key, &text);
    Ok(())
}

pub(crate) fn stale(what: &str) -> CommitError {
    CommitError::Stale(what.to_owned())
}
