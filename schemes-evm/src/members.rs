//! Members of a hostile JSON object, read strictly: of the right type and spelling, or absent.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::Value;
use serde_json::{Map, json};

use crate::{signature, text};

/// A 20-byte address.
#[must_use]
pub fn address(members: &Map<String, Value>, name: &str) -> Option<Address> {
    members.get(name).and_then(Value::as_str).and_then(text::address)
}

/// 32 bytes: `0x` and 64 hex digits.
#[must_use]
pub fn word(members: &Map<String, Value>, name: &str) -> Option<B256> {
    members.get(name).and_then(Value::as_str).and_then(text::word)
}

/// A number as [`text::number`] takes it.
#[must_use]
pub fn number(members: &Map<String, Value>, name: &str) -> Option<U256> {
    members.get(name).and_then(text::number)
}

/// A string that is not empty.
#[must_use]
pub fn non_empty<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// The version of a token's signing domain: a string, or an integer as sellers write it, which is its decimal string.
#[must_use]
pub fn domain_version(members: &Map<String, Value>) -> Option<String> {
    match members.get("version") {
        Some(Value::Number(number)) => number.as_u64().map(|number| number.to_string()),
        _ => non_empty(members, "version").map(str::to_owned),
    }
}

/// A member that is there; `null` counts as absent.
#[must_use]
pub fn present<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

/// The bytes of a signature as sent, within the limits for bare and for wrapped (ERC-6492) ones.
///
/// # Errors
/// A sentence that names the member.
pub fn signature(members: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let bytes = members
        .get(name)
        .and_then(Value::as_str)
        .and_then(|text| text::bytes(text, signature::MAX_WRAPPER_BYTES))
        .ok_or_else(|| format!("payload.{name} must be hex bytes of a reasonable length"))?;
    if bytes.len() > signature::MAX_SIGNATURE_BYTES && !signature::is_wrapped(&bytes) {
        return Err(format!(
            "payload.{name} is longer than {} bytes",
            signature::MAX_SIGNATURE_BYTES
        ));
    }
    Ok(bytes)
}

/// A number in one spelling, for digests; what is malformed stays as it was sent.
#[must_use]
pub fn comparable_number(members: &Map<String, Value>, name: &str) -> Value {
    number(members, name).map_or_else(|| malformed(members, name), |number| number.to_string().into())
}

/// An address in one spelling, for digests; what is malformed stays as it was sent.
#[must_use]
pub fn comparable_address(members: &Map<String, Value>, name: &str) -> Value {
    address(members, name).map_or_else(|| malformed(members, name), |address| text::lower(address).into())
}

/// A signature in one spelling, for digests; what is malformed stays as it was sent.
#[must_use]
pub fn comparable_signature(members: &Map<String, Value>, name: &str) -> Value {
    signature(members, name).map_or_else(
        |_| malformed(members, name),
        |bytes| hex::encode(signature::canonical(bytes)).into(),
    )
}

fn malformed(members: &Map<String, Value>, name: &str) -> Value {
    json!({ "malformed": members.get(name) })
}
