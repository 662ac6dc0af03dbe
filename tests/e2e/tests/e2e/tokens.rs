//! Assets that are not what they seem. The operator allowed them here; only the receipt shows it.

use devnet::{ACCEPTS_ANYTHING, FEE_TOKEN, LYING_TOKEN, USDC};
use e2e::payment::{NETWORK, PRICE};
use e2e::{Payment, World};
use serde_json::json;

use crate::reason;

const NOBODY: &str = "0x00000000000000000000000000000000000e0a00";

fn world() -> World {
    let assets = json!([FEE_TOKEN, LYING_TOKEN, ACCEPTS_ANYTHING, NOBODY]);
    World::builder().network(&format!("assets = {assets}")).start()
}

fn lying(world: &World, buyer: usize) -> Payment {
    world.payment(buyer).in_token(LYING_TOKEN, "Lying Dollar", "1")
}

/// Lets the lying token revert in the next block, and in no block before it.
fn turn_next(world: &World) {
    let (height, _) = world.chain.head().expect("the node answers");
    world.chain.set_token_turn(height + 1).expect("the token turns");
}

#[test]
fn t29_an_asset_without_code_pays_nothing() {
    let world = world();
    let payment = world.payment(2).in_token(NOBODY, "USDC", "2");
    world.untouched(|| {
        world.verify(&payment.v2()).refused("asset_not_deployed_contract");
        world.settle(&payment.v2()).refused("asset_not_deployed_contract");
    });
}

#[test]
fn an_asset_that_is_not_allowed_is_refused_before_it_is_touched() {
    let world = World::start();
    let payment = world.payment(2).in_token(FEE_TOKEN, "Fee Dollar", "1");
    world.untouched(|| {
        world.verify(&payment.v2()).refused(reason::INVALID_REQUIREMENTS);
        world.settle(&payment.v2()).refused(reason::INVALID_REQUIREMENTS);
    });
}

#[test]
fn t30_a_transfer_that_keeps_a_fee_is_not_a_payment() {
    let world = world();
    let payment = world.payment(2).in_token(FEE_TOKEN, "Fee Dollar", "1");
    let hash = world.settle(&payment.v2()).failed(reason::EVENT);
    assert_eq!(hash.len(), 66);
    assert_eq!(
        world.settle(&payment.v2()).failed(reason::EVENT),
        hash,
        "the same failure again"
    );
    assert_eq!(world.sent(), 1);
}

#[test]
fn t30_false_and_missing_logs_are_no_payment() {
    let world = world();
    // No transfer log, one unit less, another payee, another emitter.
    for (buyer, mood) in [(2, 1), (3, 2), (4, 3), (5, 4)] {
        world
            .chain
            .set_token_mood(mood)
            .expect("the token changes its mood");
        let hash = world.settle(&lying(&world, buyer).v2()).failed(reason::EVENT);
        assert_eq!(hash.len(), 66, "mood {mood}");
    }
    let got = |merchant: &str| world.chain.balance_of(LYING_TOKEN, merchant).expect("a balance");
    assert_eq!(got(&world.chain.merchant.address), PRICE - 1);
    // It moves all of it, and logs nothing, or something else, about the authorization: no proof that it was this payment.
    for (buyer, mood) in [(6, 6), (7, 7)] {
        world
            .chain
            .set_token_mood(mood)
            .expect("the token changes its mood");
        let hash = world.settle(&lying(&world, buyer).v2()).failed(reason::EVENT);
        assert_eq!(hash.len(), 66, "mood {mood}");
    }
    assert_eq!(world.sent(), 6);
}

#[test]
fn t31_a_paused_or_blacklisted_payer_costs_no_gas() {
    let world = World::start();
    let payment = world.payment(2);
    world.verify(&payment.v2()).valid();
    world.chain.pause(USDC, true).expect("paused");
    world.untouched(|| {
        world.verify(&payment.v2()).refused(reason::SIMULATION);
        world.settle(&payment.v2()).refused(reason::SIMULATION);
    });
    world.chain.pause(USDC, false).expect("unpaused");
    world
        .chain
        .set_blacklisted(USDC, &world.chain.buyers[2].address, true)
        .expect("blacklisted");
    world.untouched(|| world.settle(&payment.v2()).refused(reason::SIMULATION));
    world
        .chain
        .set_blacklisted(USDC, &world.chain.buyers[2].address, false)
        .expect("forgiven");
    let _ = world.settle(&payment.v2()).paid();
}

#[test]
fn t31_a_transfer_that_reverts_only_when_mined_costs_gas_once() {
    let world = world();
    world.chain.set_token_mood(8).expect("the token changes its mood");
    turn_next(&world);
    let body = lying(&world, 2).v2();
    world.verify(&body).valid();
    let hash = world.settle(&body).failed(reason::FAILED);
    let receipt = world
        .chain
        .receipt(&hash)
        .expect("the node answers")
        .expect("a receipt");
    assert_eq!(receipt["status"], "0x0");
    for _ in 0..3 {
        assert_eq!(world.settle(&body).failed(reason::FAILED), hash);
    }
    assert_eq!((world.sent(), world.mined()), (1, 1));
}

#[test]
fn t31_a_payer_whose_payments_keep_failing_on_chain_has_to_wait() {
    let world = world();
    world.chain.set_token_mood(8).expect("the token changes its mood");
    for _ in 0..3 {
        turn_next(&world);
        let hash = world.settle(&lying(&world, 2).v2()).failed(reason::FAILED);
        assert_eq!(hash.len(), 66);
    }
    turn_next(&world);
    world.untouched(|| {
        let body = lying(&world, 2).v2();
        world.verify(&body).refused("invalid_transaction_state");
        world.settle(&body).refused("invalid_transaction_state");
    });
    // It is the payer who waits, not all callers.
    let _ = world.settle(&world.payment(3).v2()).paid();
    assert_eq!(world.sent(), 4);
}

#[test]
fn t31_when_many_payers_burn_gas_new_payers_wait_and_known_ones_continue() {
    let assets = json!([LYING_TOKEN]);
    let world = World::builder()
        .buyers(30)
        .network(&format!("assets = {assets}"))
        .start();
    let _ = world.settle(&world.payment(24).v2()).paid();
    world.chain.set_token_mood(8).expect("the token changes its mood");
    for at in 0..20 {
        turn_next(&world);
        let _ = world.settle(&lying(&world, 2 + at).v2()).failed(reason::FAILED);
    }
    world.untouched(|| {
        let body = world.payment(25).v2();
        world.verify(&body).refused("invalid_transaction_state");
        let reply = world.settle(&body);
        reply.refused("invalid_transaction_state");
        assert!(reply.field("errorMessage").contains("many payments"), "{reply:?}");
    });
    let _ = world.settle(&world.payment(24).v2()).paid();
    let ready = world.facilitator.get("/ready");
    assert!(ready.status == 200 && ready.text.contains("alarms"), "{ready:?}");
    assert_eq!(world.metric("switchyard_failing_payments_total", ""), 1);
}

#[test]
fn a_token_that_burns_all_gas_is_refused_by_the_simulation() {
    let world = world();
    world.chain.set_token_mood(9).expect("the token changes its mood");
    let body = lying(&world, 2).v2();
    world.untouched(|| {
        world.verify(&body).refused(reason::SIMULATION);
        world.settle(&body).refused(reason::SIMULATION);
    });
}

#[test]
fn t31_a_token_that_answers_by_price_or_origin_costs_no_gas() {
    let world = world();
    // Fine in a call without a gas price; fine for a call that nobody sends.
    for (buyer, mood) in [(2, 11), (3, 12)] {
        world
            .chain
            .set_token_mood(mood)
            .expect("the token changes its mood");
        let body = lying(&world, buyer).v2();
        world.untouched(|| {
            world.settle(&body).refused(reason::SIMULATION);
            world.verify(&body).refused(reason::SIMULATION);
        });
    }
}

#[test]
fn t116_a_token_that_logs_the_transfer_first_pays() {
    let world = world();
    world
        .chain
        .set_token_mood(13)
        .expect("the token changes its mood");
    let _ = world.settle(&lying(&world, 2).v2()).paid();
    let got = world.chain.balance_of(LYING_TOKEN, &world.chain.merchant.address);
    assert_eq!(got.expect("a balance"), PRICE);
}

#[test]
fn t30_a_token_that_does_nothing_is_never_a_payment() {
    let world = world();
    world
        .chain
        .set_token_mood(14)
        .expect("the token changes its mood");
    let body = lying(&world, 2).v2();
    let hash = world.settle(&body).failed(reason::EVENT);
    for _ in 0..2 {
        assert_eq!(world.settle(&body).failed(reason::EVENT), hash);
    }
    assert_eq!(world.sent(), 1);
}

#[test]
fn t111_a_used_authorization_that_does_not_revert_is_refused_without_cost() {
    let world = world();
    world
        .chain
        .set_token_mood(15)
        .expect("the token changes its mood");
    let payment = lying(&world, 2);
    // Another sender used it.
    let sender = &world.chain.admin.address;
    world
        .chain
        .send(sender, LYING_TOKEN, &payment.calldata())
        .expect("used");
    world.untouched(|| {
        world.verify(&payment.v2()).refused(reason::NONCE_USED);
        world.settle(&payment.v2()).refused(reason::NONCE_USED);
    });
}

#[test]
fn a_token_that_floods_its_answers_hurts_nobody() {
    let world = world();
    world
        .chain
        .set_token_mood(17)
        .expect("the token changes its mood");
    let body = lying(&world, 2).v2();
    world.untouched(|| {
        world.verify(&body).refused(reason::SIMULATION);
        world.settle(&body).refused(reason::SIMULATION);
    });
    world
        .chain
        .set_token_mood(16)
        .expect("the token changes its mood");
    let _ = world.settle(&lying(&world, 3).v2()).paid();
    assert_eq!(world.sent(), 1);
}

#[test]
fn a_contract_that_accepts_anything_is_no_asset() {
    let world = world();
    let payment = || world.payment(2).in_token(ACCEPTS_ANYTHING, "USDC", "2");
    // It answers nothing; every question with yes; every question with zero.
    for (answer, reason) in [
        (None, "invalid_exact_evm_eip3009_not_supported"),
        (Some(1), reason::NONCE_USED),
        (Some(0), reason::BALANCE),
    ] {
        world.chain.set_accepted(answer).expect("it answers otherwise");
        world.untouched(|| world.settle(&payment().v2()).refused(reason));
    }
}

#[test]
fn a_balance_that_shrinks_without_a_transfer_is_read_before_the_send() {
    let world = world();
    world.chain.set_token_mood(0).expect("the token changes its mood");
    let payment = lying(&world, 2);
    world.verify(&payment.v2()).valid();
    let payer = &payment.transfer.from;
    world
        .chain
        .rebase(LYING_TOKEN, payer, PRICE - 1)
        .expect("rebased");
    world.untouched(|| world.settle(&payment.v2()).refused(reason::BALANCE));
    world.chain.rebase(LYING_TOKEN, payer, PRICE).expect("rebased");
    let _ = world.settle(&payment.v2()).paid();
}

#[test]
fn t35_a_wrong_signing_domain_is_named() {
    let world = World::start();
    for (name, version, reason) in [
        ("USD Coin", "2", "invalid_exact_evm_token_name_mismatch"),
        ("USDC", "1", "invalid_exact_evm_token_version_mismatch"),
    ] {
        let payment = world.payment(2).in_token(USDC, name, version);
        world.untouched(|| {
            world.verify(&payment.v2()).refused(reason);
            world.settle(&payment.v2()).refused(reason);
        });
    }
}

#[test]
fn an_asset_without_eip3009_is_named() {
    // Multicall3 has code and knows no authorizations.
    let asset = devnet::MULTICALL3;
    let world = World::builder().network(&format!("assets = [{asset:?}]")).start();
    let payment = world.payment(2).in_token(asset, "USDC", "2");
    world.untouched(|| {
        world
            .verify(&payment.v2())
            .refused("invalid_exact_evm_eip3009_not_supported");
        world
            .settle(&payment.v2())
            .refused("invalid_exact_evm_eip3009_not_supported");
    });
}

#[test]
fn a_described_token_is_shown_to_sellers_and_compared_with_the_chain() {
    let described = |name: &str| {
        let token = format!("{{ name = {name:?}, version = \"2\", symbol = \"USDC\", decimals = 6 }}");
        let options = format!("options = {{ max_clock_skew_s = 0, tokens = {{ {USDC:?} = {token} }} }}");
        World::builder().network(&options).start()
    };
    let world = described("USDC");
    let supported = world.facilitator.get("/supported").json;
    let asset = &supported["kinds"][0]["extra"]["assets"][0];
    assert_eq!(
        (&asset["address"], &asset["name"], &asset["decimals"]),
        (&json!(USDC.to_lowercase()), &json!("USDC"), &json!(6)),
        "{supported}"
    );
    assert!(!world.facilitator.get("/ready").text.contains("the chain says"));
    let world = described("USD Coin");
    let ready = world.facilitator.get("/ready");
    for part in ["the chain says", "USD Coin", "options.tokens", NETWORK] {
        assert!(ready.text.contains(part), "{part}: {ready:?}");
    }
}
