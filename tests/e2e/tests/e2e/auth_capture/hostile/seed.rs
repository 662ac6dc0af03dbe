//! The wire of the seed documents (v1.0): its own names for what must be refused.

use devnet::{ARBITER_OPERATOR, AUTH_CAPTURE_V11, BUYER_TOKENS, FEE_TOKEN};
use e2e::World;
use e2e::escrow::PRICE;
use e2e::hold::{Hold, Method};
use e2e::payment::now_s;
use e2e::sign::hex0x;
use serde_json::{Value, json};

use super::Case;
use super::bench::{STRANGER, set_extra, set_terms, wrapper};

const BUYER: usize = 4;

pub(super) fn cases(world: &World, method: Method) -> Vec<Case> {
    let mut all = Vec::new();
    for auto_capture in [false, true] {
        let mut hold = Hold::v1_0(world, BUYER, method, auto_capture);
        hold.info.pre_approval_expiry = now_s() + 1_800;
        all.extend(of(world, &hold, auto_capture));
    }
    all
}

fn of(world: &World, hold: &Hold, auto_capture: bool) -> Vec<Case> {
    let good = hold.body(world);
    let mut cases = Vec::new();
    let mut add = |name: String, expected: &str, body: Value| {
        cases.push(Case {
            name: format!("v1.0 {:?} {auto_capture}: {name}", hold.method),
            body,
            expected: Some(expected.to_owned()),
        });
    };
    let info = &hold.info;
    let now = now_s();
    let foreign_asset = match hold.method {
        Method::Eip3009 => "invalid_auth_capture_signature",
        Method::Permit2 => "token_mismatch",
    };
    let other_method = match hold.method {
        Method::Eip3009 => "permit2",
        Method::Permit2 => "eip3009",
    };
    for (name, value, expected) in [
        ("captureAuthorizer", json!(STRANGER), "invalid_capture_authorizer"),
        (
            "captureAuthorizer",
            json!(ARBITER_OPERATOR),
            "invalid_capture_authorizer",
        ),
        ("captureAuthorizer", json!("0x1"), "invalid_auth_capture_extra"),
        ("name", Value::Null, "invalid_auth_capture_extra"),
        ("captureDeadline", json!("soon"), "invalid_auth_capture_extra"),
        ("captureDeadline", json!(now), "capture_deadline_expired"),
        (
            "refundDeadline",
            json!(info.authorization_expiry - 1),
            "invalid_deadline_ordering",
        ),
        ("refundDeadline", json!(info.refund_expiry + 1), "nonce_mismatch"),
        (
            "captureDeadline",
            json!(info.authorization_expiry + 1),
            "nonce_mismatch",
        ),
        ("feeRecipient", json!(STRANGER), "nonce_mismatch"),
        ("minFeeBps", json!(101), "invalid_auth_capture_extra"),
        ("minFeeBps", json!(99), "nonce_mismatch"),
        ("maxFeeBps", json!(10_001), "invalid_auth_capture_extra"),
        (
            "assetTransferMethod",
            json!(other_method),
            "payload_method_mismatch",
        ),
        (
            "assetTransferMethod",
            json!("eip2612"),
            "unsupported_asset_transfer_method",
        ),
    ] {
        let mut body = good.clone();
        set_extra(&mut body, name, &value);
        add(format!("extra.{name} = {value}"), expected, body);
    }
    for (name, value, expected) in [
        ("payTo", json!(STRANGER), "nonce_mismatch"),
        ("asset", json!(FEE_TOKEN), foreign_asset),
        ("amount", json!((PRICE + 1).to_string()), "amount_mismatch"),
        ("amount", json!((PRICE - 1).to_string()), "amount_mismatch"),
    ] {
        let mut body = good.clone();
        set_terms(&mut body, name, &value);
        add(format!("{name} = {value}"), expected, body);
    }
    let inner = hex::decode(
        good["paymentPayload"]["payload"]["signature"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches("0x"),
    );
    let wrapped = wrapper(STRANGER, &inner.expect("hex"));
    for (name, value, expected) in [
        ("salt", json!("0x00"), "invalid_payload_format"),
        ("salt", json!(hex0x(&[7; 32])), "nonce_mismatch"),
        (
            "signature",
            json!(hex0x(&[7; 65])),
            "invalid_auth_capture_signature",
        ),
        (
            "signature",
            json!(hex0x(&wrapped)),
            "invalid_auth_capture_signature",
        ),
        ("signature", json!(7), "invalid_payload_format"),
    ] {
        let mut body = good.clone();
        body["paymentPayload"]["payload"][name] = value.clone();
        add(format!("payload.{name}"), expected, body);
    }
    // The other escrow's members make it another version, whose collector this is not.
    let mut body = good.clone();
    set_extra(&mut body, "authCaptureEscrow", &json!(AUTH_CAPTURE_V11.escrow));
    set_extra(&mut body, "autoCapture", &Value::Null);
    let collector = "invalid_auth_capture_evm_token_collector_mismatch";
    add("the escrow of v1.1".to_owned(), collector, body);
    // What the buyer signed as a hold is no charge: nothing that is signed distinguishes the two, so the terms must.
    let mut over = hold.clone();
    over.info.pre_approval_expiry = now - 1;
    add(
        "an authorization that is over".to_owned(),
        "authorization_expired",
        over.body(world),
    );
    let mut late = hold.clone();
    late.info.pre_approval_expiry = info.authorization_expiry + 1;
    add(
        "an authorization after the deadline".to_owned(),
        "invalid_deadline_ordering",
        late.body(world),
    );
    let mut rich = hold.clone();
    rich.info.max_amount = BUYER_TOKENS + 1;
    add(
        "more than the buyer has".to_owned(),
        "insufficient_balance",
        rich.body(world),
    );
    let theirs = hold.clone().signed_by(&world.chain.buyers[BUYER + 1].key);
    add(
        "another buyer's signature".to_owned(),
        "invalid_auth_capture_signature",
        theirs.body(world),
    );
    cases
}
