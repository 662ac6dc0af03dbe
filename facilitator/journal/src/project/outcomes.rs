//! Outcomes and releases.

use sdk_plugin::StepIndex;
use sdk_plugin::scheme::Refusal;

use super::fence;
use super::reserves::{drop_reserves, mark_reserves};
use crate::change::{change, open_outcome, put, stale, step_mut, undecided};
use crate::overlay::Overlay;
use crate::queries::get;
use crate::row::{Outcome, PaidRow, Release, StepState};
use crate::{CommitError, Table, lookups};

pub(super) fn paid(
    rows: &mut Overlay<'_>,
    settlement: u64,
    step: StepIndex,
    paid: PaidRow,
) -> Result<(), CommitError> {
    change(rows, settlement, |rows, row| {
        open_outcome(row)?;
        fence::taken_over(rows, row);
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
        lookups::transaction(rows, &paid.tx_id, row.id)?;
        row.tx_id = Some(paid.tx_id.clone());
        row.outcome = Outcome::Paid(paid);
        Ok(())
    })
}

pub(super) fn failed(
    rows: &mut Overlay<'_>,
    settlement: u64,
    step: StepIndex,
    refusal: &Refusal,
    tx_id: &str,
    proof: &str,
) -> Result<(), CommitError> {
    change(rows, settlement, |rows, row| {
        open_outcome(row)?;
        fence::taken_over(rows, row);
        let step = step_mut(row, step)?;
        undecided(step)?;
        step.state = StepState::Failed {
            reason: refusal.reason.clone(),
        };
        row.outcome = if row.release.is_some() {
            Outcome::Reversed {
                tx_id: tx_id.to_owned(),
                proof: proof.to_owned(),
                refusal: Some(refusal.clone()),
            }
        } else {
            Outcome::Failed {
                refusal: refusal.clone(),
                tx_id: tx_id.to_owned(),
                proof: proof.to_owned(),
            }
        };
        drop_reserves(rows, row.id)
    })
}

pub(super) fn released(
    rows: &mut Overlay<'_>,
    settlement: u64,
    release: &Release,
) -> Result<(), CommitError> {
    change(rows, settlement, |_, row| {
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
    })
}

pub(super) fn kept(rows: &mut Overlay<'_>, settlement: u64, from: u64, to: u64) -> Result<(), CommitError> {
    change(rows, settlement, |_, row| {
        let release = row.release.as_mut().filter(|release| release.number == from);
        let release =
            release.ok_or_else(|| stale("this release was given back, or answered by another node"))?;
        release.number = to;
        Ok(())
    })
}

pub(super) fn returned(rows: &mut Overlay<'_>, settlement: u64, number: u64) -> Result<(), CommitError> {
    change(rows, settlement, |_, row| {
        if row
            .release
            .as_ref()
            .is_none_or(|release| release.number != number)
        {
            return Err(stale("this release is not there to be given back"));
        }
        row.release = None;
        Ok(())
    })
}
