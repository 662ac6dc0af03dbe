//! Holds and charges of v1.1 that must be refused: each changes one thing and is signed again where that thing is signed.

use devnet::{
    ARBITER_OPERATOR, AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, AuthCapture, BUYER_TOKENS, FEE_TOKEN, FeeForm,
};
use e2e::World;
use e2e::escrow::{PRICE, SHOP_KEY, post};
use e2e::hold::Method;
use e2e::order::{Bound, fee_of};
use e2e::payment::now_s;
use e2e::sign::{hex0x, keccak};
use serde_json::{Value, json};

use super::bench::{BUYER, Bench, FEE_BPS, STRANGER, ZERO, body, payment, set_terms, wrapper};
use super::{Case, spoil};

const DAY_S: u64 = 86_400;

pub(super) fn cases(world: &World, deployment: AuthCapture, method: Method, charged: bool) -> Vec<Case> {
    let bound = payment(world, deployment, method, charged);
    let good = body(world, &bound, charged);
    let flow = if charged { "charge" } else { "hold" };
    let what = format!("{flow} by {method:?} at {:?}", deployment.fee_form);
    let mut bench = Bench {
        world,
        bound,
        charged,
        good,
        what,
        cases: Vec::new(),
    };
    terms(&mut bench);
    choices(&mut bench);
    times(&mut bench);
    shapes(&mut bench);
    signatures(&mut bench);
    funds(&mut bench);
    if charged {
        completions(&mut bench);
    } else {
        for (name, value) in [
            ("amount", json!("1")),
            ("feeAmount", json!("0")),
            ("feeBps", json!(100)),
            ("feeReceiver", json!(STRANGER)),
            ("authorizerSignature", json!(hex0x(&[7; 65]))),
        ] {
            bench.payload(name, value, "payload_format");
        }
    }
    bench.cases
}

fn terms(bench: &mut Bench<'_>) {
    bench.extra("name", Value::Null, "extra");
    bench.extra("version", json!(2), "extra");
    for wrong in [json!("0x"), json!(ZERO), json!(7), Value::Null] {
        bench.extra("captureAuthorizer", wrong, "extra");
    }
    let another_key = bench.world.chain.facilitators[1].address.clone();
    for nobody in [STRANGER, ARBITER_OPERATOR, &another_key] {
        bench.extra("captureAuthorizer", json!(nobody), "operator_not_admitted");
    }
    for wrong in [json!("0x12"), json!(ZERO), Value::Null] {
        bench.extra("feeRecipient", wrong, "extra");
    }
    let elsewhere = if bench.charged {
        "fee_receiver"
    } else {
        "nonce_mismatch"
    };
    bench.extra("feeRecipient", json!(STRANGER), elsewhere);
    bench.extra("minFeeBps", json!(101), "extra");
    bench.extra("minFeeBps", json!("100"), "extra");
    bench.extra("maxFeeBps", json!(10_001), "extra");
    bench.extra("maxFeeBps", json!(-1), "extra");
    bench.extra("minFeeBps", json!(99), "nonce_mismatch");
    bench.extra("maxFeeBps", json!(101), "nonce_mismatch");
    bench.add("payTo of a stranger", "nonce_mismatch", |body| {
        set_terms(body, "payTo", &json!(STRANGER));
    });
    let other_asset = if bench.is_eip3009() {
        "signature"
    } else {
        "token_mismatch"
    };
    bench.add("another asset", other_asset, |body| {
        set_terms(body, "asset", &json!(FEE_TOKEN));
    });
    bench.add("a higher price in both", "amount_mismatch", |body| {
        set_terms(body, "amount", &json!((PRICE + 1).to_string()));
    });
    bench.add("a lower price in both", "amount_mismatch", |body| {
        set_terms(body, "amount", &json!((PRICE - 1).to_string()));
    });
    bench.add("a higher price required", "amount_mismatch", |body| {
        body["paymentRequirements"]["amount"] = json!((PRICE + 1).to_string());
    });
    bench.of_other_terms("amount", "amount_mismatch", |other| {
        other.hold.info.max_amount += 1
    });
    let receiver = STRANGER.to_owned();
    bench.of_other_terms("receiver", "nonce_mismatch", |other| {
        other.hold.info.receiver = receiver
    });
    bench.of_other_terms("refund deadline", "nonce_mismatch", |other| {
        other.hold.info.refund_expiry += 1;
    });
    bench.of_other_terms("capture deadline", "nonce_mismatch", |other| {
        other.hold.info.authorization_expiry += 1;
    });
}

fn choices(bench: &mut Bench<'_>) {
    bench.extra("authCaptureEscrow", json!(STRANGER), "extra");
    bench.extra("authCaptureEscrow", json!(7), "extra");
    let other = match bench.bound.hold.deployment.fee_form {
        FeeForm::Bps => AUTH_CAPTURE_V11,
        FeeForm::Amount => AUTH_CAPTURE_V10,
    };
    bench.extra(
        "authCaptureEscrow",
        json!(other.escrow),
        "token_collector_mismatch",
    );
    bench.extra("paymentFlow", json!("subscription"), "unsupported_payment_flow");
    bench.extra("paymentFlow", json!(1), "unsupported_payment_flow");
    bench.extra("captureMode", json!("later"), "extra");
    bench.extra("captureMode", json!(["sync"]), "extra");
    if bench.charged {
        bench.extra("captureMode", json!("sync"), "extra");
        bench.extra("paymentFlow", json!("escrow"), "payload_format");
        bench.extra("receiverAuthorizer", Value::Null, "missing_receiver_authorizer");
        bench.extra("receiverAuthorizer", json!(ZERO), "missing_receiver_authorizer");
    } else {
        bench.extra("paymentFlow", json!("authorization"), "extra");
        bench.extra("receiverAuthorizer", Value::Null, "payload_format");
        bench.extra("receiverAuthorizer", json!(ZERO), "payload_format");
    }
    bench.extra("receiverAuthorizer", json!("0x1"), "extra");
    bench.extra("receiverAuthorizer", json!(STRANGER), "salt_binding_mismatch");
    bench.extra("operatorType", json!("policy"), "unsupported_operator_type");
    bench.extra("operatorType", json!(true), "unsupported_operator_type");
    bench.extra("operatorType", json!("custom"), "operator_not_admitted");
    bench.extra("policy", json!(STRANGER), "policy");
    bench.extra("policy", json!("none"), "policy");
    bench.extra("autoCapture", json!(true), "unsupported_payment_flow");
    bench.extra(
        "assetTransferMethod",
        json!("eip2612"),
        "unsupported_asset_transfer_method",
    );
    let other = if bench.is_eip3009() { "permit2" } else { "eip3009" };
    bench.extra("assetTransferMethod", json!(other), "payload_method_mismatch");
}

fn times(bench: &mut Bench<'_>) {
    let now = now_s();
    for wrong in [json!("1"), json!(-1), json!(1.5), json!(1u64 << 48)] {
        bench.extra("captureDeadline", wrong.clone(), "extra");
        bench.extra("refundDeadline", wrong, "extra");
    }
    let info = bench.bound.hold.info.clone();
    bench.extra("captureDeadline", json!(now), "capture_deadline_expired");
    bench.extra("captureDeadline", json!(now + 40), "deadline_ordering");
    bench.extra("captureDeadline", json!(now + 91 * DAY_S), "deadline_ordering");
    bench.extra("refundDeadline", json!(now + 181 * DAY_S), "deadline_ordering");
    bench.extra(
        "refundDeadline",
        json!(info.authorization_expiry - 1),
        "deadline_ordering",
    );
    bench.extra("refundDeadline", json!(info.refund_expiry + 1), "nonce_mismatch");
    bench.consistent("a horizon of a year", "deadline_ordering", |other| {
        other.hold.info.authorization_expiry = now + 365 * DAY_S;
        other.hold.info.refund_expiry = now + 366 * DAY_S;
    });
    bench.consistent(
        "an authorization that is over",
        "authorization_expired",
        |other| {
            other.hold.info.pre_approval_expiry = now - 1;
        },
    );
    bench.consistent(
        "an authorization after the deadline",
        "deadline_ordering",
        |other| {
            other.hold.info.pre_approval_expiry = other.hold.info.authorization_expiry + 1;
        },
    );
    let expiry = if bench.is_eip3009() {
        "validBefore"
    } else {
        "deadline"
    };
    bench.signed(expiry, json!("0"), "authorization_expired");
    bench.signed(expiry, json!((now + 5).to_string()), "authorization_expired");
    bench.signed(
        expiry,
        json!((info.pre_approval_expiry + 1).to_string()),
        "signature",
    );
    if bench.is_eip3009() {
        bench.signed("validAfter", json!("1"), "authorization_not_yet_valid");
        bench.signed(
            "validAfter",
            json!((now + 1_000).to_string()),
            "authorization_not_yet_valid",
        );
    }
}

fn shapes(bench: &mut Bench<'_>) {
    for wrong in [json!("collect"), json!(1), json!(""), json!("Capture")] {
        bench.payload("type", wrong, "payload_type");
    }
    // As a lifecycle call it lacks nearly everything.
    bench.payload("type", json!("capture"), "payload_format");
    bench.payload("type", json!("void"), "payload_format");
    bench.payload("salt", Value::Null, "payload_format");
    bench.payload("salt", json!("0x00"), "payload_format");
    bench.payload("salt", json!(hex0x(&[7; 32])), "salt_binding_mismatch");
    bench.payload("saltNonce", Value::Null, "payload_format");
    bench.payload("saltNonce", json!(7), "payload_format");
    bench.payload("saltNonce", json!(hex0x(&[7; 32])), "salt_binding_mismatch");
    bench.payload("signature", json!("zz"), "payload_format");
    let member = bench.signed_member();
    bench.payload(member, Value::Null, "payload_format");
    bench.payload(member, json!([]), "payload_format");
    bench.add("both methods at once", "payload_format", |body| {
        let payload = &mut body["paymentPayload"]["payload"];
        payload["authorization"] = json!({});
        payload["permit2Authorization"] = json!({});
    });
    bench.signed("from", json!("0x"), "payload_format");
    let collector = if bench.is_eip3009() { "to" } else { "spender" };
    let own = bench.bound.hold.deployment;
    let other = match own.fee_form {
        FeeForm::Bps => AUTH_CAPTURE_V11,
        FeeForm::Amount => AUTH_CAPTURE_V10,
    };
    let (of_other, of_refunds) = (other.erc3009_collector, own.operator_refund_collector);
    for wrong in [
        STRANGER,
        own.escrow,
        of_other,
        of_refunds,
        own.pre_approval_collector,
    ] {
        bench.signed(collector, json!(wrong), "token_collector_mismatch");
    }
    if bench.is_eip3009() {
        bench.signed("value", json!("0x10"), "signature");
        bench.signed("value", json!((PRICE - 1).to_string()), "signature");
        bench.signed("nonce", json!("7"), "payload_format");
    } else {
        bench.signed("permitted/amount", json!("0x10"), "signature");
        bench.signed("permitted/amount", json!((PRICE - 1).to_string()), "signature");
        bench.signed("permitted/token", json!(FEE_TOKEN), "token_mismatch");
        bench.signed("nonce", json!("seven"), "payload_format");
        bench.signed("nonce", json!("7"), "signature");
    }
}

fn signatures(bench: &mut Bench<'_>) {
    let buyers = &bench.world.chain.buyers;
    let (another, own) = (buyers[BUYER + 1].clone(), buyers[BUYER].clone());
    bench.signed("from", json!(another.address), "signature");
    let text = bench.good["paymentPayload"]["payload"]["signature"].clone();
    let good = hex::decode(text.as_str().unwrap_or_default().trim_start_matches("0x")).expect("hex");
    let mut other_v = good.clone();
    other_v[64] = 29;
    let mut forged = good.clone();
    forged[5] ^= 1;
    let longer = [good.as_slice(), &[0]].concat();
    for wrong in [&[0; 65], &good[..64], &longer, &other_v, &forged, &[1]] {
        bench.payload("signature", json!(hex0x(wrong)), "signature");
    }
    let wrapped = wrapper(STRANGER, &good);
    bench.payload("signature", json!(hex0x(&wrapped)), "erc6492_factory_not_allowed");
    let mut broken = wrapped;
    broken[31] = 0xff;
    broken[64 + 24] = 0xff;
    bench.payload("signature", json!(hex0x(&broken)), "signature");
    let only_suffix = [[0_u8; 96].to_vec(), [0x64, 0x92].repeat(16)].concat();
    let name = format!("{}: nothing but a wrapper's suffix", bench.what);
    let mut body = bench.good.clone();
    body["paymentPayload"]["payload"]["signature"] = json!(hex0x(&only_suffix));
    bench.cases.push(Case::some(name, body));
    // Another signer's signature over the very same payment.
    bench.consistent("signed by another buyer", "signature", |other| {
        other.hold = other.hold.clone().signed_by(&another.key);
    });
    // Another payer's payment, in the first one's name.
    let mut theirs = bench.bound.clone();
    theirs.hold.info.payer = another.address;
    theirs.hold = theirs.hold.signed_by(&another.key);
    let mut body = self::body(bench.world, &theirs, bench.charged);
    let pointer = format!("/paymentPayload/payload/{}/from", bench.signed_member());
    *body.pointer_mut(&pointer).expect("there") = json!(own.address);
    let name = format!("{}: another payer's payment in this one's name", bench.what);
    bench.cases.push(Case::new(name, "signature", body));
}

fn funds(bench: &mut Bench<'_>) {
    let mut rich = bench.bound.clone();
    rich.hold.info.max_amount = BUYER_TOKENS + 1;
    let mut body = rich.collect(bench.world);
    if bench.charged {
        let fee = fee_of(&rich.hold.deployment, PRICE, FEE_BPS);
        rich.complete(bench.world, &mut body, PRICE, fee, e2e::escrow::AUTHORIZER_KEY);
        // Permit2 moves no more than what is charged.
        if !bench.is_eip3009() {
            return;
        }
    }
    let name = format!("{}: more than the buyer has", bench.what);
    bench.cases.push(Case::new(name, "insufficient_balance", body));
}

fn completions(bench: &mut Bench<'_>) {
    let deployment = bench.bound.hold.deployment;
    let (own, foreign, foreign_value) = match deployment.fee_form {
        FeeForm::Bps => ("feeBps", "feeAmount", json!("10000")),
        FeeForm::Amount => ("feeAmount", "feeBps", json!(100)),
    };
    for member in ["amount", own, "feeReceiver", "authorizerSignature"] {
        bench.payload(member, Value::Null, "payload_format");
    }
    bench.payload(foreign, foreign_value.clone(), "payload_format");
    bench.add("a fee of the other form", "payload_format", |body| {
        let payload = body["paymentPayload"]["payload"]
            .as_object_mut()
            .expect("an object");
        payload.remove(own);
        payload.insert(foreign.to_owned(), foreign_value);
    });
    bench.payload("feeReceiver", json!(STRANGER), "fee_receiver");
    bench.payload("feeReceiver", json!(ZERO), "fee_receiver");
    bench.payload("feeReceiver", json!("me"), "fee_receiver");
    let fee = fee_of(&deployment, PRICE, FEE_BPS);
    for (amount, fee, key, expected) in [
        (0, 0, "authorizer", "amount_mismatch"),
        (PRICE + 1, fee, "authorizer", "amount_mismatch"),
        (PRICE, fee + 1, "authorizer", "fee_bps_out_of_range"),
        (PRICE, fee - 1, "authorizer", "fee_bps_out_of_range"),
        (PRICE, 0, "authorizer", "fee_bps_out_of_range"),
        (PRICE, fee, "buyer", "authorizer_signature"),
    ] {
        let key = match key {
            "buyer" => bench.world.chain.buyers[BUYER].key.clone(),
            _ => e2e::escrow::AUTHORIZER_KEY.to_owned(),
        };
        let mut body = bench.good.clone();
        bench.bound.complete(bench.world, &mut body, amount, fee, &key);
        let name = format!("{}: completed with {amount} and a fee of {fee}", bench.what);
        bench.cases.push(Case::new(name, expected, body));
    }
    bench.payload(
        "amount",
        json!((PRICE / 2).to_string()),
        match deployment.fee_form {
            // Half the amount with the fee of the whole.
            FeeForm::Amount => "fee_bps_out_of_range",
            FeeForm::Bps => "authorizer_signature",
        },
    );
    bench.payload(
        "authorizerSignature",
        json!(hex0x(&[7; 65])),
        "authorizer_signature",
    );
    let mut other = bench.bound.clone();
    other.salt_nonce = keccak(b"another");
    let other = Bound::new(bench.world, other.hold, "another");
    let theirs = body(bench.world, &other, true)["paymentPayload"]["payload"]["authorizerSignature"].clone();
    bench.payload("authorizerSignature", theirs, "authorizer_signature");
}

/// Every member of a hold and of a charge, replaced by everything that it can be mistaken for.
pub(super) fn spoiled(world: &World) -> Vec<Case> {
    let hold = payment(world, AUTH_CAPTURE_V10, Method::Permit2, false);
    let charge = payment(world, AUTH_CAPTURE_V11, Method::Eip3009, true);
    let mut cases = spoil::every_member("hold", &body(world, &hold, false));
    cases.extend(spoil::every_member("charge", &body(world, &charge, true)));
    cases
}

/// What nobody signs and no contract sees.
pub(super) fn may_not_matter(name: &str) -> bool {
    [
        // The same number, spelled in another way.
        "authorization/validAfter = 0",
        "authorization/validAfter = \"0x00",
        // `null` and an empty text mean the usual one.
        "authCaptureEscrow",
        "captureMode",
        "assetTransferMethod",
        "operatorType",
        // Permit2 signs without the token's domain.
        "hold: /paymentRequirements/extra/name",
        "hold: /paymentRequirements/extra/version",
        "maxTimeoutSeconds",
    ]
    .iter()
    .any(|member| name.contains(member))
        // A charge that is not completed can be verified.
        || name.contains("paymentFlow")
}

/// The bodies that were spoiled are good as they are, or the corpus would prove nothing.
pub(super) fn the_unspoiled_are_good(world: &World) {
    for deployment in [AUTH_CAPTURE_V11, AUTH_CAPTURE_V10] {
        for method in [Method::Eip3009, Method::Permit2] {
            for charged in [false, true] {
                let bound = payment(world, deployment, method, charged);
                let body = body(world, &bound, charged);
                world.untouched(|| post(world, "/verify", &body, SHOP_KEY).valid());
                let hash = bound.hold.hash(world);
                assert_eq!(known(world, &hash), 404, "verify records nothing");
                let _ = post(world, "/settle", &body, SHOP_KEY).paid();
                assert_eq!(known(world, &hash), 200);
            }
        }
    }
}

/// The status with which the facilitator shows a payment.
fn known(world: &World, hash: &str) -> u16 {
    let path = format!("/auth-capture/payments/{hash}?network=eip155:84532");
    let bearer = format!("Bearer {SHOP_KEY}");
    let headers = [("authorization", bearer.as_str())];
    let shown = world.facilitator.client().send("GET", &path, b"", &headers);
    shown.expect("an answer").status
}
