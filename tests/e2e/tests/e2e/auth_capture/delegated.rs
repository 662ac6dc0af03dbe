//! The facilitator gives orders for its tenants: the payment belongs to who had it held, and to nobody else.

use devnet::{AUTH_CAPTURE_V11, MERCHANT};
use e2e::escrow::{self, PRICE, SHOP, SHOP_KEY, STRANGER_KEY, Shop, delegated, post, wait_state};
use serde_json::json;

use super::reason;

#[test]
fn t63_a_payment_held_for_a_tenant_takes_orders_of_that_tenant_alone() {
    let world = escrow::world(&delegated(MERCHANT.0)).start();
    let settings = [("BIND", "yes"), ("CAPTURE_MODE", "deferred")];
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &settings);
    let payment = shop.sell(&world.chain.buyers[2], "");
    let draft = shop.draft(&payment, "capture", json!({"amount": "250000", "closeOut": true}));
    assert_eq!(
        draft["paymentPayload"]["payload"]["voidRemainder"], true,
        "{draft}"
    );
    world.untouched(|| post(&world, "/settle", &draft, STRANGER_KEY).refused(reason::STRANGER));
    let _ = post(&world, "/settle", &draft, SHOP_KEY).paid();
    wait_state(&world, &AUTH_CAPTURE_V11, &payment.hash, 0, 250_000);
}

#[test]
fn t63_a_tenant_captures_by_a_plain_request_and_a_repeat_is_harmless() {
    let world = escrow::world(&delegated(MERCHANT.0)).start();
    let settings = [("BIND", "yes"), ("CAPTURE_MODE", "deferred")];
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &settings);
    let payment = shop.sell(&world.chain.buyers[2], "");
    let capture = format!("/auth-capture/payments/{}/capture", payment.hash);
    let body = json!({
        "amount": "250000",
        "expectedCapturableAmount": PRICE.to_string(),
        "expectedRefundableAmount": "0",
    });
    assert_eq!(post(&world, &capture, &body, STRANGER_KEY).status, 404);
    let reply = post(&world, &capture, &body, SHOP_KEY);
    assert_eq!((reply.status, reply.is_success()), (200, true), "{reply:?}");
    let again = world.untouched(|| post(&world, &capture, &body, SHOP_KEY));
    assert_eq!(
        (again.status, again.is_success()),
        (200, false),
        "answered before: {again:?}"
    );
    wait_state(&world, &AUTH_CAPTURE_V11, &payment.hash, 750_000, 250_000);
}

#[test]
fn an_authorizer_that_no_tenant_can_use_is_never_advertised() {
    let mut world = escrow::world(&delegated(MERCHANT.0)).start();
    let key = format!("Bearer {SHOP_KEY}");
    let headers = [("authorization", key.as_str())];
    let supported = world
        .facilitator
        .client()
        .send("GET", "/supported", &[], &headers);
    let kinds = supported.expect("an answer").json["kinds"].clone();
    let offered = |kind: &serde_json::Value| !kind["extra"]["receiverAuthorizer"].is_null();
    assert!(kinds.as_array().expect("a list").iter().any(offered), "{kinds}");
    world.facilitator.kill();

    let list = format!(
        "receivers = [{{ tenant = {SHOP:?}, receiver = {:?} }}]\n",
        MERCHANT.0
    );
    let name = format!("name = {SHOP:?}\n");
    let place = "plugin.auth-capture.config.delegated_authorizer.receivers";
    for (from, to, message) in [
        (&list, String::new(), "is missing; write receivers"),
        (&list, "receivers = []\n".to_owned(), "must be"),
        (&name, "name = \"other\"\n".to_owned(), "is not a tenant"),
        (
            &name,
            format!("{name}scopes = [\"verify\", \"supported\"]\n"),
            "add \"settle\" to its scopes",
        ),
    ] {
        let before = std::fs::read_to_string(world.facilitator.config_file()).expect("the configuration");
        world.facilitator.reconfigure(from, &to);
        let (is_good, checked) = world.facilitator.command(&["check"]);
        let (status, served) = world.facilitator.restart_refused();
        assert!(!is_good && !status.success(), "{message:?}: {checked}{served}");
        for log in [checked, served] {
            assert!(
                log.contains(place) && log.contains(message),
                "{message:?} in {log}"
            );
        }
        std::fs::write(world.facilitator.config_file(), before).expect("written");
    }
}
