//! Payments and lives of escrowed payments over a pool of three nodes, of which one at a time lies or is late, while the
//! facilitator is killed and the chain reorganised. Afterwards the chain judges: nothing is lost, made twice, released
//! twice or misreported, and after a time without faults nothing is pending.
//!
//! It runs for `ENDURANCE_SECONDS` with faults and at most `ENDURANCE_CALM_SECONDS` without; `ENDURANCE_SEED` decides who
//! pays what, and what breaks. Every change runs a short time; `cargo xtask full` runs an hour.

mod disturb;
mod judge;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use devnet::{Devnet, MERCHANT, Mining};
use e2e::World;
use e2e::escrow::{self, fund, refunds};
use serde_json::{Value, json};

use crate::auth_capture::property::dice::Dice;
use disturb::Disturbances;
use work::{Ledger, Worker};

const WORKERS: usize = 6;
const SIGNERS: usize = 2;
/// A block comes every second. Many lies last longer than finality takes, and reorganisations are not as deep.
const NETWORK: &str = "finality = 4\nstuck_after_seconds = 3\npoll_interval_ms = 250\n\
                       options = { max_clock_skew_s = 0, max_head_age_s = 0 }";

fn number(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number")),
        Err(_) => usual,
    }
}

/// Another chain, with the same addresses.
fn elsewhere() -> Devnet {
    let chain = Devnet::of_chain(8453);
    let chain = chain.expect("the other chain starts");
    for signer in &chain.facilitators {
        chain.set_nonce(&signer.address, 1_000).expect("set");
    }
    chain.mine(50).expect("mines");
    chain
}

fn start() -> World {
    let world = escrow::world(&refunds(MERCHANT.0))
        .three_nodes()
        .signers(SIGNERS)
        .buyers(u16::try_from(2 + WORKERS).expect("few"))
        .server("settle_wait_seconds = 4")
        .network(NETWORK)
        .start();
    fund(&world);
    // What was written into the state stays there whatever is reorganised.
    world.chain.mine(disturb::DEEPEST + 2).expect("mines");
    world.chain.set_mining(Mining::Every(1)).expect("set");
    world
}

/// The last warnings and errors of the facilitator's log.
fn warnings(world: &World) -> String {
    let log = world.facilitator.log();
    let grave = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let lines: Vec<&str> = log.lines().filter(grave).collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Copies what explains a failure: the log, the journal, the disturbances, and what the chain holds and waits for.
fn keep(world: &World, seed: u64, diary: &str) -> std::io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("endurance-{seed}"));
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(world.facilitator.log_file(), folder.join("switchyard.log"))?;
    for entry in std::fs::read_dir(world.facilitator.data_folder())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
    }
    let nonces: Vec<_> = world
        .chain
        .facilitators
        .iter()
        .map(|signer| {
            (
                signer.address.clone(),
                world.chain.transaction_count(&signer.address).ok(),
            )
        })
        .collect();
    std::fs::write(folder.join("disturbances.log"), diary)?;
    let head = world.chain.head().map(|(number, _)| number).unwrap_or(0);
    let block = |number: u128| {
        let params = json!([format!("{number:#x}"), true]);
        world.chain.rpc().call("eth_getBlockByNumber", params).ok()
    };
    let chain = json!({
        "head": world.chain.head().ok(),
        "blocks": (0..=head).map(block).map(brief).collect::<Vec<_>>(),
        "nonces": nonces,
        "pool": world.chain.rpc().call("txpool_content", json!([])).ok(),
    });
    std::fs::write(folder.join("chain.json"), format!("{chain:#}"))?;
    Ok(folder)
}

/// Number, hash and time of a block, and of its transactions who sent them, with which nonce.
fn brief(block: Option<Value>) -> Value {
    let block = block.unwrap_or_default();
    let transactions = block["transactions"].as_array().into_iter().flatten();
    let transactions = transactions.map(|tx| json!([tx["from"], tx["nonce"], tx["hash"]]));
    json!([
        block["number"],
        block["hash"],
        block["timestamp"],
        transactions.collect::<Vec<_>>()
    ])
}

/// One seed: what is still pending at the end is the judge's business as well.
fn run(seed: u64, lasts: Duration, calm: Duration) {
    println!(
        "seed {seed}: {} s with faults, then at most {} s without",
        lasts.as_secs(),
        calm.as_secs()
    );
    let (world, other) = (start(), elsewhere());
    let (ledger, stop) = (Mutex::new(Ledger::default()), AtomicBool::new(false));
    let disturbances = Disturbances::new(&world, &other, seed);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let mut worker = Worker::new(&world, &ledger, &stop, Dice::new(seed, worker), worker);
            scope.spawn(move || worker.run());
        }
        scope.spawn(|| disturbances.spoil_nodes(&stop));
        scope.spawn(|| disturbances.kill_and_reorganise(&stop));
        let started = Instant::now();
        while started.elapsed() < lasts {
            std::thread::sleep(Duration::from_millis(500));
        }
        stop.store(true, Ordering::SeqCst);
    });
    disturbances.heal();
    if world.facilitator.wait_ready().is_err() {
        let ready = world.facilitator.get("/ready").text;
        println!(
            "the log, the journal and the chain's pool: {:?}",
            keep(&world, seed, &disturbances.diary())
        );
        panic!("no recovery without faults: {ready}\n{}", warnings(&world));
    }
    let mut ledger = ledger.into_inner().expect("no panic");
    let quiet = work::settle_until_decided(&world, &mut ledger, calm);
    let verdict = judge::judge(&world, &ledger, quiet);
    println!("{verdict}{}", disturbances.summary());
    if !verdict.is_clean() {
        println!("{}", warnings(&world));
        match keep(&world, seed, &disturbances.diary()) {
            Ok(folder) => println!(
                "the log, the journal and the chain's pool are in {}",
                folder.display()
            ),
            Err(error) => println!("the log and the journal could not be kept: {error}"),
        }
    }
    verdict.assert_clean();
}

#[test]
fn t14_lies_kills_and_reorganisations_lose_double_and_misreport_nothing() {
    let lasts = Duration::from_secs(number("ENDURANCE_SECONDS", 60));
    let calm = Duration::from_secs(number("ENDURANCE_CALM_SECONDS", 60));
    run(number("ENDURANCE_SEED", 1), lasts, calm);
}
