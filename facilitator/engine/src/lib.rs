//! The settlement engine: when things happen, the record of it, and who is told.
//!
//! A payment's way: [`settle`] identifies it, looks its claim up and has it planned inside its conflict keys; the
//! [`lane`] of a signer builds and signs its transaction, journals it and hands it to be sent; the [`observer`] of the
//! network sees where every open transaction stands; [`outcome`] has the scheme judge what landed, records outcome and
//! release in one commit, and only then answers. [`boot`] resumes from the journal where a process ended.
//!
//! Assumed: one process owns the journal and its lanes. Plugins may fail at every call. Time is `tokio`'s.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

mod alarms;
mod boot;
mod bound;
#[cfg(test)]
mod bound_tests;
mod budget;
mod closing;
mod conflicts;
mod decide;
mod funds;
mod griefing;
mod head;
mod health;
mod history;
mod jobs;
mod lane;
#[cfg(test)]
mod law4_tests;
mod network;
mod nodes;
mod observer;
mod ops;
mod other_nodes;
mod outcome;
mod overdue;
mod paused;
mod plan_check;
#[cfg(test)]
mod plan_check_tests;
pub mod registry;
mod releases;
#[cfg(test)]
mod releases_tests;
mod rows;
mod schemes;
#[cfg(test)]
mod schemes_tests;
mod second_source;
mod service;
mod settle;
mod settlement;
mod slot;
mod survive;
mod unsent;
mod verdict;
#[cfg(test)]
mod verdict_tests;
mod verify;
mod withheld;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use sdk_plugin::{Fault, FaultKind};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use boot::ResumeError;
pub use ops::{Budgets, Ops};
pub use service::EngineService;

use crate::registry::{Kind, Registry};
use base::clock::Clock;
use base::pause::Paused;
use journal::Journal;
use network::NetworkRun;
use settlement::Settlement;
use telemetry::metrics::Metrics;

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
    registry: Registry,
    journal: Arc<dyn Journal>,
    ops: Ops,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    networks: BTreeMap<String, Arc<NetworkRun>>,
    /// In order of their keys, so that what walks over all of them does so in the same order each time.
    claims: Mutex<BTreeMap<String, Claim>>,
    conflicts: Mutex<conflicts::Conflicts>,
    griefing: griefing::Griefing,
    paused: RwLock<Paused>,
    /// No settlement of this process has this number or a lower one.
    first_id: u64,
    started: Instant,
    /// Settlements whose release was taken for an answer that has not arrived yet, or is being given back; how many such
    /// answers there are of each.
    in_delivery: Mutex<BTreeMap<u64, u32>>,
    /// How often which work panicked since the start, by network; the empty one stands for all.
    panics: Mutex<BTreeMap<(String, &'static str), u32>>,
    /// `None` once stopped: nothing is begun any more.
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// What is in memory of a claim.
#[derive(Debug, Default)]
struct Claim {
    /// The settlement that is journaled, or being journaled.
    holder: Option<Arc<Settlement>>,
    /// Those of which nothing is journaled: one for each distinct payload and terms.
    opening: Vec<Arc<Settlement>>,
}

impl Engine {
    /// An engine that has not begun: [`Engine::resume`] is the next thing to call, once.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let networks = parts
            .registry
            .networks()
            .map(|network| {
                (
                    network.id().to_owned(),
                    Arc::new(NetworkRun::new(Arc::clone(network))),
                )
            })
            .collect();
        alarms::begin_at_zero(&parts.metrics, &parts.registry);
        let first_id = parts.journal.new_id();
        Arc::new(Self {
            registry: parts.registry,
            journal: parts.journal,
            ops: parts.ops,
            clock: parts.clock,
            metrics: parts.metrics,
            networks,
            claims: Mutex::default(),
            conflicts: Mutex::default(),
            griefing: griefing::Griefing::default(),
            paused: RwLock::default(),
            first_id,
            started: Instant::now(),
            in_delivery: Mutex::default(),
            panics: Mutex::default(),
            tasks: Mutex::new(Some(JoinSet::new())),
        })
    }

    /// Stops every task at once, as a crash would: what is journaled is resumed at the next start.
    pub fn stop(&self) {
        // Dropped outside the lock: a task that is dropped may end calls that look at the engine.
        let tasks = lock(&self.tasks).take();
        drop(tasks);
    }

    /// Settlements that are journaled and not finished.
    #[must_use]
    pub fn open_settlements(&self) -> usize {
        lock(&self.claims)
            .values()
            .filter(|claim| claim.holder.is_some())
            .count()
    }

    /// Settlements whose outcome somebody may still be waiting for: what a drain waits to see at zero.
    #[must_use]
    pub fn undecided(&self) -> usize {
        let claims = lock(&self.claims);
        claims
            .values()
            .flat_map(|claim| claim.holder.iter().chain(&claim.opening))
            .filter(|settlement| settlement.lock().row.outcome == journal::Outcome::Open)
            .count()
    }

    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        let Some(tasks) = tasks.as_mut() else { return };
        // Ended tasks are collected here, so that the set stays as large as what runs.
        while tasks.try_join_next().is_some() {}
        let engine = Arc::clone(self);
        tasks.spawn(async move {
            // Whatever must go on has a guard of its own inside.
            let _ = engine.survives("", "a task of the engine", task).await;
        });
    }

    fn spawn_after(self: &Arc<Self>, pause: std::time::Duration, then: impl FnOnce() + Send + 'static) {
        self.spawn(async move {
            tokio::time::sleep(pause).await;
            then();
        });
    }

    /// Journaled settlements of a network that are not finished.
    fn holders_on(&self, network: &str) -> Vec<Arc<Settlement>> {
        let claims = lock(&self.claims);
        let holders = claims.values().filter_map(|claim| claim.holder.clone());
        holders
            .filter(|settlement| settlement.network.id() == network)
            .collect()
    }

    fn run_of(&self, network: &str) -> Option<&Arc<NetworkRun>> {
        self.networks.get(network)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No holder panics between two writes that belong together.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys of claims and conflicts: a scheme's own, under plugin and network.
fn own_key(kind: &Kind, key: &str) -> String {
    format!("{}|{}|{key}", kind.instance.plugin, kind.network.id())
}

/// The scheme's fingerprint with the tenant, as one hash.
fn fingerprint_of(fingerprint: &str, tenant: Option<&str>) -> String {
    let mut hash = Sha256::new();
    // The length keeps a tenant's name from running into the fingerprint.
    let tenant = tenant.unwrap_or_default();
    hash.update(tenant.len().to_be_bytes());
    hash.update(tenant.as_bytes());
    hash.update(fingerprint.as_bytes());
    hex::encode(hash.finalize())
}

/// What a caller may read of a fault; the whole is in the log.
fn public_message(fault: &Fault) -> &'static str {
    match fault.kind {
        FaultKind::Unavailable => "a node or service behind this network did not answer; try again",
        FaultKind::Deadline => "this network's handler did not answer in time; try again",
        FaultKind::Overloaded => "this network's handler is overloaded; try again",
        FaultKind::Shutdown | FaultKind::Cancelled => "this network's handler is stopping; try again",
        FaultKind::Invalid
        | FaultKind::Unsupported
        | FaultKind::Panic
        | FaultKind::Internal
        | FaultKind::Denied
        | FaultKind::Indeterminate => "this network's handler failed",
    }
}

/// Whether a fault says nothing about the request: what it stopped before the first commit was not begun, and the same
/// request may succeed later. One cause has one answer, whichever call met it first.
fn passes_by_itself(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Unavailable
        | FaultKind::Deadline
        | FaultKind::Overloaded
        | FaultKind::Shutdown
        | FaultKind::Cancelled => true,
        FaultKind::Invalid
        | FaultKind::Unsupported
        | FaultKind::Panic
        | FaultKind::Internal
        | FaultKind::Denied
        | FaultKind::Indeterminate => false,
    }
}
