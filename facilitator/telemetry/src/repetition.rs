//! Suppresses repeated log lines, so that a lasting problem does not fill the disk: an equal line is written once a minute,
//! and the others are counted.
//!
//! Two lines are equal when they come from one callsite with equal fields; digits in texts (times, block numbers) are
//! ignored. In addition, the lines of one callsite that belong to no recorded settlement are bounded per minute, so that
//! callers can't fill the disk either. Debug and trace lines are never suppressed: they are enabled to see everything.
//!
//! Not guaranteed: the counts of the current minute are lost when the process is killed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How long a written line suppresses equal ones.
const WINDOW: Duration = Duration::from_secs(60);
/// Lines of one callsite in one window, without those of recorded settlements.
const MAX_PER_CALLSITE: u32 = 60;
/// Lines kept. When there are more, all lines of one callsite count as equal.
const MAX_LINES: usize = 10_000;
/// The target of the lines with counts, which are never suppressed.
const TARGET: &str = "telemetry::log";
/// The field of lines of recorded settlements. Each settlement was paid for, so callers can't flood the log with them.
const SETTLEMENT: &str = "settlement";

/// All lines of the process.
static HISTORY: LazyLock<Mutex<History<Identifier>>> = LazyLock::new(Mutex::default);

/// A layer that suppresses repeated lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct SuppressRepetition;

impl<S: Subscriber> Layer<S> for SuppressRepetition {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == TARGET {
            return true;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let mut history = HISTORY.lock();
        history.passes(metadata.callsite(), *metadata.level(), line, Instant::now())
    }
}

/// Which windows to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    Ended,
    All,
}

/// Logs how many lines were suppressed in these windows, and forgets the windows.
pub(super) fn report(windows: Windows) {
    let suppressed = HISTORY.lock().take_suppressed(Instant::now(), windows);
    for Suppressed { level, text, count } in suppressed {
        let (repeated, line) = (count, text.as_str());
        match level {
            Level::ERROR => tracing::error!(target: TARGET, repeated, line, "lines_suppressed"),
            Level::WARN => tracing::warn!(target: TARGET, repeated, line, "lines_suppressed"),
            _ => tracing::info!(target: TARGET, repeated, line, "lines_suppressed"),
        }
    }
}

/// Lines that were not written.
#[derive(Debug, PartialEq, Eq)]
struct Suppressed {
    level: Level,
    /// The equal line that was written.
    text: String,
    count: u64,
}

/// The time in which equal lines are suppressed.
#[derive(Debug)]
struct Window {
    since: Instant,
    level: Level,
    text: String,
    suppressed: u64,
}

impl Window {
    /// Whether equal lines are counted instead of written: until the window ends, and its count is reported.
    fn is_open(&self, now: Instant) -> bool {
        now.duration_since(self.since) < WINDOW || self.suppressed > 0
    }
}

/// The lines of the last minute. `C`: a callsite.
#[derive(Debug)]
struct History<C> {
    lines: HashMap<(C, u64), Window>,
    callsites: HashMap<C, (Instant, u32)>,
}

impl<C> Default for History<C> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            callsites: HashMap::new(),
        }
    }
}

impl<C: Clone + Eq + Hash> History<C> {
    /// Whether the line is written. Otherwise it is counted.
    fn passes(&mut self, callsite: C, level: Level, line: Line, now: Instant) -> bool {
        let room = self.lines.len() < MAX_LINES;
        // 0 stands for all further lines of a callsite that has too many.
        let mut key = if room { line.hash() } else { 0 };
        if !line.settlement && !self.has_room(&callsite, now) && !self.is_open(&callsite, key, now) {
            key = 0;
        }
        match self.lines.entry((callsite.clone(), key)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                if known.is_open(now) {
                    known.suppressed = known.suppressed.saturating_add(1);
                    return false;
                }
                known.since = now;
            }
            Entry::Vacant(entry) => {
                entry.insert(Window {
                    since: now,
                    level,
                    text: line.text,
                    suppressed: 0,
                });
            }
        }
        if !line.settlement
            && let Some((_, count)) = self.callsites.get_mut(&callsite)
        {
            *count = count.saturating_add(1);
        }
        true
    }

    /// Whether an equal line suppresses it.
    fn is_open(&self, callsite: &C, key: u64, now: Instant) -> bool {
        let known = self.lines.get(&(callsite.clone(), key));
        known.is_some_and(|known| known.is_open(now))
    }

    /// Whether a line that equals no other may be written. The last line of a minute is reserved for all further ones.
    fn has_room(&mut self, callsite: &C, now: Instant) -> bool {
        let (since, count) = self.callsites.entry(callsite.clone()).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count < MAX_PER_CALLSITE - 1
    }

    /// Removes these windows and returns what was suppressed in them.
    fn take_suppressed(&mut self, now: Instant, windows: Windows) -> Vec<Suppressed> {
        let mut suppressed = Vec::new();
        self.lines.retain(|_, window| {
            let has_ended = windows == Windows::All || now.duration_since(window.since) >= WINDOW;
            if has_ended && window.suppressed > 0 {
                suppressed.push(Suppressed {
                    level: window.level,
                    text: std::mem::take(&mut window.text),
                    count: window.suppressed,
                });
            }
            !has_ended
        });
        suppressed
    }
}

/// The fields of a line as one text.
#[derive(Debug, Default)]
struct Line {
    text: String,
    hasher: DefaultHasher,
    settlement: bool,
}

impl Line {
    fn hash(&self) -> u64 {
        // 0 is reserved for further lines of a callsite.
        self.hasher.finish().max(1)
    }

    fn field(&mut self, name: &str, value: &str) {
        self.settlement |= name == SETTLEMENT;
        name.hash(&mut self.hasher);
        let is_text = matches!(name, "message" | "detail" | "error" | "why" | "cause" | "fault");
        for c in value.chars().filter(|c| !is_text || !c.is_ascii_digit()) {
            c.hash(&mut self.hasher);
        }
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        // Writing to a String can't fail.
        let _ = match name {
            "message" => self.text.write_str(value),
            _ => write!(self.text, "{name}={value}"),
        };
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field.name(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: &[(&str, &str)]) -> Line {
        let mut line = Line::default();
        for (name, value) in fields {
            line.field(name, value);
        }
        line
    }

    #[test]
    fn an_equal_line_is_written_once_a_minute_and_counted() {
        let (here, there) = ("here", "there");
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut history = History::default();
        let down = |n: u64| line(&[("network", "a"), ("message", &format!("no answer after {n} ms"))]);
        assert!(history.passes(here, Level::WARN, down(1), at(0)));
        for n in 1..600 {
            assert!(!history.passes(here, Level::WARN, down(n), at(n / 10)), "{n}");
        }
        let other = line(&[("network", "b"), ("message", "no answer after 1 ms")]);
        assert!(
            history.passes(here, Level::WARN, other, at(59)),
            "another network"
        );
        assert!(
            history.passes(there, Level::WARN, down(1), at(59)),
            "another callsite"
        );
        assert_eq!(history.take_suppressed(at(59), Windows::Ended), []);
        let suppressed = history.take_suppressed(at(60), Windows::Ended);
        assert_eq!(
            suppressed,
            [Suppressed {
                level: Level::WARN,
                text: "network=a no answer after 1 ms".to_owned(),
                count: 599
            }]
        );
        assert!(
            history.passes(here, Level::WARN, down(2), at(60)),
            "the next minute"
        );
        assert!(!history.passes(here, Level::WARN, down(2), at(61)));
        assert_eq!(
            history
                .take_suppressed(at(61), Windows::All)
                .first()
                .map(|suppressed| suppressed.count),
            Some(1),
            "at the end"
        );
        assert!(history.lines.is_empty());
    }

    #[test]
    fn callers_cannot_fill_the_log_and_every_settlement_is_logged() {
        let (here, there) = ("here", "there");
        let start = Instant::now();
        let mut history = History::default();
        let mut written = 0;
        for n in 0..50_000 {
            let refused = line(&[("claim", &format!("c{n}")), ("message", "reply: refused")]);
            written += u32::from(history.passes(here, Level::INFO, refused, start));
        }
        assert_eq!(written, 60, "as the handbook says");
        assert!(history.lines.len() <= 100, "{}", history.lines.len());
        for n in 0..5_000 {
            let paid = line(&[("settlement", &n.to_string()), ("message", "paid")]);
            assert!(history.passes(there, Level::INFO, paid, start));
        }
        let suppressed = history.take_suppressed(start, Windows::All);
        assert_eq!(
            suppressed.iter().map(|suppressed| suppressed.count).sum::<u64>(),
            50_000 - u64::from(written)
        );
    }

    #[test]
    fn repeated_lines_after_a_minute_count_among_the_sixty() {
        let here = "here";
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let refused = |n: u64| line(&[("claim", &format!("c{n}")), ("message", "reply: refused")]);
        let mut history = History::default();
        for n in 0..59 {
            assert!(history.passes(here, Level::INFO, refused(n), at(n)));
        }
        // The next minute of this callsite: first other lines, then those of the minute before again.
        let mut written = 0;
        for n in (100..200).chain(0..59) {
            let second = if n < 100 { 119 } else { 61 };
            written += u32::from(history.passes(here, Level::INFO, refused(n), at(second)));
        }
        assert_eq!(written, 60);
    }

    #[test]
    fn memory_is_bounded() {
        let here = "here";
        let start = Instant::now();
        let mut history = History::default();
        for n in 0..20_000 {
            let paid = line(&[("settlement", &n.to_string()), ("message", "paid")]);
            history.passes(here, Level::INFO, paid, start);
        }
        assert!(history.lines.len() <= MAX_LINES + 1);
    }
}
