//! What makes an EIP-3009 authorization unique. A pure function of the request.
//!
//! A claim key needs the asset, the payer and the nonce, and nothing else: what is malformed beside them is the business
//! of verify and plan, which come later and in order. Here it is only made comparable.

use alloy_primitives::keccak256;
use sdk_plugin::scheme::{Identified, Identity, Refusal};
use sdk_plugin::{PaymentRequest, Value};
use serde_json::{Map, json};

use super::payment::{self, Payment};
use super::reason;
use crate::{members, text};

/// Key, terms and digest of the request's authorization; or, where no key can be formed, the refusal that the checks of
/// verify would return first.
#[must_use]
pub(super) fn identify(request: &PaymentRequest) -> Identity {
    match identified(request) {
        Some(identified) => Identity::Identified(identified),
        None => Identity::Refused(
            Payment::decode(request)
                .err()
                .unwrap_or_else(|| Refusal::new(reason::INVALID_PAYLOAD, payment::payer_as_sent(request))),
        ),
    }
}

fn identified(request: &PaymentRequest) -> Option<Identified> {
    let authorization = payment::eip3009_authorization(request).ok()??;
    let asset = text::lower(text::address(&request.requirements.asset)?);
    let from = text::lower(members::address(authorization, "from")?);
    let nonce = format!("0x{}", hex::encode(members::word(authorization, "nonce")?));
    let valid_before = authorization.get("validBefore").and_then(text::number);
    Some(Identified {
        payer: payment::payer_as_sent(request),
        claim_key: format!("{asset}/{from}/{nonce}"),
        conflict_keys: Vec::new(),
        fingerprint: fingerprint(request, &asset),
        payload_digest: payload_digest(request, authorization, &asset, &from, &nonce),
        replay_reason: reason::NONCE_USED.into(),
        replayable_until_s: valid_before.and_then(text::seconds),
    })
}

/// The seller's terms in one canonical form. A JSON array, so that no member can run into the next.
fn fingerprint(request: &PaymentRequest, asset: &str) -> String {
    let terms = &request.requirements;
    let pay_to = text::address(&terms.pay_to).map_or_else(|| terms.pay_to.clone(), text::lower);
    json!([
        terms.scheme,
        terms.network,
        asset,
        pay_to,
        terms.amount,
        terms.extra.get("name"),
        version(&terms.extra),
    ])
    .to_string()
}

/// The domain's version as it is hashed; what is none stays as it was sent.
fn version(extra: &Map<String, Value>) -> Option<Value> {
    let read = members::domain_version(extra).map(Value::from);
    read.or_else(|| extra.get("version").cloned())
}

/// Hash over what the buyer signed and the buyer's signature: other spellings of one payload have one digest.
fn payload_digest(
    request: &PaymentRequest,
    authorization: &Map<String, Value>,
    asset: &str,
    from: &str,
    nonce: &str,
) -> String {
    let number = |name: &str| members::comparable_number(authorization, name);
    let canonical = json!([
        request.requirements.network,
        asset,
        from,
        members::comparable_address(authorization, "to"),
        number("value"),
        number("validAfter"),
        number("validBefore"),
        nonce,
        members::comparable_signature(&request.payload, "signature"),
    ]);
    keccak256(canonical.to_string()).to_string()
}
