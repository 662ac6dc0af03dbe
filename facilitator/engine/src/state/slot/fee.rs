//! What the transaction in a slot cost.

use std::sync::Arc;

use journal::{AttemptRow, Event, Journaled};
use sdk_plugin::chain::Observation;
use sdk_plugin::{Amount, StepIndex};

use super::OpenSlot;
use crate::state::settlement::Settlement;

/// What a transaction in a block cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownFee {
    /// Id of the attempt.
    pub attempt: u64,
    /// Native atomic units.
    pub fee: Amount,
    /// The node that showed it.
    pub node: Option<String>,
}

impl ShownFee {
    /// As a poll showed it, one observation for each attempt.
    pub(super) fn of(attempts: &[Journaled<AttemptRow>], seen: &[Observation]) -> Option<Self> {
        attempts.iter().zip(seen).find_map(|(attempt, seen)| {
            Some(Self {
                attempt: attempt.id,
                fee: seen.fee?,
                node: seen.node.clone(),
            })
        })
    }
}

impl OpenSlot {
    /// The event that records what its transaction cost, unless its settlements have that already.
    pub(crate) fn fee_to_record(&self) -> Option<Event> {
        if self.is_client_signed() {
            // The client has paid it.
            return None;
        }
        let ShownFee { attempt, fee, node } = self.lock().fee.clone()?;
        let has_it = |(settlement, _): &(Arc<Settlement>, StepIndex)| {
            let state = settlement.lock();
            let mut costs = state.row.costs.iter();
            costs.any(|cost| cost.attempt == attempt && cost.fee == fee)
        };
        let is_recorded = !self.covers.is_empty() && self.covers.iter().all(has_it);
        (!is_recorded).then_some(Event::FeePaid { attempt, fee, node })
    }
}
