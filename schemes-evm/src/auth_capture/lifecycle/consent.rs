//! Who consents to an operation: the payment's authorizer by its signature, or, where the authorizer is us, the tenant
//! to which the payment belongs: its receiver's, else the one who opened it (auth-capture-evm.md section 10).
//!
//! With a delegated operator no contract checks the merchant's consent: this check is the only gate.

use alloy_primitives::B256;
use sdk_plugin::fault::FaultKind;
use sdk_plugin::{Cx, Fault, PaymentRequest};

use super::super::authorizer::Operation;
use super::super::config::Config;
use super::super::reason::{Reason, Rejection};
use super::super::records;
use super::super::signed::Signed;
use super::super::terms::Terms;
use super::payload::{CloseOut, Payload};

/// What must still be read from the chain.
#[derive(Debug)]
pub(super) struct Consent {
    /// `None`: the tenant's identity replaces it.
    pub(super) operation: Option<Signed>,
    /// The same for giving back the rest.
    pub(super) close_out: Option<Signed>,
    /// The caller can't consent to giving back the rest in the requested way. It is reported after the verdict on the
    /// operation's own signature.
    pub(super) close_out_refused: Option<Rejection>,
}

impl Consent {
    pub(super) fn wanted(payload: &Payload, terms: &Terms, hash: B256, operation: &Operation) -> Self {
        let signed = |operation: &Operation, signature: &[u8]| {
            let digest = operation.digest(hash, terms.chain_id, terms.operator);
            Signed::new(terms.receiver_authorizer, digest, signature)
        };
        let (close_out, close_out_refused) = match &payload.close_out {
            None => (None, None),
            Some(CloseOut::Signed(signature)) => (Some(signed(&Operation::Void, signature)), None),
            Some(CloseOut::Requested) if payload.signature.is_none() => (None, None),
            Some(CloseOut::Requested) => {
                let rejection = Rejection::new(
                    Reason::VoidAuthorizerSignature,
                    "voidRemainder is for payments whose authorizer is this facilitator; send the authorizer's \
                     signature of a void as voidAuthorizerSignature instead",
                );
                (None, Some(rejection))
            }
        };
        Self {
            operation: payload
                .signature
                .as_deref()
                .map(|signature| signed(operation, signature)),
            close_out,
            close_out_refused,
        }
    }
}

/// Step 11: where no signature was sent, the authorizer must be us, and the caller the tenant to which the payment
/// belongs.
pub(super) async fn identity(
    cx: &Cx,
    request: &PaymentRequest,
    terms: &Terms,
    config: &Config,
    hash: B256,
) -> Result<Result<(), Rejection>, Fault> {
    if !config.is_our_authorizer(terms.receiver_authorizer) {
        return Ok(Err(Rejection::new(
            Reason::AuthorizerSignature,
            "payload.authorizerSignature is missing, and extra.receiverAuthorizer is not this facilitator's",
        )));
    }
    let unauthenticated = |message: &str| {
        let reason = if config.older_unauthenticated_reason {
            Reason::UnauthenticatedLifecycleRequest
        } else {
            Reason::UnauthenticatedAuthorizerRequest
        };
        Ok(Err(Rejection::new(reason, message)))
    };
    let Some(tenant) = &request.tenant else {
        return unauthenticated(
            "this facilitator authorizes for authenticated tenants only: send your API key, or the authorizer's signature",
        );
    };
    let found = match records::find(cx, &request.requirements.network, hash).await {
        Ok(found) => found,
        // A store that was not granted, or is down: callers can't be distinguished.
        Err(fault) if matches!(fault.kind, FaultKind::Denied | FaultKind::Unavailable) => {
            return Ok(Err(Rejection::new(
                Reason::DelegatedAuthUnavailable,
                "who opened this payment can't be looked up now",
            )));
        }
        Err(fault) => return Err(fault),
    };
    match found {
        Some(found)
            if found.record.owner(config) == Some(tenant.as_str())
                && found.record.receiver_authorizer == terms.receiver_authorizer =>
        {
            Ok(Ok(()))
        }
        Some(_) | None => unauthenticated("this payment does not belong to your account"),
    }
}
