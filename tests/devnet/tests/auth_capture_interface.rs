//! Selectors, errors, topics and type hashes of the escrow and its collectors are those of the protocol note's tables.

mod common;

use common::escrow::DEPLOYMENTS;
use common::text;
use devnet::{Artifact, Devnet, Options, encode};
use serde_json::json;

const PI: &str =
    "(address,address,address,address,uint120,uint48,uint48,uint48,uint16,uint16,address,uint256)";
const V10: &str = "AuthCaptureEscrowV10";
const V11: &str = "AuthCaptureEscrowV11";
const PRE_APPROVAL: &str = "PreApprovalCollector";
const COLLECTORS: [&str; 4] = [
    "Erc3009Collector",
    "Permit2Collector",
    "OperatorRefundCollector",
    PRE_APPROVAL,
];

fn artifact(contract: &str) -> Artifact {
    Artifact::load(contract).expect(contract)
}

/// `PI` in a signature of the note stands for the payment's tuple.
fn written_out(signature: &str) -> String {
    signature.replace("PI", PI)
}

#[test]
fn the_escrows_functions_have_the_selectors_of_their_fee_form() {
    let both = [
        ("authorize(PI,uint256,address,bytes)", "0x41d66202"),
        ("void(PI)", "0xfa1cad17"),
        ("reclaim(PI)", "0xe1a2a66d"),
        ("refund(PI,uint256,address,bytes)", "0xd458db5a"),
        ("getHash(PI)", "0x063a70ff"),
        ("getTokenStore(address)", "0x9d3facde"),
        ("paymentState(bytes32)", "0x34b778ed"),
        ("PAYMENT_INFO_TYPEHASH()", "0xe15d987a"),
        ("tokenStoreImplementation()", "0xa834c89b"),
    ];
    let v10 = [
        ("charge(PI,uint256,address,bytes,uint16,address)", "0x9e65819f"),
        ("capture(PI,uint256,uint16,address)", "0x644cd79a"),
    ];
    let v11 = [
        ("charge(PI,uint256,address,bytes,uint256,address)", "0xc449d17c"),
        ("capture(PI,uint256,uint256,address)", "0x3efa46e1"),
    ];
    for (contract, own) in [(V10, v10), (V11, v11)] {
        let functions = artifact(contract).functions;
        for (signature, selector) in both.into_iter().chain(own) {
            assert_eq!(
                functions[&written_out(signature)],
                selector,
                "{contract}.{signature}"
            );
        }
        assert_eq!(
            functions.len(),
            both.len() + own.len(),
            "{contract} has nothing else"
        );
    }
}

#[test]
fn the_collectors_and_the_store_have_the_documented_selectors() {
    for contract in COLLECTORS {
        let functions = artifact(contract).functions;
        let collect = written_out("collectTokens(PI,address,uint256,bytes)");
        assert_eq!(functions[&collect], "0x49884788", "{contract}");
        assert_eq!(functions["collectorType()"], "0xccdafa11", "{contract}");
    }
    let functions = artifact(PRE_APPROVAL).functions;
    assert_eq!(functions[&written_out("preApprove(PI)")], "0xc6184c2f");
    assert_eq!(functions["isPreApproved(bytes32)"], "0xaa78d16a");
    let store = artifact("TokenStore").functions;
    assert_eq!(store["sendTokens(address,address,uint256)"], "0xe6d66ac8");
    let token = artifact("DollarToken").functions;
    let receive = "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)";
    assert_eq!(
        token[receive], "0x88b7ab63",
        "the overload that the collector calls"
    );
    // The function by which contract operators name their escrow.
    for operator in ["TimeLockOperator", "ArbiterOperator", "HostileOperator"] {
        assert_eq!(
            artifact(operator).functions["ESCROW()"],
            "0xe681c4aa",
            "{operator}"
        );
    }
}

#[test]
fn every_event_has_the_documented_topic() {
    let both = [
        (
            "PaymentAuthorized(bytes32,PI,uint256,address)",
            "0x1c81fb2e3bab27f6bb09bee9a0dddf61600b7cbaf2c12683e4864e0cbdb9d284",
        ),
        (
            "PaymentVoided(bytes32,uint256)",
            "0xcadce8c3acb008e3e1c64ca7f60d22a3c87069183182b7dbb9e4d8cfb3a15842",
        ),
        (
            "PaymentReclaimed(bytes32,uint256)",
            "0x78e1d723d17e13b7f40eeab9bf6dd9148a630bafde4203ab7bb5fca983516d17",
        ),
        (
            "PaymentRefunded(bytes32,uint256,address)",
            "0x1bf415371b303ca6b8bbb4ce479b177cba5ad15dbe0c9a7750a588aa6bcd25b2",
        ),
        (
            "TokenStoreCreated(address,address)",
            "0xd8699a107a4fe8ea740423e52159bafb235249dce5c2df55fa265db06964d136",
        ),
    ];
    let v10 = [
        (
            "PaymentCharged(bytes32,PI,uint256,address,uint16,address)",
            "0x943ae4341dd799d7aeedc501f616cd26b134639e0bc2ec059581ba3ebbf1e7d0",
        ),
        (
            "PaymentCaptured(bytes32,uint256,uint16,address)",
            "0xe749f7bbd01b49bb05abf26ca492cb4dfdea6bedeada8a40fdccd478c73a74e2",
        ),
    ];
    let v11 = [
        (
            "PaymentCharged(bytes32,PI,uint256,address,uint256,address)",
            "0x137b0e73e4453f43c2e1ad2552980a0e0c7e988764619974ca26d37a7159940c",
        ),
        (
            "PaymentCaptured(bytes32,uint256,uint256,address)",
            "0xac1e0db1957daedbc6944bcb4c8dc947ff8101d710671ac2ec26309f7f38d58e",
        ),
    ];
    for (contract, own) in [(V10, v10), (V11, v11)] {
        let events = artifact(contract).events;
        for (signature, topic) in both.into_iter().chain(own) {
            assert_eq!(events[&written_out(signature)], topic, "{contract}: {signature}");
        }
        assert_eq!(
            events.len(),
            both.len() + own.len(),
            "{contract} has nothing else"
        );
    }
    assert_eq!(
        artifact(PRE_APPROVAL).events["PaymentPreApproved(bytes32)"],
        "0x648e07873d502d2121c8e8dfb7efab466b43a83ef86ada8626ae88cf568becde"
    );
}

#[test]
fn every_error_has_the_documented_selector() {
    let both = [
        ("AfterPreApprovalExpiry(uint48,uint48)", "0xc46cf60f"),
        ("InvalidExpiries(uint48,uint48,uint48)", "0x88ef0760"),
        ("ExceedsMaxAmount(uint256,uint256)", "0x092af19e"),
        ("ZeroAmount()", "0x1f2a2005"),
        ("AmountOverflow(uint256,uint256)", "0x6c0442a2"),
        ("PaymentAlreadyCollected(bytes32)", "0xad7c145a"),
        ("TokenCollectionFailed()", "0x3c73c4a0"),
        ("InvalidCollectorForOperation()", "0x5313287d"),
        ("InvalidSender(address,address)", "0xe1130dba"),
        ("FeeBpsOverflow(uint16)", "0xbf47e3f7"),
        ("InvalidFeeBpsRange(uint16,uint16)", "0x0950d5d0"),
        ("ZeroFeeReceiver()", "0xb6802b7f"),
        ("InvalidFeeReceiver(address,address)", "0x4caf6a34"),
        ("AfterAuthorizationExpiry(uint48,uint48)", "0x36f2d211"),
        ("BeforeAuthorizationExpiry(uint48,uint48)", "0xaa5674ad"),
        ("InsufficientAuthorization(bytes32,uint256,uint256)", "0x604b0947"),
        ("ZeroAuthorization(bytes32)", "0x93bb7a12"),
        ("AfterRefundExpiry(uint48,uint48)", "0x94271bde"),
        ("RefundExceedsCapture(uint256,uint256)", "0x6295d604"),
        ("Reentrancy()", "0xab143c06"),
    ];
    let v10 = ("FeeBpsOutOfRange(uint16,uint16,uint16)", "0x0b345f0c");
    let v11 = ("FeeAmountOutOfRange(uint256,uint256,uint256)", "0x7c2dcc22");
    for (contract, own) in [(V10, v10), (V11, v11)] {
        let errors = artifact(contract).errors;
        for (signature, selector) in both.into_iter().chain([own]) {
            assert_eq!(errors[signature], selector, "{contract}: {signature}");
        }
        assert_eq!(errors.len(), both.len() + 1, "{contract} has nothing else");
    }
    for contract in COLLECTORS.into_iter().chain(["TokenStore"]) {
        let errors = artifact(contract).errors;
        assert_eq!(errors["OnlyAuthCaptureEscrow()"], "0xbde034f9", "{contract}");
    }
    let errors = artifact(PRE_APPROVAL).errors;
    assert_eq!(errors["PaymentNotPreApproved(bytes32)"], "0xa8334d15");
    assert_eq!(errors["PaymentAlreadyPreApproved(bytes32)"], "0x19af2135");
    assert_eq!(errors["SafeERC20FailedOperation(address)"], "0x5274afe7");
}

#[test]
fn every_deployment_is_wired_to_itself() {
    let chain = Devnet::start(Options::default()).expect("the chain starts");
    let read = |address: &str, selector: &str| {
        let data = encode(selector, &[]).expect("encodes");
        hex::encode(chain.rpc().eth_call(None, address, &data).expect("answers"))
    };
    let word = |address: &str| format!("{:0>64}", address.trim_start_matches("0x").to_lowercase());
    for deployment in DEPLOYMENTS {
        assert_eq!(
            read(deployment.escrow, "0xe15d987a"),
            "ae68ac7ce30c86ece8196b61a7c486d8f0061f575037fbd34e7fe4e2820c6591"
        );
        assert_eq!(
            read(deployment.escrow, "0xa834c89b"),
            word(deployment.token_store)
        );
        let bound = &artifact("TokenStore").functions["authCaptureEscrow()"];
        // Type 1 is for refunds.
        let collectors = [
            (deployment.erc3009_collector, 0),
            (deployment.permit2_collector, 0),
            (deployment.pre_approval_collector, 0),
            (deployment.operator_refund_collector, 1),
        ];
        for (collector, kind) in collectors {
            assert_eq!(read(collector, bound), word(deployment.escrow), "{collector}");
            assert_eq!(
                read(collector, "0xccdafa11"),
                format!("{kind:064x}"),
                "{collector}"
            );
        }
        assert_eq!(read(deployment.token_store, bound), word(deployment.escrow));
        // EIP-170 holds here too: the real chain would take this code.
        let code = chain
            .rpc()
            .call("eth_getCode", json!([deployment.escrow, "latest"]));
        assert!(text(&code.expect("code")).len() <= 2 + 2 * 24_576);
    }
}
