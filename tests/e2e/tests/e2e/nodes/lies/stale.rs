//! Receipts of blocks that the chain has left.

use std::time::Duration;

use devnet::{Mining, USDC};
use e2e::{Blocks, Fault, wait};
use serde_json::json;

use super::super::{
    BLOCK, DECIDED, ahead_of_all, escrow_world, held_for_good, is_on_chain, order, settle_down, state,
    until_failed, world,
};
use super::{no_false_success, once, replaced_by, until_answered};
use crate::reason;

const RECEIPT: &str = "eth_getTransactionReceipt";

fn stale_capture(error: &'static str) {
    let world = escrow_world(3).start();
    let bound = held_for_good(&world, "stale receipt, no state");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    let gone = stale["blockHash"].clone();
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    world.proxy.on(
        "eth_call",
        Fault::Edit(e2e::Edit(std::sync::Arc::new(move |params, answer| {
            if params[1]["blockHash"] == gone {
                *answer = json!({"jsonrpc": "2.0", "id": answer["id"],
                    "error": {"code": -32000, "message": error}});
            }
        }))),
    );
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    no_false_success(&world, || order(&world, &body));
    world.chain.mine(80).expect("mines");
    no_false_success(&world, || order(&world, &body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = until_answered(|| order(&world, &body));
    drop(blocks);
    settle_down(&world, 5);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (8_000, 2_000)));
}

/// The receipt of a block that a reorganisation has taken away stays for ever; the transaction is nowhere.
#[test]
fn a04_a_receipt_of_a_block_that_is_gone_is_no_success() {
    let world = world(3).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    // Whatever is sent again gets lost.
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    assert_eq!(world.transfers(), 0);
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    no_false_success(&world, || world.settle(&body));
    assert_eq!(world.transfers(), 0);
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = until_answered(|| world.settle(&body));
    drop(blocks);
    once(&world, &paid);
}

/// The same, seen as paid and not answered before the reorganisation.
#[test]
fn a05_a_stale_receipt_releases_no_payment_that_was_reorganised_away() {
    let world = world(3).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    assert_eq!(world.transfers(), 0);
    no_false_success(&world, || world.settle(&body));
    assert_eq!(world.transfers(), 0);
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = until_answered(|| world.settle(&body));
    drop(blocks);
    once(&world, &paid);
}

/// A front-runner in a block that is gone: ours reverted there, and its stale receipt stays; ours has landed since.
#[test]
fn a07_a_stale_reverted_receipt_fails_no_payment_that_landed_since() {
    let world = world(4).mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    let sent = world.settle(&body).pending();
    let ours = world.proxy.transactions()[0].clone();
    let theirs = ahead_of_all(&world, &payment.calldata());
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    assert_eq!(stale["status"], "0x0");
    replaced_by(&world, &[ours]);
    world.chain.drop_all_transactions().expect("dropped");
    assert!(!is_on_chain(&world, &theirs) && world.transfers() == 1);
    let ours = sent.clone();
    world.proxy.on(
        RECEIPT,
        Fault::edit(move |params, result| {
            if params[0] == ours.as_str() {
                *result = stale.clone();
            }
        }),
    );
    no_false_success(&world, || world.settle(&body));
    world.proxy.heal();
    assert_eq!(until_answered(|| world.settle(&body)), sent);
    once(&world, &sent);
}

/// A reorganisation moves it to another block of the same height, between the record and the release.
#[test]
fn a08_a_payment_that_moves_to_another_block_of_its_height_is_answered_once() {
    let world = world(4).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    let ours = world.proxy.transactions()[0].clone();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    let before = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    let (paid, others) = std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut successes = 0;
                    wait::until("a decision", DECIDED, || {
                        let reply = world.settle(&body);
                        if reply.is_success() {
                            assert_eq!(reply.paid(), sent);
                            successes += 1;
                        }
                        (reply.status == 200 && reply.field("errorReason") != "settlement_pending")
                            .then_some(())
                    });
                    successes
                })
            })
            .collect();
        replaced_by(&world, std::slice::from_ref(&ours));
        let successes: Vec<i32> = waiting
            .into_iter()
            .map(|one| one.join().expect("a decision"))
            .collect();
        (successes.iter().sum::<i32>(), successes.len())
    });
    let after = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    assert_eq!(before["blockNumber"], after["blockNumber"]);
    assert_ne!(before["blockHash"], after["blockHash"]);
    assert_eq!((paid, others), (1, 4));
    once(&world, &sent);
    world.wait_slots_closed();
}

/// Ours failed for a reason that is gone with its block: a reverted block is reorganised away after we answered.
#[test]
fn a14_a_failure_whose_block_is_reorganised_away_gets_the_answer_of_the_winning_fork() {
    let world = world(4).mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    let sent = world.settle(&body).pending();
    let ours = world.proxy.transactions()[0].clone();
    // The token stops, our transaction reverts, and a reorganisation has it land.
    world.chain.drop_all_transactions().expect("dropped");
    let snapshot = world.chain.snapshot().expect("a snapshot");
    world.chain.pause(USDC, true).expect("paused");
    let taken = world.chain.rpc().call("eth_sendRawTransaction", json!([ours]));
    let _ = taken;
    world.chain.mine(1).expect("mines");
    let receipt = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    assert_eq!(receipt["status"], "0x0");
    let failed = until_failed(|| world.settle(&body));
    assert_eq!(failed.field("transaction"), sent);
    world.chain.revert(&snapshot).expect("reverted");
    let taken = world.chain.rpc().call("eth_sendRawTransaction", json!([ours]));
    let _ = taken;
    world.chain.mine(3).expect("mines");
    assert_eq!(world.transfers(), 1);
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::until("success", DECIDED, || {
        let reply = world.settle(&body);
        reply.is_success().then(|| reply.paid())
    });
    drop(blocks);
    assert_eq!(paid, sent);
    once(&world, &sent);
}

/// Final by a stale receipt: the transaction is nowhere, the receipt stays past finality, the process starts anew.
#[test]
fn a18_a_stale_receipt_makes_nothing_final() {
    let mut world = world(3).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    // Far past finality: no caller retries meanwhile.
    settle_down(&world, 12);
    world.proxy.heal();
    world.facilitator.kill();
    world.facilitator.restart_unready();
    let first = world.settle(&body);
    assert!(!first.is_success() || world.transfers() == 1, "{first:?}");
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::until("the transfer", DECIDED, || {
        let reply = world.settle(&body);
        assert!(!reply.is_success() || world.transfers() == 1, "{reply:?}");
        (world.transfers() == 1 && (reply.is_success() || reply.field("errorReason") == reason::DUPLICATE))
            .then_some(reply)
    });
    drop(blocks);
    once(&world, paid.field("transaction"));
}

/// The stale receipt while two nodes are configured, one honest: a pool of which the first lies.
#[test]
fn a19_a_stale_receipt_of_the_first_node_of_two_is_no_success() {
    let world = world(3).two_nodes().mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    for node in [&world.proxy, &world.second] {
        node.on("eth_sendRawTransaction", Fault::Refuse);
    }
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    no_false_success(&world, || world.settle(&body));
    for node in [&world.proxy, &world.second] {
        node.heal();
    }
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = until_answered(|| world.settle(&body));
    drop(blocks);
    once(&world, &paid);
}

/// A capture's receipt of a block that is gone, for ever, and far deeper than state is kept.
#[test]
fn a21_a_stale_receipt_makes_no_capture_however_deep_it_seems() {
    let world = escrow_world(3).start();
    let bound = held_for_good(&world, "stale receipt");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    world.proxy.on(RECEIPT, Fault::Answer(json!(null)));
    let sent = order(&world, &body).pending();
    world.chain.mine(1).expect("mines");
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    assert_eq!(state(&world, &bound), (10_000, 0));
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    no_false_success(&world, || order(&world, &body));
    world.chain.mine(300).expect("mines");
    no_false_success(&world, || order(&world, &body));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = until_answered(|| order(&world, &body));
    drop(blocks);
    settle_down(&world, 5);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (8_000, 2_000)));
}

/// The same without a restart: past finality by the stale receipt, then the nodes are honest.
#[test]
fn a18b_what_a_stale_receipt_called_final_is_no_success_from_memory() {
    let world = world(3).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    let stale = world.chain.receipt(&sent).expect("answers").expect("a receipt");
    world.proxy.on(RECEIPT, Fault::Answer(stale));
    replaced_by(&world, &[]);
    world.chain.drop_all_transactions().expect("dropped");
    settle_down(&world, 12);
    world.proxy.heal();
    let first = world.settle(&body);
    assert!(!first.is_success() || world.transfers() == 1, "{first:?}");
    let blocks = Blocks::every(&world.chain, BLOCK);
    let end = wait::try_until(Duration::from_secs(30), || {
        let reply = world.settle(&body);
        assert!(!reply.is_success() || world.transfers() == 1, "{reply:?}");
        std::thread::sleep(Duration::from_millis(200));
        (world.transfers() == 1).then_some(reply)
    });
    drop(blocks);
    assert!(end.is_some(), "never sent again");
}

/// As 21, from a node that has no state of the block that is gone.
#[test]
fn a21b_a_stale_receipt_without_state_makes_no_capture_however_deep_it_seems() {
    stale_capture("header not found");
}

#[test]
fn a21c_a_stale_receipt_with_forgotten_state_makes_no_capture_however_deep_it_seems() {
    stale_capture("missing trie node 00 (path ) state is not available");
}
