//! How slots close: after a final decision, or because a transaction that is not ours used them.

use crate::decide::figure;
use crate::decide::steps::{MOST_NEW_SLOTS, is_preparation, is_renewable, skipped_after};
use crate::endings::Endings;
use crate::state::lane::LaneCommand;
use crate::state::network::NetworkRun;
use crate::state::settlement::Settlement;
use crate::state::slot::{ONE_NODE_DECIDES_AFTER, OpenSlot};
use crate::verdict::{ANOTHER, NONE};
use sdk_plugin::StepIndex;
use std::sync::Arc;

use sdk_plugin::chain::GuardState;

use journal::{Event, Outcome, StepState};

impl Endings {
    /// Closes a slot whose decision is final.
    pub(crate) async fn close(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>, by: &str) {
        let settlements = slot.settlements();
        let mut deciding = Vec::new();
        for settlement in &settlements {
            deciding.push(settlement.deciding.lock().await);
        }
        if slot.undecided().contains(&true) {
            // The decision was undone for some of its steps and not for all: it is made again.
            slot.lock().reopen();
            slot.resume_decision();
            return;
        }
        let mut events = vec![closed(slot, by)];
        events.extend(slot.fee_to_record());
        for (settlement, step) in &slot.covers {
            events.push(Event::StepFinal {
                settlement: settlement.id,
                step: *step,
            });
        }
        // A settlement that ends with its last slot ends in the same commit.
        events.extend(
            settlements
                .iter()
                .flat_map(|settlement| self.end_events(settlement, &slot.covers)),
        );
        if let Err(error) = self.runtime.journal.commit(events).await {
            tracing::error!(%error, sequence = slot.sequence, "a slot could not be closed");
            return;
        }
        self.count_fee(slot);
        self.remove_closed(run, slot);
        for settlement in &settlements {
            self.outcomes.refresh_locked(settlement).await;
        }
        drop(deciding);
        for settlement in &settlements {
            // Callers that waited for the payment to appear again no longer have to.
            self.outcomes.serve_waiters(settlement, None).await;
            self.outcomes.advance(settlement);
            self.outcomes.forget_if_finished(settlement);
        }
    }

    /// Closes a slot that is used at a final block, without an observed success of ours. A step whose guard is
    /// unchanged there had no effect: it takes another slot, or fails. A step whose guard was changed is never sent
    /// again.
    pub(crate) async fn close_used(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>) {
        let guards = {
            let state = slot.lock();
            // `None` without an anchor: a receipt that reverted at a final block replaces it.
            state
                .anchor
                .clone()
                .map(|anchor| (anchor.block.height, anchor.guards))
        };
        let guard_of = |index: usize| match &guards {
            Some((_, guards)) => guards.get(index).copied().unwrap_or_default(),
            None => GuardState::Changed,
        };
        // Without an anchor, a receipt of ours shows the use.
        if guards.is_some() && !self.two_nodes_see_it_used(run, slot).await {
            return;
        }
        let height = guards.as_ref().map_or_else(|| run.head(), |(height, _)| *height);
        let settlements = slot.settlements();
        let mut deciding = Vec::new();
        for settlement in &settlements {
            deciding.push(settlement.deciding.lock().await);
        }
        let mut events = vec![closed(slot, ANOTHER)];
        events.extend(slot.fee_to_record());
        let mut lost = Vec::new();
        for (index, (settlement, step)) in slot.covers.iter().enumerate() {
            let row = settlement.lock().row.clone();
            let (id, step) = (settlement.id, *step);
            match step.of(&row.steps).map(|row| &row.state) {
                Some(StepState::InSlot { .. }) => {}
                Some(StepState::Done { .. } | StepState::Failed { .. } | StepState::Skipped) => {
                    events.push(Event::StepFinal { settlement: id, step });
                    continue;
                }
                Some(StepState::Waiting | StepState::Unexplained { .. }) | None => continue,
            }
            let planned = settlement.plan().and_then(|plan| step.of(&plan.steps));
            if guard_of(index) == GuardState::Unchanged || planned.is_some_and(is_preparation) {
                events.push(Event::StepFreed { settlement: id, step });
            } else {
                events.extend(unexplained(&row, step, height));
                lost.push((Arc::clone(settlement), step));
            }
        }
        if let Err(error) = self.runtime.journal.commit(events).await {
            tracing::error!(%error, sequence = slot.sequence, "a slot could not be closed");
            return;
        }
        self.count_fee(slot);
        self.remove_closed(run, slot);
        if let Some(lane) = run.lane(&slot.lane.signer) {
            lane.send_command(LaneCommand::CatchUp);
        }
        for settlement in &settlements {
            self.outcomes.refresh_locked(settlement).await;
        }
        drop(deciding);
        for settlement in &settlements {
            self.outcomes.advance(settlement);
            if slot.is_shared() {
                // Those that were decided end here; others of the slot did not.
                self.outcomes.serve_waiters(settlement, None).await;
                self.begin_to_finish(settlement);
            }
        }
        for (settlement, step) in lost {
            self.begin_explaining(settlement, step);
        }
    }

    /// Closes a slot whose transactions are all proven dead, if another one may be made for its step: the step gets another
    /// slot. `false`: its failure is judged instead.
    pub(crate) async fn renew(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>) -> bool {
        let [(settlement, step)] = slot.covers.as_slice() else {
            return false;
        };
        let planned = settlement.plan().and_then(|plan| step.of(&plan.steps)).cloned();
        let now_s = self.runtime.clock.now_s();
        let may_be_renewed = planned.is_some_and(|planned| {
            is_renewable(&planned, &slot.lane) && planned.expires_at_s.is_none_or(|at| now_s < at)
        });
        if !may_be_renewed {
            return false;
        }
        match self.history_of(settlement, *step).await {
            Some((slots, _)) if slots <= MOST_NEW_SLOTS => {}
            // That it failed is for the scheme to judge.
            Some(_) => return false,
            // Read again with the next poll.
            None => return true,
        }
        let deciding = settlement.deciding.lock().await;
        let is_in_slot = step
            .of(&settlement.lock().row.steps)
            .is_some_and(|row| matches!(row.state, StepState::InSlot { .. }));
        if !is_in_slot {
            return false;
        }
        let mut events = vec![closed(slot, NONE)];
        events.extend(slot.fee_to_record());
        events.push(Event::StepFreed {
            settlement: settlement.id,
            step: *step,
        });
        if let Err(error) = self.runtime.journal.commit(events).await {
            tracing::error!(%error, sequence = slot.sequence, "a slot could not be closed");
            return true;
        }
        self.count_fee(slot);
        self.remove_closed(run, slot);
        self.outcomes.refresh_locked(settlement).await;
        drop(deciding);
        self.outcomes.advance(settlement);
        true
    }

    /// Closes a slot whose decision is final although no transaction of ours was observed to use it, once two nodes
    /// show it used. If an unused slot were closed, every later transaction in the lane would wait for it forever.
    pub(crate) async fn close_decided(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>) {
        if self.two_nodes_see_it_used(run, slot).await {
            self.close(run, slot, ANOTHER).await;
        }
    }

    /// Starts the search for what had the effect of a step that is never sent again.
    pub(crate) fn begin_explaining(self: &Arc<Self>, settlement: Arc<Settlement>, step: StepIndex) {
        let network = settlement.network.id();
        tracing::error!(
            settlement = settlement.id,
            network,
            step = step.number(),
            "step_unexplained: the step's slot is used, and a transaction that no node shows has changed the state \
             that it guards. The step is not sent again, and the logs are searched until the transaction is found. \
             Check that the network's RPC nodes serve eth_getLogs and eth_getTransactionReceipt for recent blocks"
        );
        self.runtime
            .metrics
            .add("switchyard_unexplained_total", &[("network", network)], 1);
        if !settlement.lock().row.holds_keys() {
            self.runtime.claims.free_keys(settlement.id);
        }
        self.begin_again_to_explain(&settlement, step);
    }

    /// Counts what the final transaction of a closed slot cost. A client's own transaction costs the signer nothing.
    fn count_fee(&self, slot: &OpenSlot) {
        let shown = slot.lock().fee.clone();
        if let Some(shown) = shown.filter(|_| !slot.is_client_signed()) {
            let labels = [
                ("network", slot.lane.network.as_str()),
                ("signer", slot.lane.signer.as_str()),
            ];
            let fee = figure::of_amount(shown.fee);
            self.runtime.metrics.add_quantity(figure::FEES, &labels, fee);
        }
    }

    pub(crate) fn remove_closed(&self, run: &NetworkRun, slot: &OpenSlot) {
        slot.lock().closed = true;
        run.remove_slot(&slot.key());
        if let Some(lane) = run.lane(&slot.lane.signer) {
            lane.room.notify_one();
        }
    }

    /// Whether two nodes, each queried separately, show the slot used and every guard as in the anchor. If only one
    /// node answers, it decides after ten minutes.
    async fn two_nodes_see_it_used(self: &Arc<Self>, run: &NetworkRun, slot: &Arc<OpenSlot>) -> bool {
        if run.network.settings.nodes < 2 {
            return true;
        }
        let expected = slot.lock().anchor.clone();
        let views = self.runtime.anchors_of_each(run, slot).await;
        let agree = |anchor: &&sdk_plugin::chain::Anchor| {
            anchor.next_sequence > slot.sequence
                && expected
                    .as_ref()
                    .is_some_and(|expected| expected.guards == anchor.guards)
        };
        let agreeing = views.iter().filter(agree).count();
        if agreeing >= 2 {
            slot.lock().second_node.record_present();
            return true;
        }
        if agreeing < views.len() {
            // A node contradicts: nothing is decided, and the chain is read again.
            slot.lock().anchor = None;
            return false;
        }
        if !slot.may_one_node_decide() || agreeing == 0 {
            return false;
        }
        tracing::error!(network = run.network.id(), signer = %slot.lane.signer, sequence = slot.sequence,
            "one_node_decided: a slot is used and only one RPC node answers; after {} minutes its answer counts. Bring the other \
             node back",
            ONE_NODE_DECIDES_AFTER.as_secs() / 60);
        true
    }

    /// The events of a settlement's end, for the commit that makes these steps final. Empty if the settlement does
    /// not end.
    fn end_events(
        &self,
        settlement: &Arc<Settlement>,
        final_now: &[(Arc<Settlement>, StepIndex)],
    ) -> Vec<Event> {
        let state = settlement.lock();
        let ends = state.row.outcome != Outcome::Open
            && StepIndex::each(&state.row.steps).all(|(index, row)| {
                row.is_final
                    || final_now
                        .iter()
                        .any(|(s, step)| s.id == settlement.id && *step == index)
            });
        if !ends || state.row.finished {
            return Vec::new();
        }
        let settlement = settlement.id;
        vec![
            Event::KeysFreed { settlement },
            Event::Finished {
                settlement,
                at_ms: self.runtime.clock.now_ms(),
            },
        ]
    }
}

fn closed(slot: &OpenSlot, by: &str) -> Event {
    Event::SlotClosed {
        network: slot.lane.network.clone(),
        signer: slot.lane.signer.clone(),
        sequence: slot.sequence,
        by: by.to_owned(),
    }
}

/// The events that record a step as unexplained. It is never sent again and later steps can't start. If no other
/// step is open, nothing needs the conflict keys, and they are freed.
pub(crate) fn unexplained(row: &journal::SettlementRow, step: StepIndex, height: u64) -> Vec<Event> {
    let settlement = row.id;
    let mut events = vec![Event::StepUnexplained {
        settlement,
        step,
        height,
    }];
    let later = skipped_after(row, step);
    events.extend(later.iter().map(|step| Event::StepSkipped {
        settlement,
        step: *step,
    }));
    let ends = StepIndex::each(&row.steps).all(|(index, row)| {
        let here = index == step || later.contains(&index);
        here || !matches!(row.state, StepState::Waiting | StepState::InSlot { .. })
    });
    if ends {
        events.push(Event::KeysFreed { settlement });
    }
    events
}
