//! A collection's payload, hostile in every member: step 1 of auth-capture-evm.md sections 7 and 13.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use sdk_plugin::Value;
use serde_json::Map;

use crate::auth_capture::abi::ReceiveWithAuthorization;
use crate::auth_capture::deployment::Method;
use crate::auth_capture::reason::{Dialect, Reason, Rejection};
use crate::auth_capture::terms::Terms;
use crate::permit2::abi::{PermitTransferFrom, TokenPermissions};
use crate::permit2::permit::{self, Permit};
use crate::signature::{self, Unwrapped};
use crate::{members, text};

/// What a buyer sends, and what a seller adds to it. Well formed; nothing else is checked.
#[derive(Debug, Clone)]
pub(in crate::auth_capture) struct Payload {
    pub(super) authorization: Authorization,
    /// The bytes as sent, a wrapper included: the collector's data.
    pub(super) signature: Vec<u8>,
    /// `None`: a wrapper that can't be opened, which is an invalid signature.
    pub(super) unwrapped: Option<Unwrapped>,
    pub(super) salt: U256,
    pub(super) salt_nonce: Option<U256>,
    pub(super) completion: Completion,
}

/// What the buyer signed, by either method.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    pub(super) method: Method,
    pub(super) from: Address,
    /// `to` or `spender`.
    pub(super) collector: Address,
    /// Permit2 only: the other method's token is its domain.
    pub(super) token: Option<Address>,
    /// Atomic units.
    pub(super) amount: U256,
    /// Seconds since the epoch; zero with Permit2, which has none.
    pub(super) valid_after: U256,
    /// `validBefore` or `deadline`, seconds since the epoch.
    pub(super) expiry: U256,
    pub(super) nonce: U256,
}

/// What turns a buyer's authorization into a charge; members as far as they are there.
#[derive(Debug, Clone, Default)]
pub(super) struct Completion {
    pub(super) amount: Option<U256>,
    pub(super) fee_bps: Option<u16>,
    pub(super) fee_amount: Option<U256>,
    /// Whether it is an address is checked later.
    pub(super) fee_receiver: Option<String>,
    /// Absent when empty.
    pub(super) authorizer_signature: Option<Vec<u8>>,
}

impl Completion {
    pub(super) fn is_absent(&self) -> bool {
        let Self {
            amount,
            fee_bps,
            fee_amount,
            fee_receiver,
            authorizer_signature,
        } = self;
        amount.is_none()
            && fee_bps.is_none()
            && fee_amount.is_none()
            && fee_receiver.is_none()
            && authorizer_signature.is_none()
    }
}

impl Payload {
    /// Step 1. In v1.0 there are no members but authorization, signature and salt.
    pub(super) fn read(payload: &Map<String, Value>, dialect: Dialect) -> Result<Self, Rejection> {
        let authorization = Authorization::read(payload)?;
        let signature = members::signature(payload, "signature").map_err(format)?;
        let salt = members::word(payload, "salt")
            .ok_or_else(|| format("payload.salt must be 0x and 64 hex digits"))?;
        let (salt_nonce, completion) = match dialect {
            Dialect::V1_0 => (None, Completion::default()),
            Dialect::V1_1 => (salt_nonce(payload)?, Completion::read(payload)?),
        };
        Ok(Self {
            authorization,
            unwrapped: signature::unwrap(&signature),
            signature,
            salt: salt.into(),
            salt_nonce,
            completion,
        })
    }
}

/// `None` when absent.
pub(super) fn salt_nonce(payload: &Map<String, Value>) -> Result<Option<U256>, Rejection> {
    match members::present(payload, "saltNonce") {
        None => Ok(None),
        Some(_) => members::word(payload, "saltNonce")
            .map(|word| Some(word.into()))
            .ok_or_else(|| format("payload.saltNonce must be 0x and 64 hex digits")),
    }
}

impl Authorization {
    pub(super) fn read(payload: &Map<String, Value>) -> Result<Self, Rejection> {
        let object = |name: &str| match members::present(payload, name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(format(format!("payload.{name} must be an object"))),
        };
        match (object("authorization")?, object("permit2Authorization")?) {
            (Some(signed), None) => Self::eip3009(signed),
            (None, Some(signed)) => Self::permit2(signed),
            (None, None) => Err(format(
                "payload.authorization or payload.permit2Authorization must be there",
            )),
            (Some(_), Some(_)) => Err(format(
                "payload must have authorization or permit2Authorization, not both",
            )),
        }
    }

    fn eip3009(signed: &Map<String, Value>) -> Result<Self, Rejection> {
        let read = |name: &str| number(signed, "authorization", name);
        Ok(Self {
            method: Method::Eip3009,
            from: address(signed, "authorization", "from")?,
            collector: address(signed, "authorization", "to")?,
            token: None,
            amount: read("value")?,
            valid_after: read("validAfter")?,
            expiry: read("validBefore")?,
            nonce: members::word(signed, "nonce")
                .ok_or_else(|| format("authorization.nonce must be 0x and 64 hex digits"))?
                .into(),
        })
    }

    fn permit2(signed: &Map<String, Value>) -> Result<Self, Rejection> {
        let permit = Permit::read(signed).map_err(format)?;
        Ok(Self {
            method: Method::Permit2,
            from: permit.from,
            collector: permit.spender,
            token: Some(permit.token),
            amount: permit.amount,
            valid_after: U256::ZERO,
            expiry: permit.deadline,
            nonce: permit.nonce,
        })
    }

    /// What the buyer's signature is over.
    pub(super) fn digest(&self, terms: &Terms) -> B256 {
        match self.method {
            Method::Eip3009 => ReceiveWithAuthorization {
                from: self.from,
                to: self.collector,
                value: self.amount,
                validAfter: self.valid_after,
                validBefore: self.expiry,
                nonce: self.nonce.into(),
            }
            .eip712_signing_hash(&Eip712Domain::new(
                Some(terms.token_name.clone().into()),
                Some(terms.token_version.clone().into()),
                Some(U256::from(terms.chain_id)),
                Some(terms.asset),
                None,
            )),
            Method::Permit2 => PermitTransferFrom {
                permitted: TokenPermissions {
                    token: self.token.unwrap_or(terms.asset),
                    amount: self.amount,
                },
                spender: self.collector,
                nonce: self.nonce,
                deadline: self.expiry,
            }
            .eip712_signing_hash(&permit::domain(terms.chain_id)),
        }
    }
}

impl Completion {
    fn read(payload: &Map<String, Value>) -> Result<Self, Rejection> {
        let number = |name: &str| match members::present(payload, name) {
            None => Ok(None),
            Some(_) => members::number(payload, name)
                .map(Some)
                .ok_or_else(|| format(format!("payload.{name} must be a decimal string of atomic units"))),
        };
        let fee_bps = match members::present(payload, "feeBps") {
            None => None,
            Some(sent) => Some(
                sent.as_u64()
                    .and_then(|bps| u16::try_from(bps).ok())
                    .ok_or_else(|| format("payload.feeBps must be an integer of basis points"))?,
            ),
        };
        let fee_receiver = match members::present(payload, "feeReceiver") {
            None => None,
            Some(sent) => Some(
                sent.as_str()
                    .ok_or_else(|| format("payload.feeReceiver must be an address"))?
                    .to_owned(),
            ),
        };
        let authorizer_signature = match members::present(payload, "authorizerSignature") {
            None => None,
            Some(sent) => Some(
                sent.as_str()
                    .and_then(|sent| text::bytes(sent, signature::MAX_SIGNATURE_BYTES))
                    .ok_or_else(|| {
                        format("payload.authorizerSignature must be hex bytes of a reasonable length")
                    })?,
            ),
        };
        Ok(Self {
            amount: number("amount")?,
            fee_bps,
            fee_amount: number("feeAmount")?,
            fee_receiver,
            authorizer_signature: authorizer_signature.filter(|bytes| !bytes.is_empty()),
        })
    }
}

/// The payer's address as sent when it is one, else empty: replies repeat the buyer's spelling.
pub(super) fn payer_as_sent(payload: &Map<String, Value>) -> String {
    ["authorization", "permit2Authorization"]
        .into_iter()
        .filter_map(|name| payload.get(name)?.get("from")?.as_str())
        .find(|from| text::address(from).is_some())
        .unwrap_or_default()
        .to_owned()
}

fn address(members: &Map<String, Value>, object: &str, name: &str) -> Result<Address, Rejection> {
    members::address(members, name)
        .ok_or_else(|| format(format!("{object}.{name} must be a 20-byte hex address")))
}

fn number(members: &Map<String, Value>, object: &str, name: &str) -> Result<U256, Rejection> {
    members::number(members, name).ok_or_else(|| format(format!("{object}.{name} must be a decimal string")))
}

fn format(message: impl Into<String>) -> Rejection {
    Rejection::new(Reason::PayloadFormat, message)
}
