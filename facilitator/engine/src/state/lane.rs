//! How the rest of the engine reaches a lane: its queue of new work and its commands.

use crate::state::lane_queue::Waiting;
use crate::state::settlement::Settlement;
use crate::state::slot::SlotKey;
use sdk_plugin::StepIndex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use journal::is_client_signed;
use sdk_plugin::chain::Lane;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

/// The lane whose task sends the slot's transactions.
pub(crate) fn sending_lane(slot: &Lane, sequence: u64) -> Lane {
    Lane {
        ordered: slot.ordered || is_client_signed(sequence),
        ..slot.clone()
    }
}

/// A step to be sent.
#[derive(Debug, Clone)]
pub struct Work {
    pub settlement: Arc<Settlement>,
    pub step: StepIndex,
    /// Who signed for it and decides how many such steps there are; `None` for orders on earlier payments.
    pub payer: Option<String>,
}

/// Commands to the lane besides new work.
#[derive(Debug)]
pub enum LaneCommand {
    /// A step of a journaled settlement: it skips the queue and its cap.
    Step(Work),
    /// Replace the slot's transaction by one with a higher bid.
    Rebid(SlotKey),
    /// Use up the slot with a harmless transaction.
    Fill(SlotKey),
    /// Send the slot's newest transaction again.
    Resend(SlotKey),
    /// The signer's key was used elsewhere: read the chain's sequence again.
    CatchUp,
}

/// Whether a lane took work into its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    Yes,
    Full,
    /// Its payer has used up its share of the queue.
    PayerFull,
    Closed,
}

/// Ends a lane's task while the process lives: another node continues the lane.
#[derive(Debug, Clone)]
pub(crate) struct LaneEnd {
    pub(crate) requested: Arc<Notify>,
    /// Locked while the task records a settlement's first transaction: that is never interrupted.
    pub(crate) recording: Arc<tokio::sync::Mutex<()>>,
    /// Ends with the task.
    pub(crate) ended: watch::Receiver<()>,
}

impl LaneEnd {
    /// Ends the task and waits for that.
    pub(crate) async fn end(mut self) {
        let _recording = self.recording.lock().await;
        self.requested.notify_one();
        while self.ended.changed().await.is_ok() {}
    }
}

/// The handle of a lane.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    pub lane: Lane,
    pub(crate) work: mpsc::Sender<Work>,
    pub(crate) commands: mpsc::UnboundedSender<LaneCommand>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) reconciled: Arc<AtomicBool>,
    pub(crate) since: Instant,
    pub(crate) end: LaneEnd,
    /// As the lane counted them last: it counts again when a slot is opened, decided or closed.
    pub(crate) in_flight: Arc<AtomicUsize>,
    /// Wakes the lane when a slot has landed.
    pub room: Arc<Notify>,
}

impl LaneHandle {
    pub fn queue(&self, work: Work) -> Queued {
        // Counted first: the lane may take the work off before this thread continues.
        let payer = work.payer.clone();
        if !self.waiting.enter(payer.as_deref()) {
            return Queued::PayerFull;
        }
        let queued = match self.work.try_send(work) {
            Ok(()) => Queued::Yes,
            Err(mpsc::error::TrySendError::Full(_)) => Queued::Full,
            Err(mpsc::error::TrySendError::Closed(_)) => Queued::Closed,
        };
        if queued != Queued::Yes {
            self.waiting.leave(payer.as_deref());
        }
        queued
    }

    /// At most one command per open slot or settlement is outstanding, so the channel stays bounded.
    pub fn send_command(&self, command: LaneCommand) {
        // A lane has ended only when the process is stopping.
        let _ = self.commands.send(command);
    }

    /// Whether the chain's sequence has been compared with the journal's.
    #[must_use]
    pub fn is_reconciled(&self) -> bool {
        self.reconciled.load(Ordering::Acquire)
    }

    /// Whether it has waited for that comparison this long since its start.
    #[must_use]
    pub fn is_closed_for(&self, long: Duration) -> bool {
        !self.is_reconciled() && Instant::now().saturating_duration_since(self.since) >= long
    }

    /// Transactions of the lane that have not landed.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Settlements in the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.all()
    }
}
