//! Several nodes on one PostgreSQL database.

use std::time::{Duration, Instant};

use devnet::Mining;
use e2e::facilitator::Facilitator;
use e2e::http::Reply;
use e2e::payment::PRICE;
use e2e::{World, wait};
use serde_json::Value;

use crate::reason;

/// The longest time in which a lane has another owner after its node is gone.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);

/// A world whose facilitator is the first node, with its journal in a database of its own.
fn world(mining: Mining) -> World {
    let database = pg::server().database();
    World::builder()
        .signers(2)
        .mining(mining)
        .server("settle_wait_seconds = 20")
        .more(&format!("[journal]\npostgres = {database:?}"))
        .start()
}

fn lanes_taken(node: &Facilitator) -> usize {
    node.log().matches("lane_taken").count()
}

/// Sends the same settle to every node at once.
fn settle_everywhere(nodes: &[&Facilitator], body: &Value) -> Vec<Reply> {
    std::thread::scope(|scope| {
        let calls: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(move || node.settle(body)))
            .collect();
        calls
            .into_iter()
            .map(|call| call.join().expect("joins"))
            .collect()
    })
}

#[test]
fn any_of_three_nodes_takes_any_request_and_one_payment_is_paid_and_released_once() {
    let world = world(Mining::Auto);
    let (second, third) = (world.another(), world.another());
    let nodes = [&world.facilitator, &second, &third];
    // Each node gets payments of its own, also the one that owns no lane.
    for (at, node) in nodes.iter().enumerate() {
        for buyer in [2, 3] {
            let body = world.payment(buyer).of(PRICE + at as u128).v2();
            node.verify(&body).valid();
            assert!(node.settle(&body).is_success());
        }
    }
    assert_eq!((world.sent(), world.transfers()), (6, 6));
    let body = world.payment(4).v2();
    let replies = settle_everywhere(&nodes, &body);
    let paid = replies.iter().filter(|reply| reply.is_success()).count();
    assert_eq!(paid, 1, "{replies:#?}");
    // Callers that got 503, because another node was faster, send it again.
    let hash = replies
        .iter()
        .find(|reply| reply.is_success())
        .expect("one")
        .paid();
    for node in nodes {
        assert_eq!(node.settle(&body).failed(reason::DUPLICATE), hash);
    }
    assert_eq!((world.sent(), world.transfers()), (7, 7));
}

#[test]
fn lanes_of_a_killed_node_are_taken_over_and_what_it_sent_is_answered_by_another() {
    let mut world = world(Mining::Manual);
    wait::until("the first node to own the lanes", wait::LONG, || {
        (lanes_taken(&world.facilitator) == 2).then_some(())
    });
    let second = world.another();
    let body = world.payment(2).v2();
    let client = world.facilitator.client().clone();
    let text = body.to_string();
    let caller = std::thread::spawn(move || client.post("/settle", text.as_bytes(), &[]));
    world.wait_sent(1);
    world.facilitator.kill();
    assert!(caller.join().expect("joins").is_err(), "the caller got no answer");
    let killed = Instant::now();
    let before = lanes_taken(&second);
    wait::until("the lanes to be taken over", TAKEN_OVER_WITHIN, || {
        (lanes_taken(&second) + usize::from(before == 1) >= 2).then_some(())
    });
    eprintln!("taken over after {} ms", killed.elapsed().as_millis());
    world.chain.mine(1).expect("mines");
    let paid = second.settle(&body).paid();
    // The first node comes back as one more.
    world.facilitator.restart();
    assert_eq!(second.settle(&body).failed(reason::DUPLICATE), paid);
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), paid);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn law5_a_node_that_was_stopped_and_wakes_records_nothing_and_ends() {
    let mut world = world(Mining::Manual);
    wait::until("the first node to own the lanes", wait::LONG, || {
        (lanes_taken(&world.facilitator) == 2).then_some(())
    });
    let second = world.another();
    let third = world.another();
    let body = world.payment(2).v2();
    let client = world.facilitator.client().clone();
    let text = body.to_string();
    let caller = std::thread::spawn(move || client.post("/settle", text.as_bytes(), &[]));
    world.wait_sent(1);
    world.facilitator.suspend();
    let (had_second, had_third) = (lanes_taken(&second), lanes_taken(&third));
    wait::until("the lanes to be taken over", TAKEN_OVER_WITHIN, || {
        let taken = lanes_taken(&second) + lanes_taken(&third);
        (taken > had_second + had_third || taken >= 2).then_some(())
    });
    world.chain.mine(1).expect("mines");
    let hash = third.settle(&body).paid();
    world.facilitator.wake();
    let status = world.facilitator.wait_exit();
    assert!(!status.success(), "{status}");
    let log = world.facilitator.log();
    assert!(log.contains("lease_lost"), "{log}");
    if let Ok(reply) = caller.join().expect("joins") {
        assert!(!reply.is_success(), "{reply:#?}");
    }
    assert_eq!(second.settle(&body).failed(reason::DUPLICATE), hash);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn a_node_that_ends_in_order_leaves_its_lanes_to_the_others_at_once() {
    let mut world = world(Mining::Auto);
    wait::until("the first node to own the lanes", wait::LONG, || {
        (lanes_taken(&world.facilitator) == 2).then_some(())
    });
    let second = world.another();
    world.facilitator.terminate();
    assert!(world.facilitator.wait_exit().success());
    let ended = Instant::now();
    assert!(second.settle(&world.payment(2).v2()).is_success());
    eprintln!("paid {} ms after the owner ended", ended.elapsed().as_millis());
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}
