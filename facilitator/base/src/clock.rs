//! Unix time. Durations are `tokio::time`'s, so that tests and the simulator run in virtual time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where the core and its plugins get the date from.
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

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the clock that everything else asks"
    )]
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
    /// Must be called inside a runtime. `epoch_s`: what the clock shows now, seconds since the epoch.
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
