//! Replies as they go over the wire: rows H12 and H13 of the dispatch checklist.
//!
//! The last guard in front of old clients: members that must be strings are strings, optional members are left out
//! and never `null`, messages are short and clean, and the network is spelled as the caller spelled it. It never
//! changes an outcome, with one exception: `settlement_pending` without a hash is not a thing, and becomes
//! `unexpected_settle_error`.

use sdk_plugin::Purpose;
use sdk_plugin::wire::{SettleReply, SupportedReply, VerifyReply, reason};
use serde_json::{Map, Value, json};

use super::normalise::{Refused, Shape};
use super::text::clean;
use crate::names::NetworkNames;

/// How the caller asked, for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Echo {
    pub(super) shape: Shape,
    /// The caller's spelling.
    pub(super) network: String,
    /// CAIP-2.
    pub(super) caip2: String,
}

/// An outcome for metrics, and the bytes for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) outcome: String,
    pub(super) body: String,
}

/// The body of `/verify`.
pub(super) fn verify(reply: VerifyReply, echo: &Echo) -> Answer {
    let invalid_reason = (!reply.is_valid)
        .then(|| {
            reply
                .invalid_reason
                .as_deref()
                .map(clean)
                .filter(|reason| !reason.is_empty())
        })
        .map(|reason| reason.unwrap_or_else(|| reason::UNEXPECTED_VERIFY_ERROR.to_owned()));
    let outcome = invalid_reason.clone().unwrap_or_else(|| "valid".to_owned());
    let mut body = match echo.shape {
        Shape::Current => json!(VerifyReply {
            is_valid: reply.is_valid,
            invalid_message: invalid_reason
                .as_ref()
                .and(reply.invalid_message)
                .map(|text| clean(&text)),
            invalid_reason,
            payer: reply.payer,
            extra: reply.extra,
            extensions: reply.extensions,
        }),
        Shape::Legacy0 => {
            return Answer {
                body: json!({ "isValid": reply.is_valid, "invalidReason": invalid_reason, "payer": reply.payer })
                    .to_string(),
                outcome,
            };
        }
    };
    drop_nulls(&mut body);
    Answer {
        outcome,
        body: body.to_string(),
    }
}

/// The body of `/settle`. Applied to its own output, it changes nothing.
pub(super) fn settle(reply: SettleReply, echo: &Echo) -> Answer {
    let error_reason = (!reply.success)
        .then(|| {
            reply
                .error_reason
                .as_deref()
                .map(clean)
                .filter(|reason| !reason.is_empty())
        })
        .map(|reason| match reason {
            Some(reason) if reason == reason::SETTLEMENT_PENDING && reply.transaction.is_empty() => {
                reason::UNEXPECTED_SETTLE_ERROR.to_owned()
            }
            Some(reason) => reason,
            None => reason::UNEXPECTED_SETTLE_ERROR.to_owned(),
        });
    let outcome = error_reason.clone().unwrap_or_else(|| "success".to_owned());
    let current = SettleReply {
        success: reply.success,
        error_message: error_reason
            .as_ref()
            .and(reply.error_message)
            .map(|text| clean(&text)),
        error_reason,
        payer: reply.payer,
        transaction: reply.transaction,
        network: echo.network.clone(),
        amount: reply
            .amount
            .filter(|amount| amount.bytes().all(|b| b.is_ascii_digit()) && !amount.is_empty()),
        extra: reply.extra,
        extensions: reply.extensions,
    };
    let mut body = match echo.shape {
        Shape::Current => json!(current),
        Shape::Legacy0 => {
            return Answer {
                body: legacy_settle(&current, &echo.caip2).to_string(),
                outcome,
            };
        }
    };
    drop_nulls(&mut body);
    Answer {
        outcome,
        body: body.to_string(),
    }
}

fn legacy_settle(reply: &SettleReply, caip2: &str) -> Value {
    let chain = caip2.split_once(':').map_or(caip2, |(_, reference)| reference);
    let mut body = json!({
        "success": reply.success,
        "error": reply.error_reason,
        "txHash": reply.success.then_some(&reply.transaction),
        "networkId": reply.success.then_some(chain),
        "transaction": reply.transaction,
        "network": reply.network,
        "payer": reply.payer,
    });
    if let (Some(body), Some(reason)) = (body.as_object_mut(), &reply.error_reason) {
        body.insert("errorReason".to_owned(), json!(reason));
    }
    body
}

/// A request that was not served: the verify or settle object, and `error`.
pub(super) fn refused(purpose: Purpose, refused: &Refused) -> Answer {
    let echo = Echo {
        shape: refused.shape,
        network: refused.network.clone(),
        caip2: String::new(),
    };
    let message = clean(&refused.message);
    let decided = refused.status == 200;
    let mut answer = match purpose {
        Purpose::Verify => verify(
            VerifyReply {
                is_valid: false,
                invalid_reason: Some(refused.reason.to_owned()),
                invalid_message: decided.then(|| message.clone()),
                payer: String::new(),
                extra: None,
                extensions: None,
            },
            &echo,
        ),
        Purpose::Settle | Purpose::Job | Purpose::Route => settle(
            SettleReply {
                success: false,
                error_reason: Some(refused.reason.to_owned()),
                error_message: decided.then(|| message.clone()),
                payer: String::new(),
                transaction: String::new(),
                network: String::new(),
                amount: None,
                extra: None,
                extensions: None,
            },
            &echo,
        ),
    };
    if !decided && let Ok(Value::Object(mut body)) = serde_json::from_str(&answer.body) {
        // The oldest settle reply has an `error` of its own: there it is the reason.
        body.entry("error").or_insert_with(|| json!(message));
        answer.body = Value::Object(body).to_string();
    }
    answer
}

/// The body of `/supported`: version 2 first, plain names for version 1, nothing that breaks a client's reading.
pub(super) fn supported(mut reply: SupportedReply, names: &NetworkNames) -> String {
    for kind in &mut reply.kinds {
        if kind.x402_version == 1 && kind.network.contains(':') {
            kind.network = names.v1(&kind.network).unwrap_or_default().to_owned();
        }
    }
    reply
        .kinds
        .retain(|kind| !kind.scheme.is_empty() && !kind.network.is_empty() && !kind.network.contains('*'));
    reply
        .kinds
        .sort_by_key(|kind| std::cmp::Reverse(kind.x402_version));
    let mut body = json!(reply);
    drop_nulls(&mut body);
    body.to_string()
}

/// Removes members that are `null`, at every depth.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `{"error": …}`, where neither the verify nor the settle object fits.
pub(super) fn error(message: &str) -> String {
    let mut body = Map::new();
    body.insert("error".to_owned(), json!(clean(message)));
    Value::Object(body).to_string()
}
