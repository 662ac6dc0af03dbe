//! The members of a payment request: row H11 of the dispatch checklist.
//!
//! Amounts, addresses and payloads are read strictly; a malformed one is HTTP 200 with a reason, because the kind is known.

use sdk_plugin::request::Accepted;
use sdk_plugin::wire::reason;
use sdk_plugin::{Amount, ProtocolVersion, Requirements};
use serde_json::{Map, Value, json};

use super::lenient;
use crate::names::NetworkNames;

/// Largest integer that every JSON implementation reads exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

pub(super) type Object = Map<String, Value>;
/// A reason and a message.
pub(super) type Malformed = (&'static str, String);

/// Members whose position depends on the protocol version.
pub(super) struct VersionMembers {
    pub(super) accepted: Accepted,
    pub(super) resource: Option<Value>,
    pub(super) extensions: Object,
}

/// Reads the terms of the payment.
pub(super) fn terms(
    version: ProtocolVersion,
    requirements: &Object,
    scheme: &str,
    network: &str,
) -> Result<Requirements, Malformed> {
    let wrong = |message: String| (reason::INVALID_PAYMENT_REQUIREMENTS, message);
    let amount_name = match version {
        ProtocolVersion::V2 => "amount",
        ProtocolVersion::V1 | ProtocolVersion::Legacy0 => "maxAmountRequired",
    };
    let amount = member(requirements, amount_name).and_then(number).ok_or_else(|| {
        wrong(format!("paymentRequirements.{amount_name} must be a whole number of atomic units, as a decimal string"))
    })?;
    let max_timeout_seconds = member(requirements, "maxTimeoutSeconds")
        .and_then(|value| match lenient::integral(value) {
            Some(seconds) => Some(seconds),
            None => number(value).and_then(|seconds| u64::try_from(seconds.0).ok()),
        })
        .filter(|seconds| (1..=MAX_SAFE_INTEGER).contains(seconds))
        .ok_or_else(|| {
            wrong(
                "paymentRequirements.maxTimeoutSeconds must be a whole number of seconds above 0".to_owned(),
            )
        })?;
    let required = |name: &str| {
        text(requirements, name)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| wrong(format!("paymentRequirements.{name} must be a string")))
    };
    let extra = object(requirements, "extra", reason::INVALID_PAYMENT_REQUIREMENTS)?;
    Ok(Requirements {
        scheme: scheme.to_owned(),
        network: network.to_owned(),
        amount,
        asset: required("asset")?,
        pay_to: required("payTo")?,
        max_timeout_seconds,
        extra: extra.cloned().unwrap_or_default(),
    })
}

/// Reads the members of version 2.
pub(super) fn v2(payment: &mut Object) -> Result<VersionMembers, Malformed> {
    let accepted = take_object(payment, "accepted", reason::INVALID_PAYLOAD)?.ok_or_else(|| {
        (
            reason::INVALID_PAYLOAD,
            "paymentPayload.accepted must be an object".to_owned(),
        )
    })?;
    let string = |name: &str| text(&accepted, name).unwrap_or_default().to_owned();
    Ok(VersionMembers {
        accepted: Accepted {
            scheme: string("scheme"),
            network: string("network"),
            raw: accepted,
        },
        resource: lenient::resource(member(payment, "resource")),
        extensions: lenient::extensions(member(payment, "extensions")),
    })
}

/// Reads the members of version 1 and of the oldest form.
pub(super) fn v1(payment: &Object, requirements: &Object, names: &NetworkNames) -> VersionMembers {
    let scheme = text(payment, "scheme").unwrap_or_default().to_owned();
    let network = text(payment, "network").unwrap_or_default();
    let network = names.caip2(network).unwrap_or(network).to_owned();
    let mut resource = Map::new();
    for (from, to) in [
        ("resource", "url"),
        ("description", "description"),
        ("mimeType", "mimeType"),
    ] {
        // These are texts for people: a value of another type is dropped.
        if let Some(text) = text(requirements, from) {
            resource.insert(to.to_owned(), json!(text));
        }
    }
    VersionMembers {
        accepted: Accepted {
            scheme,
            network,
            raw: Map::new(),
        },
        resource: (!resource.is_empty()).then_some(Value::Object(resource)),
        extensions: Map::new(),
    }
}

/// The JSON type of a value, for messages.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The member of this name; `null` counts as absent.
pub(super) fn member<'o>(object: &'o Object, name: &str) -> Option<&'o Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// The member of this name, if it is a string.
pub(super) fn text<'o>(object: &'o Object, name: &str) -> Option<&'o str> {
    object.get(name).and_then(Value::as_str)
}

/// An optional member that must be an object.
pub(super) fn object<'o>(
    parent: &'o Object,
    name: &str,
    reason: &'static str,
) -> Result<Option<&'o Object>, Malformed> {
    match member(parent, name) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err((reason, format!("{name} must be an object"))),
    }
}

/// The same, taken out of its parent.
pub(super) fn take_object(
    parent: &mut Object,
    name: &str,
    reason: &'static str,
) -> Result<Option<Object>, Malformed> {
    match parent.get_mut(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(std::mem::take(object))),
        Some(_) => Err((reason, format!("{name} must be an object"))),
    }
}

/// A decimal or `0x` string below 2^256, or a JSON integer that no parser rounds.
fn number(value: &Value) -> Option<Amount> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number
            .as_u64()
            .filter(|number| *number <= MAX_SAFE_INTEGER)
            .map(Amount::from),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
