//! Settlements that other nodes have recorded for this node's lanes: each goes through the queue of its lane.

use super::Owner;
use crate::state::lane::{Queued, Work};
use crate::state::settlement::Settlement;
use journal::JournalError;
use sdk_plugin::StepIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Pause between two reads without a hint.
const READ_EVERY: Duration = Duration::from_millis(250);
/// The least pause between two reads.
const LEAST: Duration = Duration::from_millis(10);
/// Settlements of one lane in one read.
const AT_ONCE: usize = 128;

impl Owner {
    pub(super) async fn keep_adopting(self: Arc<Self>) {
        let mut unqueued: BTreeMap<u64, Arc<Settlement>> = BTreeMap::new();
        let mut is_failing = false;
        loop {
            let Some(shared) = self.runtime.journal.shared() else {
                return;
            };
            tokio::time::sleep(LEAST).await;
            // The hint may never come.
            let _ = tokio::time::timeout(READ_EVERY, shared.hint()).await;
            match self.adopt(&mut unqueued).await {
                Ok(()) => is_failing = false,
                Err(error) => {
                    if !is_failing {
                        tracing::error!(%error, "settlements of other nodes can't be read");
                    }
                    is_failing = true;
                    tokio::time::sleep(READ_EVERY).await;
                }
            }
        }
    }

    async fn adopt(&self, unqueued: &mut BTreeMap<u64, Arc<Settlement>>) -> Result<(), JournalError> {
        let Some(shared) = self.runtime.journal.shared() else {
            return Ok(());
        };
        // A lane that is not started yet has nothing to queue in.
        let mut units = Vec::new();
        for run in self.runtime.networks.values() {
            for lane in run.network.all_lanes() {
                if run.lane(&lane.signer).is_some() {
                    units.push(journal::keys::lane_key(&lane.network, &lane.signer));
                }
            }
        }
        if units.is_empty() {
            return Ok(());
        }
        // Those that wait here for their turn leave room for newer ones.
        let holders = self.runtime.claims.holders();
        let waiting = holders.iter().filter(|holder| holder.lock().row.handed_over);
        let known: BTreeSet<u64> = waiting.map(|holder| holder.id).collect();
        let ids = shared.handed_over(&units, &known, AT_ONCE).await?;
        if !ids.is_empty() {
            for (row, plan) in self.runtime.journal.with_plans(&ids).await? {
                let is_own = row
                    .unit()
                    .is_some_and(|unit| self.runtime.ownership.owns_unit(&unit));
                if !row.handed_over || !is_own {
                    continue;
                }
                if let Some(settlement) = self.runtime.bring_back(row, plan) {
                    unqueued.insert(settlement.id, settlement);
                }
            }
        }
        // A lane that was given up meanwhile: its next owner finds them.
        for settlement in unqueued.values() {
            let unit = settlement.lock().row.unit();
            let holder = self.runtime.claims.holder(&settlement.claim);
            let is_holder = holder.is_some_and(|holder| Arc::ptr_eq(&holder, settlement));
            // The hand-over of the lane may have moved it already.
            if is_holder && unit.is_some_and(|unit| !self.runtime.ownership.owns_unit(&unit)) {
                // Found there before it is no longer found here.
                self.runtime.elsewhere.add_again(settlement);
                self.runtime.claims.forget(settlement);
            }
        }
        unqueued.retain(|_, settlement| {
            let unit = settlement.lock().row.unit();
            unit.is_some_and(|unit| self.runtime.ownership.owns_unit(&unit)) && !self.queue(settlement)
        });
        Ok(())
    }

    /// `true`: it is in its lane's queue, or needs none.
    fn queue(&self, settlement: &Arc<Settlement>) -> bool {
        let (home, handed_over) = {
            let state = settlement.lock();
            (state.row.home.clone(), state.row.handed_over)
        };
        let Some(home) = home.filter(|_| handed_over) else {
            return true;
        };
        let lane = self
            .runtime
            .run_of(settlement.network.id())
            .and_then(|run| run.lane(&home));
        let Some(lane) = lane else { return false };
        let queued = lane.queue(Work {
            settlement: Arc::clone(settlement),
            step: StepIndex::FIRST,
            payer: None,
        });
        match queued {
            Queued::Yes => true,
            Queued::Full | Queued::PayerFull | Queued::Closed => false,
        }
    }
}
