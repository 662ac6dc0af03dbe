//! The checks of a lifecycle call that need neither chain nor store: steps 1 to 8 and 10, and those on either side of the
//! chain's answers in steps 12 to 14.

use alloy_primitives::B256;
use sdk_plugin::PaymentRequest;
use sdk_plugin::cx::NetworkView;

use super::super::authorizer::{Balances, Operation};
use super::super::config::{Config, RefundAgreement};
use super::super::deployment::FeeForm;
use super::super::fees::FeeFault;
use super::super::reason::{Dialect, Reason, Rejection};
use super::super::state::State;
use super::super::terms::{Flow, OperatorType, Terms};
use super::funding;
use super::payload::{Action, Payload};
use crate::step;

/// A request that passed steps 1 to 8.
#[derive(Debug)]
pub(super) struct CheckedRequest<'a> {
    pub(super) payload: Payload,
    pub(super) terms: Terms,
    pub(super) hash: B256,
    /// Of refunds.
    pub(super) agreement: Option<&'a RefundAgreement>,
}

/// Steps 1 to 8.
pub(super) fn read<'a>(
    config: &'a Config,
    network: &NetworkView,
    request: &PaymentRequest,
) -> Result<CheckedRequest<'a>, Rejection> {
    // 1
    let payload = Payload::decode(&request.payload)?;
    // 2
    let terms = Terms::read(request, Dialect::V1_1, config)?;
    // 3: the operator's own fee terms are those of the day on which a payment was opened, and not compared here.
    Terms::no_policy(&request.requirements.extra)?;
    match terms.operator_type {
        OperatorType::Custom if config.admits(terms.operator, &network.id) => {
            return Err(Rejection::new(
                Reason::LifecycleNotRelayed,
                "captures, voids and refunds of a contract operator are that contract's own business",
            ));
        }
        OperatorType::Delegated if step::signer_at(terms.operator, network).is_some() => {}
        OperatorType::Custom | OperatorType::Delegated => {
            return Err(Rejection::new(
                Reason::OperatorNotAdmitted,
                "extra.captureAuthorizer is neither a signer of this facilitator nor a contract that it admits",
            ));
        }
    }
    // 4, and with it 7
    if !terms.is_bound() {
        return Err(Rejection::new(
            Reason::LifecycleNotRelayed,
            "nobody may order captures, voids and refunds of a payment without extra.receiverAuthorizer",
        ));
    }
    // 5
    if payload.action != Action::Refund && terms.flow != Flow::Escrow {
        return Err(Rejection::new(
            Reason::PayloadType,
            "a charged payment holds nothing; it can be refunded only",
        ));
    }
    // 6
    let agreement = match payload.action {
        Action::Refund => Some(funding::agreement(config, request, terms.receiver, terms.asset)?),
        Action::Capture | Action::Void => None,
    };
    // 8
    if payload.info.operator != terms.operator {
        return Err(Rejection::new(
            Reason::OperatorMismatch,
            "paymentInfo.operator is not extra.captureAuthorizer",
        ));
    }
    let hash = payload.info.hash(terms.escrow_id());
    Ok(CheckedRequest {
        payload,
        terms,
        hash,
        agreement,
    })
}

/// The deadlines of step 12. Inclusion counts, so no capture starts shortly before its deadline (T-74).
pub(super) fn in_time(
    config: &Config,
    payload: &Payload,
    terms: &Terms,
    now_s: u64,
) -> Result<(), Rejection> {
    match payload.action {
        Action::Capture if now_s.saturating_add(config.capture_margin_s) >= terms.capture_deadline_s => {
            Err(Rejection::new(
                Reason::CaptureDeadlineExpired,
                format!(
                    "captures end {} seconds before captureDeadline ({}); what is still held can be voided",
                    config.capture_margin_s, terms.capture_deadline_s
                ),
            ))
        }
        Action::Refund if now_s >= terms.refund_deadline_s => Err(Rejection::new(
            Reason::RefundDeadlineExpired,
            format!("refundDeadline ({}) is over", terms.refund_deadline_s),
        )),
        Action::Capture | Action::Void | Action::Refund => Ok(()),
    }
}

/// Steps 13 and 14.
pub(super) fn in_state(
    config: &Config,
    payload: &Payload,
    state: Option<State>,
) -> Result<Balances, Rejection> {
    let unexpected = |message: String| Rejection::new(Reason::UnexpectedPaymentState, message);
    let balances = state
        .ok_or_else(|| unexpected("the escrow does not tell the payment's balances".into()))?
        .balances;
    if payload.action != Action::Void && balances != payload.expected {
        return Err(unexpected(format!(
            "capturable are {} and refundable {} units now, expected were {} and {}",
            balances.capturable,
            balances.refundable,
            payload.expected.capturable,
            payload.expected.refundable
        )));
    }
    let amount = payload.amount;
    match payload.action {
        Action::Capture => {
            if amount.is_zero() || amount > balances.capturable {
                return Err(Rejection::new(
                    Reason::AmountMismatch,
                    format!("a capture takes 1 to {} units", balances.capturable),
                ));
            }
            let partial = amount < balances.capturable;
            if partial && amount < config.min_capture_amount.0 {
                return Err(Rejection::new(
                    Reason::AmountMismatch,
                    format!(
                        "a partial capture takes at least {} units here: small ones round fees down",
                        config.min_capture_amount
                    ),
                ));
            }
            if payload.close_out.is_some() && !partial {
                return Err(Rejection::new(
                    Reason::VoidRemainderFullCapture,
                    "a capture of everything leaves nothing to void",
                ));
            }
        }
        Action::Void if balances.capturable.is_zero() => {
            return Err(Rejection::new(Reason::ZeroAuthorization, "nothing is held"));
        }
        Action::Void => {}
        Action::Refund => {
            if amount.is_zero() || amount > balances.refundable {
                return Err(Rejection::new(
                    Reason::RefundExceedsCapture,
                    match balances.refundable.is_zero() {
                        true => "nothing was captured that a refund could give back".to_owned(),
                        false => format!("a refund gives back 1 to {} units", balances.refundable),
                    },
                ));
            }
        }
    }
    Ok(balances)
}

/// Step 10.
pub(super) fn same_payment(payload: &Payload, terms: &Terms) -> Result<(), Rejection> {
    let info = &payload.info;
    let deadlines: [u64; 2] = [info.authorizationExpiry.to(), info.refundExpiry.to()];
    let differs = [
        ("receiver", info.receiver != terms.receiver, "payTo"),
        ("token", info.token != terms.asset, "asset"),
        ("maxAmount", info.maxAmount != terms.max_amount, "accepted.amount"),
        (
            "authorizationExpiry",
            deadlines[0] != terms.capture_deadline_s,
            "extra.captureDeadline",
        ),
        (
            "refundExpiry",
            deadlines[1] != terms.refund_deadline_s,
            "extra.refundDeadline",
        ),
        (
            "minFeeBps",
            info.minFeeBps != terms.fees.min_bps,
            "extra.minFeeBps",
        ),
        (
            "maxFeeBps",
            info.maxFeeBps != terms.fees.max_bps,
            "extra.maxFeeBps",
        ),
        (
            "feeReceiver",
            info.feeReceiver != terms.fees.recipient,
            "extra.feeRecipient",
        ),
    ];
    match differs.into_iter().find(|(_, differs, _)| *differs) {
        None => Ok(()),
        Some((member, _, term)) => Err(Rejection::new(
            Reason::Extra,
            format!("paymentInfo.{member} is not {term}: lifecycle calls carry the values of the payment"),
        )),
    }
}

/// The fee's form, and whether there is all that a signature is over.
pub(super) fn operation(payload: &Payload, terms: &Terms) -> Result<Operation, Rejection> {
    if payload.action == Action::Capture {
        let fee = payload
            .fee
            .map_err(|message| Rejection::new(Reason::PayloadFormat, message))?;
        if fee.form() != terms.deployment.fee_form {
            let wanted = match terms.deployment.fee_form {
                FeeForm::Bps => "feeBps",
                FeeForm::Amount => "feeAmount",
            };
            return Err(Rejection::new(
                Reason::PayloadFormat,
                format!("this escrow takes payload.{wanted}"),
            ));
        }
    }
    payload.operation(&terms.deployment).ok_or_else(|| {
        Rejection::new(
            Reason::FeeReceiver,
            "payload.feeReceiver must be a 20-byte hex address",
        )
    })
}

/// The fee rules of section 11.
pub(super) fn fee_fault(payload: &Payload, terms: &Terms) -> Option<Rejection> {
    let (Action::Capture, Ok(fee), Some(receiver)) = (payload.action, payload.fee, payload.fee_receiver)
    else {
        return None;
    };
    let (reason, message) = match terms.fees.fault(fee, receiver, payload.amount)? {
        FeeFault::Receiver => (
            Reason::FeeReceiver,
            "payload.feeReceiver is not extra.feeRecipient",
        ),
        FeeFault::OutOfRange => (
            Reason::FeeBpsOutOfRange,
            "the fee is not between extra.minFeeBps and extra.maxFeeBps of the amount",
        ),
        FeeFault::ZeroReceiver => (Reason::ZeroFeeReceiver, "a fee needs a receiver"),
    };
    Some(Rejection::new(reason, message))
}
