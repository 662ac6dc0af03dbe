//! Slots that a node calls used: nothing moves twice, and none that nothing has used is closed by one node alone.

use std::time::{Duration, Instant};

use devnet::{Devnet, Mining, Options, USDC};
use e2e::{Blocks, Facilitator, Fault, Kind, Payment, Proxy, Settings, View, World, wait};
use serde_json::json;

use super::lies::{no_false_success, once, until_answered};
use super::{
    BLOCK, DECIDED, escrow_world, held, held_for_good, is_on_chain, order, settle_down, state, until_paid,
    world,
};

pub(super) const NONCE: &str = "eth_getTransactionCount";
const SEND: &str = "eth_sendRawTransaction";
const RECEIPT: &str = "eth_getTransactionReceipt";
const TRANSACTION: &str = "eth_getTransactionByHash";
const LOGS: &str = "eth_getLogs";
const GAS: u64 = 200_000;

/// The lying node calls every nonce of the signer so much higher, at whatever block.
fn nonces_lie(node: &Proxy, by: u64) {
    node.on(NONCE, higher(by));
}

pub(super) fn higher(by: u64) -> Fault {
    Fault::edit(move |_, result| {
        let text = result.as_str().unwrap_or("0x0");
        let nonce = u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a quantity");
        *result = json!(format!("{:#x}", nonce + by));
    })
}

/// A capture that waits nowhere any more; the node reports its slot as used. Then the first bytes land after all.
fn nonce_lie(world: &World) {
    let bound = held(world, 2, 10_000, "nonce lies");
    world.chain.mine(5).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = bound.order(world, &bound.capture(2_000, (10_000, 0)));
    let _ = order(world, &body).pending();
    let ours = world.proxy.transactions().pop().expect("sent");
    world.chain.drop_all_transactions().expect("dropped");
    nonces_lie(&world.proxy, 1);
    for node in [&world.proxy, &world.second] {
        node.on(SEND, Fault::LoseAnswer);
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(8) {
        let reply = order(world, &body);
        assert!(!reply.is_success(), "{reply:?}");
        // Whatever is sent waits, and the first bytes are kept back.
        world.chain.drop_all_transactions().expect("dropped");
        world.chain.mine(1).expect("mines");
    }
    world.proxy.heal();
    world.second.heal();
    // Refused where the slot is taken by then.
    let _ = world.chain.rpc().call(SEND, json!([ours]));
    let blocks = Blocks::every(&world.chain, BLOCK);
    let end = wait::try_until(Duration::from_secs(45), || {
        let reply = order(world, &body);
        (reply.status == 200 && reply.field("errorReason") != "settlement_pending").then_some(reply)
    });
    settle_down(world, 8);
    drop(blocks);
    assert_eq!(state(world, &bound), (8_000, 2_000));
    let _ = end.expect("pending for ever").paid();
}

#[test]
fn a29b_one_of_two_nodes_that_calls_a_slot_used_doubles_no_capture() {
    let world = escrow_world(3).two_nodes().start();
    nonce_lie(&world);
}

/// The front-runner's transaction decides and becomes final. Ours is nowhere, and the first node calls its slot used.
#[test]
fn a31_a_slot_that_one_of_two_nodes_calls_used_after_a_decision_is_filled() {
    let world = world(3).two_nodes().mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    let _ = world.settle(&body).pending();
    world.chain.drop_all_transactions().expect("dropped");
    for node in [&world.proxy, &world.second] {
        node.on(SEND, Fault::Refuse);
    }
    nonces_lie(&world.proxy, 1);
    let stranger = &world.chain.facilitators[1].address;
    let theirs = world
        .chain
        .enqueue(stranger, USDC, &payment.calldata(), GAS, 1_000_000_000);
    let theirs = theirs.expect("taken");
    settle_down(&world, 12);
    assert_eq!(until_paid(|| world.settle(&body)), theirs);
    settle_down(&world, 12);
    world.proxy.heal();
    world.second.heal();
    the_next_is_paid(&world, 3);
}

/// An earlier capture is reorganised away. The state is not what the second one's order expects, as if something
/// had changed it; and the first node calls the slot used.
#[test]
fn a32_a_slot_that_one_of_two_nodes_calls_used_under_a_changed_guard_stays_open() {
    let world = escrow_world(3).two_nodes().start();
    let bound = held_for_good(&world, "guard changed back");
    let first = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let _ = order(&world, &first).pending();
    world.chain.mine(1).expect("mines");
    let _ = until_paid(|| order(&world, &first));
    let second = bound.order(&world, &bound.capture(1_000, (8_000, 2_000)));
    let _ = order(&world, &second).pending();
    for node in [&world.proxy, &world.second] {
        node.on(SEND, Fault::LoseAnswer);
    }
    nonces_lie(&world.proxy, 2);
    world.chain.reorg(1).expect("replaced");
    for _ in 0..40 {
        world.chain.drop_all_transactions().expect("dropped");
        settle_down(&world, 1);
    }
    world.proxy.heal();
    world.second.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = until_paid(|| order(&world, &second));
    drop(blocks);
    assert_eq!(state(&world, &bound), (7_000, 3_000));
}

/// The lane continues: nothing in it waits for a slot that nobody uses.
#[track_caller]
fn the_next_is_paid(world: &World, buyer: usize) {
    let blocks = Blocks::every(&world.chain, BLOCK);
    let body = world.payment(buyer).v2();
    let _ = until_paid(|| world.settle(&body));
    drop(blocks);
}

/// A new journal on a key that was used before, and the first node of two calls its nonce far too high.
#[test]
fn a_nonce_far_ahead_at_the_first_start_opens_no_gap() {
    let chain = Devnet::start(Options::default()).expect("starts");
    let signer = &chain.facilitators[0].address;
    chain.set_nonce(signer, 5).expect("set");
    chain.mine(8).expect("mines");
    let nodes = [(); 2].map(|()| Proxy::start(chain.url()).expect("starts"));
    nonces_lie(&nodes[0], 40);
    let settings = Settings {
        rpc: nodes.iter().map(Proxy::url).collect(),
        server: "settle_wait_seconds = 1".to_owned(),
        network: super::network(2),
        ..Settings::new("", &chain.facilitators[..1])
    };
    let facilitator = Facilitator::start(&settings).expect("starts");
    let body = Payment::new(&chain.buyers[2], &chain.merchant.address).v2();
    let blocks = Blocks::every(&chain, BLOCK);
    let _ = until_paid(|| facilitator.settle(&body));
    drop(blocks);
    assert_eq!(
        chain.pending_count(signer).expect("answers"),
        6,
        "nothing was filled"
    );
}

/// The nonce moves without any transaction (as an EIP-7702 authorization does), once, and every time.
#[test]
fn a09_a_nonce_that_moves_without_a_transaction_costs_a_new_slot_only() {
    let world = world(3).mining(Mining::Manual).start();
    let signer = world.chain.facilitators[0].address.clone();
    let body = world.payment(2).v2();
    let _ = world.settle(&body).pending();
    world.chain.drop_all_transactions().expect("dropped");
    world.chain.set_nonce(&signer, 1).expect("set");
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = until_answered(|| world.settle(&body));
    drop(blocks);
    once(&world, &paid);
}

#[test]
fn a09b_a_nonce_that_keeps_moving_without_a_transaction_fails_the_payment_with_proof() {
    let world = world(3).mining(Mining::Manual).start();
    let signer = world.chain.facilitators[0].address.clone();
    let body = world.payment(2).v2();
    let _ = world.settle(&body).pending();
    let mut nonce = 0;
    let failed = wait::until("a failure", DECIDED, || {
        let pending = world.chain.pending_count(&signer).expect("answers");
        if pending > u128::from(nonce) {
            world.chain.drop_all_transactions().expect("dropped");
            nonce += 1;
            world.chain.set_nonce(&signer, nonce).expect("set");
        }
        world.chain.mine(1).expect("mines");
        let reply = world.settle(&body);
        assert!(!reply.is_success(), "{reply:?}");
        (reply.status == 200 && reply.field("errorReason") != "settlement_pending").then_some(reply)
    });
    assert_eq!(nonce, 3, "a slot and two new ones");
    let hash = failed.field("transaction");
    assert!(hash.is_empty() || is_on_chain(&world, hash));
    // No fault is left: a retry is paid.
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = wait::until("success", DECIDED, || {
        let reply = world.settle(&body);
        reply.is_success().then(|| reply.paid())
    });
    drop(blocks);
    once(&world, &paid);
}

/// Two nodes; the slot was taken from us, and one calls the authorization used though it is not.
#[test]
fn a10_nodes_that_disagree_about_the_authorization_decide_nothing() {
    let world = world(3).two_nodes().mining(Mining::Manual).start();
    let signer = world.chain.facilitators[0].address.clone();
    let body = world.payment(2).v2();
    let _ = world.settle(&body).pending();
    let used = json!(format!("0x{:064x}", 1));
    world.second.on("eth_call", Fault::Answer(used));
    world.chain.drop_all_transactions().expect("dropped");
    world.chain.set_nonce(&signer, 1).expect("set");
    no_false_success(&world, || world.settle(&body));
    world.second.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let paid = until_answered(|| world.settle(&body));
    drop(blocks);
    once(&world, &paid);
}

/// Two nodes; ours has landed, both hide it, and the first calls the authorization unused.
#[test]
fn a10b_a_node_that_calls_a_used_authorization_unused_causes_no_second_send() {
    let world = world(3).two_nodes().mining(Mining::Manual).start();
    let payment = world.payment(2);
    let body = payment.v2();
    let unused = json!(format!("0x{:064x}", 0));
    let sent = world.settle(&body).pending();
    for node in [&world.proxy, &world.second] {
        for method in [RECEIPT, TRANSACTION] {
            node.on(method, Fault::Answer(json!(null)));
        }
        node.on(LOGS, Fault::Answer(json!([])));
    }
    world.proxy.on("eth_call", Fault::Answer(unused));
    world.chain.mine(1).expect("mines");
    no_false_success(&world, || world.settle(&body));
    assert_eq!(world.sent(), 1);
    world.proxy.heal();
    world.second.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_answered(|| world.settle(&body)), sent);
    drop(blocks);
    once(&world, &sent);
    assert_eq!(world.sent(), 1);
}

/// A capture that nobody shows until its slot is closed; meanwhile a void is ordered; then the nodes are honest.
#[test]
fn a11_a_capture_without_a_receipt_and_the_void_after_it_are_both_answered() {
    let mut world = escrow_world(3).start();
    let bound = held_for_good(&world, "void races");
    let capture = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let void = bound.order(&world, &e2e::order::Order::Void);
    let captured = order(&world, &capture).pending();
    world.proxy.set_view(View {
        empty: vec![Kind::Receipts, Kind::Transactions, Kind::Logs],
        ..View::default()
    });
    world.chain.mine(1).expect("mines");
    assert_eq!(state(&world, &bound), (8_000, 2_000));
    wait::until("nobody can explain it", wait::LONG, || {
        world.chain.mine(1).expect("mines");
        std::thread::sleep(Duration::from_millis(200));
        let reply = order(&world, &capture);
        assert_eq!(reply.pending(), captured);
        (world.metric("switchyard_unexplained_total", "") > 0).then_some(())
    });
    let early = order(&world, &void);
    assert!(!early.is_success(), "nothing is shown");
    world.chain.mine(3).expect("mines");
    world.facilitator.kill();
    world.facilitator.restart();
    no_false_success(&world, || order(&world, &capture));
    world.proxy.heal();
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_answered(|| order(&world, &capture)), captured);
    let voided = wait::until("the void", DECIDED, || {
        let reply = order(&world, &void);
        (reply.is_success() || (reply.status == 200 && reply.field("errorReason") != "settlement_pending"))
            .then_some(reply)
    });
    drop(blocks);
    let _ = voided.paid();
    settle_down(&world, 4);
    assert_eq!((world.sent(), state(&world, &bound)), (3, (0, 2_000)));
}
