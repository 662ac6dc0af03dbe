//! The wire of the seed documents (scheme v1.0), which the official client no longer speaks: `autoCapture` decides
//! between charge and hold, fees are basis points, and nobody gives orders over HTTP.

use devnet::{AUTH_CAPTURE_V10, BUYER_TOKENS};
use e2e::World;
use e2e::escrow::{self, FEE_BPS, FEE_RECEIVER, PRICE, SHOP_KEY, post, reclaims};
use e2e::hold::{Hold, Method, allow_permit2};

fn pays(world: &World, buyer: usize, method: Method, auto_capture: bool) {
    allow_permit2(world, buyer);
    let hold = Hold::v1_0(world, buyer, method, auto_capture);
    let body = hold.body(world);
    let before = (world.earned(), world.balance(FEE_RECEIVER));
    world.untouched(|| post(world, "/verify", &body, SHOP_KEY).valid());
    let reply = post(world, "/settle", &body, SHOP_KEY);
    let _ = reply.paid();
    assert_eq!(reply.json["amount"], PRICE.to_string(), "{reply:?}");
    let state = world
        .chain
        .payment_state(&AUTH_CAPTURE_V10, &hold.hash(world))
        .expect("the node answers");
    let fee = PRICE * FEE_BPS / 10_000;
    let (expected, earned, fees) = if auto_capture {
        ((0, PRICE), PRICE - fee, fee)
    } else {
        ((PRICE, 0), 0, 0)
    };
    assert_eq!((state.capturable, state.refundable), expected);
    assert_eq!(
        (world.earned(), world.balance(FEE_RECEIVER)),
        (before.0 + earned, before.1 + fees)
    );
    assert_eq!(world.balance(&hold.info.payer), BUYER_TOKENS - PRICE);
}

#[test]
fn the_seed_wire_holds_and_charges_by_both_methods() {
    let world = escrow::world("").start();
    pays(&world, 2, Method::Eip3009, false);
    pays(&world, 3, Method::Eip3009, true);
    pays(&world, 4, Method::Permit2, false);
    pays(&world, 5, Method::Permit2, true);
}

#[test]
fn the_seed_wire_is_refused_where_it_is_switched_off() {
    let world = escrow::world("scheme_v1_0 = false").start();
    let body = Hold::v1_0(&world, 2, Method::Eip3009, false).body(&world);
    let collector = "invalid_auth_capture_evm_token_collector_mismatch";
    world.untouched(|| {
        post(&world, "/verify", &body, SHOP_KEY).refused(collector);
        post(&world, "/settle", &body, SHOP_KEY).refused(collector);
    });
}

#[test]
fn an_uncaptured_hold_returns_to_the_payer_who_reclaims() {
    let world = escrow::world("").start();
    let hold = Hold::v1_0(&world, 2, Method::Eip3009, false);
    let _ = post(&world, "/settle", &hold.body(&world), SHOP_KEY).paid();
    world.chain.increase_time(3_600).expect("time passes");
    world.chain.mine(1).expect("mines");
    assert!(reclaims(&world, &AUTH_CAPTURE_V10, &hold.info));
    assert_eq!(world.balance(&hold.info.payer), BUYER_TOKENS);
}
