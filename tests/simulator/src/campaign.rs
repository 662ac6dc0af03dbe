//! Many seeds at once, and what came of them.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::Retention;
use journal::Event;

use crate::disk::recorder;
use crate::faults::{Harm, Mode, Point};
use crate::oracle::Verdict;
use crate::random::{scenario, unnumbered};
use crate::rng::Rng;
use crate::run::{Act, Report, Scenario, simulate};
use crate::scheme::Shape;
use crate::script::{good_until, payment};
use crate::table::Table;

/// Payments of a seed.
pub const PAYMENTS: u64 = 40;
/// Nonce of the first payment whose slot must be filled.
const FIRST_FILLED: u64 = 2_000_000;
/// Seeds between two reports of progress.
const PROGRESS_EVERY: u64 = 250;

/// Which seeds, and how many at once.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub first: u64,
    pub seeds: u64,
    /// From one seed to the next.
    pub step: u64,
    pub jobs: usize,
    pub payments: u64,
}

/// What a campaign found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    pub seeds: u64,
    pub settlements: u64,
    pub paid: u64,
    pub answers: u64,
    pub restarts: u64,
    pub table: Table,
    /// Of each kind that must be zero, how many.
    pub lost: u64,
    pub twice: u64,
    pub released_twice: u64,
    pub false_words: u64,
    pub others: u64,
    /// Seeds with something that must be zero, and what.
    pub bad: Vec<(u64, Verdict)>,
    pub took: Duration,
}

/// Every fault at every step. A seed aims at one of them besides what it draws.
fn aims() -> Vec<(Point, Harm)> {
    let all = Point::ALL.iter();
    all.flat_map(|point| point.harms().iter().map(|harm| (*point, *harm)))
        .collect()
}

/// Power cuts, at every kind of commit.
fn cuts() -> Vec<(Point, Harm)> {
    let commits = Point::ALL.into_iter().filter(|point| point.is_commit());
    commits.map(|point| (point, Harm::PowerCut)).collect()
}

/// Of so many seeds, one has its journal in files.
pub const ON_DISK_EVERY: u64 = 8;
/// The first of these.
pub const FIRST_ON_DISK: u64 = 5;

/// The story of a seed: which chain, how long rows are kept, and at which step which fault strikes for certain.
#[must_use]
pub fn story(seed: u64, payments: u64) -> Scenario {
    let on_disk = seed % ON_DISK_EVERY == FIRST_ON_DISK && recorder::root().is_some();
    let (aims, at) = if on_disk {
        (cuts(), seed / ON_DISK_EVERY)
    } else {
        (aims(), seed)
    };
    let at = usize::try_from(at).unwrap_or(0) % aims.len().max(1);
    let aim = aims.get(at).copied();
    let needs_numbers = aim.is_some_and(|(point, _)| {
        matches!(
            point,
            Point::Fill | Point::CommitFreeSlot | Point::Job | Point::SchemeCheck | Point::CommitJob
        )
    });
    let mut scenario = if seed % 4 == 3 && !needs_numbers {
        unnumbered(seed, payments)
    } else {
        scenario(seed, payments)
    };
    if seed % 5 == 2 || aim.is_some_and(|(point, _)| point == Point::CommitRetention) {
        scenario.terms.retention = Retention {
            payloads_ms: 0,
            details_ms: 0,
            ..Retention::default()
        };
    }
    scenario.on_disk = on_disk;
    let Some((point, harm)) = aim else { return scenario };
    match point {
        Point::CommitReorg => {
            scenario.weather.reorg = scenario.weather.reorg.max(60);
            scenario.weather.reorg_depth = scenario.weather.reorg_depth.max(3);
            scenario.weather.lost_in_reorg = scenario.weather.lost_in_reorg.max(300);
        }
        // Payments whose time is over before a block takes them: their slots must be filled.
        Point::Fill => {
            scenario = scenario.act(0, Act::Delay(true)).act(45_000, Act::Delay(false));
            for (payer, nonce) in [("ann", FIRST_FILLED), ("bob", FIRST_FILLED + 1)] {
                let request = good_until(payment(payer, nonce, Shape::Plain), 20);
                scenario = scenario.settle(500, &request, 25_000, 3);
            }
        }
        // Housekeeping begins a minute after the start.
        Point::CommitRetention => {
            scenario.mode = Mode::Never;
            scenario.acts.retain(|(_, act)| !matches!(act, Act::Kill));
        }
        Point::CommitFreeSlot => scenario.weather.key_elsewhere = scenario.weather.key_elsewhere.max(40),
        _ => {}
    }
    let mut rng = Rng::new(seed ^ 0x0a13_ed00_0000_0005);
    // What a run passes seldom is struck the first time.
    let from = if matches!(
        point,
        Point::Identify | Point::ClaimLookUp | Point::Observe | Point::Lane
    ) {
        rng.between(0, 30)
    } else {
        rng.between(0, 2) * u64::from(!point.is_rare() && point != Point::Fill)
    };
    scenario.harm(point, harm, from, 1)
}

impl Findings {
    fn add(&mut self, seed: u64, report: &Report) {
        let count = |list: &[String]| u64::try_from(list.len()).unwrap_or(u64::MAX);
        let opened = report
            .log
            .iter()
            .filter(|event| matches!(event, Event::Opened(_)));
        self.seeds += 1;
        self.settlements += u64::try_from(opened.count()).unwrap_or(u64::MAX);
        self.paid += report.payments;
        self.answers += u64::try_from(report.exchanges.len()).unwrap_or(u64::MAX);
        self.restarts += report.restarts;
        self.table.add(&report.faults);
        let verdict = &report.verdict;
        if verdict.is_clean() {
            return;
        }
        self.lost += count(&verdict.lost);
        self.twice += count(&verdict.twice);
        self.released_twice += count(&verdict.released_twice);
        self.false_words += count(&verdict.false_answers);
        self.others += verdict.others().map(count).sum::<u64>();
        self.bad.push((seed, verdict.clone()));
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.settlements += other.settlements;
        self.paid += other.paid;
        self.answers += other.answers;
        self.restarts += other.restarts;
        self.table.merge(&other.table);
        self.lost += other.lost;
        self.twice += other.twice;
        self.released_twice += other.released_twice;
        self.false_words += other.false_words;
        self.others += other.others;
        self.bad.extend(other.bad);
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.bad.is_empty()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.table)?;
        writeln!(
            f,
            "{} seeds: {} settlements, {} payments on chain, {} answers, {} restarts, {} cells of the table",
            self.seeds,
            self.settlements,
            self.paid,
            self.answers,
            self.restarts,
            Table::cells()
        )?;
        writeln!(
            f,
            "lost {}, twice {}, released twice {}, false answers {}, other violations {}",
            self.lost, self.twice, self.released_twice, self.false_words, self.others
        )?;
        let millis = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        write!(f, "it took {}.{} s", millis / 1_000, millis % 1_000 / 100)
    }
}

/// Runs the seeds, `jobs` at a time.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "how long it takes is the machine's time; the runs have their own"
)]
pub fn run(plan: Plan) -> Findings {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let all = Mutex::new(Findings::default());
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(|| {
                let mut found = Findings::default();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= plan.seeds {
                        break;
                    }
                    let seed = plan.first.saturating_add(at.saturating_mul(plan.step));
                    match simulate(&story(seed, plan.payments)) {
                        Ok(report) => found.add(seed, &report),
                        Err(error) => {
                            eprintln!("seed {seed} could not be run: {error}");
                            found.bad.push((seed, Verdict::default()));
                        }
                    }
                    if at > 0 && at.is_multiple_of(PROGRESS_EVERY) {
                        eprintln!(
                            "{at} of {} seeds after {} s",
                            plan.seeds,
                            began.elapsed().as_secs()
                        );
                    }
                }
                all.lock().unwrap_or_else(PoisonError::into_inner).merge(found);
            });
        }
    });
    let mut found = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.bad.sort_by_key(|(seed, _)| *seed);
    found.took = began.elapsed();
    found
}
