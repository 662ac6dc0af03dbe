//! What a payment costs at a provider that bills calls: the calls that a node gets for one payment on a chain with blocks
//! of two seconds, with the default settings. Each element of a batch is one call.
//!
//! The ceilings hold the numbers in docs/src/running.md.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use devnet::Mining;
use e2e::World;

/// Payments that are counted. The least of them counts: a block may come late on a busy machine.
const PAYMENTS: usize = 5;
const NETWORK: &str = "finality = 12";
/// So long the calls of an idle facilitator are counted.
const IDLE: Duration = Duration::from_secs(60);

/// Calls that one `/verify` may cause.
const MOST_VERIFY: usize = 3;
/// Calls that one `/settle` may cause until it is answered, and its payment from there until its slot is closed.
const MOST_UNTIL_ANSWERED: usize = 10;
const MOST_UNTIL_FINAL: usize = 15;
/// Calls in a minute without an open payment.
const MOST_IDLE: usize = 4;

/// Calls by method.
#[derive(Debug, Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    /// What the node got since it was last forgotten.
    fn taken(world: &World) -> Counts {
        let mut counts = Counts::default();
        for method in world.proxy.trips().into_iter().flat_map(|trip| trip.methods) {
            *counts.0.entry(method).or_insert(0) += 1;
        }
        world.proxy.forget();
        counts
    }

    fn sum(&self) -> usize {
        self.0.values().sum()
    }

    fn least(all: Vec<Counts>) -> Counts {
        all.into_iter().min_by_key(Counts::sum).expect("a payment")
    }
}

#[test]
fn a_payment_on_two_second_blocks_costs_few_node_calls() {
    let world = World::builder()
        .network(NETWORK)
        .follow_blocks()
        .mining(Mining::Every(2))
        .start();
    // What is read once after the start is over, and the block time is learned.
    sleep(Duration::from_secs(15));
    let (mut verified, mut answered, mut closed) = (Vec::new(), Vec::new(), Vec::new());
    for payment in 0..PAYMENTS {
        let body = world.payment(2 + payment).v2();
        world.proxy.forget();
        world.verify(&body).valid();
        verified.push(Counts::taken(&world));
        let _ = world.settle(&body).paid();
        answered.push(Counts::taken(&world));
        world.wait_slots_closed();
        closed.push(Counts::taken(&world));
    }
    world.proxy.forget();
    sleep(IDLE);
    let idle = Counts::taken(&world);
    let verified = Counts::least(verified);
    let (answered, closed) = (Counts::least(answered), Counts::least(closed));
    for (what, counts, most) in [
        ("of a verify", verified, MOST_VERIFY),
        ("until the answer", answered, MOST_UNTIL_ANSWERED),
        ("from the answer until final", closed, MOST_UNTIL_FINAL),
        ("in an idle minute", idle, MOST_IDLE),
    ] {
        println!("{what}: {} calls, {counts:?}", counts.sum());
        assert!(
            counts.sum() <= most,
            "{what}: {} calls, at most {most}: {counts:?}",
            counts.sum()
        );
    }
    assert_eq!(world.transfers(), PAYMENTS);
}
