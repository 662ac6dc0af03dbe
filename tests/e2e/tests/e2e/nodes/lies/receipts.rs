//! Receipts that lack their logs, have a wrong status or are malformed.

use std::time::Duration;

use devnet::Mining;
use e2e::payment::PRICE;
use e2e::{Blocks, Fault, wait};
use serde_json::json;

use super::super::{
    BLOCK, ahead_of_all, escrow_world, held, held_for_good, order, settle_down, state, world,
};
use super::{no_false_success, once, replaced_by, unrelated, until_answered};

const RECEIPT: &str = "eth_getTransactionReceipt";

/// The receipt has status 1, and its logs are missing.
#[test]
fn a01_a_receipt_without_its_logs_fails_no_payment() {
    let world = world(4).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
            }
        }),
    );
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    no_false_success(&world, || world.settle(&body));
    world.proxy.heal();
    assert_eq!(until_answered(|| world.settle(&body)), sent);
    once(&world, &sent);
}

/// The same for a capture.
#[test]
fn a01b_a_receipt_without_its_logs_fails_no_capture() {
    let world = escrow_world(4).start();
    let bound = held(&world, 2, 10_000, "without logs");
    world.chain.mine(6).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
            }
        }),
    );
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    no_false_success(&world, || order(&world, &body));
    world.proxy.heal();
    assert_eq!(until_answered(|| order(&world, &body)), sent);
    settle_down(&world, 6);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (8_000, 2_000)));
}

/// The receipt has status 0 and no logs, though the transaction paid; state and logs are honest.
#[test]
fn a02_a_receipt_that_calls_a_success_reverted_fails_no_payment() {
    let world = world(4).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
                result["status"] = json!("0x0");
            }
        }),
    );
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    no_false_success(&world, || world.settle(&body));
    world.proxy.heal();
    assert_eq!(until_answered(|| world.settle(&body)), sent);
    once(&world, &sent);
}

#[test]
fn a02b_a_receipt_that_calls_a_success_reverted_fails_no_capture() {
    let world = escrow_world(4).start();
    let bound = held(&world, 2, 10_000, "called reverted");
    world.chain.mine(6).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
                result["status"] = json!("0x0");
            }
        }),
    );
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    no_false_success(&world, || order(&world, &body));
    world.proxy.heal();
    assert_eq!(until_answered(|| order(&world, &body)), sent);
    settle_down(&world, 6);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (8_000, 2_000)));
}

/// A receipt with a log index that occurs twice, and one of another transaction.
#[test]
fn a03_malformed_receipts_decide_nothing() {
    let world = world(4).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if let Some(logs) = result["logs"].as_array_mut() {
                for log in logs {
                    log["logIndex"] = json!("0x0");
                }
            }
        }),
    );
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    no_false_success(&world, || world.settle(&body));
    // Another sender's, that did exactly the same for another payer.
    let other = world.payment(3);
    let theirs = ahead_of_all(&world, &other.calldata());
    let receipt = world.chain.receipt(&theirs).expect("answers").expect("a receipt");
    world.proxy.on(RECEIPT, Fault::Answer(receipt.clone()));
    no_false_success(&world, || world.settle(&body));
    // The same with our hash at its top.
    let ours = sent.clone();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |_, result| {
            *result = receipt.clone();
            result["transactionHash"] = json!(ours);
        }),
    );
    no_false_success(&world, || world.settle(&body));
    world.proxy.heal();
    assert_eq!(until_answered(|| world.settle(&body)), sent);
    assert_eq!(
        (world.sent(), world.transfers(), world.earned()),
        (1, 2, 2 * PRICE)
    );
}

/// One receipt without logs once, then honest: the false failure is not repeated, and the payment ends as paid.
#[test]
fn a20_one_receipt_without_logs_is_no_lasting_failure() {
    let world = world(6).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    world.proxy.on_for(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
            }
        }),
        Duration::from_secs(1),
    );
    world.chain.mine(1).expect("mines");
    std::thread::sleep(Duration::from_millis(1_200));
    let paid = wait::try_until(Duration::from_secs(30), || {
        world.chain.mine(1).expect("mines");
        std::thread::sleep(Duration::from_millis(250));
        let reply = world.settle(&body);
        reply.is_success().then(|| reply.paid())
    });
    assert_eq!(paid, Some(sent.clone()));
    once(&world, &sent);
}

/// A hold whose receipt has no logs.
#[test]
fn a01c_a_receipt_without_its_logs_fails_no_hold() {
    let world = escrow_world(4).mining(Mining::Manual).start();
    let hold = e2e::hold::Hold::v1_1(&world, 2, devnet::AUTH_CAPTURE_V11, e2e::hold::Method::Eip3009);
    let bound = e2e::order::Bound::new(&world, hold, "hold without logs");
    let body = bound.collect(&world);
    world.proxy.on(
        RECEIPT,
        Fault::edit(|_, result| {
            if !result.is_null() {
                unrelated(result);
            }
        }),
    );
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    no_false_success(&world, || order(&world, &body));
    world.proxy.heal();
    assert_eq!(until_answered(|| order(&world, &body)), sent);
    assert_eq!(world.sent(), 1);
}

/// The node gives one payment's receipt malformed for ever; its neighbour's is good.
#[test]
fn a23_one_malformed_receipt_keeps_no_other_payment_pending() {
    let world = world(3).mining(Mining::Manual).start();
    let bad = world.payment(2).v2();
    let sent = world.settle(&bad).pending();
    let spoiled = sent.clone();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |params, result| {
            if params[0] == spoiled.as_str() && !result.is_null() {
                result["status"] = json!("0x7");
            }
        }),
    );
    world.chain.mine(1).expect("mines");
    let good = world.payment(3).v2();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::try_until(Duration::from_secs(20), || {
        let reply = world.settle(&good);
        reply.is_success().then(|| reply.paid())
    });
    no_false_success(&world, || world.settle(&bad));
    world.proxy.heal();
    assert_eq!(until_answered(|| world.settle(&bad)), sent);
    drop(blocks);
    assert!(paid.is_some(), "the neighbour stays pending");
    assert_eq!((world.transfers(), world.earned()), (2, 2 * PRICE));
}

/// The same with an error in place of one receipt, as of a node that still indexes.
#[test]
fn a24_an_error_for_one_receipt_keeps_no_other_payment_pending() {
    let world = world(3).mining(Mining::Manual).start();
    let bad = world.payment(2).v2();
    let sent = world.settle(&bad).pending();
    let spoiled = sent.clone();
    world.proxy.on(
        RECEIPT,
        Fault::Edit(e2e::Edit(std::sync::Arc::new(move |params, answer| {
            if params[0] == spoiled.as_str() {
                *answer = json!({"jsonrpc": "2.0", "id": answer["id"],
                    "error": {"code": -32000, "message": "transaction indexing is in progress"}});
            }
        }))),
    );
    world.chain.mine(1).expect("mines");
    let good = world.payment(3).v2();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::try_until(Duration::from_secs(20), || {
        let reply = world.settle(&good);
        reply.is_success().then(|| reply.paid())
    });
    no_false_success(&world, || world.settle(&bad));
    world.proxy.heal();
    assert_eq!(until_answered(|| world.settle(&bad)), sent);
    drop(blocks);
    assert!(paid.is_some(), "the neighbour stays pending");
    assert_eq!((world.transfers(), world.earned()), (2, 2 * PRICE));
}

/// As 23, with a second node that is honest.
#[test]
fn a23b_one_malformed_receipt_of_one_of_two_nodes_keeps_no_payment_pending() {
    let world = world(3).two_nodes().mining(Mining::Manual).start();
    let bad = world.payment(2).v2();
    let sent = world.settle(&bad).pending();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |params, result| {
            if params[0] == sent.as_str() && !result.is_null() {
                result["status"] = json!("0x7");
            }
        }),
    );
    world.chain.mine(1).expect("mines");
    let good = world.payment(3).v2();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::try_until(Duration::from_secs(20), || {
        let reply = world.settle(&good);
        reply.is_success().then(|| reply.paid())
    });
    drop(blocks);
    assert!(paid.is_some(), "the neighbour stays pending");
}

/// A reorganisation moves a capture; its receipt keeps naming the block that is gone, of which there is no state.
#[test]
fn a24b_a_receipt_of_a_block_without_state_keeps_no_other_payment_pending() {
    let world = escrow_world(3).start();
    let bound = held_for_good(&world, "neighbour");
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let sent = order(&world, &body).pending();
    let ours = world.proxy.transactions().pop().expect("sent");
    world.chain.mine(1).expect("mines");
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    let gone = stale["blockHash"].clone();
    replaced_by(&world, &[ours]);
    assert_eq!(state(&world, &bound), (8_000, 2_000));
    world.proxy.on(
        "eth_call",
        Fault::Edit(e2e::Edit(std::sync::Arc::new(move |params, answer| {
            if params[1]["blockHash"] == gone {
                *answer = json!({"jsonrpc": "2.0", "id": answer["id"],
                    "error": {"code": -32000, "message": "header not found"}});
            }
        }))),
    );
    let spoiled = sent.clone();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |params, result| {
            if params[0] == spoiled.as_str() {
                *result = stale.clone();
            }
        }),
    );
    let good = world.payment(3).v2();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::try_until(Duration::from_secs(20), || {
        let reply = order(&world, &good);
        reply.is_success().then(|| reply.paid())
    });
    assert_eq!(order(&world, &body).pending(), sent);
    world.proxy.heal();
    assert_eq!(until_answered(|| order(&world, &body)), sent);
    drop(blocks);
    assert_eq!((world.sent(), state(&world, &bound)), (3, (8_000, 2_000)));
    assert!(paid.is_some(), "the neighbour stays pending");
}
