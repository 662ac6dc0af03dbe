//! What the facilitator keeps for its tenants, does for them over HTTP, and does on time without a request.

use devnet::{AUTH_CAPTURE_V11, MERCHANT};
use e2e::World;
use e2e::escrow::{
    self, Held, Money, PRICE, SHOP_KEY, STRANGER_KEY, Shop, delegated, fund, refunds, wait_state,
};
use e2e::http::Reply;
use serde_json::{Value, json};

use super::reason;

const BOUND: [(&str, &str); 2] = [("BIND", "yes"), ("CAPTURE_MODE", "deferred")];

#[track_caller]
fn call(world: &World, method: &str, path: &str, body: &Value, key: &str) -> Reply {
    let value = format!("Bearer {key}");
    let bytes = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    world
        .facilitator
        .client()
        .send(
            method,
            &format!("/auth-capture{path}"),
            bytes.as_bytes(),
            &[("authorization", &value)],
        )
        .expect("an answer")
}

#[track_caller]
fn get(world: &World, path: &str, key: &str) -> Value {
    let reply = call(world, "GET", path, &Value::Null, key);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json
}

fn of(held: &Held, what: &str) -> String {
    format!("/payments/{}{what}", held.hash)
}

fn order(amount: u128, capturable: u128, refundable: u128) -> Value {
    json!({
        "amount": amount.to_string(),
        "expectedCapturableAmount": capturable.to_string(),
        "expectedRefundableAmount": refundable.to_string(),
    })
}

#[test]
fn a_merchant_that_lost_its_record_finds_its_payment_and_continues_with_it() {
    let world = escrow::world(&format!("{}{}", delegated(MERCHANT.0), refunds(MERCHANT.0))).start();
    fund(&world);
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &BOUND);
    let held = shop.sell(&world.chain.buyers[2], "");

    let listed = get(&world, "/payments?state=held", SHOP_KEY);
    assert_eq!(listed["payments"][0]["paymentInfoHash"], held.hash.as_str());
    assert_eq!(get(&world, "/payments", STRANGER_KEY)["payments"], json!([]));
    let shown = get(&world, &of(&held, ""), SHOP_KEY);
    assert_eq!(shown["capturableAmount"], PRICE.to_string());
    assert_eq!(shown["operations"][0]["type"], "authorize");
    assert_eq!(shown["operationsComplete"], true);
    assert_eq!(shown["actions"], json!(["capture", "void"]));

    // It is not another tenant's.
    world.untouched(|| {
        for (method, what) in [("GET", ""), ("POST", "/void")] {
            let reply = call(&world, method, &of(&held, what), &Value::Null, STRANGER_KEY);
            assert_eq!(reply.status, 404, "{reply:?}");
        }
    });

    let first = order(400_000, PRICE, 0);
    let captured = call(&world, "POST", &of(&held, "/capture"), &first, SHOP_KEY).paid();
    wait_state(&world, &AUTH_CAPTURE_V11, &held.hash, 600_000, 400_000);
    // The same again is the same order, and another on the same balances comes too late.
    world.untouched(|| {
        let again = call(&world, "POST", &of(&held, "/capture"), &first, SHOP_KEY);
        assert_eq!(
            (again.status, again.field("errorReason")),
            (200, "duplicate_settlement")
        );
        assert_eq!(again.field("transaction"), captured);
        let other = call(
            &world,
            "POST",
            &of(&held, "/capture"),
            &order(1, PRICE, 0),
            SHOP_KEY,
        );
        assert_eq!((other.status, other.field("errorReason")), (409, reason::STATE));
    });

    let refund = order(100_000, 600_000, 400_000);
    let _ = call(&world, "POST", &of(&held, "/refund"), &refund, SHOP_KEY).paid();
    let mut last = order(100_000, 600_000, 300_000);
    last["voidRemainder"] = json!(true);
    let _ = call(&world, "POST", &of(&held, "/capture"), &last, SHOP_KEY).paid();
    wait_state(&world, &AUTH_CAPTURE_V11, &held.hash, 0, 400_000);

    let shown = get(&world, &of(&held, ""), SHOP_KEY);
    let kinds: Vec<&str> = shown["operations"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|operation| operation["type"].as_str())
        .collect();
    assert_eq!(kinds, ["authorize", "capture", "refund", "capture", "void"]);
    assert_eq!(
        (&shown["state"], &shown["operationsComplete"]),
        (&json!("captured"), &json!(true)),
        "{shown}"
    );
}

#[test]
fn reported_usage_is_captured_on_schedule_and_the_rest_given_back_in_time() {
    let keeper = format!(
        "{}[[plugin.auth-capture.config.keepers]]\nreceiver = {:?}\ncapture_every_s = 10\nmargin_s = 150\n\
         void_unused = true\n",
        delegated(MERCHANT.0),
        MERCHANT.0
    );
    let mut world = escrow::world(&keeper).start();
    // Forty seconds until the last call.
    let settings = [BOUND[0], BOUND[1], ("CAPTURE_WINDOW", "190")];
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &settings);
    let buyer = world.chain.buyers[2].clone();
    let before = Money::of(&world, &AUTH_CAPTURE_V11, &buyer.address);
    let held = shop.sell(&buyer, "");
    let report = |world: &World, id: &str, amount: u128| {
        let body = json!({ "id": id, "amount": amount.to_string() });
        let reply = call(world, "POST", &of(&held, "/usage"), &body, SHOP_KEY);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.field("total").to_owned()
    };
    assert_eq!(report(&world, "a", 100_000), "100000");
    assert_eq!(report(&world, "b", 200_000), "300000");
    assert_eq!(report(&world, "b", 200_000), "300000", "the same report again");
    wait_state(&world, &AUTH_CAPTURE_V11, &held.hash, 700_000, 300_000);

    // What was scheduled outlives the process.
    world.facilitator.kill();
    world.facilitator.restart();
    assert_eq!(report(&world, "c", 150_000), "450000");
    // The second capture, and at the last call the rest: forty seconds after the sale at the latest.
    wait_state(&world, &AUTH_CAPTURE_V11, &held.hash, 0, 450_000);
    let moved = Money::of(&world, &AUTH_CAPTURE_V11, &buyer.address).since(before);
    assert_eq!((moved.payer, moved.held), (-450_000, 0));
    assert_eq!(moved.merchant + moved.fees, 450_000);
    assert!(moved.fees <= 4_500, "each capture floors its own fee: {moved:?}");
}
