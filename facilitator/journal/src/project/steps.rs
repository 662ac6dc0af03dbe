//! The states of steps.

use crate::change::{change, change_step, in_slot, put, stale, step_mut, undecided};
use crate::overlay::Overlay;
use crate::queries::get;
use crate::row::{Ground, StepState};
use crate::{CommitError, Table};
use sdk_plugin::StepIndex;

pub(super) fn done(
    rows: &mut Overlay<'_>,
    settlement: u64,
    step: StepIndex,
    tx_id: &str,
    height: u64,
) -> Result<(), CommitError> {
    change_step(rows, settlement, step, |row| {
        in_slot(row)?;
        row.state = StepState::Done {
            tx_id: tx_id.to_owned(),
            height,
        };
        Ok(())
    })
}

pub(super) fn failed(
    rows: &mut Overlay<'_>,
    settlement: u64,
    step: StepIndex,
    reason: &str,
) -> Result<(), CommitError> {
    change_step(rows, settlement, step, |row| {
        undecided(row)?;
        row.state = StepState::Failed {
            reason: reason.to_owned(),
        };
        Ok(())
    })
}

pub(super) fn skipped(rows: &mut Overlay<'_>, settlement: u64, step: StepIndex) -> Result<(), CommitError> {
    change_step(rows, settlement, step, |row| {
        if row.state != StepState::Waiting {
            return Err(stale("a step that was started can't be skipped"));
        }
        row.state = StepState::Skipped;
        row.is_final = true;
        Ok(())
    })
}

pub(super) fn revived(rows: &mut Overlay<'_>, settlement: u64, step: StepIndex) -> Result<(), CommitError> {
    change_step(rows, settlement, step, |row| {
        if row.state != StepState::Skipped {
            return Err(stale("only a skipped step can be revived"));
        }
        row.state = StepState::Waiting;
        row.is_final = false;
        Ok(())
    })
}

pub(super) fn grounded(
    rows: &mut Overlay<'_>,
    settlement: u64,
    step: StepIndex,
    ground: &Ground,
) -> Result<(), CommitError> {
    change_step(rows, settlement, step, |row| match row.state {
        StepState::Done { .. } | StepState::Failed { .. } => {
            row.ground = Some(ground.clone());
            Ok(())
        }
        StepState::Waiting
        | StepState::InSlot { .. }
        | StepState::Skipped
        | StepState::Unexplained { .. } => Err(stale("an undecided step rests on nothing")),
    })
}

pub(super) fn became_final(
    rows: &mut Overlay<'_>,
    settlement: u64,
    step: StepIndex,
) -> Result<(), CommitError> {
    change(rows, settlement, |rows, row| {
        let network = row.network.clone();
        let target = step_mut(row, step)?;
        match target.state {
            StepState::Done { height, .. } => {
                let highest = get::<u64>(rows, Table::FinalHeights, &network)?;
                if highest.is_none_or(|highest| height > highest) {
                    put(rows, Table::FinalHeights, &network, &height)?;
                }
            }
            StepState::Failed { .. } | StepState::Skipped => {}
            StepState::Waiting | StepState::InSlot { .. } | StepState::Unexplained { .. } => {
                return Err(stale("an undecided step can't be final"));
            }
        }
        target.is_final = true;
        Ok(())
    })
}
