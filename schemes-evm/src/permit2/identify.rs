//! What makes a payment by Permit2 unique: its owner and the nonce, for all tokens and both proxies. A pure function of the
//! request.
//!
//! What is malformed beside them is the business of verify and plan, which come later and in order. Here it is only made
//! comparable.

use alloy_primitives::keccak256;
use sdk_plugin::scheme::{Identified, Identity, Refusal};
use sdk_plugin::{PaymentRequest, Value};
use serde_json::{Map, json};

use super::payment::Payment;
use super::permit::{MEMBER, payer_as_sent};
use super::{Proxy, approval, reason, sponsoring};
use crate::{members, text};

/// Key, terms and digest; or, where no key can be formed, the refusal that the checks of verify would return first.
pub(crate) fn identify(request: &PaymentRequest, proxy: Proxy) -> Identity {
    match identified(request) {
        Some(identified) => Identity::Identified(identified),
        None => Identity::Refused(
            Payment::decode(request, proxy)
                .err()
                .unwrap_or_else(|| Refusal::new(reason::INVALID_PAYLOAD, payer_as_sent(&request.payload))),
        ),
    }
}

fn identified(request: &PaymentRequest) -> Option<Identified> {
    let signed = request.payload.get(MEMBER)?.as_object()?;
    let owner = text::lower(members::address(signed, "from")?);
    let nonce = members::number(signed, "nonce")?.to_string();
    let deadline = members::number(signed, "deadline");
    let approval = approval::canonical(&request.extensions);
    Some(Identified {
        payer: payer_as_sent(&request.payload),
        claim_key: format!("permit2/{owner}/{nonce}"),
        // A payer's approvals use up its next nonce, and one of them serves all of its later payments.
        conflict_keys: approval.iter().map(|_| format!("approval/{owner}")).collect(),
        fingerprint: fingerprint(request),
        payload_digest: payload_digest(request, signed, (&owner, &nonce), approval),
        replay_reason: reason::INVALID_NONCE.into(),
        replayable_until_s: deadline.and_then(text::seconds),
    })
}

/// The seller's terms in one canonical form. In a settlement of `upto` the amount is the actual one: another amount is another
/// payment (T-89).
fn fingerprint(request: &PaymentRequest) -> String {
    let terms = &request.requirements;
    let address = |sent: &str| text::address(sent).map_or_else(|| sent.to_owned(), text::lower);
    json!([
        terms.scheme,
        terms.network,
        request.accepted.scheme,
        request.accepted.network,
        address(&terms.asset),
        address(&terms.pay_to),
        terms.amount,
        members::present(&terms.extra, "assetTransferMethod"),
    ])
    .to_string()
}

/// Hash over what the buyer signed and the buyer's signatures: other spellings of one payload have one digest.
fn payload_digest(
    request: &PaymentRequest,
    signed: &Map<String, Value>,
    (owner, nonce): (&str, &str),
    approval: Option<Value>,
) -> String {
    let empty = Map::new();
    let object = |name: &str| signed.get(name).and_then(Value::as_object).unwrap_or(&empty);
    let (permitted, witness) = (object("permitted"), object("witness"));
    let mut canonical = vec![
        json!(request.requirements.network),
        json!(owner),
        members::comparable_address(permitted, "token"),
        members::comparable_number(permitted, "amount"),
        members::comparable_address(signed, "spender"),
        json!(nonce),
        members::comparable_number(signed, "deadline"),
        members::comparable_address(witness, "to"),
        members::comparable_address(witness, "facilitator"),
        members::comparable_number(witness, "validAfter"),
        members::comparable_signature(&request.payload, "signature"),
        sponsoring::canonical(&request.extensions),
    ];
    // Absent in most payloads, whose digests do not change with it.
    canonical.extend(approval);
    keccak256(Value::from(canonical).to_string()).to_string()
}
