//! A lane that this node hands over while it lives: because it has more than its share, or can't reach the chain and another
//! node can.
//!
//! In this order: nothing new is placed in the lane, its task ends, memory forgets it, and only then the lease is given up.
//! Work on it that is still in progress can record nothing from then on: the journal refuses it. The next owner reads everything
//! from the journal, and callers that wait here for a recorded payment learn from there what becomes of it.

use super::Owner;
use crate::state::network::NetworkRun;
use crate::state::settlement::Phase;
use sdk_plugin::chain::Lane;
use std::sync::Arc;

impl Owner {
    /// Hands a lane over, in a task of its own: a round of leases that takes too long must not stop it halfway.
    pub(super) fn begin_to_release(
        self: &Arc<Self>,
        unit: &str,
        run: &Arc<NetworkRun>,
        lane: &Lane,
        why: &'static str,
    ) {
        if !self.releasing.lock().insert(unit.to_owned()) {
            return;
        }
        // From here on nothing new is placed in it.
        self.runtime.ownership.remove(unit);
        let (owner, unit) = (Arc::clone(self), unit.to_owned());
        let (run, lane) = (Arc::clone(run), lane.clone());
        self.runtime.spawn(async move {
            let released = owner.release(&unit, &run, &lane, why);
            let work = "the handing over of a lane";
            match owner.runtime.survives(&lane.network, work, released).await {
                Some(()) => {
                    owner.releasing.lock().remove(&unit);
                }
                None => owner.abandon(&unit).await,
            }
        });
    }

    /// After a panic in the middle: what this process has in memory about the lane is not true any more, and nothing of the lane
    /// may continue here. So the process ends, and other nodes take the lane. Until then it stays among those that are handed
    /// over, so that this process does not take it itself.
    async fn abandon(&self, unit: &str) {
        tracing::error!(
            unit,
            "lane_abandoned: this node could not hand the lane over, and ends; the supervisor starts it again"
        );
        self.runtime.ownership.lose(unit);
        let Some(shared) = self.runtime.journal.shared() else {
            return;
        };
        if let Err(error) = shared.give_up(unit).await {
            // This node does not renew it any more.
            tracing::warn!(unit, %error, "a lease was not given up: others wait until it counts as gone");
        }
    }

    async fn release(&self, unit: &str, run: &NetworkRun, lane: &Lane, why: &'static str) {
        let Some(shared) = self.runtime.journal.shared() else {
            return;
        };
        if let Some(handle) = run.remove_lane(&lane.signer) {
            handle.end.end().await;
        }
        run.remove_slots(&lane.signer);
        let mut open: usize = 0;
        for settlement in self.runtime.claims.holders_on(&lane.network) {
            let is_of_lane = {
                let state = settlement.lock();
                state.phase == Phase::Committed && state.row.unit().as_deref() == Some(unit)
            };
            if is_of_lane {
                // Found there before it is no longer found here.
                self.runtime.elsewhere.add(&settlement);
                self.runtime.claims.forget(&settlement);
                open = open.saturating_add(1);
            }
        }
        match shared.give_up(unit).await {
            Ok(()) => tracing::info!(unit, open, "lane_given_up: {why}"),
            // This node does not renew it any more.
            Err(error) => {
                tracing::warn!(unit, open, %error, "lane_given_up: {why}; others wait until its lease counts as gone");
            }
        }
    }
}
