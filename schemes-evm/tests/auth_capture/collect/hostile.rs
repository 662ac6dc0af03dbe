//! Hostile members, encodings that must not make a difference, and faults that are no refusal.

use proptest::prelude::*;
use sdk_plugin::testkit::block_on;
use sdk_plugin::{FaultKind, PaymentRequest, SchemeHandler};
use serde_json::{Map, Value, json};

use super::offer::{OTHER, Offer, config, set_authorization};
use super::order::Draft;
use super::world::{Chain, World, hex_result, internal_error, revert};

fn world() -> World {
    World::new(config(), Chain::default())
}

#[test]
fn other_spellings_of_one_payload_are_one_payment() {
    let good = Offer::charged().signed();
    let plain = world().identify(&good).expect("a key");
    let respelled = |change: fn(&mut PaymentRequest)| {
        let mut request = good.clone();
        change(&mut request);
        world().identify(&request).expect("a key")
    };
    for equal in [
        respelled(|r| set_authorization(r, "from", json!(super::offer::PAYER.to_lowercase()))),
        respelled(|r| set_authorization(r, "value", json!(1_000_000))),
        respelled(|r| set_authorization(r, "value", json!("0xf4240"))),
        respelled(|r| r.requirements.asset = r.requirements.asset.to_lowercase()),
        respelled(|r| drop(r.requirements.extra.remove("authCaptureEscrow"))),
        respelled(|r| drop(r.requirements.extra.insert("authCaptureEscrow".into(), json!("")))),
        respelled(|r| {
            drop(
                r.requirements
                    .extra
                    .insert("operatorType".into(), json!("delegated")),
            )
        }),
        respelled(|r| drop(r.requirements.extra.insert("other".into(), json!(1)))),
        respelled(|r| {
            let salt = r.payload["salt"]
                .as_str()
                .unwrap()
                .to_uppercase()
                .replace("0X", "0x");
            r.payload["salt"] = json!(salt);
        }),
    ] {
        assert_eq!(
            (&equal.claim_key, &equal.payload_digest, &equal.fingerprint),
            (&plain.claim_key, &plain.payload_digest, &plain.fingerprint)
        );
    }
}

#[test]
fn one_signature_under_other_terms_is_not_the_same_settlement() {
    let good = Offer::charged().signed();
    let plain = world().identify(&good).expect("a key");
    let other = |change: fn(&mut PaymentRequest)| {
        let mut request = good.clone();
        change(&mut request);
        world().identify(&request).expect("a key")
    };
    for other in [
        // A charge that is presented as a hold.
        other(|r| drop(r.requirements.extra.insert("paymentFlow".into(), json!("escrow")))),
        other(|r| r.requirements.amount = 750_000u64.into()),
        // What would have it refused must not be shared with a request that is good.
        other(|r| r.requirements.max_timeout_seconds = 9_999_999),
        other(|r| r.accepted.scheme = "exact".into()),
        other(|r| r.accepted.network = "eip155:1".into()),
        other(|r| drop(r.requirements.extra.insert("captureMode".into(), json!("sync")))),
        other(|r| drop(r.requirements.extra.insert("autoCapture".into(), json!(true)))),
        other(|r| r.payload["amount"] = json!("750001")),
        other(|r| r.payload["feeAmount"] = json!("7499")),
        other(|r| r.payload["feeReceiver"] = json!(super::offer::PAYEE)),
        other(|r| r.requirements.extra["receiverAuthorizer"] = json!(OTHER)),
        other(|r| {
            drop(
                r.requirements
                    .extra
                    .insert("operatorType".into(), json!("custom")),
            )
        }),
        other(|r| drop(r.requirements.extra.insert("policy".into(), json!(OTHER)))),
    ] {
        assert_eq!(other.claim_key, plain.claim_key);
        assert_ne!(other.fingerprint, plain.fingerprint);
    }
    let unsigned = other(|r| r.payload["authorizerSignature"] = json!("0x11"));
    assert_eq!(unsigned.claim_key, plain.claim_key);
    assert_ne!(unsigned.payload_digest, plain.payload_digest);
    // Terms that are part of the hash make another payment.
    for other in [
        other(|r| r.requirements.pay_to = OTHER.into()),
        other(|r| r.requirements.extra["captureDeadline"] = json!(1_900_000_000)),
        other(|r| r.requirements.extra["maxFeeBps"] = json!(200)),
        other(|r| r.payload["salt"] = json!(format!("0x{}", "1".repeat(64)))),
        other(|r| set_authorization(r, "from", json!(OTHER))),
        other(|r| drop(r.accepted.raw.insert("amount".into(), json!("1000001")))),
    ] {
        assert_ne!(other.claim_key, plain.claim_key);
    }
    assert_eq!(
        plain.replay_reason,
        "invalid_auth_capture_evm_payment_already_collected"
    );
    let old = world().identify(&Offer::v1_0().signed()).expect("a key");
    assert_eq!(old.replay_reason, "payment_already_collected");
    assert_eq!(old.replayable_until_s, Some(super::offer::NOW_S + 600));
}

#[test]
fn without_a_key_the_first_failing_check_answers() {
    let mut request = Offer::default().signed();
    set_authorization(&mut request, "from", json!("0x12"));
    request.requirements.extra.clear();
    let refusal = world().identify(&request).expect_err("no key");
    assert_eq!(refusal.reason, "invalid_auth_capture_evm_payload_format");
    let mut request = Offer::default().signed();
    request.requirements.extra.clear();
    let refusal = world().identify(&request).expect_err("no key");
    assert_eq!(refusal.reason, "invalid_auth_capture_evm_extra");
    // A key that can be formed is formed, whatever else is wrong.
    let mut request = Offer::default().signed();
    request.accepted.scheme = "other".into();
    request.payload["signature"] = json!("no hex");
    request.requirements.extra.remove("name");
    assert!(world().identify(&request).is_ok());
}

#[test]
fn trouble_of_nodes_and_store_is_never_a_refusal() {
    let good = Offer::charged().signed();
    let breaks: [fn(&mut Chain); 7] = [
        |chain| chain.payer_code = internal_error(),
        |chain| chain.authorizer_code = internal_error(),
        |chain| chain.state = internal_error(),
        |chain| chain.balance = internal_error(),
        |chain| chain.simulation = internal_error(),
        |chain| {
            chain.payer_code = hex_result(&[1]);
            chain.payer_wallet = internal_error();
        },
        |chain| {
            chain.simulation = revert("x");
            chain.balance = internal_error();
        },
    ];
    for (index, break_it) in breaks.into_iter().enumerate() {
        let mut chain = Chain::default();
        break_it(&mut chain);
        let fault = World::new(config(), chain)
            .try_verify(&good)
            .expect_err("a fault");
        assert_eq!(fault.kind, FaultKind::Unavailable, "{index}");
    }
    let chain = Chain {
        estimate: internal_error(),
        simulation: internal_error(),
        ..Chain::default()
    };
    assert!(World::new(config(), chain).try_plan(&good).is_err());
    // T-113: where nodes run calls and can't estimate them, the call decides, and the limit is the ceiling.
    let chain = Chain {
        estimate: internal_error(),
        ..Chain::default()
    };
    let plan = World::new(config(), chain).plan(&good).expect("a plan");
    assert_eq!(plan.steps[0].call.compute_limit, Some(config().max_gas));
    let world = world();
    let no_node = block_on(world.scheme.verify(&world.cx_failing(Some(0)), &good));
    assert_eq!(no_node.expect_err("a fault").kind, FaultKind::Unavailable);
    let no_store = block_on(world.scheme.plan(&world.cx_failing(None), &good));
    assert_eq!(no_store.expect_err("a fault").kind, FaultKind::Unavailable);
}

/// Any small JSON value, with some that seem right.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,70}".prop_map(Value::from),
        "0x[0-9a-fA-F]{0,140}".prop_map(Value::from),
        Just(json!(OTHER)),
        Just(json!(format!("0x{}", "6492".repeat(16)))),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,12}", inner, 0..4)
                .prop_map(|map| Value::Object(Map::from_iter(map))),
        ]
    })
}

const MEMBERS: [&str; 16] = [
    "authorization",
    "permit2Authorization",
    "signature",
    "salt",
    "saltNonce",
    "amount",
    "feeBps",
    "feeAmount",
    "feeReceiver",
    "authorizerSignature",
    "from",
    "to",
    "value",
    "validAfter",
    "validBefore",
    "nonce",
];

const TERMS: [&str; 17] = [
    "name",
    "version",
    "captureAuthorizer",
    "captureDeadline",
    "refundDeadline",
    "feeRecipient",
    "minFeeBps",
    "maxFeeBps",
    "authCaptureEscrow",
    "paymentFlow",
    "captureMode",
    "receiverAuthorizer",
    "policy",
    "operatorType",
    "assetTransferMethod",
    "autoCapture",
    "other",
];

proptest! {
    #[test]
    fn no_member_breaks_the_handler(
        member in 0..MEMBERS.len(), value in any_value(), term in 0..TERMS.len(), other in any_value(), old in any::<bool>(),
    ) {
        static GOOD: std::sync::LazyLock<[PaymentRequest; 2]> =
            std::sync::LazyLock::new(|| [Offer::charged().signed(), Offer::v1_0().signed()]);
        let mut request = GOOD[usize::from(old)].clone();
        let name = MEMBERS[member];
        if member < 10 {
            request.payload.insert(name.to_owned(), value);
        } else {
            set_authorization(&mut request, name, value);
        }
        let check = |request: &PaymentRequest| {
            let world = world();
            let keyed = world.identify(request);
            let verdict = world.try_verify(request).expect("no fault");
            let plan = world.try_plan(request).expect("no fault");
            if keyed.is_err() {
                // What has no key is never good.
                prop_assert!(matches!(verdict, sdk_plugin::scheme::Verdict::Invalid(_)));
                prop_assert!(matches!(plan, sdk_plugin::scheme::Planned::Refused(_)));
            }
            Ok(())
        };
        check(&request)?;
        request.requirements.extra.insert(TERMS[term].to_owned(), other);
        check(&request)?;
    }
}

#[test]
fn a_wrapper_that_can_not_be_opened_is_no_signature() {
    let mut draft = Draft::of(Offer::default());
    draft.edit(|r| r.payload["signature"] = json!(format!("0x{}", "6492".repeat(16))));
    let world = draft.world();
    assert_eq!(
        world.refused(&draft.request()).reason,
        "invalid_auth_capture_evm_signature"
    );
    assert_eq!(world.batches().len(), 0);
}
