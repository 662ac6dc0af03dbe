//! What the facilitator keeps for a merchant that lost its own records.

use devnet::{AUTH_CAPTURE_V11, MERCHANT};
use e2e::escrow::{self, AUTHORIZER_KEY, PRICE, SHOP, SHOP_KEY, STRANGER_KEY, Shop, post, wait_state};
use e2e::hold::{Hold, Method};
use e2e::sign::{self, hex0x};
use e2e::{Reply, World};
use serde_json::{Value, json};

use super::reason;

fn get(world: &World, path: &str, key: &str) -> Reply {
    let value = format!("Bearer {key}");
    let headers = [("authorization", value.as_str())];
    world
        .facilitator
        .client()
        .send("GET", path, &[], &headers)
        .expect("an answer")
}

fn signed(digest: &Value) -> Value {
    let digest = digest.as_str().expect("a digest").trim_start_matches("0x");
    let digest = hex::decode(digest).expect("hex").try_into().expect("32 bytes");
    json!(hex0x(&sign::sign(AUTHORIZER_KEY, &digest)))
}

#[test]
fn a_merchant_that_lost_its_record_finds_the_payment_and_captures_it() {
    let world = escrow::world("").start();
    let deferred = [("AUTHORIZER_KEY", AUTHORIZER_KEY), ("CAPTURE_MODE", "deferred")];
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &deferred);
    let hash = shop.sell(&world.chain.buyers[2], "").hash;
    drop(shop);

    let list = format!(
        "/auth-capture/payments?receiver={}&state=held",
        world.chain.merchant.address
    );
    let found = get(&world, &list, SHOP_KEY).json;
    assert_eq!(found["payments"][0]["paymentInfoHash"], hash, "{found}");
    let payment = get(&world, &format!("/auth-capture/payments/{hash}"), SHOP_KEY).json;
    assert_eq!(
        (&payment["capturableAmount"], &payment["actions"]),
        (&json!(PRICE.to_string()), &json!(["capture", "void"])),
        "{payment}"
    );

    let query = format!("/auth-capture/payments/{hash}/digest?operation=capture&amount=250000");
    let order = get(&world, &query, SHOP_KEY).json;
    let mut body = order["settle"].clone();
    body["paymentPayload"]["payload"]["authorizerSignature"] = signed(&order["digest"]);
    body["paymentPayload"]["payload"]["voidAuthorizerSignature"] = signed(&order["voidDigest"]);
    let _ = post(&world, "/settle", &body, SHOP_KEY).paid();
    wait_state(&world, &AUTH_CAPTURE_V11, &hash, 0, 250_000);
    let payment = get(&world, &format!("/auth-capture/payments/{hash}"), SHOP_KEY).json;
    assert_eq!(payment["state"], "captured", "{payment}");
}

#[test]
fn t17_a_payment_is_shown_to_the_tenant_alone_that_had_it_held() {
    let world = escrow::world("").start();
    let deferred = [("AUTHORIZER_KEY", AUTHORIZER_KEY), ("CAPTURE_MODE", "deferred")];
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &deferred);
    let hash = shop.sell(&world.chain.buyers[2], "").hash;
    let list = get(&world, "/auth-capture/payments", STRANGER_KEY);
    assert_eq!(
        (list.status, &list.json["payments"]),
        (200, &json!([])),
        "{list:?}"
    );
    for path in ["", "/digest?operation=void"] {
        let reply = get(
            &world,
            &format!("/auth-capture/payments/{hash}{path}"),
            STRANGER_KEY,
        );
        assert_eq!(reply.status, 404, "{reply:?}");
    }
    assert_eq!(get(&world, "/auth-capture/payments", "nobody's key").status, 401);
}

#[test]
fn t17_a_listed_receivers_payments_are_its_tenants_no_matter_who_settled_them() {
    const PLAIN: &str = "max_gas = 1000000";
    let mut world = escrow::world(&format!("{PLAIN}\n")).start();
    let hold = |world: &World, buyer: usize| Hold::v1_1(world, buyer, AUTH_CAPTURE_V11, Method::Eip3009);
    let first = hold(&world, 2);
    let _ = post(&world, "/settle", &first.body(&world), STRANGER_KEY).paid();
    let path = format!("/auth-capture/payments/{}", first.hash(&world));
    assert_eq!(
        get(&world, &path, SHOP_KEY).status,
        404,
        "as long as no tenant lists the receiver"
    );

    world.facilitator.kill();
    let listed = format!(
        "{PLAIN}\nreceivers = [{{ tenant = {SHOP:?}, receiver = {:?} }}]",
        MERCHANT.0
    );
    world.facilitator.reconfigure(PLAIN, &listed);
    world.facilitator.restart();
    assert_eq!(get(&world, &path, SHOP_KEY).status, 200);
    assert_eq!(get(&world, &path, STRANGER_KEY).status, 404);
    let found = get(&world, "/auth-capture/payments?state=held", SHOP_KEY).json;
    assert_eq!(
        found["payments"][0]["paymentInfoHash"],
        first.hash(&world),
        "{found}"
    );

    let second = hold(&world, 3);
    let body = second.body(&world);
    world.untouched(|| {
        let verified = post(&world, "/verify", &body, STRANGER_KEY);
        assert_eq!(verified.field("invalidReason"), reason::STRANGER, "{verified:?}");
        post(&world, "/settle", &body, STRANGER_KEY).refused(reason::STRANGER);
    });
    let _ = post(&world, "/settle", &body, SHOP_KEY).paid();
}
