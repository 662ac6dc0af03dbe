//! A lane that this node has taken: what its last owner left is continued. Recorded attempts are observed and sent again
//! before anything is built: the last owner's bytes may still be on their way.

use super::Owner;
use crate::state::network::NetworkRun;
use crate::state::slot::OpenSlot;
use journal::keys::lane_key;
use journal::lease::Lease;
use journal::{JournalError, open_slots_of};
use sdk_plugin::chain::Lane;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Pause before another try.
const AGAIN: Duration = Duration::from_millis(500);

impl Owner {
    /// `before`: its lease before this node took it.
    pub(super) fn begin_to_take_up(
        self: &Arc<Self>,
        run: &Arc<NetworkRun>,
        lane: &Lane,
        before: Option<&Lease>,
    ) {
        let from = before.map(|lease| lease.node.clone()).unwrap_or_default();
        let is_indexed = before.is_none_or(|lease| lease.is_indexed);
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
                    match owner.take_up(&run, &lane, is_indexed).await {
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
    async fn take_up(
        self: &Arc<Self>,
        run: &Arc<NetworkRun>,
        lane: &Lane,
        is_indexed: bool,
    ) -> Result<usize, JournalError> {
        let unit = lane_key(&lane.network, &lane.signer);
        let settlements = self.runtime.bring_unit_back(&unit).await?;
        let open = open_slots_of(&*self.runtime.journal, &lane.network, &lane.signer).await?;
        run.remove_slots(&lane.signer);
        for (slot, attempts) in open {
            run.add_slot(OpenSlot::resumed(slot, attempts, &settlements));
        }
        // In place of one from an earlier time as the owner, which knows an old sequence.
        self.lanes.start_lane(run, lane.clone());
        for settlement in settlements.values() {
            self.endings.resume(settlement);
        }
        if !is_indexed && let Some(shared) = self.runtime.journal.shared() {
            let ids: Vec<u64> = settlements.keys().copied().collect();
            if let Err(error) = shared.index(&unit, &ids).await {
                tracing::warn!(unit, %error, "the lane's payments were not put into order: its next owner reads all of them");
            }
        }
        Ok(settlements.len())
    }
}
