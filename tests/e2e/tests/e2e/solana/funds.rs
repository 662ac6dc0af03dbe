//! Fee payers: which one is offered, and that every one that was offered is honoured.

use e2e::SolanaWorld;
use e2e::solana::PRICE;
use schemes_svm::text;

fn offered(world: &SolanaWorld) -> String {
    let supported = world.facilitator.get("/supported").json;
    let kinds = supported["kinds"].as_array().expect("kinds").clone();
    let kind = kinds
        .iter()
        .find(|kind| kind["x402Version"] == 2)
        .expect("a v2 kind");
    kind["extra"]["feePayer"]
        .as_str()
        .expect("a fee payer")
        .to_owned()
}

#[test]
fn t59_an_unfunded_fee_payer_is_not_offered_and_payments_built_on_it_are_still_taken() {
    let world = SolanaWorld::builder()
        .fee_payers(2)
        .network("options = { max_clock_skew_s = 0, low_balance_lamports = 10000000 }")
        .start();
    let first = offered(&world);
    let keys = &world.chain.fee_payers[..2];
    assert!(keys.iter().any(|key| key.address == first));
    // Enough for this payment and not for many more.
    world.chain.set_lamports(&first, 5_000_000).expect("it is spent");
    e2e::wait::until("another is offered", e2e::wait::LONG, || {
        (offered(&world) != first).then_some(())
    });
    // A buyer that has the offer of a minute ago.
    let deal = schemes_svm::testkit::Deal {
        fee_payer: text::address(&first).expect("an address"),
        ..world.deal(0)
    };
    let body = world.body(&deal, &deal.official().sign(&deal.buyer));
    world.verify(&body).valid();
    let _ = world.settle(&body).paid();
    assert_eq!(world.earned(), PRICE);
}

#[test]
fn t47_a_fee_payer_of_another_sender_is_refused() {
    let world = SolanaWorld::builder()
        .chain(|options| options.fee_payers = 2)
        .start();
    let deal = schemes_svm::testkit::Deal {
        fee_payer: text::address(&world.chain.fee_payers[1].address).expect("an address"),
        ..world.deal(0)
    };
    let body = world.body(&deal, &deal.official().sign(&deal.buyer));
    world.untouched(|| {
        let reason = schemes_svm::exact::reason::FEE_PAYER_NOT_MANAGED;
        world.verify(&body).refused(reason);
        world.settle(&body).refused(reason);
    });
}
