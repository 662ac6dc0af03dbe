//! A plugin's log lines on their way to `tracing`: bounded in rate and size, free of control characters.
//!
//! `tracing` knows targets at compile time only, so all plugins share the target `plugin`, and the line's fields say
//! which plugin and which part of it speaks.

use std::time::Duration;

use parking_lot::Mutex;
use sdk_plugin::Value;
use sdk_plugin::host::Level;
use tokio::time::Instant;

/// Lines that may come at once.
const BURST: u32 = 200;
/// Afterwards, one line per this.
const ONE_PER: Duration = Duration::from_millis(50);
/// Longest message and longest text of fields, characters.
const MAX_TEXT: usize = 2_000;
/// Longest name of a part.
const MAX_PART: usize = 64;

/// Where one instance's lines go through.
#[derive(Debug)]
pub(super) struct Lines {
    plugin: String,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    refilled: Instant,
    dropped: u64,
}

impl Lines {
    pub(super) fn new(plugin: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            bucket: Mutex::new(Bucket {
                left: BURST,
                refilled: Instant::now(),
                dropped: 0,
            }),
        }
    }

    pub(super) fn write(&self, level: Level, part: &str, message: &str, fields: &Value) {
        let Some(dropped) = self.admit(Instant::now()) else {
            return;
        };
        let plugin = self.plugin.as_str();
        if dropped > 0 {
            tracing::warn!(target: "plugin", plugin, dropped, "log lines dropped: too many at once");
        }
        let part = clean(part, MAX_PART);
        let message = clean(message, MAX_TEXT);
        let fields = match fields {
            Value::Null => String::new(),
            fields => clean(&fields.to_string(), MAX_TEXT),
        };
        match level {
            Level::Error => tracing::error!(target: "plugin", plugin, part, fields, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, part, fields, "{message}"),
            Level::Info => tracing::info!(target: "plugin", plugin, part, fields, "{message}"),
            Level::Debug => tracing::debug!(target: "plugin", plugin, part, fields, "{message}"),
            Level::Trace => tracing::trace!(target: "plugin", plugin, part, fields, "{message}"),
        }
    }

    /// Whether a line may pass now, and how many were dropped before it.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.bucket.lock();
        let earned = now.duration_since(bucket.refilled).as_nanos() / ONE_PER.as_nanos();
        if let Ok(earned) = u32::try_from(earned)
            && earned < BURST
        {
            bucket.refilled += ONE_PER * earned;
            bucket.left = bucket.left.saturating_add(earned).min(BURST);
        } else {
            bucket.refilled = now;
            bucket.left = BURST;
        }
        if bucket.left == 0 {
            bucket.dropped = bucket.dropped.saturating_add(1);
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.dropped))
    }
}

/// Cut, and with control characters escaped: a line must not be able to pass for two.
fn clean(text: &str, max_chars: usize) -> String {
    let mut out = String::new();
    for character in text.chars().take(max_chars) {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_and_counted() {
        let lines = Lines::new("evm");
        let passed = |lines: &Lines| (0..1_000).filter_map(|_| lines.admit(Instant::now())).count();
        assert_eq!(passed(&lines), 200);
        tokio::time::advance(ONE_PER * 3).await;
        assert_eq!(lines.admit(Instant::now()), Some(800));
        assert_eq!(passed(&lines), 2);
        tokio::time::advance(Duration::from_secs(86_400 * 365 * 500)).await;
        assert_eq!(passed(&lines), 200);
    }

    #[test]
    fn a_message_is_one_short_line() {
        assert_eq!(
            clean("a\nINFO all is well\u{1b}[2J", 100),
            "a\\nINFO all is well\\u{1b}[2J"
        );
        assert_eq!(clean("äöü", 2), "äö");
    }
}
