//! The golden vectors of auth-capture execute on the planted escrows: hashes, nonces, and the calldata of every call move
//! the money that they should, on both deployments.

mod common;

use common::{succeeded, text};
use devnet::{
    AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, AuthCapture, BUYER_TOKENS, Devnet, Options, PERMIT2, PaymentInfo,
    PaymentState, USDC,
};
use serde_json::Value;

const PAYEE: &str = "0x2222222222222222222222222222222222222222";
const FEE_RECEIVER: &str = "0x4444444444444444444444444444444444444444";

fn vectors() -> Value {
    serde_json::from_str(include_str!("auth_capture_vectors.json")).expect("the vectors parse")
}

fn chain() -> Devnet {
    Devnet::start(Options::default()).expect("the chain starts")
}

fn deployment(case: &Value) -> &'static AuthCapture {
    match text(&case["deployment"]) {
        "v1.1" => &AUTH_CAPTURE_V11,
        "v1.0" => &AUTH_CAPTURE_V10,
        other => panic!("no deployment {other} on the dev chain"),
    }
}

fn info(of: &Value) -> PaymentInfo {
    PaymentInfo::from_json(&of["paymentInfo"]).expect("payment info")
}

/// As the facilitator of the vectors, who is the operator of every case.
fn send(chain: &Devnet, case: &Value, calldata: &Value) {
    let facilitator = &chain.facilitators[0].address;
    let receipt = chain
        .send(facilitator, deployment(case).escrow, text(calldata))
        .unwrap_or_else(|error| panic!("{}: {error}", case["id"]));
    assert!(succeeded(&receipt), "{}", case["id"]);
}

fn state(chain: &Devnet, case: &Value) -> (u128, u128) {
    let hash = text(&case["paymentInfoHash"]);
    let state = chain.payment_state(deployment(case), hash).expect("state");
    assert!(state.collected, "{}", case["id"]);
    (state.capturable, state.refundable)
}

/// Units of the payer, the operator's token store, the payee and the fee receiver.
fn balances(chain: &Devnet, case: &Value) -> [u128; 4] {
    let info = info(case);
    let store = chain
        .token_store(deployment(case), &info.operator)
        .expect("store");
    [&info.payer, &store, &info.receiver, &info.fee_receiver]
        .map(|holder| chain.balance_of(USDC, holder).expect("balance"))
}

#[test]
fn hashes_and_nonces_are_those_of_the_vectors() {
    let chain = chain();
    let vectors = vectors();
    let hash_only = &vectors["hashOnly"];
    for (name, deployment) in [("v1.1", &AUTH_CAPTURE_V11), ("v1.0", &AUTH_CAPTURE_V10)] {
        let nonce = chain
            .signature_nonce(deployment, &info(hash_only))
            .expect("nonce");
        assert_eq!(nonce, text(&hash_only["signatureNonce"][format!("{name}@84532")]));
    }
    for case in vectors["cases"].as_array().expect("cases") {
        let (deployment, info) = (deployment(case), info(case));
        let hash = chain.payment_hash(deployment, &info).expect("hash");
        assert_eq!(hash, text(&case["paymentInfoHash"]), "{}", case["id"]);
        let nonce = chain.signature_nonce(deployment, &info).expect("nonce");
        assert_eq!(nonce, text(&case["signatureNonce"]), "{}", case["id"]);
        let data = hex::decode(text(&case["signature"]).trim_start_matches("0x")).expect("hex");
        let authorize = deployment
            .authorize(&info, info.max_amount, text(&case["tokenCollector"]), &data)
            .expect("encodes");
        assert_eq!(authorize, text(&case["authorizeCalldata"]), "{}", case["id"]);
    }
}

#[test]
fn every_authorization_of_the_vectors_is_held_in_escrow() {
    let chain = chain();
    let mut held = 0;
    for case in vectors()["cases"].as_array().expect("cases") {
        let start = chain.snapshot().expect("snapshot");
        if case["method"] == "permit2" {
            chain
                .set_allowance(USDC, &info(case).payer, PERMIT2, u128::MAX)
                .expect("allowance");
        }
        send(&chain, case, &case["authorizeCalldata"]);
        assert_eq!(state(&chain, case), (1_000_000, 0), "{}", case["id"]);
        assert_eq!(
            balances(&chain, case),
            [BUYER_TOKENS - 1_000_000, 1_000_000, 0, 0],
            "{}",
            case["id"]
        );
        chain.revert(&start).expect("back to the start");
        held += 1;
    }
    assert_eq!(held, 8);
}

#[test]
fn the_life_of_a_payment_in_the_vectors_moves_the_right_money() {
    let chain = chain();
    let mut lives = 0;
    let vectors = vectors();
    let cases = vectors["cases"].as_array().expect("cases");
    for case in cases.iter().filter(|case| case["charge"].is_object()) {
        let start = chain.snapshot().expect("snapshot");
        // 750,000 captured of 1,000,000, with one percent as fee; 250,000 refunded by the operator; the rest voided.
        send(&chain, case, &case["authorizeCalldata"]);
        send(&chain, case, &case["capture"]["calldata"]);
        assert_eq!(state(&chain, case), (250_000, 750_000), "{}", case["id"]);
        let payer = BUYER_TOKENS - 1_000_000;
        assert_eq!(balances(&chain, case), [payer, 250_000, 742_500, 7_500]);

        let operator = &chain.facilitators[0].address;
        let collector = deployment(case).operator_refund_collector;
        assert_eq!(text(&case["refund"]["tokenCollector"]), collector);
        chain.mint(USDC, operator, 250_000).expect("mint");
        chain
            .set_allowance(USDC, operator, collector, 250_000)
            .expect("allowance");
        send(&chain, case, &case["refund"]["calldata"]);
        assert_eq!(state(&chain, case), (250_000, 500_000), "{}", case["id"]);
        assert_eq!(balances(&chain, case), [payer + 250_000, 250_000, 742_500, 7_500]);
        assert_eq!(chain.balance_of(USDC, operator).expect("balance"), 0);

        send(&chain, case, &case["void"]["calldata"]);
        assert_eq!(state(&chain, case), (0, 500_000), "{}", case["id"]);
        assert_eq!(balances(&chain, case), [payer + 500_000, 0, 742_500, 7_500]);
        chain.revert(&start).expect("back to the start");
        lives += 1;
    }
    assert_eq!(lives, 2);
}

#[test]
fn a_charge_of_the_vectors_takes_its_amount_and_returns_the_rest() {
    let chain = chain();
    let vectors = vectors();
    let cases = vectors["cases"].as_array().expect("cases");
    for case in cases.iter().filter(|case| case["charge"].is_object()) {
        let start = chain.snapshot().expect("snapshot");
        send(&chain, case, &case["charge"]["calldata"]);
        assert_eq!(state(&chain, case), (0, 750_000), "{}", case["id"]);
        assert_eq!(
            balances(&chain, case),
            [BUYER_TOKENS - 750_000, 0, 742_500, 7_500]
        );
        chain.revert(&start).expect("back to the start");
    }
}

#[test]
fn scheme_v1_0_holds_or_charges_the_same_signature() {
    let chain = chain();
    let vectors = vectors();
    let (vector, facilitator) = (&vectors["schemeV10"], chain.facilitators[0].address.clone());
    let hash = text(&vector["paymentInfoHash"]);
    for (calldata, capturable, refundable) in [
        ("authorizeCalldata", 1_000_000, 0),
        ("chargeCalldata_autoCapture_true", 0, 1_000_000),
    ] {
        let start = chain.snapshot().expect("snapshot");
        let data = text(&vector[calldata]);
        let receipt = chain
            .send(&facilitator, AUTH_CAPTURE_V10.escrow, data)
            .expect("collects");
        assert!(succeeded(&receipt), "{calldata}");
        let expected = PaymentState {
            collected: true,
            capturable,
            refundable,
        };
        let state = chain.payment_state(&AUTH_CAPTURE_V10, hash).expect("state");
        assert_eq!(state, expected, "{calldata}");
        assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), refundable);
        assert_eq!(chain.balance_of(USDC, FEE_RECEIVER).expect("balance"), 0);
        chain.revert(&start).expect("back to the start");
    }
}
