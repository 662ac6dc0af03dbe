//! First nodes that become another chain, or an older state of this one, while a payment is pending.

use std::time::Duration;

use devnet::{Devnet, Mining, Options};
use e2e::Blocks;

use super::node::as_of;
use super::{ANY_CLOCK, HEALED, Pair, Report, is_valid, short};

const BLOCK: Duration = Duration::from_millis(300);
/// What the other chain counts of the facilitator's transactions.
const COUNT_THERE: u64 = 50;

fn pair(nodes: usize, finality: u64) -> Pair {
    let network = format!("finality = {finality}\nstuck_after_seconds = 2\n{ANY_CLOCK}");
    Pair::start_with(nodes, &network, "settle_wait_seconds = 2")
}

fn a_pending_payment_survives(nodes: usize, other: &Devnet) {
    let signer = &other.facilitators[0].address;
    other.set_nonce(signer, COUNT_THERE).expect("set");
    other.mine(300).expect("mines");
    let pair = pair(nodes, 3);
    let mut report = Report::default();
    report.add("before", &pair.serve());
    pair.chain.set_mining(Mining::Manual).expect("set");
    let body = pair.payment().v2();
    let before = pair.transfers();
    let _ = pair.facilitator.settle(&body).pending();
    pair.first.point_at(other.url());
    let seen = pair.settle_until(&body, Duration::from_secs(10)).seen;
    let is_open = |one: &String| one.contains("settlement_pending") || one.starts_with("503");
    if !seen.iter().all(is_open) {
        report.add("while it is another chain", &[format!("{seen:?}")]);
    }
    let verify = pair.facilitator.verify(&pair.payment().v2());
    if nodes == 2 && !is_valid(&verify) {
        report.add("a new payment, by the second node", &[short(&verify)]);
    }
    let count = other.pending_count(signer).expect("the node answers");
    assert_eq!(count, u128::from(COUNT_THERE), "sent to the other chain");
    pair.first.point_at(pair.chain.url());
    let blocks = Blocks::every(&pair.chain, BLOCK);
    let settled = pair.settle_until(&body, HEALED);
    let moved = pair.transfers() - before;
    if !settled.last.is_success() || moved != 1 {
        report.add("back", &[format!("{:?}, {moved} transfers", settled.seen)]);
    }
    // The payment may end before the next check of the network, and until then new ones are refused with 503.
    pair.facilitator.wait_ready().expect("ready again");
    report.add("the next payment", &pair.serve());
    drop(blocks);
    report.end();
}

fn of_another_id() -> Devnet {
    Devnet::of_chain(8453).expect("the other chain starts")
}

fn of_the_same_id() -> Devnet {
    Devnet::start(Options::default()).expect("the other chain starts")
}

#[test]
fn a_pending_payment_survives_an_only_node_that_becomes_a_chain_of_another_id() {
    a_pending_payment_survives(1, &of_another_id());
}

#[test]
fn a_pending_payment_survives_an_only_node_that_becomes_another_chain_of_the_same_id() {
    a_pending_payment_survives(1, &of_the_same_id());
}

#[test]
fn a_pending_payment_survives_a_first_node_that_becomes_a_chain_of_another_id() {
    a_pending_payment_survives(2, &of_another_id());
}

#[test]
fn a_pending_payment_survives_a_first_node_that_becomes_another_chain_of_the_same_id() {
    a_pending_payment_survives(2, &of_the_same_id());
}

fn payments_survive_a_head_fifty_blocks_back(nodes: usize) {
    let pair = pair(nodes, 4);
    pair.chain.mine(100).expect("mines");
    let mut report = Report::default();
    report.add("before", &pair.serve());
    pair.chain.mine(10).expect("mines");
    pair.chain.set_mining(Mining::Manual).expect("set");
    let body = pair.payment().v2();
    let before = pair.transfers();
    let hash = pair.facilitator.settle(&body).pending();
    pair.chain.mine(2).expect("mines");
    let _ = pair.settle_until(&body, Duration::from_secs(5));
    let (head, _) = pair.chain.head().expect("the node answers");
    pair.first
        .answer(Box::new(move |request, node| as_of(head - 50, request, node)));
    let seen = pair.settle_until(&body, Duration::from_secs(10)).seen;
    let is_allowed =
        |one: &String| one.contains("settlement_pending") || one.contains(&hash) || one.starts_with("503");
    if !seen.iter().all(is_allowed) {
        report.add("while it is back", &[format!("{seen:?}")]);
    }
    let new = pair.payment().v2();
    let _ = pair.facilitator.verify(&new);
    let _ = pair.facilitator.settle(&new);
    pair.heal();
    let blocks = Blocks::every(&pair.chain, BLOCK);
    for (name, body) in [("the pending payment", &body), ("the new payment", &new)] {
        let settled = pair.settle_until(body, HEALED);
        if !settled.is_made() {
            report.add(name, &[format!("healed: {:?}", settled.seen)]);
        }
    }
    assert_eq!(pair.transfers() - before, 2);
    // The payment may end before the next check of the network, and until then new ones are refused with 503.
    pair.facilitator.wait_ready().expect("ready again");
    report.add("the next payment", &pair.serve());
    drop(blocks);
    report.end();
}

#[test]
fn payments_survive_an_only_node_whose_head_goes_back_by_fifty_blocks() {
    payments_survive_a_head_fifty_blocks_back(1);
}

#[test]
fn payments_survive_a_first_node_whose_head_goes_back_by_fifty_blocks() {
    payments_survive_a_head_fifty_blocks_back(2);
}
