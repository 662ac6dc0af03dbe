//! What happened to a payment: the look-ups over HTTP and on the command line.

use devnet::{Mining, Npm};
use e2e::shop::{Generation, Seller, buy};
use e2e::{Reply, World, wait};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn tenant(name: &str, key: &str) -> String {
    let hash = hex::encode(Sha256::digest(key));
    format!("[[tenants]]\nname = {name:?}\nkey_sha256 = {hash:?}\n")
}

fn world() -> e2e::world::Builder {
    World::builder()
        .mining(Mining::Manual)
        .more(&(tenant("shop", "key-shop") + &tenant("other", "key-other")))
}

fn get(world: &World, path: &str, key: &str) -> Reply {
    let value = format!("Bearer {key}");
    world
        .facilitator
        .client()
        .send("GET", path, b"", &[("authorization", value.as_str())])
        .expect("an answer")
}

/// Every byte that could mean something in a path, escaped.
fn encoded(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// What the sender of a transaction paid, by its receipt.
fn cost(receipt: &Value) -> u128 {
    let quantity = |name: &str| {
        let text = receipt[name].as_str().unwrap_or_else(|| panic!("{receipt}"));
        u128::from_str_radix(text.trim_start_matches("0x"), 16).expect("a quantity")
    };
    quantity("gasUsed") * quantity("effectiveGasPrice")
}

/// The payments that a command prints as JSON Lines.
fn printed(world: &World, arguments: &[&str]) -> Vec<Value> {
    let (good, output) = world.facilitator.command(arguments);
    assert!(good, "{output}");
    output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {output}")))
        .collect()
}

/// The official buyer pays the official seller, and the seller dies before it has the answer of its `/settle`.
#[test]
fn t167_a_seller_whose_connection_died_learns_the_outcome_and_another_tenant_does_not() {
    let (world, npm) = (
        world().start(),
        Npm::ensure().expect("the packages are installed"),
    );
    let merchant = world.chain.merchant.address.clone();
    let environment = [
        ("FACILITATOR_TOKEN", "key-shop"),
        ("IDEMPOTENCY_KEY", "order 7/a"),
    ];
    let seller = Seller::start(
        &npm,
        Generation::V2,
        &world.facilitator.url(),
        &merchant,
        &environment,
    )
    .expect("the seller starts");
    let buyer = &world.chain.buyers[2];
    let by_key = format!("/settlements/{}", encoded("key:order 7/a"));
    assert_eq!(
        get(&world, &by_key, "key-shop").status,
        404,
        "nothing is recorded"
    );
    std::thread::scope(|scope| {
        let resource = seller.resource.clone();
        let buying = scope.spawn(|| {
            let resource = resource;
            buy(&npm, Generation::V2, &buyer.key, &resource)
        });
        wait::until("the payment is sent", wait::LONG, || {
            (world.sent() == 1).then_some(())
        });
        drop(seller);
        let report = buying.join().expect("the buyer ends");
        assert!(report.is_err(), "the buyer has no answer: {report:?}");
    });

    // By its own key the seller learns that its payment is pending, and the hash.
    let pending = get(&world, &by_key, "key-shop");
    assert_eq!(pending.status, 200, "{pending:?}");
    assert_eq!(pending.header("cache-control"), Some("no-store"));
    assert_eq!(
        (pending.field("status"), &pending.json["mayPayAgain"]),
        ("pending", &json!(false))
    );
    let hash = pending.field("transaction").to_owned();
    assert!(
        pending.json["retryAfterMs"].is_u64() && pending.json["expiresAt"].is_string(),
        "{pending:?}"
    );

    world.chain.mine(1).expect("mines");
    let settled = wait::until("it is settled", wait::LONG, || {
        let reply = get(&world, &by_key, "key-shop");
        (reply.field("status") == "settled").then_some(reply)
    });
    assert_eq!(settled.field("transaction"), hash);
    let receipt = world.chain.receipt(&hash).expect("the node answers");
    let receipt = receipt.unwrap_or_else(|| panic!("no receipt of {hash}"));
    assert_eq!(settled.field("fee"), cost(&receipt).to_string(), "{settled:?}");
    assert_eq!(
        settled.field("payer").to_lowercase(),
        buyer.address.to_lowercase()
    );
    assert_eq!(settled.field("payTo").to_lowercase(), merchant.to_lowercase());
    assert_eq!(settled.field("amount"), e2e::payment::PRICE.to_string());
    assert_eq!(
        (settled.field("network"), settled.field("scheme")),
        (e2e::payment::NETWORK, "exact")
    );
    assert_eq!(
        settled.json["released"], false,
        "no caller got success: {settled:?}"
    );

    // Every door shows the same record to the shop, and nothing to the other tenant.
    let operator = printed(&world, &["payments", "--json"]);
    let [operator] = operator.as_slice() else {
        panic!("{operator:?}");
    };
    let claim = operator["claim"].as_str().expect("a claim");
    let own_claim = claim.rsplit('|').next().expect("the scheme's part");
    assert!(own_claim.contains('/'), "{claim}");
    let unknown = get(&world, "/settlements/unknown", "key-other");
    assert_eq!(
        (unknown.status, unknown.text.as_str()),
        (404, r#"{"error":"not_found"}"#)
    );
    for name in [
        "key:order 7/a",
        &hash,
        &hash.to_uppercase().replace("0X", "0x"),
        claim,
        own_claim,
        settled.field("id"),
    ] {
        let path = format!("/settlements/{}", encoded(name));
        let own = get(&world, &path, "key-shop");
        assert_eq!((own.status, &own.json), (200, &settled.json), "{name}");
        let foreign = get(&world, &path, "key-other");
        assert_eq!((foreign.status, &foreign.text), (404, &unknown.text), "{name}");
        assert_eq!(get(&world, &path, "key-none").status, 401, "{name}");
    }
    assert_eq!(
        get(&world, "/settlements", "key-shop").json,
        json!({"items": [settled.json]})
    );
    assert_eq!(
        get(&world, "/settlements", "key-other").json,
        json!({"items": []})
    );
    for (member, value) in settled.json.as_object().expect("an object") {
        assert_eq!(&operator[member], value, "{member} on the command line");
    }
    assert_eq!(
        (&operator["tenant"], &operator["idempotencyKey"]),
        (&json!("shop"), &json!("order 7/a"))
    );

    // That a node has the transaction is recorded a little later: nothing waits for it.
    wait::until("the mark of the send", wait::LONG, || {
        let explained = printed(&world, &["explain", &hash, "--json"]);
        explained[0]["history"]
            .to_string()
            .contains("\"sent\"")
            .then_some(())
    });
    explained(&world, &hash, claim, settled.field("id"));
}

/// The command line tells the same story, while the process runs and after it.
#[track_caller]
fn explained(world: &World, hash: &str, claim: &str, id: &str) {
    for name in [hash, claim, id] {
        let explained = printed(world, &["explain", name, "--json"]);
        let [explained] = explained.as_slice() else {
            panic!("{explained:?}");
        };
        let history = explained["history"].as_array().expect("a history");
        let events: Vec<&str> = history
            .iter()
            .filter_map(|event| event["event"].as_str())
            .collect();
        assert_eq!(&events[..2], ["opened", "prepared"], "{explained}");
        assert!(
            events.contains(&"sent") && events.contains(&"paid"),
            "{explained}"
        );
        assert_eq!(history[1]["transaction"], hash);
        let times: Vec<&str> = history.iter().filter_map(|event| event["at"].as_str()).collect();
        assert!(times.len() == events.len() && times.is_sorted(), "{explained}");
    }
    let (good, text) = world.facilitator.command(&["explain", hash]);
    assert!(
        good && text.contains("settled: the chain shows the payment; the payer must not pay again"),
        "{text}"
    );
    for part in [
        "no: no caller got success",
        "signed",
        "nonce 0",
        "max cost",
        "paid",
        hash,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (good, text) = world.facilitator.command(&["explain", "0xunknown"]);
    assert!(
        !good && text.contains("no payment is recorded under 0xunknown"),
        "{text}"
    );
    let (good, text) = world.facilitator.command(&["payments", "--tx", hash]);
    assert!(
        good && text.contains("settled") && text.lines().count() == 2,
        "{text}"
    );
    let (good, text) = world.facilitator.command(&["payments", "--open"]);
    assert!(good && text == "no payment matches\n", "{text}");
    let (good, text) = world.facilitator.command(&["payments", "--since", "1h", "--csv"]);
    assert!(
        good && text.starts_with("createdAt,") && text.contains(hash),
        "{text}"
    );
}

/// Receipts are withheld: nobody learns anything but `pending`, and the reply's id finds it.
#[test]
fn t168_a_payment_that_may_still_land_is_pending_at_every_door() {
    let world = world().server("settle_wait_seconds = 1").start();
    let body = world.payment(3).v2().to_string();
    let settle = || {
        let headers = [("authorization", "Bearer key-shop"), ("idempotency-key", "k")];
        world
            .facilitator
            .client()
            .post("/settle", body.as_bytes(), &headers)
            .expect("an answer")
    };
    let reply = settle();
    let hash = reply.pending();
    let id = reply.json["extensions"]["settlement-status"]["id"]
        .as_str()
        .expect("an id");
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    for name in [id, &hash, "key%3Ak"] {
        let seen = get(&world, &format!("/settlements/{name}"), "key-shop");
        assert_eq!(
            (seen.field("status"), seen.field("id"), &seen.json["mayPayAgain"]),
            ("pending", id, &json!(false))
        );
    }
    assert_eq!(
        printed(&world, &["payments", "--open", "--json"])[0]["status"],
        "pending"
    );

    world.chain.mine(1).expect("mines");
    wait::until("it is settled", wait::LONG, || {
        let seen = get(&world, &format!("/settlements/{id}"), "key-shop");
        (seen.field("status") == "settled").then_some(())
    });
    let paid = settle();
    assert_eq!(
        (
            paid.paid(),
            paid.json["extensions"]["settlement-status"]["id"].as_str()
        ),
        (hash, Some(id))
    );
    assert_eq!(settle().text, paid.text, "a replay has the same bytes");
    assert_eq!(
        get(&world, &format!("/settlements/{id}"), "key-shop").json["released"],
        true
    );
}

/// Without tenants a hash is public, and so is little of what it shows.
#[test]
fn t167_without_tenants_a_hash_shows_three_members() {
    let world = World::start();
    let reply = world.settle(&world.payment(2).v2());
    let hash = reply.paid();
    let by_hash = world.facilitator.get(&format!("/settlements/{hash}"));
    let public = json!({"status": "settled", "transaction": hash, "network": e2e::payment::NETWORK});
    assert_eq!((by_hash.status, &by_hash.json), (200, &public));
    let id = reply.json["extensions"]["settlement-status"]["id"]
        .as_str()
        .expect("an id");
    assert_eq!(
        world
            .facilitator
            .get(&format!("/settlements/{id}"))
            .field("transaction"),
        hash
    );
    assert_eq!(world.facilitator.get("/settlements").status, 404);
    let old = world.settle(&world.payment(3).v1());
    assert!(
        !old.paid().is_empty() && old.json.get("extensions").is_none(),
        "{old:?}"
    );
}
