//! Hostile members of payload and requirements, and spellings that must not make a difference.

use proptest::prelude::*;
use sdk_plugin::{PaymentRequest, Value};
use serde_json::{Map, json};

use crate::world::{NONCE, Offer, PAYER, World, good, set_authorization};

const MEMBERS: [&str; 6] = ["from", "to", "value", "validAfter", "validBefore", "nonce"];

#[test]
fn t11_malformed_members_are_an_invalid_payload() {
    let traps = [
        json!("1e6"),
        json!("1.0"),
        json!(1.5),
        json!(-1),
        json!("-1"),
        json!("+1"),
        json!(""),
        json!("01"),
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!("0x"),
        json!("0xzz"),
        json!(9_007_199_254_740_992u64),
        json!("115792089237316195423570985008687907853269984665640564039457584007913129639936"),
        json!(format!("0x{}", "1".repeat(65))),
        json!("é".repeat(21)),
    ];
    for name in MEMBERS {
        for trap in &traps {
            let mut request = good();
            set_authorization(&mut request, name, trap.clone());
            let world = World::new();
            let refusal = world.verify(&request).expect_err("refused");
            assert_eq!(refusal.reason, "invalid_payload", "{name} = {trap}");
            assert_eq!(world.host.round_trips(), 0);
            let payer = if name == "from" { "" } else { PAYER };
            assert_eq!(refusal.payer, payer);
            // No key without payer and nonce; everything else is left to verify.
            match (name, world.identify(&request)) {
                ("from" | "nonce", Err(refusal)) => assert_eq!(refusal.reason, "invalid_payload"),
                ("to" | "value" | "validAfter" | "validBefore", Ok(_)) => {}
                (name, other) => panic!("{name} = {trap}: {other:?}"),
            }
        }
        let mut request = good();
        request.payload["authorization"]
            .as_object_mut()
            .unwrap()
            .remove(name);
        assert_eq!(
            World::new().refused(&request),
            "invalid_payload",
            "without {name}"
        );
    }
}

#[test]
fn without_a_key_the_first_failing_check_answers() {
    let mut request = good();
    set_authorization(&mut request, "nonce", json!("0x12"));
    request.requirements.extra.clear();
    let refusal = World::new().identify(&request).expect_err("no key");
    assert_eq!(refusal.reason, "invalid_exact_evm_missing_eip712_domain");
    let mut request = good();
    request.requirements.asset = "nothing".into();
    let refusal = World::new().identify(&request).expect_err("no key");
    assert_eq!(refusal.reason, "invalid_payment_requirements");
    // A key that can be formed is formed, whatever else is wrong.
    let mut request = good();
    request.accepted.scheme = "other".into();
    request.requirements.extra.clear();
    request.requirements.pay_to = "nobody".into();
    request.payload["signature"] = json!("no hex");
    assert!(World::new().identify(&request).is_ok());
}

#[test]
fn signatures_have_a_size() {
    let sized = |bytes: usize, wrapped: bool| {
        let mut signature = vec![0x11; bytes];
        if wrapped {
            signature.extend([0x64, 0x92].repeat(16));
        }
        let world = World::new();
        let reason = world
            .verify(&Offer::default().with_signature(&signature))
            .expect_err("refused")
            .reason;
        (reason, world.host.round_trips())
    };
    let malformed = ("invalid_payload".to_owned(), 0);
    let not_signed = |trips| ("invalid_exact_evm_signature".to_owned(), trips);
    assert_eq!(
        sized(8_192, false),
        not_signed(2),
        "the payer may be a wallet that one node does not know yet"
    );
    assert_eq!(sized(8_193, false), malformed);
    assert_eq!(
        sized(8_193, true),
        not_signed(0),
        "a wrapper may be longer, and this one can't be opened"
    );
    assert_eq!(sized(32 * 1024, true), malformed);
    assert_eq!(sized(100_000, false), malformed);
}

#[test]
fn other_spellings_of_one_payload_are_one_payment() {
    let world = World::new();
    let plain = world.identify(&good()).expect("a key");
    let respelled = |change: fn(&mut PaymentRequest)| {
        let mut request = good();
        change(&mut request);
        world.identify(&request).expect("a key")
    };
    let equal = [
        respelled(|r| set_authorization(r, "from", json!(PAYER.to_lowercase()))),
        respelled(|r| set_authorization(r, "nonce", json!(NONCE.to_uppercase().replace("0X", "0x")))),
        respelled(|r| set_authorization(r, "value", json!(10_000))),
        respelled(|r| set_authorization(r, "value", json!("0x2710"))),
        respelled(|r| set_authorization(r, "validBefore", json!(4_102_444_800u64))),
        respelled(|r| set_authorization(r, "extra", json!("ignored"))),
        respelled(|r| {
            let signature = r.payload["signature"]
                .as_str()
                .unwrap()
                .to_uppercase()
                .replace("0X", "0x");
            r.payload["signature"] = json!(signature);
        }),
        respelled(|r| r.requirements.asset = r.requirements.asset.to_lowercase()),
        respelled(|r| r.requirements.max_timeout_seconds = 999),
        respelled(|r| drop(r.requirements.extra.insert("other".into(), json!(1)))),
    ];
    for other in equal {
        assert_eq!(
            (&other.claim_key, &other.payload_digest, &other.fingerprint),
            (&plain.claim_key, &plain.payload_digest, &plain.fingerprint)
        );
    }
    let other_terms = [
        respelled(|r| r.requirements.amount = 1_000_000u64.into()),
        respelled(|r| r.requirements.pay_to = crate::world::OTHER.into()),
        respelled(|r| r.requirements.extra["name"] = json!("Other")),
        respelled(|r| r.requirements.extra["version"] = json!("3")),
    ];
    for other in other_terms {
        assert_eq!(other.claim_key, plain.claim_key);
        assert_ne!(other.fingerprint, plain.fingerprint, "T-02");
    }
    let other_payload = [
        respelled(|r| set_authorization(r, "value", json!("10001"))),
        respelled(|r| set_authorization(r, "to", json!(crate::world::OTHER))),
        respelled(|r| set_authorization(r, "validBefore", json!("1"))),
        respelled(|r| r.payload["signature"] = json!(format!("0x{}", "11".repeat(65)))),
        respelled(|r| r.payload["signature"] = json!("0x")),
        respelled(|r| r.payload["signature"] = json!(null)),
    ];
    for other in other_payload {
        assert_eq!(other.claim_key, plain.claim_key);
        assert_ne!(other.payload_digest, plain.payload_digest);
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,80}".prop_map(Value::from),
        "0x[0-9a-fA-F]{0,140}".prop_map(Value::from),
        "[0-9]{0,80}".prop_map(Value::from),
        Just(json!(PAYER)),
        Just(json!(NONCE)),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(
                prop_oneof![Just("from".to_owned()), Just("nonce".to_owned()), "\\PC{0,8}"],
                inner,
                0..6
            )
            .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No payload makes the decoders panic, and none but the signed one is good.
    #[test]
    fn any_payload_gets_an_answer(
        member in prop_oneof![Just(None), prop::sample::select(&MEMBERS[..]).prop_map(Some)],
        value in json_value(),
        signature in json_value(),
        replace_signature in any::<bool>(),
        term in json_value(),
    ) {
        let mut request = good();
        match member {
            Some(name) => set_authorization(&mut request, name, value),
            None => drop(request.payload.insert("authorization".into(), value)),
        }
        if replace_signature {
            request.payload.insert("signature".into(), signature);
        }
        request.requirements.extra.insert("name".into(), term);
        let world = World::new();
        prop_assert!(world.verify(&request).is_err());
        // A key is formed exactly when payer and nonce are there, and never twice in two ways.
        let first = world.identify(&request);
        prop_assert_eq!(&first, &world.identify(&request));
    }

    #[test]
    fn any_requirements_get_an_answer(asset in "\\PC{0,50}", pay_to in "\\PC{0,50}", network in "\\PC{0,30}") {
        let mut request = good();
        request.requirements.asset = asset;
        request.requirements.pay_to = pay_to;
        request.accepted.network.clone_from(&network);
        request.requirements.network = network;
        prop_assert!(World::new().verify(&request).is_err());
        let _ = World::new().identify(&request);
    }

    #[test]
    fn any_map_gets_an_answer(payload in prop::collection::btree_map("\\PC{0,12}", json_value(), 0..5)) {
        let mut request = good();
        request.payload = Map::from_iter(payload);
        prop_assert!(World::new().verify(&request).is_err());
        prop_assert!(World::new().identify(&request).is_err());
    }
}
