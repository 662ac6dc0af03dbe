//! auth-capture-evm.md section 13: the wire of the seed documents, in the shipped order.

use alloy_primitives::Address;
use schemes_evm::auth_capture::deployment::Method;
use sdk_plugin::PaymentRequest;
use serde_json::{Value, json};

use super::offer::{CONTRACT, NOW_S, OTHER, Offer, UNITS, set_authorization};
use super::order::{Case, Draft, each_has_its_reason, the_first_broken_check_answers};
use super::world::{revert, state, typed, word_result};

fn hold() -> Offer {
    Offer::v1_0()
}

fn permit2() -> Offer {
    Offer {
        method: Method::Permit2,
        ..Offer::v1_0()
    }
}

fn case(step: u8, reason: &'static str, base: fn() -> Offer, break_it: fn(&mut Draft)) -> Case {
    Case {
        step,
        reason,
        base,
        break_it,
    }
}

fn extra(request: &mut PaymentRequest, name: &str, value: Value) {
    request.requirements.extra.insert(name.to_owned(), value);
}

fn fails(draft: &mut Draft, with: sdk_plugin::host::RpcResult) {
    draft.chain.simulation = with.clone();
    draft.chain.estimate = with;
}

/// Steps are numbered as they are shipped: the amount before the order of the expiries.
pub fn cases() -> Vec<Case> {
    const FORMAT: &str = "invalid_payload_format";
    const EXTRA: &str = "invalid_auth_capture_extra";
    vec![
        case(1, FORMAT, hold, |d| {
            d.edit(|r| drop(r.payload.remove("signature")))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| r.payload["salt"] = json!("0xabc"))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| set_authorization(r, "value", json!("x")))
        }),
        case(2, "unsupported_scheme", hold, |d| {
            d.edit(|r| r.accepted.scheme = "exact".into())
        }),
        case(3, "network_mismatch", hold, |d| {
            d.edit(|r| r.accepted.network = "eip155:8453".into());
        }),
        case(3, "invalid_network", hold, |d| {
            d.edit(|r| {
                r.requirements.network = "base".into();
                r.accepted.network = "base".into();
            });
        }),
        case(4, EXTRA, hold, |d| {
            d.edit(|r| drop(r.requirements.extra.remove("name")))
        }),
        case(4, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "captureDeadline", json!(-1)))
        }),
        case(4, EXTRA, hold, |d| {
            d.edit(|r| r.requirements.pay_to = "me".into())
        }),
        case(5, "unsupported_asset_transfer_method", hold, |d| {
            d.edit(|r| extra(r, "assetTransferMethod", json!("wire")));
        }),
        case(6, EXTRA, hold, |d| d.edit(|r| extra(r, "maxFeeBps", json!(99)))),
        case(7, "payload_method_mismatch", hold, |d| {
            d.edit(|r| extra(r, "assetTransferMethod", json!("permit2")));
        }),
        // Decided by address, never by code at it (T-67).
        case(8, "invalid_capture_authorizer", hold, |d| {
            d.edit(|r| extra(r, "captureAuthorizer", json!(OTHER)));
        }),
        case(9, "capture_deadline_expired", hold, |d| {
            d.offer.capture_deadline = NOW_S + 6
        }),
        case(10, "invalid_deadline_ordering", hold, |d| {
            d.offer.refund_deadline = NOW_S + 3_599
        }),
        case(10, "invalid_deadline_ordering", hold, |d| {
            d.config.max_refund_horizon_s = 86_399
        }),
        case(11, "authorization_expired", hold, |d| {
            d.offer.valid_before = NOW_S + 6
        }),
        case(12, "authorization_not_yet_valid", hold, |d| {
            d.offer.valid_after = NOW_S + 1
        }),
        case(13, "token_collector_mismatch", hold, |d| {
            // A collector of this set still, or it would be no v1.0 payment.
            d.offer.collector = Some(d.offer.deployment.permit2_collector);
        }),
        case(14, "token_mismatch", permit2, |d| {
            d.offer.permitted = Some(OTHER.parse().unwrap())
        }),
        case(15, "invalid_auth_capture_signature", hold, |d| {
            d.edit(|r| r.payload["signature"] = json!(format!("0x{}", "11".repeat(65))));
        }),
        case(16, "amount_mismatch", hold, |d| d.offer.value = UNITS + 1),
        case(16, "amount_mismatch", hold, |d| d.offer.asked = UNITS - 1),
        case(17, "invalid_deadline_ordering", hold, |d| {
            d.offer.valid_before = NOW_S + 3_601
        }),
        case(18, "nonce_mismatch", hold, |d| d.offer.nonce_off_by = 1),
        case(19, "simulation_failed", hold, |d| {
            fails(d, revert("Pausable: paused"))
        }),
        case(19, "payment_already_collected", hold, |d| {
            fails(d, revert("FiatTokenV2: authorization is used or canceled"));
            d.chain.state = state(true, 0, 0);
        }),
        case(20, "insufficient_balance", hold, |d| {
            fails(d, revert("ERC20: transfer amount exceeds balance"));
            d.chain.balance = word_result(UNITS - 1);
        }),
    ]
}

/// Selector and reason of every typed error of the escrow's (section 14).
pub const TYPED: [(u32, &str); 17] = [
    (0xc46c_f60f, "authorization_expired"),
    (0x88ef_0760, "invalid_deadline_ordering"),
    (0x092a_f19e, "amount_mismatch"),
    (0x6c04_42a2, "amount_overflow"),
    (0xad7c_145a, "payment_already_collected"),
    (0x3c73_c4a0, "token_collection_failed"),
    (0x5313_287d, "invalid_collector"),
    (0xe113_0dba, "invalid_capture_authorizer"),
    (0xbf47_e3f7, "invalid_fee_bps"),
    (0x0950_d5d0, "invalid_fee_bps_range"),
    (0x0b34_5f0c, "fee_bps_out_of_range"),
    (0xb680_2b7f, "zero_fee_receiver"),
    (0x4caf_6a34, "invalid_fee_receiver"),
    (0x36f2_d211, "capture_deadline_expired"),
    (0x604b_0947, "insufficient_authorization"),
    (0x93bb_7a12, "zero_authorization"),
    (0xab14_3c06, "simulation_failed"),
];

#[test]
fn every_check_has_its_reason() {
    each_has_its_reason(&cases(), 15);
}

#[test]
fn checks_come_in_the_shipped_order() {
    the_first_broken_check_answers(&cases(), &[]);
}

#[test]
fn typed_errors_of_the_simulation_are_named() {
    for (selector, reason) in TYPED {
        let mut draft = Draft::of(hold());
        fails(&mut draft, typed(selector));
        let refusal = draft.world().refused(&draft.request());
        assert_eq!(refusal.reason, reason, "{selector:#010x}");
    }
}

#[test]
fn the_sellers_timeout_is_not_checked() {
    let mut draft = Draft::of(hold());
    draft.edit(|r| r.requirements.max_timeout_seconds = 1_000_000);
    assert!(draft.world().verify(&draft.request()).is_ok());
}

#[test]
fn t73_auto_capture_charges_the_least_fee() {
    let draft = Draft::of(Offer {
        charge: true,
        ..hold()
    });
    let plan = draft.world().plan(&draft.request()).expect("planned");
    assert_eq!(plan.steps[0].call.operation, "0x9e65819f");
    let plan = Draft::of(hold()).world().plan(&hold().signed()).expect("planned");
    assert_eq!(plan.steps[0].call.operation, "0x41d66202");
}

#[test]
fn with_one_member_of_v1_1_or_the_wire_switched_off_it_is_no_v1_0_payment() {
    for (name, value) in [
        ("paymentFlow", json!("escrow")),
        ("captureMode", json!("sync")),
        ("receiverAuthorizer", json!(Address::ZERO)),
        ("policy", json!(Address::ZERO)),
        ("operatorType", json!("delegated")),
    ] {
        let mut request = hold().signed();
        extra(&mut request, name, value);
        let world = Draft::of(hold()).world();
        assert_eq!(
            world.refused(&request).reason,
            "invalid_auth_capture_evm_token_collector_mismatch",
            "{name}"
        );
    }
    // Named, the escrow of v1.0 is served under the rules of v1.1.
    let mut request = hold().signed();
    extra(&mut request, "authCaptureEscrow", json!(hold().deployment.escrow));
    assert!(Draft::of(hold()).world().verify(&request).is_ok());

    let mut draft = Draft::of(hold());
    draft.config.scheme_v1_0 = false;
    assert_eq!(
        draft.world().refused(&draft.request()).reason,
        "invalid_auth_capture_evm_token_collector_mismatch"
    );
}

#[test]
fn t67_an_admitted_contract_is_called_and_no_other() {
    let draft = Draft::of(Offer {
        operator: CONTRACT,
        ..hold()
    });
    // It came as far as the sandbox, which shows nothing.
    let refusal = draft.world().verify(&draft.request()).expect_err("refused");
    assert_eq!(refusal.reason, "simulation_failed");
    let mut draft = Draft::of(hold());
    draft.edit(|r| extra(r, "captureAuthorizer", json!(OTHER)));
    let world = draft.world();
    assert_eq!(
        world.refused(&draft.request()).reason,
        "invalid_capture_authorizer"
    );
    assert_eq!(world.batches().len(), 0, "its code was not queried");
}
