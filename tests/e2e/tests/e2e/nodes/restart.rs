//! Killed after the send, and back when the node shows less than it did.

use std::time::Duration;

use devnet::Mining;
use e2e::payment::PRICE;
use e2e::{Fault, View, World};
use serde_json::{Value, json};

use super::{escrow_world, held, order, settle_down, state, until_paid, world};

/// What is hidden, and for how long.
const HIDDEN: [&str; 2] = ["eth_getTransactionReceipt", "eth_getTransactionByHash"];
const FOR: Duration = Duration::from_secs(8);
/// Deeper than the finality of these tests.
const BLOCKS_AWAY: u64 = 80;

/// Kills the facilitator once it has sent, lets blocks come, and starts it again in front of a node that knows no
/// transaction for some seconds.
fn away_and_back(world: &mut World, hide: impl Fn(&World)) {
    world.facilitator.kill();
    world.chain.mine(BLOCKS_AWAY).expect("mines");
    hide(world);
    world.facilitator.restart();
}

fn nothing_is_known(world: &World) {
    for method in HIDDEN {
        world.proxy.on_for(method, Fault::Answer(json!(null)), FOR);
    }
}

/// Until it is paid, every answer is pending with the transaction that was sent.
#[track_caller]
fn is_paid_with(sent: &str, settle: impl Fn() -> e2e::Reply) {
    let paid = until_paid(|| {
        let reply = settle();
        if reply.status == 200 {
            assert_eq!(reply.field("transaction"), sent, "{reply:?}");
        }
        reply
    });
    assert_eq!(paid, sent);
}

fn capture(world: &World, name: &str) -> (e2e::order::Bound, Value) {
    let bound = held(world, 2, 10_000, name);
    world.chain.mine(65).expect("mines");
    let body = bound.order(world, &bound.capture(4_000, (10_000, 0)));
    (bound, body)
}

#[test]
fn t14_a_capture_sent_before_a_crash_is_made_once_though_its_receipt_is_null_for_seconds() {
    let mut world = escrow_world(64).start();
    let (bound, body) = capture(&world, "crash");
    world.chain.set_mining(Mining::Manual).expect("set");
    let sent = order(&world, &body).pending();
    away_and_back(&mut world, nothing_is_known);
    is_paid_with(&sent, || order(&world, &body));
    settle_down(&world, 10);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (6_000, 4_000)));
}

#[test]
fn t14_a_payment_sent_before_a_crash_is_answered_as_success_though_its_receipt_is_null_for_seconds() {
    let mut world = world(64).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    away_and_back(&mut world, nothing_is_known);
    is_paid_with(&sent, || world.settle(&body));
    settle_down(&world, 10);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn t14_a_payment_sent_before_a_crash_never_fails_though_the_node_was_pruned_meanwhile() {
    let mut world = world(64).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    away_and_back(&mut world, |world| world.proxy.set_view(View::pruned(20)));
    let mut is_answered = false;
    for _ in 0..8 {
        let reply = world.settle(&body);
        if reply.is_success() {
            assert_eq!(reply.paid(), sent);
            is_answered = true;
            break;
        }
        if reply.status == 200 {
            assert_eq!(reply.pending(), sent);
        }
        world.chain.mine(1).expect("mines");
    }
    world.proxy.heal();
    if !is_answered {
        is_paid_with(&sent, || world.settle(&body));
    }
    settle_down(&world, 10);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn t14_a_capture_sent_before_a_crash_is_made_once_though_the_node_was_pruned_meanwhile() {
    let mut world = escrow_world(64).start();
    let (bound, body) = capture(&world, "pruned");
    world.chain.set_mining(Mining::Manual).expect("set");
    let sent = order(&world, &body).pending();
    away_and_back(&mut world, |world| world.proxy.set_view(View::pruned(20)));
    settle_down(&world, 30);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (6_000, 4_000)));
    world.proxy.heal();
    is_paid_with(&sent, || order(&world, &body));
    settle_down(&world, 5);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (6_000, 4_000)));
}
