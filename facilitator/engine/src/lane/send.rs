//! Hands journaled attempts to the network, one after the other.

use crate::lane::{Lanes, RETRY_EVERY};
use crate::state::lane::LaneCommand;
use crate::state::network::NetworkRun;
use crate::state::settlement::trace_of;
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::Fault;
use sdk_plugin::chain::{Attempt, Sent};
use tokio::sync::mpsc;
use tokio::time::Instant;

use base::backoff::Backoff;
use base::trace;
use journal::{AttemptRow, Event, Journaled, is_client_signed};

/// Pause before the next bid, while nodes repeatedly report bids as too low.
const BID_BACKOFF: Backoff = Backoff {
    first: RETRY_EVERY,
    longest: Duration::from_secs(30),
};

impl Lanes {
    /// Hands journaled attempts to the network, one after the other.
    pub(crate) async fn send_in_order(
        self: Arc<Self>,
        run: Arc<NetworkRun>,
        mut attempts: mpsc::UnboundedReceiver<Journaled<AttemptRow>>,
    ) {
        while let Some(attempt) = attempts.recv().await {
            let sending = self.send(&run, &attempt);
            if self
                .runtime
                .survives(run.network.id(), "a send", sending)
                .await
                .is_none()
                && let Some(slot) = run.slot(&(attempt.lane.signer.clone(), attempt.sequence))
            {
                // The observer commands another send.
                slot.lock().sends.abort();
            }
            run.wake_observer.notify_one();
        }
    }

    /// Sends an attempt. The type guarantees that the journal has it.
    async fn send(self: &Arc<Self>, run: &NetworkRun, attempt: &Journaled<AttemptRow>) {
        let to_send = Attempt {
            id: attempt.id.to_string(),
            tx_id: attempt.tx_id.clone(),
            lane: attempt.lane.clone(),
            sequence: attempt.sequence,
        };
        let key = (attempt.lane.signer.clone(), attempt.sequence);
        if run.is_on_wrong_chain() {
            // The observer commands another send, on the chain that the journal knows.
            if let Some(slot) = run.slot(&key) {
                slot.lock().sends.end(Instant::now());
            }
            return;
        }
        let trace = run.slot(&key).and_then(|slot| trace_of(&slot.covers));
        let sent = self.runtime.ops.broadcast(&run.network, &to_send);
        let answer = trace::within(trace, sent).await;
        let label = match &answer {
            Ok(Sent::Accepted) => "accepted",
            // It says nothing about the signer.
            _ if is_client_signed(attempt.sequence) => "client_refused",
            Ok(Sent::SequenceUsed) => "sequence_used",
            Ok(Sent::Underpriced) => "underpriced",
            Ok(Sent::InsufficientFunds) => "insufficient_funds",
            Ok(Sent::Rejected { .. }) => "rejected",
            Ok(Sent::Unknown { .. }) | Err(_) => "unknown",
        };
        self.runtime.metrics.add(
            "switchyard_sends_total",
            &[("network", run.network.id()), ("answer", label)],
            1,
        );
        let slot = run.slot(&key);
        if let Some(slot) = &slot {
            slot.lock().sends.end(Instant::now());
        }
        if is_client_signed(attempt.sequence) {
            return self.sent_for_client(attempt, answer);
        }
        match answer {
            Ok(Sent::Accepted) => {
                if let Some(slot) = slot {
                    slot.lock().bids.record_accepted();
                }
                self.runtime.journal.note(Event::Sent { attempt: attempt.id });
            }
            Ok(Sent::Underpriced) => {
                if let (Some(slot), Some(lane)) = (slot, run.lane(&key.0)) {
                    let pause = {
                        let mut state = slot.lock();
                        state.command_pending = true;
                        BID_BACKOFF.after(state.bids.record_underpriced())
                    };
                    // A node that reports every bid as too low must not cause a rapid series of recorded bids.
                    self.runtime
                        .spawn_after(pause, move || lane.send_command(LaneCommand::Rebid(key)));
                }
            }
            // The observer finds out what used the slot. The lane reads the chain's sequence again, so that its next transaction
            // does not use a slot that is used already.
            Ok(Sent::SequenceUsed) => {
                tracing::warn!(network = run.network.id(), signer = %attempt.lane.signer, tx = %attempt.tx_id,
                    "the slot is already used: by an earlier send of ours, or by another process that has the signer's \
                     key");
                if let Some(lane) = run.lane(&key.0) {
                    lane.send_command(LaneCommand::CatchUp);
                }
            }
            Ok(Sent::InsufficientFunds) => {
                run.network.suspect.notify_one();
                tracing::error!(network = run.network.id(), signer = %attempt.lane.signer, tx = %attempt.tx_id,
                    "the signer can't pay for its transaction: send it native currency");
            }
            Ok(Sent::Rejected { message }) => {
                tracing::error!(network = run.network.id(), tx = %attempt.tx_id, "a node rejects a transaction: {message}");
                if let Some(slot) = slot {
                    slot.lock().sends.record_rejection();
                }
            }
            Ok(Sent::Unknown { message }) => {
                tracing::warn!(network = run.network.id(), tx = %attempt.tx_id, "no node answered a send: {message}");
            }
            Err(_) => {}
        }
    }

    /// What a node says of a client's transaction. It says nothing about the signer, and there is no other transaction that could
    /// be sent instead: the same bytes are sent again until the step ends.
    fn sent_for_client(&self, attempt: &Journaled<AttemptRow>, answer: Result<Sent, Fault>) {
        let why = match answer {
            Ok(Sent::Accepted) => {
                self.runtime.journal.note(Event::Sent { attempt: attempt.id });
                return;
            }
            Ok(Sent::SequenceUsed) => {
                "its account has used the nonce: it has landed, or another one has".to_owned()
            }
            Ok(Sent::Underpriced) => "its price is too low now".to_owned(),
            Ok(Sent::InsufficientFunds) => "its account can't pay for it".to_owned(),
            Ok(Sent::Rejected { message } | Sent::Unknown { message }) => message,
            Err(fault) => fault.message,
        };
        tracing::info!(network = %attempt.lane.network, tx = %attempt.tx_id,
            "a client's transaction was not taken: {why}");
    }
}
