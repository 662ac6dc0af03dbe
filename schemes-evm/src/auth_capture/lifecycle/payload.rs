//! A lifecycle payload (auth-capture-evm.md section 6), hostile in every member, and how this crate writes one.
//!
//! The collection's members may be present and are ignored.

use alloy_primitives::aliases::{U48, U120};
use alloy_primitives::ruint::UintTryTo;
use alloy_primitives::{Address, B256, U256};
use sdk_plugin::{Amount, Value};
use serde_json::{Map, json};

use super::super::abi::PaymentInfo;
use super::super::authorizer::{Balances, Operation};
use super::super::deployment::Deployment;
use super::super::fees::Fee;
use super::super::reason::{Reason, Rejection};
use crate::{members, signature, text};

/// The requested operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Capture,
    Void,
    Refund,
}

impl Action {
    /// As in the member `type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }

    pub(crate) fn read(name: &str) -> Option<Self> {
        [Self::Capture, Self::Void, Self::Refund]
            .into_iter()
            .find(|action| action.name() == name)
    }
}

/// Who requests that the rest is given back after a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CloseOut {
    Signed(Vec<u8>),
    /// `voidRemainder`, for those whose authorizer we are.
    Requested,
}

/// A payload whose members are well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) action: Action,
    pub(super) info: PaymentInfo,
    pub(super) salt_nonce: U256,
    /// Atomic units; zero for a void.
    pub(super) amount: U256,
    /// What is wrong with the fee members is a matter of a later step.
    pub(super) fee: Result<Fee, &'static str>,
    pub(super) fee_receiver: Option<Address>,
    pub(super) expected: Balances,
    /// `None`: the authorizer is ours, or the signature is missing.
    pub(super) signature: Option<Vec<u8>>,
    pub(super) close_out: Option<CloseOut>,
}

impl Payload {
    /// Step 1.
    pub(super) fn decode(sent: &Map<String, Value>) -> Result<Self, Rejection> {
        let action = sent
            .get("type")
            .and_then(Value::as_str)
            .and_then(Action::read)
            .ok_or_else(|| {
                Rejection::new(
                    Reason::PayloadType,
                    "payload.type must be \"capture\", \"void\" or \"refund\", or absent to collect",
                )
            })?;
        let malformed = |message: String| Rejection::new(Reason::PayloadFormat, message);
        let info = sent
            .get("paymentInfo")
            .and_then(Value::as_object)
            .ok_or_else(|| malformed("payload.paymentInfo must be an object".into()))?;
        let info = read_info(info).map_err(malformed)?;
        let salt_nonce = members::word(sent, "saltNonce")
            .ok_or_else(|| malformed("payload.saltNonce must be 0x and 64 hex digits".into()))?;
        let close_out = close_out(sent, action)?;
        let units = |name: &str| {
            decimal(sent, name)
                .ok_or_else(|| malformed(format!("payload.{name} must be a decimal string of atomic units")))
        };
        let amount = match action {
            Action::Void => U256::ZERO,
            Action::Capture | Action::Refund => units("amount")?,
        };
        let expected = match action {
            Action::Void => Balances {
                capturable: U256::ZERO,
                refundable: U256::ZERO,
            },
            Action::Capture | Action::Refund => Balances {
                capturable: units("expectedCapturableAmount")?,
                refundable: units("expectedRefundableAmount")?,
            },
        };
        Ok(Self {
            action,
            info,
            salt_nonce: salt_nonce.into(),
            amount,
            fee: read_fee(sent),
            fee_receiver: members::address(sent, "feeReceiver"),
            expected,
            signature: optional_signature(sent, "authorizerSignature").map_err(malformed)?,
            close_out,
        })
    }

    /// What an authorizer would sign. `None`: a capture without a fee or its receiver.
    pub(super) fn operation(&self, deployment: &Deployment) -> Option<Operation> {
        Some(match self.action {
            Action::Capture => Operation::Capture {
                amount: self.amount,
                fee: self.fee.ok()?,
                fee_receiver: self.fee_receiver?,
                expected: self.expected,
            },
            Action::Void => Operation::Void,
            Action::Refund => Operation::Refund {
                amount: self.amount,
                token_collector: deployment.operator_refund_collector,
                expected: self.expected,
            },
        })
    }
}

fn close_out(sent: &Map<String, Value>, action: Action) -> Result<Option<CloseOut>, Rejection> {
    let signed = match members::present(sent, "voidAuthorizerSignature") {
        Some(_) if action != Action::Capture => {
            return Err(Rejection::new(
                Reason::VoidAuthorizerSignature,
                "payload.voidAuthorizerSignature belongs to a capture only",
            ));
        }
        Some(_) => optional_signature(sent, "voidAuthorizerSignature")
            .map_err(|message| Rejection::new(Reason::PayloadFormat, message))?,
        None => None,
    };
    let requested = match members::present(sent, "voidRemainder") {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Bool(true)) => action == Action::Capture,
        Some(_) => {
            return Err(Rejection::new(
                Reason::PayloadFormat,
                "payload.voidRemainder must be true or false",
            ));
        }
    };
    Ok(match signed {
        Some(signature) => Some(CloseOut::Signed(signature)),
        None => requested.then_some(CloseOut::Requested),
    })
}

/// Absent, `null`, empty and `0x` are all no signature.
fn optional_signature(sent: &Map<String, Value>, name: &str) -> Result<Option<Vec<u8>>, String> {
    match members::present(sent, name) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() || text == "0x" => Ok(None),
        Some(_) => {
            let bytes = members::signature(sent, name)?;
            // A wrapper is not defined for authorizers: it is checked as it is, and a wallet may refuse it.
            if bytes.len() > signature::MAX_SIGNATURE_BYTES {
                return Err(format!(
                    "payload.{name} is longer than {} bytes",
                    signature::MAX_SIGNATURE_BYTES
                ));
            }
            Ok(Some(bytes))
        }
    }
}

/// Exactly one of the two forms, each in its own type. Which of them the deployment takes is checked elsewhere (T-69).
fn read_fee(sent: &Map<String, Value>) -> Result<Fee, &'static str> {
    match (
        members::present(sent, "feeBps"),
        members::present(sent, "feeAmount"),
    ) {
        (Some(bps), None) => bps
            .as_u64()
            .and_then(|bps| u16::try_from(bps).ok())
            .map(Fee::Bps)
            .ok_or("payload.feeBps must be an integer of basis points"),
        (None, Some(_)) => decimal(sent, "feeAmount")
            .map(Fee::Amount)
            .ok_or("payload.feeAmount must be a decimal string of atomic units"),
        (None, None) => {
            Err("a capture needs payload.feeAmount (escrow v1.1) or payload.feeBps (escrow v1.0)")
        }
        (Some(_), Some(_)) => Err("payload.feeAmount and payload.feeBps exclude one another"),
    }
}

/// A decimal string and nothing else.
fn decimal(sent: &Map<String, Value>, name: &str) -> Option<U256> {
    let text = sent.get(name)?.as_str()?;
    let plain = text.bytes().all(|digit| digit.is_ascii_digit());
    if plain {
        text.parse::<Amount>().ok().map(|amount| amount.0)
    } else {
        None
    }
}

/// The twelve members as they travel.
fn read_info(sent: &Map<String, Value>) -> Result<PaymentInfo, String> {
    let address = |name: &str| {
        members::address(sent, name)
            .ok_or_else(|| format!("paymentInfo.{name} must be a 20-byte hex address"))
    };
    let seconds = |name: &str| {
        sent.get(name)
            .and_then(Value::as_u64)
            .and_then(|seconds| U48::try_from(seconds).ok())
            .ok_or_else(|| format!("paymentInfo.{name} must be an integer of unix seconds below 2^48"))
    };
    let bps = |name: &str| {
        sent.get(name)
            .and_then(Value::as_u64)
            .and_then(|bps| u16::try_from(bps).ok())
            .ok_or_else(|| format!("paymentInfo.{name} must be an integer of basis points"))
    };
    let max_amount: Option<U120> = decimal(sent, "maxAmount").and_then(|amount| amount.uint_try_to().ok());
    Ok(PaymentInfo {
        operator: address("operator")?,
        payer: address("payer")?,
        receiver: address("receiver")?,
        token: address("token")?,
        maxAmount: max_amount.ok_or("paymentInfo.maxAmount must be a decimal string below 2^120")?,
        preApprovalExpiry: seconds("preApprovalExpiry")?,
        authorizationExpiry: seconds("authorizationExpiry")?,
        refundExpiry: seconds("refundExpiry")?,
        minFeeBps: bps("minFeeBps")?,
        maxFeeBps: bps("maxFeeBps")?,
        feeReceiver: address("feeReceiver")?,
        salt: members::word(sent, "salt")
            .ok_or("paymentInfo.salt must be 0x and 64 hex digits")?
            .into(),
    })
}

/// The same the other way round.
pub(crate) fn info_json(info: &PaymentInfo) -> Value {
    let seconds = |time: U48| -> u64 { time.to() };
    json!({
        "operator": text::lower(info.operator),
        "payer": text::lower(info.payer),
        "receiver": text::lower(info.receiver),
        "token": text::lower(info.token),
        "maxAmount": info.maxAmount.to_string(),
        "preApprovalExpiry": seconds(info.preApprovalExpiry),
        "authorizationExpiry": seconds(info.authorizationExpiry),
        "refundExpiry": seconds(info.refundExpiry),
        "minFeeBps": info.minFeeBps,
        "maxFeeBps": info.maxFeeBps,
        "feeReceiver": text::lower(info.feeReceiver),
        "salt": word_json(info.salt),
    })
}

/// `0x` and 64 hex digits.
pub(crate) fn word_json(word: U256) -> Value {
    B256::from(word).to_string().into()
}

#[cfg(test)]
mod tests;
