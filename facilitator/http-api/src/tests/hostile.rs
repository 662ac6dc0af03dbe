//! Hostile bytes never cause a panic, and always get a documented status and the right form of reply.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::endpoint::PaymentEndpoint;
use super::super::envelope;
use super::super::normalise::Refused;
use super::*;
use crate::fuzzing::normalise_settle;

/// Normalises for a process that serves the kinds of [`Scripted`], and checks the refusal's envelope.
fn run(bytes: &[u8]) -> Result<PaymentRequest, Refused> {
    let scripted = Scripted::default();
    let result = normalise_settle(bytes, &|version, scheme, network| {
        scripted.membership(version, scheme, network)
    });
    if let Err(refused) = &result {
        assert!(matches!(refused.status.as_u16(), 200 | 400), "{refused:?}");
        for endpoint in [PaymentEndpoint::Verify, PaymentEndpoint::Settle] {
            let body: Value = serde_json::from_str(&envelope::refused(endpoint, refused).text).unwrap();
            check_shape(refused.status.as_u16(), &body);
        }
    }
    result
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        pointers(value, at.clone(), found);
        found.push(at);
    }
}

fn hostile_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "[0-9a-fxeE+.:-]{0,90}".prop_map(Value::from),
        Just(Value::from("9".repeat(10_000))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn t05_hostile_values_in_every_field_are_decided(which in any::<prop::sample::Index>(), value in hostile_value(), old in any::<bool>()) {
        let body = if old { v1() } else { v2() };
        let mut found = Vec::new();
        pointers(&body, String::new(), &mut found);
        let body = with(body, which.get(found.as_slice()).as_str(), value);
        if let Ok(request) = run(body.to_string().as_bytes()) {
            prop_assert!(request.requirements.max_timeout_seconds > 0);
            prop_assert!(!request.requirements.pay_to.is_empty());
        }
    }

    #[test]
    fn t12_cut_and_flipped_bodies_are_decided(cut in any::<prop::sample::Index>(), byte in any::<u8>(), old in any::<bool>()) {
        let mut bytes = if old { v1() } else { v2() }.to_string().into_bytes();
        let at = cut.index(bytes.len());
        drop(run(&bytes[..at]));
        bytes[at] = byte;
        drop(run(&bytes));
    }

    #[test]
    fn t12_arbitrary_payment_headers_are_decided(header in "(\\PC{0,60}|[A-Za-z0-9+/_=-]{0,200}|\\{[\\PC]{0,40})") {
        let body = json!({ "paymentHeader": header, "paymentRequirements": v1()["paymentRequirements"] });
        prop_assert!(run(body.to_string().as_bytes()).is_err());
    }

    #[test]
    fn t11_a_number_is_taken_exactly_or_not_at_all(text in "[+-]?(0x)?[0-9a-f]{0,80}(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?") {
        for literal in [format!("\"{text}\""), text.clone()] {
            let body = v2().to_string().replace("\"amount\":\"10000\"", &format!("\"amount\":{literal}"));
            if let Ok(request) = run(body.as_bytes()) {
                let amount = request.requirements.amount.to_string();
                let hex = text.strip_prefix("0x").map(|digits| digits.trim_start_matches('0').to_lowercase());
                let same = match hex {
                    Some(hex) => format!("{:x}", request.requirements.amount.0) == if hex.is_empty() { "0" } else { &hex },
                    None => amount == text,
                };
                prop_assert!(same, "{literal} became {amount}");
            }
        }
    }
}

#[test]
fn t11_number_traps_are_refused_with_the_reason() {
    let traps = [
        "\"1e6\"",
        "\"1.0\"",
        "\"-1\"",
        "\"+1\"",
        "\"\"",
        "\" 1\"",
        "\"1_000\"",
        "\"01\"",
        "\"0x\"",
        "\"١\"",
        "1e6",
        "1.0",
        "-1",
        "-0",
        "9007199254740992",
        "18446744073709551616",
        "true",
        "{}",
        "[]",
        "null",
        "\"115792089237316195423570985008687907853269984665640564039457584007913129639936\"",
    ];
    for member in ["amount", "maxTimeoutSeconds"] {
        for trap in traps {
            // A whole number of seconds may be written as a float: it moves no money.
            if member == "maxTimeoutSeconds" && matches!(trap, "1e6" | "1.0") {
                continue;
            }
            let text = without(v2(), &format!("/paymentRequirements/{member}")).to_string();
            let text = text.replace(
                "\"paymentRequirements\":{",
                &format!("\"paymentRequirements\":{{\"{member}\":{trap},"),
            );
            let refused = run(text.as_bytes()).unwrap_err();
            assert_eq!(
                (refused.status.as_u16(), refused.reason),
                (200, "invalid_payment_requirements"),
                "{member} {trap}"
            );
        }
    }
    for (literal, amount) in [
        ("\"0\"", "0"),
        ("5", "5"),
        ("\"0xff\"", "255"),
        ("9007199254740991", "9007199254740991"),
    ] {
        let text = v2()
            .to_string()
            .replace("\"amount\":\"10000\"", &format!("\"amount\":{literal}"));
        assert_eq!(
            run(text.as_bytes()).unwrap().requirements.amount.to_string(),
            amount
        );
    }
}

#[test]
fn t12_duplicate_members_deep_nesting_and_foreign_encodings_are_no_requests() {
    let good = v2().to_string();
    let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    let corpus = [
        good.replacen("\"amount\"", "\"amount\":\"1\",\"amount\"", 1)
            .into_bytes(),
        good.replace("\"signature\":", "\"signature\":\"0x01\",\"signature\":")
            .into_bytes(),
        good.replace("\"extensions\":null", &format!("\"extensions\":{deep}"))
            .into_bytes(),
        good.bytes().map(|b| if b == b'x' { 0xff } else { b }).collect(),
        format!("{good}{good}").into_bytes(),
        good.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        b"paymentPayload=1".to_vec(),
        Vec::new(),
    ];
    for bytes in corpus {
        let refused = run(&bytes).unwrap_err();
        assert_eq!(
            (refused.status.as_u16(), refused.reason),
            (400, "invalid_payload"),
            "{:?}",
            refused.message
        );
    }
}
