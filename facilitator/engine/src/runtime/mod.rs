//! What every owner of the engine uses: the registry, the journal, the calls into plugins, the networks, the claims in
//! memory, and the engine's tasks.

use crate::registry::Registry;
use crate::runtime::calls::Ops;
use crate::state::claims::Claims;
use crate::state::elsewhere::Elsewhere;
use crate::state::network::NetworkRun;
use crate::state::ownership::Ownership;
use crate::state::reservations::Reservations;
use crate::state::settlement::{Phase, Settlement};
use crate::state::shared_journal::SharedJournal;
pub(crate) mod bring_back;
pub(crate) mod calls;
pub(crate) mod first_commit;
pub(crate) mod grants;
pub(crate) mod nodes;
pub(crate) mod other_nodes;
pub(crate) mod paused;
pub(crate) mod second_source;
pub(crate) mod survive;

use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::pause::Paused;
use journal::{Journal, JournalError, SettlementRow};
use telemetry::metrics::Metrics;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Shared by the owners above it, each of which holds it.
pub(crate) struct Runtime {
    pub(crate) registry: Registry,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) ops: Ops,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    /// By CAIP-2 id.
    pub(crate) networks: BTreeMap<String, Arc<NetworkRun>>,
    pub(crate) claims: Claims,
    /// Settlements that other nodes continue, and for which callers wait here.
    pub(crate) elsewhere: Elsewhere,
    /// Which lanes this process owns.
    pub(crate) ownership: Ownership,
    pub(crate) shared_journal: SharedJournal,
    /// What verifies have promised.
    pub(crate) reservations: Reservations,
    paused: RwLock<Paused>,
    /// Every settlement of this process has a greater id.
    pub(crate) first_id: u64,
    pub(crate) started: Instant,
    /// How often each kind of work panicked since the start, by network; the empty network stands for all of them.
    pub(crate) panics: Mutex<BTreeMap<(String, &'static str), u32>>,
    /// `None` once stopped: no task starts any more.
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Runtime {
    pub(crate) fn new(
        registry: Registry,
        journal: Arc<dyn Journal>,
        ops: Ops,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let is_shared = journal.shared().is_some();
        let networks = registry
            .networks()
            .map(|network| {
                let run = Arc::new(NetworkRun::new(Arc::clone(network), is_shared));
                (network.id().to_owned(), run)
            })
            .collect();
        let first_id = journal.new_id();
        Self {
            reservations: Reservations::new(Arc::clone(&journal)),
            registry,
            journal,
            ops,
            clock,
            metrics,
            networks,
            claims: Claims::default(),
            elsewhere: Elsewhere::default(),
            ownership: Ownership::new(is_shared),
            shared_journal: SharedJournal::default(),
            paused: RwLock::default(),
            first_id,
            started: Instant::now(),
            panics: Mutex::default(),
            tasks: Mutex::new(Some(JoinSet::new())),
        }
    }

    /// Ends every task at once, as a crash would.
    pub(crate) fn stop(&self) {
        // Dropped outside the lock: a task that is dropped may end calls that use the engine.
        let tasks = self.tasks.lock().take();
        drop(tasks);
    }

    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        let Some(tasks) = tasks.as_mut() else { return };
        // Ended tasks are collected here, so that the set does not grow.
        while tasks.try_join_next().is_some() {}
        let runtime = Arc::clone(self);
        // Some tasks are large: in a box they are moved once.
        let task = Box::pin(task);
        tasks.spawn(async move {
            // Work that must continue has its own guard inside.
            let _ = runtime.survives("", "a task of the engine", task).await;
        });
    }

    pub(crate) fn spawn_after(self: &Arc<Self>, pause: Duration, then: impl FnOnce() + Send + 'static) {
        self.spawn(async move {
            tokio::time::sleep(pause).await;
            then();
        });
    }

    /// The outcome of a claim ends its reservation. Where nodes share reservations this is a call to the database, for which
    /// nothing waits.
    pub(crate) fn end_reservation(self: &Arc<Self>, claim: &str) {
        if self.reservations.ends_at_once(claim) {
            return;
        }
        let (runtime, claim) = (Arc::clone(self), claim.to_owned());
        self.spawn(async move { runtime.reservations.end(&claim).await });
    }

    pub(crate) fn run_of(&self, network: &str) -> Option<&Arc<NetworkRun>> {
        self.networks.get(network)
    }

    /// Whether this process continues a recorded settlement. It may have handed the lane over during its work.
    pub(crate) fn continues(&self, settlement: &Settlement) -> bool {
        let unit = settlement.lock().row.unit();
        unit.is_none_or(|unit| self.ownership.owns_unit(&unit))
    }

    /// The newest row of a claim, from memory or from the journal. A first commit in progress is no row yet: the journal may
    /// refuse it.
    pub(crate) async fn claim_row(&self, claim: &str) -> Result<Option<SettlementRow>, JournalError> {
        let held = self.claims.holder(claim).and_then(|holder| {
            let state = holder.lock();
            (state.phase != Phase::Committing).then(|| state.row.clone())
        });
        match held {
            Some(row) => Ok(Some(row)),
            None => self.journal.claim(claim).await,
        }
    }
}
