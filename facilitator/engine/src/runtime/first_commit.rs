//! The events that open a settlement.

use crate::decide::rows::{job_events, store_events};
use crate::runtime::Runtime;
use crate::state::settlement::{Phase, Settlement};
use journal::{Event, NewSettlement};
use std::sync::Arc;

/// Who continues a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home<'a> {
    /// This process, in this signer's lane.
    Here(&'a str),
    /// The node that owns this signer's lane.
    Elsewhere(&'a str),
}

/// Why a first commit can't begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotBegun {
    /// Its callers have gone.
    Withdrawn,
    /// Another settlement has the claim.
    Taken,
    NoPlan,
    /// The plan can't be written.
    Unwritable,
}

impl Runtime {
    /// The events that open a settlement, for its first commit.
    pub(crate) fn begin_commit(
        &self,
        settlement: &Arc<Settlement>,
        home: Home<'_>,
    ) -> Result<Vec<Event>, NotBegun> {
        let row = {
            let mut state = settlement.lock();
            if state.phase == Phase::Gone {
                return Err(NotBegun::Withdrawn);
            }
            state.phase = Phase::Committing;
            if self.ownership.is_shared() {
                let (Home::Here(signer) | Home::Elsewhere(signer)) = home;
                state.row.home = Some(signer.to_owned());
                state.row.handed_over = matches!(home, Home::Elsewhere(_));
            }
            state.row.clone()
        };
        if !self.claims.hold_claim(settlement) {
            return Err(NotBegun::Taken);
        }
        let plan = settlement.plan().ok_or(NotBegun::NoPlan)?;
        let text = serde_json::to_string(&**plan).map_err(|_| NotBegun::Unwritable)?;
        let plugin = row.plugin.clone();
        let writes = store_events(&plugin, plan.writes.clone(), self.clock.now_ms());
        let mut new = NewSettlement::new(row, text, plan.reserves.clone(), plan.holds.clone());
        new.keys_seen = settlement.keys_seen.get().cloned();
        let mut events = vec![Event::Opened(Box::new(new))];
        events.extend(writes);
        events.extend(job_events(&plugin, plan.jobs.clone()));
        Ok(events)
    }
}
