//! Reads terms from a request, steps 5 to 13.

use alloy_primitives::Address;
use alloy_primitives::aliases::U120;
use alloy_primitives::ruint::UintTryTo;
use sdk_plugin::{PaymentRequest, Value};
use serde_json::Map;

use super::{Flow, OperatorType, Terms, networks};
use crate::auth_capture::config::Config;
use crate::auth_capture::deployment::{Deployment, Method, V1_0, V1_1};
use crate::auth_capture::fees::{BPS_PER_WHOLE, FeeTerms};
use crate::auth_capture::reason::{Dialect, Reason, Rejection};
use crate::{members, text};

/// Longest name and version of a token: they are kept with the payment.
const MAX_NAME_BYTES: usize = 256;

/// Step 5: the members of `extra`, `asset` and `payTo`, each of the right type.
struct Typed {
    token_name: String,
    token_version: String,
    operator: Address,
    capture_deadline_s: u64,
    refund_deadline_s: u64,
    fee_recipient: Address,
    min_fee_bps: u64,
    max_fee_bps: u64,
    asset: Address,
    receiver: Address,
    max_amount: U120,
}

impl Typed {
    fn read(request: &PaymentRequest) -> Result<Self, Rejection> {
        let terms = &request.requirements;
        let extra = &terms.extra;
        let name_of_token = |name: &str| {
            members::non_empty(extra, name)
                .filter(|text| text.len() <= MAX_NAME_BYTES)
                .map(str::to_owned)
                .ok_or_else(|| {
                    invalid_extra(format!(
                        "extra.{name} must be a string of 1 to {MAX_NAME_BYTES} bytes"
                    ))
                })
        };
        let address = |name: &str| {
            members::address(extra, name)
                .ok_or_else(|| invalid_extra(format!("extra.{name} must be a 20-byte hex address")))
        };
        Ok(Self {
            token_name: name_of_token("name")?,
            token_version: name_of_token("version")?,
            operator: address("captureAuthorizer")?,
            capture_deadline_s: seconds(extra, "captureDeadline")?,
            refund_deadline_s: seconds(extra, "refundDeadline")?,
            fee_recipient: address("feeRecipient")?,
            min_fee_bps: bps(extra, "minFeeBps")?,
            max_fee_bps: bps(extra, "maxFeeBps")?,
            asset: text::address(&terms.asset)
                .ok_or_else(|| invalid_extra("asset must be a 20-byte hex address"))?,
            receiver: text::address(&terms.pay_to)
                .ok_or_else(|| invalid_extra("payTo must be a 20-byte hex address"))?,
            max_amount: accepted_amount(request)?,
        })
    }

    /// Step 12: fees that the escrow can charge, and an operator that is an account.
    fn fees(&self) -> Result<FeeTerms, Rejection> {
        let whole = u64::from(BPS_PER_WHOLE);
        let bps = |bps: u64| u16::try_from(bps).ok().filter(|_| bps <= whole);
        let (Some(min_bps), Some(max_bps)) = (bps(self.min_fee_bps), bps(self.max_fee_bps)) else {
            return Err(invalid_extra(
                "extra.minFeeBps and extra.maxFeeBps must be at most 10000",
            ));
        };
        if min_bps > max_bps {
            return Err(invalid_extra("extra.minFeeBps is above extra.maxFeeBps"));
        }
        if self.operator == Address::ZERO {
            return Err(invalid_extra(
                "extra.captureAuthorizer must not be the zero address",
            ));
        }
        let recipient = self.fee_recipient;
        if recipient == Address::ZERO && max_bps > 0 {
            return Err(invalid_extra(
                "extra.feeRecipient may be the zero address only with minFeeBps 0 and maxFeeBps 0",
            ));
        }
        Ok(FeeTerms {
            min_bps,
            max_bps,
            recipient,
        })
    }
}

impl Terms {
    /// Steps 2 to 13 in v1.1, steps 2 to 5 in v1.0.
    ///
    /// # Errors
    /// The first step that fails.
    pub fn read(request: &PaymentRequest, dialect: Dialect, config: &Config) -> Result<Self, Rejection> {
        let chain_id = networks(request)?;
        let requirements = &request.requirements;
        let extra = &requirements.extra;
        // 5
        let typed = Typed::read(request)?;
        // 6
        let auto_capture = extra.get("autoCapture") == Some(&Value::Bool(true));
        if auto_capture && dialect == Dialect::V1_1 {
            return Err(Rejection::new(
                Reason::UnsupportedPaymentFlow,
                "extra.autoCapture is of an older version; write paymentFlow \"authorization\" instead",
            ));
        }
        // 7 to 10
        let (deployment, flow, operator_type) = match dialect {
            Dialect::V1_0 => {
                let operator_type = if config.admits(typed.operator, &requirements.network) {
                    OperatorType::Custom
                } else {
                    OperatorType::Delegated
                };
                let flow = if auto_capture {
                    Flow::Authorization
                } else {
                    Flow::Escrow
                };
                (V1_0, flow, operator_type)
            }
            Dialect::V1_1 => v1_1_choices(extra, config)?,
        };
        // 11
        let method = transfer_method(extra)?;
        // 12
        let fees = typed.fees()?;
        let receiver_authorizer = match dialect {
            Dialect::V1_0 => Address::ZERO,
            Dialect::V1_1 => optional_address(extra, "receiverAuthorizer")?,
        };
        // 13
        if dialect == Dialect::V1_1 && flow == Flow::Authorization && receiver_authorizer == Address::ZERO {
            return Err(Rejection::new(
                Reason::MissingReceiverAuthorizer,
                "paymentFlow \"authorization\" needs extra.receiverAuthorizer",
            ));
        }
        Ok(Self {
            dialect,
            chain_id,
            deployment,
            receiver: typed.receiver,
            asset: typed.asset,
            max_amount: typed.max_amount,
            amount: requirements.amount.0,
            max_timeout_s: requirements.max_timeout_seconds,
            token_name: typed.token_name,
            token_version: typed.token_version,
            operator: typed.operator,
            capture_deadline_s: typed.capture_deadline_s,
            refund_deadline_s: typed.refund_deadline_s,
            fees,
            flow,
            operator_type,
            method,
            receiver_authorizer,
            auto_capture,
        })
    }
}

fn transfer_method(extra: &Map<String, Value>) -> Result<Method, Rejection> {
    word(extra, "assetTransferMethod", "eip3009")
        .ok()
        .and_then(Method::read)
        .ok_or_else(|| {
            Rejection::new(
                Reason::UnsupportedAssetTransferMethod,
                "extra.assetTransferMethod must be \"eip3009\" or \"permit2\"",
            )
        })
}

/// A number of seconds that fits 48 bits: a JSON integer.
pub(in crate::auth_capture) fn seconds(extra: &Map<String, Value>, name: &str) -> Result<u64, Rejection> {
    extra
        .get(name)
        .and_then(Value::as_u64)
        .filter(|seconds| *seconds < 1 << 48)
        .ok_or_else(|| {
            invalid_extra(format!(
                "extra.{name} must be an integer of unix seconds below 2^48"
            ))
        })
}

pub(in crate::auth_capture) fn bps(extra: &Map<String, Value>, name: &str) -> Result<u64, Rejection> {
    extra
        .get(name)
        .and_then(Value::as_u64)
        .ok_or_else(|| invalid_extra(format!("extra.{name} must be an integer of basis points")))
}

pub(super) fn invalid_extra(message: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Extra, message)
}

/// One of a few values, with the first as default. `Err` with what was sent.
fn word<'a>(extra: &'a Map<String, Value>, name: &str, default: &'static str) -> Result<&'a str, String>
where
    'static: 'a,
{
    match members::present(extra, name) {
        None => Ok(default),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(other.to_string()),
    }
}

/// Steps 7 to 10.
fn v1_1_choices(
    extra: &Map<String, Value>,
    config: &Config,
) -> Result<(Deployment, Flow, OperatorType), Rejection> {
    let deployment = match word(extra, "authCaptureEscrow", "") {
        Ok("") => Some(V1_1),
        Ok(sent) => text::address(sent).and_then(|escrow| config.deployment_of(escrow).copied()),
        Err(_) => None,
    }
    .ok_or_else(|| invalid_extra("extra.authCaptureEscrow is none of the escrows served here"))?;
    let flow = match word(extra, "paymentFlow", "escrow") {
        Ok("escrow") => Flow::Escrow,
        Ok("authorization") => Flow::Authorization,
        Ok(_) | Err(_) => {
            return Err(Rejection::new(
                Reason::UnsupportedPaymentFlow,
                "extra.paymentFlow must be \"escrow\" or \"authorization\"",
            ));
        }
    };
    let mode = members::present(extra, "captureMode");
    match mode.map(Value::as_str) {
        None => {}
        Some(Some("sync" | "deferred")) if flow == Flow::Escrow => {}
        Some(Some("sync" | "deferred")) => {
            return Err(invalid_extra(
                "extra.captureMode must be absent with paymentFlow \"authorization\"",
            ));
        }
        Some(_) => {
            return Err(invalid_extra(
                "extra.captureMode must be \"sync\" or \"deferred\"",
            ));
        }
    }
    let operator_type = match word(extra, "operatorType", "delegated") {
        Ok("delegated") => OperatorType::Delegated,
        Ok("custom") => OperatorType::Custom,
        Ok(_) | Err(_) => {
            return Err(Rejection::new(
                Reason::UnsupportedOperatorType,
                "extra.operatorType must be \"delegated\" or \"custom\"",
            ));
        }
    };
    Ok((deployment, flow, operator_type))
}

/// Absent and `null` are the zero address.
fn optional_address(extra: &Map<String, Value>, name: &str) -> Result<Address, Rejection> {
    match members::present(extra, name) {
        None => Ok(Address::ZERO),
        Some(_) => members::address(extra, name)
            .ok_or_else(|| invalid_extra(format!("extra.{name} must be a 20-byte hex address"))),
    }
}

/// What the buyer accepted: a decimal string, above zero and within the escrow's 120 bits.
pub(in crate::auth_capture) fn accepted_amount(request: &PaymentRequest) -> Result<U120, Rejection> {
    let sent = members::number(&request.accepted.raw, "amount").or_else(|| {
        // Only requirements are sent beside a payload that repeats nothing.
        request
            .accepted
            .raw
            .is_empty()
            .then_some(request.requirements.amount.0)
    });
    sent.and_then(|amount| amount.uint_try_to().ok()).ok_or_else(|| {
        Rejection::new(
            Reason::AmountMismatch,
            "accepted.amount must be a decimal string below 2^120",
        )
    })
}
