//! The sends and the bids of a slot's attempts.

use std::time::Duration;

use tokio::time::Instant;

/// The sends of a slot's attempts to nodes.
#[derive(Debug)]
pub struct Sends {
    /// Attempts that are being sent to a node.
    in_progress: u32,
    /// How often a node rejected the newest attempt whatever its price.
    pub rejections: u32,
    /// When an attempt was last sent, or was last meant to be.
    pub last: Instant,
}

impl Sends {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            in_progress: 0,
            rejections: 0,
            last: now,
        }
    }

    /// An attempt is handed over to be sent.
    pub fn begin(&mut self) {
        self.in_progress = self.in_progress.saturating_add(1);
    }

    /// An attempt was sent, or can't be sent now.
    pub fn end(&mut self, now: Instant) {
        self.in_progress = self.in_progress.saturating_sub(1);
        self.last = now;
    }

    /// What was being sent is not sent any more: its work panicked.
    pub fn abort(&mut self) {
        self.in_progress = 0;
    }

    #[must_use]
    pub fn are_in_progress(&self) -> bool {
        self.in_progress > 0
    }

    /// A node rejected the newest attempt whatever its price.
    pub fn record_rejection(&mut self) {
        self.rejections = self.rejections.saturating_add(1);
    }
}

/// The bids of a slot's attempts.
#[derive(Debug)]
pub struct Bids {
    /// When the newest bid was made, or when it was last found that no better one can be made.
    pub last: Instant,
    /// The lowest head height that a poll showed since then.
    pub head: Option<u64>,
    /// How often in a row nodes called the newest bid too low.
    underpriced: u32,
    /// Since when a replacement would cost more than allowed.
    priced_out: Option<Instant>,
}

impl Bids {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            last: now,
            head: None,
            underpriced: 0,
            priced_out: None,
        }
    }

    /// A bid is made now, or can't be improved now: the next one waits as long as after any bid.
    pub fn restart(&mut self, now: Instant) {
        self.last = now;
        self.head = None;
    }

    /// Records the head that a poll showed. A head that no later reply confirms must not prevent a better bid.
    pub fn record_head(&mut self, head: u64) {
        self.head = Some(self.head.map_or(head, |known| known.min(head)));
    }

    /// A node accepted a transaction at its bid.
    pub fn record_accepted(&mut self) {
        self.underpriced = 0;
    }

    /// A node called the newest bid too low. Returns how often in a row nodes had done so before.
    pub fn record_underpriced(&mut self) -> u32 {
        let before = self.underpriced;
        self.underpriced = before.saturating_add(1);
        before
    }

    /// A replacement costs no more than allowed.
    pub fn record_affordable(&mut self) {
        self.priced_out = None;
    }

    /// A replacement would cost more than allowed. Returns for how long that has been so.
    pub fn record_priced_out(&mut self, now: Instant) -> Duration {
        let since = *self.priced_out.get_or_insert(now);
        now.saturating_duration_since(since)
    }
}
