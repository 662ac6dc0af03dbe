//! What operators change: by role, with a record, and in effect at once.

use devnet::Mining;
use e2e::payment::NETWORK;
use e2e::wait;
use serde_json::{Value, json};

use super::{Desk, MONEY, OPERATE, VIEW};
use crate::tenants::{post, tenant};

fn acts(desk: &Desk) -> Vec<(String, String, String)> {
    let reply = desk.get("/api/log", VIEW);
    let text = |act: &Value, name: &str| act[name].as_str().expect("a text").to_owned();
    let acts = reply.json["acts"].as_array().expect("acts").clone();
    acts.iter()
        .map(|act| (text(act, "by"), text(act, "act"), text(act, "details")))
        .collect()
}

fn sender(desk: &Desk, hash: &str) -> String {
    let found = desk
        .world
        .chain
        .rpc()
        .call("eth_getTransactionByHash", json!([hash]));
    found.expect("an answer")["from"]
        .as_str()
        .expect("a sender")
        .to_owned()
}

#[test]
fn a_role_may_do_what_it_is_for_and_no_more() {
    let desk = Desk::start("", |world| world);
    let reason = json!({ "reason": "a drill" });
    for (token, path, body, status) in [
        (VIEW, "/api/pause", &reason, 403),
        (VIEW, "/api/reload", &json!({}), 403),
        (VIEW, "/api/tenants/add", &json!({ "name": "x" }), 403),
        (OPERATE, "/api/allow-release", &json!({ "payment": "x" }), 403),
        (OPERATE, "/api/tenants/add", &json!({ "name": "x" }), 403),
        (OPERATE, "/api/tenants/rotate", &json!({ "name": "x" }), 403),
        (OPERATE, "/api/sync", &json!({ "payment": "x" }), 404),
        (MONEY, "/api/allow-release", &json!({ "payment": "x" }), 404),
        // The first tenant changes who may call at all.
        (MONEY, "/api/tenants/add", &json!({ "name": "x" }), 409),
        (OPERATE, "/api/pause", &json!({ "reason": " " }), 400),
        (
            OPERATE,
            "/api/pause",
            &json!({ "reason": "x", "forever": true }),
            400,
        ),
        (
            OPERATE,
            "/api/pause",
            &json!({ "reason": "x", "network": "eip155:1" }),
            404,
        ),
        (
            OPERATE,
            "/api/drain",
            &json!({ "reason": "x", "network": NETWORK, "signer": "0x1" }),
            404,
        ),
        (OPERATE, "/api/resume", &json!({ "network": NETWORK }), 404),
    ] {
        let reply = desk.post(path, body, token);
        assert_eq!(reply.status, status, "{path} {body}: {reply:?}");
        assert!(!reply.field("error").is_empty(), "{reply:?}");
    }
    let acts = acts(&desk);
    assert!(
        acts.iter().all(|(by, ..)| by != "vera"),
        "what a role forbids is not recorded: {acts:?}"
    );
    assert!(
        acts.iter()
            .any(|(by, act, details)| by == "otto" && act == "pause" && details.starts_with("not done:")),
        "{acts:?}"
    );
}

#[test]
fn a_pause_holds_at_once_and_is_recorded_before_it_holds() {
    let desk = Desk::start("", |world| world);
    let body = json!({ "network": NETWORK, "scheme": "exact", "reason": "the token was <b>hacked</b>" });
    desk.done("/api/pause", &body, OPERATE);
    let settle = desk.world.settle(&desk.world.payment(2).v2());
    assert_eq!(settle.status, 503, "{settle:?}");
    let overview = desk.overview();
    assert_eq!(overview["pauses"][0]["reason"], "the token was <b>hacked</b>");
    assert_eq!(overview["networks"][0]["schemes"][0]["paused"], true);
    // The command reads the same list.
    let (_, output) = desk.world.facilitator.command(&["paused"]);
    assert!(output.contains("hacked"), "{output}");
    desk.done(
        "/api/resume",
        &json!({ "network": NETWORK, "scheme": "exact" }),
        OPERATE,
    );
    let _ = desk.world.settle(&desk.world.payment(2).v2()).paid();
    let acts = acts(&desk);
    assert_eq!((acts[0].1.as_str(), acts[1].1.as_str()), ("resume", "pause"));
    assert!(acts[1].2.contains("hacked"));
    let lines = desk.world.facilitator.log();
    assert!(lines.contains("operator_acted"), "{lines}");
}

#[test]
fn a_drained_signer_finishes_what_it_has_and_gets_nothing_new() {
    let desk = Desk::start("", |world| {
        world
            .signers(2)
            .buyers(7)
            .mining(Mining::Manual)
            .server("settle_wait_seconds = 1")
    });
    let hash = desk.world.settle(&desk.world.payment(2).v2()).pending();
    let busy = sender(&desk, &hash);
    let drain = json!({ "network": NETWORK, "signer": busy, "reason": "its key moves" });
    desk.done("/api/drain", &drain, OPERATE);
    let of = |address: &str| {
        let signers = desk.signers();
        let same = |signer: &&Value| {
            let known = signer["address"].as_str().expect("an address");
            known.eq_ignore_ascii_case(address)
        };
        signers.iter().find(same).expect("the signer").clone()
    };
    assert_eq!(of(&busy)["state"], "drained");
    assert_eq!(of(&busy)["inFlight"], 1);
    let later: Vec<String> = (3..6)
        .map(|buyer| desk.world.settle(&desk.world.payment(buyer).v2()).pending())
        .collect();
    for hash in &later {
        let sender = sender(&desk, hash);
        assert!(
            !sender.eq_ignore_ascii_case(&busy),
            "a drained signer got a new payment"
        );
    }
    desk.world.chain.set_mining(Mining::Auto).expect("mining");
    desk.world.chain.mine(1).expect("a block");
    wait::until("it is empty", wait::LONG, || {
        (of(&busy)["inFlight"] == 0).then_some(())
    });
    let shown = desk.get(&format!("/api/payments/{hash}"), VIEW).json;
    assert_eq!(shown["payments"][0]["status"], "settled");

    // With the other one drained too, nothing is accepted, and the reason is clear.
    let other = desk
        .signers()
        .iter()
        .find(|signer| signer["state"] == "active")
        .expect("the other one")["address"]
        .clone();
    desk.done(
        "/api/drain",
        &json!({ "network": NETWORK, "signer": other, "reason": "x" }),
        OPERATE,
    );
    let settle = desk.world.settle(&desk.world.payment(6).v2());
    assert_eq!(settle.status, 503, "{settle:?}");
    let ready = desk.world.facilitator.get("/ready");
    assert!(ready.text.contains("drained every signer"), "{ready:?}");
    // The command lifts what the listener has set.
    let other = other.as_str().expect("an address");
    let (done, output) = desk
        .world
        .facilitator
        .command(&["resume", "--network", NETWORK, "--signer", other]);
    assert!(done, "{output}");
    wait::until("it pays again", wait::LONG, || {
        desk.world
            .settle(&desk.world.payment(6).v2())
            .is_success()
            .then_some(())
    });
}

#[test]
fn a_text_is_in_the_history_and_changes_no_outcome() {
    let desk = Desk::start("", |world| world);
    let hash = desk.world.settle(&desk.world.payment(2).v2()).paid();
    let before = desk.get(&format!("/api/payments/{hash}"), VIEW).json;
    let hostile = "refunded by hand\u{202e}\n<script>alert(1)</script>";
    desk.done(
        "/api/annotate",
        &json!({ "payment": hash, "text": hostile }),
        OPERATE,
    );
    let after = desk.get(&format!("/api/payments/{hash}"), VIEW).json;
    for member in ["status", "released", "transaction", "mayPayAgain"] {
        assert_eq!(before["payments"][0][member], after["payments"][0][member]);
    }
    let history = after["payments"][0]["history"].as_array().expect("a history");
    let noted = history
        .iter()
        .find(|event| event["event"] == "acted")
        .expect("the text");
    assert_eq!(
        (&noted["by"], &noted["act"], &noted["details"]),
        (&json!("otto"), &json!("annotate"), &json!(hostile))
    );
    let (_, output) = desk.world.facilitator.command(&["explain", &hash]);
    assert!(
        output.contains("otto, annotate") && !output.contains('\u{202e}'),
        "{output}"
    );
    desk.done("/api/sync", &json!({ "payment": hash }), OPERATE);
    let too_long = "x".repeat(1_001);
    let reply = desk.post(
        "/api/annotate",
        &json!({ "payment": hash, "text": too_long }),
        OPERATE,
    );
    assert_eq!(reply.status, 400, "{reply:?}");
    // The journal still has everything after a restart.
    desk.world
        .facilitator
        .kill_and_restart(std::time::Duration::ZERO)
        .expect("a start");
    let restarted = desk.get(&format!("/api/payments/{hash}"), VIEW).json;
    assert!(restarted.to_string().contains("refunded by hand"));
}

#[test]
fn tenants_are_added_and_their_keys_rotated_without_a_restart() {
    let desk = Desk::start(&tenant("one", "key-one", ""), |world| world);
    let add = json!({ "name": "two", "scopes": ["verify", "settle"] });
    let added = desk.done("/api/tenants/add", &add, MONEY);
    let first = added.field("apiKey").to_owned();
    assert_eq!(first.len(), 64);
    let body = desk.world.payment(2).v2();
    post(&desk.world, "/verify", &body, &first).valid();
    let again = desk.post("/api/tenants/add", &json!({ "name": "two" }), MONEY);
    assert_eq!(again.status, 409, "{again:?}");
    for wrong in [
        json!({ "name": "a b" }),
        json!({ "name": "c", "scopes": ["all"] }),
    ] {
        assert_eq!(
            desk.post("/api/tenants/add", &wrong, MONEY).status,
            400,
            "{wrong}"
        );
    }
    let rotated = desk.done("/api/tenants/rotate", &json!({ "name": "two" }), MONEY);
    let second = rotated.field("apiKey").to_owned();
    post(&desk.world, "/verify", &body, &first).valid();
    post(&desk.world, "/verify", &body, &second).valid();
    desk.done("/api/tenants/retire", &json!({ "name": "two" }), MONEY);
    assert_eq!(post(&desk.world, "/verify", &body, &first).status, 401);
    let _ = post(&desk.world, "/settle", &body, &second).paid();
    let of_file = desk.post("/api/tenants/rotate", &json!({ "name": "one" }), MONEY);
    assert_eq!(of_file.status, 404, "{of_file:?}");
    assert!(
        of_file.field("error").contains("configuration file"),
        "{of_file:?}"
    );
    // It is there after a restart, and a reload of the file does not drop it.
    desk.world
        .facilitator
        .kill_and_restart(std::time::Duration::ZERO)
        .expect("a start");
    desk.done("/api/reload", &json!({}), OPERATE);
    post(&desk.world, "/verify", &desk.world.payment(3).v2(), &second).valid();
    let overview = desk.overview();
    let origin = |name: &str| {
        let tenants = overview["tenants"].as_array().expect("tenants");
        tenants
            .iter()
            .find(|tenant| tenant["name"] == name)
            .expect("a tenant")["origin"]
            .clone()
    };
    assert_eq!((origin("one"), origin("two")), (json!("file"), json!("added")));
    // No key is on disk, in a log or in the record.
    let folder = desk.world.facilitator.data_folder();
    let list = std::fs::read_to_string(folder.join("tenants-added")).expect("the list");
    let record = desk.get("/api/log", VIEW).text + &desk.world.facilitator.log() + &list;
    assert!(!record.contains(&first) && !record.contains(&second));
    std::fs::write(folder.join("tenants-added"), "x").expect("written");
    let mut facilitator = desk.world.facilitator;
    facilitator.kill();
    let (status, output) = facilitator.restart_refused();
    assert!(!status.success() && output.contains("tenants-added"), "{output}");
}
