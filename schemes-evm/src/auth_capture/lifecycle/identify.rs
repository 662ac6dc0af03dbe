//! What makes a lifecycle call unique. A pure function of the request.
//!
//! The claim is the operation that an authorizer signs, never the signature's bytes; both balances are in it, so the
//! same operation on another state is another claim. The conflict key is the payment's: collections and lifecycle calls
//! of one payment are planned one after another, from the read of its balances to what proves the outcome.

use alloy_primitives::{Address, B256, keccak256};
use sdk_plugin::scheme::{Identified, Identity};
use sdk_plugin::{PaymentRequest, Value};
use serde_json::{Map, json};

use super::super::deployment::{V1_0, V1_1, V1_1_EARLIER};
use super::super::payment_info::EscrowId;
use super::super::reason::{Dialect, Reason, Rejection};
use super::super::terms;
use super::payload::{Action, CloseOut, Payload};
use crate::{members, signature, text};

/// The payer that a payload names, as sent; empty when it is not an address.
pub(super) fn payer_as_sent(request: &PaymentRequest) -> String {
    request
        .payload
        .get("paymentInfo")
        .and_then(|info| info.get("payer"))
        .and_then(Value::as_str)
        .filter(|payer| text::address(payer).is_some())
        .unwrap_or_default()
        .to_owned()
}

/// Only what has no payment hash has no claim.
#[must_use]
pub(super) fn identify(request: &PaymentRequest) -> Identity {
    match identified(request) {
        Ok(identified) => Identity::Identified(identified),
        Err(rejection) => Identity::Refused(rejection.refusal(Dialect::V1_1, &payer_as_sent(request))),
    }
}

fn identified(request: &PaymentRequest) -> Result<Identified, Rejection> {
    let payload = Payload::decode(&request.payload)?;
    let chain_id = match text::chain_id(&request.requirements.network) {
        Some(chain_id) => chain_id,
        None => terms::networks(request)?,
    };
    let escrow = escrow_as_sent(&request.requirements.extra)?;
    let hash = payload.info.hash(EscrowId { chain_id, escrow });
    Ok(Identified {
        payer: payer_as_sent(request),
        claim_key: claim_key(&payload, hash, chain_id, escrow).to_string(),
        conflict_keys: vec![hash.to_string()],
        fingerprint: fingerprint(request, &payload, escrow),
        payload_digest: payload_digest(&payload, hash),
        replay_reason: Reason::UnexpectedPaymentState.v1_1().into(),
        replayable_until_s: replayable_until_s(&payload),
    })
}

/// The escrow that the requirements name, served here or not.
fn escrow_as_sent(extra: &Map<String, Value>) -> Result<Address, Rejection> {
    let sent = match members::present(extra, "authCaptureEscrow") {
        None => return Ok(V1_1.escrow),
        Some(sent) => sent.as_str(),
    };
    match sent {
        Some("") => Some(V1_1.escrow),
        Some(text) => text::address(text),
        None => None,
    }
    .ok_or_else(|| {
        Rejection::new(
            Reason::Extra,
            "extra.authCaptureEscrow must be a 20-byte hex address",
        )
    })
}

/// The digest that is signed; for an unsigned operation, a name of our own. A refund's digest holds a collector that for other
/// than canonical escrows only the configuration knows, so there it is named by its members. What can't be an operation
/// at all gets a name too: the checks refuse it, in their order.
fn claim_key(payload: &Payload, hash: B256, chain_id: u64, escrow: Address) -> B256 {
    let is_signed = payload.signature.is_some();
    let named = |what: &str| keccak256(json!([what, hash, is_signed, digest_members(payload)]).to_string());
    let canonical = [V1_1, V1_0, V1_1_EARLIER]
        .into_iter()
        .find(|one| one.escrow == escrow);
    match (payload.action, payload.operation(&canonical.unwrap_or(V1_1))) {
        (Action::Refund, _) if canonical.is_none() => named("refund"),
        (_, None) => named("not an operation"),
        (_, Some(operation)) if is_signed => operation.digest(hash, chain_id, payload.info.operator),
        (_, Some(operation)) => operation.delegated_key(hash),
    }
}

/// The seller's terms in one canonical form. A JSON array, so that no member can run into the next.
fn fingerprint(request: &PaymentRequest, payload: &Payload, escrow: Address) -> String {
    let terms = &request.requirements;
    let spelled = |sent: Option<&str>| sent.and_then(text::address).map(text::lower);
    let of_extra = |name: &str| spelled(terms.extra.get(name).and_then(Value::as_str));
    json!([
        terms.scheme,
        terms.network,
        spelled(Some(&terms.asset)),
        spelled(Some(&terms.pay_to)),
        terms.amount,
        text::lower(escrow),
        of_extra("captureAuthorizer"),
        of_extra("receiverAuthorizer"),
        payload.action.name(),
    ])
    .to_string()
}

/// Hash over the requested operation and its signatures; other encodings of one payload have one digest.
fn payload_digest(payload: &Payload, hash: B256) -> String {
    let signed = |bytes: &[u8]| hex::encode(signature::canonical(bytes.to_vec()));
    let close_out = payload.close_out.as_ref().map(|close_out| match close_out {
        CloseOut::Signed(bytes) => json!(signed(bytes)),
        CloseOut::Requested => json!(true),
    });
    let canonical = json!([
        hash,
        digest_members(payload),
        payload.signature.as_deref().map(signed),
        close_out,
    ]);
    keccak256(canonical.to_string()).to_string()
}

fn digest_members(payload: &Payload) -> Value {
    json!([
        payload.action.name(),
        payload.amount.to_string(),
        payload.fee.ok(),
        payload.fee_receiver,
        payload.expected,
    ])
}

/// A capture and a refund end with their deadlines. A void has none.
fn replayable_until_s(payload: &Payload) -> Option<u64> {
    match payload.action {
        Action::Capture => Some(payload.info.authorizationExpiry.to()),
        Action::Void => None,
        Action::Refund => Some(payload.info.refundExpiry.to()),
    }
}
