//! A transaction that can't land any more, and when that may be answered.

use std::time::Duration;

use e2e::solana::PRICE;
use e2e::{Fault, Reply, SolanaWorld, wait};
use schemes_svm::exact::reason;
use serde_json::Value;

/// One node proves it twice, a minute apart; two nodes are tried again after pauses of up to a minute.
const PROOF: Duration = Duration::from_secs(240);
/// More slots than a blockhash lives, and than it takes to make them final.
const AN_AGE_SLOTS: u64 = 400;

#[test]
fn t46_a_payment_whose_blockhash_expires_during_an_outage_fails_only_with_proof() {
    let world = SolanaWorld::builder().server("settle_wait_seconds = 1").start();
    world.chain.drop_incoming(true).expect("sends are lost");
    let body = world.official(0, "expires");
    let signature = world.settle(&body).pending();
    world.proxy.on("*", Fault::Refuse);
    world.chain.advance(AN_AGE_SLOTS).expect("time passes");
    assert_eq!(
        world.settle(&body).pending(),
        signature,
        "nobody has seen that it expired"
    );
    world.proxy.heal();
    let failed = wait::until("the proof", PROOF, || {
        Some(world.settle(&body)).filter(|reply| reply.field("errorReason") != "settlement_pending")
    });
    assert_eq!(
        failed.failed(reason::TRANSACTION_FAILED),
        "",
        "it is not on the chain"
    );
    world.chain.drop_incoming(false).expect("sends arrive");
    assert_eq!((world.landed().len(), world.earned()), (0, 0));
}

#[test]
fn t46_a_transaction_that_landed_long_ago_is_found_in_the_history_and_not_called_expired() {
    let world = SolanaWorld::builder().server("settle_wait_seconds = 1").start();
    let body = world.official(0, "late");
    // It lands, and no node shows it until its blockhash has long expired.
    world.proxy.on("getSignatureStatuses", Fault::Refuse);
    let signature = world.settle(&body).pending();
    world.wait_landed(1);
    world.chain.advance(AN_AGE_SLOTS).expect("time passes");
    world.proxy.heal();
    let paid = wait::until("it is found", wait::LONG, || {
        Some(world.settle(&body)).filter(Reply::is_success)
    });
    assert_eq!(paid.paid(), signature);
    assert_eq!((world.landed().len(), world.earned()), (1, PRICE));
}

#[test]
fn with_two_nodes_both_must_show_that_a_transaction_expired() {
    let world = SolanaWorld::builder()
        .two_nodes()
        .server("settle_wait_seconds = 1")
        .start();
    world.chain.drop_incoming(true).expect("sends are lost");
    let body = world.official(0, "two nodes");
    let signature = world.settle(&body).pending();
    world.second.on("*", Fault::Refuse);
    world.chain.advance(AN_AGE_SLOTS).expect("time passes");
    let before = world.proxy.calls_of("getSignatureStatuses");
    wait::until("polls of the first node", wait::LONG, || {
        (world.proxy.calls_of("getSignatureStatuses") > before + 20).then_some(())
    });
    assert_eq!(
        world.settle(&body).pending(),
        signature,
        "one node alone is no proof"
    );
    world.second.heal();
    let failed = wait::until("the proof", PROOF, || {
        Some(world.settle(&body)).filter(|reply| reply.field("errorReason") != "settlement_pending")
    });
    assert_eq!(
        failed.failed(reason::TRANSACTION_FAILED),
        "",
        "it is not on the chain"
    );
    assert_eq!((world.landed().len(), world.earned()), (0, 0));
}

#[test]
fn a_transaction_with_an_old_blockhash_is_refused_before_it_costs_anything() {
    let world = SolanaWorld::start();
    let body = world.official(0, "old");
    world.chain.advance(AN_AGE_SLOTS).expect("time passes");
    world.untouched(|| {
        world.verify(&body).refused(reason::SIMULATION_FAILED);
        world.settle(&body).refused(reason::SIMULATION_FAILED);
    });
}

#[test]
fn t46_an_only_node_that_lost_one_status_and_shows_the_block_fails_nothing() {
    let world = SolanaWorld::builder().server("settle_wait_seconds = 1").start();
    let body = world.official(0, "lost status");
    let lose = Fault::edit(|_, result| {
        if let Some(last) = result["value"].as_array_mut().and_then(|items| items.last_mut()) {
            *last = Value::Null;
        }
    });
    world.proxy.on("getSignatureStatuses", lose);
    let signature = world.settle(&body).pending();
    world.wait_landed(1);
    world.chain.advance(AN_AGE_SLOTS).expect("time passes");
    let reply = wait::until("success by its block", PROOF, || {
        let reply = world.settle(&body);
        assert!(reply.is_success() || reply.pending() == signature, "{reply:?}");
        reply.is_success().then_some(reply)
    });
    assert_eq!(reply.paid(), signature);
    assert_eq!((world.landed().len(), world.earned()), (1, PRICE));
}
