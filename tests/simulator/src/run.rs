//! One run: a chain, an engine that may die and come back on the same journal, clients, then calm, then the judge.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use base::calls::CallTable;
use base::clock::{Clock, TokioClock};
use engine::registry::{Checked, Granted, Instance, Kind, Network, NetworkSettings, Registry};
use engine::{Budgets, Engine, Ops, Parts, Retention};
use journal::Journal;
use journal::memory::MemoryJournal;
use journal::plugin_rows::JournalRows;
use sdk_plugin::chain::KeyInfo;
use sdk_plugin::host::{StoreRow, Suite};
use sdk_plugin::manifest::Grant;
use sdk_plugin::{Amount, HexBytes, SchemeHandler, Value};
use telemetry::metrics::Metrics;
use tokio::task::JoinSet;

use crate::chain::{Chain, GAS, NODES, Weather};
use crate::clients::{Cell, Clients, Exchange, NETWORK, SettleRequest};
use crate::defects::Defect;
use crate::disk::{Disk, FileDisk};
use crate::driver::SimDriver;
use crate::faults::{AtCommit, Faults, Injected, Mode};
use crate::hold::{HOLD, HoldScheme};
use crate::oracle::{self, Verdict};
use crate::planted::Planted;
use crate::rng::Rng;
use crate::scheme::{EXACT, STEPS, Shape, SimScheme};
use crate::token::{Op, State, TOKEN};
use crate::world::{SimHost, SimJournal, World};

mod act;

pub use act::Act;
pub(crate) use act::play;

/// The plugin instance that everything simulated belongs to.
pub(crate) const INSTANCE: u64 = 1;
pub(crate) const EPOCH_S: u64 = 1_800_000_000;
/// Virtual time in which everything must end once nothing goes wrong any more.
pub(crate) const REST: Duration = Duration::from_secs(1_800);

/// How the network is run.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub signers: usize,
    /// Signers that take nothing new.
    pub retained: usize,
    /// Whether these have no native currency.
    pub retained_are_unfunded: bool,
    pub confirmations: u64,
    pub finality: u64,
    pub max_cost: u64,
    pub max_in_flight: usize,
    /// The most steps that share a transaction.
    pub max_batch: usize,
    /// How long payments may wait for others to share their transaction, milliseconds.
    pub gather_ms: u64,
    pub lane_queue: usize,
    /// Payments of so much are decided on what two nodes show alike.
    pub second_source_above: Option<u64>,
    /// Whether the chain numbers each signer's transactions.
    pub ordered: bool,
    /// How long rows of finished settlements are kept.
    pub retention: Retention,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            signers: 2,
            retained: 0,
            retained_are_unfunded: false,
            confirmations: 2,
            finality: 6,
            max_cost: GAS * 200,
            max_in_flight: 4,
            max_batch: 1,
            gather_ms: 0,
            lane_queue: 8,
            second_source_above: None,
            ordered: true,
            retention: Retention::default(),
        }
    }
}

/// A request of a scenario.
#[derive(Debug, Clone)]
pub struct ScheduledRequest {
    pub at_ms: u64,
    pub request: Arc<SettleRequest>,
    pub wait_ms: u64,
    pub tries: u32,
    /// When the caller hangs up on its first request; `None`: it stays.
    pub hangs_up_after_ms: Option<u64>,
}

/// Everything that determines a run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub terms: Terms,
    pub weather: Weather,
    pub mode: Mode,
    /// The journal reports that it wrote attempts, and did not.
    pub journal_lies: bool,
    /// The journal is the real one, in files. Only in a process that is recorded.
    pub on_disk: bool,
    /// A defect in what the engine stands on.
    pub defect: Option<Defect>,
    /// A defect in the driver.
    pub planted: Option<Planted>,
    pub balances: Vec<(String, u64)>,
    pub requests: Vec<ScheduledRequest>,
    /// When faults and bad weather end.
    pub calm_at_ms: u64,
    /// What happens when, in milliseconds from the start.
    pub acts: Vec<(u64, Act)>,
}

/// What came out.
#[derive(Debug)]
pub struct Report {
    pub verdict: Verdict,
    pub exchanges: Vec<Exchange>,
    pub faults: std::collections::BTreeMap<(crate::faults::Point, crate::faults::Harm), u64>,
    pub passes: std::collections::BTreeMap<crate::faults::Point, u64>,
    pub log: Vec<journal::Event>,
    pub restarts: u64,
    pub blocks: u64,
    /// Paying transfers on the chain at the end.
    pub payments: u64,
    /// Transactions of our signers on the chain at the end.
    pub transactions: u64,
    pub virtual_ms: u64,
    /// What the chain remembers at the end.
    pub state: Arc<State>,
    /// The plugin's rows at the end.
    pub rows: Vec<StoreRow>,
}

/// Panics that nobody injected, since [`watch_panics`].
pub(crate) fn take_panics() -> Vec<String> {
    PANICS.with_borrow_mut(std::mem::take)
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Injected panics are silent; others are remembered for the judge.
pub(crate) fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().is::<Injected>() {
                return;
            }
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
    PANICS.with_borrow_mut(Vec::clear);
}

/// Runs a scenario; the same scenario always runs the same way.
///
/// # Errors
/// The runtime could not be built, or the files of the journal could not be made.
pub fn simulate(scenario: &Scenario) -> std::io::Result<Report> {
    watch_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(run(scenario))
}

/// The same, with a trace of everything that happened.
///
/// # Errors
/// The runtime could not be built, or the files of the journal could not be made.
pub fn simulate_traced(scenario: &Scenario) -> std::io::Result<(Report, String)> {
    let buffer = crate::trace::Buffer::default();
    let subscriber = crate::trace::subscriber(buffer.clone());
    let report = tracing::subscriber::with_default(subscriber, || simulate(scenario))?;
    Ok((report, buffer.text()))
}

async fn run(scenario: &Scenario) -> std::io::Result<Report> {
    let clock = TokioClock::starting_at(EPOCH_S);
    let started = tokio::time::Instant::now();
    let mut rng = Rng::new(scenario.seed ^ 0x5117_c4a2_d000_0001);
    let faults = Arc::new(Faults::new(
        scenario.mode.clone(),
        scenario.journal_lies,
        scenario.on_disk,
        rng.fork(),
    ));
    let mut state = State {
        balances: scenario.balances.iter().cloned().collect(),
        ..State::default()
    };
    if scenario.terms.ordered {
        let retained = keys("r", scenario.terms.retained);
        for key in keys("k", scenario.terms.signers).into_iter().chain(retained) {
            state.nonces.insert(format!("signer-{}", key.name), 0);
        }
        let approves = |scheduled: &&ScheduledRequest| scheduled.request.payload.shape == Shape::Approved;
        for scheduled in scenario.requests.iter().filter(approves) {
            state.nonces.insert(scheduled.request.payload.from.clone(), 0);
        }
    }
    let chain = Chain::new(scenario.weather, scenario.terms.confirmations, state, rng.fork());
    let journal = if scenario.on_disk {
        let rng = Rng::new(scenario.seed ^ 0x0d15_c0f1_1e50_0006);
        Disk::Files(Box::new(FileDisk::create(
            clock.clone(),
            Arc::clone(&faults),
            rng,
        )?))
    } else {
        let faults = Box::new(AtCommit(Arc::clone(&faults)));
        Disk::Memory(MemoryJournal::with_faults(faults))
    };
    let journal = Arc::new(journal);
    let mut world = World::new(chain, rng.fork(), Arc::clone(&faults), clock, journal);
    world.defect = scenario.defect;
    let world = Arc::new(world);

    let cell = Arc::new(Cell::default());
    let restarts = Arc::new(Mutex::new(0));
    let mut scenery = JoinSet::new();
    scenery.spawn(keep_mining(Arc::clone(&world)));
    scenery.spawn(keep_alive(
        Arc::clone(&world),
        (scenario.terms, scenario.planted),
        Arc::clone(&cell),
        Arc::clone(&restarts),
    ));
    scenery.spawn(act::play(Arc::clone(&world), scenario.acts.clone()));
    scenery.spawn(act::play_reorgs(Arc::clone(&world)));

    let gather = Duration::from_millis(scenario.terms.gather_ms);
    let clients = Clients::new(Arc::clone(&world), Arc::clone(&cell), gather);
    let mut sellers = JoinSet::new();
    for scheduled in scenario.requests.clone() {
        let clients = clients.clone();
        sellers.spawn(async move {
            tokio::time::sleep(Duration::from_millis(scheduled.at_ms)).await;
            clients.settle_scheduled(scheduled).await;
        });
    }
    tokio::time::sleep(Duration::from_millis(scenario.calm_at_ms)).await;
    calm_down(&world, scenario);
    while sellers.join_next().await.is_some() {}
    let mut stuck = at_rest(&world, &cell, "after the faults").await;

    // A caller settles everything again: every outcome must be known by now.
    let mut requests: Vec<Arc<SettleRequest>> = scenario
        .requests
        .iter()
        .map(|scheduled| Arc::clone(&scheduled.request))
        .collect();
    requests.sort();
    requests.dedup();
    for request in requests {
        clients.settle(request, 25_000, 5, true).await;
    }
    stuck.extend(at_rest(&world, &cell, "after the last questions").await);

    if let Some(engine) = cell.get().1 {
        engine.stop();
    }
    scenery.shutdown().await;
    let log = world.journal.log();
    let rows = rows(&world).await;
    let exchanges = clients.exchanges();
    let chain = world.chain();
    let mut verdict = oracle::judge(&oracle::Facts {
        chain: &chain,
        terms: &scenario.terms,
        log: &log,
        exchanges: &exchanges,
        unjournaled: &world.unjournaled(),
        signed: &world.signed(),
    });
    verdict.stuck.extend(stuck);
    verdict.damaged = world.journal.wrong();
    verdict.panics = take_panics();
    let paying = |tx: &crate::chain::Included| {
        let pays = |op: &Op| matches!(op, Op::Transfer { .. } | Op::Pay { .. } | Op::Capture { .. });
        let ops = tx.tx.ops().enumerate();
        ops.filter(|(position, op)| pays(op) && tx.has_done(*position))
            .count()
    };
    let payments: usize = chain
        .canonical()
        .iter()
        .flat_map(|block| &block.txs)
        .map(paying)
        .sum();
    let ours = |tx: &&crate::chain::Included| !tx.tx.signer.is_empty();
    let transactions = chain
        .canonical()
        .iter()
        .flat_map(|block| &block.txs)
        .filter(ours)
        .count();
    Ok(Report {
        verdict,
        exchanges,
        faults: faults.struck(),
        passes: faults.passes(),
        log,
        restarts: *restarts.lock().unwrap_or_else(PoisonError::into_inner),
        blocks: chain.height(),
        payments: u64::try_from(payments).unwrap_or(u64::MAX),
        transactions: u64::try_from(transactions).unwrap_or(u64::MAX),
        state: chain.state(),
        rows,
        virtual_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

pub(crate) async fn rows(world: &World) -> Vec<StoreRow> {
    let scan = world
        .journal
        .store_scan(world.plugin(), "", None, 1_000, world.now_ms());
    scan.await.unwrap_or_default()
}

pub(crate) fn calm_down(world: &World, scenario: &Scenario) {
    tracing::info!("faults and bad weather end");
    world.faults.end();
    let now_ms = world.now_ms();
    let mut chain = world.chain();
    chain.weather = Weather {
        block_ms: scenario.weather.block_ms,
        ..Weather::default()
    };
    chain.heal(now_ms);
    // What a script has a node forget stays forgotten.
    for (_, act) in &scenario.acts {
        if let Act::Prune { nodes, keeps } = act {
            chain.prune(*nodes, *keeps);
        }
    }
}

/// Waits until no settlement is open. Returns those that are still open when it takes too long.
async fn at_rest(world: &World, cell: &Cell, when: &str) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + REST;
    loop {
        let open = cell.get().1.map(|engine| engine.open_settlements());
        if open == Some(0) {
            return Vec::new();
        }
        if tokio::time::Instant::now() >= deadline {
            let mut stuck = vec![format!(
                "{when}: {open:?} settlements are open at {} ms",
                world.now_ms()
            )];
            if let Ok(rows) = world.journal.unfinished_after(0, 1_000).await {
                stuck.extend(rows.iter().map(|(row, _)| format!("{row:?}")));
            }
            return stuck;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

pub(crate) async fn keep_mining(world: Arc<World>) {
    loop {
        let pause = {
            let block_ms = world.chain().weather.block_ms;
            let halt = world.chain().weather.halt;
            let mut rng = world.rng();
            if rng.chance(halt) {
                block_ms * rng.between(3, 15)
            } else {
                block_ms
            }
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut chain = world.chain();
        if world.now_ms() < chain.halted_until_ms {
            continue;
        }
        for change in chain.tick(world.now_ms()) {
            tracing::info!("chain: {change}");
        }
        let last = chain.canonical().last().cloned();
        if let Some(block) = last {
            for tx in &block.txs {
                tracing::info!("block {} has {} ({:?}): {:?}", block.id, tx.id, tx.tx, tx.result);
            }
        }
    }
}

/// Starts the engine, and again whenever it has died.
async fn keep_alive(
    world: Arc<World>,
    (terms, planted): (Terms, Option<Planted>),
    to_clients: Arc<Cell>,
    restarts: Arc<Mutex<u64>>,
) {
    loop {
        let engine = Engine::new(parts(&world, terms, planted));
        tokio::select! {
            biased;
            () = world.faults.died.notified() => {}
            resumed = engine.resume() => {
                if let Err(error) = resumed {
                    tracing::error!(%error, "the engine did not start");
                } else {
                    to_clients.set(Some(Arc::clone(&engine)));
                    world.faults.died.notified().await;
                }
            }
        }
        engine.stop();
        to_clients.set(None);
        drop(engine);
        *restarts.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let pause = world.rng().between(50, 4_000);
        let pause = world.stays_down_ms.swap(0, Ordering::Relaxed).max(pause);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        tracing::info!("the process starts again");
        let loses = world.defect == Some(Defect::AcknowledgedBeforeSync);
        world.journal.restart(loses);
        world.adopt().await;
        world.restarted();
    }
}

pub(crate) fn keys(name: &str, count: usize) -> Vec<KeyInfo> {
    (0..count)
        .map(|at| KeyInfo {
            name: format!("{name}{at}"),
            suite: Suite::Secp256k1,
            public_key: HexBytes::default(),
        })
        .collect()
}

pub(crate) fn parts(world: &Arc<World>, terms: Terms, planted: Option<Planted>) -> Parts {
    let metrics = Arc::new(Metrics::default());
    let journal: Arc<dyn Journal> = Arc::new(SimJournal {
        inner: Arc::clone(&world.journal),
        faults: Arc::clone(&world.faults),
        world: Arc::clone(world),
    });
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let host = SimHost {
        clock: world.clock.clone(),
        rows: JournalRows::new(Arc::clone(&journal), Arc::clone(&clock)),
        plugin: world.plugin(),
    };
    let instance = Arc::new(Instance {
        id: INSTANCE,
        name: "sim".into(),
        plugin: world.plugin().into(),
        services: ["store.v1", "job.v1"].map(str::to_owned).into(),
        host: Arc::new(host),
        authorizers: Vec::new(),
    });
    let settings = NetworkSettings {
        id: NETWORK.into(),
        confirmations: terms.confirmations,
        finality: terms.finality,
        poll_interval_ms: 500,
        // Both ways of polling keep the laws. Scenarios that assert times have a finality of 6.
        follow_blocks: terms.finality.is_multiple_of(4),
        stuck_after_ms: 8_000,
        max_in_flight: Some(terms.max_in_flight),
        max_batch: terms.max_batch,
        replay_keys: !terms.ordered,
        lane_queue: terms.lane_queue,
        max_cost: Amount::from(terms.max_cost),
        max_cost_per_day: None,
        max_cost_per_day_per_signer: None,
        tenant_max_cost_per_day: BTreeMap::new(),
        nodes: NODES,
        second_source_above: terms
            .second_source_above
            .map(|units| (TOKEN.to_owned(), Amount::from(units)))
            .into_iter()
            .collect(),
        assets: None,
        keys: keys("k", terms.signers),
        retained_keys: keys("r", terms.retained),
        options: Value::Null,
    };
    let calls = Arc::new(CallTable::default());
    let driver = Arc::new(SimDriver::new(
        Arc::clone(world),
        Arc::clone(&calls),
        &terms,
        planted,
    ));
    let network = Arc::new(Network::new(settings, driver, Arc::clone(&instance)));
    let mut registry = Registry::default();
    let operations = ["transfer", "pay", "lock", "capture", "sweep", "note"]
        .map(str::to_owned)
        .to_vec();
    for name in [EXACT, STEPS, HOLD] {
        let handler: Arc<dyn SchemeHandler> = if name == HOLD {
            Arc::new(HoldScheme {
                world: Arc::clone(world),
            })
        } else {
            Arc::new(SimScheme {
                name,
                world: Arc::clone(world),
                ordered: terms.ordered,
            })
        };
        let kind = Kind {
            version: 2,
            scheme: name.into(),
            network: Arc::clone(&network),
            handler,
            instance: Arc::clone(&instance),
            grants: [
                Grant {
                    target: TOKEN.into(),
                    operations: operations.clone(),
                    ..Grant::default()
                },
                Grant {
                    target: TOKEN.into(),
                    operations: vec!["approve".to_owned()],
                    client_signed: true,
                    ..Grant::default()
                },
            ]
            .iter()
            .map(|grant| Granted::of(grant, &Value::Null, network.id()))
            .collect(),
            routes: None,
            payload_authorizes: true,
            checked: Checked::default(),
        };
        // Different names on one network: nothing is claimed twice.
        let added = registry.add_kind(Arc::new(kind));
        debug_assert!(added.is_ok());
    }
    let added = registry.add_network(network);
    debug_assert!(added.is_ok());
    let budgets = Budgets {
        pure: Duration::from_secs(2),
        reads: Duration::from_secs(3),
        sends: Duration::from_secs(3),
    };
    Parts {
        registry,
        journal,
        ops: Ops::new(calls, Arc::clone(&metrics), budgets),
        clock,
        metrics,
        retention: terms.retention,
    }
}
