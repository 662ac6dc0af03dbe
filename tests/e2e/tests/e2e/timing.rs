//! Blocks that come late or not at all, retries, and chains that change their mind.

use std::time::{Duration, Instant};

use devnet::{Mining, USDC};
use e2e::payment::PRICE;
use e2e::{Fault, Payment, Reply, World, wait};
use serde_json::json;

use crate::reason;

const STRANGER: &str = "0x00000000000000000000000000000000000057a9";

fn impatient() -> World {
    World::builder()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .start()
}

#[test]
fn pending_then_retry_is_one_release() {
    let world = impatient();
    let body = world.payment(2).v2();
    let hash = world.settle(&body).pending();
    world.verify(&body).valid();
    assert_eq!(
        world.settle(&body).pending(),
        hash,
        "the retry waits for the same transaction"
    );
    world.chain.mine(1).expect("mines");
    let replies = world.settle_all(&vec![body; 8]);
    let (paid, others): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.is_success());
    assert_eq!(paid.len(), 1, "{replies:?}");
    assert_eq!(paid[0].paid(), hash);
    for other in others {
        assert_eq!(other.failed(reason::DUPLICATE), hash);
    }
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn t02_a_pending_payment_is_good_for_its_seller_and_its_amount_only() {
    let world = impatient();
    let payment = world.payment(2);
    let hash = world.settle(&payment.v2()).pending();
    let elsewhere = Payment {
        pay_to: STRANGER.to_owned(),
        ..payment.clone()
    };
    let more_expensive = Payment {
        amount: PRICE * 1_000_000,
        ..payment.clone()
    };
    // As a buyer would who also writes `accepted` the way that suits it.
    for body in [
        elsewhere.v2(),
        more_expensive.v2(),
        elsewhere.v1(),
        more_expensive.v1(),
    ] {
        for _ in 0..2 {
            let reply = world.settle(&body);
            reply.refused(reason::NONCE_USED);
            assert!(
                !reply.text.contains(&hash),
                "a stranger learns no hash: {reply:?}"
            );
            assert_eq!(world.verify(&body).json["isValid"], false);
        }
        if world.transfers() == 0 {
            world.chain.mine(1).expect("mines");
            wait::until("it lands", wait::LONG, || (world.transfers() == 1).then_some(()));
        }
    }
    assert_eq!(world.settle(&payment.v2()).paid(), hash);
    for body in [elsewhere.v2(), more_expensive.v2()] {
        world.settle(&body).refused(reason::NONCE_USED);
    }
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
    assert_eq!(world.balance(STRANGER), 0);
}

#[test]
fn t04_receipts_that_never_come_are_pending_with_the_hash() {
    let world = World::builder().server("settle_wait_seconds = 1").start();
    world.proxy.on("eth_getTransactionReceipt", Fault::Refuse);
    let body = world.payment(2).v2();
    let hash = world.settle(&body).pending();
    assert!(
        world.chain.receipt(&hash).expect("the node answers").is_some(),
        "the money moved"
    );
    world.proxy.heal();
    assert_eq!(world.settle(&body).paid(), hash);
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

#[test]
fn t14_a_node_that_forgets_a_receipt_after_success_takes_nothing_back() {
    let world = World::builder()
        .network("confirmations = 1\nfinality = 3")
        .start();
    let body = world.payment(2).v2();
    let hash = world.settle(&body).paid();
    world
        .proxy
        .on("eth_getTransactionReceipt", Fault::Answer(json!(null)));
    world.proxy.forget();
    wait::until("it is polled several times", wait::LONG, || {
        // By its block, since it was seen there.
        (world.proxy.calls_of("eth_getTransactionCount") >= 4).then_some(())
    });
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    world.proxy.heal();
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

#[test]
fn payments_are_answered_on_a_chain_with_two_second_blocks() {
    let world = World::builder().mining(Mining::Every(2)).start();
    let bodies: Vec<_> = (2..6).map(|buyer| world.payment(buyer).v2()).collect();
    for reply in world.settle_all(&bodies) {
        let _ = reply.paid();
    }
    assert_eq!(
        (world.sent(), world.transfers(), world.earned()),
        (4, 4, 4 * PRICE)
    );
}

#[test]
fn a_chain_that_stops_for_a_minute_includes_the_payment_once_when_it_resumes() {
    let world = World::builder()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 10")
        .start();
    let body = world.payment(2).v2();
    let started = Instant::now();
    let mut hashes = Vec::new();
    // Every retry waits its ten seconds and is answered that the payment is pending.
    while started.elapsed() < Duration::from_secs(60) {
        hashes.push(world.settle(&body).pending());
    }
    assert_eq!(world.sent(), 1, "replacements keep their slot");
    world.chain.set_mining(Mining::Auto).expect("mining starts");
    world.chain.mine(1).expect("mines");
    let paid = world.settle(&body).paid();
    let receipt = world
        .chain
        .receipt(&paid)
        .expect("the node answers")
        .expect("a receipt");
    assert_eq!(receipt["status"], "0x1");
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
    assert!(hashes.iter().all(|hash| hash.len() == 66));
}

#[test]
fn a_transaction_that_the_market_outbids_is_replaced_in_its_slot() {
    let world = World::builder()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .network("stuck_after_seconds = 1")
        .start();
    let body = world.payment(2).v2();
    let first = world.settle(&body).pending();
    // Blocks come, and each is too expensive for the first bid.
    let paid = wait::until("a better bid lands", wait::LONG, || {
        world
            .chain
            .set_next_block_base_fee(20_000_000_000)
            .expect("the price rises");
        world.chain.mine(1).expect("mines");
        Some(world.settle(&body)).filter(Reply::is_success)
    })
    .paid();
    assert_ne!(paid, first);
    assert!(world.chain.receipt(&first).expect("the node answers").is_none());
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn t32_the_first_of_several_bids_may_land_and_is_found() {
    let world = World::builder()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .network("stuck_after_seconds = 1")
        .start();
    // Bids are journaled, and take a while before a node gets them.
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    let body = world.payment(2).v2();
    let first = world.settle(&body).pending();
    wait::until("a better bid", wait::LONG, || {
        world.chain.mine(1).expect("mines");
        Some(world.settle(&body).pending()).filter(|hash| *hash != first)
    });
    let mut sends = world.proxy.trips();
    sends.retain(|trip| trip.methods == ["eth_sendRawTransaction"]);
    let arrived = world
        .chain
        .rpc()
        .call("eth_sendRawTransaction", sends[0].body["params"].clone());
    assert_eq!(arrived.expect("the node takes it"), first.as_str());
    world.chain.mine(1).expect("mines");
    assert_eq!(world.transfers(), 1, "the first bid landed");
    let paid = wait::until("it is found", wait::LONG, || {
        Some(world.settle(&body)).filter(Reply::is_success)
    });
    assert_eq!(paid.paid(), first);
    world.proxy.heal();
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn t21_a_payment_that_is_reorganised_away_after_success_is_noticed_and_lands_again_once() {
    let world = World::start();
    let body = world.payment(2).v2();
    let hash = world.settle(&body).paid();
    world.chain.reorg(1).expect("the newest block is replaced");
    assert_eq!(world.transfers(), 0, "the payment is gone");
    wait::until("the loss is noticed", wait::LONG, || {
        world.facilitator.log().contains("reorganised away").then_some(())
    });
    let metrics = world.facilitator.get("/metrics").text;
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("switchyard_reorgs_total") && !line.ends_with(" 0"))
    );
    assert!(!world.settle(&body).is_success(), "never a second success");
    wait::until("it lands again", wait::LONG, || {
        (world.transfers() == 1).then_some(())
    });
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    assert_eq!((world.sent(), world.earned()), (1, PRICE));
}

#[test]
fn an_answer_waits_for_the_configured_confirmations() {
    let world = World::builder()
        .network("confirmations = 3")
        .server("settle_wait_seconds = 1")
        .start();
    let body = world.payment(2).v2();
    let hash = world.settle(&body).pending();
    assert_eq!(world.transfers(), 1, "it landed, not deep enough");
    world.chain.mine(2).expect("mines");
    assert_eq!(world.settle(&body).paid(), hash);
}

#[test]
fn t33_a_payment_that_another_sender_carries_out_after_ours_was_journaled_is_paid_with_their_hash() {
    let world = World::start();
    let payment = world.payment(2);
    let body = payment.v2();
    world.proxy.on("eth_sendRawTransaction", Fault::Refuse);
    let (reply, foreign) = std::thread::scope(|scope| {
        let settle = scope.spawn(|| world.settle(&body));
        world.proxy.wait_for("eth_sendRawTransaction");
        let foreign = world
            .chain
            .send(&world.chain.facilitators[1].address, USDC, &payment.calldata())
            .expect("sent");
        world.proxy.heal();
        (settle.join().expect("joins"), foreign)
    });
    assert_eq!(reply.paid(), foreign["transactionHash"].as_str().expect("a hash"));
    let elsewhere = Payment {
        pay_to: STRANGER.to_owned(),
        ..payment
    };
    world.settle(&elsewhere.v2()).refused(reason::NONCE_USED);
    assert_eq!((world.transfers(), world.earned()), (1, PRICE));
}

#[test]
fn t33_an_authorization_used_before_ours_was_journaled_is_a_replay() {
    let world = World::start();
    let payment = world.payment(2);
    world
        .chain
        .send(&world.chain.facilitators[1].address, USDC, &payment.calldata())
        .expect("sent");
    world.untouched(|| {
        world.verify(&payment.v2()).refused(reason::NONCE_USED);
        world.settle(&payment.v2()).refused(reason::NONCE_USED);
    });
}

#[test]
fn t34_an_authorization_cancelled_between_verify_and_settle_is_not_sent() {
    let world = World::start();
    let payment = world.payment(2);
    world.verify(&payment.v2()).valid();
    let cancel = payment.cancellation(&world.chain);
    world
        .chain
        .send(&world.chain.facilitators[1].address, USDC, &cancel)
        .expect("cancelled");
    world.untouched(|| world.settle(&payment.v2()).refused(reason::NONCE_USED));
}

#[test]
fn t20_times_are_judged_by_the_chain_where_its_clock_is_ahead() {
    let world = World::builder()
        .network("options = { max_clock_skew_s = 0 }")
        .start();
    let payment = world.payment(2);
    world.verify(&payment.v2()).valid();
    world.chain.increase_time(3_600).expect("the chain's clock moves");
    world.chain.mine(1).expect("mines");
    world.untouched(|| {
        let reason = "invalid_exact_evm_payload_authorization_valid_before";
        world.verify(&payment.v2()).refused(reason);
        world.settle(&payment.v2()).refused(reason);
    });
}

#[test]
fn t40_a_gas_price_beyond_the_limit_refuses_before_anything_is_sent() {
    // 80 000 gas at 100 gwei and more are 0.008 ETH and more.
    let world = World::builder()
        .network("max_cost = \"1000000000000000\"")
        .start();
    let body = world.payment(2).v2();
    world
        .chain
        .set_next_block_base_fee(100_000_000_000)
        .expect("the price rises");
    world.chain.mine(1).expect("mines");
    world.untouched(|| {
        let reply = world.settle(&body);
        reply.is_object_of_the_protocol();
        assert_eq!(reply.status, 503, "nothing was started: {reply:?}");
        let error = reply.field("error");
        assert!(
            error.contains("try again later") && !error.contains("max_cost"),
            "the error is for the seller, not the operator: {error}"
        );
    });
    let log = world.facilitator.log();
    assert!(log.contains("raise the network's max_cost"), "{log}");
    world
        .chain
        .set_next_block_base_fee(1_000_000_000)
        .expect("the price falls");
    world.chain.mine(1).expect("mines");
    wait::until("it is cheap enough again", wait::LONG, || {
        Some(world.settle(&body)).filter(Reply::is_success)
    });
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}
