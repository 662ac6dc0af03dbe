//! Many callers at once: one payment is one transaction, whatever stands in the fee payer's position, and many payments are
//! all served.

use std::collections::BTreeSet;

use e2e::solana::{LAMPORTS_PER_SIGNATURE, PRICE, with_first_signature};
use e2e::{Reply, SolanaWorld};
use serde_json::Value;

#[track_caller]
fn one_of_them_succeeds(world: &SolanaWorld, bodies: &[Value]) {
    let lamports = world.lamports();
    let replies = world.settle_all(bodies);
    let (paid, others): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.is_success());
    assert_eq!(paid.len(), 1, "{replies:?}");
    let signature = paid[0].paid();
    for other in others {
        assert_eq!(other.failed(super::DUPLICATE), signature);
    }
    assert_eq!((world.landed().len(), world.earned()), (1, PRICE));
    assert_eq!(lamports - world.lamports(), 2 * LAMPORTS_PER_SIGNATURE + 1);
}

#[test]
fn t01_of_64_identical_settles_one_succeeds_and_the_others_are_duplicates_with_its_signature() {
    let world = SolanaWorld::start();
    let body = world.official(0, "one");
    one_of_them_succeeds(&world, &vec![body; 64]);
}

#[test]
fn t45_other_bytes_in_the_fee_payers_place_are_the_same_payment() {
    let world = SolanaWorld::start();
    let deal = world.deal(0);
    let signed = deal.official().sign(&deal.buyer);
    let bodies: Vec<Value> = (0..64)
        .map(|byte| {
            let transaction = with_first_signature(&signed, byte);
            match byte % 2 {
                0 => world.body(&deal, &transaction),
                _ => world.body_v1(&deal, &transaction),
            }
        })
        .collect();
    one_of_them_succeeds(&world, &bodies);
}

#[test]
fn sixty_four_distinct_payments_at_once_all_land() {
    let world = SolanaWorld::builder()
        .chain(|options| options.buyers = 64)
        .start();
    let bodies: Vec<Value> = (0..64)
        .map(|buyer| world.official(buyer, &format!("payment {buyer}")))
        .collect();
    let signatures: BTreeSet<String> = world.settle_all(&bodies).iter().map(Reply::paid).collect();
    assert_eq!(signatures.len(), 64);
    assert_eq!((world.landed().len(), world.earned()), (64, 64 * PRICE));
}

#[test]
fn t02_a_payment_for_another_seller_or_a_higher_price_is_never_a_success() {
    let world = SolanaWorld::builder().server("settle_wait_seconds = 1").start();
    world.chain.drop_incoming(true).expect("sends are lost");
    let deal = world.deal(0);
    let signed = deal.official().sign(&deal.buyer);
    let signature = world.settle(&world.body(&deal, &signed)).pending();
    let more_expensive = schemes_svm::testkit::Deal {
        amount: PRICE * 1_000_000,
        ..deal.clone()
    };
    let elsewhere = schemes_svm::testkit::Deal {
        pay_to: schemes_svm::text::address(&world.chain.buyers[3].address).expect("an address"),
        ..deal.clone()
    };
    for other in [&more_expensive, &elsewhere] {
        let reply = world.settle(&world.body(other, &signed));
        assert!(!reply.is_success(), "{reply:?}");
        assert_eq!(reply.field("transaction"), "", "{reply:?}");
    }
    world.chain.drop_incoming(false).expect("sends arrive");
    let body = world.body(&deal, &signed);
    let paid = e2e::wait::until("it lands", e2e::wait::LONG, || {
        Some(world.settle(&body)).filter(Reply::is_success)
    });
    assert_eq!(paid.paid(), signature);
    for other in [&more_expensive, &elsewhere] {
        assert!(!world.settle(&world.body(other, &signed)).is_success());
    }
    assert_eq!((world.landed().len(), world.earned()), (1, PRICE));
}
