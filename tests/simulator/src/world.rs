//! Everything outside the engine, shared by the parts of a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock::{Clock, TokioClock};
use journal::plugin_rows::JournalRows;
use journal::plugin_rows::{Jobs, PluginStore};
use journal::units::OfUnit;
use journal::{Adoption, CommitError, Event, Journal, JournalError, ReadTask, SettlementRow, WithPlan};
use sdk_plugin::host::{
    JobRequest, Level, MetricKind, RpcRequest, RpcResponse, SignRequest, Signature, StoreRequest,
    StoreResponse,
};
use sdk_plugin::{Fault, HostServices, Value, async_trait};

use crate::chain::{Chain, NODES, Tx, View};
use crate::defects::Defect;
use crate::disk::Disk;
use crate::faults::{Faults, Harm, Point};
use crate::rng::Rng;
use crate::token::State;

/// What all parts share.
#[derive(Debug)]
pub struct World {
    chain: Arc<Mutex<Chain>>,
    rng: Arc<Mutex<Rng>>,
    pub faults: Arc<Faults>,
    pub clock: TokioClock,
    pub journal: Arc<Disk>,
    /// The same journal for the judge: it always answers.
    pub record: Arc<Disk>,
    /// What is wrong on purpose.
    pub defect: Option<Defect>,
    /// Ids since the start, where these begin again.
    ids: AtomicU64,
    starts: AtomicU64,
    /// The self-check result of the scheme `hold`.
    pub hold_is_ready: AtomicBool,
    /// How long the process stays down when it dies next, at least, milliseconds.
    pub stays_down_ms: AtomicU64,
    /// Whether the plugin gets its other id before the next start.
    pub is_adopting: AtomicBool,
    /// Whether the plugin has its other id.
    is_renamed: AtomicBool,
    /// Transactions that reached a node and are not in the journal.
    unjournaled: Arc<Mutex<Vec<String>>>,
    /// Every transaction that was ever signed, sent or not.
    signed: Arc<Mutex<BTreeMap<String, Tx>>>,
}

impl World {
    #[must_use]
    pub fn new(chain: Chain, rng: Rng, faults: Arc<Faults>, clock: TokioClock, journal: Arc<Disk>) -> Self {
        Self {
            chain: Arc::new(Mutex::new(chain)),
            rng: Arc::new(Mutex::new(rng)),
            faults,
            clock,
            record: Arc::clone(&journal),
            journal,
            defect: None,
            ids: AtomicU64::new(1),
            starts: AtomicU64::new(1),
            hold_is_ready: AtomicBool::new(true),
            stays_down_ms: AtomicU64::new(0),
            is_adopting: AtomicBool::new(false),
            is_renamed: AtomicBool::new(false),
            unjournaled: Arc::default(),
            signed: Arc::default(),
        }
    }

    /// The same world as one of several nodes sees it: with a journal handle and faults of its own.
    #[must_use]
    pub fn of_node(&self, faults: Arc<Faults>, journal: Arc<Disk>) -> Self {
        Self {
            chain: Arc::clone(&self.chain),
            rng: Arc::clone(&self.rng),
            faults,
            clock: self.clock.clone(),
            journal,
            record: Arc::clone(&self.record),
            defect: self.defect,
            ids: AtomicU64::new(1),
            starts: AtomicU64::new(1),
            hold_is_ready: AtomicBool::new(true),
            stays_down_ms: AtomicU64::new(0),
            is_adopting: AtomicBool::new(false),
            is_renamed: AtomicBool::new(false),
            unjournaled: Arc::clone(&self.unjournaled),
            signed: Arc::clone(&self.signed),
        }
    }

    /// The process was started again.
    pub fn restarted(&self) {
        self.ids.store(1, Ordering::Relaxed);
        self.starts.fetch_add(1, Ordering::Relaxed);
    }

    /// The id of the plugin.
    #[must_use]
    pub fn plugin(&self) -> &'static str {
        if self.is_renamed.load(Ordering::Relaxed) {
            RENAMED
        } else {
            PLUGIN
        }
    }

    /// Carries out an [`Act::Adopt`](crate::run::Act::Adopt), while no process runs.
    pub async fn adopt(&self) {
        if !self.is_adopting.swap(false, Ordering::Relaxed) {
            return;
        }
        let before = self.plugin();
        self.is_renamed.fetch_xor(true, Ordering::Relaxed);
        let adoption = Adoption::new(before, self.plugin());
        let adopted = match adoption {
            Ok(adoption) => self.journal.adopt(&adoption).await,
            Err(error) => Err(error),
        };
        match adopted {
            Ok(adopted) => tracing::info!(?adopted, "the plugin has the id {}", self.plugin()),
            Err(error) => tracing::error!(%error, "the plugin was not adopted"),
        }
    }

    pub fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// The node that serves a batch of reads.
    pub fn node(&self) -> usize {
        self.rng().index(NODES)
    }

    /// The newest state that a node of the pool shows, and its height. `harm`: what the read suffers.
    ///
    /// # Errors
    /// The node answers null.
    pub fn read_state(&self, harm: Option<Harm>) -> Result<(Arc<State>, u64), Fault> {
        let node = self.node();
        self.slow_down(node, harm);
        let mut view = self.view_of(node);
        if let Some(Harm::Null(read)) = harm {
            view.silence(read);
        }
        let block = view
            .latest_state()
            .ok_or_else(|| Fault::unavailable("the node answered null for the state"))?;
        Ok((Arc::clone(&block.state), block.height))
    }

    /// Makes the node fall behind, if that is the harm.
    pub fn slow_down(&self, node: usize, harm: Option<Harm>) {
        if harm == Some(Harm::Stale) {
            let now_ms = self.now_ms();
            let mut chain = self.chain();
            let pause = chain.weather.block_ms * 4;
            chain.freeze(node, now_ms, now_ms + pause);
        }
    }

    /// What this node shows now.
    pub fn view_of(&self, node: usize) -> View {
        let now_ms = self.now_ms();
        self.chain().view(node, now_ms)
    }

    pub fn note_signed(&self, tx_id: String, tx: Tx) {
        self.signed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tx_id, tx);
    }

    #[must_use]
    pub fn signed(&self) -> BTreeMap<String, Tx> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn note_unjournaled(&self, tx_id: String) {
        self.unjournaled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(tx_id);
    }

    #[must_use]
    pub fn unjournaled(&self) -> Vec<String> {
        self.unjournaled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The journal as the engine sees it: reads and waits can go wrong too.
#[derive(Debug)]
pub struct SimJournal {
    pub inner: Arc<Disk>,
    pub faults: Arc<Faults>,
    pub world: Arc<World>,
}

impl SimJournal {
    async fn pass_boot(&self) -> Result<(), JournalError> {
        match self.faults.draw(Point::Boot) {
            Some(Harm::Unavailable) => return Err(JournalError("injected".into())),
            Some(Harm::Slow) => tokio::time::sleep(Duration::from_secs(2)).await,
            Some(Harm::CrashBefore) => self.faults.crash().await,
            Some(Harm::Reorg) => tokio::task::yield_now().await,
            _ => {}
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for SimJournal {
    fn new_id(&self) -> u64 {
        if self.world.defect == Some(Defect::IdsReused) {
            return self.world.ids.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.new_id()
    }

    fn secret(&self) -> [u8; 32] {
        self.inner.secret()
    }

    fn shared(&self) -> Option<&dyn journal::lease::Shared> {
        self.inner.shared()
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError> {
        // How long a sync takes: mostly a few milliseconds, at times seconds.
        let millis = {
            let mut rng = self.world.rng();
            if rng.chance(20) {
                rng.between(500, 4_000)
            } else {
                rng.between(1, 8)
            }
        };
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let written = match self.world.defect {
            Some(defect) => defect.spoil(events.clone()),
            None => events.clone(),
        };
        let commit = self.inner.commit(written);
        self.faults.around_commit(&events, commit).await
    }

    fn note(&self, event: Event) {
        self.inner.note(event);
    }

    async fn view(&self, task: ReadTask) -> Result<(), JournalError> {
        self.inner.view(task).await
    }

    async fn claim(&self, key: &str) -> Result<Option<SettlementRow>, JournalError> {
        match self.faults.draw(Point::ClaimLookUp) {
            Some(Harm::Unavailable) => return Err(JournalError("injected".into())),
            Some(Harm::Slow) => tokio::time::sleep(Duration::from_secs(2)).await,
            Some(Harm::CrashBefore) => self.faults.crash().await,
            Some(Harm::CallersLeave | Harm::Reorg) => tokio::task::yield_now().await,
            _ => {}
        }
        self.inner.claim(key).await
    }

    async fn unfinished_after(&self, after: u64, limit: usize) -> Result<Vec<WithPlan>, JournalError> {
        self.pass_boot().await?;
        let is_first = self.world.starts.load(Ordering::Relaxed) == 1;
        if self.world.defect == Some(Defect::ResumeForgets) && !is_first {
            return Ok(Vec::new());
        }
        self.inner.unfinished_after(after, limit).await
    }

    async fn unfinished_of(&self, unit: &str, after: u64, limit: usize) -> Result<OfUnit, JournalError> {
        self.pass_boot().await?;
        self.inner.unfinished_of(unit, after, limit).await
    }
}

/// The id under which the simulated plugin keeps rows and jobs.
pub const PLUGIN: &str = "sim";
/// The id that it gets by an adoption.
pub const RENAMED: &str = "acme.sim";

/// Host services: the simulated schemes and driver need a clock, rows and jobs.
#[derive(Debug)]
pub struct SimHost {
    pub clock: TokioClock,
    pub rows: JournalRows,
    /// The plugin's id.
    pub plugin: &'static str,
}

#[async_trait]
impl HostServices for SimHost {
    async fn rpc(&self, _: u64, _: RpcRequest) -> Result<RpcResponse, Fault> {
        Err(Fault::unsupported("no rpc here"))
    }

    async fn sign(&self, _: u64, _: SignRequest) -> Result<Signature, Fault> {
        Err(Fault::unsupported("no keys here"))
    }

    async fn store(&self, _: u64, request: StoreRequest) -> Result<StoreResponse, Fault> {
        self.rows.store(self.plugin, request).await
    }

    async fn job(&self, _: u64, request: JobRequest) -> Result<(), Fault> {
        self.rows.job(self.plugin, request).await
    }

    async fn sleep(&self, _: u64, millis: u64) -> Result<(), Fault> {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(())
    }

    fn now_unix_ns(&self) -> u64 {
        self.clock.now_unix_ns()
    }

    fn log(&self, _: u64, _: Level, _: &str, _: &str, _: &Value) {}

    fn metric(&self, _: MetricKind, _: &str, _: f64, _: &BTreeMap<String, String>) {}
}
