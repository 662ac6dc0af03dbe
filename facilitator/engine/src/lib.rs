//! The settlement engine: when things happen, the record of it, and which caller gets which answer.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | claim | what makes one authorization unique: its key. At most one settlement of a claim is open |
//! | settlement | one attempt to settle a claim, from the plan to the last step; a claim that failed can open another one, the next *generation* |
//! | conflict key | what several claims share, for example one escrowed payment: at most one open settlement holds it |
//! | step | one call of a settlement's plan. One step *pays*: outcome and release follow it |
//! | lane | one signer on one network, and the order of its transactions |
//! | slot | one sequence number (nonce) of a lane. It carries the steps of one or more settlements |
//! | attempt | one signed transaction for a slot; a replacement is another attempt for the same slot |
//! | guard | chain state that a step's call changes for good, for example a used authorization nonce |
//! | release | the one `success` of a settlement, given to one caller |
//!
//! # Where a payment is
//!
//! ```text
//! request ── settle: identify ── claims: join or open ── settle: plan ── lane: queue
//!                                                                         │
//!            lane: quote, build, sign ── journal (first commit) ── lane: send
//!                                                                         │
//!            observer: poll ── verdict ── outcomes: judge ── journal (outcome, release) ── reply
//!                                │
//!                                └── endings: close the slot when its transaction is final
//! ```
//!
//! | what | states | moved by |
//! |---|---|---|
//! | settlement in memory ([`state::settlement::Phase`]) | `Opening` → `Committing` → `Committed`, or `Gone` | settle, until the first commit; the lane that commits |
//! | settlement in the journal (`journal::Outcome`) | `Open` → `Paid` or `Failed`; back to `Open` when its block is reorganised; `Reversed` after a release | outcomes |
//! | step (`journal::StepState`) | `Waiting` → `InSlot` → `Done` or `Failed`; `Skipped`; `Unexplained` | the lane (`InSlot`), outcomes (`Done`, `Failed`, `Skipped`), endings (freed, `Unexplained`) |
//! | slot ([`state::slot::OpenSlot`]) | open → decided → closed | the observer asks, outcomes decide, endings close |
//! | attempt | journaled → sent → in a block → final | the lane sends, the observer polls |
//!
//! # Layers
//!
//! A module uses those above it in this list, and nothing below: [`decide`] (pure), [`state`], [`verdict`] (pure, over
//! state), [`runtime`], [`outcome`], [`endings`], [`lane`], [`observer`] and [`health`], [`settle`], then `jobs`, `boot`
//! and `service`. Each has one owner: [`outcome::Outcomes`], [`endings::Endings`], [`lane::Lanes`],
//! [`observer::Observer`], [`health::Checks`], [`settle::Settling`].
//!
//! Assumed: one process owns the journal and its lanes. Plugins may fail at every call. Time is `tokio`'s.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of the crate is for those who work on it"
)]

mod alarms;
mod boot;
mod decide;
mod endings;
mod health;
mod jobs;
mod lane;
mod observer;
mod outcome;
pub mod registry;
mod runtime;
mod service;
mod settle;
mod state;
#[cfg(test)]
mod tests;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock::Clock;
use base::pause::Paused;
use base::service::{SettleAnswer, Settled};
use journal::{CommitError, Journal, JournalError};
use sdk_plugin::PaymentRequest;
use sdk_plugin::wire::VerifyReply;
use telemetry::metrics::Metrics;

pub use boot::ResumeError;
pub use runtime::calls::{Budgets, Ops};
pub use service::EngineService;

use endings::Endings;
use health::Checks;
use jobs::JobRunner;
use lane::Lanes;
use observer::Observer;
use outcome::Outcomes;
use registry::Registry;
use runtime::Runtime;
use settle::Settling;

/// What the engine needs to run.
pub struct Parts {
    pub registry: Registry,
    pub journal: Arc<dyn Journal>,
    pub ops: Ops,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// The engine. Dropping the last handle does not stop its tasks; [`Engine::stop`] does.
pub struct Engine {
    runtime: Arc<Runtime>,
    outcomes: Arc<Outcomes>,
    endings: Arc<Endings>,
    lanes: Arc<Lanes>,
    observer: Arc<Observer>,
    checks: Arc<Checks>,
    settling: Arc<Settling>,
    jobs: Arc<JobRunner>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("registry", &self.runtime.registry)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that does nothing yet: [`Engine::resume`] is the next thing to call, once.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            registry,
            journal,
            ops,
            clock,
            metrics,
        } = parts;
        alarms::begin_at_zero(&metrics, &registry);
        let runtime = Arc::new(Runtime::new(registry, journal, ops, clock, metrics));
        let outcomes = Arc::new(Outcomes::new(Arc::clone(&runtime)));
        let endings = Arc::new(Endings {
            runtime: Arc::clone(&runtime),
            outcomes: Arc::clone(&outcomes),
        });
        let lanes = Arc::new(Lanes {
            runtime: Arc::clone(&runtime),
            outcomes: Arc::clone(&outcomes),
            endings: Arc::clone(&endings),
        });
        let observer = Arc::new(Observer {
            runtime: Arc::clone(&runtime),
            outcomes: Arc::clone(&outcomes),
            endings: Arc::clone(&endings),
        });
        let checks = Arc::new(Checks {
            runtime: Arc::clone(&runtime),
            outcomes: Arc::clone(&outcomes),
            lanes: Arc::clone(&lanes),
        });
        let settling = Arc::new(Settling {
            runtime: Arc::clone(&runtime),
            outcomes: Arc::clone(&outcomes),
            endings: Arc::clone(&endings),
        });
        let jobs = Arc::new(JobRunner {
            runtime: Arc::clone(&runtime),
            settling: Arc::clone(&settling),
        });
        Arc::new(Self {
            runtime,
            outcomes,
            endings,
            lanes,
            observer,
            checks,
            settling,
            jobs,
        })
    }

    /// Stops every task at once, as a crash would: what is journaled is resumed at the next start.
    pub fn stop(&self) {
        self.runtime.stop();
    }

    /// Settlements that are journaled and not finished.
    #[must_use]
    pub fn open_settlements(&self) -> usize {
        self.runtime.claims.holders().len()
    }

    /// Settlements whose outcome callers may still wait for: a drain waits until there is none.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.runtime.claims.undecided()
    }

    /// For tests and metrics: claims in memory.
    #[must_use]
    pub fn claims_in_memory(&self) -> usize {
        self.runtime.claims.count()
    }

    /// Releases whose answers are on their way, or that are being given back.
    #[must_use]
    pub fn in_delivery(&self) -> usize {
        self.outcomes.in_delivery()
    }

    /// Settles a payment, or says what became of it. The answer counts as delivered when this returns.
    pub async fn settle(&self, request: PaymentRequest) -> SettleAnswer {
        self.settling.settle(request).await
    }

    /// Settles a payment, or says what became of it, within the request's time and a few seconds, whatever hangs: a
    /// caller with a recorded transaction gets its hash.
    pub async fn settle_with_receipt(&self, request: PaymentRequest) -> Settled {
        self.settling.settle_with_receipt(request).await
    }

    /// The same; after `early` the caller prefers `settlement_pending` with the hash to waiting for the chain.
    pub async fn settle_early(&self, request: PaymentRequest, early: Option<Duration>) -> Settled {
        self.settling.settle_early(request, early).await
    }

    /// Whether the payment is good right now; an open or unreleased claim with the same payload and terms is.
    pub async fn verify(&self, request: PaymentRequest) -> VerifyReply {
        self.settling.verify(request).await
    }

    /// Records what is paused, and logs what has changed.
    pub fn set_paused(&self, now: Paused) {
        self.runtime.set_paused(now);
    }

    /// Polls the file in the journal's directory that `switchyard pause` writes.
    pub fn watch_pauses(&self, directory: PathBuf) {
        self.runtime.watch_pauses(directory);
    }

    /// Withholds the releases of settlements that were in the journal when this process started: something shows that
    /// the journal is older than the chain. Returns how many releases are withheld now.
    pub async fn withhold_releases(&self, why: &str) -> Result<usize, CommitError> {
        self.outcomes.withhold_releases(why).await
    }

    /// Reports in the log and the metrics how many releases are withheld.
    pub async fn report_withheld(&self) -> Result<(), JournalError> {
        self.outcomes.report_withheld().await
    }

    /// Polls the file in the journal's directory that `switchyard releases allow` writes.
    pub fn watch_allowed(&self, directory: PathBuf) {
        self.outcomes.watch_allowed(directory);
    }

    /// Carries out what that file allows, and empties it. The error is a sentence for the operator.
    pub async fn take_allowed(&self, directory: &Path) -> Result<(), String> {
        self.outcomes.take_allowed(directory).await
    }

    /// Checks every network and every scheme once.
    pub async fn check_everything(&self) {
        self.checks.check_everything().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No holder panics between two writes that belong together.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
