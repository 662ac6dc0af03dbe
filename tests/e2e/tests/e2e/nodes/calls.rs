//! The node calls of a payment without faults.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use devnet::Mining;
use e2e::{World, wait};
use serde_json::Value;

use super::{escrow_world, held, order, until_paid, world};

/// HTTP requests, beside the calls in them.
const REQUESTS: &str = "requests";
/// Payments that are counted; the least of them counts, because a poll may fall into any.
const PAYMENTS: usize = 3;
/// Longer than decided slots wait for their next poll, and than a price is remembered.
const QUIET: Duration = Duration::from_millis(3_500);

/// Waits until no transaction is polled any more: every slot is closed.
fn quiet(world: &World) {
    let lookups = || world.proxy.calls_of("eth_getTransactionReceipt");
    let (mut seen, mut since) = (lookups(), Instant::now());
    wait::until("no transaction to be polled any more", wait::LONG, || {
        if lookups() != seen {
            (seen, since) = (lookups(), Instant::now());
        }
        (since.elapsed() >= QUIET).then_some(())
    });
}

/// Calls by method, and [`REQUESTS`], from a settle until its slot is closed. The periodic check of
/// nodes is not part of it.
fn calls_of(world: &World, settle: impl Fn()) -> BTreeMap<String, usize> {
    // Nothing is polled any more, and the last price is forgotten.
    quiet(world);
    world.proxy.forget();
    settle();
    world.chain.mine(2).expect("mines");
    quiet(world);
    let mut counts = BTreeMap::new();
    for trip in world.proxy.trips() {
        let has = |wanted: &str| trip.methods.iter().any(|method| method == wanted);
        if has("eth_getBalance") && has("eth_getCode") {
            continue;
        }
        *counts.entry(REQUESTS.to_owned()).or_insert(0) += 1;
        for method in trip.methods {
            *counts.entry(method).or_insert(0) += 1;
        }
    }
    counts
}

fn least(all: Vec<BTreeMap<String, usize>>) -> BTreeMap<String, usize> {
    let least = all
        .into_iter()
        .min_by_key(|counts| counts.values().sum::<usize>());
    least.expect("a payment")
}

/// Requests and calls in all may not be more than before; which calls they are may change.
#[track_caller]
fn did_not_grow(what: &str, counts: &BTreeMap<String, usize>, before: &[(&str, usize)]) {
    let requests = |method: &str| method == REQUESTS;
    let sum = |all: &mut dyn Iterator<Item = (&str, usize)>, wanted: bool| -> usize {
        all.filter(|(method, _)| requests(method) == wanted)
            .map(|(_, count)| count)
            .sum()
    };
    for (name, wanted) in [("requests", true), ("calls", false)] {
        let now = sum(
            &mut counts.iter().map(|(method, count)| (method.as_str(), *count)),
            wanted,
        );
        let then = sum(&mut before.iter().copied(), wanted);
        assert!(now <= then, "{what}: {now} {name}, before {then}: {counts:?}");
    }
}

/// Polls are slow, so that each payment is polled as seldom as its life allows.
const NETWORK: &str =
    "finality = 2\npoll_interval_ms = 500\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }";

#[test]
fn a_payment_without_faults_keeps_its_number_of_node_calls() {
    let world = world(2).network(NETWORK).mining(Mining::Auto).start();
    let counts: Vec<_> = (0..PAYMENTS)
        .map(|at| {
            let body = world.payment(2 + at).v2();
            calls_of(&world, || {
                let _ = until_paid(|| world.settle(&body));
            })
        })
        .collect();
    did_not_grow("a payment", &least(counts), &BEFORE_EXACT);
}

#[test]
fn a_capture_without_faults_keeps_its_number_of_node_calls() {
    let world = escrow_world(2).network(NETWORK).mining(Mining::Auto).start();
    let counts: Vec<_> = (0..PAYMENTS)
        .map(|at| {
            let bound = held(&world, 2 + at, 10_000, "counted");
            world.chain.mine(2).expect("mines");
            let body: Value = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
            calls_of(&world, || {
                let _ = until_paid(|| order(&world, &body));
            })
        })
        .collect();
    did_not_grow("a capture", &least(counts), &BEFORE_CAPTURE);
}

/// As counted before slots were decided by guards, with one read more: whether the token calls the authorization used, which a
/// simulation does not show where the token returns instead of reverting.
const BEFORE_EXACT: [(&str, usize); 12] = [
    (REQUESTS, 5),
    ("eth_blockNumber", 3),
    ("eth_call", 3),
    ("eth_estimateGas", 1),
    ("eth_feeHistory", 1),
    ("eth_gasPrice", 1),
    ("eth_getBlockByNumber", 1),
    ("eth_getCode", 1),
    ("eth_getTransactionByHash", 2),
    ("eth_getTransactionCount", 2),
    ("eth_getTransactionReceipt", 2),
    ("eth_sendRawTransaction", 1),
];
const BEFORE_CAPTURE: [(&str, usize); 12] = [
    (REQUESTS, 7),
    ("eth_blockNumber", 2),
    ("eth_call", 4),
    ("eth_estimateGas", 1),
    ("eth_feeHistory", 1),
    ("eth_gasPrice", 1),
    ("eth_getBlockByNumber", 2),
    ("eth_getCode", 1),
    ("eth_getTransactionByHash", 2),
    ("eth_getTransactionCount", 2),
    ("eth_getTransactionReceipt", 2),
    ("eth_sendRawTransaction", 1),
];
