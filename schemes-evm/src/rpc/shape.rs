//! Whether a result has the documented form. A result of another form shows nothing about the chain, only about its node:
//! another node is queried before anything follows from it.

use alloy_primitives::U256;
use sdk_plugin::Value;
use sdk_plugin::host::RpcCall;

use crate::rpc;

/// No transaction uses more gas than this on any chain: an estimate above it is no estimate.
const MOST_GAS: u64 = 1 << 40;
/// No transaction uses less.
const LEAST_GAS: u64 = 21_000;
/// No call that moves tokens by a signature uses less: it checks the signature, writes down that the authorization is used, and
/// changes two balances.
pub(crate) const LEAST_CALL_GAS: u64 = 40_000;
/// No transaction pays this much for a unit of gas, in wei: a thousand coins.
const MOST_WEI: u128 = 1_000_000_000_000_000_000_000;

/// Whether a value has the form that the specification of its method describes.
pub(crate) fn is_well_formed(call: &RpcCall, value: &Value) -> bool {
    match call.method.as_str() {
        "eth_estimateGas" => {
            let has_data = call.params.pointer("/0/data").and_then(Value::as_str);
            let least = match has_data {
                Some(data) if data.len() > 2 => LEAST_CALL_GAS,
                Some(_) | None => LEAST_GAS,
            };
            rpc::as_u64(value).is_some_and(|gas| (least..=MOST_GAS).contains(&gas))
        }
        "eth_blockNumber" | "eth_getTransactionCount" => is_count(value),
        "eth_gasPrice" => is_price(value),
        "eth_getBalance" => is_quantity(value),
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

fn is_count(value: &Value) -> bool {
    rpc::as_count(value).is_some()
}

fn is_price(value: &Value) -> bool {
    rpc::as_u256(value).is_some_and(|wei| wei <= U256::from(MOST_WEI))
}

fn is_word(value: &Value) -> bool {
    rpc::as_word(value).is_some()
}

fn is_bytes(value: &Value) -> bool {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits.is_some_and(|digits| digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_history(value: &Value) -> bool {
    let fees = value.get("baseFeePerGas");
    value.is_object()
        && fees.is_none_or(|fees| {
            fees.is_null() || fees.as_array().is_some_and(|fees| fees.iter().all(is_price))
        })
}

fn names_the_newest(call: &RpcCall) -> bool {
    call.params.get(0).and_then(Value::as_str) == Some("latest")
}

fn is_head(value: &Value) -> bool {
    let is = |name: &str, fits: fn(&Value) -> bool| value.get(name).is_some_and(fits);
    let base_fee = value.get("baseFeePerGas");
    is("number", is_count)
        && is("timestamp", is_count)
        && value.get("hash").is_none_or(is_word)
        && base_fee.is_none_or(|fee| fee.is_null() || is_price(fee))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_fit(method: &str, params: Value, result: Value) -> bool {
        let call = rpc::request(method, params);
        is_well_formed(&call, &result)
    }

    #[test]
    fn nonsense_is_no_answer_and_what_may_be_missing_is_one() {
        let hash = format!("0x{}", "ab".repeat(32));
        let head = json!({"number": "0x1", "timestamp": "0x2", "hash": hash, "baseFeePerGas": "0x7"});
        let call = json!([{ "data": "0xe3ee160e" }, "latest"]);
        let absurd = json!(format!("0x1{}", "0".repeat(50)));
        let with = |name: &str, value: Value| {
            let mut head = head.clone();
            head[name] = value;
            head
        };
        let nothing = json!([]);
        for (method, params, good) in [
            ("eth_estimateGas", &nothing, json!("0x5208")),
            ("eth_estimateGas", &call, json!("0x9c40")),
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
            ("eth_estimateGas", &call, json!("0x7530")),
            ("eth_blockNumber", &nothing, json!("0x7fffffffffffffff")),
            ("eth_getTransactionCount", &nothing, json!("0x8000000000000000")),
            ("eth_gasPrice", &nothing, absurd.clone()),
            ("eth_feeHistory", &nothing, json!({"baseFeePerGas": [absurd]})),
            (
                "eth_getBlockByNumber",
                &json!(["latest", false]),
                with("baseFeePerGas", absurd.clone()),
            ),
            (
                "eth_getBlockByNumber",
                &json!(["latest", false]),
                with("number", json!("0xffffffffffffffff")),
            ),
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
