//! Which rows an event reads: a back end fetches those of a whole group of commits at once, before it applies any.
//!
//! Not named: the pages of rows that an old copy's withheld releases go through. They are rare, and read as many rows as
//! there are.

use sdk_plugin::StepIndex;
use serde::de::DeserializeOwned;

use super::reserves::reserve_prefix;
use crate::keys::{due_stage_key, id_key, lane_key, payload_key, slot_key, step_prefix, store_key};
use crate::overlay::{Overlay, Reads};
use crate::row::{AttemptRow, Outcome, SettlementRow, StepRow, StepState};
use crate::stage::Stage;
use crate::{Event, NewAttempt, NewSettlement, Table, withheld};

/// Adds what this event reads, as far as the event itself and the rows that are known already name it. A caller
/// fetches them and calls again, until nothing unknown is named.
pub(crate) fn of(event: &Event, known: &Overlay<'_>, reads: &mut Reads) {
    match event {
        Event::Opened(new) => opened(new, known, reads),
        Event::Prepared(new) => prepared(new, reads),
        Event::Sent { attempt } => reads.row(Table::Attempts, id_key(*attempt)),
        Event::FeePaid { attempt, .. } => fee_paid(*attempt, known, reads),
        Event::SlotClosed {
            network,
            signer,
            sequence,
            by: _,
        } => reads.row(Table::OpenSlots, slot_key(network, signer, *sequence)),
        Event::StepDone { settlement, .. }
        | Event::StepFailed { settlement, .. }
        | Event::StepSkipped { settlement, .. }
        | Event::StepRevived { settlement, .. }
        | Event::StepGrounded { settlement, .. }
        | Event::Released { settlement, .. }
        | Event::ReleaseReturned { settlement, .. }
        | Event::ReleaseKept { settlement, .. } => {
            reads.row(Table::Settlements, id_key(*settlement));
        }
        Event::StepFinal { settlement, .. } => {
            if let Some(row) = settlement_row(*settlement, known, reads) {
                reads.row(Table::FinalHeights, row.network);
            }
        }
        Event::StepFreed { settlement, step } => slot_of_step(*settlement, *step, known, reads),
        Event::StepUnexplained { settlement, step, .. } => {
            slot_of_step(*settlement, *step, known, reads);
            reserves(*settlement, known, reads);
        }
        Event::Paid {
            settlement, items, ..
        } => {
            reserves(*settlement, known, reads);
            if let Some(row) = settlement_row(*settlement, known, reads) {
                for item in items {
                    reads.row(Table::Evidence, format!("{}|{item}", row.network));
                }
            }
        }
        Event::Failed { settlement, .. } | Event::Finished { settlement, .. } => {
            reads.row(Table::Settlements, id_key(*settlement));
            reads.row(Table::Unfinished, id_key(*settlement));
        }
        Event::Reorged { settlement, step } => reorged(*settlement, *step, known, reads),
        Event::ReleasesWithheld { why, .. } => reads.row(Table::Withheld, withheld::reason_key(why)),
        Event::ReleasesAllowed { settlements } => {
            for id in settlements {
                reads.row(Table::Settlements, id_key(*id));
            }
        }
        Event::KeysFreed { settlement } => {
            if let Some(row) = settlement_row(*settlement, known, reads) {
                for key in row.conflict_keys {
                    reads.row(Table::ConflictKeys, key);
                }
            }
        }
        Event::Stored { plugin, write, .. } => reads.row(Table::Store, store_key(plugin, &write.key)),
        Event::JobScheduled { plugin, job } => reads.row(Table::Jobs, store_key(plugin, &job.id)),
        Event::JobCancelled { plugin, id }
        | Event::JobDone { plugin, id, .. }
        | Event::JobPutOff { plugin, id, .. } => reads.row(Table::Jobs, store_key(plugin, id)),
        Event::Dropped { stage, due } => {
            for (due_ms, settlement) in due {
                dropped(*stage, *due_ms, *settlement, known, reads);
            }
        }
        Event::Expired { store, holds, .. } => {
            for key in store {
                if let Some((_, row)) = key.split_once('|') {
                    reads.row(Table::Store, row.to_owned());
                }
            }
            for key in holds {
                reads.row(Table::Holds, key.clone());
            }
        }
        // Its history is only written. And what is refused in a group of commits.
        Event::Acted { .. } | Event::Adopted { .. } => {}
    }
}

fn opened(new: &NewSettlement, known: &Overlay<'_>, reads: &mut Reads) {
    let row = &new.row;
    reads.row(Table::Claims, row.claim.clone());
    if let Some(previous) = decoded::<u64>(Table::Claims, &row.claim, known) {
        reads.row(Table::Settlements, id_key(previous));
    }
    if let Some(key) = payload_key(row) {
        if let Some(other) = decoded::<u64>(Table::Requests, &key, known) {
            reads.row(Table::Settlements, id_key(other));
        }
        reads.row(Table::Requests, key);
    }
    for key in &row.conflict_keys {
        reads.row(Table::ConflictKeys, key.clone());
    }
    for reserve in &new.reserves {
        reads.prefix(Table::Reserves, reserve_prefix(&row.network, reserve));
    }
}

fn prepared(new: &NewAttempt, reads: &mut Reads) {
    let attempt = &new.row;
    let (network, signer) = (&attempt.lane.network, &attempt.lane.signer);
    let slot = slot_key(network, signer, attempt.sequence);
    reads.row(Table::ClosedSlots, slot.clone());
    reads.row(Table::OpenSlots, slot);
    reads.row(Table::Lanes, lane_key(network, signer));
    for (settlement, _) in &attempt.covers {
        reads.row(Table::Settlements, id_key(*settlement));
    }
}

fn fee_paid(attempt: u64, known: &Overlay<'_>, reads: &mut Reads) {
    let key = id_key(attempt);
    let row = decoded::<AttemptRow>(Table::Attempts, &key, known);
    reads.row(Table::Attempts, key);
    for (settlement, _) in row.iter().flat_map(|row| &row.covers) {
        reads.row(Table::Settlements, id_key(*settlement));
    }
}

fn reorged(settlement: u64, step: StepIndex, known: &Overlay<'_>, reads: &mut Reads) {
    reserves(settlement, known, reads);
    reads.row(Table::Settlements, id_key(settlement));
    let prefix = step_prefix(settlement, step);
    for key in known.known_keys(Table::AttemptSteps, &prefix) {
        let id = key.strip_prefix(&prefix).unwrap_or_default();
        reads.row(Table::Attempts, id.to_owned());
    }
    reads.prefix(Table::AttemptSteps, prefix);
}

fn dropped(stage: Stage, due_ms: u64, settlement: u64, known: &Overlay<'_>, reads: &mut Reads) {
    reads.row(Table::Finished, due_stage_key(stage, due_ms, settlement));
    let Some(row) = settlement_row(settlement, known, reads) else {
        return;
    };
    let of_it = format!("{}|", id_key(settlement));
    match stage {
        Stage::Payloads | Stage::Details => {
            for link in known.known_keys(Table::AttemptSteps, &of_it) {
                let id = link.rsplit('|').next().unwrap_or_default();
                reads.row(Table::Attempts, id.to_owned());
                if let Some(attempt) = decoded::<AttemptRow>(Table::Attempts, id, known) {
                    attempt_of_dropped(&attempt, reads);
                }
            }
            reads.prefix(Table::AttemptSteps, of_it.clone());
            if stage == Stage::Details {
                reads.prefix(Table::History, of_it);
            }
        }
        Stage::Settlement | Stage::Claim => {
            reads.row(Table::Claims, row.claim.clone());
            reads.row(Table::Requests, row.request.clone());
            if let Some(key) = payload_key(&row) {
                reads.row(Table::Requests, key);
            }
            for key in &row.conflict_keys {
                reads.row(Table::ConflictKeys, key.clone());
            }
            if let Outcome::Paid(paid) = &row.outcome {
                for item in &paid.items {
                    reads.row(Table::Evidence, format!("{}|{item}", row.network));
                }
            }
        }
    }
}

fn attempt_of_dropped(attempt: &AttemptRow, reads: &mut Reads) {
    reads.row(
        Table::Lanes,
        lane_key(&attempt.lane.network, &attempt.lane.signer),
    );
    for (settlement, step) in &attempt.covers {
        reads.row(Table::Unfinished, id_key(*settlement));
        let link = format!("{}{}", step_prefix(*settlement, *step), id_key(attempt.id));
        reads.row(Table::AttemptSteps, link);
    }
}

/// The row that says whether the step's slot is closed.
fn slot_of_step(settlement: u64, step: StepIndex, known: &Overlay<'_>, reads: &mut Reads) {
    let row = settlement_row(settlement, known, reads);
    let step = row.and_then(|row| step.of(&row.steps).cloned());
    if let Some(StepRow {
        state: StepState::InSlot { lane, sequence },
        ..
    }) = step
    {
        let key = slot_key(&lane.network, &lane.signer, sequence);
        reads.row(Table::ClosedSlots, key);
    }
}

/// The settlement's reserves.
fn reserves(settlement: u64, known: &Overlay<'_>, reads: &mut Reads) {
    let id = id_key(settlement);
    reads.row(Table::Settlements, id.clone());
    let prefixes: Option<Vec<String>> = decoded(Table::Unfinished, &id, known);
    for prefix in prefixes.unwrap_or_default() {
        reads.row(Table::Reserves, format!("{prefix}{id}"));
    }
    reads.row(Table::Unfinished, id);
}

fn settlement_row(settlement: u64, known: &Overlay<'_>, reads: &mut Reads) -> Option<SettlementRow> {
    let key = id_key(settlement);
    let row = decoded(Table::Settlements, &key, known);
    reads.row(Table::Settlements, key);
    row
}

/// A known row. One that can't be decoded is reported when its event is applied.
fn decoded<T: DeserializeOwned>(table: Table, key: &str, known: &Overlay<'_>) -> Option<T> {
    serde_json::from_str(known.known(table, key)??).ok()
}
