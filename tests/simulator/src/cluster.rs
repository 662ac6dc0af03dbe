//! Several nodes on one journal: each is an engine that may die, be stopped and wake later, or be cut off from the journal,
//! while sellers send each request to any of them. The same judge, who knows the chain and the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::clock::TokioClock;
use engine::Engine;
use journal::Journal;
use journal::lease::{Lease, NODE, Shared};
use journal::memory::{MemoryJournal, NoFaults};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::chain::Chain;
use crate::clients::{Cell, Clients, Exchange, NETWORK, SettleRequest};
use crate::disk::Disk;
use crate::faults::{AtCommit, Faults};
use crate::oracle::{self, Verdict};
use crate::rng::Rng;
use crate::run::{
    EPOCH_S, REST, Scenario, ScheduledRequest, Terms, calm_down, keep_mining, keys, parts, take_panics,
    watch_panics,
};
use crate::token::State;
use crate::world::World;

/// Pause between two reads of who owns what.
const READ_EVERY: Duration = Duration::from_millis(100);

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The process is killed and starts again after so long, milliseconds.
    Kill(u64),
    /// The process is stopped for so long, milliseconds, and continues.
    Stop(u64),
    /// The process can't reach the journal for so long, milliseconds.
    CutOff(u64),
    /// All RPC nodes of the process are dead for so long, milliseconds.
    OffChain(u64),
    /// The process begins to end, and has ended after so long, milliseconds. It does not start again.
    Leave(u64),
}

/// Several nodes, and what happens to them.
#[derive(Debug, Clone)]
pub struct Nodes {
    pub count: usize,
    /// When, in milliseconds from the start, and to which node.
    pub troubles: Vec<(u64, usize, Trouble)>,
    /// Nodes that have no active signers, and so many retained ones in place of those of the scenario.
    pub others: BTreeMap<usize, usize>,
}

/// A lane has another owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Milliseconds since the start.
    pub at_ms: u64,
    pub unit: String,
    /// The number of the node; `None`: it has no owner.
    pub node: Option<usize>,
}

/// What came out.
#[derive(Debug)]
pub struct ClusterReport {
    pub verdict: Verdict,
    pub exchanges: Vec<Exchange>,
    /// How long each lane had no living owner, milliseconds.
    pub takeovers_ms: Vec<u64>,
    /// The owners of all units but nodes, as they changed.
    pub owned: Vec<Owned>,
    /// The most settlements that waited for the owner of one lane at once.
    pub most_waiting: usize,
    /// Lives of all nodes.
    pub lives: u64,
    /// Settlements that one node recorded for another.
    pub handed_over: usize,
    pub payments: usize,
}

/// Nodes and their troubles from a seed, for a scenario that calms down at `calm_at_ms`.
#[must_use]
pub fn nodes(seed: u64, count: usize, calm_at_ms: u64) -> Nodes {
    let mut rng = Rng::new(seed ^ 0x0c10_57e4_0000_0007);
    let troubles = rng.between(2, 10);
    let troubles = (0..troubles).map(|_| {
        let long = [rng.between(200, 4_000), rng.between(6_000, 25_000)][rng.index(2)];
        let trouble = match rng.between(0, 3) {
            0 => Trouble::Kill(long),
            1 => Trouble::Stop(long),
            2 => Trouble::CutOff(long),
            _ => Trouble::OffChain(long),
        };
        (rng.between(3_000, calm_at_ms), rng.index(count), trouble)
    });
    Nodes {
        count,
        troubles: troubles.collect(),
        others: BTreeMap::new(),
    }
}

/// One node, over all of its lives.
struct Node {
    at: usize,
    faults: Arc<Faults>,
    cell: Arc<Cell>,
    /// The name of its present life.
    name: Mutex<String>,
    /// It does not start again.
    has_left: AtomicBool,
}

impl Node {
    fn lives(&self) -> bool {
        let is_up = self.cell.get().1.is_some();
        is_up && !*self.faults.stopped.borrow() && !self.faults.is_cut_off.load(Ordering::Relaxed)
    }

    fn name(&self) -> String {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What all parts of a run share.
struct Run {
    world: Arc<World>,
    root: Arc<MemoryJournal>,
    nodes: Vec<Arc<Node>>,
    lives: Mutex<u64>,
    takeovers_ms: Mutex<Vec<u64>>,
    owned: Mutex<Vec<Owned>>,
    most_waiting: AtomicUsize,
}

/// Runs a scenario on several nodes; the same scenario always runs the same way.
///
/// # Errors
/// The runtime could not be built.
pub fn simulate(scenario: &Scenario, nodes: &Nodes) -> std::io::Result<ClusterReport> {
    watch_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    Ok(runtime.block_on(run(scenario, nodes)))
}

/// The same, with a trace of everything that happened.
///
/// # Errors
/// The runtime could not be built.
pub fn simulate_traced(scenario: &Scenario, nodes: &Nodes) -> std::io::Result<(ClusterReport, String)> {
    let buffer = crate::trace::Buffer::default();
    let subscriber = crate::trace::subscriber(buffer.clone());
    let report = tracing::subscriber::with_default(subscriber, || simulate(scenario, nodes))?;
    Ok((report, buffer.text()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_up(scenario: &Scenario, count: usize) -> Run {
    let clock = TokioClock::starting_at(EPOCH_S);
    let mut rng = Rng::new(scenario.seed ^ 0x5117_c4a2_d000_0001);
    let mut state = State {
        balances: scenario.balances.iter().cloned().collect(),
        ..State::default()
    };
    for key in keys("k", scenario.terms.signers)
        .into_iter()
        .chain(keys("r", scenario.terms.retained))
    {
        state.nonces.insert(format!("signer-{}", key.name), 0);
    }
    let chain = Chain::new(scenario.weather, scenario.terms.confirmations, state, rng.fork());
    let faults = || {
        let mode = scenario.mode.clone();
        Arc::new(Faults::new(mode, scenario.journal_lies, false, rng.fork()))
    };
    let nodes = std::iter::repeat_with(faults).take(count).enumerate();
    let nodes: Vec<Arc<Node>> = nodes
        .map(|(at, faults)| {
            Arc::new(Node {
                at,
                faults,
                cell: Arc::default(),
                name: Mutex::default(),
                has_left: AtomicBool::new(false),
            })
        })
        .collect();
    let root = Arc::new(MemoryJournal::default().node("judge", Box::new(NoFaults)));
    let quiet = Arc::new(Faults::new(crate::faults::Mode::Never, false, false, rng.fork()));
    let judges = Arc::new(Disk::Memory(root.node("judge", Box::new(NoFaults))));
    let world = World::new(chain, rng.fork(), quiet, clock, judges);
    Run {
        world: Arc::new(world),
        root,
        nodes,
        lives: Mutex::default(),
        takeovers_ms: Mutex::default(),
        owned: Mutex::default(),
        most_waiting: AtomicUsize::new(0),
    }
}

async fn run(scenario: &Scenario, nodes: &Nodes) -> ClusterReport {
    let run = Arc::new(set_up(scenario, nodes.count));
    let mut scenery = JoinSet::new();
    scenery.spawn(keep_mining(Arc::clone(&run.world)));
    for node in &run.nodes {
        let mut terms = scenario.terms;
        if let Some(retained) = nodes.others.get(&node.at) {
            (terms.signers, terms.retained) = (0, *retained);
        }
        scenery.spawn(keep_alive(
            Arc::clone(&run),
            Arc::clone(node),
            terms,
            scenario.planted,
        ));
    }
    scenery.spawn(crate::run::play(Arc::clone(&run.world), scenario.acts.clone()));
    for (at_ms, node, trouble) in nodes.troubles.clone() {
        scenery.spawn(make_trouble(Arc::clone(&run), at_ms, node, trouble));
    }
    scenery.spawn(keep_measuring(Arc::clone(&run)));

    let first = Arc::clone(&run.nodes[0]);
    let gather = Duration::from_millis(scenario.terms.gather_ms);
    let clients = Clients::new(Arc::clone(&run.world), Arc::clone(&first.cell), gather);
    let mut sellers = JoinSet::new();
    for scheduled in scenario.requests.clone() {
        let (run, clients) = (Arc::clone(&run), clients.clone());
        sellers.spawn(async move {
            tokio::time::sleep(Duration::from_millis(scheduled.at_ms)).await;
            settle(&run, &clients, scheduled, false).await;
        });
    }
    tokio::time::sleep(Duration::from_millis(scenario.calm_at_ms)).await;
    calm_down(&run.world, scenario);
    for node in &run.nodes {
        node.faults.end();
        node.faults.stopped.send_replace(false);
        node.faults.is_cut_off.store(false, Ordering::Relaxed);
        node.faults.is_off_chain.store(false, Ordering::Relaxed);
    }
    while sellers.join_next().await.is_some() {}
    let mut stuck = at_rest(&run, "after the faults").await;

    // A caller settles everything again: every outcome must be known by now.
    let requests = scenario
        .requests
        .iter()
        .map(|scheduled| Arc::clone(&scheduled.request));
    let mut requests: Vec<Arc<SettleRequest>> = requests.collect();
    requests.sort();
    requests.dedup();
    for request in requests {
        let scheduled = ScheduledRequest {
            at_ms: 0,
            request,
            wait_ms: 25_000,
            tries: 5,
            hangs_up_after_ms: None,
        };
        settle(&run, &clients, scheduled, true).await;
    }
    stuck.extend(at_rest(&run, "after the last questions").await);
    for node in &run.nodes {
        if let Some(engine) = node.cell.get().1 {
            engine.stop();
        }
    }
    scenery.shutdown().await;
    report(scenario, &run, &clients, stuck)
}

fn report(scenario: &Scenario, run: &Run, clients: &Clients, stuck: Vec<String>) -> ClusterReport {
    let log = run.root.log();
    let exchanges = clients.exchanges();
    let chain = run.world.chain();
    let mut verdict = oracle::judge(&oracle::Facts {
        chain: &chain,
        terms: &scenario.terms,
        log: &log,
        exchanges: &exchanges,
        unjournaled: &run.world.unjournaled(),
        signed: &run.world.signed(),
    });
    verdict.stuck.extend(stuck);
    verdict.panics = take_panics();
    let handed_over = log
        .iter()
        .filter(|event| matches!(event, journal::Event::Opened(new) if new.row.handed_over))
        .count();
    let payments = log
        .iter()
        .filter(|event| matches!(event, journal::Event::Paid { .. }))
        .count();
    ClusterReport {
        verdict,
        exchanges,
        takeovers_ms: lock(&run.takeovers_ms).clone(),
        owned: lock(&run.owned).clone(),
        most_waiting: run.most_waiting.load(Ordering::Relaxed),
        lives: *lock(&run.lives),
        handed_over,
        payments,
    }
}

/// Sends a request to any node that runs, and to any again when it has to be repeated.
async fn settle(run: &Run, clients: &Clients, scheduled: ScheduledRequest, is_last: bool) {
    let mut hangs_up_after_ms = scheduled.hangs_up_after_ms;
    for _ in 0..scheduled.tries {
        let at = run.world.rng().index(run.nodes.len());
        // What a load balancer does.
        let node = run
            .nodes
            .iter()
            .cycle()
            .skip(at)
            .take(run.nodes.len())
            .find(|node| node.lives());
        let Some(node) = node else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let world = run
            .world
            .of_node(Arc::clone(&node.faults), Arc::clone(&run.world.record));
        let here = clients.at(Arc::new(world), Arc::clone(&node.cell));
        let patience = hangs_up_after_ms
            .take()
            .map_or(Duration::from_secs(3_600), Duration::from_millis);
        let sent = here
            .send_once(&scheduled.request, scheduled.wait_ms, patience, is_last)
            .await;
        if here.is_over(sent).await {
            return;
        }
    }
}

/// Starts a node's engine, and again whenever it has died or another node has taken a lane from it.
async fn keep_alive(run: Arc<Run>, node: Arc<Node>, terms: Terms, planted: Option<crate::planted::Planted>) {
    let mut life = 0_u32;
    loop {
        let name = format!("node-{}.{life}", node.at);
        lock(&node.name).clone_from(&name);
        *lock(&run.lives) += 1;
        life += 1;
        let faults = Box::new(AtCommit(Arc::clone(&node.faults)));
        let journal = Arc::new(Disk::Memory(run.root.node(&name, faults)));
        let world = Arc::new(run.world.of_node(Arc::clone(&node.faults), journal));
        let engine = Engine::new(parts(&world, terms, planted));
        tokio::select! {
            biased;
            () = node.faults.died.notified() => {}
            resumed = engine.resume() => match resumed {
                Err(error) => tracing::error!(%error, node = node.at, "the engine did not start"),
                Ok(()) => {
                    node.cell.set(Some(Arc::clone(&engine)));
                    tokio::select! {
                        biased;
                        () = node.faults.died.notified() => {}
                        unit = engine.lease_lost() => {
                            tracing::info!(node = node.at, "NODE ends: it lost {unit}");
                        }
                    }
                }
            }
        }
        engine.stop();
        node.cell.set(None);
        if node.has_left.load(Ordering::Relaxed) {
            engine.give_up_lanes().await;
            return;
        }
        drop(engine);
        let pause = run.world.rng().between(50, 4_000);
        let pause = run.world.stays_down_ms.swap(0, Ordering::Relaxed).max(pause);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        tracing::info!(node = node.at, "NODE starts again");
    }
}

async fn make_trouble(run: Arc<Run>, at_ms: u64, node: usize, trouble: Trouble) {
    tokio::time::sleep(Duration::from_millis(at_ms)).await;
    let Some(node) = run.nodes.get(node) else { return };
    tracing::info!(node = node.at, "NODE TROUBLE {trouble:?}");
    let faults = &node.faults;
    match trouble {
        Trouble::Kill(millis) => {
            run.world.stays_down_ms.store(millis, Ordering::Relaxed);
            faults.died.notify_one();
        }
        Trouble::Stop(millis) => {
            faults.stopped.send_replace(true);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            faults.stopped.send_replace(false);
        }
        Trouble::CutOff(millis) => {
            faults.is_cut_off.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            faults.is_cut_off.store(false, Ordering::Relaxed);
        }
        Trouble::OffChain(millis) => {
            faults.is_off_chain.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            faults.is_off_chain.store(false, Ordering::Relaxed);
        }
        Trouble::Leave(millis) => {
            if let Some(engine) = node.cell.get().1 {
                engine.leave();
            }
            node.has_left.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            faults.died.notify_one();
        }
    }
}

/// Records which node owns what, when that changes.
fn record_owners(run: &Run, leases: &[Lease], started: Instant) {
    let mut owned = lock(&run.owned);
    for lease in leases.iter().filter(|lease| !lease.unit.starts_with(NODE)) {
        let number = lease
            .node
            .strip_prefix("node-")
            .and_then(|name| name.split('.').next());
        let node = number.and_then(|number| number.parse().ok());
        let last = owned.iter().rev().find(|owned| owned.unit == lease.unit);
        if last.is_none_or(|last| last.node != node) {
            let at_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            owned.push(Owned {
                at_ms,
                unit: lease.unit.clone(),
                node,
            });
        }
    }
}

/// Measures how long lanes have no living owner, while some node lives that could take them.
async fn keep_measuring(run: Arc<Run>) {
    let started = Instant::now();
    // Unit → since when its owner does not live.
    let mut orphaned: BTreeMap<String, Instant> = BTreeMap::new();
    // Life → since when it lives and reaches the chain without a break.
    let mut unbroken: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(READ_EVERY).await;
        let Ok(leases) = run.root.leases().await else {
            continue;
        };
        record_owners(&run, &leases, started);
        for lease in leases.iter().filter(|lease| lease.unit.starts_with(NETWORK)) {
            let unit = std::slice::from_ref(&lease.unit);
            if let Ok(waiting) = run.root.handed_over(unit, &BTreeSet::new(), usize::MAX).await {
                run.most_waiting.fetch_max(waiting.len(), Ordering::Relaxed);
            }
        }
        let living: Vec<String> = run
            .nodes
            .iter()
            .filter(|node| node.lives())
            .map(|node| node.name())
            .collect();
        // Those that reach the chain: the others leave lanes to them.
        let able = run.nodes.iter().filter(|node| {
            let is_off_chain = node.faults.is_off_chain.load(Ordering::Relaxed);
            node.lives() && !is_off_chain
        });
        let able: Vec<String> = able.map(|node| node.name()).collect();
        unbroken.retain(|name, _| able.contains(name));
        for name in &able {
            unbroken.entry(name.clone()).or_insert_with(Instant::now);
        }
        // A node that has just come needs its time to judge the others.
        let watched_since = unbroken.values().min().copied();
        for lease in leases.iter().filter(|lease| lease.unit.starts_with(NETWORK)) {
            if living.contains(&lease.node) {
                if let Some(since) = orphaned.remove(&lease.unit) {
                    let since = watched_since.map_or(since, |watched| watched.max(since));
                    let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    lock(&run.takeovers_ms).push(took_ms);
                }
            } else if able.is_empty() {
                orphaned.remove(&lease.unit);
            } else {
                orphaned.entry(lease.unit.clone()).or_insert_with(Instant::now);
            }
        }
    }
}

/// Waits until no settlement is open. Returns those that are still open when it takes too long.
async fn at_rest(run: &Run, when: &str) -> Vec<String> {
    let deadline = Instant::now() + REST;
    loop {
        let open = run.root.unfinished_after(0, 1_000).await.unwrap_or_default();
        if open.is_empty() {
            return Vec::new();
        }
        if Instant::now() >= deadline {
            let rows = open.iter().map(|(row, _)| format!("{when}: {row:?}"));
            return rows.collect();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
