//! Hands journaled attempts to the network, one after the other.

use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::chain::{Attempt, Sent};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Ask, RETRY_EVERY};
use crate::Engine;
use crate::network::NetworkRun;
use journal::{AttemptRow, Event, Journaled};

/// The longest pause before the next bid in a row that nodes have called too low.
const LONGEST_BID_PAUSE: Duration = Duration::from_secs(30);

impl Engine {
    /// Hands journaled attempts to the network, one after the other.
    pub(super) async fn send_in_order(
        self: Arc<Self>,
        run: Arc<NetworkRun>,
        mut attempts: mpsc::UnboundedReceiver<Journaled<AttemptRow>>,
    ) {
        while let Some(attempt) = attempts.recv().await {
            let sending = self.send(&run, &attempt);
            if self.survives(run.network.id(), "a send", sending).await.is_none()
                && let Some(slot) = run.slot(&(attempt.lane.signer.clone(), attempt.sequence))
            {
                // The observer has it sent again.
                slot.lock().sending = 0;
            }
            run.look.notify_one();
        }
    }

    /// Sends an attempt. Its argument can't be made without the journal.
    async fn send(self: &Arc<Self>, run: &NetworkRun, attempt: &Journaled<AttemptRow>) {
        let asked = Attempt {
            id: attempt.id.to_string(),
            tx_id: attempt.tx_id.clone(),
            lane: attempt.lane.clone(),
            sequence: attempt.sequence,
        };
        let key = (attempt.lane.signer.clone(), attempt.sequence);
        if run.is_astray() {
            // Sent again when the observer asks for it, on the chain that the journal knows.
            if let Some(slot) = run.slot(&key) {
                let mut state = slot.lock();
                state.sending = state.sending.saturating_sub(1);
                state.last_sent = Instant::now();
            }
            return;
        }
        let answer = self.ops.broadcast(&run.network, &asked).await;
        let said = match &answer {
            Ok(Sent::Accepted) => "accepted",
            Ok(Sent::SequenceUsed) => "sequence_used",
            Ok(Sent::Underpriced) => "underpriced",
            Ok(Sent::InsufficientFunds) => "insufficient_funds",
            Ok(Sent::Rejected { .. }) => "rejected",
            Ok(Sent::Unknown { .. }) | Err(_) => "unknown",
        };
        self.metrics.add(
            "switchyard_sends_total",
            &[("network", run.network.id()), ("answer", said)],
            1,
        );
        let slot = run.slot(&key);
        if let Some(slot) = &slot {
            let mut state = slot.lock();
            state.sending = state.sending.saturating_sub(1);
            state.last_sent = Instant::now();
        }
        match answer {
            Ok(Sent::Accepted) => {
                if let Some(slot) = slot {
                    slot.lock().underpriced = 0;
                }
                self.journal.note(Event::Sent { attempt: attempt.id });
            }
            Ok(Sent::Underpriced) => {
                if let (Some(slot), Some(lane)) = (slot, run.lane(&key.0)) {
                    let pause = {
                        let mut state = slot.lock();
                        state.asked = true;
                        let doubled = 1_u32.checked_shl(state.underpriced).unwrap_or(u32::MAX);
                        state.underpriced = state.underpriced.saturating_add(1);
                        RETRY_EVERY.saturating_mul(doubled).min(LONGEST_BID_PAUSE)
                    };
                    // A node that calls every bid too low must not make a row of journaled bids.
                    self.spawn_after(pause, move || lane.ask(Ask::Rebid(key)));
                }
            }
            // The observer finds out what has the slot; what comes next must be behind it.
            Ok(Sent::SequenceUsed) => {
                tracing::warn!(network = run.network.id(), signer = %attempt.lane.signer, tx = %attempt.tx_id,
                    "this place of the lane is used already: by an earlier send of ours, or by somebody else who has \
                     the signer's key");
                if let Some(lane) = run.lane(&key.0) {
                    lane.ask(Ask::CatchUp);
                }
            }
            Ok(Sent::InsufficientFunds) => {
                run.network.suspect.notify_one();
                tracing::error!(network = run.network.id(), signer = %attempt.lane.signer, tx = %attempt.tx_id,
                    "the signer can't pay for its transaction: top it up");
            }
            Ok(Sent::Rejected { message }) => {
                tracing::error!(network = run.network.id(), tx = %attempt.tx_id, "a node rejects a transaction: {message}");
                if let Some(slot) = slot {
                    let mut state = slot.lock();
                    state.rejections = state.rejections.saturating_add(1);
                }
            }
            Ok(Sent::Unknown { message }) => {
                tracing::warn!(network = run.network.id(), tx = %attempt.tx_id, "no node answered a send: {message}");
            }
            Err(_) => {}
        }
    }
}
