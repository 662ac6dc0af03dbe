//! Keeps a trouble that repeats itself from filling the disk: the same line once a minute, and a count of the rest.
//!
//! Two lines are the same when they come from one place in the code with equal fields; digits in texts (times, block
//! numbers) do not make a difference. Beyond that, lines of one place that belong to no recorded settlement are bounded a
//! minute, so that callers can't write the log full. Debug and trace lines are never held back: who asks for them wants
//! everything.
//!
//! Not guaranteed: that counts of a minute are written when the process is killed in it.

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

/// How long a line stands for those like it.
const WINDOW: Duration = Duration::from_secs(60);
/// Lines of one place in the code in one window, those of recorded settlements not counted.
const MOST_OF_A_PLACE: u32 = 60;
/// Lines remembered. When there are more, lines of one place count as the same.
const MOST_REMEMBERED: usize = 10_000;
/// Where the counts come from; never held back itself.
const TARGET: &str = "telemetry::log";
/// The field that lines of recorded settlements have: each was paid for, so nobody floods with them.
const SETTLEMENT: &str = "settlement";

/// All lines of the process.
static SEEN: LazyLock<Mutex<Seen<Identifier>>> = LazyLock::new(Mutex::default);

/// Holds back lines that were written just before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Floods;

impl<S: Subscriber> Layer<S> for Floods {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == TARGET {
            return true;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let mut seen = SEEN.lock();
        seen.passes(metadata.callsite(), *metadata.level(), line, Instant::now())
    }
}

/// Writes how many lines were held back in windows that are over. To be called every few seconds, and at the end with
/// `all`.
pub(super) fn report(all: bool) {
    let ended = SEEN.lock().ended(Instant::now(), all);
    for Held { level, text, count } in ended {
        let (repeated, line) = (count, text.as_str());
        let said = "repeated within a minute, and not written each time";
        match level {
            Level::ERROR => tracing::error!(target: TARGET, repeated, line, "{said}"),
            Level::WARN => tracing::warn!(target: TARGET, repeated, line, "{said}"),
            _ => tracing::info!(target: TARGET, repeated, line, "{said}"),
        }
    }
}

/// Lines that were not written.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    level: Level,
    /// The one that was.
    text: String,
    count: u64,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    level: Level,
    text: String,
    held: u64,
}

impl Window {
    /// Whether lines like it are counted instead of written: until its minute is over, and its count is written.
    fn stands(&self, now: Instant) -> bool {
        now.duration_since(self.since) < WINDOW || self.held > 0
    }
}

/// `P`: a place in the code.
#[derive(Debug)]
struct Seen<P> {
    lines: HashMap<(P, u64), Window>,
    places: HashMap<P, (Instant, u32)>,
}

impl<P> Default for Seen<P> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            places: HashMap::new(),
        }
    }
}

impl<P: Clone + Eq + Hash> Seen<P> {
    fn passes(&mut self, place: P, level: Level, line: Line, now: Instant) -> bool {
        let room = self.lines.len() < MOST_REMEMBERED;
        // 0 stands for all lines of a place that has too many.
        let mut same = if room { line.hash() } else { 0 };
        if !line.settlement && !self.place_has_room(&place, now) && !self.is_held(&place, same, now) {
            same = 0;
        }
        match self.lines.entry((place.clone(), same)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                if known.stands(now) {
                    known.held = known.held.saturating_add(1);
                    return false;
                }
                known.since = now;
            }
            Entry::Vacant(free) => {
                free.insert(Window {
                    since: now,
                    level,
                    text: line.text,
                    held: 0,
                });
            }
        }
        if !line.settlement
            && let Some((_, count)) = self.places.get_mut(&place)
        {
            *count = count.saturating_add(1);
        }
        true
    }

    /// Whether a line like this one stands for it.
    fn is_held(&self, place: &P, same: u64, now: Instant) -> bool {
        let known = self.lines.get(&(place.clone(), same));
        known.is_some_and(|known| known.stands(now))
    }

    /// Whether a line may be written that is unlike the others. The last one of a minute is kept for all further lines.
    fn place_has_room(&mut self, place: &P, now: Instant) -> bool {
        let (since, count) = self.places.entry(place.clone()).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count < MOST_OF_A_PLACE - 1
    }

    /// What was held back in windows that are over; they are forgotten.
    fn ended(&mut self, now: Instant, all: bool) -> Vec<Held> {
        let mut ended = Vec::new();
        self.lines.retain(|_, window| {
            let over = all || now.duration_since(window.since) >= WINDOW;
            if over && window.held > 0 {
                ended.push(Held {
                    level: window.level,
                    text: std::mem::take(&mut window.text),
                    count: window.held,
                });
            }
            !over
        });
        ended
    }
}

/// A line's fields, as one text.
#[derive(Debug, Default)]
struct Line {
    text: String,
    hasher: DefaultHasher,
    settlement: bool,
}

impl Line {
    fn hash(&self) -> u64 {
        // 0 has a meaning of its own.
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
        // Into a string: never fails.
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
    fn the_same_trouble_is_one_line_a_minute_and_a_count() {
        let (here, there) = ("here", "there");
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut seen = Seen::default();
        let down = |n: u64| line(&[("network", "a"), ("message", &format!("no answer after {n} ms"))]);
        assert!(seen.passes(here, Level::WARN, down(1), at(0)));
        for n in 1..600 {
            assert!(!seen.passes(here, Level::WARN, down(n), at(n / 10)), "{n}");
        }
        let other = line(&[("network", "b"), ("message", "no answer after 1 ms")]);
        assert!(seen.passes(here, Level::WARN, other, at(59)), "another network");
        assert!(seen.passes(there, Level::WARN, down(1), at(59)), "another place");
        assert_eq!(seen.ended(at(59), false), []);
        let told = seen.ended(at(60), false);
        assert_eq!(
            told,
            [Held {
                level: Level::WARN,
                text: "network=a no answer after 1 ms".to_owned(),
                count: 599
            }]
        );
        assert!(seen.passes(here, Level::WARN, down(2), at(60)), "the next minute");
        assert!(!seen.passes(here, Level::WARN, down(2), at(61)));
        assert_eq!(
            seen.ended(at(61), true).first().map(|held| held.count),
            Some(1),
            "at the end"
        );
        assert!(seen.lines.is_empty());
    }

    #[test]
    fn callers_can_not_write_the_log_full_and_settlements_all_have_their_line() {
        let (here, there) = ("here", "there");
        let start = Instant::now();
        let mut seen = Seen::default();
        let mut written = 0;
        for n in 0..50_000 {
            let refused = line(&[("claim", &format!("c{n}")), ("message", "told: refused")]);
            written += u32::from(seen.passes(here, Level::INFO, refused, start));
        }
        assert_eq!(written, 60, "as the handbook says");
        assert!(seen.lines.len() <= 100, "{}", seen.lines.len());
        for n in 0..5_000 {
            let paid = line(&[("settlement", &n.to_string()), ("message", "paid")]);
            assert!(seen.passes(there, Level::INFO, paid, start));
        }
        let told = seen.ended(start, true);
        assert_eq!(
            told.iter().map(|held| held.count).sum::<u64>(),
            50_000 - u64::from(written)
        );
    }

    #[test]
    fn lines_that_come_again_after_a_minute_count_among_the_sixty() {
        let here = "here";
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let refused = |n: u64| line(&[("claim", &format!("c{n}")), ("message", "told: refused")]);
        let mut seen = Seen::default();
        for n in 0..59 {
            assert!(seen.passes(here, Level::INFO, refused(n), at(n)));
        }
        // The next minute of this place: others first, then those of the minute before once more.
        let mut written = 0;
        for n in (100..200).chain(0..59) {
            let second = if n < 100 { 119 } else { 61 };
            written += u32::from(seen.passes(here, Level::INFO, refused(n), at(second)));
        }
        assert_eq!(written, 60);
    }

    #[test]
    fn memory_is_bounded() {
        let here = "here";
        let start = Instant::now();
        let mut seen = Seen::default();
        for n in 0..20_000 {
            let paid = line(&[("settlement", &n.to_string()), ("message", "paid")]);
            seen.passes(here, Level::INFO, paid, start);
        }
        assert!(seen.lines.len() <= MOST_REMEMBERED + 1);
    }
}
