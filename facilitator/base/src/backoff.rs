//! Pauses that double after each failure.

use std::time::Duration;

/// A pause that starts at `first`, doubles with each failure, and never exceeds `longest`.
///
/// No crate: the crates for this drive a retry loop of their own. Our counts of failures live in a node's health, a
/// settlement, a slot or a row of the journal, and only the pause is computed here.
///
/// No jitter: each pause belongs to one node, network, settlement or job of one process, so no crowd of processes retries
/// together. The simulator determines every event of a run from its seed; random pauses would break that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

impl Backoff {
    /// The pause after this many earlier failures: `first` after none.
    #[must_use]
    pub fn after(self, failures: u32) -> Duration {
        match 1_u32.checked_shl(failures) {
            Some(times) => self.first.saturating_mul(times).min(self.longest),
            None => self.longest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_the_longest() {
        let backoff = Backoff {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
        };
        let pauses: Vec<u128> = (0..8)
            .map(|failures| backoff.after(failures).as_millis())
            .collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        for failures in [16, 31, 32, 64, u32::MAX] {
            assert_eq!(backoff.after(failures), backoff.longest);
        }
    }

    #[test]
    fn a_pause_that_would_overflow_is_the_longest() {
        let backoff = Backoff {
            first: Duration::from_secs(u64::MAX),
            longest: Duration::MAX,
        };
        assert_eq!(backoff.after(1), Duration::MAX);
        assert_eq!(backoff.after(u32::MAX), Duration::MAX);
    }

    #[test]
    fn the_first_pause_is_never_above_the_longest() {
        let backoff = Backoff {
            first: Duration::from_secs(2),
            longest: Duration::from_secs(1),
        };
        assert_eq!(backoff.after(0), backoff.longest);
    }
}
