//! The seller's terms: `extra` of the requirements, checked in the order of auth-capture-evm.md section 7, steps 5 to 15.
//!
//! Collections and lifecycle calls read the same terms; what differs behind step 13 is in the two callers' hands.

use alloy_primitives::aliases::{U48, U120};
use alloy_primitives::ruint::UintTryTo;
use alloy_primitives::{Address, U256};
use sdk_plugin::cx::NetworkView;
use sdk_plugin::{PaymentRequest, Value};
use serde_json::Map;

use super::SCHEME;
use super::abi::PaymentInfo;
use super::config::Config;
use super::deployment::{Deployment, Method, V1_0, V1_1};
use super::fees::{BPS_PER_WHOLE, FeeTerms};
use super::payment_info::Place;
use super::reason::{Dialect, No, Reason};
use crate::{members, step, text};

/// Members that only v1.1 has: one of them keeps a request out of the v1.0 dialect.
const V1_1_ONLY: [&str; 6] = [
    "authCaptureEscrow",
    "paymentFlow",
    "captureMode",
    "receiverAuthorizer",
    "policy",
    "operatorType",
];

/// Longest name and version of a token: they are kept with the payment.
const MAX_NAME_BYTES: usize = 256;

/// Hold first, or take at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Escrow,
    Authorization,
}

/// Who calls the escrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorType {
    /// One of our signers.
    Delegated,
    /// A contract on the allow-list.
    Custom,
}

/// Terms whose members have the right types and are possible.
#[derive(Debug, Clone)]
pub struct Terms {
    pub dialect: Dialect,
    pub chain_id: u64,
    pub deployment: Deployment,
    pub receiver: Address,
    pub asset: Address,
    /// What the buyer accepted, and signed: atomic units.
    pub max_amount: U120,
    /// What the seller asks for now: at most `max_amount`.
    pub amount: U256,
    pub max_timeout_s: u64,
    /// EIP-712 domain members of the token.
    pub token_name: String,
    pub token_version: String,
    pub operator: Address,
    /// Seconds since the epoch.
    pub capture_deadline_s: u64,
    pub refund_deadline_s: u64,
    pub fees: FeeTerms,
    pub flow: Flow,
    pub operator_type: OperatorType,
    pub method: Method,
    /// Zero: unbound.
    pub receiver_authorizer: Address,
    /// v1.0's `autoCapture`.
    pub auto_capture: bool,
}

/// Which dialect a collection is served in (section 5). Lifecycle calls are always v1.1.
#[must_use]
pub fn dialect(request: &PaymentRequest, config: &Config) -> Dialect {
    if config.scheme_v1_0 {
        spoken(request)
    } else {
        Dialect::V1_1
    }
}

/// Which dialect a collection speaks, whatever is served.
#[must_use]
pub fn spoken(request: &PaymentRequest) -> Dialect {
    let extra = &request.requirements.extra;
    let plain = V1_1_ONLY
        .iter()
        .all(|name| members::present(extra, name).is_none());
    let collector = collector_as_sent(&request.payload);
    if plain && collector.is_some_and(|collector| V1_0.has_payment_collector(collector)) {
        Dialect::V1_0
    } else {
        Dialect::V1_1
    }
}

/// The collector that the payer's signature names.
#[must_use]
pub fn collector_as_sent(payload: &Map<String, Value>) -> Option<Address> {
    let of = |object: &str, member: &str| {
        payload
            .get(object)
            .and_then(Value::as_object)
            .and_then(|members| members::address(members, member))
    };
    of("authorization", "to").or_else(|| of("permit2Authorization", "spender"))
}

/// Steps 2 to 4, and what both dialects need of the requirements themselves.
pub fn networks(request: &PaymentRequest) -> Result<u64, No> {
    let terms = &request.requirements;
    if request.accepted.scheme != SCHEME || terms.scheme != SCHEME {
        return Err(No::new(Reason::Scheme, "both schemes must be \"auth-capture\""));
    }
    if request.accepted.network != terms.network {
        return Err(No::new(
            Reason::NetworkMismatch,
            "the payload's network is not the requirements' network",
        ));
    }
    text::chain_id(&terms.network)
        .ok_or_else(|| No::new(Reason::InvalidNetwork, "the network is not eip155:<chain id>"))
}

/// A number of seconds that fits 48 bits: a JSON integer.
pub(super) fn seconds(extra: &Map<String, Value>, name: &str) -> Result<u64, No> {
    extra
        .get(name)
        .and_then(Value::as_u64)
        .filter(|seconds| *seconds < 1 << 48)
        .ok_or_else(|| {
            no_extra(format!(
                "extra.{name} must be an integer of unix seconds below 2^48"
            ))
        })
}

pub(super) fn bps(extra: &Map<String, Value>, name: &str) -> Result<u64, No> {
    extra
        .get(name)
        .and_then(Value::as_u64)
        .ok_or_else(|| no_extra(format!("extra.{name} must be an integer of basis points")))
}

fn no_extra(message: impl Into<String>) -> No {
    No::new(Reason::Extra, message)
}

/// One of a few words, with the first as default. `Err` with what was sent.
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

impl Terms {
    /// Steps 2 to 13 in v1.1, steps 2 to 5 in v1.0.
    ///
    /// # Errors
    /// The first step that fails.
    pub fn read(request: &PaymentRequest, dialect: Dialect, config: &Config) -> Result<Self, No> {
        let chain_id = networks(request)?;
        let terms = &request.requirements;
        let extra = &terms.extra;
        // 5
        let text = |name: &str| {
            members::non_empty(extra, name)
                .filter(|text| text.len() <= MAX_NAME_BYTES)
                .map(str::to_owned)
                .ok_or_else(|| {
                    no_extra(format!(
                        "extra.{name} must be a string of 1 to {MAX_NAME_BYTES} bytes"
                    ))
                })
        };
        let address = |name: &str| {
            members::address(extra, name)
                .ok_or_else(|| no_extra(format!("extra.{name} must be a 20-byte hex address")))
        };
        let token_name = text("name")?;
        let token_version = text("version")?;
        let operator = address("captureAuthorizer")?;
        let capture_deadline_s = seconds(extra, "captureDeadline")?;
        let refund_deadline_s = seconds(extra, "refundDeadline")?;
        let recipient = address("feeRecipient")?;
        let min_bps = bps(extra, "minFeeBps")?;
        let max_bps = bps(extra, "maxFeeBps")?;
        let asset =
            text::address(&terms.asset).ok_or_else(|| no_extra("asset must be a 20-byte hex address"))?;
        let receiver =
            text::address(&terms.pay_to).ok_or_else(|| no_extra("payTo must be a 20-byte hex address"))?;
        let max_amount = accepted_amount(request)?;
        // 6
        let auto_capture = extra.get("autoCapture") == Some(&Value::Bool(true));
        if auto_capture && dialect == Dialect::V1_1 {
            return Err(No::new(
                Reason::UnsupportedPaymentFlow,
                "extra.autoCapture is of an older version; write paymentFlow \"authorization\" instead",
            ));
        }
        let (deployment, flow, operator_type) = match dialect {
            Dialect::V1_0 => {
                let operator_type = if config.admits(operator, &terms.network) {
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
        let method = word(extra, "assetTransferMethod", "eip3009")
            .ok()
            .and_then(Method::read)
            .ok_or_else(|| {
                No::new(
                    Reason::UnsupportedAssetTransferMethod,
                    "extra.assetTransferMethod must be \"eip3009\" or \"permit2\"",
                )
            })?;
        // 12
        let whole = u64::from(BPS_PER_WHOLE);
        let (Some(min_bps), Some(max_bps)) = (
            u16::try_from(min_bps).ok().filter(|_| min_bps <= whole),
            u16::try_from(max_bps).ok().filter(|_| max_bps <= whole),
        ) else {
            return Err(no_extra(
                "extra.minFeeBps and extra.maxFeeBps must be at most 10000",
            ));
        };
        if min_bps > max_bps {
            return Err(no_extra("extra.minFeeBps is above extra.maxFeeBps"));
        }
        if operator == Address::ZERO {
            return Err(no_extra("extra.captureAuthorizer must not be the zero address"));
        }
        if recipient == Address::ZERO && max_bps > 0 {
            return Err(no_extra(
                "extra.feeRecipient may be the zero address only with minFeeBps 0 and maxFeeBps 0",
            ));
        }
        let receiver_authorizer = match dialect {
            Dialect::V1_0 => Address::ZERO,
            Dialect::V1_1 => optional_address(extra, "receiverAuthorizer")?,
        };
        // 13
        if dialect == Dialect::V1_1 && flow == Flow::Authorization && receiver_authorizer == Address::ZERO {
            return Err(No::new(
                Reason::MissingReceiverAuthorizer,
                "paymentFlow \"authorization\" needs extra.receiverAuthorizer",
            ));
        }
        Ok(Self {
            dialect,
            chain_id,
            deployment,
            receiver,
            asset,
            max_amount,
            amount: terms.amount.0,
            max_timeout_s: terms.max_timeout_seconds,
            token_name,
            token_version,
            operator,
            capture_deadline_s,
            refund_deadline_s,
            fees: FeeTerms {
                min_bps,
                max_bps,
                recipient,
            },
            flow,
            operator_type,
            method,
            receiver_authorizer,
            auto_capture,
        })
    }

    /// Step 14: a policy is reserved for operators that are not served yet.
    ///
    /// # Errors
    /// `policy`.
    pub fn no_policy(extra: &Map<String, Value>) -> Result<(), No> {
        let zero = match members::present(extra, "policy") {
            None => true,
            Some(_) => members::address(extra, "policy") == Some(Address::ZERO),
        };
        if zero {
            Ok(())
        } else {
            Err(No::new(
                Reason::Policy,
                "extra.policy must be absent or the zero address",
            ))
        }
    }

    /// Step 15: a contract that the operator admitted, or one of our signers that takes new payments. Decided by address,
    /// never by code (T-67). And the operator's own fee terms, where there are any.
    ///
    /// # Errors
    /// `operator_not_admitted`, `extra`.
    pub fn admitted(&self, config: &Config, network: &NetworkView) -> Result<(), No> {
        let refused = match self.operator_type {
            OperatorType::Custom if config.admits(self.operator, &network.id) => None,
            OperatorType::Custom => Some("is not a contract that this facilitator admits"),
            // Each payment needs its operator's key until its refund deadline, so a former signer that took new ones
            // could never be taken out of the configuration.
            OperatorType::Delegated if step::is_retired(self.operator, network) => Some(
                "is a former signer of this facilitator and takes no new payments: fetch a new offer, which names a \
                 signer of /supported",
            ),
            OperatorType::Delegated if step::signer_at(self.operator, network).is_some() => None,
            OperatorType::Delegated => Some("is not one of this facilitator's signers; see /supported"),
        };
        if let Some(why) = refused {
            return Err(No::new(
                Reason::OperatorNotAdmitted,
                format!("extra.captureAuthorizer {why}"),
            ));
        }
        let Some(own) = config
            .fee_terms
            .filter(|_| self.operator_type == OperatorType::Delegated)
        else {
            return Ok(());
        };
        let same = FeeTerms {
            min_bps: own.min_fee_bps,
            max_bps: own.max_fee_bps,
            recipient: own.fee_recipient,
        };
        if self.fees == same {
            Ok(())
        } else {
            Err(no_extra(
                "feeRecipient, minFeeBps and maxFeeBps must be those that this facilitator publishes in /supported",
            ))
        }
    }

    /// Whether the salt commits to an authorizer.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.receiver_authorizer != Address::ZERO
    }

    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            chain_id: self.chain_id,
            escrow: self.deployment.escrow,
        }
    }

    /// The payment these terms and a payer's signature make.
    #[must_use]
    pub fn payment_info(&self, payer: Address, pre_approval_expiry_s: u64, salt: U256) -> PaymentInfo {
        PaymentInfo {
            operator: self.operator,
            payer,
            receiver: self.receiver,
            token: self.asset,
            maxAmount: self.max_amount,
            preApprovalExpiry: U48::saturating_from(pre_approval_expiry_s),
            authorizationExpiry: U48::saturating_from(self.capture_deadline_s),
            refundExpiry: U48::saturating_from(self.refund_deadline_s),
            minFeeBps: self.fees.min_bps,
            maxFeeBps: self.fees.max_bps,
            feeReceiver: self.fees.recipient,
            salt,
        }
    }
}

/// Steps 7 to 10.
fn v1_1_choices(extra: &Map<String, Value>, config: &Config) -> Result<(Deployment, Flow, OperatorType), No> {
    let deployment = match word(extra, "authCaptureEscrow", "") {
        Ok("") => Some(V1_1),
        Ok(sent) => text::address(sent).and_then(|escrow| config.deployment_of(escrow).copied()),
        Err(_) => None,
    }
    .ok_or_else(|| no_extra("extra.authCaptureEscrow is none of the escrows served here"))?;
    let flow = match word(extra, "paymentFlow", "escrow") {
        Ok("escrow") => Flow::Escrow,
        Ok("authorization") => Flow::Authorization,
        Ok(_) | Err(_) => {
            return Err(No::new(
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
            return Err(no_extra(
                "extra.captureMode must be absent with paymentFlow \"authorization\"",
            ));
        }
        Some(_) => return Err(no_extra("extra.captureMode must be \"sync\" or \"deferred\"")),
    }
    let operator_type = match word(extra, "operatorType", "delegated") {
        Ok("delegated") => OperatorType::Delegated,
        Ok("custom") => OperatorType::Custom,
        Ok(_) | Err(_) => {
            return Err(No::new(
                Reason::UnsupportedOperatorType,
                "extra.operatorType must be \"delegated\" or \"custom\"",
            ));
        }
    };
    Ok((deployment, flow, operator_type))
}

/// Absent and `null` are the zero address.
fn optional_address(extra: &Map<String, Value>, name: &str) -> Result<Address, No> {
    match members::present(extra, name) {
        None => Ok(Address::ZERO),
        Some(_) => members::address(extra, name)
            .ok_or_else(|| no_extra(format!("extra.{name} must be a 20-byte hex address"))),
    }
}

/// What the buyer accepted: a decimal string, above zero and within the escrow's 120 bits.
pub(super) fn accepted_amount(request: &PaymentRequest) -> Result<U120, No> {
    let sent = members::number(&request.accepted.raw, "amount").or_else(|| {
        // Only requirements are sent beside a payload that repeats nothing.
        request
            .accepted
            .raw
            .is_empty()
            .then_some(request.requirements.amount.0)
    });
    sent.and_then(|amount| amount.uint_try_to().ok()).ok_or_else(|| {
        No::new(
            Reason::AmountMismatch,
            "accepted.amount must be a decimal string below 2^120",
        )
    })
}
