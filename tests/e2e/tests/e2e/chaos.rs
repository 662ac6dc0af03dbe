//! Nodes on one PostgreSQL database, and one node with its journal in SQLite, under load, while they are killed, stopped and
//! ended in turn. Afterwards the chain judges every answer, every lane must have had another owner in time, and the sums that
//! operators see are those of the journal and the chain.
//!
//! It runs for `CHAOS_SECONDS`; `CHAOS_SEED` decides what happens to which node. Every change runs it shortly;
//! `cargo xtask chaos` runs minutes.

mod sums;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use devnet::{Mining, USDC};
use e2e::World;
use e2e::facilitator::Facilitator;
use e2e::http::{Client, Reply};
use e2e::sign::keccak;
use serde_json::Value;

use crate::admin;
use crate::auth_capture::property::dice::Dice;

const SIGNERS: usize = 3;
const WORKERS: usize = 8;
/// The longest time in which a lane has another owner after its node is gone.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);
/// How long a caller repeats a request, before and after the disturbances end.
const REPEATED_FOR: Duration = Duration::from_secs(90);

fn number(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number")),
        Err(_) => usual,
    }
}

/// What a caller learned of one payment.
#[derive(Debug, Default)]
struct Record {
    payer: String,
    nonce: String,
    successes: Vec<String>,
    duplicates: Vec<String>,
    failures: Vec<String>,
    /// Answers that decide nothing, and broken connections.
    undecided: u32,
}

impl Record {
    /// `true`: the answer is final.
    fn take(&mut self, reply: Option<&Reply>) -> bool {
        let Some(reply) = reply else {
            self.undecided += 1;
            return false;
        };
        let transaction = reply.field("transaction").to_owned();
        match (reply.status, reply.field("errorReason")) {
            (200, _) if reply.is_success() => self.successes.push(transaction),
            (200, "duplicate_settlement") => self.duplicates.push(transaction),
            (200, "settlement_pending") | (503, _) => {
                self.undecided += 1;
                return false;
            }
            (200, reason) => self.failures.push(reason.to_owned()),
            _ => panic!("an answer that nobody expects: {reply:?}"),
        }
        true
    }
}

/// What all threads share.
struct Chaos<'a> {
    world: &'a World,
    others: &'a [Facilitator],
    database: String,
    records: Mutex<Vec<Record>>,
    stop: AtomicBool,
    counts: Mutex<BTreeMap<&'static str, u32>>,
    takeovers: Mutex<Vec<Duration>>,
    amount: AtomicU64,
}

impl Chaos<'_> {
    fn node(&self, at: usize) -> &Facilitator {
        match at.checked_sub(1) {
            None => &self.world.facilitator,
            Some(other) => &self.others[other],
        }
    }

    fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// One buyer pays again and again, each time at any node, and repeats until the answer is final.
    fn work(&self, seed: u64, worker: usize) {
        let mut dice = Dice::new(seed, worker);
        let clients: Vec<Client> = (0..self.count())
            .map(|at| self.node(at).client().clone())
            .collect();
        while !self.stop.load(Ordering::SeqCst) {
            let amount = self.amount.fetch_add(1, Ordering::SeqCst);
            let payment = self.world.payment(2 + worker).of(u128::from(amount));
            let mut record = Record {
                payer: self.world.chain.buyers[2 + worker].address.to_lowercase(),
                nonce: payment.nonce().to_lowercase(),
                ..Record::default()
            };
            self.settle(&payment.v2(), &clients, &mut dice, &mut record);
            self.records.lock().expect("no panic").push(record);
        }
    }

    fn settle(&self, body: &Value, clients: &[Client], dice: &mut Dice, record: &mut Record) {
        let text = body.to_string();
        let began = Instant::now();
        let last = u64::try_from(clients.len() - 1).expect("few");
        while began.elapsed() < REPEATED_FOR {
            let at = usize::try_from(dice.between(0, last)).expect("few");
            let reply = clients[at].post("/settle", text.as_bytes(), &[]);
            if record.take(reply.as_ref().ok()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(dice.between(50, 500)));
        }
    }

    /// The owner of each lane.
    fn owners(&self) -> BTreeMap<String, String> {
        let sql = "SELECT key, value::json->>'node' FROM switchyard.leases WHERE key LIKE 'eip155:%'";
        let rows = pg::server().psql(&self.database, sql);
        rows.lines()
            .filter_map(|line| line.rsplit_once('|'))
            .map(|(unit, node)| (unit.to_owned(), node.to_owned()))
            .collect()
    }

    /// The name under which a node owns lanes.
    fn name_of(&self, at: usize) -> Option<String> {
        let log = self.node(at).log();
        let line = log.lines().rfind(|line| line.contains("shares_journal"))?;
        let name = line.split("node=").nth(1)?;
        Some(name.split_whitespace().next()?.trim_matches('"').to_owned())
    }

    /// Disturbs one node after the other, and measures how long its lanes have no living owner.
    fn disturb(&self, seed: u64) {
        let mut dice = Dice::new(seed, WORKERS);
        while !self.stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(dice.between(300, 1_500)));
            let last = u64::try_from(self.count() - 1).expect("few");
            let at = usize::try_from(dice.between(0, last)).expect("few");
            let node = self.node(at);
            let name = self.name_of(at);
            let what = match dice.between(0, 5) {
                0..=2 => "killed",
                3 | 4 => "stopped",
                _ => "ended",
            };
            match what {
                "killed" => node.crash(),
                "stopped" => node.suspend(),
                _ => node.terminate(),
            }
            *self.counts.lock().expect("no panic").entry(what).or_default() += 1;
            let is_alone = self.others.is_empty();
            let long = dice.between(0, 2) == 0 && !is_alone;
            if long && let Some(name) = &name {
                self.measure(name);
            } else {
                let most = if is_alone { 500 } else { 3_000 };
                std::thread::sleep(Duration::from_millis(dice.between(100, most)));
            }
            if what == "stopped" {
                node.wake();
                if !is_alone {
                    // It ends by itself if it lost its lanes.
                    std::thread::sleep(Duration::from_millis(3_000));
                }
            }
            if what != "stopped" || node.is_gone() {
                let restarted = node.kill_and_restart(Duration::ZERO);
                restarted.unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    fn measure(&self, gone: &str) {
        let began = Instant::now();
        if !self.owners().values().any(|node| node == gone) {
            return;
        }
        while self.owners().values().any(|node| node == gone) {
            if began.elapsed() > TAKEN_OVER_WITHIN.saturating_mul(2) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.takeovers.lock().expect("no panic").push(began.elapsed());
    }

    /// How often each payer's nonces were used.
    fn used(&self) -> BTreeMap<(String, String), usize> {
        let topic = format!("0x{}", hex::encode(keccak(b"AuthorizationUsed(address,bytes32)")));
        let logs = self
            .world
            .chain
            .logs(USDC, Some(&topic))
            .expect("the node answers");
        let mut used = BTreeMap::new();
        for log in logs {
            let text = |at: usize| log["topics"][at].as_str().unwrap_or_default().to_lowercase();
            let payer = format!("0x{}", &text(1)[26..]);
            *used.entry((payer, text(2))).or_insert(0) += 1;
        }
        used
    }

    /// Every answer beside the chain: what is wrong with it.
    fn judge(&self) -> Vec<String> {
        let used = self.used();
        let mut wrong = Vec::new();
        let records = self.records.lock().expect("no panic");
        for record in records.iter() {
            let times = used.get(&(record.payer.clone(), record.nonce.clone())).copied();
            let times = times.unwrap_or(0);
            let is_known = !record.successes.is_empty() || !record.duplicates.is_empty();
            let hashes: BTreeSet<&String> = record.successes.iter().chain(&record.duplicates).collect();
            let fault = match times {
                _ if record.successes.len() > 1 => "released twice",
                0 if is_known => "misreported: success, and nothing is on the chain",
                0 if record.failures.is_empty() => "undecided",
                0 => continue,
                1 if !record.failures.is_empty() => "misreported: failed, and it is on the chain",
                1 if !is_known => "lost: on the chain, and no caller learned it",
                1 if hashes.len() > 1 => "misreported: two hashes",
                1 => continue,
                _ => "twice",
            };
            wrong.push(format!("{fault}: {times} on chain: {record:?}"));
        }
        let known: BTreeSet<(String, String)> = records
            .iter()
            .map(|record| (record.payer.clone(), record.nonce.clone()))
            .collect();
        let strangers = used.keys().filter(|key| !known.contains(*key)).count();
        if strangers > 0 {
            wrong.push(format!("{strangers} payments on the chain that nobody made"));
        }
        wrong
    }
}

#[test]
fn three_nodes_that_are_killed_stopped_and_ended_under_load_lose_double_and_misreport_nothing() {
    run(3);
}

#[test]
fn one_node_that_is_killed_and_stopped_under_load_loses_doubles_and_misreports_nothing() {
    run(1);
}

fn run(count: usize) {
    let lasts = Duration::from_secs(number("CHAOS_SECONDS", 30));
    let seed = number("CHAOS_SEED", 1);
    let name = if count > 1 {
        pg::server().new_database()
    } else {
        String::new()
    };
    let journal = if count > 1 {
        format!("[journal]\npostgres = {:?}", pg::server().url(&name))
    } else {
        String::new()
    };
    let world = World::builder()
        .signers(SIGNERS)
        .buyers(u16::try_from(2 + WORKERS).expect("few"))
        .server("settle_wait_seconds = 6")
        .network("finality = 4\npoll_interval_ms = 250\nmax_batch = 16")
        .more(&(journal + "\n" + &admin::config("127.0.0.1:0")))
        .start();
    world.chain.set_mining(Mining::Every(1)).expect("set");
    let others: Vec<Facilitator> = (1..count).map(|_| world.another()).collect();
    let chaos = Chaos {
        world: &world,
        others: &others,
        database: name,
        records: Mutex::default(),
        stop: AtomicBool::new(false),
        counts: Mutex::default(),
        takeovers: Mutex::default(),
        amount: AtomicU64::new(1),
    };
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let chaos = &chaos;
            scope.spawn(move || chaos.work(seed, worker));
        }
        scope.spawn(|| chaos.disturb(seed));
        let started = Instant::now();
        while started.elapsed() < lasts {
            std::thread::sleep(Duration::from_millis(200));
        }
        chaos.stop.store(true, Ordering::SeqCst);
    });
    let wrong = chaos.judge();
    let takeovers = chaos.takeovers.lock().expect("no panic");
    let records = chaos.records.lock().expect("no panic");
    let longest = takeovers.iter().max().copied().unwrap_or_default();
    println!(
        "{count} nodes, {} s: {} payments, {} answered success, {} repeats; {:?}; {} takeovers, the longest {} ms: {:?}",
        lasts.as_secs(),
        records.len(),
        records
            .iter()
            .filter(|record| !record.successes.is_empty())
            .count(),
        records.iter().map(|record| record.undecided).sum::<u32>(),
        chaos.counts.lock().expect("no panic"),
        takeovers.len(),
        longest.as_millis(),
        takeovers.iter().map(Duration::as_millis).collect::<Vec<_>>(),
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    chaos.sums_agree();
    let paid = records
        .iter()
        .filter(|record| !record.successes.is_empty())
        .count();
    assert!(paid >= 10, "only {paid} payments were made: nothing was tried");
    assert!(longest <= TAKEN_OVER_WITHIN, "{takeovers:?}");
}
