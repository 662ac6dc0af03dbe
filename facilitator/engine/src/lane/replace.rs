//! Transactions for a slot other than a settlement's own first one: a replacement with a higher bid, or a fill.

use crate::decide::budget::Spender;
use crate::lane::{LaneTask, MOST_GAPS};
use crate::state::lane::LaneCommand;
use crate::state::settlement::trace_of;
use crate::state::slot::{OpenSlot, SlotKey, bid_of};
use std::sync::Arc;
use std::time::Duration;

use base::trace;
use sdk_plugin::Amount;
use sdk_plugin::chain::Slot;
use sdk_plugin::scheme::Step;
use tokio::time::Instant;

use journal::{AttemptKind, AttemptRow, Journaled, NewAttempt, record_attempt};

/// How long replacements must have been too expensive before a slot is filled.
const FILL_WHEN_PRICED_OUT_FOR: Duration = Duration::from_secs(120);

impl LaneTask {
    /// Fills the unused slots below the first open one, which block every later transaction of this signer. A
    /// transaction from elsewhere had used such a slot, and a reorganisation removed it.
    pub(crate) async fn fill_gaps(&self, first_open: u64) {
        let Ok(state) = self
            .lanes
            .runtime
            .lane_of_any(&self.run.network, &self.lane)
            .await
        else {
            return;
        };
        // A slot that has landed is no gap, although a lagging node may report one.
        let unused = |sequence: &u64| self.run.slot(&(self.lane.signer.clone(), *sequence)).is_none();
        for sequence in (state.next_sequence..first_open).filter(unused).take(MOST_GAPS) {
            let place = Slot::new(self.lane.clone(), sequence);
            let Ok(bid) = self
                .lanes
                .runtime
                .ops
                .quote(&self.run.network, &self.lane, None)
                .await
            else {
                return;
            };
            let Ok(built) = self.lanes.runtime.ops.fill(&self.run.network, &place, &bid).await else {
                return;
            };
            if built.max_cost > self.run.network.settings.max_cost {
                return;
            }
            let row = self.attempt_row(&place, &bid, &built, AttemptKind::Fill, Vec::new());
            match record_attempt(
                &*self.lanes.runtime.journal,
                Vec::new(),
                NewAttempt::new(row, built.bytes),
            )
            .await
            {
                Ok(attempt) => {
                    let spender = self.spender(std::iter::empty());
                    self.run
                        .budget
                        .charge(attempt.prepared_at_ms, attempt.max_cost, &spender);
                    tracing::warn!(network = %self.lane.network, signer = %self.lane.signer, sequence,
                        "an unused slot blocks later transactions of this signer: filling it");
                    self.open_slot(attempt, Vec::new());
                }
                // A permanently closed slot is used, whatever this node reports: the node lags.
                Err(error) => return tracing::warn!(%error, sequence, "a gap was not filled"),
            }
        }
    }

    /// Replaces a slot's transaction with the same steps at a higher bid. A fill is replaced with a fill.
    pub(crate) async fn rebid(&self, key: &SlotKey) {
        let Some((slot, newest)) = self.replaceable(key) else {
            return;
        };
        if self.run.lowest_in_flight(&self.lane.signer) == Some(slot.sequence) {
            self.fill_gaps(slot.sequence).await;
        }
        self.replace(&slot, &newest, newest.kind).await;
    }

    /// Replaces a slot's transaction with one that consumes the slot harmlessly.
    pub(crate) async fn fill(&self, key: &SlotKey) {
        if let Some((slot, newest)) = self.replaceable(key) {
            self.replace(&slot, &newest, AttemptKind::Fill).await;
        }
    }

    /// The slot and its newest attempt; `None` if the slot is decided or nothing can be sent. Either way, the
    /// command for the slot counts as carried out.
    fn replaceable(&self, key: &SlotKey) -> Option<(Arc<OpenSlot>, Journaled<AttemptRow>)> {
        let slot = self.run.slot(key)?;
        let newest = {
            let mut state = slot.lock();
            state.command_pending = false;
            if state.closed || state.decision.is_some() {
                return None;
            }
            state.newest().cloned()?
        };
        // If slots have no order, there is nothing to outbid: the same bytes are sent again.
        if !slot.lane.ordered || self.run.is_on_wrong_chain() {
            return None;
        }
        Some((slot, newest))
    }

    async fn replace(&self, slot: &Arc<OpenSlot>, newest: &AttemptRow, kind: AttemptKind) {
        let place = Slot {
            replaces: true,
            attempt: u32::try_from(slot.lock().attempts.len()).unwrap_or(u32::MAX),
            ..Slot::new(self.lane.clone(), slot.sequence)
        };
        let previous = bid_of(newest);
        let bid = match self
            .lanes
            .runtime
            .ops
            .quote(&self.run.network, &self.lane, Some(&previous))
            .await
        {
            Ok(bid) => bid,
            // No better bid is allowed or known now: until there is one, the recorded transaction is sent again.
            Err(fault) => return self.send_again(slot, &fault.message),
        };
        let steps: Vec<Step> = steps_of(slot);
        if kind == AttemptKind::Steps && steps.len() != slot.covers.len() {
            tracing::error!(network = %self.lane.network, sequence = slot.sequence,
                "a stuck transaction can't be replaced: its plan can't be read; load the version that made it");
            return;
        }
        let built = match kind {
            AttemptKind::Fill => self.lanes.runtime.ops.fill(&self.run.network, &place, &bid).await,
            AttemptKind::Steps => {
                let ops = &self.lanes.runtime.ops;
                let built = ops.build(&self.run.network, &place, &bid, &steps);
                trace::within(trace_of(&slot.covers), built).await
            }
        };
        let built = match built {
            Ok(built) => built,
            Err(fault) => return self.send_again(slot, &fault.message),
        };
        if !built.left_out.is_empty() {
            return self.send_again(slot, "the driver left steps out of the replacement");
        }
        let limit = match kind {
            AttemptKind::Fill => self.run.network.settings.max_cost,
            AttemptKind::Steps => self.cost_limit_of_all(&steps),
        };
        if built.max_cost > limit {
            return self.too_expensive(slot, kind);
        }
        slot.lock().bids.record_affordable();
        let covers = slot
            .covers
            .iter()
            .map(|(settlement, step)| (settlement.id, *step))
            .collect();
        let row = self.attempt_row(&place, &bid, &built, kind, covers);
        let settlements = slot.settlements();
        let spender = self.spender(settlements.iter());
        let mut deciding = Vec::new();
        for settlement in &settlements {
            deciding.push(settlement.deciding.lock().await);
        }
        let attempt = NewAttempt::new(row, built.bytes);
        match record_attempt(&*self.lanes.runtime.journal, Vec::new(), attempt).await {
            Ok(attempt) => self.replaced(slot, attempt, kind, &spender),
            Err(error) => tracing::warn!(%error, "a replacement was not recorded"),
        }
    }

    /// Counts, charges and sends a recorded replacement.
    fn replaced(
        &self,
        slot: &OpenSlot,
        attempt: Journaled<AttemptRow>,
        kind: AttemptKind,
        spender: &Spender,
    ) {
        let what = if kind == AttemptKind::Fill {
            "fill"
        } else {
            "replace"
        };
        let labels = [("network", self.lane.network.as_str()), ("what", what)];
        self.lanes
            .runtime
            .metrics
            .add("switchyard_replacements_total", &labels, 1);
        {
            let mut state = slot.lock();
            let highest_cost = state
                .attempts
                .iter()
                .map(|one| one.max_cost)
                .max()
                .unwrap_or_default();
            // Only one transaction lands in a slot: charge only what this one can cost more than the others.
            let more = Amount(attempt.max_cost.0.saturating_sub(highest_cost.0));
            self.run.budget.charge(attempt.prepared_at_ms, more, spender);
            state.add_attempt(attempt.clone());
        }
        if kind == AttemptKind::Steps {
            for (settlement, step) in &slot.covers {
                settlement.lock().row.note_tx_id(*step, &attempt.tx_id);
            }
        }
        self.hand_over(slot, attempt);
    }
}

impl LaneTask {
    /// Sends the newest recorded transaction again, because no better one can be made now.
    fn send_again(&self, slot: &OpenSlot, why: &str) {
        let sentence = format!("a stuck transaction can't be replaced now: {why}");
        if self.run.health.is_news(&sentence) {
            tracing::warn!(network = %self.lane.network, signer = %self.lane.signer, sequence = slot.sequence,
                "{sentence}");
        }
        let newest = {
            let mut state = slot.lock();
            state.bids.restart(Instant::now());
            state.newest_to_resend().cloned()
        };
        if let Some(newest) = newest {
            self.hand_over(slot, newest);
        }
    }

    /// Handles a replacement that would cost more than is allowed. The payment is still good: the recorded
    /// transaction is sent again. Once this has lasted, the slot is filled, if a fill costs no more than is
    /// allowed. The step then takes another slot.
    fn too_expensive(&self, slot: &OpenSlot, kind: AttemptKind) {
        let lasted = slot.lock().bids.record_priced_out(Instant::now());
        let may_fill = kind == AttemptKind::Steps && lasted >= FILL_WHEN_PRICED_OUT_FOR;
        if may_fill && let Some(lane) = self.run.lane(&self.lane.signer) {
            slot.lock().command_pending = true;
            lane.send_command(LaneCommand::Fill(slot.key()));
            return;
        }
        self.send_again(
            slot,
            "it would cost more than max_cost allows; raise the network's max_cost, or wait for a lower price",
        );
    }
}

fn steps_of(slot: &OpenSlot) -> Vec<Step> {
    slot.covers
        .iter()
        .filter_map(|(settlement, step)| step.of(&settlement.plan()?.steps).cloned())
        .collect()
}
