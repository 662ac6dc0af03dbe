//! Settlements per second through the engine, its lanes and its journal, against a chain of fixed latency.
//!
//! ```text
//! cargo run --release -p simulator --example settlements -- --journal sqlite
//! ```
//!
//! The engine, the lanes and the journal are the real ones, and the journal syncs to a real disk. The chain is simulated
//! in real time. HTTP, the boundary to plugins, signatures and requests to RPC nodes are not part of it.

mod chain;
mod driver;
mod journals;
mod load;
mod machine;
mod report;
mod scheme;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use base::calls::CallTable;
use base::clock::{Clock, SystemClock, TokioClock};
use engine::registry::{Checked, Granted, Instance, Kind, Network, NetworkSettings, Registry};
use engine::{Budgets, Engine, Ops, Parts, Retention};
use journal::Journal;
use journal::plugin_rows::JournalRows;
use sdk_plugin::chain::KeyInfo;
use sdk_plugin::host::Suite;
use sdk_plugin::manifest::Grant;
use sdk_plugin::{Amount, HexBytes, Value};
use simulator::clients::NETWORK;
use simulator::scheme::EXACT;
use simulator::token::{State, TOKEN};
use simulator::world::{PLUGIN, SimHost};
use telemetry::metrics::Metrics;
use tokio::time::Instant;

use chain::{Chain, Pace};
use driver::{COST, Driver};
use journals::Store;
use load::Answers;
use report::Report;
use scheme::Exact;

/// Units that each payer has: more than it can spend.
const BALANCE: u64 = u64::MAX / 2;
/// How long settlements may take to become final after the load has ended.
const END_LIMIT: Duration = Duration::from_secs(180);

const HELP: &str = "\
Settlements per second through the engine, its lanes and its journal, against a chain of fixed latency.

  cargo run --release -p simulator --example settlements -- [OPTIONS]

  --journal sqlite|postgres   the journal (default sqlite). PostgreSQL is a server of its own on this machine
  --signers N                 signers of the network, each with a lane (default 32)
  --callers N                 callers at once, each with one payment after the other (default 2048)
  --in-flight N               `max_in_flight` of the network (default 64)
  --block-ms N                time between two blocks (default 1000)
  --latency-ms N              time of each call to the chain (default 10)
  --confirmations N           depth at which callers are answered (default 1)
  --finality N                depth at which settlements end (default 12)
  --seconds N                 length of the measurement (default 20)
  --warm-up N                 seconds of load before it (default 15)
  --folder DIR                where SQLite's journal is made (default the folder for temporary files)

A settlement counts when its caller gets `success` within the measurement. Times are from the request to that answer.
Processor time is that of this process, with the chain and the callers, and of the database's server; it depends less on what
else the machine does than the rate. The number of syncs with SQLite is that of its transactions. Its checkpoints add two for
each 4,096 pages of log. To count all of them:

  strace -f --seccomp-bpf -c -e trace=fsync,fdatasync target/release/examples/settlements --journal sqlite
";

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    is_postgres: bool,
    signers: u64,
    callers: u64,
    in_flight: u64,
    confirmations: u64,
    finality: u64,
    pace: Pace,
    warm_up: Duration,
    measured: Duration,
    folder: PathBuf,
}

impl Options {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut named: BTreeMap<&str, &str> = BTreeMap::new();
        for pair in args.chunks(2) {
            let [name, value] = pair else {
                return Err(format!("write a value after {}", pair.concat()));
            };
            named.insert(name, value);
        }
        let mut number = |name: &str, default: u64| match named.remove(name) {
            None => Ok(default),
            Some(text) => text
                .parse::<u64>()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| format!("{name} {text}: write a whole number from 1 on")),
        };
        let options = Self {
            signers: number("--signers", 32)?,
            callers: number("--callers", 2_048)?,
            in_flight: number("--in-flight", 64)?,
            confirmations: number("--confirmations", 1)?,
            finality: number("--finality", 12)?,
            pace: Pace {
                latency: Duration::from_millis(number("--latency-ms", 10)?),
                block_time: Duration::from_millis(number("--block-ms", 1_000)?),
            },
            warm_up: Duration::from_secs(number("--warm-up", 15)?),
            measured: Duration::from_secs(number("--seconds", 20)?),
            is_postgres: match named.remove("--journal") {
                None | Some("sqlite") => false,
                Some("postgres") => true,
                Some(other) => return Err(format!("--journal {other}: write sqlite or postgres")),
            },
            folder: named
                .remove("--folder")
                .map_or_else(std::env::temp_dir, PathBuf::from),
        };
        match named.keys().next() {
            None => Ok(options),
            Some(name) => Err(format!("there is no option {name}; --help lists them")),
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match Options::read(&args).and_then(|options| run(&options)) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Report, String> {
    let store = if options.is_postgres {
        Store::postgres()?
    } else {
        Store::sqlite(&options.folder)?
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("engine")
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let report = runtime.block_on(measure(options, &store));
    runtime.shutdown_background();
    report
}

async fn measure(options: &Options, store: &Store) -> Result<Report, String> {
    let mut state = State::default();
    state
        .balances
        .extend((0..options.callers).map(|caller| (load::payer(caller), BALANCE)));
    let chain = Chain::new(options.pace, state);
    let mining = tokio::spawn(Arc::clone(&chain).keep_mining(|| SystemClock.now_s()));
    let engine = Engine::new(parts(options, store, &chain));
    engine.resume().await.map_err(|error| error.to_string())?;

    let answers = Arc::new(Answers::default());
    let at_first = store.done();
    let mut callers = load::start(&engine, options.callers, &answers);
    tokio::time::sleep(options.warm_up).await;
    let warmed_up = answers.take();
    let (done, calls, cpu) = (store.done(), chain.calls(), machine::cpu(store.server()));
    let began = Instant::now();
    tokio::time::sleep(options.measured).await;
    let (replies, took) = (answers.take(), began.elapsed());
    let cpu_after = machine::cpu(store.server());
    let (done_after, calls_after) = (store.done(), chain.calls());
    answers.end();
    while callers.join_next().await.is_some() {}
    let late = answers.take();

    let end_by = Instant::now() + END_LIMIT;
    while engine.open_settlements() > 0 {
        if Instant::now() > end_by {
            return Err(format!(
                "{} settlements are still open",
                engine.open_settlements()
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let all = [&warmed_up, &replies, &late];
    let settled = all
        .iter()
        .map(|replies| replies.successes.len() + usize::try_from(replies.pending).unwrap_or(0));
    let report = Report {
        options: options.clone(),
        settled: u64::try_from(settled.sum::<usize>()).unwrap_or(u64::MAX),
        reverted: chain.ledger().failed(),
        replies,
        took,
        done: done_after.since(done),
        calls: calls_after - calls,
        cpu: report::used(&cpu_after, &cpu),
        grown: store.done().since(at_first).bytes,
    };
    engine.give_up_lanes().await;
    engine.stop();
    mining.abort();
    Ok(report)
}

fn settings(options: &Options) -> NetworkSettings {
    let usize_of = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let keys = (0..options.signers).map(|at| KeyInfo {
        name: format!("signer{at}"),
        suite: Suite::Secp256k1,
        public_key: HexBytes::default(),
    });
    NetworkSettings {
        id: NETWORK.into(),
        confirmations: options.confirmations,
        finality: options.finality,
        poll_interval_ms: 500,
        follow_blocks: true,
        stuck_after_ms: 30_000,
        max_in_flight: Some(usize_of(options.in_flight)),
        max_batch: 1,
        replay_keys: false,
        lane_queue: 256,
        max_cost: Amount::from(COST),
        max_cost_per_day: None,
        max_cost_per_day_per_signer: None,
        tenant_max_cost_per_day: BTreeMap::new(),
        nodes: 1,
        second_source_above: BTreeMap::new(),
        assets: None,
        keys: keys.collect(),
        retained_keys: Vec::new(),
        options: Value::Null,
    }
}

fn parts(options: &Options, store: &Store, chain: &Arc<Chain>) -> Parts {
    let metrics = Arc::new(Metrics::default());
    let journal = Arc::clone(&store.journal) as Arc<dyn Journal>;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let host = SimHost {
        clock: TokioClock::starting_at(SystemClock.now_s()),
        rows: JournalRows::new(Arc::clone(&journal), Arc::clone(&clock)),
        plugin: PLUGIN,
    };
    let instance = Arc::new(Instance {
        id: 1,
        name: "sim".into(),
        plugin: PLUGIN.into(),
        services: std::collections::BTreeSet::new(),
        host: Arc::new(host),
        authorizers: Vec::new(),
    });
    let driver = Driver {
        chain: Arc::clone(chain),
        journal: Arc::clone(&journal),
    };
    let network = Arc::new(Network::new(
        settings(options),
        Arc::new(driver),
        Arc::clone(&instance),
    ));
    let grant = Grant {
        target: TOKEN.into(),
        operations: vec!["transfer".into()],
        ..Grant::default()
    };
    let kind = Kind {
        version: 2,
        scheme: EXACT.into(),
        network: Arc::clone(&network),
        handler: Arc::new(Exact {
            chain: Arc::clone(chain),
        }),
        instance,
        grants: vec![Granted::of(&grant, &Value::Null, network.id())],
        routes: None,
        payload_authorizes: true,
        checked: Checked::default(),
    };
    let mut registry = Registry::default();
    let added = registry
        .add_kind(Arc::new(kind))
        .and_then(|()| registry.add_network(network));
    debug_assert!(added.is_ok(), "one kind on one network");
    Parts {
        registry,
        journal,
        ops: Ops::new(
            Arc::new(CallTable::default()),
            Arc::clone(&metrics),
            Budgets::default(),
        ),
        clock,
        metrics,
        retention: Retention::default(),
    }
}
