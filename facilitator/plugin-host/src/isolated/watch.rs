//! What an isolated plugin's process uses: resident memory now, and processor time of the last minute. The kernel's limits know
//! neither.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The time of which the processor's share is counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Largest share of the time that its threads together can have on this machine, in percent.
const MOST_PERCENT: u64 = 95;
/// Most threads, its own included.
const MOST_THREADS: u64 = 256;

/// One process.
#[derive(Debug)]
pub(super) struct Watch {
    process: u32,
    memory_bytes: u64,
    /// Threads on which the plugin's code runs, as far as there are processors for them.
    threads: u64,
    /// Processor time in milliseconds, and when it was read. The oldest is about a window ago.
    times: VecDeque<(Instant, u64)>,
}

impl Watch {
    pub(super) fn new(process: u32, memory_bytes: u64, threads: usize) -> Self {
        Self {
            process,
            memory_bytes,
            threads: u64::try_from(threads.min(processors()).max(1)).unwrap_or(u64::MAX),
            times: VecDeque::new(),
        }
    }

    /// Why the process must end, as a part of a sentence. What can't be read is not watched.
    pub(super) fn check(&mut self, now: Instant) -> Option<String> {
        let file = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.process)).ok();
        let resident = resident_bytes(&file("statm")?)?;
        if resident > self.memory_bytes {
            return Some(format!(
                "it uses {} MiB of memory, and {} are allowed: raise `max_memory_mib` in its entry if it needs them",
                resident >> 20,
                self.memory_bytes >> 20
            ));
        }
        let Used { time_ms, threads } = used(&file("stat")?)?;
        if threads > MOST_THREADS {
            return Some(format!(
                "it has {threads} threads, and {MOST_THREADS} are the most"
            ));
        }
        self.processor(now, time_ms)
    }

    fn processor(&mut self, now: Instant, used_ms: u64) -> Option<String> {
        while self
            .times
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
        {
            self.times.pop_front();
        }
        self.times.push_back((now, used_ms));
        let (since, before_ms) = *self.times.front()?;
        let passed = now.duration_since(since);
        if passed < WINDOW {
            return None;
        }
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let used_ms = used_ms.saturating_sub(before_ms);
        let most_ms = passed_ms
            .saturating_mul(self.threads)
            .saturating_mul(MOST_PERCENT)
            / 100;
        (used_ms > most_ms).then(|| {
            format!(
                "it used {} s of processor time within {} s, which is more than its {} threads need to serve calls",
                used_ms / 1_000,
                passed_ms / 1_000,
                self.threads
            )
        })
    }
}

fn resident_bytes(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    pages.checked_mul(page)
}

/// From `/proc/PID/stat`.
struct Used {
    /// Processor time.
    time_ms: u64,
    threads: u64,
}

fn used(stat: &str) -> Option<Used> {
    // The program's name, in parentheses, may have any character.
    let (_, rest) = stat.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| -> Option<u64> { words.get(at)?.parse().ok() };
    let ticks = number(11)?.checked_add(number(12)?)?;
    let time_ms = ticks
        .checked_mul(1_000)?
        .checked_div(rustix::param::clock_ticks_per_second())?;
    Some(Used {
        time_ms,
        threads: number(17)?,
    })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let mut watch = Watch::new(std::process::id(), u64::MAX, 2);
        assert_eq!(watch.check(Instant::now()), None);
        assert_eq!(watch.times.len(), 1);
        watch.memory_bytes = 1;
        let why = watch.check(Instant::now()).expect("too much memory");
        assert!(why.contains("max_memory_mib"), "{why}");
    }

    #[test]
    fn threads_and_time_are_read_past_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 31 0 999";
        let used = used(stat).expect("a line of it");
        assert_eq!(used.threads, 31);
        assert_eq!(
            used.time_ms,
            200 * 1_000 / rustix::param::clock_ticks_per_second()
        );
    }

    #[test]
    fn all_of_its_threads_busy_for_a_minute_are_too_much_and_less_is_not() {
        let begin = Instant::now();
        let run = |per_second_ms: u64| {
            let mut watch = Watch::new(1, 1, 1);
            watch.threads = 2;
            (0..=200).find(|second| {
                let now = begin + Duration::from_secs(*second);
                watch.processor(now, second * per_second_ms).is_some()
            })
        };
        assert_eq!(run(2_000), Some(60), "after the first whole minute");
        assert_eq!(run(1_800), None);
        let mut watch = Watch::new(1, 1, 1);
        let why =
            (0..=100).find_map(|second| watch.processor(begin + Duration::from_secs(second), second * 1_000));
        let why = why.expect("too much");
        assert!(
            why.starts_with("it used 60 s of processor time within 60 s"),
            "{why}"
        );
    }
}
