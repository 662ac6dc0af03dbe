//! When a network is ready, and when it reports that it is not: outages, empty signers, a chain without its past.

use e2e::{Facilitator, Fault, World, wait};
use serde_json::Value;

/// What `/ready` answers: status, and why the only network is not ready.
fn ready(facilitator: &Facilitator) -> (u16, String) {
    let reply = facilitator.get("/ready");
    let why = reply.json["networks"][0]["why"].as_str().unwrap_or_default();
    (reply.status, why.to_owned())
}

#[track_caller]
fn wait_not_ready(facilitator: &Facilitator, text: &str) -> String {
    wait::until(&format!("not ready: {text}"), wait::LONG, || {
        let (status, why) = ready(facilitator);
        (status == 503 && why.contains(text)).then_some(why)
    })
}

#[test]
fn an_outage_is_answered_alike_and_reported_at_once_however_the_nodes_fail() {
    let world = World::builder().network("rpc_timeout_ms = 300").start();
    for fault in [Fault::Refuse, Fault::Status(500), Fault::HoldAnswer] {
        let body = world.payment(2).v2();
        world.proxy.on("*", fault.clone());
        let began = std::time::Instant::now();
        let reply = world.settle(&body);
        assert_eq!(
            (reply.status, reply.field("errorReason")),
            (503, "service_unavailable"),
            "{fault:?}: {reply:?}"
        );
        assert!(reply.header("retry-after").is_some(), "{fault:?}: {reply:?}");
        let _ = wait_not_ready(&world.facilitator, "usable answer: 127.0.0.1 ");
        assert!(
            began.elapsed().as_secs() < 8,
            "{fault:?}: sooner than the next check in turn"
        );
        assert_eq!(
            world.facilitator.get("/supported").json["kinds"],
            Value::from(Vec::<Value>::new())
        );
        world.proxy.heal();
        world.facilitator.wait_ready().expect("it recovers");
    }
    let log = world.facilitator.log();
    assert_eq!(
        log.matches("network is not ready: ").count(),
        3,
        "once for each outage:\n{log}"
    );
}

#[test]
fn t40_an_unfunded_signer_takes_no_new_payment_and_without_another_the_network_is_not_ready() {
    let world = World::builder().signers(2).start();
    let [first, second] = [0, 1].map(|n| world.chain.facilitators[n].address.clone());
    let wei = |signer: &str, amount| world.chain.set_wei(signer, amount).expect("set");
    wei(&first, 1_000);
    wait::until("the first signer stands back", wait::LONG, || {
        let metrics = world.facilitator.get("/metrics").text;
        metrics
            .lines()
            .any(|line| {
                line.starts_with("switchyard_signer_cannot_pay{")
                    && line.to_lowercase().contains(&first.to_lowercase())
                    && line.ends_with(" 1")
            })
            .then_some(())
    });
    let metrics = world.facilitator.get("/metrics").text;
    assert!(metrics.contains("# HELP switchyard_signer_balance "), "{metrics}");
    for alarm in [
        "switchyard_settlements_total{network=\"eip155:84532\",outcome=\"reversed\",scheme=\"exact\"} 0",
        "switchyard_sends_total{answer=\"insufficient_funds\",network=\"eip155:84532\"} 0",
        "switchyard_unjudged_total{network=\"eip155:84532\"} 0",
    ] {
        assert!(
            metrics.contains(alarm),
            "{alarm} before anything happened:\n{metrics}"
        );
    }
    assert_eq!(ready(&world.facilitator).0, 200);
    for buyer in [2, 3] {
        let _ = world.settle(&world.payment(buyer).v2()).paid();
    }
    let sent = |signer: &str| world.chain.transaction_count(signer).expect("the node answers");
    assert_eq!((sent(&first), sent(&second)), (0, 2));

    wei(&second, 1_000);
    let why = wait_not_ready(&world.facilitator, "no signer can pay");
    assert!(
        why.contains("max_cost") && why.contains("send one of them native currency"),
        "{why}"
    );
    world.untouched(|| assert_eq!(world.settle(&world.payment(2).v2()).status, 503));

    wei(&first, 1_000_000_000_000_000_000);
    world.facilitator.wait_ready().expect("it can pay again");
    let _ = world.settle(&world.payment(2).v2()).paid();
    assert_eq!((sent(&first), sent(&second)), (1, 2));
}

#[test]
fn t43_a_chain_that_lost_its_history_gets_no_transaction_and_the_log_names_the_fix() {
    let mut world = World::builder().network("finality = 2").start();
    let fresh = world.chain.snapshot().expect("a snapshot");
    for buyer in [2, 3] {
        let _ = world.settle(&world.payment(buyer).v2()).paid();
    }
    world.chain.mine(1).expect("mines");
    world.wait_slots_closed();
    world.chain.revert(&fresh).expect("reset");
    let why = wait_not_ready(&world.facilitator, "lost its history");
    assert!(
        why.contains("write another data.directory") && why.contains("correct rpc"),
        "{why}"
    );
    world.untouched(|| assert_eq!(world.settle(&world.payment(2).v2()).status, 503));

    // The next process reports the same, from the journal alone.
    world.facilitator.terminate();
    world.facilitator.wait_exit();
    world.facilitator.restart_unready();
    let _ = wait_not_ready(&world.facilitator, "lost its history");
    world.untouched(|| assert_eq!(world.settle(&world.payment(2).v2()).status, 503));
}
