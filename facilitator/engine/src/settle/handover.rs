//! A settlement whose lane another node owns: it is recorded here, and continued there.

use super::Settling;
use crate::decide::budget::Spender;
use crate::decide::replies;
use crate::decide::replies::{paused, unavailable};
use crate::runtime::first_commit::{Home, NotBegun};
use crate::runtime::grants::NotTaken;
use crate::state::network::NetworkRun;
use crate::state::settlement::{Phase, Settlement, refuse, refuse_commit};
use journal::keys::lane_key;
use journal::{CommitError, JournalError};
use sdk_plugin::chain::Lane;
use sdk_plugin::scheme::{LaneChoice, Plan};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;

/// Where a planned settlement goes.
pub(super) enum Place {
    /// Into the queue of a lane of this process that serves this choice.
    Here(LaneChoice),
    /// To the owner of this lane.
    Elsewhere(Lane),
    /// The plan names signers of several lanes, which different nodes may own.
    SeveralSigners,
    /// No lane can take it now.
    Nowhere,
}

impl Settling {
    /// Where a plan is carried out. All steps of a settlement are in one lane where several nodes share the journal.
    pub(super) fn place_of(&self, settlement: &Settlement, plan: &Plan) -> Place {
        let Some(first) = plan.steps.first() else {
            return Place::Nowhere;
        };
        let is_shared = self.runtime.ownership.is_shared();
        let mut named: Option<&String> = None;
        for step in &plan.steps {
            if let LaneChoice::Signer { address } = &step.lane {
                if named.is_some_and(|other| other != address) {
                    return if is_shared {
                        Place::SeveralSigners
                    } else {
                        Place::Here(first.lane.clone())
                    };
                }
                named = Some(address);
            }
        }
        if !is_shared {
            let choice = named.map_or_else(
                || first.lane.clone(),
                |address| LaneChoice::Signer {
                    address: address.clone(),
                },
            );
            return Place::Here(choice);
        }
        let network = &settlement.network;
        let ownership = &self.runtime.ownership;
        match named {
            Some(address) if ownership.owns(network.id(), address) => Place::Here(LaneChoice::Signer {
                address: address.clone(),
            }),
            Some(address) => {
                let lanes = network.all_lanes();
                let lane = lanes.into_iter().find(|lane| lane.signer == *address);
                lane.map_or(Place::Nowhere, Place::Elsewhere)
            }
            None => {
                let lanes = network.lanes();
                if lanes
                    .iter()
                    .any(|lane| ownership.owns(network.id(), &lane.signer))
                {
                    return Place::Here(first.lane.clone());
                }
                // Spread over the owners, and to those first that can send now.
                let is_served = |lane: &Lane| {
                    let unit = lane_key(&lane.network, &lane.signer);
                    self.runtime.shared_journal.is_served(&unit)
                };
                let (served, others): (Vec<Lane>, Vec<Lane>) = lanes.into_iter().partition(is_served);
                let lanes = if served.is_empty() { others } else { served };
                let count = u64::try_from(lanes.len()).unwrap_or(1).max(1);
                let index = usize::try_from(settlement.id % count).unwrap_or(0);
                lanes.get(index).cloned().map_or(Place::Nowhere, Place::Elsewhere)
            }
        }
    }

    /// Records a settlement for the owner of a lane. From then on this process only watches what becomes of it, for its
    /// callers.
    pub(super) async fn hand_over(self: &Arc<Self>, settlement: &Arc<Settlement>, lane: &Lane) {
        if settlement
            .kind
            .as_ref()
            .is_some_and(|kind| self.runtime.is_paused(kind))
        {
            return settlement.give_up(|_| paused());
        }
        let Some(run) = self.runtime.run_of(settlement.network.id()) else {
            return settlement.give_up(|_| unavailable("this network is not ready; try again"));
        };
        match self.has_room(run, lane).await {
            Ok(true) => {}
            Ok(false) => {
                return settlement.give_up(|_| {
                    unavailable("too many settlements wait for the node that sends them; try again")
                });
            }
            Err(error) => {
                tracing::warn!(settlement = settlement.id, %error, "a settlement was not started");
                return settlement.give_up(|_| unavailable("the journal can't be read"));
            }
        }
        // The most that its transaction may cost: what it will cost is not known here.
        let (now_ms, cost) = (self.runtime.clock.now_ms(), run.network.settings.max_cost);
        let spender = Spender::new(&lane.signer, [settlement.lock().row.tenant.clone()]);
        match self.runtime.take_budget(run, now_ms, cost, &spender).await {
            Ok(()) => {}
            Err(NotTaken::Over(over)) => {
                return refuse(settlement, &self.runtime.over_budget(run, &over));
            }
            Err(NotTaken::Busy) => {
                return settlement.give_up(|_| unavailable("the budget is being counted; try again"));
            }
            Err(NotTaken::Journal(error)) => {
                tracing::warn!(settlement = settlement.id, %error, "a settlement was not started");
                return settlement.give_up(|_| unavailable("the journal can't be written"));
            }
        }
        if !self.record_for(settlement, lane).await {
            run.budget.give_back(now_ms, cost, &spender);
        }
    }

    /// Whether fewer settlements wait for the owner of a lane than its queue can hold. An owner that takes none must not
    /// make the list of them longer and longer.
    async fn has_room(&self, run: &NetworkRun, lane: &Lane) -> Result<bool, JournalError> {
        let Some(shared) = self.runtime.journal.shared() else {
            return Ok(true);
        };
        let places = run.network.settings.lane_queue.max(1);
        let unit = lane_key(&lane.network, &lane.signer);
        let journal = &self.runtime.shared_journal;
        if let Some(has_room) = journal.enter(&unit, places, Instant::now()) {
            return Ok(has_room);
        }
        let waiting = shared
            .handed_over(std::slice::from_ref(&unit), &BTreeSet::new(), places)
            .await?;
        journal.set_waiting(&unit, waiting.len(), Instant::now());
        Ok(journal.enter(&unit, places, Instant::now()).unwrap_or(false))
    }

    /// `true`: it is recorded. Otherwise its callers were answered.
    async fn record_for(self: &Arc<Self>, settlement: &Arc<Settlement>, lane: &Lane) -> bool {
        let events = match self
            .runtime
            .begin_commit(settlement, Home::Elsewhere(&lane.signer))
        {
            Ok(events) => events,
            Err(NotBegun::Withdrawn) => {
                settlement.give_up(|_| unavailable("withdrawn"));
                return false;
            }
            Err(NotBegun::Taken) => {
                self.lost(settlement).await;
                return false;
            }
            Err(NotBegun::NoPlan | NotBegun::Unwritable) => {
                settlement.give_up(|_| unavailable("the plan can't be recorded"));
                return false;
            }
        };
        match self.runtime.journal.commit(events).await {
            Ok(()) => {
                settlement.lock().phase = Phase::Committed;
                settlement.changed.notify_waiters();
                // Found there before it is no longer found here.
                self.runtime.elsewhere.add(settlement);
                self.runtime.claims.forget(settlement);
                true
            }
            Err(CommitError::ClaimTaken) => {
                self.lost(settlement).await;
                false
            }
            Err(error) => {
                tracing::warn!(settlement = settlement.id, %error, "a settlement was not started");
                refuse_commit(settlement, &error);
                false
            }
        }
    }

    async fn lost(&self, settlement: &Arc<Settlement>) {
        // Forgotten first, or the query would find this settlement itself.
        self.runtime.claims.forget(settlement);
        let row = self.runtime.claim_row(&settlement.claim).await.ok().flatten();
        settlement.give_up(|waiter| {
            replies::lost_the_race(row.as_ref(), &waiter.identity, &waiter.network_as_sent)
        });
    }
}
