//! Hashes by which requests are known, whatever their plugin says of them. Pure.

use base::calls::aside::{Recorded, Subject};
use journal::SettlementRow;
use sdk_plugin::{PaymentRequest, Purpose};
use sha2::{Digest, Sha256};

use crate::registry::Kind;

/// Hash over everything a scheme may identify by, the tenant included.
pub(crate) fn request_hash(request: &PaymentRequest) -> String {
    as_text(request_digest(request))
}

fn request_digest(request: &PaymentRequest) -> Option<[u8; 32]> {
    let stripped = PaymentRequest {
        network_as_sent: String::new(),
        purpose: Purpose::Settle,
        idempotency_key: None,
        remaining_ms: 0,
        wants_reserves: false,
        ..request.clone()
    };
    digest(serde_json::to_vec(&stripped))
}

/// `None`: never for a request, because it came in as JSON, so that it can be written as JSON.
fn digest(json: serde_json::Result<Vec<u8>>) -> Option<[u8; 32]> {
    Some(Sha256::digest(json.ok()?).into())
}

/// In hex. The empty text matches nothing.
fn as_text(digest: Option<[u8; 32]>) -> String {
    digest.map(hex::encode).unwrap_or_default()
}

/// Hash over what authorizes a payment, whatever its plugin says of it: scheme, network and payload, and the requirements where
/// the payload alone is no authorization. Empty for what no caller presents as a payment: a job, and an operation by a route.
pub(crate) fn payload_hash(kind: &Kind, request: &PaymentRequest) -> String {
    match request.purpose {
        Purpose::Settle => as_text(authorization_digest(kind, request)),
        Purpose::Verify | Purpose::Route | Purpose::Job => String::new(),
    }
}

fn authorization_digest(kind: &Kind, request: &PaymentRequest) -> Option<[u8; 32]> {
    let requirements =
        (!kind.payload_authorizes || request.payload.is_empty()).then_some(&request.requirements);
    // The members of an object are in the order of their names, so that one payload has one text.
    let presented = (&kind.scheme, kind.network.id(), &request.payload, requirements);
    digest(serde_json::to_vec(&presented))
}

/// What a call with this request is about. It is equal for a verify, a settle and what is recorded of that.
pub(crate) fn subject_of(kind: &Kind, request: &PaymentRequest) -> Option<Subject> {
    let digest = match request.purpose {
        Purpose::Verify | Purpose::Settle => authorization_digest(kind, request)?,
        Purpose::Route | Purpose::Job => request_digest(request)?,
    };
    Some(Subject {
        digest,
        scheme: kind.scheme.clone(),
        recorded: None,
    })
}

/// What a call with a recorded settlement is about. `None`: the row has no hash, as those of old versions.
pub(crate) fn subject_of_row(row: &SettlementRow) -> Option<Subject> {
    let hash = if row.payload.is_empty() {
        &row.request
    } else {
        &row.payload
    };
    let mut digest = [0; 32];
    hex::decode_to_slice(hash, &mut digest).ok()?;
    Some(Subject {
        digest,
        scheme: row.scheme.clone(),
        recorded: Some(Recorded {
            settlement: row.id,
            claim: row.claim.clone(),
        }),
    })
}
