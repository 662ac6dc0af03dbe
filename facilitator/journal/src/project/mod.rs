//! How events change rows, for every back end alike.
//!
//! If an event is refused, no change of its commit remains. The checks here hold whatever state the engine assumes.

mod attempts;
mod costs;
pub(crate) mod fence;
mod outcomes;
pub(crate) mod reads;
mod reserves;
mod retention;
mod settlements;
mod steps;
mod store;

use crate::change::stale;
use crate::overlay::Overlay;
use crate::{CommitError, Event, PaidRow, history, jobs, withheld};

/// Applies one event if this node may, and adds it to the history of the settlements that it concerns.
pub(crate) fn apply(rows: &mut Overlay<'_>, event: &Event) -> Result<(), CommitError> {
    if let Some(fence) = rows.fence() {
        fence::check(&fence, rows, event)?;
    }
    change_rows(rows, event)?;
    history::record(rows, event)
}

fn change_rows(rows: &mut Overlay<'_>, event: &Event) -> Result<(), CommitError> {
    match event {
        Event::Opened(new) => settlements::opened(rows, new),
        Event::Prepared(new) => attempts::prepared(rows, new),
        Event::Sent { attempt } => attempts::sent(rows, *attempt),
        Event::FeePaid { attempt, fee, node } => costs::fee_paid(rows, *attempt, *fee, node.as_deref()),
        Event::SlotClosed {
            network,
            signer,
            sequence,
            by,
        } => attempts::slot_closed(rows, network, signer, *sequence, by),
        Event::StepDone {
            settlement,
            step,
            tx_id,
            height,
        } => steps::done(rows, *settlement, *step, tx_id, *height),
        Event::StepFailed {
            settlement,
            step,
            reason,
        } => steps::failed(rows, *settlement, *step, reason),
        Event::StepSkipped { settlement, step } => steps::skipped(rows, *settlement, *step),
        Event::StepRevived { settlement, step } => steps::revived(rows, *settlement, *step),
        Event::StepGrounded {
            settlement,
            step,
            ground,
        } => steps::grounded(rows, *settlement, *step, ground),
        Event::StepFreed { settlement, step } => attempts::step_freed(rows, *settlement, *step),
        Event::StepUnexplained {
            settlement,
            step,
            height,
        } => attempts::step_unexplained(rows, *settlement, *step, *height),
        Event::StepFinal { settlement, step } => steps::became_final(rows, *settlement, *step),
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
            outcomes::paid(rows, *settlement, *step, paid)
        }
        Event::Failed {
            settlement,
            step,
            refusal,
            tx_id,
            proof,
        } => outcomes::failed(rows, *settlement, *step, refusal, tx_id, proof),
        Event::Reorged { settlement, step } => settlements::reorged(rows, *settlement, *step),
        Event::Released { settlement, release } => outcomes::released(rows, *settlement, release),
        Event::ReleaseReturned { settlement, number } => outcomes::returned(rows, *settlement, *number),
        Event::ReleaseKept { settlement, from, to } => outcomes::kept(rows, *settlement, *from, *to),
        Event::ReleasesWithheld { up_to_id, why, at_ms } => withheld::withhold(rows, *up_to_id, why, *at_ms),
        Event::ReleasesAllowed { settlements } => withheld::allow(rows, settlements),
        Event::KeysFreed { settlement } => settlements::keys_freed(rows, *settlement),
        Event::Finished { settlement, at_ms } => settlements::finished(rows, *settlement, *at_ms),
        Event::Stored {
            plugin,
            write,
            now_ms,
        } => store::stored(rows, plugin, write, *now_ms),
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
        } => jobs::reschedule(rows, plugin, id, *run_at_ms, *again_at_ms),
        Event::Dropped { stage, due } => due
            .iter()
            .try_for_each(|(due_ms, settlement)| retention::dropped(rows, *stage, *due_ms, *settlement)),
        Event::Expired { store, holds, now_ms } => retention::all_expired(rows, store, holds, *now_ms),
        // Only its history is recorded.
        Event::Acted { .. } => Ok(()),
        // It changes every row of a plugin, which a group of commits would have in memory.
        Event::Adopted { .. } => Err(stale("a plugin is adopted in a commit of its own")),
    }
}
