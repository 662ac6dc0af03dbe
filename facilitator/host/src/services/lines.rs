//! A plugin's log lines: limited in rate and size, without control characters, passed on to `tracing`.
//!
//! `tracing` needs targets at compile time, so all plugins share the target `plugin`. Fields of the line name the plugin and
//! the part of it.

use std::time::Duration;

use parking_lot::Mutex;
use sdk_plugin::Value;
use sdk_plugin::host::Level;
use tokio::time::Instant;

/// Lines that may be written at once.
const BURST: u32 = 200;
/// After a burst, one line per this time.
const ONE_PER: Duration = Duration::from_millis(50);
/// Longest message and longest text of fields, in characters.
const MAX_TEXT: usize = 2_000;
/// Longest name of a part, in characters.
const MAX_PART: usize = 64;

/// The log lines of one instance.
#[derive(Debug)]
pub(super) struct LogLines {
    plugin: String,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    refilled: Instant,
    dropped: u64,
}

impl LogLines {
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

    /// How many lines were dropped ahead of this one; `None` when this one is dropped too.
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

/// The text, cut, with control characters escaped: one line must not appear as two.
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
    async fn a_flood_is_limited_and_counted() {
        let lines = LogLines::new("evm");
        let passed = |lines: &LogLines| (0..1_000).filter_map(|_| lines.admit(Instant::now())).count();
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
            clean("a\nINFO all is fine\u{1b}[2J", 100),
            "a\\nINFO all is fine\\u{1b}[2J"
        );
        assert_eq!(clean("äöü", 2), "äö");
    }
}
