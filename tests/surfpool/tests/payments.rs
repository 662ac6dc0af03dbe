//! What the end-to-end tests check on the dev chain, checked on a runtime with commitment levels of its own.

use std::collections::BTreeSet;

use e2e::solana::{with_first_signature, with_memo};
use e2e::{Fault, Reply, wait};
use schemes_svm::exact::reason;
use schemes_svm::wire::Version;
use serde_json::{Value, json};
use surfpool_tests::{BUYERS, PRICE, World};

const DUPLICATE: &str = "duplicate_settlement";

#[test]
fn token_and_token_2022_v0_and_legacy_are_paid_once() {
    let world = World::start("");
    let (plain, newer, old) = (world.deal(0), world.deal_2022(1), world.deal(2));
    let mut legacy = old.official();
    legacy.version = Version::Legacy;
    let payments = [
        (&plain, plain.official().sign(&plain.buyer)),
        (&newer, newer.official().sign(&newer.buyer)),
        (&old, legacy.sign(&old.buyer)),
    ];
    for (deal, transaction) in &payments {
        let body = world.body(deal, transaction);
        let before = world.earned(deal);
        world.facilitator.verify(&body).valid();
        let signature = world.facilitator.settle(&body).paid();
        assert_eq!(world.facilitator.settle(&body).failed(DUPLICATE), signature);
        assert_eq!(world.earned(deal), before + PRICE);
    }
}

#[test]
fn of_64_equal_payments_one_succeeds_and_distinct_ones_all_land() {
    let world = World::start("");
    let deal = world.deal(0);
    let signed = deal.official().sign(&deal.buyer);
    let bodies: Vec<Value> = (0..64)
        .map(|byte| world.body(&deal, &with_first_signature(&signed, byte)))
        .collect();
    let replies = world.facilitator.settle_all(&bodies);
    let (paid, others): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.is_success());
    assert_eq!(paid.len(), 1);
    let signature = paid[0].paid();
    for other in others {
        assert_eq!(other.failed(DUPLICATE), signature);
    }
    assert_eq!(world.earned(&deal), PRICE);

    let bodies: Vec<Value> = (0..BUYERS)
        .map(|buyer| {
            let deal = world.deal(buyer);
            let draft = with_memo(&deal, &format!("payment {buyer}"));
            world.body(&deal, &draft.sign(&deal.buyer))
        })
        .collect();
    let signatures: BTreeSet<String> = world
        .facilitator
        .settle_all(&bodies)
        .iter()
        .map(Reply::paid)
        .collect();
    assert_eq!(signatures.len(), usize::from(BUYERS));
    assert_eq!(world.earned(&deal), PRICE * (1 + u64::from(BUYERS)));
}

#[test]
fn t03_sigkill_after_the_broadcast_loses_nothing_and_sends_nothing_twice() {
    let mut world = World::start("");
    let deal = world.deal(0);
    let body = world.body(&deal, &deal.official().sign(&deal.buyer));
    world.proxy.on("getSignatureStatuses", Fault::HoldAnswer);
    let client = world.facilitator.client().clone();
    let text = body.to_string();
    let caller = std::thread::spawn(move || client.post("/settle", text.as_bytes(), &[]));
    wait::until("it lands", wait::LONG, || {
        (world.earned(&deal) == PRICE).then_some(())
    });
    world.proxy.wait_for("getSignatureStatuses");
    world.facilitator.kill();
    assert!(
        caller.join().expect("joins").is_err(),
        "the caller got no answer"
    );
    world.proxy.heal();
    world.facilitator.restart();
    let signature = world.facilitator.settle(&body).paid();
    assert_eq!(world.facilitator.settle(&body).failed(DUPLICATE), signature);
    assert_eq!(world.earned(&deal), PRICE);
}

#[test]
fn with_confirmations_as_deep_as_finality_only_a_final_payment_is_answered_as_paid() {
    let world = World::start("confirmations = 32\nfinality = 32");
    let deal = world.deal(0);
    let body = world.body(&deal, &deal.official().sign(&deal.buyer));
    let signature = world.facilitator.settle(&body).paid();
    let params = json!([[signature], { "searchTransactionHistory": true }]);
    let answer = world.rpc.call("getSignatureStatuses", params).expect("a status");
    assert_eq!(answer["value"][0]["confirmationStatus"], "finalized", "{answer}");
}

#[test]
fn a_blockhash_that_the_node_has_forgotten_is_refused() {
    let world = World::start("");
    let deal = world.deal(0);
    let body = world.body(&deal, &deal.official().sign(&deal.buyer));
    wait::until("the blockhash expires", wait::LONG, || {
        let params = json!([deal.blockhash.to_string(), { "commitment": "processed" }]);
        let answer = world.rpc.call("isBlockhashValid", params).expect("an answer");
        (answer["value"] == false).then_some(())
    });
    world.facilitator.verify(&body).refused(reason::SIMULATION_FAILED);
    world.facilitator.settle(&body).refused(reason::SIMULATION_FAILED);
    assert_eq!(world.earned(&deal), 0);
}
