//! What a send is made of: the plugin's params and the journal's bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sdk_plugin::host::SendEncoding;
use sdk_plugin::{Fault, HexBytes, Value};

/// The string in a send's params that stands for the journaled bytes.
pub const BYTES_PLACEHOLDER: &str = "$bytes";

/// What a send is made of.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'a> {
    pub method: &'a str,
    /// Holds the string [`BYTES_PLACEHOLDER`] exactly once, as a value.
    pub params: &'a Value,
    /// The journaled bytes.
    pub bytes: &'a HexBytes,
    pub encoding: SendEncoding,
}

/// The params with the bytes in the placeholder's place.
pub(super) fn insert_bytes(sending: Sending<'_>) -> Result<Value, Fault> {
    let text = match sending.encoding {
        SendEncoding::Hex => sending.bytes.to_string(),
        SendEncoding::Base64 => STANDARD.encode(sending.bytes),
    };
    let mut params = sending.params.clone();
    let found = replace(&mut params, &text);
    if found != 1 {
        return Err(Fault::invalid(format!(
            "the params of a send must hold the string {BYTES_PLACEHOLDER} exactly once, not {found} times"
        )));
    }
    Ok(params)
}

fn replace(value: &mut Value, bytes: &str) -> usize {
    match value {
        Value::String(text) if text == BYTES_PLACEHOLDER => {
            bytes.clone_into(text);
            1
        }
        Value::Array(items) => items.iter_mut().map(|item| replace(item, bytes)).sum(),
        Value::Object(members) => members.values_mut().map(|member| replace(member, bytes)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
