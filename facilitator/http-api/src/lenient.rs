//! Lenient reading of members that have no effect on money. Source: http-api.md, section 16.
//!
//! A value of the wrong type is dropped and never a reason to refuse a payment. Amounts, addresses, payloads and the
//! scheme's own `extra` are not read here.

use serde_json::{Map, Value, json};

/// UTF-8's byte order mark, which some editors and shells write at the start of a file.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The body without a leading byte order mark.
pub(super) fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(BOM).unwrap_or(body)
}

/// Reads `x402Version`: `2`, `2.0` or `"2"`. `None` for every other value.
pub(super) fn version(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => match text.as_str() {
            "1" => Some(1),
            "2" => Some(2),
            _ => None,
        },
        other => integral(other),
    }
}

/// Reads an integer, also when it is written as `60.0`. `None` for every other value.
pub(super) fn integral(value: &Value) -> Option<u64> {
    if let Some(whole) = value.as_u64() {
        return Some(whole);
    }
    let Value::Number(number) = value else {
        return None;
    };
    // The JSON library writes it with a point or an exponent. Its digits are parsed, so nothing is rounded here.
    let digits = number.to_string();
    digits.strip_suffix(".0")?.parse().ok()
}

/// Reads the resource of version 2: an object, or a string that is its `url`.
pub(super) fn resource(value: Option<&Value>) -> Option<Value> {
    match value? {
        Value::Object(resource) => Some(Value::Object(resource.clone())),
        Value::String(url) => Some(json!({ "url": url })),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

/// Reads the extensions of version 2: an object. Every other value counts as no extensions.
pub(super) fn extensions(value: Option<&Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(extensions)) => extensions.clone(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) | None => {
            Map::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_in_each_spelling_and_other_values_are_not() {
        for (value, want) in [
            (json!(2), Some(2)),
            (json!(2.0), Some(2)),
            (json!(0.0), Some(0)),
            (json!(60e0), Some(60)),
            (json!(9_007_199_254_740_991_u64), Some(9_007_199_254_740_991)),
            (json!(2.5), None),
            (json!(-0.0), None),
            (json!(-1), None),
            (json!(1e300), None),
            (json!("2"), None),
            (json!(true), None),
        ] {
            assert_eq!(integral(&value), want, "{value}");
        }
        for (value, want) in [
            (json!("1"), Some(1)),
            (json!("2"), Some(2)),
            (json!("2.0"), None),
            (json!(" 2"), None),
            (json!("02"), None),
            (json!("v2"), None),
        ] {
            assert_eq!(version(&value), want, "{value}");
        }
    }
}
