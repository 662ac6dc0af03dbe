//! Whether a result has the documented form. A result of another form shows nothing about the chain, only about its node:
//! another node is queried before anything follows from it.

use sdk_plugin::Value;
use sdk_plugin::host::{RpcCall, RpcResult};

use super::status;
use crate::rpc;

/// Whether a value has the form that the documentation of its method describes.
pub(crate) fn is_well_formed(call: &RpcCall, value: &Value) -> bool {
    let wanted = || call.params.get(0).and_then(Value::as_array).map_or(0, Vec::len);
    let answer = || RpcResult::Ok(value.clone());
    match call.method.as_str() {
        "getSlot" | "getBlockHeight" => value.as_u64().is_some_and(is_plausible),
        "getMultipleAccounts" => rpc::account_list(answer(), wanted()).is_ok(),
        "getSignatureStatuses" => status::are_statuses(answer(), wanted()),
        // What may be missing, and what has a reader that queries another node itself.
        _ => true,
    }
}

/// No chain has had more slots: that many take ten million years.
fn is_plausible(slot: u64) -> bool {
    slot < 1 << 50
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nonsense_is_no_answer_and_what_may_be_missing_is_one() {
        let at = |value: Value| json!({"context": {"slot": 7}, "value": value});
        let account =
            json!({"owner": "11111111111111111111111111111111", "lamports": 1, "data": ["", "base64"]});
        let slot = rpc::slot(rpc::CONFIRMED);
        let accounts = rpc::accounts(&[solana_address::Address::default()]);
        let statuses = rpc::request("getSignatureStatuses", json!([["x"], {}]));
        let transaction = rpc::request("getTransaction", json!(["x", {}]));
        for (call, good) in [
            (&slot, json!(7)),
            (&accounts, at(json!([null]))),
            (&accounts, at(json!([account]))),
            (&statuses, at(json!([null]))),
            (&transaction, json!(null)),
        ] {
            assert!(is_well_formed(call, &good), "{} {good}", call.method);
        }
        for (call, bad) in [
            (&slot, json!(null)),
            (&slot, json!("7")),
            (&slot, json!(u64::MAX)),
            (&accounts, json!(null)),
            (&accounts, at(json!([]))),
            (&accounts, at(json!([{"owner": "x"}]))),
            (&accounts, json!({"value": [null]})),
            (&statuses, json!(null)),
            (&statuses, at(json!(null))),
            (&statuses, at(json!([]))),
        ] {
            assert!(!is_well_formed(call, &bad), "{} {bad}", call.method);
        }
    }
}
