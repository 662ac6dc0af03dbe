//! A lane that this node has taken: what its last owner left is continued. Recorded attempts are observed and sent again
//! before anything is built: the last owner's bytes may still be on their way.

use super::Owner;
use crate::endings::revive::unexplained_steps;
use crate::state::network::NetworkRun;
use crate::state::settlement::Settlement;
use crate::state::slot::{OpenSlot, covers_of};
use journal::keys::lane_key;
use journal::{JournalError, open_slots_of};
use sdk_plugin::chain::Lane;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Settlements that are read at once.
const PAGE: usize = 256;
/// Pause before another try.
const AGAIN: Duration = Duration::from_millis(500);

impl Owner {
    pub(super) fn begin_to_take_up(self: &Arc<Self>, run: &Arc<NetworkRun>, lane: &Lane, from: String) {
        let (owner, run, lane) = (Arc::clone(self), Arc::clone(run), lane.clone());
        let began = Instant::now();
        let network = lane.network.clone();
        self.runtime.keep(&network, "the taking over of a lane", move || {
            let (owner, run, lane) = (Arc::clone(&owner), Arc::clone(&run), lane.clone());
            let from = from.clone();
            async move {
                let unit = lane_key(&lane.network, &lane.signer);
                loop {
                    if !owner.runtime.ownership.owns_unit(&unit) {
                        return;
                    }
                    match owner.take_up(&run, &lane).await {
                        Ok(open) => {
                            let took_ms = began.elapsed().as_millis();
                            tracing::info!(
                                unit,
                                from,
                                open,
                                took_ms,
                                "lane_taken: this node owns the lane now"
                            );
                            return;
                        }
                        Err(error) => {
                            tracing::error!(unit, %error, "a lane could not be taken over yet");
                            tokio::time::sleep(AGAIN).await;
                        }
                    }
                }
            }
        });
    }

    /// Returns how many settlements are open.
    async fn take_up(self: &Arc<Self>, run: &Arc<NetworkRun>, lane: &Lane) -> Result<usize, JournalError> {
        let unit = lane_key(&lane.network, &lane.signer);
        let mut settlements = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self.runtime.journal.unfinished_after(after, PAGE).await?;
            let is_last = page.len() < PAGE;
            for (row, plan) in page {
                after = row.id;
                // What waits to be taken over is queued like new work.
                if row.unit().as_ref() != Some(&unit) || row.handed_over {
                    continue;
                }
                if let Some(settlement) = self.runtime.bring_back(row, plan) {
                    settlements.insert(settlement.id, settlement);
                }
            }
            if is_last {
                break;
            }
        }
        let open = open_slots_of(&*self.runtime.journal, &lane.network, &lane.signer).await?;
        run.remove_watched(&lane.signer);
        run.remove_slots(&lane.signer);
        for (slot, attempts) in open {
            let covers = covers_of(&attempts, &settlements);
            let slot = OpenSlot::new(attempts, slot.lane, slot.sequence, covers);
            slot.resume_decision();
            run.add_slot(Arc::new(slot));
        }
        // In place of one from an earlier time as the owner, which knows an old sequence.
        self.lanes.start_lane(run, lane.clone());
        for settlement in settlements.values() {
            self.continue_settlement(settlement);
        }
        Ok(settlements.len())
    }

    fn continue_settlement(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        self.outcomes.advance(settlement);
        for step in unexplained_steps(settlement) {
            self.endings.begin_again_to_explain(settlement, step);
        }
        self.endings.begin_to_finish(settlement);
    }
}
