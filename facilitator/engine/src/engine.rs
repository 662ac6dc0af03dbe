//! The engine: its owners, and what others may call.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::pause;
use base::service::{ReservationEnd, SettleAnswer, SettleWait, Settled};
use journal::{CommitError, Journal, JournalError};
use parking_lot::Mutex;
use sdk_plugin::PaymentRequest;
use sdk_plugin::wire::VerifyReply;
use telemetry::metrics::Metrics;

use crate::alarms;
use crate::endings::Endings;
use crate::health::Checks;
use crate::housekeeping::{Housekeeper, Retention};
use crate::jobs::JobRunner;
use crate::lane::Lanes;
use crate::observer::Observer;
use crate::outcome::Outcomes;
use crate::owner::Owner;
use crate::registry::Registry;
use crate::runtime::Runtime;
use crate::runtime::calls::Ops;
use crate::settle::Settling;
/// What the engine needs to run.
pub struct Parts {
    pub registry: Registry,
    pub journal: Arc<dyn Journal>,
    pub ops: Ops,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub retention: Retention,
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
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) endings: Arc<Endings>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) checks: Arc<Checks>,
    pub(crate) settling: Arc<Settling>,
    pub(crate) jobs: Arc<JobRunner>,
    pub(crate) housekeeper: Arc<Housekeeper>,
    pub(crate) owner: Arc<Owner>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("registry", &self.runtime.registry)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that does not run yet. Call [`Engine::resume`] next, once.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            registry,
            journal,
            ops,
            clock,
            metrics,
            retention,
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
        let housekeeper = Arc::new(Housekeeper {
            runtime: Arc::clone(&runtime),
            retention,
        });
        let owner = Arc::new(Owner {
            runtime: Arc::clone(&runtime),
            outcomes: Arc::clone(&outcomes),
            endings: Arc::clone(&endings),
            lanes: Arc::clone(&lanes),
            releasing: Mutex::default(),
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
            housekeeper,
            owner,
        })
    }

    /// Stops every task at once, as a crash would: what is journaled is resumed at the next start.
    pub fn stop(&self) {
        self.runtime.stop();
    }

    /// The process is about to end: from here on it takes no lanes of other nodes that share the journal. It continues what
    /// it owns.
    pub fn leave(&self) {
        self.runtime.ownership.leave();
    }

    /// Ends when another node has taken a lane from this one, with its name. The process must end then: what it has in
    /// memory about the lane is not true any more.
    pub async fn lease_lost(&self) -> String {
        self.runtime.ownership.lost().await
    }

    /// Lets other nodes that share the journal take this node's lanes at once. Call it after [`Engine::stop`].
    pub async fn give_up_lanes(&self) {
        self.owner.give_everything_up().await;
    }

    /// Settlements that are journaled and not finished.
    #[must_use]
    pub fn open_settlements(&self) -> usize {
        self.runtime.claims.holders().len()
    }

    /// Settlements whose outcome callers may still wait for: a drain waits until there is none.
    #[must_use]
    pub fn undecided(&self) -> usize {
        let watched = self.runtime.elsewhere.all().len();
        self.runtime.claims.undecided().saturating_add(watched)
    }

    /// Claims in memory, for tests and metrics.
    #[must_use]
    pub fn claims_in_memory(&self) -> usize {
        self.runtime.claims.count()
    }

    /// Releases whose answers are not delivered yet, or that are being given back.
    #[must_use]
    pub fn in_delivery(&self) -> usize {
        self.outcomes.in_delivery()
    }

    /// Settles a payment, or reports the outcome of an equal request. The answer counts as delivered when this
    /// returns.
    pub async fn settle(&self, request: PaymentRequest) -> SettleAnswer {
        self.settling.settle(request).await
    }

    /// Settles a payment, or reports the outcome of an equal request, within the request's time and a few seconds,
    /// whatever hangs. A caller with a recorded transaction gets its hash.
    pub async fn settle_with_receipt(&self, request: PaymentRequest) -> Settled {
        self.settling.settle_with_receipt(request).await
    }

    /// The same, for a caller that says what it waits for.
    pub async fn settle_waiting(&self, request: PaymentRequest, wait: SettleWait) -> Settled {
        self.settling.settle_waiting(request, wait).await
    }

    /// Whether the payment is valid now. An open or unreleased claim with the same payload and terms counts as valid.
    pub async fn verify(&self, request: PaymentRequest) -> VerifyReply {
        self.settling.verify(request, None).await
    }

    /// The same; a valid payment is promised to its tenant for at most `reserve`, and refused if it is promised to
    /// another one.
    pub async fn verify_reserving(&self, request: PaymentRequest, reserve: Duration) -> VerifyReply {
        self.settling.verify(request, Some(reserve)).await
    }

    /// Some tenant reserves at verify, here or at another node that shares the journal: the outcome of a payment ends its
    /// reservation there.
    pub fn expect_reservations(&self) {
        self.runtime.reservations.expect();
    }

    /// Ends the reservation of a claim, if the tenant holds it.
    pub async fn end_reservation(&self, claim: &str, tenant: &str) -> ReservationEnd {
        match self.runtime.reservations.end_of(claim, tenant).await {
            Ok(true) => ReservationEnd::Ended,
            Ok(false) => ReservationEnd::NotHeld,
            Err(error) => {
                tracing::warn!(%error, "a reservation can't be ended");
                ReservationEnd::Unavailable
            }
        }
    }

    /// Reads what operators have paused: from the database that nodes share, or else from the file in the journal's directory
    /// that `switchyard pause` writes. Call it before [`Engine::resume`].
    pub async fn read_pauses(&self, directory: &Path) {
        match self.runtime.journal.shared() {
            Some(shared) => self.outcomes.read_pauses(shared).await,
            None => self.runtime.set_paused(pause::read(directory)),
        }
    }

    /// Keeps reading what operators pause and which releases they allow, from where [`Engine::read_pauses`] reads.
    pub fn watch_operators(&self, directory: &Path) {
        if self.runtime.journal.shared().is_some() {
            self.outcomes.watch_settings();
        } else {
            self.runtime.watch_pauses(directory.to_owned());
            self.outcomes.watch_allowed(directory.to_owned());
        }
    }

    /// Withholds the releases of settlements that were in the journal when this process started, because something
    /// shows that the journal is older than the chain. Returns how many releases are withheld now.
    pub async fn withhold_releases(&self, why: &str) -> Result<usize, CommitError> {
        self.outcomes.withhold_releases(why).await
    }

    /// Reports in the log and the metrics how many releases are withheld.
    pub async fn report_withheld(&self) -> Result<(), JournalError> {
        self.outcomes.report_withheld().await
    }

    /// Allows the releases that operators have listed, and empties the list. The error is a text for the operator.
    pub async fn take_allowed(&self, directory: &Path) -> Result<(), String> {
        match self.runtime.journal.shared() {
            Some(shared) => self.outcomes.take_allowed_of_all(shared).await,
            None => self.outcomes.take_allowed(directory).await,
        }
    }

    /// Checks every network and every scheme once.
    pub async fn check_everything(&self) {
        self.checks.check_everything().await;
    }
}
