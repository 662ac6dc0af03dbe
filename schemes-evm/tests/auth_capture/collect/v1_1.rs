//! auth-capture-evm.md section 7: one case per check, each changing exactly that.

use alloy_primitives::{Address, Bytes};
use schemes_evm::auth_capture::config::OwnFeeTerms;
use schemes_evm::auth_capture::deployment::Method;
use sdk_plugin::PaymentRequest;
use serde_json::{Value, json};

use super::custom::custom_charge;
use super::offer::{CONTRACT, NOW_S, OTHER, Offer, PAYEE, UNITS, delegating, set_authorization};
use super::order::{Case, Draft, each_has_its_reason, the_first_broken_check_answers};
use super::world::{Chain, hex_result, revert, state, typed, word_result};

/// A reason of v1.1.
macro_rules! v1_1 {
    ($name:literal) => {
        concat!("invalid_auth_capture_evm_", $name)
    };
}

pub(crate) use v1_1;

pub fn hold() -> Offer {
    Offer::default()
}

pub fn unbound() -> Offer {
    Offer {
        bound: false,
        ..Offer::default()
    }
}

fn permit2() -> Offer {
    Offer {
        method: Method::Permit2,
        ..Offer::default()
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

pub fn extra(request: &mut PaymentRequest, name: &str, value: Value) {
    request.requirements.extra.insert(name.to_owned(), value);
}

pub fn payload(request: &mut PaymentRequest, name: &str, value: Value) {
    request.payload.insert(name.to_owned(), value);
}

pub fn fails(chain: &mut Chain, with: sdk_plugin::host::RpcResult) {
    chain.simulation = with.clone();
    chain.estimate = with;
}

pub fn shapes() -> Vec<Case> {
    const FORMAT: &str = v1_1!("payload_format");
    vec![
        case(1, FORMAT, hold, |d| {
            d.edit(|r| drop(r.payload.remove("authorization")))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| drop(r.payload.insert("authorization".into(), json!("x"))))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| drop(r.payload.insert("permit2Authorization".into(), json!({}))));
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| drop(r.payload.remove("signature")))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| payload(r, "signature", json!("0x1")))
        }),
        case(1, FORMAT, hold, |d| d.edit(|r| drop(r.payload.remove("salt")))),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| payload(r, "saltNonce", json!("0x0abc")))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| set_authorization(r, "from", json!("0x12")))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| set_authorization(r, "to", json!(null)))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| set_authorization(r, "value", json!("1e6")))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| set_authorization(r, "validAfter", json!(-1)))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| set_authorization(r, "validBefore", json!("")))
        }),
        case(1, FORMAT, hold, |d| {
            d.edit(|r| set_authorization(r, "nonce", json!("0x12")))
        }),
        case(1, FORMAT, permit2, |d| {
            d.edit(|r| set_authorization(r, "permitted", json!([])))
        }),
        case(1, FORMAT, permit2, |d| {
            d.edit(|r| set_authorization(r, "spender", json!("me")))
        }),
        case(1, FORMAT, permit2, |d| {
            d.edit(|r| set_authorization(r, "deadline", json!("soon")))
        }),
        case(1, FORMAT, permit2, |d| {
            d.edit(|r| set_authorization(r, "nonce", json!(1.5)))
        }),
        case(1, FORMAT, Offer::charged, |d| {
            d.edit(|r| payload(r, "amount", json!("1.0")))
        }),
        case(1, FORMAT, Offer::charged, |d| {
            d.edit(|r| payload(r, "feeAmount", json!(true)))
        }),
        case(1, FORMAT, Offer::charged, |d| {
            d.edit(|r| drop(r.payload.insert("feeBps".into(), json!(70_000))));
        }),
        case(1, FORMAT, Offer::charged, |d| {
            d.edit(|r| payload(r, "feeReceiver", json!(7)))
        }),
        case(1, FORMAT, Offer::charged, |d| {
            d.edit(|r| payload(r, "authorizerSignature", json!("signed")));
        }),
    ]
}

pub fn terms() -> Vec<Case> {
    const EXTRA: &str = v1_1!("extra");
    const FLOW: &str = v1_1!("unsupported_payment_flow");
    vec![
        case(2, v1_1!("scheme"), hold, |d| {
            d.edit(|r| r.accepted.scheme = "exact".into())
        }),
        case(2, v1_1!("scheme"), hold, |d| {
            d.edit(|r| r.requirements.scheme = String::new())
        }),
        case(3, v1_1!("network_mismatch"), hold, |d| {
            d.edit(|r| r.accepted.network = "eip155:8453".into());
        }),
        case(4, "invalid_network", hold, |d| {
            d.edit(|r| {
                r.requirements.network = "eip155:x".into();
                r.accepted.network = "eip155:x".into();
            });
        }),
        case(5, EXTRA, hold, |d| {
            d.edit(|r| drop(r.requirements.extra.remove("name")))
        }),
        case(5, EXTRA, hold, |d| d.edit(|r| extra(r, "version", json!(2)))),
        case(5, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "captureAuthorizer", json!("me")))
        }),
        case(5, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "captureDeadline", json!("1800003600")))
        }),
        case(5, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "refundDeadline", json!(1u64 << 48)))
        }),
        case(5, EXTRA, hold, |d| {
            d.edit(|r| drop(r.requirements.extra.remove("feeRecipient")))
        }),
        case(5, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "minFeeBps", json!("100")))
        }),
        case(5, EXTRA, hold, |d| d.edit(|r| extra(r, "maxFeeBps", json!(null)))),
        case(5, EXTRA, hold, |d| {
            d.edit(|r| r.requirements.asset = "USDC".into())
        }),
        case(5, EXTRA, hold, |d| {
            d.edit(|r| r.requirements.pay_to = "0x12".into())
        }),
        case(5, v1_1!("amount_mismatch"), hold, |d| {
            d.edit(|r| drop(r.accepted.raw.insert("amount".into(), json!("1.0"))));
        }),
        case(6, FLOW, hold, |d| {
            d.edit(|r| extra(r, "autoCapture", json!(true)))
        }),
        case(7, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "authCaptureEscrow", json!(OTHER)))
        }),
        case(7, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "authCaptureEscrow", json!(11)))
        }),
        case(8, FLOW, hold, |d| {
            d.edit(|r| extra(r, "paymentFlow", json!("later")))
        }),
        case(9, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "captureMode", json!("never")))
        }),
        case(9, EXTRA, Offer::charged, |d| {
            d.edit(|r| extra(r, "captureMode", json!("sync")))
        }),
        case(10, v1_1!("unsupported_operator_type"), hold, |d| {
            d.edit(|r| extra(r, "operatorType", json!("policy")));
        }),
        case(11, v1_1!("unsupported_asset_transfer_method"), hold, |d| {
            d.edit(|r| extra(r, "assetTransferMethod", json!("wire")));
        }),
        case(12, EXTRA, hold, |d| d.edit(|r| extra(r, "minFeeBps", json!(101)))),
        case(12, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "maxFeeBps", json!(10_001)))
        }),
        case(12, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "captureAuthorizer", json!(Address::ZERO)))
        }),
        case(12, EXTRA, hold, |d| {
            d.edit(|r| extra(r, "receiverAuthorizer", json!("me")))
        }),
        case(13, v1_1!("missing_receiver_authorizer"), Offer::charged, |d| {
            d.edit(|r| drop(r.requirements.extra.remove("receiverAuthorizer")));
        }),
        case(14, v1_1!("policy"), hold, |d| {
            d.edit(|r| extra(r, "policy", json!(OTHER)))
        }),
        case(15, v1_1!("operator_not_admitted"), hold, |d| {
            d.edit(|r| extra(r, "captureAuthorizer", json!(OTHER)));
        }),
        // An admitted contract is no delegated operator, our signer no contract.
        case(15, v1_1!("operator_not_admitted"), hold, |d| {
            d.edit(|r| extra(r, "captureAuthorizer", json!(CONTRACT)));
        }),
        case(15, v1_1!("operator_not_admitted"), hold, |d| {
            d.edit(|r| extra(r, "operatorType", json!("custom")));
        }),
        case(15, EXTRA, hold, |d| {
            d.config.fee_terms = Some(OwnFeeTerms {
                fee_recipient: OTHER.parse().unwrap(),
                min_fee_bps: 100,
                max_fee_bps: 200,
            });
        }),
        case(15, v1_1!("operator_type_mismatch"), custom_charge, |d| {
            d.config.custom_operators[0].charges = false;
        }),
        case(15, EXTRA, hold, |d| d.assets = vec![OTHER.into()]),
    ]
}

pub fn completion() -> Vec<Case> {
    const FORMAT: &str = v1_1!("payload_format");
    vec![
        case(16, FORMAT, hold, |d| {
            d.edit(|r| drop(r.payload.remove("saltNonce")))
        }),
        case(16, FORMAT, unbound, |d| {
            d.edit(|r| drop(r.payload.insert("saltNonce".into(), r.payload["salt"].clone())));
        }),
        case(17, FORMAT, hold, |d| d.offer.completion = Some((UNITS, 10_000))),
        case(17, FORMAT, hold, |d| {
            d.edit(|r| drop(r.payload.insert("authorizerSignature".into(), json!("0x11"))));
        }),
        case(17, FORMAT, Offer::charged, |d| {
            d.edit(|r| drop(r.payload.remove("amount")))
        }),
        case(17, FORMAT, Offer::charged, |d| {
            d.edit(|r| drop(r.payload.remove("feeAmount")))
        }),
        case(17, FORMAT, Offer::charged, |d| {
            d.edit(|r| drop(r.payload.remove("feeReceiver")))
        }),
        case(17, FORMAT, Offer::charged, |d| {
            d.edit(|r| drop(r.payload.remove("authorizerSignature")));
        }),
        case(17, FORMAT, Offer::charged, |d| {
            d.edit(|r| payload(r, "authorizerSignature", json!("0x")));
        }),
        case(17, FORMAT, Offer::charged, |d| {
            d.edit(|r| drop(r.payload.insert("feeBps".into(), json!(100))));
        }),
        case(18, v1_1!("payload_method_mismatch"), hold, |d| {
            d.edit(|r| extra(r, "assetTransferMethod", json!("permit2")));
        }),
        case(18, v1_1!("payload_method_mismatch"), permit2, |d| {
            d.edit(|r| drop(r.requirements.extra.remove("assetTransferMethod")));
        }),
    ]
}

pub fn times() -> Vec<Case> {
    const ORDER: &str = v1_1!("deadline_ordering");
    vec![
        case(19, v1_1!("capture_deadline_expired"), hold, |d| {
            d.offer.capture_deadline = NOW_S + 6
        }),
        case(20, ORDER, hold, |d| d.offer.refund_deadline = NOW_S + 3_599),
        case(20, ORDER, hold, |d| {
            d.edit(|r| r.requirements.max_timeout_seconds = 3_601)
        }),
        case(20, ORDER, hold, |d| d.config.max_capture_horizon_s = 3_599),
        case(20, ORDER, hold, |d| d.config.max_refund_horizon_s = 86_399),
        case(21, v1_1!("authorization_expired"), hold, |d| {
            d.offer.valid_before = NOW_S + 6
        }),
        case(21, v1_1!("authorization_expired"), permit2, |d| {
            d.offer.valid_before = NOW_S
        }),
        case(22, ORDER, hold, |d| d.offer.valid_before = NOW_S + 3_601),
        case(23, v1_1!("authorization_not_yet_valid"), hold, |d| {
            d.offer.valid_after = NOW_S + 1
        }),
        // The collector submits 0 and nothing else (T-71).
        case(23, v1_1!("authorization_not_yet_valid"), hold, |d| {
            d.offer.valid_after = 1
        }),
        case(24, v1_1!("token_collector_mismatch"), hold, |d| {
            d.offer.collector = Some(OTHER.parse().unwrap());
        }),
        case(24, v1_1!("token_collector_mismatch"), permit2, |d| {
            d.offer.collector = Some(d.offer.deployment.erc3009_collector);
        }),
        case(25, v1_1!("token_mismatch"), permit2, |d| {
            d.offer.permitted = Some(OTHER.parse().unwrap())
        }),
    ]
}

pub fn signed() -> Vec<Case> {
    const AMOUNT: &str = v1_1!("amount_mismatch");
    vec![
        case(26, v1_1!("erc6492_factory_not_allowed"), hold, |d| {
            d.offer.wrapper = Some((OTHER.parse().unwrap(), Bytes::from_static(&[1])));
        }),
        // The collector makes the wrapper's call at our expense for any sender.
        case(26, v1_1!("erc6492_factory_not_allowed"), hold, |d| {
            d.offer.wrapper = Some((OTHER.parse().unwrap(), Bytes::new()));
        }),
        case(26, v1_1!("erc6492_factory_not_allowed"), hold, |d| {
            d.offer.wrapper = Some((OTHER.parse().unwrap(), Bytes::from_static(&[1])));
            d.chain.payer_code = hex_result(&[0x60]);
            d.chain.payer_wallet = super::world::magic();
        }),
        case(27, v1_1!("signature"), hold, |d| {
            d.edit(|r| payload(r, "signature", json!(format!("0x{}", "11".repeat(65)))));
        }),
        // A wallet answers for itself, whatever its key signed (EIP-7702).
        case(27, v1_1!("signature"), permit2, |d| {
            d.chain.payer_code = hex_result(&[0xef, 1, 0])
        }),
        case(28, AMOUNT, hold, |d| d.offer.value = UNITS - 1),
        case(28, AMOUNT, hold, |d| d.offer.asked = UNITS - 1),
        case(28, AMOUNT, hold, |d| d.offer.asked = UNITS + 1),
        case(28, AMOUNT, Offer::charged, |d| d.offer.asked = UNITS + 1),
        case(29, AMOUNT, Offer::charged, |d| d.offer.completion = Some((0, 0))),
        case(29, AMOUNT, Offer::charged, |d| {
            d.offer.completion = Some((UNITS + 1, 10_000))
        }),
        case(29, v1_1!("payload_format"), Offer::charged, |d| {
            d.edit(|r| {
                r.payload.remove("feeAmount");
                r.payload.insert("feeBps".into(), json!(100));
            });
        }),
        case(29, v1_1!("fee_receiver"), Offer::charged, |d| {
            d.edit(|r| payload(r, "feeReceiver", json!("me")));
        }),
        case(29, v1_1!("fee_receiver"), Offer::charged, |d| {
            d.edit(|r| payload(r, "feeReceiver", json!(PAYEE)));
        }),
        case(29, v1_1!("fee_bps_out_of_range"), Offer::charged, |d| {
            d.offer.completion = Some((750_000, 7_501));
        }),
        case(30, v1_1!("salt_binding_mismatch"), hold, |d| {
            d.edit(|r| payload(r, "saltNonce", r.payload["salt"].clone()));
        }),
        case(30, v1_1!("salt_binding_mismatch"), hold, |d| {
            d.edit(|r| extra(r, "receiverAuthorizer", json!(OTHER)));
        }),
        case(31, v1_1!("nonce_mismatch"), hold, |d| d.offer.nonce_off_by = 1),
        case(31, v1_1!("nonce_mismatch"), permit2, |d| {
            d.offer.nonce_off_by = 0x80
        }),
        case(31, v1_1!("nonce_mismatch"), hold, |d| {
            d.edit(|r| r.requirements.pay_to = OTHER.into());
        }),
        case(32, v1_1!("authorizer_signature"), Offer::charged, |d| {
            d.edit(|r| payload(r, "authorizerSignature", json!(format!("0x{}", "11".repeat(65)))));
        }),
        case(32, v1_1!("authorizer_signature"), Offer::charged, |d| {
            d.edit(|r| payload(r, "amount", json!("750001")));
        }),
        case(32, v1_1!("authorizer_signature"), Offer::charged, |d| {
            d.chain.authorizer_code = hex_result(&[0x60]);
        }),
        case(
            32,
            v1_1!("unauthenticated_authorizer_request"),
            Offer::charged,
            |d| {
                d.config = delegating();
                d.edit(|r| drop(r.payload.remove("authorizerSignature")));
            },
        ),
    ]
}

/// Selector and reason of every typed error that a collection can meet (section 14).
pub const TYPED: [(u32, &str); 24] = [
    (0xc46c_f60f, v1_1!("authorization_expired")),
    (0x88ef_0760, v1_1!("deadline_ordering")),
    (0x092a_f19e, v1_1!("amount_mismatch")),
    (0x1f2a_2005, v1_1!("amount_mismatch")),
    (0x6c04_42a2, v1_1!("amount_overflow")),
    (0xad7c_145a, v1_1!("payment_already_collected")),
    (0x3c73_c4a0, v1_1!("token_collection_failed")),
    (0x5313_287d, v1_1!("collector")),
    (0xe113_0dba, v1_1!("operator_mismatch")),
    (0xbf47_e3f7, v1_1!("fee_bps")),
    (0x0950_d5d0, v1_1!("fee_bps_range")),
    (0x0b34_5f0c, v1_1!("fee_bps_out_of_range")),
    (0x7c2d_cc22, v1_1!("fee_bps_out_of_range")),
    (0xb680_2b7f, v1_1!("zero_fee_receiver")),
    (0x4caf_6a34, v1_1!("fee_receiver")),
    (0xc255_e938, v1_1!("salt_binding_mismatch")),
    (0xf911_e398, v1_1!("missing_receiver_authorizer")),
    // Permit2 reports it of the payer, where no contract operates the payment.
    (0x8baa_579f, v1_1!("simulation_failed")),
    (0xd06b_96b1, v1_1!("policy")),
    (0x1e9d_d5b8, v1_1!("policy_denied")),
    (0xab14_3c06, v1_1!("simulation_failed")),
    (0x7566_88fe, v1_1!("simulation_failed")),
    (0x7419_26a1, v1_1!("simulation_failed")),
    (0xdead_beef, v1_1!("simulation_failed")),
];

pub fn simulated() -> Vec<Case> {
    const FAILED: &str = v1_1!("simulation_failed");
    vec![
        case(33, FAILED, hold, |d| {
            fails(&mut d.chain, revert("Pausable: paused"))
        }),
        case(33, v1_1!("payment_already_collected"), hold, |d| {
            fails(
                &mut d.chain,
                revert("FiatTokenV2: authorization is used or canceled"),
            );
            d.chain.state = state(true, 0, 0);
        }),
        case(33, v1_1!("payment_already_collected"), hold, |d| {
            d.chain.state = state(true, 1, 0)
        }),
        case(33, v1_1!("token_collection_failed"), hold, |d| {
            // A typed error wins over a short balance.
            fails(&mut d.chain, typed(0x3c73_c4a0));
            d.chain.balance = word_result(0);
        }),
        case(33, v1_1!("extra"), hold, |d| {
            d.chain.missing = vec![d.offer.deployment.escrow]
        }),
        case(33, FAILED, hold, |d| d.chain.balance = hex_result(&[])),
        case(34, v1_1!("insufficient_balance"), hold, |d| {
            fails(&mut d.chain, revert("ERC20: transfer amount exceeds balance"));
            d.chain.balance = word_result(UNITS - 1);
        }),
    ]
}

pub fn cases() -> Vec<Case> {
    [shapes(), terms(), completion(), times(), signed(), simulated()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn every_check_has_its_reason() {
    each_has_its_reason(&cases(), 26);
}

#[test]
fn checks_come_in_the_specified_order() {
    // Two breaks of the signature, two of the completed amount; what is no completion for strangers is one for tenants.
    the_first_broken_check_answers(&cases(), &[(26, 27), (29, 32), (17, 32)]);
}

#[test]
fn typed_errors_of_the_simulation_are_named() {
    for (selector, reason) in TYPED {
        let mut draft = Draft::of(hold());
        fails(&mut draft.chain, typed(selector));
        let refusal = draft.world().refused(&draft.request());
        assert_eq!(refusal.reason, reason, "{selector:#010x}");
    }
}
