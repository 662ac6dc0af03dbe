//! RPC nodes that answer anything: nonsense, broken HTTP, another chain, old blocks, absurd prices, or nothing at all.
//!
//! A payment is never made twice, never reported as paid without its transfer, and never refused for good because of a
//! bad node. While one of two nodes works, payments are verified and settled as usual.
//!
//! Many tests try a list of variants. A [`Report`] collects the broken ones, and its end fails with all of them.

mod answers;
mod flickering;
mod frozen;
mod json_rpc;
mod large;
mod node;
mod other_chain;
mod prices;
mod sends;
mod slow;
mod solana;
mod starts;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use devnet::{Devnet, Options, USDC};
use e2e::payment::PRICE;
use e2e::world::TRANSFER_TOPIC;
use e2e::{Facilitator, Payment, Reply, Settings, wait};
use serde_json::Value;

use node::{Answer, AnyNode};

const SEND: &str = "eth_sendRawTransaction";
/// The dev chain's clock is not the machine's.
const ANY_CLOCK: &str = "options = { max_clock_skew_s = 0, max_head_age_s = 0 }";
/// A payment is made within this time while one node works.
const SERVED: Duration = Duration::from_secs(10);
/// Nodes that a test has healed rest for some seconds more.
const HEALED: Duration = Duration::from_secs(60);
/// Longer than the facilitator remembers a price.
const PRICE_FORGOTTEN: Duration = Duration::from_millis(2_100);
/// Several polls of the facilitator.
const POLLED: Duration = Duration::from_millis(600);
/// The facilitator checks a network within this time.
const CHECKED: Duration = Duration::from_secs(11);
/// How long a healed node may take until it is read from first again.
const FIRST_AGAIN: Duration = Duration::from_secs(5);

/// A chain with two nodes that may answer anything, and a facilitator that uses them.
///
/// Fields are dropped in this order: the facilitator before what it talks to.
struct Pair {
    facilitator: Facilitator,
    first: AnyNode,
    second: AnyNode,
    chain: Devnet,
    payments: AtomicUsize,
}

impl Pair {
    /// Both nodes are configured, and settles wait five seconds.
    fn start() -> Pair {
        Pair::start_with(2, ANY_CLOCK, "settle_wait_seconds = 5")
    }

    /// So many of the nodes are configured, with these lines of TOML for the network and for `[server]`.
    fn start_with(nodes: usize, network: &str, server: &str) -> Pair {
        let chain = Devnet::start(Options::default()).expect("the chain starts");
        let (first, second) = (AnyNode::start(chain.url()), AnyNode::start(chain.url()));
        let mut rpc = vec![first.url(), second.url()];
        rpc.truncate(nodes);
        let settings = Settings {
            rpc,
            network: network.to_owned(),
            server: server.to_owned(),
            ..Settings::new("", &chain.facilitators[..1])
        };
        let facilitator = Facilitator::start(&settings).expect("it starts");
        Pair {
            facilitator,
            first,
            second,
            chain,
            payments: AtomicUsize::new(0),
        }
    }

    /// A new payment, of the next buyer.
    fn payment(&self) -> Payment {
        let at = self.payments.fetch_add(1, Ordering::Relaxed);
        let buyers = &self.chain.buyers[2..];
        Payment::new(&buyers[at % buyers.len()], &self.chain.merchant.address)
    }

    fn earned(&self) -> u128 {
        let earned = self.chain.balance_of(USDC, &self.chain.merchant.address);
        earned.expect("the node answers")
    }

    fn transfers(&self) -> usize {
        let logs = self.chain.logs(USDC, Some(TRANSFER_TOPIC));
        logs.expect("the node answers").len()
    }

    /// Transactions of the facilitator, mined or waiting.
    fn sent(&self) -> usize {
        let count = self.chain.pending_count(&self.chain.facilitators[0].address);
        usize::try_from(count.expect("the node answers")).expect("few")
    }

    fn heal(&self) {
        self.first.heal();
        self.second.heal();
    }

    /// Heals the nodes and waits until reads go to the first one again, so that the facilitator meets the next variant. A
    /// node that was slow or that lacks a method stays the second choice for longer. Then the next variant shows less.
    fn recover(&self) {
        self.heal();
        self.facilitator.wait_ready().expect("ready again");
        let body = self.payment().v2();
        let before = self.first.calls_of("eth_call");
        let _ = wait::try_until(FIRST_AGAIN, || {
            let _ = self.facilitator.verify(&body);
            (self.first.calls_of("eth_call") > before).then_some(())
        });
    }

    fn settle_until(&self, body: &Value, limit: Duration) -> Settled {
        settle_until(&self.facilitator, body, limit)
    }

    /// Makes one payment as things are: what is wrong about it.
    fn serve(&self) -> Vec<String> {
        let body = self.payment().v2();
        let before = self.transfers();
        let mut complaints = serve(&self.facilitator, &body, &|| self.transfers() - before);
        if !complaints.is_empty() {
            self.heal();
            let settled = self.settle_until(&body, HEALED);
            let moved = self.transfers() - before;
            if !settled.is_made() || moved != 1 {
                complaints.push(format!("even healed: {:?}, {moved} transfers", settled.seen));
            }
        }
        complaints
    }

    /// Settles earlier payments on healed nodes: what is wrong about them. They are all payments since the start, and each
    /// is made once.
    fn finish(&self, bodies: &[Value]) -> Vec<String> {
        let mut complaints = Vec::new();
        for body in bodies {
            let settled = self.settle_until(body, HEALED);
            if !settled.is_made() {
                complaints.push(format!("healed: {:?}", settled.seen));
            }
        }
        if self.transfers() != bodies.len() {
            complaints.push(format!("{} transfers of {}", self.transfers(), bodies.len()));
        }
        complaints
    }

    /// What is wrong about the merchant's balance: every transfer pays the price.
    fn check_earned(&self) -> Vec<String> {
        let (earned, transfers) = (self.earned(), self.transfers());
        let due = PRICE * u128::try_from(transfers).expect("few");
        let wrong = format!("the merchant got {earned} in {transfers} transfers");
        (earned != due).then_some(wrong).into_iter().collect()
    }

    /// What is wrong about the facilitator's transactions: there is one for every transfer.
    fn check_sent(&self) -> Vec<String> {
        let (sent, transfers) = (self.sent(), self.transfers());
        let wrong = format!("{sent} transactions for {transfers} transfers");
        (sent != transfers).then_some(wrong).into_iter().collect()
    }
}

/// How a settlement went.
struct Settled {
    last: Reply,
    /// The answers in short, without repetitions.
    seen: Vec<String>,
}

impl Settled {
    /// Whether the payment was made, now or at an earlier request.
    fn is_made(&self) -> bool {
        self.last.is_success() || self.last.field("errorReason") == crate::reason::DUPLICATE
    }
}

/// Requests a settlement until it is decided.
fn settle_until(facilitator: &Facilitator, body: &Value, limit: Duration) -> Settled {
    let began = Instant::now();
    let mut seen = Vec::new();
    loop {
        let last = facilitator.settle(body);
        let answer = short(&last);
        if seen.last() != Some(&answer) {
            seen.push(answer);
        }
        if !is_open(&last) || began.elapsed() >= limit {
            return Settled { last, seen };
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the caller of a settle has to retry.
fn is_open(reply: &Reply) -> bool {
    reply.status != 200 || reply.field("errorReason") == "settlement_pending"
}

/// Verifies and settles a payment: what is wrong about that. `moved` counts the transfers since.
fn serve(facilitator: &Facilitator, body: &Value, moved: &dyn Fn() -> usize) -> Vec<String> {
    let mut complaints = Vec::new();
    let verify = facilitator.verify(body);
    if !is_valid(&verify) {
        complaints.push(format!("verify: {}", short(&verify)));
    }
    let settled = settle_until(facilitator, body, SERVED);
    if !settled.last.is_success() {
        complaints.push(format!("settle: {:?}", settled.seen));
    } else if settled.seen.len() > 1 {
        complaints.push(format!("settled not at once: {:?}", settled.seen));
    }
    let ready = facilitator.get("/ready");
    if ready.status != 200 {
        complaints.push(format!("ready: {}", short(&ready)));
    }
    let moved = moved();
    if moved > 1 || (settled.last.is_success() && moved != 1) {
        complaints.push(format!("{moved} transfers"));
    }
    complaints
}

fn is_valid(verify: &Reply) -> bool {
    verify.status == 200 && verify.json["isValid"] == true
}

fn short(reply: &Reply) -> String {
    let text: String = reply.text.chars().take(300).collect();
    format!("{} {text}", reply.status)
}

/// The broken ones of a list of variants.
#[derive(Default)]
struct Report {
    broken: Vec<String>,
}

impl Report {
    fn add(&mut self, variant: &str, complaints: &[String]) {
        if !complaints.is_empty() {
            self.broken.push(format!("{variant}: {}", complaints.join(" | ")));
        }
    }

    /// # Panics
    /// When a variant is broken.
    #[track_caller]
    fn end(self) {
        let count = self.broken.len();
        assert!(
            self.broken.is_empty(),
            "{count} broken variants:\n{}",
            self.broken.join("\n")
        );
    }
}

/// The first node is, one after the other, as each variant has it. Two payments each: one that meets the fault, and one
/// when the facilitator knows of it.
fn serve_each(report: &mut Report, variants: Vec<(&str, Answer)>) {
    let pair = Pair::start();
    report.add("before", &pair.serve());
    for (at, (name, answer)) in variants.into_iter().enumerate() {
        if at > 0 {
            pair.recover();
        }
        pair.first.answer(answer);
        std::thread::sleep(POLLED);
        report.add(name, &pair.serve());
        report.add(&format!("{name}, again"), &pair.serve());
    }
    report.add("all payments", &pair.check_earned());
}
