//! What sellers write, read as they mean it: the token's signing domain, and themselves as the payer.

use sdk_plugin::PaymentRequest;
use sdk_plugin::SchemeHandler;
use sdk_plugin::chain::Shown;
use sdk_plugin::scheme::Judgement;
use sdk_plugin::testkit::block_on;
use serde_json::json;

use crate::judge::{evidence, moved, used};
use crate::world::{ASSET, NONCE, Offer, PAYER, World, good};

const MISSING: &str = "invalid_exact_evm_missing_eip712_domain";

fn with_extra(name: &str, value: sdk_plugin::Value) -> PaymentRequest {
    let mut request = good();
    request.requirements.extra.insert(name.into(), value);
    request
}

#[test]
fn t117_a_version_may_be_a_whole_number_and_is_its_decimal_string() {
    let world = World::new();
    let number = with_extra("version", json!(2));
    assert!(world.verify(&number).is_ok());
    assert!(world.plan(&number).is_ok());
    // The same payment, whichever way the seller writes it.
    assert_eq!(world.identify(&number), world.identify(&good()));
    for odd in [json!(2.5), json!(-2), json!(true), json!(["2"]), json!({})] {
        let refusal = world
            .verify(&with_extra("version", odd.clone()))
            .expect_err("refused");
        assert_eq!(refusal.reason, MISSING, "{odd}");
        assert_eq!(
            refusal.message.as_deref(),
            Some("extra.version must be a string"),
            "{odd}"
        );
    }
    for absent in [json!(null), json!("")] {
        for name in ["name", "version"] {
            assert_eq!(world.refused(&with_extra(name, absent.clone())), MISSING);
        }
    }
    let mut request = good();
    request.requirements.extra.remove("version");
    assert_eq!(world.refused(&request), MISSING);
}

#[test]
fn t117_names_outside_ascii_are_hashed_as_utf_8_whatever_their_json_escapes() {
    let raw: sdk_plugin::Value = serde_json::from_str("\"USD₮0\"").unwrap();
    let escaped: sdk_plugin::Value = serde_json::from_str("\"USD\\u20ae0\"").unwrap();
    let signed = Offer {
        name: "USD₮0",
        ..Offer::default()
    }
    .signed();
    let world = World::new();
    for name in [raw, escaped] {
        let mut request = signed.clone();
        request.requirements.extra.insert("name".into(), name);
        assert!(world.verify(&request).is_ok());
    }
    // Nothing is normalised: a similar name is another name.
    let mut request = signed;
    request.requirements.extra.insert("name".into(), json!("USDT0"));
    assert_eq!(world.refused(&request), "invalid_exact_evm_signature");
}

#[test]
fn t120_a_payer_may_pay_itself_and_the_tokens_logs_prove_it() {
    let mut request = Offer {
        to: PAYER,
        ..Offer::default()
    }
    .signed();
    request.requirements.pay_to = PAYER.to_lowercase();
    let world = World::new();
    assert!(world.verify(&request).is_ok());
    let plan = world.plan(&request).expect("a plan");
    let landed = Shown::Landed { height: 101 };
    let logs = vec![
        used(0, ASSET, PAYER, NONCE),
        moved(1, ASSET, PAYER, PAYER, 10_000),
    ];
    let shown = evidence(landed, logs, vec![]);
    let judged = block_on(world.exact.judge(&world.cx(), &plan, &shown)).expect("no fault");
    assert!(matches!(judged, Judgement::Paid(_)), "{judged:?}");
}
