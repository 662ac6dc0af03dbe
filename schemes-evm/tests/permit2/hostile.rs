//! Payloads that are hostile in every member: a refusal, never a fault or a panic.

use schemes_evm::permit2::Proxy;
use sdk_plugin::Value;
use serde_json::json;

use crate::world::{BOTH, World, good, info, set, with_info};

fn odd_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1.5),
        json!(9_007_199_254_740_992u64),
        json!(""),
        json!("0x"),
        json!("-1"),
        json!("1e9"),
        json!(" 1"),
        json!("0xzz"),
        json!("9".repeat(79)),
        json!("\u{0}"),
        json!([]),
        json!({}),
        json!([[[[[[1]]]]]]),
    ]
}

#[test]
fn every_member_may_be_anything() {
    let paths = [
        "",
        "/from",
        "/permitted",
        "/permitted/token",
        "/permitted/amount",
        "/spender",
        "/nonce",
        "/deadline",
        "/witness",
        "/witness/to",
        "/witness/validAfter",
    ];
    for proxy in BOTH {
        for path in paths {
            for value in odd_values() {
                let mut request = good(proxy);
                set(&mut request, path, value.clone());
                let world = World::new(proxy);
                let reason = world.refused(&request);
                // An absent permit is another method's payload, or none.
                let expected = match (path, &value, proxy) {
                    ("", Value::Null, Proxy::Exact) => "unsupported_payload_type",
                    ("", Value::Null, Proxy::Upto) => "unsupported_payload_type",
                    _ => "invalid_payload",
                };
                assert_eq!(reason, expected, "{proxy:?} {path} {value}");
                // A key is refused with the same reason, or formed without the odd member.
                if let Err(refusal) = world.identify(&request) {
                    assert_eq!(refusal.reason, expected, "{path} {value}");
                }
            }
        }
        for value in odd_values() {
            let mut request = good(proxy);
            request.payload["signature"] = value.clone();
            let reason = World::new(proxy).refused(&request);
            let empty = value == json!("0x");
            let expected = if empty {
                "invalid_permit2_signature"
            } else {
                "invalid_payload"
            };
            assert_eq!(reason, expected, "signature {value}");
        }
    }
}

#[test]
fn every_member_of_the_extension_may_be_anything() {
    let members: Vec<String> = info().as_object().expect("an object").keys().cloned().collect();
    for name in members {
        for value in odd_values() {
            let mut info = info();
            info[&name] = value.clone();
            let request = with_info(good(Proxy::Exact), info);
            let world = World::new(Proxy::Exact);
            world.identify(&request).expect("a key");
            match world.verify(&request) {
                // Absent; and any number is a version.
                Ok(_) => assert!(
                    value.is_null() || value == json!("") || value == json!("9".repeat(79)),
                    "{name} {value}"
                ),
                Err(refusal) => assert_eq!(
                    refusal.reason, "invalid_eip2612_extension_format",
                    "{name} {value}"
                ),
            }
        }
    }
}

#[test]
fn a_long_signature_is_refused() {
    for proxy in BOTH {
        let mut request = good(proxy);
        request.payload["signature"] = json!(format!("0x{}", "11".repeat(8_193)));
        assert_eq!(World::new(proxy).refused(&request), "invalid_payload");
        // A wrapper that can't be opened.
        request.payload["signature"] = json!(format!("0x{}", "6492".repeat(16)));
        assert_eq!(World::new(proxy).refused(&request), "invalid_permit2_signature");
    }
}
