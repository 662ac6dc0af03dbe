//! Success is answered once, and only while the chain shows the transfer.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use devnet::Mining;
use e2e::payment::PRICE;
use e2e::{Fault, Reply, World, wait};
use serde_json::Value;

use super::{until_paid, world};

/// How long a payment that is gone is requested.
const ASKED_FOR: Duration = Duration::from_secs(4);

/// A payment that is recorded as paid and was reported to no caller.
fn paid_and_not_answered(world: &World) -> (Value, String) {
    let body = world.payment(2).v2();
    let hash = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 1).then_some(())
    });
    (body, hash)
}

/// A caller is not answered `success` while the chain has no transfer.
#[track_caller]
fn no_success_without_a_transfer(world: &World, settle: impl Fn() -> Reply) {
    let started = Instant::now();
    while started.elapsed() < ASKED_FOR {
        let reply = settle();
        assert_eq!(world.transfers(), 0, "nothing is mined meanwhile");
        assert!(
            !reply.is_success(),
            "answered without a transfer on chain: {reply:?}"
        );
    }
}

#[test]
fn t21_a_payment_that_is_reorganised_away_before_it_was_answered_is_no_success_after_a_restart() {
    let mut world = world(6).mining(Mining::Manual).start();
    let (body, hash) = paid_and_not_answered(&world);
    world.facilitator.kill();
    world.chain.reorg(1).expect("the newest block is replaced");
    world.facilitator.restart();
    no_success_without_a_transfer(&world, || world.settle(&body));
    world.wait_sent(1);
    world.chain.mine(1).expect("mines");
    assert_eq!(until_paid(|| world.settle(&body)), hash);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn t21_a_payment_that_is_reorganised_away_before_it_was_answered_is_no_success() {
    let world = world(6).mining(Mining::Manual).start();
    let (body, hash) = paid_and_not_answered(&world);
    world.chain.reorg(1).expect("the newest block is replaced");
    no_success_without_a_transfer(&world, || world.settle(&body));
    world.wait_sent(1);
    world.chain.mine(1).expect("mines");
    assert_eq!(until_paid(|| world.settle(&body)), hash);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn t21_the_replay_of_a_payment_that_is_reorganised_away_is_no_success() {
    let world = world(6).start();
    let body = world.payment(2).v2();
    let settle = || {
        let headers = [("idempotency-key", "a key that nobody guesses")];
        let client = world.facilitator.client();
        client
            .post("/settle", body.to_string().as_bytes(), &headers)
            .expect("an answer")
    };
    let hash = settle().paid();
    assert_eq!(until_paid(settle), hash, "a replay");
    world.chain.set_mining(Mining::Manual).expect("set");
    world.chain.reorg(1).expect("the newest block is replaced");
    no_success_without_a_transfer(&world, settle);
    world.wait_sent(1);
    world.chain.mine(1).expect("mines");
    // A caller that waited for it to land again is a duplicate; a later caller gets the replay.
    let replayed = wait::until("a replay", wait::LONG, || {
        // Not so often that the address is limited.
        std::thread::sleep(Duration::from_millis(200));
        let reply = settle();
        assert_eq!(reply.field("transaction"), hash, "{reply:?}");
        reply.is_success().then(|| reply.paid())
    });
    assert_eq!(replayed, hash);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

/// Sends a settle and hangs up soon, before any answer.
fn hang_up(world: &World, body: &Value, stays: Duration) {
    let address = world.facilitator.url().replace("http://", "");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let text = body.to_string();
    write!(
        stream,
        "POST /settle HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    )
    .expect("written");
    std::thread::sleep(stays);
}

#[test]
fn a_success_whose_caller_hangs_up_goes_to_the_next_caller() {
    let world = world(40).mining(Mining::Manual).buyers(16).start();
    let bodies: Vec<Value> = (2..16).map(|buyer| world.payment(buyer).v2()).collect();
    for reply in world.settle_all(&bodies) {
        let _ = reply.pending();
    }
    world.chain.mine(1).expect("mines");
    wait::until("all are recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") == 14).then_some(())
    });
    // Whatever is read for the release takes longer than the caller stays.
    world.proxy.on("*", Fault::Delay(Duration::from_millis(400)));
    for (turn, body) in (0..).zip(&bodies) {
        hang_up(&world, body, Duration::from_millis(turn));
    }
    std::thread::sleep(Duration::from_secs(2));
    world.proxy.heal();
    for body in &bodies {
        let _ = until_paid(|| world.settle(body));
    }
    assert_eq!((world.sent(), world.transfers()), (14, 14));
}
