//! Nodes of another chain, and heads that no block confirms.

use std::time::Duration;

use devnet::{Devnet, Mining, Options};
use e2e::payment::PRICE;
use e2e::raw::RawTransaction;
use e2e::{Blocks, Facilitator, Fault, Payment, Proxy, Reply, Settings, wait};

use super::{BLOCK, escrow_world, held, order, settle_down, state, until_paid, world};
use crate::reason;

/// Longer and busier than ours.
const BLOCKS_THERE: u64 = 300;
const NONCE_THERE: u64 = 128;

/// Another chain, on which the facilitator's key has sent a lot.
fn elsewhere() -> Devnet {
    let chain = Devnet::of_chain(8453).expect("the chain starts");
    chain
        .set_nonce(&chain.facilitators[0].address, NONCE_THERE)
        .expect("set");
    chain.mine(BLOCKS_THERE).expect("mines");
    chain
}

/// One payment, in the first slot of the signer, and nothing else.
fn pays_in_the_first_slot(chain: &Devnet, facilitator: &Facilitator, proxies: &[&Proxy]) {
    let body = Payment::new(&chain.buyers[2], &chain.merchant.address).v2();
    let _ = until_paid(|| facilitator.settle(&body));
    let signer = &chain.facilitators[0].address;
    let mut sent: Vec<String> = proxies.iter().flat_map(|proxy| proxy.transactions()).collect();
    sent.sort();
    sent.dedup();
    let nonces: Vec<u128> = sent.iter().map(|raw| RawTransaction::read(raw).nonce).collect();
    assert_eq!(nonces, [0], "one transaction, in the first slot");
    assert_eq!(chain.pending_count(signer).expect("the node answers"), 1);
    let earned = chain.balance_of(devnet::USDC, &chain.merchant.address);
    assert_eq!(earned.expect("the node answers"), PRICE);
}

#[test]
fn t43_a_node_that_was_of_another_chain_at_the_start_leaves_the_lane_at_its_own_nonce() {
    let (chain, other) = (Devnet::start(Options::default()).expect("starts"), elsewhere());
    let proxy = Proxy::start(other.url()).expect("starts");
    let settings = Settings::new(&proxy.url(), &chain.facilitators[..1]);
    let facilitator = Facilitator::start_unready(&settings).expect("it starts all the same");
    wait::until("the check's verdict", wait::LONG, || {
        let ready = facilitator.get("/ready");
        assert_eq!(ready.status, 503, "{ready:?}");
        ready.text.contains("8453").then_some(())
    });
    proxy.point_at(chain.url());
    facilitator.wait_ready().expect("it recovers");
    pays_in_the_first_slot(&chain, &facilitator, &[&proxy]);
}

#[test]
fn t43_a_node_that_becomes_one_of_another_chain_frees_no_slot_of_a_capture() {
    let other = elsewhere();
    let world = escrow_world(2).start();
    let bound = held(&world, 2, 10_000, "another chain");
    world.chain.mine(4).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let sent = order(&world, &body).pending();
    world.proxy.point_at(other.url());
    let blocks = Blocks::every(&other, BLOCK);
    for _ in 0..6 {
        let reply = order(&world, &body);
        assert!(!reply.is_success(), "{reply:?}");
        if reply.status == 200 {
            assert_eq!(reply.pending(), sent);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(blocks);
    world.proxy.point_at(world.chain.url());
    world.facilitator.wait_ready().expect("it recovers");
    world.chain.mine(1).expect("mines");
    assert_eq!(until_paid(|| order(&world, &body)), sent);
    settle_down(&world, 6);
    assert_eq!((world.sent(), state(&world, &bound)), (2, (8_000, 2_000)));
    assert_eq!(
        world.proxy.transactions().len(),
        2,
        "hold and capture, each built once"
    );
}

#[test]
fn heads_far_in_the_future_for_a_second_do_not_prevent_a_higher_bid() {
    let world = world(2)
        .network(
            "finality = 2\nstuck_after_seconds = 1\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }",
        )
        .mining(Mining::Manual)
        .start();
    for method in ["eth_blockNumber", "eth_getBlockByNumber"] {
        world.proxy.on(method, Fault::HeadAhead(1_000_000));
    }
    // A head that was read before is not bid on any more.
    std::thread::sleep(Duration::from_millis(2_100));
    let body = world.payment(2).v2();
    let first = world.settle(&body).pending();
    world.proxy.heal();
    // That a bid is too low is known from blocks alone: the node does not report it.
    world.proxy.on("eth_sendRawTransaction", Fault::LoseAnswer);
    // Blocks come, and each is too expensive for the first bid.
    let blocks = Blocks::priced(&world.chain, BLOCK, 20_000_000_000);
    let paid = wait::until("a better bid lands", wait::LONG, || {
        Some(world.settle(&body)).filter(Reply::is_success)
    })
    .paid();
    drop(blocks);
    assert_ne!(paid, first);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn t21_a_head_far_in_the_future_makes_no_payment_final_and_a_reorganisation_is_noticed() {
    let world = world(6).start();
    for method in ["eth_blockNumber", "eth_getBlockByNumber"] {
        world.proxy.on(method, Fault::HeadAhead(1_000_000));
    }
    let body = world.payment(2).v2();
    let hash = until_paid(|| world.settle(&body));
    // Time for many polls: a reader that trusts the head calls the payment final now.
    std::thread::sleep(Duration::from_secs(1));
    world.proxy.heal();
    world.chain.reorg(1).expect("the newest block is replaced");
    assert_eq!(world.transfers(), 0, "the payment is gone");
    wait::until("it lands again", wait::LONG, || {
        (world.transfers() == 1).then_some(())
    });
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    assert_eq!((world.sent(), world.earned()), (1, PRICE));
}
