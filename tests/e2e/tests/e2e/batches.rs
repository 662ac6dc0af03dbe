//! Payments that wait for the signer at the same moment share a transaction: each is claimed, judged and answered on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use devnet::{MULTICALL3, Mining, USDC};
use e2e::payment::PRICE;
use e2e::{Blocks, Fault, Reply, World, wait};
use serde_json::Value;

use crate::permit2::{approve, exact};
use crate::tenants::{post, tenant};

const SEND: &str = "eth_sendRawTransaction";
/// `invalid_exact_evm_transaction_failed`.
const FAILED: &str = "invalid_exact_evm_transaction_failed";

/// Blocks come by hand; the first buyers pay one thing each.
fn world(buyers: u16) -> World {
    World::builder()
        .mining(Mining::Manual)
        .buyers(buyers)
        .network("max_batch = 32\nfinality = 8\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }")
        .start()
}

fn bodies(world: &World, count: usize) -> Vec<Value> {
    (0..count).map(|buyer| world.payment(2 + buyer).v2()).collect()
}

/// Settles all at once, and mines one block when each of them is in a transaction at the node.
fn settle_in_one_block(world: &World, bodies: &[Value], before_block: impl FnOnce(&World)) -> Vec<Reply> {
    std::thread::scope(|scope| {
        let settles = scope.spawn(|| world.settle_all(bodies));
        wait_for_all(world, bodies.len());
        before_block(world);
        world.chain.mine(1).expect("mines");
        settles.join().expect("joins")
    })
}

/// Waits until transactions with so many payments are at the node.
fn wait_for_all(world: &World, payments: usize) {
    wait::until("all payments are sent", wait::LONG, || {
        // In this order: a transaction that is recorded in between is not expected too early.
        let with_others = world.metric("switchyard_batched_steps_total", "");
        let shared = world.metric("switchyard_batches_total", "");
        let recorded = world.sent();
        let expected = u128::from(shared) + payments as u128 - u128::from(with_others);
        (with_others > 0 && recorded == expected).then_some(())
    });
}

/// A world with a tenant that takes a hash for an answer and lets its payments wait for each other.
fn gathering(mining: Mining, network: &str, gather_ms: u64) -> World {
    let more = format!("wait_until = \"submitted\"\ngather_ms = {gather_ms}");
    World::builder()
        .mining(mining)
        .buyers(16)
        .network(network)
        .more(&tenant("many", "key-many", &more))
        .start()
}

/// Settles all at once, for that tenant.
fn settle_gathering(world: &World, bodies: &[Value]) -> Vec<Reply> {
    std::thread::scope(|scope| {
        let settles: Vec<_> = bodies
            .iter()
            .map(|body| scope.spawn(|| post(world, "/settle", body, "key-many")))
            .collect();
        let joined = settles.into_iter().map(|settle| settle.join().expect("joins"));
        joined.collect()
    })
}

/// Settles again until the reply is `success`.
fn settled(world: &World, body: &Value) -> Reply {
    wait::until("success", wait::LONG, || {
        let reply = post(world, "/settle", body, "key-many");
        reply.is_success().then_some(reply)
    })
}

#[test]
fn a_tenant_in_queued_mode_gets_one_hash_for_payments_that_gather() {
    let world = gathering(
        Mining::Manual,
        "max_batch = 6\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }",
        3_000,
    );
    let bodies = bodies(&world, 6);
    let replies = settle_gathering(&world, &bodies);
    let hashes: BTreeSet<String> = replies.iter().map(Reply::pending).collect();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
    // The hash is answered once it is recorded, and the node gets the transaction after that.
    wait::until("the payments are confirmed", wait::LONG, || {
        world.chain.mine(1).expect("mines");
        (world.transfers() == 6).then_some(())
    });
    assert_eq!(world.sent(), 1);
    let replies: Vec<Reply> = bodies.iter().map(|body| settled(&world, body)).collect();
    let named = log_indices(&replies);
    assert_eq!(
        named.keys().collect::<Vec<_>>(),
        hashes.iter().collect::<Vec<_>>()
    );
    assert_eq!(world.earned(), 6 * PRICE);
}

/// Permits have no log of their own: those of one payer go apart, also from its other payments.
#[test]
fn payments_by_permit2_share_a_transaction_with_other_payers() {
    let world = gathering(
        Mining::Auto,
        "max_batch = 32\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }",
        3_000,
    );
    for buyer in 2..5 {
        approve(&world, buyer);
    }
    let settle = |bodies: &[Value]| -> Vec<Reply> {
        let first = settle_gathering(&world, bodies).into_iter().zip(bodies);
        first
            .map(|(reply, body)| {
                if reply.is_success() {
                    reply
                } else {
                    settled(&world, body)
                }
            })
            .collect()
    };
    let permits: Vec<Value> = (2..5).map(|buyer| exact(&world.payment(buyer))).collect();
    let replies = settle(&permits);
    let by_hash = log_indices(&replies);
    assert_eq!((by_hash.len(), world.sent(), world.transfers()), (1, 1, 3));
    assert_eq!(by_hash[&replies[0].paid()].len(), 3, "a transfer for each");
    assert!(replies[0].json["extra"]["nonce"].is_string());
    let of_one_payer = settle(&[exact(&world.payment(2)), world.payment(2).v2()]);
    assert_ne!(of_one_payer[0].paid(), of_one_payer[1].paid());
    assert_eq!((world.sent(), world.earned()), (3, 5 * PRICE));
}

/// A network without Multicall3 is tried once: then payments go one by one without another try.
#[test]
fn without_multicall_payments_go_one_by_one() {
    let world = gathering(
        Mining::Manual,
        "max_batch = 32\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }",
        500,
    );
    world.chain.set_code(MULTICALL3, "0x").expect("set");
    for buyers in [2..6, 6..10] {
        let bodies: Vec<Value> = buyers.map(|buyer| world.payment(buyer).v2()).collect();
        let replies = settle_gathering(&world, &bodies);
        let hashes: BTreeSet<String> = replies.iter().map(Reply::pending).collect();
        assert_eq!(hashes.len(), 4);
        world.chain.mine(1).expect("mines");
    }
    wait::until("all payments are made", wait::LONG, || {
        world.chain.mine(1).expect("mines");
        (world.transfers() == 8).then_some(())
    });
    let tries = world.facilitator.log().matches("payments go one by one").count();
    assert_eq!(tries, 1, "{}", world.facilitator.log());
}

/// Positions of logs in the block that prove payments, by transaction; each once.
fn log_indices(replies: &[Reply]) -> BTreeMap<String, BTreeSet<u64>> {
    let mut by_hash: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for reply in replies.iter().filter(|reply| reply.is_success()) {
        let named = reply.json["extra"]["logIndices"].as_array().cloned();
        for index in named.unwrap_or_default() {
            let index = index.as_u64().expect("a position");
            assert!(
                by_hash.entry(reply.paid()).or_default().insert(index),
                "one log pays twice: {reply:?}"
            );
        }
    }
    by_hash
}

#[test]
fn sixty_four_distinct_payments_land_in_one_block_through_one_signer() {
    let world = world(66);
    let bodies = bodies(&world, 64);
    let replies = settle_in_one_block(&world, &bodies, |_| {});
    let hashes: BTreeSet<String> = replies.iter().map(Reply::paid).collect();
    assert!(hashes.len() < 16, "{} transactions for 64 payments", hashes.len());
    assert_eq!(world.mined(), hashes.len() as u128);
    assert_eq!((world.transfers(), world.earned()), (64, 64 * PRICE));
    let named: usize = log_indices(&replies).values().map(BTreeSet::len).sum();
    let shared = world.metric("switchyard_batched_steps_total", "");
    assert_eq!(
        named as u64,
        shared * 2,
        "a use and a transfer for each shared payment"
    );
    // The fixed cost of a transaction is shared.
    let mut payments: BTreeMap<String, u64> = BTreeMap::new();
    for reply in &replies {
        *payments.entry(reply.paid()).or_default() += 1;
    }
    let gas_of_each = |at_least: u64| {
        let mut of_size = payments.iter().filter(|(_, count)| **count >= at_least);
        let (hash, count) = of_size.next().expect("a transaction of that size");
        gas_used(&world, hash) / count
    };
    let (alone, shared) = (gas_alone(&world), gas_of_each(10));
    println!("gas of a payment: {alone} alone, {shared} with at least nine others");
    assert!(shared < alone, "{shared} of {alone}");
    // Each is released once.
    for (body, first) in bodies.iter().zip(&replies) {
        let again = world.settle(body);
        assert_eq!(again.failed(crate::reason::DUPLICATE), first.paid());
    }
}

fn gas_used(world: &World, hash: &str) -> u64 {
    let receipt = world
        .chain
        .receipt(hash)
        .expect("the node answers")
        .expect("it landed");
    let used = receipt["gasUsed"].as_str().expect("gas");
    u64::from_str_radix(used.trim_start_matches("0x"), 16).expect("a number")
}

/// Of a payment that has a transaction of its own.
fn gas_alone(world: &World) -> u64 {
    let body = world.payment(2).v2();
    let reply = std::thread::scope(|scope| {
        let before = world.sent();
        let settle = scope.spawn(|| world.settle(&body));
        world.wait_sent(before + 1);
        world.chain.mine(1).expect("mines");
        settle.join().expect("joins")
    });
    gas_used(world, &reply.paid())
}

#[test]
fn t125_payments_of_one_transaction_have_replies_that_differ() {
    let world = world(14);
    // Two payments of each of six payers.
    let mut bodies = bodies(&world, 6);
    bodies.extend(self::bodies(&world, 6));
    let replies = settle_in_one_block(&world, &bodies, |_| {});
    let mut seen = BTreeSet::new();
    for (body, reply) in bodies.iter().zip(&replies) {
        let hash = reply.paid();
        let extra = &reply.json["extra"];
        if extra.is_object() {
            let nonce = &body["paymentPayload"]["payload"]["authorization"]["nonce"];
            assert_eq!(extra["nonce"], *nonce);
        }
        assert!(seen.insert((hash, extra.to_string())), "{reply:?}");
    }
    assert_eq!((world.transfers(), world.earned()), (12, 12 * PRICE));
    assert!(log_indices(&replies).values().any(|of_one| of_one.len() >= 4));
}

#[test]
fn payments_that_fail_on_chain_fail_alone() {
    let world = world(66);
    let bodies = bodies(&world, 64);
    let poor = [9, 20, 31, 42, 53];
    let replies = settle_in_one_block(&world, &bodies, |world| {
        for at in poor {
            // The payer's tokens are gone when the block comes.
            let payer = &world.chain.buyers[2 + at].address;
            world.chain.set_blacklisted(USDC, payer, true).expect("set");
        }
    });
    for (at, reply) in replies.iter().enumerate() {
        if poor.contains(&at) {
            let hash = reply.failed(FAILED);
            assert!(
                world.chain.receipt(&hash).expect("answers").is_some(),
                "{reply:?}"
            );
        } else {
            let _ = reply.paid();
        }
    }
    assert_eq!((world.transfers(), world.earned()), (59, 59 * PRICE));
    // The authorization is unused: it pays once the payer may pay again.
    let payer = &world.chain.buyers[2 + poor[0]].address;
    world.chain.set_blacklisted(USDC, payer, false).expect("set");
    world.chain.mine(8).expect("mines");
    world.wait_slots_closed();
    world.chain.set_mining(Mining::Auto).expect("set");
    let _ = world.settle(&bodies[poor[0]]).paid();
    assert_eq!((world.transfers(), world.earned()), (60, 60 * PRICE));
}

/// A stranger makes some of several payments of one payer while they are in a transaction together. The logs of that transaction
/// have the payer's other payments, and say nothing of these.
#[test]
fn t33_payments_in_a_batch_that_a_stranger_makes_first_are_found_beside_others_of_their_payer() {
    let world = world(12);
    let payments: Vec<_> = (0..8).map(|_| world.payment(2)).collect();
    let bodies: Vec<Value> = payments.iter().map(e2e::Payment::v2).collect();
    // One of them may go alone.
    let stolen = [1, 3, 5];
    let stranger = &world.chain.facilitators[1].address;
    let replies = std::thread::scope(|scope| {
        let settles = scope.spawn(|| world.settle_all(&bodies));
        wait_for_all(&world, bodies.len());
        let theirs = stolen.map(|at| {
            let calldata = payments[at].calldata();
            let hash = world
                .chain
                .enqueue(stranger, USDC, &calldata, 200_000, 20_000_000_000);
            (at, hash.expect("taken"))
        });
        let blocks = Blocks::every(&world.chain, Duration::from_millis(200));
        for (at, theirs) in theirs {
            let reply = wait::until("an answer for a stolen payment", wait::LONG, || {
                let reply = world.settle(&bodies[at]);
                (reply.json["errorReason"] != "settlement_pending").then_some(reply)
            });
            assert!(reply.text.contains(&theirs), "{reply:?}");
        }
        drop(blocks);
        settles.join().expect("joins")
    });
    for (at, reply) in replies.iter().enumerate() {
        assert!(stolen.contains(&at) || reply.is_success(), "{at}: {reply:?}");
    }
    assert_eq!((world.transfers(), world.earned()), (8, 8 * PRICE));
}

#[test]
fn a_kill_between_the_commit_and_the_send_of_a_batch_loses_and_repeats_nothing() {
    let mut world = world(26);
    let bodies = bodies(&world, 24);
    world.proxy.on(SEND, Fault::Refuse);
    let callers: Vec<_> = bodies
        .iter()
        .map(|body| {
            let (client, text) = (world.facilitator.client().clone(), body.to_string());
            std::thread::spawn(move || client.post("/settle", text.as_bytes(), &[]))
        })
        .collect();
    wait::until("a batch is recorded", wait::LONG, || {
        (world.metric("switchyard_batched_steps_total", "") >= 2).then_some(())
    });
    world.facilitator.kill();
    for caller in callers {
        assert!(caller.join().expect("joins").is_err(), "nobody was answered");
    }
    assert_eq!(world.sent(), 0);
    world.proxy.heal();
    world.facilitator.restart();
    world.chain.set_mining(Mining::Auto).expect("set");
    let replies = world.settle_all(&bodies);
    for reply in &replies {
        let _ = reply.paid();
    }
    assert_eq!((world.transfers(), world.earned()), (24, 24 * PRICE));
}

#[test]
fn a_reorganisation_that_takes_a_batch_apart_pays_each_once() {
    let world = world(26);
    let bodies = bodies(&world, 24);
    let replies = settle_in_one_block(&world, &bodies, |_| {});
    for reply in &replies {
        let _ = reply.paid();
    }
    // The block is replaced by an empty one, and the tokens of one payer are frozen: its call fails when the transaction
    // lands again.
    world.chain.reorg(1).expect("replaced");
    let frozen = &world.chain.buyers[2 + 7].address;
    world.chain.set_blacklisted(USDC, frozen, true).expect("set");
    wait::until("the others have landed again", wait::LONG, || {
        world.chain.mine(1).expect("mines");
        (world.transfers() >= 23).then_some(())
    });
    // The payment that fails may have gone alone, after the others: its transaction needs blocks of its own.
    world.mine_until_slots_closed();
    assert_eq!((world.transfers(), world.earned()), (23, 23 * PRICE));
    for (at, body) in bodies.iter().enumerate() {
        let reply = world.settle(body);
        assert!(
            !reply.is_success(),
            "{at}: it was answered success before: {reply:?}"
        );
    }
    assert_eq!((world.transfers(), world.earned()), (23, 23 * PRICE));
}
