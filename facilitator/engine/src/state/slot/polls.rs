//! When a slot is polled, and what the last poll showed.

use sdk_plugin::chain::{Observation, TxState};
use tokio::time::Instant;

/// When a slot is polled.
#[derive(Debug)]
pub enum Polling {
    /// The next poll is due at this time.
    Due(Instant),
    /// The result of the last poll is being acted on. Meanwhile the slot is not polled.
    Acting {
        /// The next poll follows at once.
        soon: bool,
        /// The observer is woken when that ends.
        wakes: bool,
    },
}

impl Polling {
    /// When the next poll is due; `None` while the last one is acted on.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        match self {
            Self::Due(at) => Some(*at),
            Self::Acting { .. } => None,
        }
    }

    /// Moves the next poll to this time. While the last one is acted on, nothing changes: what ends that sets the time.
    pub fn set_due(&mut self, at: Instant) {
        if let Self::Due(due) = self {
            *due = at;
        }
    }

    /// The result of a poll is acted on from now on.
    pub fn begin_acting(&mut self) {
        *self = Self::Acting {
            soon: false,
            wakes: false,
        };
    }

    /// What the last poll showed must be followed by another poll at once.
    pub fn repeat_soon(&mut self) {
        if let Self::Acting { soon, .. } = self {
            *soon = true;
        }
    }

    /// Whether another poll follows at once.
    #[must_use]
    pub fn is_soon(&self) -> bool {
        matches!(self, Self::Acting { soon: true, .. })
    }

    /// The observer does not wait any longer for what is acted on: it must be woken when that ends.
    pub fn wake_at_end(&mut self) {
        if let Self::Acting { wakes, .. } = self {
            *wakes = true;
        }
    }

    /// Nothing is acted on any more, and the next poll is due at this time. `true`: the observer must be woken.
    pub fn end(&mut self, due: Instant) -> bool {
        let wakes = matches!(self, Self::Acting { wakes: true, .. });
        *self = Self::Due(due);
        wakes
    }
}

/// What the last poll of a slot showed of its transactions.
#[derive(Debug, Clone, Copy)]
pub enum LastPoll {
    /// A block shows one of them.
    InBlock,
    /// No block shows one of them.
    InNoBlock {
        /// Since when; at first since the slot was opened.
        since: Instant,
        /// At the chain's present height none of them can land any more, so the lane has room for another slot.
        lapsed: bool,
    },
}

impl LastPoll {
    /// What this poll showed, one observation for each transaction.
    #[must_use]
    pub fn of(seen: &[Observation], before: Self, now: Instant) -> Self {
        let in_block =
            |seen: &Observation| matches!(seen.state, TxState::Landed { .. } | TxState::Reverted { .. });
        let has_lapsed = |seen: &Observation| matches!(seen.state, TxState::Lapsed | TxState::Expired { .. });
        if seen.iter().any(in_block) {
            return Self::InBlock;
        }
        Self::InNoBlock {
            since: before.unseen_since().unwrap_or(now),
            lapsed: !seen.is_empty() && seen.iter().all(has_lapsed),
        }
    }

    /// Since when no block shows one of them; `None`: the last poll showed one.
    #[must_use]
    pub fn unseen_since(self) -> Option<Instant> {
        match self {
            Self::InBlock => None,
            Self::InNoBlock { since, .. } => Some(since),
        }
    }

    /// Whether none of them can land any more.
    #[must_use]
    pub fn is_lapsed(self) -> bool {
        matches!(self, Self::InNoBlock { lapsed: true, .. })
    }
}
