//! JSON-RPC 2.0 on the wire: calls to one HTTP body, and a node's bytes back to results in the order of the calls.
//!
//! Assumes that the bytes of a node are hostile: every id must occur exactly once. Anything else makes the whole answer
//! invalid, because an answer to another request must never decide about money.

use hyper::body::Bytes;
use sdk_plugin::host::{RpcCall, RpcError, RpcResult};
use sdk_plugin::{Fault, Value};
use serde::{Deserialize, Deserializer, Serialize};

/// Longest text of a node's error that a plugin receives, in characters.
const MAX_ERROR_CHARS: usize = 2_000;

#[derive(Serialize)]
struct WireCall<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a Value>,
}

#[derive(Deserialize)]
struct WireAnswer {
    id: u64,
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
    #[serde(default)]
    error: Option<RpcError>,
}

/// A refusal of a whole batch: an error without the ids of the calls.
#[derive(Deserialize)]
struct Refusal {
    error: RpcError,
}

/// Why a node's bytes are not an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// Not JSON, or not JSON-RPC.
    Shape,
    /// An id is missing, duplicate or unknown.
    Ids,
    /// The node refused the whole batch.
    Refused { code: i64 },
}

/// `null` is a result; only a missing member is `None`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// One call as an object, several as an array. Ids count up from `first_id`.
pub(super) fn encode(calls: &[RpcCall], first_id: u64) -> Result<Bytes, Fault> {
    let calls = calls
        .iter()
        .zip(first_id..)
        .map(|(call, id)| {
            let params = match &call.params {
                Value::Null => None,
                params @ (Value::Array(_) | Value::Object(_)) => Some(params),
                Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(Fault::invalid(format!(
                        "params of {} must be an array or an object",
                        call.method
                    )));
                }
            };
            Ok(WireCall {
                jsonrpc: "2.0",
                id,
                method: &call.method,
                params,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let body = match calls.as_slice() {
        [call] => serde_json::to_vec(call),
        calls => serde_json::to_vec(calls),
    };
    body.map(Bytes::from)
        .map_err(|error| Fault::internal(format!("can't encode an RPC request: {error}")))
}

/// Results in the order of the `count` calls that [`encode`] numbered from `first_id`.
pub(super) fn decode(bytes: &[u8], first_id: u64, count: usize) -> Result<Vec<RpcResult>, DecodeError> {
    let answers: Vec<WireAnswer> = if count == 1 {
        vec![serde_json::from_slice(bytes).map_err(|_| refusal(bytes))?]
    } else {
        serde_json::from_slice(bytes).map_err(|_| refusal(bytes))?
    };
    if answers.len() != count {
        return Err(DecodeError::Ids);
    }
    let mut results: Vec<Option<RpcResult>> = vec![None; count];
    for answer in answers {
        let slot = answer
            .id
            .checked_sub(first_id)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| results.get_mut(index))
            .ok_or(DecodeError::Ids)?;
        let result = match (answer.result, answer.error) {
            (Some(result), None) => RpcResult::Ok(result),
            // Some nodes send `"result": null` beside an error.
            (None | Some(Value::Null), Some(error)) => RpcResult::Error(error),
            (Some(_), Some(_)) | (None, None) => return Err(DecodeError::Shape),
        };
        if slot.replace(result).is_some() {
            return Err(DecodeError::Ids);
        }
    }
    results
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or(DecodeError::Ids)
}

fn refusal(bytes: &[u8]) -> DecodeError {
    match serde_json::from_slice::<Refusal>(bytes) {
        Ok(refusal) => DecodeError::Refused {
            code: refusal.error.code,
        },
        Err(_) => DecodeError::Shape,
    }
}

/// A node's error as plugins may see it: of bounded length, with `redact` applied to every text in it.
pub(super) fn redact_error(error: RpcError, redact: &dyn Fn(&str) -> String) -> RpcError {
    RpcError {
        code: error.code,
        message: redact(&error.message).chars().take(MAX_ERROR_CHARS).collect(),
        data: redact_value(error.data, redact),
    }
}

fn redact_value(value: Value, redact: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(redact(&text)),
        Value::Array(items) => items.into_iter().map(|item| redact_value(item, redact)).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (redact(&name), redact_value(value, redact)))
            .collect(),
        value @ (Value::Null | Value::Bool(_) | Value::Number(_)) => value,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn call(method: &str, params: Value) -> RpcCall {
        RpcCall {
            method: method.into(),
            params,
        }
    }

    fn error(code: i64, message: &str) -> RpcError {
        RpcError {
            code,
            message: message.into(),
            data: Value::Null,
        }
    }

    #[test]
    fn one_call_is_an_object_and_several_are_a_batch() {
        let one = encode(&[call("a", json!([1]))], 7).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&one).unwrap(),
            json!({"jsonrpc": "2.0", "id": 7, "method": "a", "params": [1]})
        );
        let two = encode(&[call("a", Value::Null), call("b", json!({}))], 7).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&two).unwrap(),
            json!([{"jsonrpc": "2.0", "id": 7, "method": "a"}, {"jsonrpc": "2.0", "id": 8, "method": "b", "params": {}}])
        );
        assert!(encode(&[call("a", json!("x"))], 1).is_err());
    }

    #[test]
    fn answers_are_matched_by_id() {
        let bytes = br#"[{"id":6,"error":{"code":3,"message":"no"}},{"id":5,"result":null,"jsonrpc":"2.0"}]"#;
        assert_eq!(
            decode(bytes, 5, 2),
            Ok(vec![RpcResult::Ok(Value::Null), RpcResult::Error(error(3, "no"))])
        );
    }

    #[test]
    fn anything_but_each_id_once_is_an_error() {
        for bytes in [
            r#"[]"#,
            r#"[{"id":5,"result":1}]"#,
            r#"[{"id":5,"result":1},{"id":5,"result":1}]"#,
            r#"[{"id":5,"result":1},{"id":7,"result":1}]"#,
            r#"[{"id":4,"result":1},{"id":5,"result":1}]"#,
            r#"[{"id":5,"result":1},{"id":6,"result":1},{"id":7,"result":1}]"#,
        ] {
            assert_eq!(decode(bytes.as_bytes(), 5, 2), Err(DecodeError::Ids), "{bytes}");
        }
        for bytes in [
            "",
            "null",
            "<html>",
            r#"{"id":5}"#,
            r#"{"id":"5","result":1}"#,
            r#"{"id":5.0,"result":1}"#,
            r#"{"id":-5,"result":1}"#,
            r#"{"id":5,"result":1,"result":2}"#,
            r#"{"id":5,"result":1,"error":{"code":1,"message":""}}"#,
            r#"{"id":5,"error":{"message":"no code"}}"#,
            r#"{"id":5,"error":"text"}"#,
            r#"{"id":5,"result":1} {}"#,
        ] {
            assert_eq!(decode(bytes.as_bytes(), 5, 1), Err(DecodeError::Shape), "{bytes}");
        }
        assert_eq!(
            decode(
                br#"{"id":null,"error":{"code":-32600,"message":"no batches"}}"#,
                5,
                2
            ),
            Err(DecodeError::Refused { code: -32600 })
        );
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>, first_id: u64, count in 1usize..5) {
            prop_assert!(decode(&bytes, first_id, count).is_err());
        }

        #[test]
        fn any_order_is_restored(order in Just([0u64, 1, 2, 3]).prop_shuffle(), first_id in 0u64..1 << 52) {
            let answers: Vec<Value> = order.iter().map(|n| json!({"id": first_id + n, "result": n})).collect();
            let results = decode(Value::from(answers).to_string().as_bytes(), first_id, 4).unwrap();
            prop_assert_eq!(results, (0..4).map(|n| RpcResult::Ok(json!(n))).collect::<Vec<_>>());
        }
    }
}
