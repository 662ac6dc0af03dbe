//! How slots close: with a decision that is final, or used by something that was not ours.

use std::sync::Arc;

use sdk_plugin::chain::GuardState;

use super::Engine;
use super::lane::Ask;
use super::network::NetworkRun;
use super::outcome::skipped_behind;
use super::second_source::ONE_NODE_DECIDES_AFTER;
use super::settlement::Settlement;
use super::slot::OpenSlot;
use super::verdict::ANOTHER;
use journal::{Event, Outcome, StepState};

impl Engine {
    /// What decided the slot's steps is final.
    pub(super) async fn close(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>, by: &str) {
        let settlements = slot.settlements();
        let mut deciding = Vec::new();
        for settlement in &settlements {
            deciding.push(settlement.deciding.lock().await);
        }
        let mut events = vec![closed(slot, by)];
        for (settlement, step) in &slot.covers {
            events.push(Event::StepFinal {
                settlement: settlement.id,
                step: *step,
            });
        }
        // What ends with its last slot ends in the same commit.
        events.extend(
            settlements
                .iter()
                .flat_map(|settlement| self.end_events(settlement, &slot.covers)),
        );
        if let Err(error) = self.journal.commit(events).await {
            tracing::error!(%error, sequence = slot.sequence, "a slot could not be closed");
            return;
        }
        self.remove_closed(run, slot);
        for settlement in &settlements {
            self.refresh_locked(settlement).await;
        }
        drop(deciding);
        for settlement in &settlements {
            // Callers that waited to see it again need not any more.
            self.serve_waiters(settlement, None).await;
            self.advance(settlement);
            self.forget_if_finished(settlement);
        }
    }

    /// The slot is used at a final block and no success of ours was seen. A step whose guard is unchanged there had no effect
    /// and takes another slot, or fails; a step whose guard was changed is never sent again.
    pub(super) async fn close_used(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>) {
        let guards = {
            let state = slot.lock();
            // A receipt that reverted at a final block stands for the anchor.
            state
                .anchor
                .clone()
                .map(|anchor| (anchor.block.height, anchor.guards))
        };
        let guard_of = |index: usize| match &guards {
            Some((_, guards)) => guards.get(index).copied().unwrap_or_default(),
            None => GuardState::Changed,
        };
        // Without an anchor a receipt of ours shows the use.
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
        let mut lost = Vec::new();
        for (index, (settlement, step)) in slot.covers.iter().enumerate() {
            let row = settlement.lock().row.clone();
            let at = usize::try_from(*step).unwrap_or(usize::MAX);
            let (id, step) = (settlement.id, *step);
            match row.steps.get(at).map(|row| &row.state) {
                Some(StepState::InSlot { .. }) => {}
                Some(StepState::Done { .. } | StepState::Failed { .. } | StepState::Skipped) => {
                    events.push(Event::StepFinal { settlement: id, step });
                    continue;
                }
                Some(StepState::Waiting | StepState::Unexplained { .. }) | None => continue,
            }
            if guard_of(index) == GuardState::Unchanged {
                events.push(Event::StepFreed { settlement: id, step });
            } else {
                events.extend(unexplained(&row, step, height));
                lost.push((Arc::clone(settlement), step));
            }
        }
        if let Err(error) = self.journal.commit(events).await {
            tracing::error!(%error, sequence = slot.sequence, "a slot could not be closed");
            return;
        }
        self.remove_closed(run, slot);
        if let Some(lane) = run.lane(&slot.lane.signer) {
            lane.ask(Ask::CatchUp);
        }
        for settlement in &settlements {
            self.refresh_locked(settlement).await;
        }
        drop(deciding);
        for settlement in &settlements {
            self.advance(settlement);
        }
        for (settlement, step) in lost {
            self.begin_explaining(settlement, step);
        }
    }

    /// What decided the slot's steps is final, and nothing of ours was seen to use it: the slot closes when two nodes show it
    /// used. If it is not, whatever comes after it in the lane would wait for it for ever.
    pub(super) async fn close_decided(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>) {
        if self.two_nodes_see_it_used(run, slot).await {
            self.close(run, slot, ANOTHER).await;
        }
    }

    /// Looks for what had the effect of a step that is never sent again.
    pub(super) fn begin_explaining(self: &Arc<Self>, settlement: Arc<Settlement>, step: u32) {
        let network = settlement.network.id();
        tracing::error!(
            settlement = settlement.id,
            network,
            step,
            "step_unexplained: its slot is used and what it guards was changed, by a transaction that no node shows; it is not \
             sent again, and the logs are searched until the transaction is found. Check that the network's RPC nodes serve \
             eth_getLogs and eth_getTransactionReceipt for recent blocks"
        );
        self.metrics
            .add("switchyard_unexplained_total", &[("network", network)], 1);
        if !settlement.lock().row.holds_keys() {
            self.free_keys(settlement.id);
        }
        self.begin_again_to_explain(&settlement, step);
    }

    pub(super) fn remove_closed(&self, run: &NetworkRun, slot: &OpenSlot) {
        slot.lock().closed = true;
        run.remove_slot(&slot.key());
        if let Some(lane) = run.lane(&slot.lane.signer) {
            lane.room.notify_one();
        }
    }

    /// Whether two nodes, each queried by itself, show the slot used and every guard as the anchor has it. Where only one
    /// answers it decides after ten minutes.
    async fn two_nodes_see_it_used(self: &Arc<Self>, run: &NetworkRun, slot: &Arc<OpenSlot>) -> bool {
        if run.network.settings.nodes < 2 {
            return true;
        }
        let expected = slot.lock().anchor.clone();
        let views = self.anchors_of_each(run, slot).await;
        let agree = |anchor: &&sdk_plugin::chain::Anchor| {
            anchor.next_sequence > slot.sequence
                && expected
                    .as_ref()
                    .is_some_and(|expected| expected.guards == anchor.guards)
        };
        let agreeing = views.iter().filter(agree).count();
        if agreeing >= 2 {
            slot.lock().one_node_since = None;
            return true;
        }
        if agreeing < views.len() {
            // A node that contradicts is no reason to decide: the chain is read anew.
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

    /// What a settlement's end adds to the commit that makes these steps final.
    fn end_events(&self, settlement: &Arc<Settlement>, final_now: &[(Arc<Settlement>, u32)]) -> Vec<Event> {
        let state = settlement.lock();
        let ends = state.row.outcome != Outcome::Open
            && state.row.steps.iter().enumerate().all(|(index, row)| {
                row.is_final
                    || final_now
                        .iter()
                        .any(|(s, step)| s.id == settlement.id && usize::try_from(*step) == Ok(index))
            });
        if !ends || state.row.finished {
            return Vec::new();
        }
        let settlement = settlement.id;
        vec![
            Event::KeysFreed { settlement },
            Event::Finished {
                settlement,
                at_ms: self.clock.now_ms(),
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

/// A step is never sent again, and what comes after it can't be begun: nothing keeps the conflict keys then.
pub(super) fn unexplained(row: &journal::SettlementRow, step: u32, height: u64) -> Vec<Event> {
    let settlement = row.id;
    let mut events = vec![Event::StepUnexplained {
        settlement,
        step,
        height,
    }];
    let later = skipped_behind(row, step);
    events.extend(later.iter().map(|step| Event::StepSkipped {
        settlement,
        step: *step,
    }));
    let ends = row.steps.iter().enumerate().all(|(index, row)| {
        let here = u32::try_from(index).is_ok_and(|index| index == step || later.contains(&index));
        here || !matches!(row.state, StepState::Waiting | StepState::InSlot { .. })
    });
    if ends {
        events.push(Event::KeysFreed { settlement });
    }
    events
}
