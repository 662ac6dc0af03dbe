//! How the rest of the engine reaches a lane: its queue of new work and its commands.

use crate::state::lane_queue::Waiting;
use crate::state::settlement::Settlement;
use crate::state::slot::SlotKey;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sdk_plugin::chain::Lane;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

/// A step to be carried out.
#[derive(Debug, Clone)]
pub struct Work {
    pub settlement: Arc<Settlement>,
    pub step: u32,
    /// Who signed for it and decides how much of it there is; `None` for orders on earlier payments.
    pub payer: Option<String>,
}

/// What the lane is asked to do beside new work.
#[derive(Debug)]
pub enum Ask {
    /// A step of a settlement that is journaled: it passes queue and cap.
    Step(Work),
    /// Replace the slot's transaction by one that bids more.
    Rebid(SlotKey),
    /// Consume the slot harmlessly.
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
    /// Its payer has as many places as it may.
    PayerFull,
    Closed,
}

/// How others reach a lane.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    pub lane: Lane,
    pub(crate) work: mpsc::Sender<Work>,
    pub(crate) asks: mpsc::UnboundedSender<Ask>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) reconciled: Arc<AtomicBool>,
    pub(crate) since: Instant,
    /// Wakes the lane when a slot has landed.
    pub room: Arc<Notify>,
}

impl LaneHandle {
    pub fn queue(&self, work: Work) -> Queued {
        // Counted first: the lane may take it off before this thread goes on.
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

    /// Bounded by the open slots and settlements themselves: each has at most one question out.
    pub fn ask(&self, ask: Ask) {
        // A lane that has ended is being torn down with the process.
        let _ = self.asks.send(ask);
    }

    /// Whether the chain's sequence has been compared with the journal's.
    #[must_use]
    pub fn is_reconciled(&self) -> bool {
        self.reconciled.load(Ordering::Acquire)
    }

    /// Whether it has waited for that comparison for so long since its start.
    #[must_use]
    pub fn is_closed_for(&self, long: Duration) -> bool {
        !self.is_reconciled() && Instant::now().saturating_duration_since(self.since) >= long
    }

    /// Settlements in the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.all()
    }
}
