//! Orders that must not be carried out: changed, given twice, raced, given without the agreement they need.

use devnet::{AUTH_CAPTURE_V11, MERCHANT, Npm};
use e2e::World;
use e2e::escrow::{self, AUTHORIZER_KEY, PRICE, SHOP_KEY, STRANGER_KEY, Shop, fund, post, refunds};
use serde_json::{Value, json};

use super::reason;

const DEFERRED: [(&str, &str); 2] = [("AUTHORIZER_KEY", AUTHORIZER_KEY), ("CAPTURE_MODE", "deferred")];

fn state(world: &World, hash: &str) -> (u128, u128) {
    let state = world
        .chain
        .payment_state(&AUTH_CAPTURE_V11, hash)
        .expect("the node answers");
    (state.capturable, state.refundable)
}

fn changed(body: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut body = body.clone();
    change(&mut body);
    body
}

#[test]
fn t60_t62_an_order_is_good_for_exactly_what_was_signed() {
    let world = escrow::world(&refunds(MERCHANT.0)).start();
    fund(&world);
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &DEFERRED);
    let payment = shop.sell(&world.chain.buyers[2], "");
    let draft = shop.draft(&payment, "capture", json!({"amount": "400000"}));
    let member = |name: &'static str, value: Value| {
        changed(&draft, |body| body["paymentPayload"]["payload"][name] = value)
    };
    world.untouched(|| {
        for (body, expected) in [
            (member("amount", json!("400001")), reason::SIGNATURE),
            (member("feeAmount", json!("4001")), reason::SIGNATURE),
            (
                member("expectedCapturableAmount", json!("999999")),
                reason::SIGNATURE,
            ),
            (
                member("authorizerSignature", json!(format!("0x{}", "11".repeat(65)))),
                reason::SIGNATURE,
            ),
        ] {
            post(&world, "/settle", &body, SHOP_KEY).refused(expected);
        }
    });
    let hash = post(&world, "/settle", &draft, SHOP_KEY).paid();
    assert_eq!(state(&world, &payment.hash), (600_000, 400_000));
    // The same again, which is a replay; and to another tenant it is not even that.
    world.untouched(|| {
        assert_eq!(
            post(&world, "/settle", &draft, SHOP_KEY).failed("duplicate_settlement"),
            hash
        );
        let stranger = post(&world, "/settle", &draft, STRANGER_KEY);
        assert!(
            !stranger.is_success() && !stranger.text.contains(&hash),
            "{stranger:?}"
        );
    });
}

#[test]
fn t60_two_captures_at_once_that_together_exceed_the_hold_are_one() {
    let world = escrow::world("").start();
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &DEFERRED);
    let payment = shop.sell(&world.chain.buyers[2], "");
    let draft = |amount: &str| shop.draft(&payment, "capture", json!({"amount": amount}));
    let drafts = [draft("600000"), draft("700000")];
    let replies: Vec<_> = std::thread::scope(|scope| {
        let requests = drafts.each_ref().map(|body| {
            let world = &world;
            scope.spawn(move || post(world, "/settle", body, SHOP_KEY))
        });
        requests
            .into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    });
    let done = replies.iter().filter(|reply| reply.is_success()).count();
    assert_eq!(done, 1, "{replies:?}");
    for reply in replies.iter().filter(|reply| !reply.is_success()) {
        reply.refused(reason::STATE);
    }
    let (capturable, refundable) = state(&world, &payment.hash);
    assert!([600_000, 700_000].contains(&refundable), "{refundable}");
    assert_eq!(capturable + refundable, PRICE);
}

#[test]
fn a_facilitator_that_is_open_to_all_callers_takes_orders_by_their_signature() {
    let world = World::builder().auth_capture("").start();
    let (npm, merchant) = (Npm::ensure().expect("installed"), &world.chain.merchant.address);
    let shop = Shop::start(
        &npm,
        &world.facilitator.url(),
        merchant,
        AUTH_CAPTURE_V11,
        &DEFERRED,
    )
    .expect("the shop starts");
    let payment = shop.sell(&world.chain.buyers[2], "");
    for (what, body) in [("capture", json!({"amount": "300000"})), ("void", json!({}))] {
        let reply = shop.order(&payment, what, &body);
        assert_eq!(reply["success"], true, "{what}: {reply}");
    }
    assert_eq!(
        (state(&world, &payment.hash), world.earned()),
        ((0, 300_000), 300_000)
    );
}

#[test]
fn t64_refunds_need_an_agreement_with_this_tenant_about_this_receiver() {
    let world = escrow::world("").start();
    fund(&world);
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &[("AUTHORIZER_KEY", AUTHORIZER_KEY)]);
    let payment = shop.sell(&world.chain.buyers[2], "");
    let draft = shop.draft(&payment, "refund", json!({"amount": "1"}));
    world.untouched(|| {
        post(&world, "/settle", &draft, SHOP_KEY).refused(reason::NO_FUNDING);
        post(&world, "/verify", &draft, SHOP_KEY).refused(reason::NO_FUNDING);
    });

    let world = escrow::world(&refunds(MERCHANT.0)).start();
    fund(&world);
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &[("AUTHORIZER_KEY", AUTHORIZER_KEY)]);
    let payment = shop.sell(&world.chain.buyers[2], "");
    let draft = shop.draft(&payment, "refund", json!({"amount": "1"}));
    world.untouched(|| post(&world, "/settle", &draft, STRANGER_KEY).refused(reason::NO_FUNDING));
    // The refund deadline ends it for all.
    world.chain.increase_time(7_200).expect("time passes");
    world.chain.mine(1).expect("mines");
    world.untouched(|| post(&world, "/settle", &draft, SHOP_KEY).refused(reason::REFUND_OVER));
}
