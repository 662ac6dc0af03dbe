//! The limit of a key's signatures in a minute: what a defect or an intruder can have signed at most.

use parking_lot::Mutex;
use sdk_plugin::{Fault, FaultKind};
use tokio::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Counts the signatures of windows of a minute; the first signature opens a window.
pub(super) struct Rate {
    most: u32,
    window: Mutex<Option<Window>>,
}

#[derive(Clone, Copy)]
struct Window {
    begins: Instant,
    signatures: u32,
}

impl Rate {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            window: Mutex::default(),
        }
    }

    /// Counts one signature.
    ///
    /// # Errors
    /// This minute's are used up.
    pub(super) fn admit(&self, key: &str) -> Result<(), Fault> {
        let now = Instant::now();
        let mut state = self.window.lock();
        let mut window = match *state {
            Some(window) if now.duration_since(window.begins) < MINUTE => window,
            _ => Window {
                begins: now,
                signatures: 0,
            },
        };
        if window.signatures >= self.most {
            let left = MINUTE.saturating_sub(now.duration_since(window.begins));
            let mut fault = Fault::new(
                FaultKind::Overloaded,
                format!(
                    "key {key} has given the {} signatures of this minute; raise keys.{key}.max_signatures_per_minute if the load is real",
                    self.most
                ),
            );
            fault.retry_after_ms = u64::try_from(left.as_millis()).ok();
            return Err(fault);
        }
        window.signatures = window.signatures.saturating_add(1);
        *state = Some(window);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_minute_has_its_signatures_and_the_next_one_has_them_again() {
        let rate = Rate::new(3);
        for _ in 0..3 {
            rate.admit("hot").unwrap();
        }
        tokio::time::advance(Duration::from_secs(59)).await;
        let fault = rate.admit("hot").unwrap_err();
        assert_eq!(
            (fault.kind, fault.retry_after_ms),
            (FaultKind::Overloaded, Some(1_000))
        );
        assert!(
            fault.message.contains("keys.hot.max_signatures_per_minute"),
            "{fault}"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(rate.admit("hot").is_ok());
    }
}
