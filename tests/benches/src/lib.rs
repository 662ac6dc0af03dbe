//! Measures a hot path and a limit or a peer in turns, and prints their ratio.
//!
//! The two sides of a comparison run alternately, a sample of one and then a sample of the other. What else the machine
//! does slows both down, so the ratio is steadier than the times. Criterion decides how often the work runs for a sample.
//!
//! Nothing is asserted about a time.

mod table;

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode};

use crate::table::Row;

/// Samples of each comparison.
const SAMPLES: usize = 100;
const WARM_UP: Duration = Duration::from_millis(500);
/// Time for the samples of a comparison, both sides together. Slow work may take longer.
const MEASUREMENT: Duration = Duration::from_secs(5);
/// Resamples for criterion's own statistics, which are not in the table.
const RESAMPLES: usize = 10_000;

/// A side that repeats this work and prepares nothing.
pub fn repeat<T>(mut work: impl FnMut() -> T) -> impl FnMut(u64) -> Duration {
    move |times| {
        let started = Instant::now();
        for _ in 0..times {
            black_box(work());
        }
        started.elapsed()
    }
}

/// The times of both sides for the same number of repetitions.
#[derive(Debug, Clone, Copy)]
struct Sample {
    times: u64,
    ours: Duration,
    limit: Duration,
}

/// All comparisons of a run.
pub struct Comparisons {
    criterion: Criterion,
    rows: Vec<Row>,
}

impl fmt::Debug for Comparisons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comparisons")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl Comparisons {
    /// With criterion's options on the command line, for example a filter. A comparison of fewer samples is not in the
    /// table.
    #[must_use]
    pub fn from_command_line() -> Self {
        let criterion = Criterion::default()
            .sample_size(SAMPLES)
            .warm_up_time(WARM_UP)
            .measurement_time(MEASUREMENT)
            .nresamples(RESAMPLES)
            .configure_from_args();
        Self {
            criterion,
            rows: Vec::new(),
        }
    }

    /// Measures our side of the hot path `area`/`name` and its `limit` in turns. A side runs its work the given number of
    /// times, and returns the time without preparation; see [`repeat`].
    pub fn compare(
        &mut self,
        (area, name): (&str, &str),
        mut ours: impl FnMut(u64) -> Duration,
        limit: &str,
        mut of_limit: impl FnMut(u64) -> Duration,
    ) {
        let mut samples = Vec::new();
        let mut is_ours_first = true;
        let mut group = self.criterion.benchmark_group(area);
        // Every sample has the same number of repetitions.
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function(BenchmarkId::new(name, limit), |bencher| {
            bencher.iter_custom(|times| {
                let (ours, limit) = if is_ours_first {
                    let ours = ours(times);
                    (ours, of_limit(times))
                } else {
                    let limit = of_limit(times);
                    (ours(times), limit)
                };
                is_ours_first = !is_ours_first;
                samples.push(Sample { times, ours, limit });
                ours
            });
        });
        group.finish();
        // The first ones are the warm-up. None are there when the filter of the command line leaves this one out.
        if let Some(warm_up) = samples.len().checked_sub(SAMPLES)
            && let Some(samples) = samples.get(warm_up..)
        {
            self.rows.push(Row::new(format!("{area}/{name}"), limit, samples));
        }
    }

    /// Prints the table.
    pub fn finish(self) {
        self.criterion.final_summary();
        if !self.rows.is_empty() {
            println!("{}", table::text(&self.rows));
        }
    }
}
