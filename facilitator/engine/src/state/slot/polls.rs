//! When a slot is polled.

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
