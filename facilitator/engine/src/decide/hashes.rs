//! Hashes by which requests are known, whatever their plugin says of them. Pure.

use base::calls::aside::{Recorded, Subject};
use journal::SettlementRow;
use sdk_plugin::{PaymentRequest, Purpose};
use sha2::{Digest, Sha256};

use crate::registry::Kind;

/// Hash over everything a scheme may identify by, the tenant included.
pub(crate) fn request_hash(request: &PaymentRequest) -> String {
    let stripped = PaymentRequest {
        network_as_sent: String::new(),
        purpose: Purpose::Settle,
        idempotency_key: None,
        remaining_ms: 0,
        wants_reserves: false,
        ..request.clone()
    };
    // A request came in as JSON, so it can be written as JSON. The empty text would match nothing.
    serde_json::to_vec(&stripped)
        .map(|text| hex::encode(Sha256::digest(text)))
        .unwrap_or_default()
}

/// Hash over what authorizes a payment, whatever its plugin says of it: scheme, network and payload, and the requirements where
/// the payload alone is no authorization. Empty for what no caller presents as a payment: a job, and an operation by a route.
pub(crate) fn payload_hash(kind: &Kind, request: &PaymentRequest) -> String {
    match request.purpose {
        Purpose::Settle => authorization_hash(kind, request),
        Purpose::Verify | Purpose::Route | Purpose::Job => String::new(),
    }
}

fn authorization_hash(kind: &Kind, request: &PaymentRequest) -> String {
    let requirements =
        (!kind.payload_authorizes || request.payload.is_empty()).then_some(&request.requirements);
    // The members of an object are in the order of their names, so that one payload has one text.
    serde_json::to_vec(&(&kind.scheme, kind.network.id(), &request.payload, requirements))
        .map(|text| hex::encode(Sha256::digest(text)))
        .unwrap_or_default()
}

/// What a call with this request is about. It is equal for a verify, a settle and what is recorded of that.
pub(crate) fn subject_of(kind: &Kind, request: &PaymentRequest) -> Option<Subject> {
    let hash = match request.purpose {
        Purpose::Verify | Purpose::Settle => authorization_hash(kind, request),
        Purpose::Route | Purpose::Job => request_hash(request),
    };
    subject(&hash, &kind.scheme, None)
}

/// What a call with a recorded settlement is about.
pub(crate) fn subject_of_row(row: &SettlementRow) -> Option<Subject> {
    let hash = if row.payload.is_empty() {
        &row.request
    } else {
        &row.payload
    };
    let recorded = Recorded {
        settlement: row.id,
        claim: row.claim.clone(),
    };
    subject(hash, &row.scheme, Some(recorded))
}

/// `None`: the hash is none, as in rows of old versions.
fn subject(hash: &str, scheme: &str, recorded: Option<Recorded>) -> Option<Subject> {
    let mut digest = [0; 32];
    hex::decode_to_slice(hash, &mut digest).ok()?;
    Some(Subject {
        digest,
        scheme: scheme.to_owned(),
        recorded,
    })
}
