//! Crashes and waiting: an operation is carried out once, whenever the process dies.

use devnet::{AUTH_CAPTURE_V11, Mining};
use e2e::escrow::{self, AUTHORIZER_KEY, PRICE, SHOP_KEY, Shop, post};
use e2e::hold::{Hold, Method};
use e2e::{World, wait};
use serde_json::json;

use super::reason;

fn wait_for(world: &World, hash: &str, capturable: u128, refundable: u128) {
    wait::until("the escrow's state", wait::LONG, || {
        let state = world
            .chain
            .payment_state(&AUTH_CAPTURE_V11, hash)
            .expect("the node answers");
        ((state.capturable, state.refundable) == (capturable, refundable)).then_some(())
    });
}

#[test]
fn a_hold_that_was_pending_at_a_crash_is_one_hold() {
    let mut world = escrow::world("")
        .mining(Mining::Manual)
        .server("settle_wait_seconds = 1")
        .start();
    let hold = Hold::v1_1(&world, 2, AUTH_CAPTURE_V11, Method::Eip3009);
    let body = hold.body(&world);
    let sent = post(&world, "/settle", &body, SHOP_KEY).pending();
    world.facilitator.kill();
    world.facilitator.restart();
    world.chain.mine(1).expect("mines");
    wait_for(&world, &hold.hash(&world), PRICE, 0);
    let answered = wait::until("the answer", wait::LONG, || {
        let reply = post(&world, "/settle", &body, SHOP_KEY);
        reply.is_success().then(|| reply.paid())
    });
    assert_eq!((answered, world.sent()), (sent, 1));
}

/// Two keys, of which one is a signer.
fn with_a_spare_key() -> World {
    escrow::world("")
        .signers(2)
        .network(&format!("signers = [\"signer0\"]\n{}", escrow::NETWORK_LINES))
        .start()
}

#[test]
fn t61_the_signer_of_a_hold_is_kept_until_it_is_no_longer_needed() {
    let mut world = with_a_spare_key();
    let deferred = [("AUTHORIZER_KEY", AUTHORIZER_KEY), ("CAPTURE_MODE", "deferred")];
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &deferred);
    let payment = shop.sell(&world.chain.buyers[2], "");
    // Final, so that nothing but the hold itself needs the key.
    world.chain.mine(2).expect("mines");
    world.facilitator.kill();
    world
        .facilitator
        .reconfigure("signers = [\"signer0\"]", "signers = [\"signer1\"]");
    let (status, log) = world.facilitator.restart_refused();
    assert!(!status.success(), "{log}");
    assert!(
        log.contains("retained_signers") && log.contains("signer0"),
        "{log}"
    );

    world.facilitator.reconfigure(
        "signers = [\"signer1\"]",
        "signers = [\"signer1\"]\nretained_signers = [\"signer0\"]",
    );
    world.facilitator.restart();
    let reply = shop.order(&payment, "capture", &json!({"amount": "250000"}));
    assert_eq!(reply["success"], true, "{reply}");
    wait_for(&world, &payment.hash, PRICE - 250_000, 250_000);
}

#[test]
fn t61_a_retained_signer_takes_no_new_holds_and_keeps_its_answers() {
    let mut world = with_a_spare_key();
    let known = Hold::v1_1(&world, 2, AUTH_CAPTURE_V11, Method::Eip3009);
    let (hash, known) = (known.hash(&world), known.body(&world));
    let paid = post(&world, "/settle", &known, SHOP_KEY).paid();
    world.chain.mine(2).expect("mines");
    world.facilitator.kill();
    world.facilitator.reconfigure(
        "signers = [\"signer0\"]",
        "signers = [\"signer1\"]\nretained_signers = [\"signer0\"]",
    );
    world.facilitator.restart();

    world.untouched(|| {
        let again = post(&world, "/settle", &known, SHOP_KEY);
        assert_eq!(
            (again.field("errorReason"), again.field("transaction")),
            ("duplicate_settlement", paid.as_str()),
            "{again:?}"
        );
        let new = Hold::v1_1(&world, 3, AUTH_CAPTURE_V11, Method::Eip3009).body(&world);
        post(&world, "/settle", &new, SHOP_KEY).refused(reason::NOT_ADMITTED);
        let verified = post(&world, "/verify", &new, SHOP_KEY);
        assert_eq!(
            verified.field("invalidReason"),
            reason::NOT_ADMITTED,
            "{verified:?}"
        );
        let message = verified.field("invalidMessage");
        assert!(message.contains("fetch a new offer"), "{message}");
    });
    wait_for(&world, &hash, PRICE, 0);
}

#[test]
fn the_void_after_a_capture_outlives_a_crash() {
    let mut world = escrow::world("").start();
    let deferred = [("AUTHORIZER_KEY", AUTHORIZER_KEY), ("CAPTURE_MODE", "deferred")];
    let shop = Shop::open(&world, AUTH_CAPTURE_V11, &deferred);
    let payment = shop.sell(&world.chain.buyers[2], "");
    let draft = shop.draft(&payment, "capture", json!({"amount": "250000", "closeOut": true}));
    let captured = post(&world, "/settle", &draft, SHOP_KEY).paid();
    // It waits for the capture to be final.
    wait_for(&world, &payment.hash, PRICE - 250_000, 250_000);
    let shown = |world: &World| {
        let (path, key) = (
            format!("/auth-capture/payments/{}", payment.hash),
            format!("Bearer {SHOP_KEY}"),
        );
        let headers = [("authorization", key.as_str())];
        let reply = world.facilitator.client().send("GET", &path, &[], &headers);
        reply.expect("an answer").json["voidRemainder"].clone()
    };
    let waiting = shown(&world);
    assert_eq!(
        (&waiting["state"], &waiting["capture"]),
        (&json!("waiting"), &json!(captured)),
        "{waiting}"
    );
    world.facilitator.kill();
    world.facilitator.restart();
    world.chain.mine(2).expect("mines");
    wait_for(&world, &payment.hash, 0, 250_000);
    assert_eq!(world.sent(), 3, "hold, capture, void");
    let done = wait::until("the void is recorded", wait::LONG, || {
        let shown = shown(&world);
        (shown["state"] == "done").then_some(shown)
    });
    assert_eq!(done["capture"], json!(captured), "{done}");
}
