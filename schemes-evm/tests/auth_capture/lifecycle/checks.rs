//! One case for each row of auth-capture-evm.md section 9: exactly that is wrong, and exactly that reason is answered.

use alloy_primitives::{Address, B256};
use schemes_evm::auth_capture::authorizer::Operation;
use schemes_evm::auth_capture::config::{Config, CustomOperator};
use schemes_evm::auth_capture::deployment::{V1_0, V1_1};
use schemes_evm::auth_capture::records::{OperationKind, OperationRow};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{FaultKind, PaymentRequest, SchemeHandler, Value};
use serde_json::json;

use super::world::*;

fn payment() -> Payment {
    Payment::on(V1_1)
}

fn capture() -> PaymentRequest {
    payment().capture(750_000, balances(HELD, 0))
}

fn with(mut request: PaymentRequest, name: &str, value: Value) -> PaymentRequest {
    request.payload.insert(name.into(), value);
    request
}

fn with_info(mut request: PaymentRequest, name: &str, value: Value) -> PaymentRequest {
    request.payload["paymentInfo"][name] = value;
    request
}

fn with_extra(mut request: PaymentRequest, name: &str, value: Value) -> PaymentRequest {
    request.requirements.extra.insert(name.into(), value);
    request
}

#[test]
fn good_operations_pass_on_both_deployments() {
    for deployment in [V1_1, V1_0] {
        let payment = Payment::on(deployment);
        let payer = lower(PAYER);
        let held = World::new();
        assert_eq!(
            held.verify(&payment.capture(HELD, balances(HELD, 0))),
            Ok(payer.clone())
        );
        assert_eq!(
            held.verify(&payment.capture_and_void(1, balances(HELD, 0))),
            Ok(payer.clone())
        );
        assert_eq!(held.verify(&payment.void()), Ok(payer.clone()));
        let captured = World::on(|chain| chain.state = state_result(true, 250_000, 750_000));
        assert_eq!(
            captured.verify(&payment.refund(750_000, balances(250_000, 750_000))),
            Ok(payer)
        );
    }
}

#[test]
fn row_1_shapes() {
    let world = World::new();
    for (request, reason) in [
        (with(capture(), "type", json!("settle")), "payload_type"),
        (with(capture(), "type", json!(7)), "payload_type"),
        (with(capture(), "saltNonce", json!("0x1")), "payload_format"),
        (with(capture(), "amount", json!(750_000)), "payload_format"),
        (with_info(capture(), "salt", json!("0x1")), "payload_format"),
        (
            with(payment().void(), "voidAuthorizerSignature", json!("0x01")),
            "void_authorizer_signature",
        ),
    ] {
        assert_eq!(world.refused(&request), reason);
    }
}

#[test]
fn row_2_terms() {
    let world = World::new();
    let mut scheme = capture();
    scheme.accepted.scheme = "exact".into();
    assert_eq!(world.refused(&scheme), "scheme");
    let mut network = capture();
    network.accepted.network = "eip155:8453".into();
    assert_eq!(world.refused(&network), "network_mismatch");
    let mut odd = capture();
    odd.accepted.network = "solana:x".into();
    odd.requirements.network = "solana:x".into();
    assert_eq!(world.refused(&odd), "invalid_network");
    for (name, value, reason) in [
        ("captureDeadline", json!("1"), "extra"),
        ("authCaptureEscrow", json!(STRANGER), "extra"),
        ("paymentFlow", json!("later"), "unsupported_payment_flow"),
        ("captureMode", json!("never"), "extra"),
        ("operatorType", json!("policy"), "unsupported_operator_type"),
        (
            "assetTransferMethod",
            json!("cheque"),
            "unsupported_asset_transfer_method",
        ),
        ("maxFeeBps", json!(10_001), "extra"),
        ("autoCapture", json!(true), "unsupported_payment_flow"),
    ] {
        assert_eq!(
            world.refused(&with_extra(capture(), name, value)),
            reason,
            "{name}"
        );
    }
}

#[test]
fn row_3_policies_and_operators() {
    let world = World::new();
    assert_eq!(
        world.refused(&with_extra(capture(), "policy", json!(STRANGER))),
        "policy"
    );
    assert_eq!(
        world.refused(&with_extra(capture(), "captureAuthorizer", json!(STRANGER))),
        "operator_not_admitted"
    );
    let custom = with_extra(
        with_extra(capture(), "captureAuthorizer", json!(STRANGER)),
        "operatorType",
        json!("custom"),
    );
    assert_eq!(world.refused(&custom), "operator_not_admitted");
    let admits = Config {
        custom_operators: vec![CustomOperator {
            address: STRANGER,
            network: None,
            charges: true,
        }],
        ..config()
    };
    assert_eq!(
        World::with(admits, |_| {}).refused(&custom),
        "lifecycle_not_relayed"
    );
}

#[test]
fn t61_a_retained_signer_still_captures() {
    let mut world = World::new();
    world.retained = true;
    let payment = Payment::on(V1_1);
    for order in [capture(), payment.void()] {
        let plan = world.plan(&order).expect("a plan");
        assert_eq!(plan.payer, lower(PAYER));
    }
    world.chain().state = state_result(true, 0, HELD);
    assert!(world.plan(&payment.refund(1, balances(0, HELD))).is_ok());
}

#[test]
fn row_4_nobody_may_order_for_an_unbound_payment() {
    let world = World::new();
    for nobody in [Value::Null, json!(Address::ZERO)] {
        let request = with_extra(capture(), "receiverAuthorizer", nobody);
        assert_eq!(world.refused(&request), "lifecycle_not_relayed");
    }
}

#[test]
fn rows_5_and_7_a_charged_payment_is_refunded_only_and_by_a_caller() {
    let world = World::on(|chain| chain.state = state_result(true, 0, HELD));
    let charged = payment().charged();
    assert_eq!(
        world.refused(&charged.capture(1, balances(0, HELD))),
        "payload_type"
    );
    assert_eq!(world.refused(&charged.void()), "payload_type");
    let refund = charged.refund(1, balances(0, HELD));
    assert!(world.verify(&refund).is_ok());
    let nobody = with_extra(refund, "receiverAuthorizer", json!(Address::ZERO));
    assert_eq!(world.refused(&nobody), "missing_receiver_authorizer");
}

#[test]
fn row_8_another_operator() {
    let request = with_info(capture(), "operator", json!(STRANGER));
    assert_eq!(World::new().refused(&request), "operator_mismatch");
}

#[test]
fn row_9_a_salt_that_commits_to_another_sender() {
    let world = World::new();
    let other_nonce = with(capture(), "saltNonce", json!(B256::repeat_byte(1)));
    assert_eq!(world.refused(&other_nonce), "salt_binding_mismatch");
    let other_authorizer = with_extra(capture(), "receiverAuthorizer", json!(STRANGER));
    assert_eq!(world.refused(&other_authorizer), "salt_binding_mismatch");
}

#[test]
fn row_9_a_payment_found_by_probing_needs_no_binding_salt() {
    let mut payment = payment();
    payment.info.salt = units(7);
    let request = payment.capture(1, balances(HELD, 0));
    let world = World::new();
    assert_eq!(world.refused(&request), "salt_binding_mismatch");
    let mut record = payment.record(Some(TENANT));
    record.salt_nonce = None;
    world.store(record.first_writes(None).expect("rows"));
    assert!(world.verify(&request).is_ok());
    // The record names one authorizer.
    let other = with_extra(request, "receiverAuthorizer", json!(STRANGER));
    assert_eq!(world.refused(&other), "salt_binding_mismatch");
}

#[test]
fn row_10_another_payment_than_the_requirements() {
    let world = World::new();
    for (name, value) in [
        ("receiver", json!(STRANGER)),
        ("token", json!(STRANGER)),
        ("maxAmount", json!("1000001")),
        ("authorizationExpiry", json!(NOW_S + 86_401)),
        ("refundExpiry", json!(NOW_S + 86_401)),
        ("minFeeBps", json!(99)),
        ("maxFeeBps", json!(101)),
        ("feeReceiver", json!(STRANGER)),
    ] {
        let request = with_info(capture(), name, value);
        assert_eq!(world.refused(&request), "extra", "{name}");
    }
    let mut accepted = capture();
    accepted.accepted.raw.insert("amount".into(), json!("999999"));
    assert_eq!(world.refused(&accepted), "extra");
    // What the seller charges now is not the payment's amount.
    let mut lowered = capture();
    lowered.requirements.amount = 750_000u64.into();
    assert!(world.verify(&lowered).is_ok());
}

#[test]
fn row_12_captures() {
    let world = World::new();
    let mut no_receiver = capture();
    no_receiver.payload.remove("feeReceiver");
    let resigned = |fee: u64, receiver: Address| {
        let operation = Operation::Capture {
            amount: units(750_000),
            fee: schemes_evm::auth_capture::fees::Fee::Amount(units(fee)),
            fee_receiver: receiver,
            expected: balances(HELD, 0),
        };
        let request = with(capture(), "feeAmount", json!(fee.to_string()));
        let request = with(request, "feeReceiver", json!(receiver));
        with(request, "authorizerSignature", json!(payment().sign(&operation)))
    };
    for (request, reason) in [
        (with(capture(), "feeAmount", json!(7_500)), "payload_format"),
        (with(capture(), "feeBps", json!(100)), "payload_format"),
        (with(capture(), "amount", json!("749999")), "authorizer_signature"),
        (
            with(capture(), "voidAuthorizerSignature", json!("0x01")),
            "void_authorizer_signature",
        ),
        // Ours to request, and a signature of the authorizer's is the merchant's way.
        (
            with(capture(), "voidRemainder", json!(true)),
            "void_authorizer_signature",
        ),
        (no_receiver, "fee_receiver"),
        (resigned(7_500, STRANGER), "fee_receiver"),
        (resigned(7_501, FEE_RECIPIENT), "fee_bps_out_of_range"),
        (resigned(7_499, FEE_RECIPIENT), "fee_bps_out_of_range"),
    ] {
        assert_eq!(world.refused(&request), reason);
    }
}

#[test]
fn row_12_terms_without_a_fee_leave_its_receiver_open() {
    let mut payment = payment();
    payment.info.feeReceiver = Address::ZERO;
    payment.info.minFeeBps = 0;
    payment.info.maxFeeBps = 0;
    let operation = Operation::Capture {
        amount: units(1),
        fee: schemes_evm::auth_capture::fees::Fee::Amount(units(0)),
        fee_receiver: STRANGER,
        expected: balances(HELD, 0),
    };
    let request = with(
        payment.capture(1, balances(HELD, 0)),
        "feeReceiver",
        json!(STRANGER),
    );
    let request = with(request, "authorizerSignature", json!(payment.sign(&operation)));
    assert!(
        World::new().verify(&request).is_ok(),
        "terms without a fee leave the receiver open"
    );
}

#[test]
fn row_12_deadlines() {
    let at = |now_s: u64| {
        World::on(move |chain| {
            chain.block_s = now_s;
            chain.state = state_result(true, HELD, HELD);
        })
    };
    let deadline_s = NOW_S + 86_400;
    let capture = payment().capture(1, balances(HELD, HELD));
    assert_eq!(at(deadline_s).refused(&capture), "capture_deadline_expired");
    let refund = payment().refund(1, balances(HELD, HELD));
    let refund_deadline_s = NOW_S + 7 * 86_400;
    assert!(at(refund_deadline_s - 1).verify(&refund).is_ok());
    assert_eq!(at(refund_deadline_s).refused(&refund), "refund_deadline_expired");
    assert!(
        at(refund_deadline_s).verify(&payment().void()).is_ok(),
        "a void has no deadline"
    );
}

#[test]
fn t74_captures_end_a_margin_before_the_deadline() {
    let capture = payment().capture(1, balances(HELD, 0));
    let at = |before_s: u64| World::on(move |chain| chain.block_s = NOW_S + 86_400 - before_s);
    assert_eq!(at(10).refused(&capture), "capture_deadline_expired");
    assert_eq!(at(30).refused(&capture), "capture_deadline_expired");
    assert!(at(31).verify(&capture).is_ok());
}

#[test]
fn row_13_other_balances_than_expected() {
    let refund = payment().refund(1, balances(HELD, 0));
    for state in [
        state_result(true, HELD - 1, 0),
        state_result(true, HELD, 1),
        state_result(true, 0, 0),
        state_result(false, 0, 0),
        hex_result(&[]),
        revert(0),
    ] {
        let world = World::on(|chain| chain.state = state.clone());
        assert_eq!(world.refused(&capture()), "unexpected_payment_state", "{state:?}");
        assert_eq!(world.refused(&refund), "unexpected_payment_state", "{state:?}");
    }
}

#[test]
fn row_13_a_node_that_lags_is_queried_again_while_it_shows_nothing() {
    let world = World::on(|chain| chain.lagging = 4);
    assert!(world.verify(&capture()).is_ok());
    let world = World::on(|chain| chain.lagging = 6);
    assert!(world.verify(&capture()).is_err());
    let world = World::on(|chain| chain.state = state_result(true, 0, HELD));
    let before = world.host.round_trips();
    assert!(world.verify(&capture()).is_err());
    assert_eq!(
        world.host.round_trips() - before,
        2,
        "what it shows it knows, and two nodes say so"
    );
}

#[test]
fn t60_a_node_that_has_not_come_to_the_last_operation_is_not_believed() {
    let payment = payment();
    let operation = OperationRow {
        kind: OperationKind::Capture,
        amount: units(500_000),
        fee: None,
        transaction: "0xaa".into(),
        height: 101,
        planned_at_s: NOW_S,
        voids_remainder: false,
    };
    // It shows the balances from before the capture, which are just the expected ones.
    let world = World::on(|chain| chain.height = 100);
    let rows = payment.record(None).operation_writes(&operation).expect("rows");
    world.store(rows);
    let plan = || block_on(world.scheme.plan(&world.cx(), &capture()));
    assert_eq!(plan().expect_err("a fault").kind, FaultKind::Unavailable);
    world.chain().height = 101;
    world.chain().state = state_result(true, 500_000, 500_000);
    assert_eq!(world.refused(&capture()), "unexpected_payment_state");
}

#[test]
fn row_13_a_payment_that_a_reorganisation_took_back_is_refused_at_once() {
    let payment = payment();
    let collected = OperationRow {
        kind: OperationKind::Authorize,
        amount: units(HELD),
        fee: None,
        transaction: "0xaa".into(),
        height: 100,
        planned_at_s: NOW_S,
        voids_remainder: false,
    };
    let world = World::on(|chain| {
        chain.height = 100;
        chain.state = state_result(false, 0, 0);
    });
    let rows = payment.record(None).operation_writes(&collected).expect("rows");
    world.store(rows);
    let before = world.host.round_trips();
    let refusal = world.verify(&capture()).expect_err("refused");
    assert_eq!(
        refusal.reason,
        "invalid_auth_capture_evm_unexpected_payment_state"
    );
    assert_eq!(
        world.host.round_trips() - before,
        2,
        "no pause, and two nodes say so"
    );
}

#[test]
fn row_14_amounts() {
    let world = World::new();
    let payment = payment();
    assert_eq!(
        world.refused(&payment.capture(0, balances(HELD, 0))),
        "amount_mismatch"
    );
    assert_eq!(
        world.refused(&payment.capture(HELD + 1, balances(HELD, 0))),
        "amount_mismatch"
    );
    assert_eq!(
        world.refused(&payment.capture_and_void(HELD, balances(HELD, 0))),
        "void_remainder_full_capture"
    );
    let captured = World::on(|chain| chain.state = state_result(true, 0, HELD));
    assert_eq!(captured.refused(&payment.void()), "zero_authorization");
    for amount in [0, HELD + 1] {
        assert_eq!(
            captured.refused(&payment.refund(amount, balances(0, HELD))),
            "refund_exceeds_capture"
        );
    }
}

#[test]
fn row_15_simulations() {
    let payment = payment();
    let refund = payment.refund(1, balances(HELD, HELD));
    let capture = payment.capture_and_void(1, balances(HELD, HELD));
    for (selector, reason) in [
        (0x36f2_d211, "capture_deadline_expired"),
        (0x604b_0947, "insufficient_authorization"),
        (0x93bb_7a12, "zero_authorization"),
        (0x6295_d604, "refund_exceeds_capture"),
        (0xe113_0dba, "operator_mismatch"),
        (0x5274_afe7, "simulation_failed"),
        (0xdead_beef, "simulation_failed"),
    ] {
        let world = |change: fn(&mut Chain, sdk_plugin::host::RpcResult)| {
            World::on(|chain| {
                chain.state = state_result(true, HELD, HELD);
                change(chain, revert(selector));
            })
        };
        assert_eq!(
            world(|chain, answer| chain.capture = answer).refused(&capture),
            reason
        );
        // The void after a capture is checked too: its payer may be unable to take anything.
        assert_eq!(
            world(|chain, answer| chain.void = answer).refused(&capture),
            reason
        );
        assert_eq!(
            world(|chain, answer| chain.void = answer).refused(&payment.void()),
            reason
        );
        assert_eq!(
            world(|chain, answer| chain.refund = answer).refused(&refund),
            reason
        );
    }
}

#[test]
fn trouble_of_a_node_is_never_a_refusal() {
    let all: [fn(&mut Chain); 4] = [
        |chain| chain.state = internal_error(),
        |chain| chain.capture = internal_error(),
        |chain| chain.authorizer_code = internal_error(),
        |chain| chain.void = internal_error(),
    ];
    for change in all {
        let world = World::on(change);
        let request = payment().capture_and_void(1, balances(HELD, 0));
        let fault = block_on(world.scheme.plan(&world.cx(), &request)).expect_err("a fault");
        assert_eq!(fault.kind, FaultKind::Unavailable);
    }
}

#[test]
fn t60_a_capture_is_good_for_one_state_of_the_payment() {
    let world = World::new();
    let first = payment().capture(500_000, balances(HELD, 0));
    assert!(world.plan(&first).is_ok());
    // It landed; the same again, and after a second capture, and after a refund.
    for (capturable, refundable) in [(500_000, 500_000), (0, HELD), (500_000, 0), (0, 0)] {
        world.chain().state = state_result(true, capturable, refundable);
        assert_eq!(world.refused(&first), "unexpected_payment_state");
    }
    // At once: two captures of one payment are planned one after another, and the same one is one claim.
    let (again, other) = (first.clone(), payment().capture(600_000, balances(HELD, 0)));
    let identified = [&first, &again, &other].map(|request| world.identify(request).expect("identified"));
    assert_eq!(identified[0], identified[1]);
    assert_ne!(identified[0].claim_key, identified[2].claim_key);
    assert_eq!(identified[0].conflict_keys, identified[2].conflict_keys);
    assert_eq!(identified[0].conflict_keys, [payment().hash().to_string()]);
    assert_eq!(
        identified[0].replay_reason,
        "invalid_auth_capture_evm_unexpected_payment_state"
    );
}

#[test]
fn t69_a_fee_in_the_other_deployments_form_is_refused_not_converted() {
    let world = World::new();
    let mut to_v1_1 = payment().capture(750_000, balances(HELD, 0));
    to_v1_1.payload.remove("feeAmount");
    assert_eq!(
        world.refused(&with(to_v1_1, "feeBps", json!(100))),
        "payload_format"
    );
    let mut to_v1_0 = Payment::on(V1_0).capture(750_000, balances(HELD, 0));
    to_v1_0.payload.remove("feeBps");
    assert_eq!(
        world.refused(&with(to_v1_0, "feeAmount", json!("7500"))),
        "payload_format"
    );
}

#[test]
fn t75_a_collection_merged_with_lifecycle_members_is_a_lifecycle_call() {
    let mut merged = capture();
    for (name, value) in [
        (
            "authorization",
            json!({ "from": PAYER, "to": V1_1.erc3009_collector, "value": "1000000", "validAfter": "0",
                "validBefore": "1", "nonce": B256::ZERO }),
        ),
        ("signature", json!("0x00")),
        ("salt", json!(B256::ZERO)),
    ] {
        merged.payload.insert(name.into(), value);
    }
    let world = World::new();
    assert_eq!(world.identify(&merged), world.identify(&capture()));
    let plan = world.plan(&merged).expect("a plan");
    assert_eq!(plan.steps[0].call.operation, "0x3efa46e1");
}

#[test]
fn t78_small_partial_captures_are_refused_where_the_operator_says_so() {
    let picky = || Config {
        min_capture_amount: 100u64.into(),
        ..config()
    };
    let payment = payment();
    let small = payment.capture(99, balances(HELD, 0));
    assert_eq!(World::with(picky(), |_| {}).refused(&small), "amount_mismatch");
    assert!(World::new().verify(&small).is_ok(), "its fee is nothing");
    let world = World::with(picky(), |chain| chain.state = state_result(true, 99, 0));
    assert!(
        world.verify(&payment.capture(99, balances(99, 0))).is_ok(),
        "what is left may be small"
    );
}
