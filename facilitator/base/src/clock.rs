//! Unix time. Durations use `tokio::time`, so that tests and the simulator run in virtual time.

use std::time::{SystemTime, UNIX_EPOCH};

/// The date for the core and its plugins.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since the epoch.
    fn now_unix_ns(&self) -> u64;

    /// Milliseconds since the epoch.
    fn now_ms(&self) -> u64 {
        self.now_unix_ns() / 1_000_000
    }

    /// Seconds since the epoch.
    fn now_s(&self) -> u64 {
        self.now_unix_ns() / 1_000_000_000
    }
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "every other crate reads this clock")]
    fn now_unix_ns(&self) -> u64 {
        // A clock before 1970 or after 2554 is a broken machine; zero makes every authorization "not yet valid".
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|d| u64::try_from(d.as_nanos()).ok())
            .unwrap_or(0)
    }
}

/// A clock that moves with `tokio::time`: frozen and advanced by a paused runtime.
#[derive(Debug, Clone)]
pub struct TokioClock {
    started: tokio::time::Instant,
    epoch_ns: u64,
}

impl TokioClock {
    /// A clock that shows `epoch_s`, in seconds since the epoch, now. Must be called inside a runtime.
    #[must_use]
    pub fn starting_at(epoch_s: u64) -> Self {
        Self {
            started: tokio::time::Instant::now(),
            epoch_ns: epoch_s.saturating_mul(1_000_000_000),
        }
    }
}

impl Clock for TokioClock {
    fn now_unix_ns(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.epoch_ns.saturating_add(elapsed)
    }
}
