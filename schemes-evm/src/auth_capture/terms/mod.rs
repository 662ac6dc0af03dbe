//! The seller's terms: `extra` of the requirements, checked in the order of auth-capture-evm.md section 7, steps 5 to 15.
//!
//! Collections and lifecycle calls read the same terms; the steps after 13 differ and are in the two callers.

mod read;

use alloy_primitives::aliases::{U48, U120};
use alloy_primitives::{Address, U256};
use sdk_plugin::cx::NetworkView;
use sdk_plugin::{PaymentRequest, Value};
use serde_json::Map;

use self::read::invalid_extra;
pub(super) use self::read::{accepted_amount, bps, seconds};
use super::SCHEME;
use super::abi::PaymentInfo;
use super::config::Config;
use super::deployment::{Deployment, Method, V1_0};
use super::fees::FeeTerms;
use super::payment_info::EscrowId;
use super::reason::{Dialect, Reason, Rejection};
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
    /// What the seller charges now: at most `max_amount`.
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

/// Which dialect a collection uses, whether or not it is served.
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
pub fn networks(request: &PaymentRequest) -> Result<u64, Rejection> {
    let terms = &request.requirements;
    if request.accepted.scheme != SCHEME || terms.scheme != SCHEME {
        return Err(Rejection::new(
            Reason::Scheme,
            "both schemes must be \"auth-capture\"",
        ));
    }
    if request.accepted.network != terms.network {
        return Err(Rejection::new(
            Reason::NetworkMismatch,
            "the payload's network is not the requirements' network",
        ));
    }
    text::chain_id(&terms.network)
        .ok_or_else(|| Rejection::new(Reason::InvalidNetwork, "the network is not eip155:<chain id>"))
}

impl Terms {
    /// Step 14: a policy is reserved for operators that are not served yet.
    ///
    /// # Errors
    /// `policy`.
    pub fn no_policy(extra: &Map<String, Value>) -> Result<(), Rejection> {
        let zero = match members::present(extra, "policy") {
            None => true,
            Some(_) => members::address(extra, "policy") == Some(Address::ZERO),
        };
        if zero {
            Ok(())
        } else {
            Err(Rejection::new(
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
    pub fn admitted(&self, config: &Config, network: &NetworkView) -> Result<(), Rejection> {
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
            return Err(Rejection::new(
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
            Err(invalid_extra(
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
    pub fn escrow_id(&self) -> EscrowId {
        EscrowId {
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
