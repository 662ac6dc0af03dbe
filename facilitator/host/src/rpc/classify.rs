//! What a JSON-RPC error says: about the node, about the request, or about the contract that ran.
//!
//! Assumes that texts are hostile: a buyer chooses a revert reason, so no text of an execution error can blame a node.

use sdk_plugin::host::{RpcCall, RpcError, RpcResult};

/// Parts of texts with which nodes refuse a request for its size: a range of blocks, the number of results, the gas of a
/// transaction. They overlap with the texts of rate limits, so they are tested first (exact-evm.md section 18).
const REQUEST_TOO_LARGE: &[&str] = &[
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

/// Whether an error is about the node and not about the request, so that another node should be tried.
///
/// The text of an error can come from a contract (a revert reason), and so from a buyer: execution errors are always
/// answers, whatever their text.
pub(super) fn is_node_error(error: &RpcError) -> bool {
    let text = error.message.to_ascii_lowercase();
    // 3 is the code of a revert (successors of EIP-1474).
    if error.code == 3 || text.contains("revert") {
        return false;
    }
    // -32016: over a rate limit, or not synced far enough for this request; 429: the HTTP status, copied by some proxies.
    if matches!(error.code, -32016 | 429) {
        return true;
    }
    // The plugin needs the text, which names the limit. Another node is tried first all the same.
    if REQUEST_TOO_LARGE.iter().any(|part| text.contains(part)) {
        return false;
    }
    // Limit exceeded (EIP-1474); in other families a node that is not synced.
    if error.code == -32005 {
        return true;
    }
    // Codes of the server itself; any other code belongs to the method.
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
    .any(|part| text.contains(part))
}

/// Methods that only report state, beside those whose names begin with `get` or `is`: they run no contract or program.
const STATE_METHODS: &[&str] = &[
    "blockNumber",
    "chainId",
    "clientVersion",
    "feeHistory",
    "gasPrice",
    "maxPriorityFeePerGas",
    "syncing",
    "version",
];

/// Whether a method may run a contract or program. An unknown method may.
fn may_execute(method: &str) -> bool {
    let name = method.rsplit_once('_').map_or(method, |(_, name)| name);
    !(name.starts_with("get") || name.starts_with("is") || STATE_METHODS.contains(&name))
}

/// Whether an error is the result of running a contract or program, and so the same at every node.
///
/// Every other error may be specific to one node: a method that it does not serve, a key that it does not accept, a defect,
/// a form of request that it does not know. Another node may answer.
fn is_execution_error(method: &str, error: &RpcError) -> bool {
    let text = error.message.to_ascii_lowercase();
    may_execute(method) && (error.code == 3 || text.contains("revert") || text.contains("simulation failed"))
}

/// How many of the results of these calls are errors that another node might not return.
pub(super) fn uncertain_errors(calls: &[RpcCall], results: &[RpcResult]) -> usize {
    let pairs = calls.iter().zip(results);
    pairs
        .filter(|(call, result)| match result {
            RpcResult::Ok(_) => false,
            RpcResult::Error(error) => !is_execution_error(&call.method, error),
        })
        .count()
}

/// Whether the node does not serve the method: -32601 of JSON-RPC, -32604 of Besu for a disabled method.
pub(super) fn lacks_method(result: &RpcResult) -> bool {
    matches!(result, RpcResult::Error(error) if matches!(error.code, -32601 | -32604))
}

#[cfg(test)]
mod tests {
    use sdk_plugin::Value;
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
    fn only_execution_errors_are_the_same_at_every_node() {
        let by = |method, code, text: &str| {
            let calls = [call("eth_chainId", Value::Null), call(method, Value::Null)];
            uncertain_errors(
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
            // These run nothing: a node that reports an execution error is wrong.
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
            // About one block: the rest of the batch is an answer.
            (-32000, "header not found"),
            (-32000, "missing trie node"),
        ] {
            assert_eq!(of(code, text), 1, "{text}");
        }
    }

    #[test]
    fn a_buyers_revert_reason_is_never_a_node_error() {
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
            assert!(!is_node_error(&answer), "{answer:?}");
        }
        for node_error in [
            error(-32005, "daily request count exceeded"),
            error(-32005, "limit exceeded"),
            error(-32005, "Node is behind by 42 slots"),
            error(-32016, "the range of this plan's rate limit"),
            error(-32603, "Too Many Requests"),
            error(429, ""),
        ] {
            assert!(is_node_error(&node_error), "{node_error:?}");
        }
    }
}
