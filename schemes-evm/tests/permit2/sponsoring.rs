//! The extension `eip2612GasSponsoring`.

use alloy_primitives::U256;
use schemes_evm::permit2::Proxy;
use serde_json::{Value, json};

use crate::world::{BOTH, Chain, Findings, NOW_S, OTHER, World, good, info, sponsored, with_info};

fn changed(name: &str, value: Value) -> Value {
    let mut info = info();
    info[name] = value;
    info
}

#[test]
fn each_check_has_its_reason() {
    let format = "invalid_eip2612_extension_format";
    for (name, value, reason) in [
        ("from", json!("0x12"), format),
        ("asset", json!("USDC"), format),
        (
            "spender",
            json!("0X000000000022D473030F116dDEE9F6B43aC78BA3"),
            format,
        ),
        ("amount", json!("1e4"), format),
        ("amount", json!("0x2710"), format),
        ("amount", json!(10_000), format),
        ("amount", json!("9".repeat(78)), format),
        ("nonce", json!("-1"), format),
        ("deadline", json!("tomorrow"), format),
        ("signature", json!("0x12"), format),
        ("signature", json!(format!("0x{}", "2a".repeat(66))), format),
        ("version", json!("1."), format),
        ("version", json!("v1"), format),
        ("from", json!(OTHER), "eip2612_from_mismatch"),
        ("asset", json!(OTHER), "eip2612_asset_mismatch"),
        ("spender", json!(OTHER), "eip2612_spender_not_permit2"),
        (
            "deadline",
            json!((NOW_S + 5).to_string()),
            "eip2612_deadline_expired",
        ),
        ("amount", json!("9999"), "permit2_2612_amount_mismatch"),
        ("amount", json!("10001"), "permit2_2612_amount_mismatch"),
    ] {
        for proxy in BOTH {
            let request = with_info(good(proxy), changed(name, value.clone()));
            assert_eq!(World::new(proxy).refused(&request), reason, "{name} {value}");
        }
    }
    for (name, value) in [
        ("deadline", json!((NOW_S + 6).to_string())),
        ("version", json!("1.2.3")),
        ("amount", json!("0010000")),
    ] {
        let request = with_info(good(Proxy::Exact), changed(name, value));
        assert!(World::new(Proxy::Exact).verify(&request).is_ok(), "{name}");
    }
}

#[test]
fn the_first_failing_check_answers() {
    let mut info = info();
    for (name, bad) in [
        ("amount", json!("1")),
        ("deadline", json!("1")),
        ("spender", json!(OTHER)),
        ("asset", json!(OTHER)),
        ("from", json!(OTHER)),
    ] {
        info[name] = bad;
        let expected = match name {
            "amount" => "permit2_2612_amount_mismatch",
            "deadline" => "eip2612_deadline_expired",
            "spender" => "eip2612_spender_not_permit2",
            "asset" => "eip2612_asset_mismatch",
            _ => "eip2612_from_mismatch",
        };
        let request = with_info(good(Proxy::Exact), info.clone());
        assert_eq!(World::new(Proxy::Exact).refused(&request), expected);
    }
}

#[test]
fn an_incomplete_extension_counts_as_absent() {
    let members: Vec<String> = info().as_object().expect("an object").keys().cloned().collect();
    for name in members {
        for empty in [json!(""), Value::Null] {
            let world = World::new(Proxy::Exact);
            let request = with_info(good(Proxy::Exact), changed(&name, empty));
            let plan = world.plan(&request).expect("a plan");
            assert_eq!(plan.steps[0].call.operation, "0x13cd3b53", "{name}");
        }
    }
    for extension in [json!(null), json!({}), json!({ "info": [] }), json!("info")] {
        let mut request = good(Proxy::Exact);
        request
            .extensions
            .insert("eip2612GasSponsoring".into(), extension);
        let plan = World::new(Proxy::Exact).plan(&request).expect("a plan");
        assert_eq!(plan.steps[0].call.operation, "0x13cd3b53");
    }
    let plan = World::new(Proxy::Exact)
        .plan(&sponsored(Proxy::Exact))
        .expect("a plan");
    assert_eq!(plan.steps[0].call.operation, "0xfa340378");
}

/// A permit that another account used before is no harm where the allowance stands: the proxy continues, as the simulation shows.
#[test]
fn t37_a_used_permit_is_left_to_the_simulation() {
    let request = with_info(good(Proxy::Exact), changed("nonce", json!(U256::MAX.to_string())));
    assert!(World::new(Proxy::Exact).verify(&request).is_ok());
}

/// The proxy continues without a permit that the token does not take. Then nothing allows the transfer.
#[test]
fn a_permit_that_the_token_does_not_take_is_named_as_the_cause() {
    let unapproved = Chain::failing(&Findings {
        allowance: Some(0),
        ..Findings::default()
    });
    for proxy in BOTH {
        let world = World::on(proxy, unapproved.clone());
        let refusal = world.verify(&sponsored(proxy)).expect_err("refused");
        assert_eq!(refusal.reason, "permit2_allowance_required");
        assert_eq!(refusal.extension.as_deref(), Some("eip2612GasSponsoring"));
        assert!(
            refusal
                .message
                .is_some_and(|message| message.contains("check its signature and the token's nonce"))
        );
        let without = world.verify(&good(proxy)).expect_err("refused");
        assert_eq!(
            (without.reason.as_str(), without.extension),
            ("permit2_allowance_required", None)
        );
    }
}

#[test]
fn the_extension_is_part_of_the_digest() {
    let world = World::new(Proxy::Exact);
    let digest = |request| world.identify(&request).expect("a key").payload_digest;
    let with_one = digest(sponsored(Proxy::Exact));
    assert_ne!(digest(good(Proxy::Exact)), with_one);
    let mut spelled = info();
    spelled["from"] = json!(crate::world::PAYER.to_lowercase());
    assert_eq!(digest(with_info(good(Proxy::Exact), spelled)), with_one);
    for (name, value) in [
        ("nonce", json!("1")),
        ("deadline", json!("4102444801")),
        ("version", json!("x")),
    ] {
        assert_ne!(
            digest(with_info(good(Proxy::Exact), changed(name, value))),
            with_one,
            "{name}"
        );
    }
}
