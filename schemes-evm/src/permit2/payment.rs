//! From a request, hostile in every member, to a payment by Permit2; and the checks that need no chain.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::PaymentRequest;
use sdk_plugin::Value;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::scheme::Refusal;
use serde_json::Map;

use super::approval::{self, Approval};
use super::permit::{MEMBER, Permit, Witness, payer_as_sent};
use super::sponsoring::{self, Objection, Sponsoring};
use super::{Proxy, reason};
use crate::signature::{self, Unwrapped};
use crate::{members, step, text};

/// A payment whose members are well formed. Whether it is valid is not checked yet.
#[derive(Debug, Clone)]
pub(crate) struct Payment {
    pub(crate) proxy: Proxy,
    /// `permit2Authorization.from` as sent: replies repeat the buyer's spelling.
    pub(crate) payer: String,
    pub(crate) chain_id: u64,
    pub(crate) asset: Address,
    pub(crate) pay_to: Address,
    /// Atomic units that the permit must be for.
    pub(crate) amount: U256,
    pub(crate) permit: Permit,
    pub(crate) witness: Witness,
    /// What the payer signs.
    pub(crate) digest: B256,
    /// `None`: an ERC-6492 wrapper that can't be opened, which is an invalid signature.
    pub(crate) signature: Option<Unwrapped>,
    pub(crate) sponsoring: Option<Result<Sponsoring, Objection>>,
    /// Not read beside [`Self::sponsoring`], which needs one transaction less.
    pub(crate) approval: Option<Result<Approval, Objection>>,
}

/// The payload's permit, if it has one. `null` counts as absent.
pub(crate) fn authorization(payload: &Map<String, Value>) -> Option<&Value> {
    members::present(payload, MEMBER)
}

impl Payment {
    /// The scheme, the network, and the form of every member.
    pub(crate) fn decode(request: &PaymentRequest, proxy: Proxy) -> Result<Self, Refusal> {
        let payer = payer_as_sent(&request.payload);
        let refuse = |reason: &str, message: &str| Refusal::new(reason, payer.clone()).with_message(message);
        let (terms, names) = (&request.requirements, proxy.names());
        let Some(authorization) = authorization(&request.payload) else {
            return Err(refuse(
                reason::UNSUPPORTED_PAYLOAD,
                "payload.permit2Authorization must be there",
            ));
        };
        let method = members::present(&terms.extra, "assetTransferMethod");
        if method.is_some_and(|method| method.as_str() != Some("permit2")) {
            return Err(refuse(
                reason::UNSUPPORTED_PAYLOAD,
                "extra.assetTransferMethod and the payload differ",
            ));
        }
        let scheme = proxy.scheme();
        if request.accepted.scheme != scheme || terms.scheme != scheme {
            return Err(refuse(names.scheme, &format!("both schemes must be {scheme:?}")));
        }
        if request.accepted.network != terms.network {
            return Err(refuse(
                names.network_mismatch,
                "the payload's network is not the requirements' network",
            ));
        }
        let malformed = |message: &str| refuse(reason::INVALID_PAYLOAD, message);
        let chain_id = text::chain_id(&terms.network)
            .ok_or_else(|| malformed("the network is not eip155:<chain id>"))?;
        let signed = authorization
            .as_object()
            .ok_or_else(|| malformed("payload.permit2Authorization must be an object"))?;
        let permit = Permit::read(signed).map_err(|message| malformed(&message))?;
        let witness = Witness::read(signed).map_err(|message| malformed(&message))?;
        let sent =
            members::signature(&request.payload, "signature").map_err(|message| malformed(&message))?;
        let address = |sent: &str, name: &str| {
            text::address(sent).ok_or_else(|| {
                refuse(
                    reason::INVALID_PAYMENT_REQUIREMENTS,
                    &format!("{name} must be a 20-byte hex address"),
                )
            })
        };
        let digest = permit.digest(proxy, &witness, chain_id);
        let sponsoring = Sponsoring::read(&request.extensions);
        let approval = match &sponsoring {
            Some(_) => None,
            None => Approval::read(&request.extensions),
        };
        Ok(Self {
            proxy,
            chain_id,
            asset: address(&terms.asset, "asset")?,
            pay_to: address(&terms.pay_to, "payTo")?,
            amount: terms.amount.0,
            signature: signature::unwrap(&sent),
            permit,
            witness,
            digest,
            sponsoring,
            approval,
            payer,
        })
    }

    /// The checks of the permit that need no chain, the first that fails. `now_s`: seconds since the epoch.
    #[must_use]
    pub(crate) fn refused_terms(&self, network: &NetworkView, now_s: u64) -> Option<Refusal> {
        let refuse = |reason, message| Some(self.refuse(reason, message));
        let (permit, witness) = (&self.permit, &self.witness);
        if permit.spender != self.proxy.address() {
            return refuse(reason::SPENDER, "the spender is not the proxy of this scheme");
        }
        if witness.to != self.pay_to {
            return refuse(reason::RECIPIENT, "witness.to is not payTo");
        }
        if self.proxy == Proxy::Upto && self.facilitator(network).is_none() {
            return refuse(
                reason::UPTO_FACILITATOR,
                "witness.facilitator is not an address of this facilitator; take it from extra.facilitatorAddress in \
                 /supported",
            );
        }
        if step::is_over(permit.deadline, now_s) {
            return refuse(
                reason::DEADLINE,
                "the permit has expired, or expires within 6 seconds",
            );
        }
        if witness.valid_after > U256::from(now_s) {
            return refuse(reason::NOT_YET_VALID, "the permit is not valid yet");
        }
        if permit.amount != self.amount {
            return refuse(reason::AMOUNT, "permitted.amount is not the required amount");
        }
        if permit.token != self.asset {
            return refuse(reason::TOKEN, "permitted.token is not the required asset");
        }
        // In the specified order this comes directly before the first use of the asset.
        let refused = step::listed(self.asset, network).err()?;
        Some(self.refuse(reason::INVALID_PAYMENT_REQUIREMENTS, &refused))
    }

    /// The checks of the token's own permit, which come after the signature in order. `now_s`: seconds since the epoch.
    pub(crate) fn refused_sponsoring(&self, now_s: u64) -> Option<Refusal> {
        let (reason, message) = match self.sponsoring.as_ref()? {
            Ok(sponsoring) => sponsoring.refused(&self.permit, now_s)?,
            Err(objection) => *objection,
        };
        Some(self.refuse_extension(sponsoring::EXTENSION, reason, message))
    }

    /// A missing allowance is the extension's fault where the request has a permit for it: the proxy continues without one that the
    /// token does not take.
    pub(crate) fn after_sponsoring(&self, refusal: Refusal) -> Refusal {
        if refusal.reason != reason::ALLOWANCE_REQUIRED || self.sponsoring.is_none() {
            return refusal;
        }
        let why = refusal.message.as_deref().unwrap_or_default();
        let message = format!(
            "the token did not take the permit of {}: check its signature and the token's nonce ({why})",
            sponsoring::EXTENSION
        );
        Refusal {
            extension: Some(sponsoring::EXTENSION.into()),
            ..refusal.with_message(message)
        }
    }

    /// The checks of the payer's own approval that need no chain, which come after the signature in order.
    pub(crate) fn refused_approval(&self) -> Option<Refusal> {
        let (reason, message) = match self.approval.as_ref()? {
            Ok(approval) => approval.refused(&self.permit)?,
            Err(objection) => *objection,
        };
        Some(self.refuse_extension(approval::EXTENSION, reason, message))
    }

    /// The host's spelling of our signer that the witness names, active or retained.
    pub(crate) fn facilitator<'a>(&self, network: &'a NetworkView) -> Option<&'a str> {
        step::signer_at(self.witness.facilitator?, network)
    }

    /// The same, because of an extension of the request.
    #[must_use]
    pub(crate) fn refuse_extension(&self, key: &str, reason: &str, message: &str) -> Refusal {
        Refusal {
            extension: Some(key.into()),
            ..self.refuse(reason, message)
        }
    }

    /// A refusal in this payer's name.
    #[must_use]
    pub(crate) fn refuse(&self, reason: &str, message: &str) -> Refusal {
        Refusal::new(reason, self.payer.clone()).with_message(message)
    }
}
