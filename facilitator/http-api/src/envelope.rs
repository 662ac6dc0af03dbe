//! Replies in their form on the wire: rows H12 and H13 of the dispatch checklist.
//!
//! Protects old clients: members that must be strings are strings, optional members are left out and never `null`,
//! messages are short and free of secrets, and the network has the caller's spelling. The envelope never changes an
//! outcome, with one exception: `settlement_pending` without a hash is not valid, and becomes `unexpected_settle_error`.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sdk_plugin::wire::{SettleReply, SupportedReply, VerifyReply, reason};
use serde_json::{Map, Value, json};

use super::endpoint::PaymentEndpoint;
use super::normalise::{Refused, Shape};
use super::redaction::redact;
use crate::names::NetworkNames;

/// The extension of a settle reply with the id for look-ups.
const STATUS_EXTENSION: &str = "settlement-status";

/// What clients read of the result of an extension.
const RESULT_MEMBERS: [&str; 4] = ["status", "rejectedReason", "reason", "code"];
/// The longest header `EXTENSION-RESPONSES`: proxies refuse responses with much longer ones.
const MAX_RESULTS_BYTES: usize = 4_096;

/// What a reply repeats of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Echo {
    pub(super) shape: Shape,
    /// The caller's spelling.
    pub(super) network: String,
    /// CAIP-2.
    pub(super) caip2: String,
    /// Whether replies of the caller's protocol version have extensions: since version 2.
    pub(super) extensions: bool,
}

/// A response body and its outcome for metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) outcome: String,
    pub(super) text: String,
    /// The header `EXTENSION-RESPONSES`: what became of the request's extensions.
    pub(super) extension_results: Option<String>,
}

/// The body of `/verify`.
pub(super) fn verify(reply: VerifyReply, echo: &Echo) -> Body {
    let invalid_reason = (!reply.is_valid)
        .then(|| redacted_reason(reply.invalid_reason.as_deref()))
        .map(|reason| reason.unwrap_or_else(|| reason::UNEXPECTED_VERIFY_ERROR.to_owned()));
    let outcome = invalid_reason.clone().unwrap_or_else(|| "valid".to_owned());
    let (extensions, extension_results) = extensions(reply.extensions, echo);
    let body = match echo.shape {
        Shape::Current => without_nulls(json!(VerifyReply {
            is_valid: reply.is_valid,
            invalid_message: invalid_reason
                .as_ref()
                .and(reply.invalid_message)
                .map(|text| redact(&text)),
            invalid_reason,
            payer: reply.payer,
            extra: reply.extra,
            extensions,
        })),
        Shape::Legacy0 => {
            json!({ "isValid": reply.is_valid, "invalidReason": invalid_reason, "payer": reply.payer })
        }
    };
    Body {
        outcome,
        text: body.to_string(),
        extension_results,
    }
}

/// The body of `/settle`. It does not change a reply that passed it before.
pub(super) fn settle(reply: SettleReply, echo: &Echo) -> Body {
    let error_reason = (!reply.success)
        .then(|| redacted_reason(reply.error_reason.as_deref()))
        .map(|reason| match reason {
            Some(reason) if reason == reason::SETTLEMENT_PENDING && reply.transaction.is_empty() => {
                reason::UNEXPECTED_SETTLE_ERROR.to_owned()
            }
            Some(reason) => reason,
            None => reason::UNEXPECTED_SETTLE_ERROR.to_owned(),
        });
    let outcome = error_reason.clone().unwrap_or_else(|| "success".to_owned());
    let (extensions, extension_results) = extensions(reply.extensions, echo);
    let current = SettleReply {
        success: reply.success,
        error_message: error_reason
            .as_ref()
            .and(reply.error_message)
            .map(|text| redact(&text)),
        error_reason,
        payer: reply.payer,
        transaction: reply.transaction,
        network: echo.network.clone(),
        amount: reply
            .amount
            .filter(|amount| amount.bytes().all(|b| b.is_ascii_digit()) && !amount.is_empty()),
        extra: reply.extra,
        extensions,
    };
    let body = match echo.shape {
        Shape::Current => without_nulls(json!(current)),
        Shape::Legacy0 => legacy_settle(&current, &echo.caip2),
    };
    Body {
        outcome,
        text: body.to_string(),
        extension_results,
    }
}

/// What of a reply's extensions goes into its body, and what into the header `EXTENSION-RESPONSES`. Callers of version 1 get
/// neither the id for look-ups nor the header: their replies are exactly those of other facilitators.
fn extensions(
    extensions: Option<Map<String, Value>>,
    echo: &Echo,
) -> (Option<Map<String, Value>>, Option<String>) {
    let (mut members, mut results) = (Map::new(), Map::new());
    for (key, value) in extensions.unwrap_or_default() {
        match result(&value) {
            Some(result) => {
                results.insert(key, result);
            }
            None => {
                members.insert(key, value);
            }
        }
    }
    if !echo.extensions {
        members.remove(STATUS_EXTENSION);
        results.clear();
    }
    let header = (!results.is_empty()).then(|| STANDARD.encode(Value::Object(results).to_string()));
    (
        (!members.is_empty()).then_some(members),
        header.filter(|header| header.len() <= MAX_RESULTS_BYTES),
    )
}

/// What became of an extension of the request: the members that clients read.
fn result(value: &Value) -> Option<Value> {
    let sent = value.as_object()?;
    sent.get("status")?.as_str()?;
    let known = RESULT_MEMBERS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), json!(redact(sent.get(*name)?.as_str()?)))));
    Some(Value::Object(known.collect()))
}

fn redacted_reason(reason: Option<&str>) -> Option<String> {
    reason.map(redact).filter(|reason| !reason.is_empty())
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

/// The body when the service failed unexpectedly.
pub(super) fn unexpected(endpoint: PaymentEndpoint, echo: &Echo) -> Body {
    let reason = match endpoint {
        PaymentEndpoint::Verify => reason::UNEXPECTED_VERIFY_ERROR,
        PaymentEndpoint::Settle => reason::UNEXPECTED_SETTLE_ERROR,
    };
    negative(endpoint, echo, reason, None)
}

/// The body for a request that was not carried out: the verify or settle object, and `error`.
pub(super) fn refused(endpoint: PaymentEndpoint, refused: &Refused) -> Body {
    let echo = Echo {
        shape: refused.shape,
        network: refused.network.clone(),
        caip2: String::new(),
        extensions: false,
    };
    let message = redact(&refused.message);
    if refused.status == StatusCode::OK {
        return negative(endpoint, &echo, refused.reason, Some(message));
    }
    let mut body = negative(endpoint, &echo, refused.reason, None);
    if let Ok(Value::Object(mut object)) = serde_json::from_str(&body.text) {
        // In the oldest settle reply `error` already holds the reason.
        object.entry("error").or_insert_with(|| json!(message));
        body.text = Value::Object(object).to_string();
    }
    body
}

/// The reply that the payment is invalid, or was not settled.
fn negative(endpoint: PaymentEndpoint, echo: &Echo, reason: &str, message: Option<String>) -> Body {
    match endpoint {
        PaymentEndpoint::Verify => verify(
            VerifyReply {
                is_valid: false,
                invalid_reason: Some(reason.to_owned()),
                invalid_message: message,
                payer: String::new(),
                extra: None,
                extensions: None,
            },
            echo,
        ),
        PaymentEndpoint::Settle => settle(
            SettleReply {
                success: false,
                error_reason: Some(reason.to_owned()),
                error_message: message,
                payer: String::new(),
                transaction: String::new(),
                network: String::new(),
                amount: None,
                extra: None,
                extensions: None,
            },
            echo,
        ),
    }
}

/// The body of `/supported`: version 2 first, plain names for version 1, and no kind that old clients can't parse.
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
    without_nulls(json!(reply)).to_string()
}

/// Removes members that are `null`, at every depth.
fn without_nulls(mut value: Value) -> Value {
    drop_nulls(&mut value);
    value
}

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
    body.insert("error".to_owned(), json!(redact(message)));
    Value::Object(body).to_string()
}
