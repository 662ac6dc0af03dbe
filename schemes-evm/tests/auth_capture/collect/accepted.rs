//! The golden vectors, through the whole handler: valid, planned with the vectors' calldata, under the vectors' key.

use schemes_evm::auth_capture::config::Config;
use schemes_evm::auth_capture::deployment::V1_1_EARLIER;
use sdk_plugin::PaymentRequest;
use serde_json::{Value, json};

use super::offer::{FACILITATOR, PROBING, config, request};
use super::world::{Chain, World};
use crate::golden::vectors;

/// The vectors are good until the year 2100.
fn patient() -> Config {
    Config {
        max_capture_horizon_s: 100 * 366 * 86_400,
        max_refund_horizon_s: 100 * 366 * 86_400,
        deployments: vec![V1_1_EARLIER],
        ..config()
    }
}

fn world() -> World {
    World::new(patient(), Chain::default())
}

fn request_of(requirements: &Value, payload: &Value) -> PaymentRequest {
    request(requirements, requirements, payload)
}

/// Verified and planned in one round trip each, with this calldata for the vectors' operator's lane.
fn settles_as(request: &PaymentRequest, told: &Value, calldata: &Value) {
    let world = world();
    let at = &told["id"];
    assert_eq!(
        world.verify(request).as_deref(),
        Ok(told["expectedPayer"].as_str().unwrap()),
        "{at}"
    );
    assert_eq!(world.batches().len(), 1, "{at}");
    let identified = world.identify(request).expect("a key");
    assert_eq!(json!(identified.claim_key), told["paymentInfoHash"], "{at}");
    assert_eq!(
        json!(identified.conflict_keys),
        json!([told["paymentInfoHash"]]),
        "{at}"
    );
    let plan = world.plan(request).expect("planned");
    assert_eq!(world.batches().len(), 2, "{at}");
    let call = &plan.steps[0].call;
    assert_eq!(
        format!("0x{}", hex::encode(&call.data.0)),
        calldata.as_str().unwrap(),
        "{at}"
    );
    assert_eq!(plan.holds[0].signer, FACILITATOR.to_lowercase());
    assert_eq!(json!(plan.holds[0].until_s), told["paymentInfo"]["refundExpiry"]);
}

#[test]
fn every_case_is_held_with_its_calldata() {
    let vectors = vectors();
    for case in vectors["cases"].as_array().unwrap() {
        // The cases of v1.0 and of the earlier set name their escrow; that of v1.1 is the default.
        let request = request_of(&case["requirements"], &case["payload"]);
        settles_as(&request, case, &case["authorizeCalldata"]);
    }
}

#[test]
fn every_completed_charge_has_its_calldata() {
    let vectors = vectors();
    let mut seen = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let charge = &case["authorizer"]["charge"];
        if charge.is_null() {
            continue;
        }
        let mut requirements = case["requirements"].clone();
        requirements["extra"]["paymentFlow"] = json!("authorization");
        let request = request_of(&requirements, &charge["settlePayload"]);
        settles_as(&request, case, &charge["calldata"]);
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn the_seed_documents_payment_is_held_or_charged() {
    let vectors = vectors();
    let case = &vectors["schemeV10"];
    let mut requirements = case["requirements"].clone();
    settles_as(
        &request_of(&requirements, &case["payload"]),
        case,
        &case["authorizeCalldata"],
    );
    requirements["extra"]["autoCapture"] = json!(true);
    settles_as(
        &request_of(&requirements, &case["payload"]),
        case,
        &case["chargeCalldata_autoCapture_true"],
    );
}

#[test]
fn nonces_are_probed_for_tenants_that_requested_it() {
    let vectors = vectors();
    let case = &vectors["nonceProbe"];
    let mut request = request_of(&case["requirements"], &case["payload"]);
    assert_eq!(
        json!(world().refused(&request).reason),
        case["expect_without_probe"]
    );
    request.tenant = Some(PROBING.into());
    let plan = world().plan(&request).expect("planned");
    // Unbound on chain: the salt is signed as it is, and kept without a salt nonce.
    let record = &plan.writes[0].value;
    assert_eq!(record["paymentInfo"]["salt"], json!("0xabc"));
    assert_eq!(record.get("saltNonce"), None);

    // The commitment over the salt, as a buyer of v1.1 signs it who sends the nonce as salt.
    let bound = vectors["cases"]
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["id"] == json!("v1.1/eip3009/bound"))
        .unwrap();
    let mut request = request_of(&bound["requirements"], &bound["payload"]);
    request.tenant = Some(PROBING.into());
    request.payload["salt"] = request.payload.remove("saltNonce").unwrap();
    let identified = world().identify(&request).expect("a key");
    assert_eq!(json!(identified.claim_key), bound["paymentInfoHash"]);
    let plan = world().plan(&request).expect("planned");
    assert_eq!(plan.writes[0].value["saltNonce"], json!("0xabc"));
    assert_eq!(
        format!("0x{}", hex::encode(&plan.steps[0].call.data.0)),
        bound["authorizeCalldata"].as_str().unwrap()
    );
}

#[test]
fn what_is_served_does_not_change_a_key() {
    let vectors = vectors();
    for case in vectors["cases"].as_array().unwrap() {
        let request = request_of(&case["requirements"], &case["payload"]);
        let bare = World::new(
            Config {
                scheme_v1_0: false,
                ..Config::default()
            },
            Chain::default(),
        );
        assert_eq!(
            bare.identify(&request),
            world().identify(&request),
            "{}",
            case["id"]
        );
    }
}
