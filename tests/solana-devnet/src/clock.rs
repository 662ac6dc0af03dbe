//! Slots as time passes: a slot number computed from a starting point, so that nothing has to tick. A test can stop it
//! and move it on by hand.

use std::time::{Duration, Instant};

/// A clock that counts slots.
#[derive(Debug)]
pub(crate) struct SlotClock {
    interval: Duration,
    /// The slot at `since`, or the slot where the clock stands.
    base: u64,
    /// `None` while it stands.
    since: Option<Instant>,
}

impl SlotClock {
    pub(crate) fn starting_at(slot: u64, interval: Duration) -> SlotClock {
        SlotClock {
            interval: interval.max(Duration::from_millis(1)),
            base: slot,
            since: Some(Instant::now()),
        }
    }

    pub(crate) fn slot(&self) -> u64 {
        let passed = self
            .since
            .map_or(0, |since| since.elapsed().as_millis() / self.interval.as_millis());
        self.base
            .saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.since.is_none()
    }

    pub(crate) fn freeze(&mut self) {
        self.base = self.slot();
        self.since = None;
    }

    pub(crate) fn resume(&mut self) {
        if self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// Moves on by so many slots at once.
    pub(crate) fn advance(&mut self, slots: u64) {
        self.base = self.base.saturating_add(slots);
    }

    /// Milliseconds that so many slots last.
    pub(crate) fn lasts_ms(&self, slots: u64) -> u64 {
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        slots.saturating_mul(interval)
    }
}
