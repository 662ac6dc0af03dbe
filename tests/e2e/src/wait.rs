//! Waiting for a condition, with an end.

use std::time::{Duration, Instant};

/// Far beyond what any condition of these tests takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Polls until the condition gives something.
///
/// # Panics
/// When it gives nothing in time, with what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    match try_until(limit, &mut condition) {
        Some(value) => value,
        None => panic!("waited {} s in vain for: {what}", limit.as_secs()),
    }
}

/// As [`until`], with `None` when the time is up.
pub fn try_until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if started.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(POLL);
    }
}
