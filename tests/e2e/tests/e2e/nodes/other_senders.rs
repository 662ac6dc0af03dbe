//! Other transactions about the same payment: a quicker sender, a payer who takes the authorization back, and two orders
//! that a reorganisation puts into one block.

use std::time::Duration;

use devnet::Mining;
use e2e::payment::PRICE;
use e2e::{Blocks, Fault, Lags, View, wait};
use serde_json::json;

use super::{ahead_of_all, escrow_world, held, order, settle_down, state, until_failed, until_paid, world};
use crate::reason;

#[test]
fn t33_a_front_runner_whose_logs_come_two_blocks_late_is_found_and_its_transaction_is_the_answer() {
    let world = world(4).mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    let ours = world.settle(&body).pending();
    world.proxy.set_view(View::lagging(Lags {
        logs: 2,
        ..Lags::default()
    }));
    let theirs = ahead_of_all(&world, &payment.calldata());
    let receipt = world
        .chain
        .receipt(&ours)
        .expect("the node answers")
        .expect("a receipt");
    assert_eq!(receipt["status"], "0x0", "ours was second");
    // The search is incomplete for a while, and seems complete.
    let early = world.settle(&body);
    if !early.is_success() {
        let _ = early.pending();
    }
    let blocks = Blocks::every(&world.chain, Duration::from_millis(700));
    if !early.is_success() {
        assert_eq!(until_paid(|| world.settle(&body)), theirs);
    }
    drop(blocks);
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), theirs);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn t34_an_authorization_that_is_cancelled_ahead_of_our_transaction_gets_the_replay_reason() {
    let world = world(4).mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    let ours = world.settle(&body).pending();
    world.proxy.set_view(View::lagging(Lags {
        logs: 2,
        ..Lags::default()
    }));
    ahead_of_all(&world, &payment.cancellation(&world.chain));
    let blocks = Blocks::every(&world.chain, Duration::from_millis(500));
    let reply = until_failed(|| world.settle(&body));
    assert_eq!(reply.failed(reason::NONCE_USED), ours);
    drop(blocks);
    settle_down(&world, 4);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 0, 0));
}

#[test]
fn two_captures_that_a_reorganisation_puts_into_one_block_are_both_proven() {
    let world = escrow_world(4).start();
    let bound = held(&world, 2, 10_000, "one block");
    world.chain.mine(4).expect("mines");
    world.wait_slots_closed();
    let first = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let first_hash = until_paid(|| order(&world, &first));
    world.chain.set_mining(Mining::Manual).expect("set");
    let second = bound.order(&world, &bound.capture(3_000, (8_000, 2_000)));
    let sent = order(&world, &second).pending();

    let both = world.proxy.transactions().split_off(1);
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    world.chain.reorg(1).expect("the newest block is replaced");
    assert_eq!(state(&world, &bound), (10_000, 0), "the first capture is gone");
    world.chain.drop_all_transactions().expect("the pool is emptied");
    for raw in both {
        let taken = world.chain.rpc().call("eth_sendRawTransaction", json!([raw]));
        taken.expect("the node takes it");
    }
    world.chain.mine(1).expect("mines");
    let (head, _) = world.chain.head().expect("the node answers");
    assert_eq!(world.chain.receipts(head).expect("the node answers").len(), 2);
    assert_eq!(state(&world, &bound), (5_000, 5_000));
    world.proxy.heal();

    let blocks = Blocks::every(&world.chain, Duration::from_millis(500));
    assert_eq!(until_paid(|| order(&world, &second)), sent);
    assert_eq!(order(&world, &first).failed(reason::DUPLICATE), first_hash);
    world.wait_slots_closed();
    drop(blocks);
    assert_eq!((world.sent(), state(&world, &bound)), (3, (5_000, 5_000)));
    let open = world.metric("switchyard_unproven_total", "");
    wait::until("nothing is polled any more", wait::LONG, || {
        std::thread::sleep(Duration::from_secs(1));
        (world.metric("switchyard_unproven_total", "") == open).then_some(())
    });
}
