//! What makes a collection unique: the hash of the payment, which the escrow collects once for ever. A pure function of the
//! request: neither what is served nor the caller changes a key.
//!
//! The hash needs its own members and no others. Malformed members beside them are checked by verify and
//! plan, which come later and in order; here it is only made comparable.

use alloy_primitives::aliases::U48;
use alloy_primitives::ruint::UintTryTo;
use alloy_primitives::{Address, B256, U256, keccak256};
use sdk_plugin::scheme::{Identified, Identity, Refusal};
use sdk_plugin::{PaymentRequest, Value};
use serde_json::{Map, json};

use super::payload::{Authorization, payer_as_sent, salt_nonce};
use super::payment::Payment;
use crate::auth_capture::abi::PaymentInfo;
use crate::auth_capture::config::Config;
use crate::auth_capture::deployment::{Method, V1_0, V1_1};
use crate::auth_capture::payment_info::{EscrowId, bound_salt};
use crate::auth_capture::reason::{Dialect, Reason};
use crate::auth_capture::terms;
use crate::{members, signature, text};

/// Key, terms and digest; or, where no key can be formed, the refusal that verify would return first.
pub(super) fn identify(request: &PaymentRequest, config: &Config) -> Identity {
    match identified(request) {
        Some(identified) => Identity::Identified(identified),
        None => Identity::Refused(Payment::read(request, config).err().unwrap_or_else(|| {
            Refusal::new(
                Reason::PayloadFormat.name(terms::spoken(request)),
                payer_as_sent(&request.payload),
            )
        })),
    }
}

fn identified(request: &PaymentRequest) -> Option<Identified> {
    let dialect = terms::spoken(request);
    let signed = Authorization::read(&request.payload).ok()?;
    let (hash, escrow) = payment_hash(request, dialect, &signed)?;
    let hash = hash.to_string();
    Some(Identified {
        payer: payer_as_sent(&request.payload),
        claim_key: hash.clone(),
        conflict_keys: vec![hash],
        fingerprint: fingerprint(request, dialect, escrow),
        payload_digest: payload_digest(request, &signed),
        replay_reason: Reason::PaymentAlreadyCollected.name(dialect).into(),
        replayable_until_s: text::seconds(signed.expiry),
    })
}

/// The escrow's key for the payment, and the escrow.
fn payment_hash(
    request: &PaymentRequest,
    dialect: Dialect,
    signed: &Authorization,
) -> Option<(B256, Address)> {
    let (requirements, payload) = (&request.requirements, &request.payload);
    let extra = &requirements.extra;
    let escrow = match (dialect, members::present(extra, "authCaptureEscrow")) {
        (Dialect::V1_0, _) => V1_0.escrow,
        (Dialect::V1_1, None) => V1_1.escrow,
        (Dialect::V1_1, Some(Value::String(sent))) if sent.is_empty() => V1_1.escrow,
        (Dialect::V1_1, Some(_)) => members::address(extra, "authCaptureEscrow")?,
    };
    let escrow_id = EscrowId {
        chain_id: text::chain_id(&requirements.network)?,
        escrow,
    };
    let bps = |name: &str| u16::try_from(terms::bps(extra, name).ok()?).ok();
    let seconds = |name: &str| U48::try_from(terms::seconds(extra, name).ok()?).ok();
    let salt = members::word(payload, "salt")?;
    let info = PaymentInfo {
        operator: members::address(extra, "captureAuthorizer")?,
        payer: signed.from,
        receiver: text::address(&requirements.pay_to)?,
        token: text::address(&requirements.asset)?,
        maxAmount: terms::accepted_amount(request).ok()?,
        // An expiry beyond 48 bits is refused in its turn; here it is only made comparable.
        preApprovalExpiry: signed.expiry.uint_try_to().unwrap_or(U48::MAX),
        authorizationExpiry: seconds("captureDeadline")?,
        refundExpiry: seconds("refundDeadline")?,
        minFeeBps: bps("minFeeBps")?,
        maxFeeBps: bps("maxFeeBps")?,
        feeReceiver: members::address(extra, "feeRecipient")?,
        salt: salt.into(),
    };
    let info = as_probed(info, request, dialect, escrow_id, signed);
    Some((info.hash(escrow_id), escrow))
}

/// A bound payment without `saltNonce` may have the commitment over its salt as the signed one (section 15): the nonce
/// shows, whether or not that is served.
fn as_probed(
    info: PaymentInfo,
    request: &PaymentRequest,
    dialect: Dialect,
    escrow_id: EscrowId,
    signed: &Authorization,
) -> PaymentInfo {
    let authorizer = members::address(&request.requirements.extra, "receiverAuthorizer");
    let (Dialect::V1_1, Some(authorizer), Ok(None)) = (dialect, authorizer, salt_nonce(&request.payload))
    else {
        return info;
    };
    let committed = PaymentInfo {
        salt: bound_salt(authorizer, Address::ZERO, info.salt),
        ..info.clone()
    };
    if U256::from_be_bytes(committed.signature_nonce(escrow_id).0) == signed.nonce {
        committed
    } else {
        info
    }
}

/// The seller's terms in one canonical form: a hold that is presented as a charge, or with another amount, has other terms.
/// Equal requests may share one plan, so everything that could make one fail and not the other is part of this or of the
/// digest.
fn fingerprint(request: &PaymentRequest, dialect: Dialect, escrow: Address) -> String {
    let (requirements, payload) = (&request.requirements, &request.payload);
    let extra = &requirements.extra;
    let address_of = |members: &Map<String, Value>, name: &str| {
        members::address(members, name).map_or_else(
            || members::present(members, name).cloned().unwrap_or_default(),
            |address| json!(text::lower(address)),
        )
    };
    let number_of = |name: &str| {
        members::number(payload, name).map_or_else(
            || members::present(payload, name).cloned().unwrap_or_default(),
            |number| json!(number.to_string()),
        )
    };
    let address = |sent: &str| text::address(sent).map_or_else(|| sent.to_owned(), text::lower);
    let own: Value = match dialect {
        Dialect::V1_0 => json!(["1.0", extra.get("autoCapture") == Some(&Value::Bool(true))]),
        Dialect::V1_1 => json!([
            "1.1",
            requirements.max_timeout_seconds,
            extra.get("autoCapture") == Some(&Value::Bool(true)),
            members::present(extra, "captureMode"),
            or(extra, "paymentFlow", "escrow"),
            or(extra, "operatorType", "delegated"),
            address_of(extra, "receiverAuthorizer"),
            address_of(extra, "policy"),
            // The completion of a charge.
            number_of("amount"),
            number_of("feeBps"),
            number_of("feeAmount"),
            address_of(payload, "feeReceiver"),
        ]),
    };
    json!([
        requirements.scheme,
        requirements.network,
        request.accepted.scheme,
        request.accepted.network,
        address(&requirements.asset),
        address(&requirements.pay_to),
        requirements.amount,
        text::lower(escrow),
        address_of(extra, "captureAuthorizer"),
        extra.get("captureDeadline"),
        extra.get("refundDeadline"),
        address_of(extra, "feeRecipient"),
        extra.get("minFeeBps"),
        extra.get("maxFeeBps"),
        or(extra, "assetTransferMethod", "eip3009"),
        extra.get("name"),
        extra.get("version"),
        own,
    ])
    .to_string()
}

/// A member, or its default when it is absent.
fn or(extra: &Map<String, Value>, name: &str, default: &str) -> Value {
    members::present(extra, name)
        .cloned()
        .unwrap_or_else(|| default.into())
}

/// Hash over what the buyer signed, the buyer's signature and the authorizer's: other spellings of one payload have one
/// digest.
fn payload_digest(request: &PaymentRequest, signed: &Authorization) -> String {
    let method = match signed.method {
        Method::Eip3009 => "eip3009",
        Method::Permit2 => "permit2",
    };
    let signature = |name: &str| {
        members::signature(&request.payload, name).map_or_else(
            |_| json!({ "malformed": request.payload.get(name) }),
            |bytes| json!(hex::encode(signature::canonical(bytes))),
        )
    };
    let salt_nonce = match salt_nonce(&request.payload) {
        Ok(salt_nonce) => json!(salt_nonce.map(|nonce| nonce.to_string())),
        Err(_) => json!({ "malformed": request.payload.get("saltNonce") }),
    };
    let canonical = json!([
        request.requirements.network,
        method,
        text::address(&request.requirements.asset).map(text::lower),
        text::lower(signed.from),
        text::lower(signed.collector),
        signed.token.map(text::lower),
        signed.amount.to_string(),
        signed.valid_after.to_string(),
        signed.expiry.to_string(),
        signed.nonce.to_string(),
        members::word(&request.payload, "salt").map(|salt| salt.to_string()),
        salt_nonce,
        signature("signature"),
        signature("authorizerSignature"),
    ]);
    keccak256(canonical.to_string()).to_string()
}
