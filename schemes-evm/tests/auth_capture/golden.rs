//! The golden vectors: hashes, nonces, digests of clients and authorizers, for every deployment.

use alloy_primitives::aliases::{U48, U120};
use alloy_primitives::{Address, B256, U256, keccak256};
use schemes_evm::auth_capture::abi::PaymentInfo;
use schemes_evm::auth_capture::authorizer::{Balances, Operation};
use schemes_evm::auth_capture::deployment::{Deployment, V1_0, V1_1, V1_1_EARLIER};
use schemes_evm::auth_capture::fees::Fee;
use schemes_evm::auth_capture::payment_info::{EscrowId, bound_salt};
use serde_json::Value;

pub fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/auth_capture.json")).unwrap()
}

pub fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no string"))
        .parse()
        .unwrap()
}

pub fn deployment(name: &str) -> Deployment {
    match name {
        "v1.1" => V1_1,
        "v1.0" => V1_0,
        "v1.1-earlier" => V1_1_EARLIER,
        other => panic!("{other}"),
    }
}

fn payment_info(vector: &Value) -> PaymentInfo {
    let seconds = |name: &str| U48::from(vector[name].as_u64().unwrap());
    let bps = |name: &str| u16::try_from(vector[name].as_u64().unwrap()).unwrap();
    PaymentInfo {
        operator: parsed(&vector["operator"]),
        payer: parsed(&vector["payer"]),
        receiver: parsed(&vector["receiver"]),
        token: parsed(&vector["token"]),
        maxAmount: parsed::<U120>(&vector["maxAmount"]),
        preApprovalExpiry: seconds("preApprovalExpiry"),
        authorizationExpiry: seconds("authorizationExpiry"),
        refundExpiry: seconds("refundExpiry"),
        minFeeBps: bps("minFeeBps"),
        maxFeeBps: bps("maxFeeBps"),
        feeReceiver: parsed(&vector["feeReceiver"]),
        salt: parsed(&vector["salt"]),
    }
}

fn place(deployment: &Deployment, chain_id: u64) -> EscrowId {
    EscrowId {
        chain_id,
        escrow: deployment.escrow,
    }
}

#[test]
fn the_deployments_are_the_specified_ones() {
    for (name, vector) in vectors()["deployments"].as_object().unwrap() {
        let ours = deployment(name);
        assert_eq!(ours.escrow, parsed::<Address>(&vector["escrow"]));
        assert_eq!(
            ours.erc3009_collector,
            parsed::<Address>(&vector["eip3009Collector"])
        );
        assert_eq!(
            ours.permit2_collector,
            parsed::<Address>(&vector["permit2Collector"])
        );
        assert_eq!(
            ours.operator_refund_collector,
            parsed::<Address>(&vector["operatorRefundCollector"])
        );
    }
}

#[test]
fn payments_and_nonces_hash_as_specified() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases.iter().chain([&vectors["schemeV10"]]) {
        let name = case["deployment"].as_str().unwrap_or("v1.0");
        let place = place(&deployment(name), 84_532);
        let info = payment_info(&case["paymentInfo"]);
        assert_eq!(
            info.hash(place),
            parsed::<B256>(&case["paymentInfoHash"]),
            "{}",
            case["id"]
        );
        assert_eq!(
            info.signature_nonce(place),
            parsed::<B256>(&case["signatureNonce"]),
            "{}",
            case["id"]
        );
        if case["bound"] == Value::Bool(true) {
            let authorizer = parsed(&case["requirements"]["extra"]["receiverAuthorizer"]);
            let nonce = parsed(&case["payload"]["saltNonce"]);
            assert_eq!(bound_salt(authorizer, Address::ZERO, nonce), info.salt);
        }
    }
    let only = &vectors["hashOnly"];
    for (at, expected) in only["signatureNonce"].as_object().unwrap() {
        let (name, chain_id) = at.split_once('@').unwrap();
        let place = place(&deployment(name), chain_id.parse().unwrap());
        assert_eq!(
            payment_info(&only["paymentInfo"]).signature_nonce(place),
            parsed::<B256>(expected)
        );
    }
    let binding = &only["saltBinding"];
    let salt = bound_salt(
        parsed(&binding["receiverAuthorizer"]),
        parsed(&binding["policy"]),
        parsed(&binding["saltNonce"]),
    );
    assert_eq!(salt, parsed::<U256>(&binding["boundSalt"]));
}

#[test]
fn authorizers_sign_the_specified_digests() {
    let vectors = vectors();
    let mut seen = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let Some(authorizer) = case["authorizer"].as_object() else {
            continue;
        };
        let deployment = deployment(case["deployment"].as_str().unwrap());
        let info = payment_info(&case["paymentInfo"]);
        let hash = info.hash(place(&deployment, 84_532));
        let fee = |vector: &Value| match vector["feeBps"].as_u64() {
            Some(bps) => Fee::Bps(u16::try_from(bps).unwrap()),
            None => Fee::Amount(parsed(&vector["feeAmount"])),
        };
        let expected = |vector: &Value| Balances {
            capturable: parsed(&vector["expectedCapturableAmount"]),
            refundable: parsed(&vector["expectedRefundableAmount"]),
        };
        let charge = &authorizer["charge"]["settlePayload"];
        let capture = &authorizer["capture"]["settlePayload"];
        let refund = &authorizer["refund"]["settlePayload"];
        let signature: alloy_primitives::Bytes = parsed(&case["signature"]);
        let operations = [
            (
                "charge",
                Operation::Charge {
                    amount: parsed(&charge["amount"]),
                    token_collector: parsed(&case["tokenCollector"]),
                    collector_data_hash: keccak256(&signature),
                    fee: fee(charge),
                    fee_receiver: parsed(&charge["feeReceiver"]),
                },
            ),
            (
                "capture",
                Operation::Capture {
                    amount: parsed(&capture["amount"]),
                    fee: fee(capture),
                    fee_receiver: parsed(&capture["feeReceiver"]),
                    expected: expected(capture),
                },
            ),
            ("void", Operation::Void),
            (
                "refund",
                Operation::Refund {
                    amount: parsed(&refund["amount"]),
                    token_collector: deployment.operator_refund_collector,
                    expected: expected(refund),
                },
            ),
        ];
        for (name, operation) in operations {
            let digest = operation.digest(hash, 84_532, info.operator);
            assert_eq!(
                digest,
                parsed::<B256>(&authorizer[name]["digest"]),
                "{} {name}",
                case["id"]
            );
            seen += 1;
        }
    }
    assert!(seen >= 12, "{seen}");
}
