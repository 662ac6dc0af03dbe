//! What makes a payment unique: its message, independent of signatures and encodings. A pure function of the request.

use sdk_plugin::scheme::{Identified, Identity};
use sdk_plugin::{Cx, PaymentRequest};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{payment, reason};
use crate::token::{self, TransferChecked};
use crate::wire::Transaction;

/// Returns key, terms and digest of the request's transaction. If no key can be formed, returns the refusal that verify
/// would return first.
pub(super) fn identify(cx: &Cx, request: &PaymentRequest) -> Identity {
    match payment::transaction(request) {
        Ok(transaction) => Identity::Identified(identified(request, &transaction)),
        Err(rejection) => {
            // The current fee payers only decide which refusal this is. There is no key in either case.
            let first = payment::named_fee_payer(cx, request).err().unwrap_or(rejection);
            Identity::Refused(first.refusal(request.version))
        }
    }
}

fn identified(request: &PaymentRequest, transaction: &Transaction) -> Identified {
    Identified {
        payer: payer(transaction),
        claim_key: hex::encode(transaction.message_hash()),
        conflict_keys: Vec::new(),
        fingerprint: fingerprint(request),
        payload_digest: payload_digest(request, transaction),
        replay_reason: reason::DUPLICATE_SETTLEMENT.into(),
        // About 150 blocks. Without a clock this can't be stated as a time. Keys are kept much longer anyway.
        replayable_until_s: None,
    }
}

/// The authority of the first transfer; empty if no transfer can be read with the message's static accounts alone.
fn payer(transaction: &Transaction) -> String {
    let message = transaction.message();
    let instructions = token::instructions(message, &message.keys).unwrap_or_default();
    let transfer = instructions.iter().find_map(TransferChecked::read);
    transfer
        .map(|transfer| transfer.authority.to_string())
        .unwrap_or_default()
}

/// The seller's terms. A JSON array, so that no member can run into the next.
fn fingerprint(request: &PaymentRequest) -> String {
    let terms = &request.requirements;
    json!([
        terms.scheme,
        terms.network,
        terms.asset,
        terms.pay_to,
        terms.amount,
        terms.extra.get("feePayer"),
        terms.extra.get("memo"),
    ])
    .to_string()
}

/// Hash over the message and all signatures except the fee payer's.
fn payload_digest(request: &PaymentRequest, transaction: &Transaction) -> String {
    let mut hash = Sha256::new();
    hash.update(request.requirements.network.as_bytes());
    hash.update([0]);
    hash.update(transaction.message_hash());
    for signature in transaction.signatures.iter().skip(1) {
        hash.update(signature.as_ref());
    }
    hex::encode(hash.finalize())
}
