//! From a request, hostile in every member, to an EIP-3009 payment; and the checks that need no chain.
//!
//! `Payment::decode` is checks 1 to 4 of exact-evm.md section 3 (section 6 for protocol v1), in order;
//! [`Payment::refused_terms`] is checks 7 to 10.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{Eip712Domain, SolCall, SolStruct};
use sdk_plugin::request::ProtocolVersion;
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{PaymentRequest, Value};
use serde_json::Map;

use super::{SCHEME, reason};
use crate::abi::{AuthorizedToken, TransferWithAuthorization};
use crate::members;
use crate::signature::{self, Unwrapped};
use crate::{step, text};

/// An EIP-3009 payment whose members are well formed. Whether it is valid is not checked yet.
#[derive(Debug, Clone)]
pub(super) struct Payment {
    version: ProtocolVersion,
    /// `authorization.from` as sent: replies repeat the buyer's spelling.
    pub(super) payer: String,
    pub(super) chain_id: u64,
    pub(super) asset: Address,
    pub(super) pay_to: Address,
    /// Atomic units of the asset that the seller charges.
    pub(super) amount: U256,
    /// EIP-712 domain members of the token, as the seller states them.
    pub(super) token_name: String,
    pub(super) token_version: String,
    pub(super) authorization: TransferWithAuthorization,
    /// `None`: an ERC-6492 wrapper that can't be opened, which is an invalid signature.
    pub(super) signature: Option<Unwrapped>,
}

impl Payment {
    /// Checks 1 to 4.
    pub(super) fn decode(request: &PaymentRequest) -> Result<Self, Refusal> {
        let payer = payer_as_sent(request);
        let refuse = |reason: &str, message: &str| Refusal::new(reason, payer.clone()).with_message(message);
        let terms = &request.requirements;
        let authorization =
            eip3009_authorization(request).map_err(|message| refuse(reason::UNSUPPORTED_PAYLOAD, message))?;

        if request.accepted.scheme != SCHEME || terms.scheme != SCHEME {
            return Err(refuse(reason::SCHEME, "both schemes must be \"exact\""));
        }
        let v1 = request.version.is_v1();
        if v1 && text::chain_id(&request.accepted.network).is_none() {
            return Err(refuse(
                reason::NETWORK_MISMATCH,
                "payload.network is not a network known here",
            ));
        }
        let (Some(token_name), Some(token_version)) = (
            members::non_empty(&terms.extra, "name"),
            members::domain_version(&terms.extra),
        ) else {
            let is_odd =
                members::present(&terms.extra, "version").is_some_and(|version| !version.is_string());
            return Err(refuse(
                reason::MISSING_DOMAIN,
                if is_odd {
                    "extra.version must be a string"
                } else {
                    "extra.name and extra.version of the requirements must be non-empty strings"
                },
            ));
        };
        if request.accepted.network != terms.network {
            return Err(refuse(
                reason::NETWORK_MISMATCH,
                "the payload's network is not the requirements' network",
            ));
        }

        let Some(chain_id) = text::chain_id(&terms.network) else {
            return Err(refuse(
                reason::INVALID_PAYLOAD,
                "the network is not eip155:<chain id>",
            ));
        };
        let malformed = |message: &str| refuse(reason::INVALID_PAYLOAD, message);
        let authorization =
            authorization.ok_or_else(|| malformed("payload.authorization must be an object"))?;
        let authorization = decode_authorization(authorization).map_err(malformed)?;
        let signature =
            members::signature(&request.payload, "signature").map_err(|message| malformed(&message))?;
        let Some(asset) = text::address(&terms.asset) else {
            return Err(refuse(
                reason::INVALID_PAYMENT_REQUIREMENTS,
                "asset must be a 20-byte hex address",
            ));
        };
        let Some(pay_to) = text::address(&terms.pay_to) else {
            return Err(refuse(
                reason::INVALID_PAYMENT_REQUIREMENTS,
                "payTo must be a 20-byte hex address",
            ));
        };
        Ok(Self {
            version: request.version,
            payer,
            chain_id,
            asset,
            pay_to,
            amount: terms.amount.0,
            token_name: token_name.to_owned(),
            token_version,
            authorization,
            signature: signature::unwrap(&signature),
        })
    }

    /// Checks 7 to 10, the first that fails. `now_s`: seconds since the epoch.
    #[must_use]
    pub(super) fn refused_terms(&self, now_s: u64) -> Option<Refusal> {
        let signed = &self.authorization;
        if signed.to != self.pay_to {
            return Some(self.refuse(reason::RECIPIENT, "authorization.to is not payTo"));
        }
        if step::is_over(signed.validBefore, now_s) {
            return Some(self.refuse(
                reason::VALID_BEFORE,
                "the authorization has expired, or expires within 6 seconds",
            ));
        }
        if signed.validAfter > U256::from(now_s) {
            return Some(self.refuse(reason::VALID_AFTER, "the authorization is not valid yet"));
        }
        if signed.value != self.amount {
            let reason = if self.version.is_v1() {
                reason::VALUE_V1
            } else {
                reason::VALUE
            };
            return Some(self.refuse(reason, "authorization.value is not the required amount"));
        }
        None
    }

    /// A refusal in this payer's name.
    #[must_use]
    pub(super) fn refuse(&self, reason: &str, message: &str) -> Refusal {
        Refusal::new(reason, self.payer.clone()).with_message(message)
    }

    /// What the payer signs (EIP-712 over the token's domain).
    #[must_use]
    pub(super) fn digest(&self) -> B256 {
        let domain = Eip712Domain::new(
            Some(self.token_name.clone().into()),
            Some(self.token_version.clone().into()),
            Some(U256::from(self.chain_id)),
            Some(self.asset),
            None,
        );
        self.authorization.eip712_signing_hash(&domain)
    }

    /// The transfer's calldata: the v, r, s overload for 65 bytes of signature, else the overload with bytes.
    pub(super) fn calldata(&self, signature: &[u8]) -> Vec<u8> {
        let TransferWithAuthorization {
            from,
            to,
            value,
            validAfter,
            validBefore,
            nonce,
        } = self.authorization.clone();
        match signature::split(signature) {
            Some((v, r, s)) => AuthorizedToken::transferWithAuthorization_0Call {
                from,
                to,
                value,
                validAfter,
                validBefore,
                nonce,
                v,
                r,
                s,
            }
            .abi_encode(),
            None => self.calldata_with_bytes(signature),
        }
    }

    /// The overload with bytes, which a wallet's signature of any length needs.
    pub(super) fn calldata_with_bytes(&self, signature: &[u8]) -> Vec<u8> {
        let signed = &self.authorization;
        AuthorizedToken::transferWithAuthorization_1Call {
            from: signed.from,
            to: signed.to,
            value: signed.value,
            validAfter: signed.validAfter,
            validBefore: signed.validBefore,
            nonce: signed.nonce,
            signature: Bytes::copy_from_slice(signature),
        }
        .abi_encode()
    }
}

/// The payload's `authorization`, if it is an object; an error when the requirements want another way of moving the
/// asset. Protocol v1 knows only this one way.
pub(super) fn eip3009_authorization(
    request: &PaymentRequest,
) -> Result<Option<&Map<String, Value>>, &'static str> {
    let method = members::present(&request.requirements.extra, "assetTransferMethod");
    if !request.version.is_v1() && method.is_some_and(|method| method.as_str() != Some("eip3009")) {
        return Err("extra.assetTransferMethod and the payload differ");
    }
    Ok(request.payload.get("authorization").and_then(Value::as_object))
}

/// `authorization.from` as sent when it is an address, else empty.
pub(super) fn payer_as_sent(request: &PaymentRequest) -> String {
    request
        .payload
        .get("authorization")
        .and_then(|authorization| authorization.get("from"))
        .and_then(Value::as_str)
        .filter(|from| text::address(from).is_some())
        .unwrap_or_default()
        .to_owned()
}

pub(crate) fn decode_authorization(
    members: &Map<String, Value>,
) -> Result<TransferWithAuthorization, &'static str> {
    Ok(TransferWithAuthorization {
        from: members::address(members, "from").ok_or("authorization.from must be a 20-byte hex address")?,
        to: members::address(members, "to").ok_or("authorization.to must be a 20-byte hex address")?,
        value: members::number(members, "value")
            .ok_or("authorization.value must be a decimal string in atomic units")?,
        validAfter: members::number(members, "validAfter")
            .ok_or("authorization.validAfter must be a decimal string of seconds")?,
        validBefore: members::number(members, "validBefore")
            .ok_or("authorization.validBefore must be a decimal string of seconds")?,
        nonce: members::word(members, "nonce").ok_or("authorization.nonce must be 32 bytes of hex")?,
    })
}
