//! From a request, hostile in every member, to a transaction that its buyer has signed: the checks that both ways of
//! paying share (exact-svm.md section 2, 1 to 10), in order.

use sdk_plugin::{Cx, PaymentRequest, Value};
use solana_address::Address;

use super::config::Config;
use super::terms::{Rejection, Terms, fee_payers};
use super::{SCHEME, reason};
use crate::text;
use crate::wire::Transaction;

/// A transaction signed by all signers but the fee payer, which is one of ours.
#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub(super) terms: Terms,
    pub(super) transaction: Transaction,
}

impl Payment {
    pub(super) fn decode(cx: &Cx, request: &PaymentRequest, config: &Config) -> Result<Self, Rejection> {
        let fee_payer = named_fee_payer(cx, request)?;
        let transaction = transaction(request)?;
        let message = transaction.message();
        let limit = config
            .max_signatures
            .saturating_add(u8::from(config.smart_wallets.enabled && !request.version.is_v1()));
        let required = message.header.num_required_signatures;
        if required > limit {
            return Err(Rejection::too_many_signatures(required, limit));
        }
        if message.fee_payer() != fee_payer {
            return Err(Rejection::new(
                reason::FEE_PAYER_MISMATCH,
                "the transaction's first account is not the requirements' extra.feePayer",
            ));
        }
        if !transaction.others_signed() {
            return Err(Rejection::new(
                reason::SIGNATURE_INVALID,
                "a signature other than the fee payer's is missing or wrong",
            ));
        }
        Ok(Self {
            terms: Terms::read(cx, request, fee_payer),
            transaction,
        })
    }
}

/// Checks 1 to 4.
pub(super) fn named_fee_payer(cx: &Cx, request: &PaymentRequest) -> Result<Address, Rejection> {
    let terms = &request.requirements;
    if request.accepted.scheme != SCHEME || terms.scheme != SCHEME {
        return Err(Rejection::new(
            reason::UNSUPPORTED_SCHEME,
            "both schemes must be \"exact\"",
        ));
    }
    if request.accepted.network != terms.network {
        return Err(Rejection::new(
            reason::NETWORK_MISMATCH,
            "the payload's network is not the requirements' network",
        ));
    }
    let named = terms.extra.get("feePayer").and_then(Value::as_str);
    let named = named.filter(|text| !text.is_empty()).ok_or_else(|| {
        Rejection::new(
            reason::MISSING_FEE_PAYER,
            "extra.feePayer of the requirements must be one of the addresses that /supported names",
        )
    })?;
    text::address(named)
        .filter(|address| fee_payers(cx).contains(address))
        .ok_or_else(|| {
            Rejection::new(
                reason::FEE_PAYER_NOT_MANAGED,
                "extra.feePayer is not an address of this facilitator; take one that /supported names",
            )
        })
}

/// Checks 5 to 7. The version is judged before anything else of the bytes: what a newer format allows must not reach checks
/// that don't know it.
pub(super) fn transaction(request: &PaymentRequest) -> Result<Transaction, Rejection> {
    let undecodable = |message: String| Rejection::new(reason::UNDECODABLE, message);
    let bytes = request
        .payload
        .get("transaction")
        .and_then(Value::as_str)
        .and_then(text::transaction_bytes)
        .ok_or_else(|| undecodable("payload.transaction must be the base64 of 1 to 4096 bytes".into()))?;
    match Transaction::named_version(&bytes).map_err(|error| undecodable(error.to_string()))? {
        None | Some(0) => {}
        Some(version) => {
            return Err(Rejection::new(
                reason::UNSUPPORTED_VERSION,
                format!("unsupported transaction version {version}; accepted: legacy, 0"),
            ));
        }
    }
    let transaction = Transaction::decode(&bytes).map_err(|error| undecodable(error.to_string()))?;
    if request.version.is_v1() && !transaction.message().lookups.is_empty() {
        return Err(undecodable(
            "address look-up tables are not part of protocol v1".into(),
        ));
    }
    Ok(transaction)
}
