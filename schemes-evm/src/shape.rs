//! What a well-formed answer looks like. An answer of another shape says nothing about the chain, only about its node:
//! another node is asked before anything follows from it.

use sdk_plugin::Value;
use sdk_plugin::host::{RpcCall, RpcResult};

use crate::rpc;

/// No transaction uses more gas than this on any chain: an estimate above it is no estimate.
const MOST_GAS: u64 = 1 << 40;
/// No transaction uses less.
const LEAST_GAS: u64 = 21_000;

/// Whether a result has the shape that the method's specification gives it. Errors have a say of their own.
pub(crate) fn fits(call: &RpcCall, result: &RpcResult) -> bool {
    let RpcResult::Ok(value) = result else { return true };
    match call.method.as_str() {
        "eth_estimateGas" => rpc::as_u64(value).is_some_and(|gas| (LEAST_GAS..=MOST_GAS).contains(&gas)),
        "eth_blockNumber" | "eth_gasPrice" | "eth_getBalance" | "eth_getTransactionCount" => {
            is_quantity(value)
        }
        "eth_call" | "eth_getCode" => is_bytes(value),
        "eth_feeHistory" => is_history(value),
        "eth_getBlockByNumber" if names_the_newest(call) => is_head(value),
        // What may be missing, and what decides nothing by itself.
        _ => true,
    }
}

fn is_quantity(value: &Value) -> bool {
    rpc::as_u256(value).is_some()
}

fn is_bytes(value: &Value) -> bool {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits.is_some_and(|digits| digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_history(value: &Value) -> bool {
    let fees = value.get("baseFeePerGas");
    value.is_object()
        && fees.is_none_or(|fees| {
            fees.is_null() || fees.as_array().is_some_and(|fees| fees.iter().all(is_quantity))
        })
}

fn names_the_newest(call: &RpcCall) -> bool {
    call.params.get(0).and_then(Value::as_str) == Some("latest")
}

fn is_head(value: &Value) -> bool {
    let is = |name: &str, fits: fn(&Value) -> bool| value.get(name).is_some_and(fits);
    let base_fee = value.get("baseFeePerGas");
    is("number", is_quantity)
        && is("timestamp", is_quantity)
        && value.get("hash").is_none_or(is_bytes)
        && base_fee.is_none_or(|fee| fee.is_null() || is_quantity(fee))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_fit(method: &str, params: Value, result: Value) -> bool {
        let call = rpc::request(method, params);
        fits(&call, &RpcResult::Ok(result))
    }

    #[test]
    fn nonsense_is_no_answer_and_what_may_be_missing_is_one() {
        let head = json!({"number": "0x1", "timestamp": "0x2", "hash": "0xab", "baseFeePerGas": "0x7"});
        let with = |name: &str, value: Value| {
            let mut head = head.clone();
            head[name] = value;
            head
        };
        let nothing = json!([]);
        for (method, params, good) in [
            ("eth_estimateGas", &nothing, json!("0x5208")),
            ("eth_getTransactionCount", &nothing, json!("0x0")),
            ("eth_call", &nothing, json!("0x")),
            ("eth_feeHistory", &nothing, json!({"baseFeePerGas": ["0x1"]})),
            ("eth_feeHistory", &nothing, json!({})),
            ("eth_getBlockByNumber", &json!(["latest", false]), head.clone()),
            ("eth_getBlockByNumber", &json!(["0x5", false]), Value::Null),
            ("eth_getTransactionReceipt", &nothing, Value::Null),
        ] {
            assert!(is_fit(method, params.clone(), good.clone()), "{method} {good}");
        }
        for (method, params, bad) in [
            ("eth_estimateGas", &nothing, json!("0x0")),
            ("eth_estimateGas", &nothing, json!("0x1")),
            ("eth_estimateGas", &nothing, json!("0x8000000000000000")),
            ("eth_estimateGas", &nothing, Value::Null),
            ("eth_getTransactionCount", &nothing, Value::Null),
            ("eth_call", &nothing, Value::Null),
            ("eth_call", &nothing, json!("0xabc")),
            ("eth_getCode", &nothing, json!({})),
            ("eth_feeHistory", &nothing, Value::Null),
            ("eth_feeHistory", &nothing, json!({"baseFeePerGas": [null]})),
            ("eth_getBlockByNumber", &json!(["latest", false]), Value::Null),
            (
                "eth_getBlockByNumber",
                &json!(["latest", false]),
                with("hash", Value::Null),
            ),
            (
                "eth_getBlockByNumber",
                &json!(["latest", false]),
                with("baseFeePerGas", json!("7")),
            ),
        ] {
            assert!(!is_fit(method, params.clone(), bad.clone()), "{method} {bad}");
        }
    }
}
