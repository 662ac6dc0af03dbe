//! Operations that a reorganisation makes revert: an earlier one that they count on is gone. Each ends truly, with the slot and
//! the payment free.

use std::time::Duration;

use devnet::{AUTH_CAPTURE_V11, Mining, USDC};
use e2e::escrow::fund;
use e2e::hold::{Hold, Method};
use e2e::order::{Bound, Order, fee_of};
use e2e::payment::PRICE;
use e2e::{Blocks, Fault, Reply, World, wait};
use serde_json::{Value, json};

use super::{BLOCK, DECIDED, escrow_world, is_on_chain, order, settle_down, state, until_paid, world};
use crate::reason;

const SEND: &str = "eth_sendRawTransaction";
const TIP_WEI: u128 = 20_000_000_000;

/// 10,000 units that are held by Permit2; blocks come by hand from now on.
fn held(world: &World, name: &str) -> Bound {
    fund(world);
    let mut hold = Hold::v1_1(world, 2, AUTH_CAPTURE_V11, Method::Permit2);
    hold.info.max_amount = 10_000;
    let bound = Bound::new(world, hold, name);
    let body = bound.collect(world);
    let _ = until_paid(|| order(world, &body));
    world.chain.mine(8).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    bound
}

/// An order to capture 2,000 units that is in the newest block and was answered as success.
fn answered_capture(world: &World, bound: &Bound) -> Value {
    let capture = bound.order(world, &bound.capture(2_000, (10_000, 0)));
    let _ = order(world, &capture).pending();
    world.chain.mine(1).expect("mines");
    let _ = until_paid(|| order(world, &capture));
    capture
}

/// The newest block is replaced by an empty one, and nothing waits for the next. The transactions that were sent since so many.
fn fork(world: &World, sent_before: usize) -> Vec<String> {
    let sent = world.proxy.transactions().split_off(sent_before);
    world.proxy.on(SEND, Fault::Refuse);
    world.chain.reorg(1).expect("replaced");
    world.chain.drop_all_transactions().expect("dropped");
    sent
}

fn land(world: &World, raws: impl IntoIterator<Item = String>) {
    for raw in raws {
        world.chain.rpc().call(SEND, json!([raw])).expect("taken");
    }
    world.chain.mine(1).expect("mines");
}

/// The last answer: a failure that names no transaction that is not there.
#[track_caller]
fn fails_truly(world: &World, body: &Value) -> Reply {
    wait::until("a failure", DECIDED, || {
        let reply = order(world, body);
        assert!(!reply.is_success(), "{reply:?}");
        let named = reply.field("transaction");
        let is_true = named.is_empty() || is_on_chain(world, named);
        let is_open = ["settlement_pending", reason::DUPLICATE].contains(&reply.field("errorReason"));
        std::thread::sleep(Duration::from_millis(100));
        (reply.status == 200 && !is_open && is_true).then_some(reply)
    })
}

/// A plain call replaces the capture, so the void lands before any capture, and reverts for want of gas.
#[test]
fn a_void_that_reverts_ahead_of_the_capture_it_followed_ends() {
    let world = escrow_world(6).start();
    let bound = held(&world, "void in front");
    let _capture = answered_capture(&world, &bound);
    let void = bound.order(&world, &Order::Void);
    let _ = order(&world, &void).pending();
    let raw = fork(&world, 2);
    let signer = &world.chain.facilitators[0].address;
    let plain = world.chain.enqueue(signer, USDC, "0x18160ddd", 100_000, TIP_WEI);
    let _ = plain.expect("taken");
    world.chain.mine(1).expect("mines");
    land(&world, raw);
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = fails_truly(&world, &void);
    wait::until("the capture lands again", DECIDED, || {
        (state(&world, &bound) == (8_000, 2_000)).then_some(())
    });
    let next = bound.order(&world, &bound.capture(1_000, (8_000, 2_000)));
    let _ = until_paid(|| order(&world, &next));
    drop(blocks);
    assert_eq!(state(&world, &bound), (7_000, 3_000));
}

/// In the fork that wins the token is paused for a block: the capture, answered before, and the void revert there.
#[test]
fn a_capture_and_a_void_that_revert_in_the_fork_that_wins_both_end() {
    let world = escrow_world(6).start();
    let bound = held(&world, "paused");
    let capture = answered_capture(&world, &bound);
    let void = bound.order(&world, &Order::Void);
    let _ = order(&world, &void).pending();
    let raws = fork(&world, 1);
    world.chain.set_mining(Mining::Auto).expect("set");
    world.chain.pause(USDC, true).expect("paused");
    world.chain.set_mining(Mining::Manual).expect("set");
    land(&world, raws);
    world.chain.set_mining(Mining::Auto).expect("set");
    world.chain.pause(USDC, false).expect("not any more");
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = fails_truly(&world, &void);
    let gone = fails_truly(&world, &capture);
    assert!(gone.text.contains("answered as success before"), "{gone:?}");
    let next = bound.order(&world, &bound.capture(1_000, (10_000, 0)));
    let _ = until_paid(|| order(&world, &next));
    drop(blocks);
    assert_eq!(state(&world, &bound), (9_000, 1_000));
}

/// In the fork that wins the payer has revoked the allowance: the hold, answered before, and the capture after it revert.
#[test]
fn a_capture_after_a_hold_that_reverts_in_the_fork_that_wins_ends() {
    let world = escrow_world(6).mining(Mining::Manual).start();
    world.chain.set_mining(Mining::Auto).expect("set");
    fund(&world);
    let mut hold = Hold::v1_1(&world, 2, AUTH_CAPTURE_V11, Method::Permit2);
    hold.info.max_amount = 10_000;
    let bound = Bound::new(&world, hold, "revoked");
    world.chain.set_mining(Mining::Manual).expect("set");
    let collect = bound.collect(&world);
    let _ = order(&world, &collect).pending();
    world.chain.mine(1).expect("mines");
    let _ = until_paid(|| order(&world, &collect));
    let capture = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let _ = order(&world, &capture).pending();
    let raws = fork(&world, 0);
    world.chain.set_mining(Mining::Auto).expect("set");
    let payer = &bound.hold.info.payer;
    let revoked = world.chain.set_allowance(USDC, payer, devnet::PERMIT2, 0);
    revoked.expect("revoked");
    world.chain.set_mining(Mining::Manual).expect("set");
    land(&world, raws);
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = fails_truly(&world, &collect);
    let _ = fails_truly(&world, &capture);
    world.wait_slots_closed();
    // The settlement has ended: the order is checked again, and refused because of the chain's state.
    let again = order(&world, &capture);
    assert_eq!(again.status, 200, "{again:?}");
    assert!(!again.is_success(), "{again:?}");
    drop(blocks);
    assert_eq!(state(&world, &bound), (0, 0));
}

/// The key is used elsewhere for another capture instead of ours, which was answered as success. Ours is gone for good.
#[test]
fn an_answered_capture_whose_slot_another_uses_names_no_transaction_that_is_gone() {
    let world = escrow_world(6).start();
    let bound = held(&world, "slot taken");
    let capture = answered_capture(&world, &bound);
    let _ = fork(&world, 1);
    let (deployment, info) = (bound.hold.deployment, bound.hold.info.clone());
    let fee = fee_of(&deployment, 9_000, info.min_fee_bps);
    let other = deployment.capture(&info, 9_000, fee, &info.fee_receiver);
    let other = other.expect("encodes");
    let signer = &world.chain.facilitators[0].address;
    let theirs = world
        .chain
        .enqueue(signer, deployment.escrow, &other, 500_000, TIP_WEI);
    let _ = theirs.expect("taken");
    world.chain.mine(1).expect("mines");
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let gone = fails_truly(&world, &capture);
    assert!(gone.text.contains("answered as success before"), "{gone:?}");
    drop(blocks);
    assert_eq!(state(&world, &bound), (1_000, 9_000));
}

/// The only node calls the success reverted, and the authorization unused, until a failure was answered.
#[test]
fn t14_a_failure_because_of_a_node_that_was_wrong_is_undone() {
    let world = world(6).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    call_it_reverted(&world);
    world.chain.mine(1).expect("mines");
    let failed = wait::until("the failure", DECIDED, || {
        let reply = world.settle(&body);
        assert!(!reply.is_success(), "{reply:?}");
        std::thread::sleep(Duration::from_millis(100));
        (reply.field("errorReason") != "settlement_pending" && reply.status == 200).then_some(reply)
    });
    assert_eq!(failed.field("transaction"), sent);
    world.proxy.heal();
    let paid = wait::until("a success", DECIDED, || {
        let reply = world.settle(&body);
        reply.is_success().then(|| reply.paid())
    });
    assert_eq!(paid, sent);
    settle_down(&world, 7);
    assert_eq!((world.transfers(), world.earned()), (1, PRICE));
}

/// The first node calls every transaction reverted, and every authorization unused.
fn call_it_reverted(world: &World) {
    let reverted = Fault::edit(|_, receipt| {
        if receipt.is_object() {
            receipt["status"] = json!("0x0");
            receipt["logs"] = json!([]);
            receipt["logsBloom"] = json!(format!("0x{}", "0".repeat(512)));
        }
    });
    world.proxy.on("eth_getTransactionReceipt", reverted);
    let unused = Fault::edit(|_, answer| *answer = json!(format!("0x{}", "0".repeat(64))));
    world.proxy.on("eth_call", unused);
}

/// The first node of two calls the success reverted, and the authorization unused.
#[test]
fn a_success_that_one_of_two_nodes_calls_reverted_and_unused_fails_nothing() {
    let world = world(3).two_nodes().mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let sent = world.settle(&body).pending();
    call_it_reverted(&world);
    let mut answered = None;
    for _ in 0..24 {
        world.chain.mine(1).expect("mines");
        let reply = world.settle(&body);
        if reply.is_success() {
            assert_eq!(answered.replace(reply.paid()), None, "answered twice");
        } else if answered.is_none() && reply.status != 503 {
            assert_eq!(reply.pending(), sent);
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    world.proxy.heal();
    if answered.is_none() {
        let blocks = Blocks::every(&world.chain, BLOCK);
        answered = Some(until_paid(|| world.settle(&body)));
        drop(blocks);
    }
    settle_down(&world, 4);
    assert_eq!(answered, Some(sent));
    assert_eq!((world.transfers(), world.earned()), (1, PRICE));
}
