//! The golden vectors: signed lifecycle payloads, and the calldata that they become.

use schemes_evm::auth_capture::config::{Config, RefundAgreement};
use schemes_evm::auth_capture::deployment::V1_1_EARLIER;
use sdk_plugin::request::{Accepted, ProtocolVersion, Purpose};
use sdk_plugin::{PaymentRequest, Requirements, Value};
use serde_json::Map;

use super::world::*;
use crate::golden::vectors;

fn request(case: &Value, payload: &Value) -> PaymentRequest {
    let terms = &case["requirements"];
    let text = |name: &str| terms[name].as_str().unwrap().to_owned();
    let members = |value: &Value| -> Map<String, Value> { value.as_object().unwrap().clone() };
    PaymentRequest {
        version: ProtocolVersion::V2,
        scheme: text("scheme"),
        network: text("network"),
        network_as_sent: text("network"),
        payload: members(payload),
        accepted: Accepted {
            scheme: text("scheme"),
            network: text("network"),
            raw: members(terms),
        },
        requirements: Requirements {
            scheme: text("scheme"),
            network: text("network"),
            amount: text("amount").parse().unwrap(),
            asset: text("asset"),
            pay_to: text("payTo"),
            max_timeout_seconds: terms["maxTimeoutSeconds"].as_u64().unwrap(),
            extra: members(&terms["extra"]),
        },
        resource: None,
        extensions: Map::new(),
        purpose: Purpose::Settle,
        tenant: Some(TENANT.into()),
        idempotency_key: None,
        remaining_ms: 25_000,
        wants_reserves: false,
    }
}

#[test]
fn signed_payloads_become_the_specified_calls() {
    let vectors = vectors();
    let mut seen = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let Some(authorizer) = case["authorizer"].as_object() else {
            continue;
        };
        for kind in ["capture", "void", "refund"] {
            let told = &authorizer[kind];
            let request = request(case, &told["settlePayload"]);
            let config = Config {
                deployments: vec![V1_1_EARLIER],
                refund_funding: vec![RefundAgreement {
                    receiver: request.requirements.pay_to.parse().unwrap(),
                    ..agreement()
                }],
                ..config()
            };
            let of_payload = |name: &str, default: u64| {
                request
                    .payload
                    .get(name)
                    .map_or(default, |sent| sent.as_str().unwrap().parse().unwrap())
            };
            let state = state_result(
                true,
                of_payload("expectedCapturableAmount", HELD),
                of_payload("expectedRefundableAmount", 0),
            );
            let world = World::with(config, |chain| chain.state = state);
            let plan = world
                .plan(&request)
                .unwrap_or_else(|refusal| panic!("{} {kind}: {refusal:?}", case["id"]));
            assert_eq!(
                serde_json::to_value(&plan.steps[0].call.data).unwrap(),
                told["calldata"],
                "{} {kind}",
                case["id"]
            );
            // The claim is the digest that was signed.
            let identified = world.identify(&request).expect("identified");
            assert_eq!(Value::from(identified.claim_key), told["digest"]);
            assert_eq!(
                identified.conflict_keys,
                [case["paymentInfoHash"].as_str().unwrap()]
            );
            if kind == "capture" {
                assert_eq!(plan.steps.len(), 2, "the vectors' captures close out");
                assert_eq!(
                    serde_json::to_value(&plan.steps[1].call.data).unwrap(),
                    authorizer["void"]["calldata"]
                );
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 9);
}
