//! What can go wrong, where, and when: at random from a seed, or at the passes that a script names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use journal::Event;
use journal::memory::{CommitFault, Faults as JournalFaults};
use sdk_plugin::{Fault, FaultKind};
use tokio::sync::{Notify, watch};

use crate::chain::Read;
use crate::rng::Rng;

/// A step of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    Identify,
    ClaimLookUp,
    Plan,
    Check,
    Lane,
    Quote,
    Build,
    Fill,
    /// Claim, slot and attempt: the commit before a send.
    CommitFirst,
    /// A later attempt: a replacement, a fill, a later step.
    CommitAttempt,
    Broadcast,
    Observe,
    Judge,
    /// Outcome, most often with the release.
    CommitOutcome,
    /// A release alone.
    CommitRelease,
    /// Slots closed, settlements finished.
    CommitClose,
    /// Everything else.
    CommitOther,
    /// A job's handler.
    Job,
    /// A scheme's check of itself.
    SchemeCheck,
    Reply,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Its service is unavailable, and reports that.
    Unavailable,
    /// A defect, reported as one.
    Internal,
    /// No answer, ever.
    Hang,
    Panic,
    /// The core itself panics before the effect.
    PanicBefore,
    /// The core itself panics after the effect, before it hears of it.
    PanicAfter,
    /// An answer that makes no sense.
    Garbage,
    /// An answer after several seconds.
    Slow,
    /// The process dies before the effect.
    CrashBefore,
    /// The process dies after the effect, before it hears of it.
    CrashAfter,
    /// The disk is full for a while.
    Full,
    /// The node took the bytes and answers an error.
    TakenButError,
    /// The node took the bytes and hangs.
    TakenButHangs,
    /// The node acknowledges the bytes, and does not keep them.
    AcceptedAndForgotten,
    /// The node has fallen behind.
    Stale,
    /// One kind of read answers null during this call.
    Null(Read),
    /// The caller hangs up.
    HangUp,
    /// The caller waits hardly at all.
    Impatient,
}

impl Point {
    pub const ALL: [Self; 20] = [
        Self::Identify,
        Self::ClaimLookUp,
        Self::Plan,
        Self::Check,
        Self::Lane,
        Self::Quote,
        Self::Build,
        Self::Fill,
        Self::CommitFirst,
        Self::CommitAttempt,
        Self::Broadcast,
        Self::Observe,
        Self::Judge,
        Self::CommitOutcome,
        Self::CommitRelease,
        Self::CommitClose,
        Self::CommitOther,
        Self::Job,
        Self::SchemeCheck,
        Self::Reply,
    ];

    /// What can go wrong here.
    #[must_use]
    pub fn harms(self) -> &'static [Harm] {
        use Harm::{
            AcceptedAndForgotten, CrashAfter, CrashBefore, Full, Garbage, Hang, HangUp, Impatient, Internal,
            Null, Panic, PanicAfter, PanicBefore, Slow, Stale, TakenButError, TakenButHangs, Unavailable,
        };
        match self {
            Self::Identify | Self::Job | Self::SchemeCheck => {
                &[Unavailable, Internal, Hang, Panic, Slow, CrashBefore]
            }
            Self::Plan | Self::Judge => &[Unavailable, Internal, Hang, Panic, Garbage, Slow, CrashBefore],
            Self::ClaimLookUp => &[Unavailable, Slow, CrashBefore],
            Self::Fill => &[Unavailable, Internal, Hang, Panic, Slow, Stale, CrashBefore],
            Self::Build => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Slow,
                Stale,
                Null(Read::State),
                CrashBefore,
            ],
            Self::Check | Self::Quote => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Slow,
                Stale,
                Null(Read::Heads),
                CrashBefore,
            ],
            Self::Lane => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Slow,
                Stale,
                Null(Read::Heads),
                Null(Read::Nonces),
                Null(Read::State),
                CrashBefore,
            ],
            Self::Broadcast => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Slow,
                Stale,
                TakenButError,
                TakenButHangs,
                AcceptedAndForgotten,
                CrashBefore,
                CrashAfter,
            ],
            Self::Observe => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Garbage,
                Slow,
                Stale,
                Null(Read::Heads),
                Null(Read::Nonces),
                Null(Read::Receipts),
                Null(Read::Transactions),
                Null(Read::Logs),
                Null(Read::State),
                CrashBefore,
            ],
            Self::CommitFirst
            | Self::CommitAttempt
            | Self::CommitOutcome
            | Self::CommitRelease
            | Self::CommitClose
            | Self::CommitOther => &[Full, Slow, PanicBefore, PanicAfter, CrashBefore, CrashAfter],
            Self::Reply => &[HangUp, Impatient],
        }
    }

    /// The commit that these events make.
    #[must_use]
    pub fn of_commit(events: &[Event]) -> Self {
        let has = |what: fn(&Event) -> bool| events.iter().any(what);
        if has(|e| matches!(e, Event::Opened(_))) {
            Self::CommitFirst
        } else if has(|e| matches!(e, Event::Prepared(_))) {
            Self::CommitAttempt
        } else if has(|e| matches!(e, Event::Paid { .. } | Event::Failed { .. })) {
            Self::CommitOutcome
        } else if has(|e| matches!(e, Event::Released { .. } | Event::ReleaseReturned { .. })) {
            Self::CommitRelease
        } else if has(|e| matches!(e, Event::SlotClosed { .. } | Event::Finished { .. })) {
            Self::CommitClose
        } else {
            Self::CommitOther
        }
    }
}

/// Longer than callers are kept waiting for a commit that is in flight.
const SLOW_COMMIT: Duration = Duration::from_secs(8);

/// Exactly these passes of a point suffer.
#[derive(Debug, Clone, Copy)]
pub struct Scripted {
    pub point: Point,
    pub harm: Harm,
    /// 0: the first pass.
    pub from: u64,
    pub count: u64,
}

/// When things go wrong.
#[derive(Debug, Clone)]
pub enum Mode {
    Never,
    /// In 1,000 passes of any point; `crashes` of 1,000 of these kill the process.
    Random {
        per_mille: u64,
        crashes: u64,
        rng: Rng,
    },
    Script(Vec<Scripted>),
}

#[derive(Debug)]
struct Inner {
    mode: Mode,
    passes: BTreeMap<Point, u64>,
    struck: BTreeMap<(Point, Harm), u64>,
    full_commits: u64,
    /// What the commit that is about to be made suffers.
    next_commit: Option<Harm>,
    over: bool,
    lies: bool,
    rng: Rng,
}

/// The faults of a run.
#[derive(Debug)]
pub struct Faults {
    inner: Mutex<Inner>,
    /// Where it is one of several nodes: whether the process is stopped, and gets and does nothing.
    pub stopped: watch::Sender<bool>,
    /// The same: whether it can't reach the journal.
    pub is_cut_off: AtomicBool,
    /// Tells the runner that the process has died.
    pub died: Notify,
}

impl Faults {
    #[must_use]
    pub fn new(mode: Mode, lies: bool, rng: Rng) -> Self {
        let inner = Inner {
            mode,
            passes: BTreeMap::new(),
            struck: BTreeMap::new(),
            full_commits: 0,
            next_commit: None,
            over: false,
            lies,
            rng,
        };
        Self {
            inner: Mutex::new(inner),
            stopped: watch::Sender::new(false),
            is_cut_off: AtomicBool::new(false),
            died: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything works from here on.
    pub fn end(&self) {
        let mut inner = self.lock();
        inner.mode = Mode::Never;
        inner.full_commits = 0;
        inner.over = true;
    }

    /// How often each fault struck.
    #[must_use]
    pub fn struck(&self) -> BTreeMap<(Point, Harm), u64> {
        self.lock().struck.clone()
    }

    /// How often each point was passed while something could go wrong.
    #[must_use]
    pub fn passes(&self) -> BTreeMap<Point, u64> {
        self.lock().passes.clone()
    }

    /// A point is passed: does something go wrong?
    pub fn draw(&self, point: Point) -> Option<Harm> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if inner.over {
            return None;
        }
        let pass = inner.passes.entry(point).or_default();
        let this = *pass;
        *pass += 1;
        let harm = match &mut inner.mode {
            Mode::Never => None,
            Mode::Random {
                per_mille,
                crashes,
                rng,
            } => {
                if rng.chance(*per_mille) {
                    let harms = point.harms();
                    let harm = harms.get(rng.index(harms.len())).copied();
                    let fatal = matches!(harm, Some(Harm::CrashBefore | Harm::CrashAfter));
                    harm.filter(|_| !fatal || rng.chance(*crashes))
                } else {
                    None
                }
            }
            Mode::Script(script) => script
                .iter()
                .find(|s| s.point == point && (s.from..s.from.saturating_add(s.count)).contains(&this))
                .map(|s| s.harm),
        };
        if let Some(harm) = harm {
            *inner.struck.entry((point, harm)).or_default() += 1;
            tracing::info!("FAULT {harm:?} at {point:?}");
        }
        harm
    }

    /// A commit is about to be made: what does it suffer around it? What it suffers itself comes with [`AtCommit`], which
    /// the journal retries at once.
    pub async fn around_commit<T>(&self, events: &[Event], commit: impl Future<Output = T>) -> T {
        let harm = self.draw(Point::of_commit(events));
        match harm {
            Some(Harm::Slow) => tokio::time::sleep(SLOW_COMMIT).await,
            Some(Harm::PanicBefore) => std::panic::panic_any(Injected),
            harm => self.lock().next_commit = harm.filter(|harm| *harm != Harm::PanicAfter),
        }
        let committed = commit.await;
        if harm == Some(Harm::PanicAfter) {
            std::panic::panic_any(Injected);
        }
        committed
    }

    fn die(&self) {
        tracing::info!("the process dies");
        self.died.notify_one();
    }

    /// The process dies here and now: nothing after this is ever reached.
    pub async fn crash(&self) -> ! {
        self.die();
        loop {
            std::future::pending::<()>().await;
        }
    }

    /// Passes a point. What happens before any effect happens here; the rest is the caller's to play.
    pub async fn pass(&self, point: Point) -> Result<Option<Harm>, Fault> {
        if *self.stopped.borrow() {
            // The sender lives as long as this.
            let _ = self.stopped.subscribe().wait_for(|is_stopped| !is_stopped).await;
        }
        match self.draw(point) {
            Some(Harm::Unavailable) => Err(Fault::unavailable("injected")),
            Some(Harm::Internal) => Err(Fault::new(FaultKind::Internal, "injected")),
            Some(Harm::Hang) => std::future::pending().await,
            Some(Harm::Panic) => std::panic::panic_any(Injected),
            Some(Harm::CrashBefore) => self.crash().await,
            Some(Harm::Slow) => {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                Ok(None)
            }
            later => Ok(later),
        }
    }
}

/// What an injected panic carries.
#[derive(Debug)]
pub struct Injected;

/// The journal's side of the faults.
#[derive(Debug)]
pub struct AtCommit(pub std::sync::Arc<Faults>);

impl JournalFaults for AtCommit {
    fn on_commit(&self, events: &[Event]) -> CommitFault {
        if self.0.lock().lies && events.iter().any(|event| matches!(event, Event::Prepared(_))) {
            return CommitFault::Lie;
        }
        let harm = self.0.lock().next_commit.take();
        if self.0.lock().full_commits > 0 {
            self.0.lock().full_commits -= 1;
            return CommitFault::Full;
        }
        match harm {
            Some(Harm::Full) => {
                let mut inner = self.0.lock();
                if matches!(inner.mode, Mode::Random { .. }) {
                    inner.full_commits = inner.rng.between(0, 12);
                }
                CommitFault::Full
            }
            Some(Harm::CrashBefore) => {
                self.0.die();
                CommitFault::CrashBefore
            }
            Some(Harm::CrashAfter) => {
                self.0.die();
                CommitFault::CrashAfter
            }
            _ => CommitFault::None,
        }
    }

    fn is_cut_off(&self) -> bool {
        self.0.is_cut_off.load(Ordering::Relaxed)
    }

    fn stopped(&self) -> Option<watch::Receiver<bool>> {
        let is_stopped = *self.0.stopped.borrow();
        is_stopped.then(|| self.0.stopped.subscribe())
    }

    fn keeps_note(&self, _: &Event) -> bool {
        let mut inner = self.0.lock();
        !(matches!(inner.mode, Mode::Random { .. }) && inner.rng.chance(300))
    }
}
