//! What can go wrong, where, and when: at random from a seed, or at the passes that a script names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use journal::Event;
use journal::memory::{CommitFault, Faults as JournalFaults};
use sdk_plugin::{Fault, FaultKind};
use tokio::sync::{Notify, watch};

use crate::rng::Rng;

mod points;

pub use points::{Harm, Point};

/// Longer than callers are kept waiting for a commit that is in flight.
const SLOW_COMMIT: Duration = Duration::from_secs(8);

/// Less than any finality.
const DEEPEST_REORG: u64 = 4;

fn scripted(script: &[Scripted], point: Point, pass: u64) -> Option<Harm> {
    script
        .iter()
        .find(|s| s.point == point && (s.from..s.from.saturating_add(s.count)).contains(&pass))
        .map(|s| s.harm)
}

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
        /// Passes that suffer besides.
        aimed: Vec<Scripted>,
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
    /// The journal is in files, so the power may fail.
    on_disk: bool,
    /// How deep the reorganisations are that were called for and not carried out.
    reorgs: Vec<u64>,
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
    /// The same: whether all RPC nodes that it queries are dead.
    pub is_off_chain: AtomicBool,
    /// Tells the runner that the process has died.
    pub died: Notify,
    /// Tells the chain that [`Faults::take_reorgs`] has some.
    pub reorg: Notify,
    /// Tells every caller to hang up.
    pub callers_leave: Notify,
}

impl Faults {
    #[must_use]
    pub fn new(mode: Mode, lies: bool, on_disk: bool, rng: Rng) -> Self {
        let inner = Inner {
            mode,
            passes: BTreeMap::new(),
            struck: BTreeMap::new(),
            full_commits: 0,
            next_commit: None,
            over: false,
            lies,
            on_disk,
            reorgs: Vec::new(),
            rng,
        };
        Self {
            inner: Mutex::new(inner),
            stopped: watch::Sender::new(false),
            is_cut_off: AtomicBool::new(false),
            is_off_chain: AtomicBool::new(false),
            died: Notify::new(),
            reorg: Notify::new(),
            callers_leave: Notify::new(),
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
        let on_disk = inner.on_disk;
        let harm = match &mut inner.mode {
            Mode::Never => None,
            Mode::Random {
                per_mille,
                crashes,
                rng,
                aimed,
            } => {
                let drawn = if rng.chance(*per_mille) {
                    let cut = on_disk && point.is_commit();
                    let harms = point.harms().iter().chain(cut.then_some(&Harm::PowerCut));
                    let harms: Vec<Harm> = harms.copied().collect();
                    let harm = harms.get(rng.index(harms.len())).copied();
                    harm.filter(|harm| !harm.is_fatal() || rng.chance(*crashes))
                } else {
                    None
                };
                scripted(aimed, point, this).or(drawn)
            }
            Mode::Script(script) => scripted(script, point, this),
        };
        if let Some(harm) = harm {
            *inner.struck.entry((point, harm)).or_default() += 1;
            tracing::info!("FAULT {harm:?} at {point:?}");
        }
        match harm {
            Some(Harm::CallersLeave) => self.callers_leave.notify_waiters(),
            Some(Harm::Reorg) => {
                let depth = match &inner.mode {
                    Mode::Random { .. } => inner.rng.between(1, DEEPEST_REORG),
                    Mode::Never | Mode::Script(_) => 1,
                };
                inner.reorgs.push(depth);
                self.reorg.notify_one();
            }
            _ => {}
        }
        harm
    }

    /// The depths of the reorganisations that were called for since the last time.
    pub fn take_reorgs(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().reorgs)
    }

    /// A commit is about to be made: what does it suffer around it? What it suffers itself comes with [`AtCommit`], which
    /// the journal retries at once.
    pub async fn around_commit<T>(&self, events: &[Event], commit: impl Future<Output = T>) -> T {
        let harm = self.draw(Point::of_commit(events));
        match harm {
            Some(Harm::Slow) => tokio::time::sleep(SLOW_COMMIT).await,
            Some(Harm::PanicBefore) => std::panic::panic_any(Injected),
            Some(Harm::CallersLeave | Harm::Reorg) => tokio::task::yield_now().await,
            harm => self.lock().next_commit = harm.filter(|harm| *harm != Harm::PanicAfter),
        }
        let committed = commit.await;
        if harm == Some(Harm::PanicAfter) {
            std::panic::panic_any(Injected);
        }
        committed
    }

    /// Whether the power fails during the commit that is about to be made. The process is dead then.
    pub fn take_power_cut(&self) -> bool {
        let mut inner = self.lock();
        let cut = inner.next_commit == Some(Harm::PowerCut);
        if cut {
            inner.next_commit = None;
        }
        drop(inner);
        if cut {
            self.die();
        }
        cut
    }

    pub(crate) fn die(&self) {
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
        if self.is_off_chain.load(Ordering::Relaxed) && point.reads_chain() {
            return Err(Fault::unavailable("no node can be used"));
        }
        match self.draw(point) {
            Some(Harm::Unavailable) => Err(Fault::unavailable("injected")),
            // The pool shuts such a node out, and has no other one for this call.
            Some(Harm::OtherChain) => Err(Fault::unavailable("the node reports another chain id")),
            Some(Harm::Garbage) if !point.makes_garbage() => {
                Err(Fault::new(FaultKind::Internal, "the answer can't be decoded"))
            }
            Some(Harm::CallersLeave | Harm::Reorg) => {
                tokio::task::yield_now().await;
                Ok(None)
            }
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
