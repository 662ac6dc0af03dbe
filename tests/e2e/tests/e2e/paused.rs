//! The kill switch: new settlements stop within a second, recorded ones continue.

use std::fs;

use devnet::Mining;
use e2e::payment::PRICE;
use e2e::{World, wait};
use serde_json::json;

use crate::reason;

const NETWORK: &str = "eip155:84532";
const SECRET: &str = "our key has leaked";

fn kinds(world: &World) -> usize {
    let supported = world.facilitator.get("/supported");
    supported.json["kinds"].as_array().expect("kinds").len()
}

fn wait_kinds(world: &World, what: &str, wanted: impl Fn(usize) -> bool) {
    wait::until(what, wait::LONG, || wanted(kinds(world)).then_some(()));
}

#[track_caller]
fn assert_paused(world: &World, buyer: usize) {
    let body = world.payment(buyer).v2();
    world.untouched(|| {
        let settle = world.settle(&body);
        assert_eq!(settle.status, 503, "{settle:?}");
        assert!(settle.header("retry-after").is_some());
        settle.is_object_of_the_protocol();
        let verify = world.verify(&body);
        verify.refused(reason::UNEXPECTED_VERIFY);
        assert!(
            verify.field("invalidMessage").contains("the operator has paused"),
            "{verify:?}"
        );
        for reply in [settle, verify] {
            assert!(
                !reply.text.contains(SECRET),
                "the reason is the operator's: {reply:?}"
            );
        }
    });
}

#[test]
fn t107_a_pause_stops_new_payments_and_no_recorded_one() {
    let mut world = World::builder()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .start();
    let open = world.payment(2).v2();
    let hash = world.settle(&open).pending();
    let (done, output) = world
        .facilitator
        .command(&["pause", "--network", NETWORK, "--reason", SECRET]);
    assert!(
        done && output.contains(NETWORK) && output.contains(SECRET),
        "{output}"
    );
    wait_kinds(&world, "the pause is noticed", |kinds| kinds == 0);
    assert_paused(&world, 3);
    assert!(world.facilitator.log().contains("PAUSED"));

    // What is recorded is watched, carried on and answered.
    world.verify(&open).valid();
    assert_eq!(world.settle(&open).pending(), hash);
    world.chain.mine(1).expect("mines");
    assert_eq!(world.settle(&open).paid(), hash);
    assert_eq!(world.settle(&open).failed(reason::DUPLICATE), hash);
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));

    // A restart changes nothing.
    world.facilitator.kill();
    world.facilitator.restart();
    assert_eq!(kinds(&world), 0);
    assert_paused(&world, 4);
    assert_eq!(world.settle(&open).failed(reason::DUPLICATE), hash);

    // Another pause's end is not this one's.
    let (done, _) = world.facilitator.command(&["resume", "--scheme", "exact"]);
    assert!(!done);
    let (done, output) = world.facilitator.command(&["resume", "--network", NETWORK]);
    assert!(done && output.contains("nothing is paused"), "{output}");
    wait_kinds(&world, "the end of the pause is noticed", |kinds| kinds > 0);
    let body = world.payment(5).v2();
    let hash = world.settle(&body).pending();
    world.chain.mine(1).expect("mines");
    assert_eq!(world.settle(&body).paid(), hash);
}

#[test]
fn t107_a_pause_can_name_a_scheme_which_must_exist() {
    let world = World::start();
    for (arguments, message) in [
        (["--network", "eip155:8453"], "write one of eip155:84532"),
        (["--scheme", "exakt"], "write one of exact"),
    ] {
        let (done, output) =
            world
                .facilitator
                .command(&["pause", arguments[0], arguments[1], "--reason", "typing"]);
        assert!(!done && output.contains(message), "{output}");
    }
    let (done, output) = world.facilitator.command(&["paused"]);
    assert!(done && output.contains("nothing is paused"), "{output}");
    let (done, _) = world
        .facilitator
        .command(&["pause", "--scheme", "exact", "--reason", SECRET]);
    assert!(done);
    // That of upto is still offered.
    wait_kinds(&world, "the pause is noticed", |kinds| kinds == 1);
    assert_paused(&world, 2);
    let metrics = world.facilitator.get("/metrics").text;
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("switchyard_paused{") && line.ends_with(" 1")),
        "{metrics}"
    );
    let (done, output) = world.facilitator.command(&["paused"]);
    assert!(
        done && output.contains("exact on every network") && output.contains(SECRET),
        "{output}"
    );
}

#[test]
fn t107_a_damaged_pause_file_pauses_everything() {
    let world = World::start();
    let file = world.facilitator.data_folder().join("paused");
    fs::write(&file, json!([]).to_string()).expect("written");
    wait_kinds(&world, "the damage is noticed", |kinds| kinds == 0);
    assert_paused(&world, 2);
    assert!(world.facilitator.log().contains("EVERYTHING IS PAUSED"));
    for arguments in [
        &["paused"][..],
        &["resume", "--network", NETWORK],
        &["pause", "--reason", "more"],
    ] {
        let (done, output) = world.facilitator.command(arguments);
        assert!(
            !done && output.contains("EVERYTHING IS PAUSED"),
            "{arguments:?}: {output}"
        );
    }
    let (done, output) = world.facilitator.command(&["resume"]);
    assert!(done && output.contains("nothing is paused"), "{output}");
    wait_kinds(&world, "the end of the pause is noticed", |kinds| kinds > 0);
    let _ = world.settle(&world.payment(2).v2()).paid();
}

#[test]
fn t107_a_pause_also_refuses_a_payment_that_waits_for_its_lane() {
    let world = World::builder()
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 40")
        .network("max_in_flight = 1")
        .start();
    let bodies = [2, 3].map(|buyer| world.payment(buyer).v2());
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| world.settle(&bodies[0]));
        world.wait_sent(1);
        world.proxy.forget();
        let second = scope.spawn(|| world.settle(&bodies[1]));
        world.proxy.wait_for("eth_estimateGas");
        let (done, output) = world.facilitator.command(&["pause", "--reason", SECRET]);
        assert!(done && output.contains("everything"), "{output}");
        wait_kinds(&world, "the pause is noticed", |kinds| kinds == 0);
        world.chain.mine(1).expect("mines");
        (first.join().expect("joins"), second.join().expect("joins"))
    });
    let _ = first.paid();
    assert_eq!(second.status, 503, "{second:?}");
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}
