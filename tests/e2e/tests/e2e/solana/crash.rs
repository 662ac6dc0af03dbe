//! The process dies while money is on its way.

use e2e::solana::PRICE;
use e2e::{Fault, Reply, SolanaWorld, wait};

const STATUSES: &str = "getSignatureStatuses";

#[test]
fn t03_sigkill_after_the_broadcast_loses_nothing_and_sends_nothing_twice() {
    let mut world = SolanaWorld::start();
    let body = world.official(0, "crash");
    world.proxy.on(STATUSES, Fault::HoldAnswer);
    let client = world.facilitator.client().clone();
    let text = body.to_string();
    let caller = std::thread::spawn(move || client.post("/settle", text.as_bytes(), &[]));
    world.wait_landed(1);
    world.proxy.wait_for(STATUSES);
    world.facilitator.kill();
    assert!(caller.join().expect("joins").is_err(), "the caller got no answer");
    let original = world.landed()[0].signature.clone();
    world.proxy.heal();
    world.facilitator.restart();

    assert_eq!(world.settle(&body).paid(), original);
    assert_eq!(world.settle(&body).failed(super::DUPLICATE), original);
    assert_eq!((world.landed().len(), world.earned()), (1, PRICE));
}

#[test]
fn sigkill_while_nodes_lose_the_transaction_sends_the_same_bytes_again() {
    let mut world = SolanaWorld::builder().server("settle_wait_seconds = 1").start();
    world.chain.drop_incoming(true).expect("sends are lost");
    let body = world.official(0, "lost");
    let signature = world.settle(&body).pending();
    world.facilitator.kill();
    world.chain.drop_incoming(false).expect("sends arrive");
    world.facilitator.restart();
    let paid = wait::until("it lands", wait::LONG, || {
        Some(world.settle(&body)).filter(Reply::is_success)
    });
    assert_eq!(paid.paid(), signature);
    assert_eq!((world.landed().len(), world.earned()), (1, PRICE));
}

#[test]
fn t21_a_payment_that_a_fork_loses_lands_again_and_is_never_a_second_success() {
    let world = SolanaWorld::builder()
        .chain(|options| options.finalize_after = 400)
        .start();
    let body = world.official(0, "fork");
    let signature = world.settle(&body).paid();
    world.chain.forget(&signature).expect("a fork without it");
    wait::until("the loss is noticed", wait::LONG, || {
        world.facilitator.log().contains("reorganised away").then_some(())
    });
    wait::until("it lands again", wait::LONG, || {
        (world.earned() == PRICE).then_some(())
    });
    assert_eq!(world.settle(&body).failed(super::DUPLICATE), signature);
    assert_eq!(world.earned(), PRICE);
}
