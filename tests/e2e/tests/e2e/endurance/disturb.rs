//! What goes wrong: one node of three lies or is late at a time, the facilitator dies, the newest blocks are replaced.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use devnet::{Devnet, Mining};
use e2e::{Fault, Kind, Lags, Proxy, Turn, View, World};
use serde_json::json;

use crate::auth_capture::property::dice::Dice;

/// Most blocks that a reorganisation replaces: less than finality.
pub(super) const DEEPEST: u64 = 3;
/// How long the node takes to make a block.
const MADE_WITHIN: Duration = Duration::from_millis(200);
const SEND: &str = "eth_sendRawTransaction";

/// A way in which a node is no help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    Late(Kind),
    LateInAll,
    LateIndex,
    Empty(Kind),
    /// Neither transactions nor receipts.
    NoTransactions,
    Pruned,
    NoBlockObjects,
    NoncesAhead,
    FutureHead,
    Underpriced,
    Refuses,
    Status(u16),
    Hangs,
    Null,
    AnotherChain,
    TornBatches,
    LosesSends,
}

const LIES: [Lie; 29] = [
    Lie::Late(Kind::Heads),
    Lie::Late(Kind::Nonces),
    Lie::Late(Kind::Receipts),
    Lie::Late(Kind::Transactions),
    Lie::Late(Kind::Logs),
    Lie::Late(Kind::State),
    Lie::LateInAll,
    Lie::LateIndex,
    Lie::LateIndex,
    Lie::LateIndex,
    Lie::NoTransactions,
    Lie::NoTransactions,
    Lie::Empty(Kind::Heads),
    Lie::Empty(Kind::Receipts),
    Lie::Empty(Kind::Transactions),
    Lie::Empty(Kind::Logs),
    Lie::Pruned,
    Lie::NoBlockObjects,
    Lie::NoncesAhead,
    Lie::FutureHead,
    Lie::Underpriced,
    Lie::Refuses,
    Lie::Status(500),
    Lie::Status(429),
    Lie::Hangs,
    Lie::Null,
    Lie::AnotherChain,
    Lie::TornBatches,
    Lie::LosesSends,
];

impl Lie {
    fn name(self) -> String {
        format!("{self:?}")
    }

    fn apply_to(self, node: &Proxy, other_chain: &str, dice: &mut Dice) {
        let blocks = dice.between(1, 12);
        let lag = |lags: Lags| node.set_view(View::lagging(lags));
        match self {
            Lie::Late(kind) => lag(Lags::only(kind, blocks)),
            Lie::LateInAll => lag(Lags::all(blocks)),
            Lie::LateIndex => lag(Lags::index(blocks)),
            Lie::Empty(kind) => node.set_view(View {
                empty: vec![kind],
                ..View::default()
            }),
            Lie::NoTransactions => node.set_view(View {
                empty: vec![Kind::Transactions, Kind::Receipts],
                ..View::default()
            }),
            Lie::Pruned => node.set_view(View::pruned(2)),
            Lie::NoBlockObjects => node.set_view(View {
                refuses_block_objects: true,
                ..View::lagging(Lags::index(blocks))
            }),
            Lie::NoncesAhead => node.set_view(View {
                nonces_ahead: dice.between(1, 5),
                ..View::lagging(Lags::index(blocks))
            }),
            Lie::FutureHead => {
                for method in ["eth_blockNumber", "eth_getBlockByNumber"] {
                    node.on(method, Fault::HeadAhead(1_000_000));
                }
            }
            Lie::Underpriced => node.on(SEND, Fault::underpriced()),
            Lie::Refuses => node.on("*", Fault::Refuse),
            Lie::Status(status) => node.on("*", Fault::Status(status)),
            Lie::Hangs => node.on("*", Fault::HoldAnswer),
            Lie::Null => node.on("*", Fault::Answer(json!(null))),
            Lie::AnotherChain => node.point_at(other_chain),
            Lie::TornBatches => {
                let views = [0, blocks, 1].map(|blocks| View::lagging(Lags::all(blocks)));
                node.balance(views.to_vec(), Turn::Call);
            }
            Lie::LosesSends => node.on(SEND, Fault::LoseAnswer),
        }
    }
}

/// Everything that goes wrong in a run, and how often it did.
#[derive(Debug)]
pub(super) struct Disturbances<'a> {
    world: &'a World,
    other: &'a Devnet,
    seed: u64,
    counts: Mutex<BTreeMap<String, u64>>,
    /// Each disturbance with its time, in milliseconds of Unix time.
    diary: Mutex<String>,
}

impl<'a> Disturbances<'a> {
    pub(super) fn new(world: &'a World, other: &'a Devnet, seed: u64) -> Disturbances<'a> {
        Disturbances {
            world,
            other,
            seed,
            counts: Mutex::default(),
            diary: Mutex::default(),
        }
    }

    fn nodes(&self) -> [&Proxy; 3] {
        [&self.world.proxy, &self.world.second, &self.world.third]
    }

    fn count(&self, what: String) {
        *self.counts.lock().expect("no panic").entry(what).or_insert(0) += 1;
    }

    fn write(&self, what: &str) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let ms = since.expect("after 1970").as_millis();
        let _ = writeln!(self.diary.lock().expect("no panic"), "{ms} {what}");
    }

    /// What went wrong and when, a line for each.
    pub(super) fn diary(&self) -> String {
        self.diary.lock().expect("no panic").clone()
    }

    /// Every node is honest again.
    pub(super) fn heal(&self) {
        for node in self.nodes() {
            node.point_at(self.world.chain.url());
            node.heal();
            // An hour of requests is too much to keep.
            node.forget();
        }
    }

    pub(super) fn spoil_nodes(&self, stop: &AtomicBool) {
        let mut dice = Dice::new(self.seed, 100);
        while !stop.load(Ordering::SeqCst) {
            let lie = dice.one_of(&LIES);
            // The first is called before the others as long as it answers.
            let node = if dice.percent(60) { 0 } else { dice.one_of(&[1, 2]) };
            self.write(&format!("node {node}: {}", lie.name()));
            let node = self.nodes()[node];
            self.count(lie.name());
            lie.apply_to(node, self.other.url(), &mut dice);
            pause(stop, dice.between(1_500, 12_000));
            self.heal();
            self.write("all nodes are honest");
            pause(stop, dice.between(0, 1_000));
        }
    }

    /// The node must not make a block meanwhile: its own clock would then mine on top of what is being replaced, which leaves
    /// the chain without some of its blocks and of its state.
    fn reorganise(&self, depth: u64) {
        let chain = &self.world.chain;
        chain.set_mining(Mining::Manual).expect("set");
        std::thread::sleep(MADE_WITHIN);
        chain.reorg(depth).expect("the newest blocks are replaced");
        chain.set_mining(Mining::Every(1)).expect("set");
    }

    pub(super) fn kill_and_reorganise(&self, stop: &AtomicBool) {
        let mut dice = Dice::new(self.seed, 200);
        loop {
            pause(stop, dice.between(3_000, 9_000));
            if stop.load(Ordering::SeqCst) {
                return;
            }
            if dice.percent(50) {
                self.count("reorganisation".to_owned());
                let depth = dice.between(1, DEEPEST);
                self.write(&format!(
                    "reorganisation of {depth}, head {:?}",
                    self.world.chain.head().ok()
                ));
                self.reorganise(depth);
                self.write(&format!("reorganised, head {:?}", self.world.chain.head().ok()));
            } else {
                self.count("kill".to_owned());
                self.write("kill");
                let away = Duration::from_millis(dice.between(0, 3_000));
                let restarted = self.world.facilitator.kill_and_restart(away);
                restarted.unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    /// What went wrong, one line for each kind.
    pub(super) fn summary(&self) -> String {
        let mut text = String::from("  disturbances\n");
        for (what, count) in self.counts.lock().expect("no panic").iter() {
            let _ = writeln!(text, "    {what:<28} {count:>6}");
        }
        text
    }
}

/// Ends early when the run does.
fn pause(stop: &AtomicBool, ms: u64) {
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(ms) && !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(50));
    }
}
