//! Every reason of `exact` with EIP-3009 that the request itself gives: HTTP 200, the exact reason, nothing sent.

use devnet::BUYER_TOKENS;
use e2e::payment::{PRICE, now_s};
use e2e::{Payment, World};
use serde_json::{Value, json};

use crate::reason;

const STRANGER: &str = "0x00000000000000000000000000000000000057a9";
const BEFORE: &str = "invalid_exact_evm_payload_authorization_valid_before";
const AFTER: &str = "invalid_exact_evm_payload_authorization_valid_after";
const VALUE: &str = "invalid_exact_evm_payload_authorization_value_mismatch";
const VALUE_V1: &str = "invalid_exact_evm_authorization_value";
const RECIPIENT: &str = "invalid_exact_evm_recipient_mismatch";
const DOMAIN: &str = "invalid_exact_evm_missing_eip712_domain";
const NETWORK: &str = "invalid_exact_evm_network_mismatch";
const SCHEME: &str = "invalid_exact_evm_scheme";

type Edit = fn(&mut Payment);

#[test]
fn t05_every_refusal_is_200_with_the_protocols_object_and_moves_nothing() {
    let world = World::start();
    let signed: [(&str, &str, &str, Edit); 8] = [
        ("another payee", RECIPIENT, RECIPIENT, |p| {
            p.pay_to = STRANGER.to_owned()
        }),
        ("expired", BEFORE, BEFORE, |p| {
            p.transfer.valid_before = now_s() - 1
        }),
        ("about to expire", BEFORE, BEFORE, |p| {
            p.transfer.valid_before = now_s() + 4
        }),
        ("not valid yet", AFTER, AFTER, |p| {
            p.transfer.valid_after = now_s() + 300
        }),
        ("too little", VALUE, VALUE_V1, |p| p.transfer.value = PRICE - 1),
        ("too much", VALUE, VALUE_V1, |p| p.transfer.value = PRICE + 1),
        ("more than the balance", reason::BALANCE, reason::BALANCE, |p| {
            (p.transfer.value, p.amount) = (BUYER_TOKENS + 1, BUYER_TOKENS + 1);
        }),
        (
            "signed for another chain",
            reason::SIGNATURE,
            reason::SIGNATURE,
            |p| p.domain.chain_id = 8453,
        ),
    ];
    world.untouched(|| {
        for (case, v2, v1, edit) in signed {
            let mut payment = world.payment(2);
            edit(&mut payment);
            eprintln!("{case}");
            for (body, reason) in [(payment.v2(), v2), (payment.v1(), v1), (payment.legacy0(), v1)] {
                let (verify, settle) = (world.verify(&body), world.settle(&body));
                verify.is_object_of_the_protocol_in_any_shape();
                assert_eq!(verify.field("invalidReason"), reason, "{case}: {verify:?}");
                assert_eq!(settle.field("errorReason"), reason, "{case}: {settle:?}");
                assert_eq!(
                    (settle.status, settle.field("transaction")),
                    (200, ""),
                    "{case}: {settle:?}"
                );
                assert_eq!(verify.field("payer"), payment.transfer.from, "{case}");
            }
        }
    });
}

#[test]
fn t05_members_that_contradict_each_other_are_refused_in_order() {
    let world = World::start();
    let cases: [(&str, &str, Value); 13] = [
        (SCHEME, "/paymentPayload/accepted/scheme", json!("upto")),
        (NETWORK, "/paymentPayload/accepted/network", json!("eip155:1")),
        (DOMAIN, "/paymentRequirements/extra", json!({})),
        (DOMAIN, "/paymentRequirements/extra/version", json!("")),
        (DOMAIN, "/paymentRequirements/extra/name", json!(7)),
        (reason::INVALID_PAYLOAD, "/paymentPayload/payload", json!({})),
        (
            reason::INVALID_PAYLOAD,
            "/paymentPayload/payload/authorization",
            json!([]),
        ),
        (
            reason::INVALID_PAYLOAD,
            "/paymentPayload/payload/authorization/from",
            json!("0x12"),
        ),
        (
            reason::INVALID_PAYLOAD,
            "/paymentPayload/payload/authorization/nonce",
            json!("0xzz"),
        ),
        (
            reason::INVALID_PAYLOAD,
            "/paymentPayload/payload/signature",
            json!("0xabc"),
        ),
        (
            reason::INVALID_REQUIREMENTS,
            "/paymentRequirements/asset",
            json!("USDC"),
        ),
        (
            reason::INVALID_REQUIREMENTS,
            "/paymentRequirements/payTo",
            json!("0x"),
        ),
        (
            reason::INVALID_REQUIREMENTS,
            "/paymentRequirements/maxTimeoutSeconds",
            json!(0),
        ),
    ];
    world.untouched(|| {
        for (reason, place, value) in &cases {
            let mut body = world.payment(2).v2();
            *body.pointer_mut(place).expect("the member") = value.clone();
            world.verify(&body).refused(reason);
            world.settle(&body).refused(reason);
        }
    });
}

#[test]
fn t08_the_buyers_accepted_member_does_not_bind_the_seller() {
    let world = World::start();
    let mut body = world.payment(2).v2();
    body["paymentPayload"]["accepted"]["amount"] = "1".into();
    body["paymentPayload"]["accepted"]["payTo"] = STRANGER.into();
    // Signed is what the seller demands: it is paid, whatever `accepted` contains.
    let _ = world.settle(&body).paid();
    assert_eq!(world.earned(), PRICE);
    // Signed is what the buyer wrote into `accepted`: refused.
    let mut cheap = world.payment(3).of(1);
    cheap.amount = PRICE;
    let mut body = cheap.v2();
    body["paymentPayload"]["accepted"]["amount"] = "1".into();
    world.untouched(|| world.settle(&body).refused(VALUE));
}

#[test]
fn t11_numbers_are_decimal_strings_or_small_integers() {
    let world = World::start();
    let two_to_256 = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    let traps = [
        json!("1e4"),
        json!("10000.0"),
        json!(10_000.5),
        json!("-10000"),
        json!(-10_000),
        json!("+10000"),
        json!(""),
        json!(" 10000"),
        json!("10000 "),
        json!(two_to_256),
        json!(9_007_199_254_740_993_u64),
        json!("１００００"),
        json!("0x"),
        json!("10_000"),
        json!("NaN"),
        json!(true),
        json!([10_000]),
        json!({"a": 1}),
    ];
    let pointers = [
        ("/paymentRequirements/amount", reason::INVALID_REQUIREMENTS),
        (
            "/paymentPayload/payload/authorization/value",
            reason::INVALID_PAYLOAD,
        ),
        (
            "/paymentPayload/payload/authorization/validAfter",
            reason::INVALID_PAYLOAD,
        ),
        (
            "/paymentPayload/payload/authorization/validBefore",
            reason::INVALID_PAYLOAD,
        ),
    ];
    world.untouched(|| {
        for trap in &traps {
            for (pointer, reason) in pointers {
                let mut body = world.payment(2).v2();
                *body.pointer_mut(pointer).expect("the member") = trap.clone();
                let reply = world.settle(&body);
                assert_eq!(
                    (reply.status, reply.field("errorReason")),
                    (200, reason),
                    "{trap} at {pointer}: {reply:?}"
                );
            }
        }
    });
    // The same numbers in their other allowed forms are the same payment.
    let mut body = world.payment(2).v2();
    body["paymentRequirements"]["amount"] = json!(10_000);
    body["paymentPayload"]["payload"]["authorization"]["value"] = json!("0x2710");
    let _ = world.settle(&body).paid();
}
