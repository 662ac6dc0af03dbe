//! What is bid when nodes or the market press, and what callers are answered.

use std::time::{Duration, Instant};

use devnet::Mining;
use e2e::payment::{PRICE, now_s};
use e2e::raw::RawTransaction;
use e2e::{Blocks, Fault, World, wait};
use serde_json::json;

use super::{BLOCK, is_on_chain, until_failed, until_paid, world};
use crate::accounting;

const SEND: &str = "eth_sendRawTransaction";

fn sent(world: &World) -> Vec<RawTransaction> {
    let all = world.proxy.transactions();
    all.iter().map(|raw| RawTransaction::read(raw)).collect()
}

#[test]
fn a_node_that_calls_every_bid_underpriced_for_ten_seconds_gets_few_bids_and_no_excessive_price() {
    let world = world(2).mining(Mining::Manual).start();
    let blocks = Blocks::every(&world.chain, BLOCK);
    world
        .proxy
        .on_for(SEND, Fault::underpriced(), Duration::from_secs(10));
    let started = Instant::now();
    let body = world.payment(2).v2();
    while started.elapsed() < Duration::from_secs(10) {
        let reply = world.settle(&body);
        if !reply.is_success() {
            let _ = reply.pending();
        }
    }
    let bids = sent(&world);
    let prices: Vec<u128> = bids.iter().map(|bid| bid.max_fee).collect();
    let (first, last) = (prices[0], *prices.last().expect("a bid"));
    assert!(bids.len() <= 8, "{} bids in ten seconds: {prices:?}", bids.len());
    assert!(
        last <= 4 * first,
        "from {first} to {last} wei per gas: {prices:?}"
    );
    world.proxy.heal();
    let _ = until_paid(|| world.settle(&body));
    drop(blocks);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

/// A stuck transaction is to be replaced, and the node names no price: what is recorded goes out again.
#[test]
fn a_transaction_that_is_lost_while_no_price_is_known_is_sent_again() {
    let world = World::builder()
        .server("settle_wait_seconds = 1")
        .network(
            "finality = 2\nstuck_after_seconds = 3\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }",
        )
        .mining(Mining::Manual)
        .start();
    let body = world.payment(2).v2();
    let hash = world.settle(&body).pending();
    world.chain.drop_all_transactions().expect("dropped");
    for method in ["eth_gasPrice", "eth_feeHistory"] {
        let unknown = json!({"code": -32601, "message": format!("the method {method} does not exist")});
        world.proxy.on(method, Fault::RpcError(unknown));
    }
    world.proxy.on_for(SEND, Fault::Refuse, Duration::from_secs(6));
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_paid(|| world.settle(&body)), hash);
    drop(blocks);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn t40_a_gas_spike_lets_nothing_be_sent_above_max_cost_and_the_answer_names_no_lost_transaction() {
    const MAX_COST_WEI: u128 = 1_000_000_000_000_000;
    let world = World::builder()
        .server("settle_wait_seconds = 1")
        .network(&format!(
            "finality = 2\nstuck_after_seconds = 1\nmax_cost = \"{MAX_COST_WEI}\"\n\
             options = {{ max_clock_skew_s = 0, max_head_age_s = 0 }}"
        ))
        .mining(Mining::Manual)
        .start();
    let body = world.payment(2).v2();
    let _ = world.settle(&body).pending();
    let spike = Blocks::priced(&world.chain, BLOCK, 60_000_000_000);
    let started = Instant::now();
    let mut reply = world.settle(&body);
    while started.elapsed() < Duration::from_secs(8) && reply.field("errorReason") == "settlement_pending" {
        reply = world.settle(&body);
    }
    drop(spike);
    for bid in sent(&world) {
        assert!(
            bid.max_cost() <= MAX_COST_WEI,
            "{bid:?} costs {} wei",
            bid.max_cost()
        );
    }
    let calm = Blocks::priced(&world.chain, BLOCK, 1_000_000_000);
    let reply = wait::until("a decision", super::DECIDED, || {
        let reply = world.settle(&body);
        (reply.status == 200 && reply.field("errorReason") != "settlement_pending").then_some(reply)
    });
    drop(calm);
    let hash = reply.field("transaction");
    assert!(
        hash.is_empty() || is_on_chain(&world, hash),
        "the answer's transaction is not on chain: {reply:?}"
    );
    assert_eq!(world.transfers() == 1, reply.is_success(), "{reply:?}");
    assert_eq!(world.sent(), 1);
}

#[test]
fn a_payment_that_expired_and_was_filled_gets_the_same_answer_twice() {
    let world = world(2).mining(Mining::Manual).start();
    let mut payment = world.payment(2);
    payment.transfer.valid_before = now_s() + 12;
    let body = payment.v2();
    let _ = world.settle(&body).pending();
    wait::until("the authorization to end", wait::LONG, || {
        (now_s() > payment.transfer.valid_before).then_some(())
    });
    wait::until("something else takes the slot", wait::LONG, || {
        (sent(&world).len() >= 2).then_some(())
    });
    let blocks = Blocks::every(&world.chain, BLOCK);
    let first = until_failed(|| world.settle(&body));
    drop(blocks);
    let second = world.settle(&body);
    assert_eq!(first.json, second.json);
    let hash = first.field("transaction");
    assert!(
        hash.is_empty() || is_on_chain(&world, hash),
        "the answer's transaction is not on chain: {first:?}"
    );
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 0, 0));
    // What took the slot cost gas: a line of its own, beside the payment that cost none.
    let (status, out, err) = world.facilitator.command_status(&["journal", "export"]);
    assert_eq!(status, Some(0), "{err}");
    let lines = accounting::lines(&out);
    let [payment, filled] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!(
        (&payment["kind"], payment.get("gasPaid")),
        (&"payment".into(), None),
        "{payment}"
    );
    assert_eq!(
        (&filled["kind"], &filled["outcome"]),
        (&"cost".into(), &"filled".into()),
        "{filled}"
    );
    let fee = accounting::cost(&world, filled["transaction"].as_str().expect("a transaction"));
    assert_eq!(filled["gasPaid"], fee.to_string(), "{filled}");
}
