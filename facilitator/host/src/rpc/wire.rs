//! JSON-RPC 2.0 on the wire: calls to one HTTP body, and a node's bytes back to answers in the calls' order.
//!
//! The bytes that come back are hostile: every id must be there exactly once, and anything else makes the whole answer
//! garbage, because an answer to somebody else's question must never decide about money.

use hyper::body::Bytes;
use sdk_plugin::host::{RpcCall, RpcError, RpcResult};
use sdk_plugin::{Fault, Value};
use serde::{Deserialize, Deserializer, Serialize};

/// Longest text of a node's error that is passed on.
const MAX_ERROR_CHARS: usize = 2_000;

#[derive(Serialize)]
struct Question<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a Value>,
}

#[derive(Deserialize)]
struct Answer {
    id: u64,
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
    #[serde(default)]
    error: Option<RpcError>,
}

/// A whole-batch refusal: an error without the ids of what was asked.
#[derive(Deserialize)]
struct Refusal {
    error: RpcError,
}

/// Why a node's bytes are not an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Garbage {
    /// Not JSON, or not of JSON-RPC's shape.
    Shape,
    /// An id is missing, twice there, or was never asked for.
    Ids,
    /// The node refused to look at the batch.
    Refused { code: i64 },
}

/// `null` is a result; only a missing member is none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// One call as a lone object, several as one batch. Ids count up from `first_id`.
pub(super) fn encode(calls: &[RpcCall], first_id: u64) -> Result<Bytes, Fault> {
    let questions = calls
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
            Ok(Question {
                jsonrpc: "2.0",
                id,
                method: &call.method,
                params,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let body = match questions.as_slice() {
        [question] => serde_json::to_vec(question),
        questions => serde_json::to_vec(questions),
    };
    body.map(Bytes::from)
        .map_err(|error| Fault::internal(format!("can't encode an RPC request: {error}")))
}

/// Answers in the order of the `count` calls that [`encode`] numbered from `first_id`.
pub(super) fn decode(bytes: &[u8], first_id: u64, count: usize) -> Result<Vec<RpcResult>, Garbage> {
    let answers: Vec<Answer> = if count == 1 {
        vec![serde_json::from_slice(bytes).map_err(|_| refusal(bytes))?]
    } else {
        serde_json::from_slice(bytes).map_err(|_| refusal(bytes))?
    };
    if answers.len() != count {
        return Err(Garbage::Ids);
    }
    let mut results: Vec<Option<RpcResult>> = vec![None; count];
    for answer in answers {
        let place = answer
            .id
            .checked_sub(first_id)
            .and_then(|place| usize::try_from(place).ok())
            .and_then(|place| results.get_mut(place))
            .ok_or(Garbage::Ids)?;
        let result = match (answer.result, answer.error) {
            (Some(result), None) => RpcResult::Ok(result),
            // Some nodes send `"result": null` beside an error.
            (None | Some(Value::Null), Some(error)) => RpcResult::Error(error),
            (Some(_), Some(_)) | (None, None) => return Err(Garbage::Shape),
        };
        if place.replace(result).is_some() {
            return Err(Garbage::Ids);
        }
    }
    results
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or(Garbage::Ids)
}

fn refusal(bytes: &[u8]) -> Garbage {
    match serde_json::from_slice::<Refusal>(bytes) {
        Ok(refusal) => Garbage::Refused {
            code: refusal.error.code,
        },
        Err(_) => Garbage::Shape,
    }
}

/// Parts of texts by which nodes refuse a question for its size: a range of blocks, the number of results, the gas of a
/// transaction. They overlap with the texts of rate limits, so they come first (exact-evm.md section 18).
const QUESTION_TOO_LARGE: &[&str] = &[
    "range",
    "requested blocks",
    "blocks distance",
    "limit the query",
    "query must be smaller",
    "query returned more than",
    "too many results",
    "max results",
    "logs over more",
    "paginat",
    "response size",
    "query timeout",
    "gas limit",
];

/// Whether an error says something about the node and not about the question, so that another node should be asked.
///
/// The text of an error can be a contract's own (a revert's reason), and so a buyer's: errors of execution are always
/// answers, whatever they say.
pub(super) fn is_unwell(error: &RpcError) -> bool {
    let text = error.message.to_ascii_lowercase();
    // 3 is a revert's code (EIP-1474's successors).
    if error.code == 3 || text.contains("revert") {
        return false;
    }
    // -32016: over a rate limit, or too far behind for what was asked; 429: HTTP's code, copied by some proxies.
    if matches!(error.code, -32016 | 429) {
        return true;
    }
    // The plugin needs the text: it names what the node takes. Another node is asked first all the same.
    if QUESTION_TOO_LARGE.iter().any(|sign| text.contains(sign)) {
        return false;
    }
    // Limit exceeded (EIP-1474), with other families a node that is behind.
    if error.code == -32005 {
        return true;
    }
    // Codes of the server itself; anything else is the method's own.
    if !(-32099..=-32000).contains(&error.code) && error.code != -32603 {
        return false;
    }
    [
        "rate limit",
        "too many requests",
        "request limit",
        "limit exceeded",
        "capacity exceeded",
        "quota",
        "throttled",
        "node is unhealthy",
        "node is behind",
        "still syncing",
        "try again later",
        "temporarily unavailable",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

/// Methods that report what a node has, beside those whose names begin with `get` or `is`: no contract or program runs in them.
const REPORTS: &[&str] = &[
    "blockNumber",
    "chainId",
    "clientVersion",
    "feeHistory",
    "gasPrice",
    "maxPriorityFeePerGas",
    "syncing",
    "version",
];

/// Whether a method may run a contract or program. The names of methods that no list has say nothing: they may.
fn may_execute(method: &str) -> bool {
    let name = method.rsplit_once('_').map_or(method, |(_, name)| name);
    !(name.starts_with("get") || name.starts_with("is") || REPORTS.contains(&name))
}

/// Whether an error is the answer to the question, whichever node is asked: what a contract or program did, in its own words.
///
/// Every other error may be one node's alone: a method that it does not serve, a key that it does not accept, a defect of
/// its own, a form of the question that it does not know. Another node may answer.
fn is_execution(method: &str, error: &RpcError) -> bool {
    let text = error.message.to_ascii_lowercase();
    may_execute(method) && (error.code == 3 || text.contains("revert") || text.contains("simulation failed"))
}

/// How many of the answers to these calls another node might give better.
pub(super) fn doubtful(calls: &[RpcCall], results: &[RpcResult]) -> usize {
    let pairs = calls.iter().zip(results);
    pairs
        .filter(|(call, result)| match result {
            RpcResult::Ok(_) => false,
            RpcResult::Error(error) => !is_execution(&call.method, error),
        })
        .count()
}

/// Whether a node says that it does not serve the method: -32601 of JSON-RPC, -32604 of Besu for a method that is off.
pub(super) fn lacks_method(result: &RpcResult) -> bool {
    matches!(result, RpcResult::Error(error) if matches!(error.code, -32601 | -32604))
}

/// A node's error as plugins may see it: of bounded length, `redact` applied to every text in it.
pub(super) fn tidy(error: RpcError, redact: &dyn Fn(&str) -> String) -> RpcError {
    RpcError {
        code: error.code,
        message: redact(&error.message).chars().take(MAX_ERROR_CHARS).collect(),
        data: tidy_value(error.data, redact),
    }
}

fn tidy_value(value: Value, redact: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(redact(&text)),
        Value::Array(items) => items.into_iter().map(|item| tidy_value(item, redact)).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (redact(&name), tidy_value(value, redact)))
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
    fn a_lone_call_is_an_object_and_several_are_a_batch() {
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
    fn anything_but_each_id_once_is_garbage() {
        for bytes in [
            r#"[]"#,
            r#"[{"id":5,"result":1}]"#,
            r#"[{"id":5,"result":1},{"id":5,"result":1}]"#,
            r#"[{"id":5,"result":1},{"id":7,"result":1}]"#,
            r#"[{"id":4,"result":1},{"id":5,"result":1}]"#,
            r#"[{"id":5,"result":1},{"id":6,"result":1},{"id":7,"result":1}]"#,
        ] {
            assert_eq!(decode(bytes.as_bytes(), 5, 2), Err(Garbage::Ids), "{bytes}");
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
            assert_eq!(decode(bytes.as_bytes(), 5, 1), Err(Garbage::Shape), "{bytes}");
        }
        assert_eq!(
            decode(
                br#"{"id":null,"error":{"code":-32600,"message":"no batches"}}"#,
                5,
                2
            ),
            Err(Garbage::Refused { code: -32600 })
        );
    }

    #[test]
    fn only_what_a_contract_did_is_not_asked_elsewhere() {
        let by = |method, code, text: &str| {
            let calls = [call("eth_chainId", Value::Null), call(method, Value::Null)];
            doubtful(
                &calls,
                &[RpcResult::Ok(json!(1)), RpcResult::Error(error(code, text))],
            )
        };
        let of = |code, text: &str| by("eth_call", code, text);
        for (code, text) in [
            (3, "execution reverted"),
            (-32000, "execution reverted: x"),
            (-32603, "VM Exception: revert"),
            (-32002, "Transaction simulation failed: Blockhash not found"),
        ] {
            assert_eq!(of(code, text), 0, "{text}");
            for method in ["eth_estimateGas", "debug_traceCall", "simulateTransaction", "a"] {
                assert_eq!(by(method, code, text), 0, "{method} {text}");
            }
            // Nothing runs in these: a node that says so is wrong.
            for method in [
                "eth_blockNumber",
                "eth_getTransactionReceipt",
                "eth_getLogs",
                "net_version",
                "getSlot",
                "getSignatureStatuses",
                "isBlockhashValid",
            ] {
                assert_eq!(by(method, code, text), 1, "{method} {text}");
            }
        }
        for (code, text) in [
            (-32601, "the method eth_call does not exist"),
            (-32000, "Unauthorized"),
            (-32603, "internal error"),
            (-32051, "no backend is left"),
            (-32602, "invalid argument 1: json: cannot unmarshal object"),
            (-32600, "up to a 10 block range"),
            // Of one block: the rest of the batch is an answer.
            (-32000, "header not found"),
            (-32000, "missing trie node"),
        ] {
            assert_eq!(of(code, text), 1, "{text}");
        }
    }

    #[test]
    fn a_buyers_revert_reason_never_makes_a_node_look_unwell() {
        for answer in [
            error(3, "execution reverted: rate limit"),
            error(-32000, "execution reverted: header not found"),
            error(-32000, "nonce too low"),
            error(-32005, "query returned more than 10000 results"),
            error(-32005, "Requested range exceeds maximum RPC range limit"),
            error(-32005, "exceed maximum block range: 10"),
            error(-32005, "query timeout exceeded"),
            error(-32005, "Transaction gas limit exceeds block gas limit"),
            error(-32000, "Block range limit exceeded."),
            error(-32602, "limit exceeded"),
        ] {
            assert!(!is_unwell(&answer), "{answer:?}");
        }
        for trouble in [
            error(-32005, "daily request count exceeded"),
            error(-32005, "limit exceeded"),
            error(-32005, "Node is behind by 42 slots"),
            error(-32016, "the range of this plan's rate limit"),
            error(-32603, "Too Many Requests"),
            error(429, ""),
        ] {
            assert!(is_unwell(&trouble), "{trouble:?}");
        }
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
