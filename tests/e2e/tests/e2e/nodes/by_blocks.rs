//! Payments whose polls follow the chain's blocks, as by default: fewer calls, the same answers.

use std::thread::sleep;
use std::time::Duration;

use devnet::{Devnet, Mining};
use e2e::{World, wait};

use crate::reason;

/// Heads are read every five seconds until the block time is known.
const LEARNED: Duration = Duration::from_secs(17);

fn learned(server: &str, network: &str) -> World {
    let world = World::builder()
        .server(server)
        .network(network)
        .follow_blocks()
        .mining(Mining::Every(1))
        .start();
    sleep(LEARNED);
    world
}

#[test]
fn t21_a_reorganisation_after_success_is_noticed_and_the_payment_lands_again_once() {
    let world = learned("", "finality = 30");
    let body = world.payment(2).v2();
    let hash = world.settle(&body).paid();
    world.chain.reorg(1).expect("the newest block is replaced");
    wait::until("the loss is noticed", wait::LONG, || {
        world.facilitator.log().contains("reorganised away").then_some(())
    });
    assert!(!world.settle(&body).is_success(), "never a second success");
    wait::until("it lands again", wait::LONG, || {
        (world.transfers() == 1).then_some(())
    });
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    assert_eq!(world.sent(), 1);
}

#[test]
fn t43_a_node_that_becomes_one_of_another_chain_decides_nothing() {
    let other = Devnet::of_chain(8453).expect("the chain starts");
    let signer = &other.facilitators[0].address;
    other.set_nonce(signer, 50).expect("set");
    other.mine(300).expect("mines");
    let world = learned("settle_wait_seconds = 1", "finality = 4");
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = world.payment(2).v2();
    let hash = world.settle(&body).pending();
    world.proxy.point_at(other.url());
    for _ in 0..6 {
        let reply = world.settle(&body);
        assert!(
            reply.status == 503 || reply.pending() == hash,
            "no answer of another chain counts: {reply:?}"
        );
    }
    assert_eq!(other.pending_count(signer).expect("the node answers"), 50);
    world.proxy.point_at(world.chain.url());
    world.chain.set_mining(Mining::Every(1)).expect("set");
    let paid = wait::until("success", wait::LONG, || {
        Some(world.settle(&body)).filter(e2e::Reply::is_success)
    });
    assert_eq!(paid.paid(), hash);
    world.wait_slots_closed();
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

#[test]
fn a_transaction_that_the_market_outbids_is_replaced_in_its_slot() {
    let world = learned(
        "settle_wait_seconds = 1",
        "stuck_after_seconds = 3\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }",
    );
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = world.payment(2).v2();
    let first = world.settle(&body).pending();
    let paid = wait::until("a better bid lands", wait::LONG, || {
        world
            .chain
            .set_next_block_base_fee(20_000_000_000)
            .expect("the price rises");
        world.chain.mine(1).expect("mines");
        Some(world.settle(&body)).filter(e2e::Reply::is_success)
    })
    .paid();
    assert_ne!(paid, first);
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

#[test]
fn a_signer_that_is_emptied_is_noticed_when_it_can_not_pay() {
    let world = learned("settle_wait_seconds = 1", "finality = 4");
    let signer = &world.chain.facilitators[0].address;
    world.chain.set_wei(signer, 1_000).expect("set");
    let reply = world.settle(&world.payment(2).v2());
    assert!(!reply.is_success(), "{reply:?}");
    wait::until("the network is not ready", wait::LONG, || {
        let ready = world.facilitator.get("/ready");
        (ready.status == 503).then_some(())
    });
    world
        .chain
        .set_wei(signer, 1_000_000_000_000_000_000)
        .expect("set");
    world.facilitator.wait_ready().expect("ready again");
    let body = world.payment(3).v2();
    let _ = world.settle(&body);
    wait::until("success", wait::LONG, || {
        let reply = world.settle(&body);
        (reply.is_success() || reply.field("errorReason") == reason::DUPLICATE).then_some(())
    });
}
