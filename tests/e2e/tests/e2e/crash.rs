//! The process dies, is stopped or loses its journal while money is on its way.

use devnet::Mining;
use e2e::payment::PRICE;
use e2e::{Fault, World, wait};

use crate::reason;

const RECEIPT: &str = "eth_getTransactionReceipt";

/// Hash of the signer's first transaction, wherever it is.
fn first_transaction(world: &World) -> String {
    let signer = world.chain.facilitators[0].address.to_lowercase();
    let of = |block: &str| {
        let block = world
            .chain
            .rpc()
            .call("eth_getBlockByNumber", serde_json::json!([block, true]))
            .expect("a block");
        let all = block["transactions"].as_array().cloned().unwrap_or_default();
        let own = all.into_iter().find(|tx| {
            tx["from"]
                .as_str()
                .is_some_and(|from| from.eq_ignore_ascii_case(&signer))
        });
        own.and_then(|tx| tx["hash"].as_str().map(str::to_owned))
    };
    of("latest")
        .or_else(|| of("pending"))
        .expect("a transaction of the signer")
}

#[test]
fn t03_sigkill_after_the_broadcast_and_before_the_reply_loses_nothing() {
    let mut world = World::start();
    let body = world.payment(2).v2();
    world.proxy.on(RECEIPT, Fault::HoldAnswer);
    let client = world.facilitator.client().clone();
    let text = body.to_string();
    let caller = std::thread::spawn(move || client.post("/settle", text.as_bytes(), &[]));
    world.wait_sent(1);
    world.proxy.wait_for(RECEIPT);
    world.facilitator.kill();
    assert!(caller.join().expect("joins").is_err(), "the caller got no answer");
    let original = first_transaction(&world);
    world.proxy.heal();
    world.facilitator.restart();

    assert_eq!(world.settle(&body).paid(), original);
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), original);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn sigkill_while_the_transaction_waits_and_the_pool_forgets_it_sends_the_same_bytes_again() {
    let mut world = World::builder()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .start();
    let body = world.payment(2).v2();
    let hash = world.settle(&body).pending();
    world.facilitator.kill();
    world.chain.drop_all_transactions().expect("the pool is emptied");
    assert_eq!(world.sent(), 0);
    world.facilitator.restart();
    world.wait_sent(1);
    world.chain.mine(1).expect("mines");
    assert_eq!(world.settle(&body).paid(), hash);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn sigkill_before_anything_is_journaled_leaves_the_payment_as_good_as_new() {
    let mut world = World::start();
    let body = world.payment(2).v2();
    // The plan's reads never come back: nothing is decided yet.
    world.proxy.on("eth_estimateGas", Fault::HoldAnswer);
    let client = world.facilitator.client().clone();
    let text = body.to_string();
    let caller = std::thread::spawn(move || client.post("/settle", text.as_bytes(), &[]));
    world.proxy.wait_for("eth_estimateGas");
    world.untouched(|| world.proxy.trips());
    world.facilitator.kill();
    assert!(caller.join().expect("joins").is_err());
    world.proxy.heal();
    world.facilitator.restart();
    assert_eq!(world.sent(), 0);
    let _ = world.settle(&body).paid();
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

#[test]
fn t22_sigterm_lets_what_is_in_flight_finish_and_admits_nothing_new() {
    let mut world = World::builder().mining(Mining::Manual).start();
    let bodies: Vec<_> = (2..8).map(|buyer| world.payment(buyer).v2()).collect();
    let late = world.payment(8).v2().to_string();
    let replies = std::thread::scope(|scope| {
        let settles = scope.spawn(|| world.settle_all(&bodies));
        world.wait_sent(6);
        world.facilitator.terminate();
        // The signal arrives when it arrives: before that, the process would take new work.
        let client = world.facilitator.client();
        wait::until("it drains", wait::LONG, || match client.get("/ready") {
            Ok(reply) if reply.status == 200 => None,
            Ok(_) | Err(_) => Some(()),
        });
        // The port may be closed already, or still answer: 503 either way means "nothing was started".
        if let Ok(reply) = client.post("/settle", late.as_bytes(), &[]) {
            assert_eq!(reply.status, 503, "{reply:?}");
            assert!(reply.header("retry-after").is_some(), "{reply:?}");
        }
        world.chain.mine(1).expect("mines");
        settles.join().expect("joins")
    });
    let mut hashes: Vec<_> = replies.iter().map(e2e::Reply::paid).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 6);
    assert!(world.facilitator.wait_exit().success(), "a clean exit");
    assert_eq!((world.sent(), world.transfers()), (6, 6));
}

#[test]
fn t22_a_drain_that_runs_out_of_time_answers_with_the_hash_and_continues_after_the_restart() {
    let mut world = World::builder()
        .mining(Mining::Manual)
        .server("drain_seconds = 1\nsettle_wait_seconds = 2")
        .start();
    let body = world.payment(2).v2();
    let reply = std::thread::scope(|scope| {
        let settle = scope.spawn(|| {
            world
                .facilitator
                .client()
                .post("/settle", body.to_string().as_bytes(), &[])
        });
        world.wait_sent(1);
        world.facilitator.terminate();
        settle.join().expect("joins")
    });
    world.facilitator.wait_exit();
    // Cut off or answered as pending: never a failure, never a success.
    if let Ok(reply) = reply {
        let _ = reply.pending();
    }
    world.chain.mine(1).expect("mines");
    world.facilitator.restart();
    let _ = world.settle(&body).paid();
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn law3_without_its_journal_nothing_new_is_sent_and_nothing_is_answered_as_success() {
    let mut world = World::builder()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .start();
    let open = world.payment(2).v2();
    let hash = world.settle(&open).pending();
    let place = world.facilitator.data_folder();
    let away = place.with_file_name("away");
    std::fs::rename(&place, &away).expect("moved");

    let late = world.payment(3).v2();
    world.untouched(|| {
        let reply = world.settle(&late);
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(reply.header("retry-after").is_some());
    });
    let log = world.facilitator.log();
    assert_eq!(log.matches("must not be moved").count(), 1, "{log}");
    world.chain.mine(1).expect("mines");
    assert_eq!(
        world.settle(&open).pending(),
        hash,
        "it landed, and can't be recorded"
    );

    world.facilitator.terminate();
    world.facilitator.wait_exit();
    std::fs::rename(&away, &place).expect("put back");
    world.facilitator.restart();
    assert_eq!(world.settle(&open).paid(), hash);
    world.chain.set_mining(Mining::Auto).expect("set");
    let _ = world.settle(&late).paid();
    assert_eq!((world.sent(), world.transfers()), (2, 2));
}
