//! Whether a second node confirms what two nodes must show.

use std::time::Duration;

use tokio::time::Instant;

/// What is known of the second node where two nodes must show the same.
#[derive(Debug, Default)]
pub struct SecondNode {
    /// Since when only one node answers.
    missing_since: Option<Instant>,
    /// It was logged that no second node confirms what one shows.
    reported: bool,
}

impl SecondNode {
    /// Two nodes answered.
    pub fn record_present(&mut self) {
        self.missing_since = None;
    }

    /// Only one node answered. Returns for how long that has been so.
    pub fn record_missing(&mut self, now: Instant) -> Duration {
        let since = *self.missing_since.get_or_insert(now);
        now.saturating_duration_since(since)
    }

    /// Whether to log that no second node confirms what one shows: once for each slot.
    pub fn is_news(&mut self) -> bool {
        !std::mem::replace(&mut self.reported, true)
    }
}
