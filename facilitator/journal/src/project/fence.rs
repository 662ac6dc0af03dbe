//! What only the owner of a unit may record, where several nodes share the journal; see [`lease`](crate::lease). And
//! settlements that one node opens for another.

use crate::keys::{continued_key, handover_key, id_key, lane_key};
use crate::lease::{Fence, Lease};
use crate::overlay::Overlay;
use crate::queries::get;
use crate::row::{AttemptRow, SettlementRow};
use crate::{CommitError, Event, Table};

fn is_held(fence: &Fence, rows: &mut Overlay<'_>, unit: &str) -> Result<bool, CommitError> {
    let Some(epoch) = fence.held.get(unit) else {
        return Ok(false);
    };
    let lease: Option<Lease> = get(rows, Table::Leases, unit)?;
    Ok(lease.is_some_and(|lease| lease.node == fence.node && lease.epoch == *epoch))
}

/// Refuses an event that only the owner of a unit may record.
pub(super) fn check(fence: &Fence, rows: &mut Overlay<'_>, event: &Event) -> Result<(), CommitError> {
    let Some(unit) = unit_of(rows, event)? else {
        return Ok(());
    };
    if is_held(fence, rows, &unit)? {
        return Ok(());
    }
    Err(CommitError::Fenced(unit))
}

/// The unit whose owner alone may record the event; `None`: any node may.
fn unit_of(rows: &mut Overlay<'_>, event: &Event) -> Result<Option<String>, CommitError> {
    let settlement = match event {
        Event::Prepared(new) => {
            let lane = &new.row.lane;
            return Ok(Some(lane_key(&lane.network, &lane.signer)));
        }
        Event::FeePaid { attempt, .. } => {
            let row: Option<AttemptRow> = get(rows, Table::Attempts, &id_key(*attempt))?;
            return Ok(row.map(|row| lane_key(&row.lane.network, &row.lane.signer)));
        }
        Event::SlotClosed { network, signer, .. } => return Ok(Some(lane_key(network, signer))),
        Event::StepDone { settlement, .. }
        | Event::StepFailed { settlement, .. }
        | Event::StepSkipped { settlement, .. }
        | Event::StepRevived { settlement, .. }
        | Event::StepGrounded { settlement, .. }
        | Event::StepFreed { settlement, .. }
        | Event::StepUnexplained { settlement, .. }
        | Event::StepFinal { settlement, .. }
        | Event::Paid { settlement, .. }
        | Event::Failed { settlement, .. }
        | Event::Reorged { settlement, .. }
        | Event::KeysFreed { settlement }
        | Event::Finished { settlement, .. } => *settlement,
        Event::Opened(_)
        | Event::Sent { .. }
        | Event::Released { .. }
        | Event::ReleaseReturned { .. }
        | Event::ReleaseKept { .. }
        | Event::ReleasesWithheld { .. }
        | Event::ReleasesAllowed { .. }
        | Event::Stored { .. }
        | Event::JobScheduled { .. }
        | Event::JobCancelled { .. }
        | Event::JobDone { .. }
        | Event::JobPutOff { .. }
        | Event::Dropped { .. }
        | Event::Expired { .. }
        | Event::Acted { .. }
        | Event::Adopted { .. } => return Ok(None),
    };
    let row: Option<SettlementRow> = get(rows, Table::Settlements, &id_key(settlement))?;
    Ok(row.and_then(|row| row.unit()))
}

/// A settlement is opened: by the owner of its unit, or for it.
pub(crate) fn opened(rows: &mut Overlay<'_>, row: &SettlementRow) {
    if let Some(unit) = row.unit() {
        let key = if row.handed_over {
            handover_key(&unit, row.id)
        } else {
            continued_key(&unit, row.id)
        };
        rows.put(Table::Handovers, &key, "null");
    }
}

/// The owner of its unit has put it into a slot, or has ended it.
pub(crate) fn taken_over(rows: &mut Overlay<'_>, row: &mut SettlementRow) {
    if let (true, Some(unit)) = (row.handed_over, row.unit()) {
        rows.delete(Table::Handovers, &handover_key(&unit, row.id));
        rows.put(Table::Handovers, &continued_key(&unit, row.id), "null");
        row.handed_over = false;
    }
}

/// Nobody continues it any more.
pub(crate) fn ended(rows: &mut Overlay<'_>, row: &SettlementRow) {
    if let Some(unit) = row.unit() {
        rows.delete(Table::Handovers, &continued_key(&unit, row.id));
    }
}
