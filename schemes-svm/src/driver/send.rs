//! Sending, and classifying the errors that nodes reply with.
//!
//! Nodes must pass the bytes on unseen (no preflight) and leave resending to us. What a node reports about a
//! transaction that it has simulated all the same proves nothing: the observer finds out what became of it.

use sdk_plugin::chain::{Attempt, Sent};
use sdk_plugin::host::{RpcError, RpcResult, SendEncoding};
use sdk_plugin::rpc::{SendMethod, most_decisive};
use sdk_plugin::{Cx, Fault};
use serde_json::json;

/// JSON-RPC code of a transaction whose signatures a node has checked and found wrong.
const SIGNATURE_VERIFICATION: i64 = -32_003;
/// JSON-RPC code of parameters that a node can't read: bytes that are no transaction.
const INVALID_PARAMS: i64 = -32_602;

const SEND: SendMethod = SendMethod {
    method: super::RPC_SENDS[0],
    encoding: SendEncoding::Base64,
    log_target: "svm::send",
    id_name: "signature",
    is_same_id: |answered, tx_id| answered == tx_id,
};

/// Sends the attempt's journaled bytes, which the host puts into the call.
pub(super) async fn broadcast(cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
    let params = json!(["$bytes", { "encoding": "base64", "skipPreflight": true, "maxRetries": 0 }]);
    let results = match SEND.send(cx, attempt, params).await? {
        Ok(results) => results,
        Err(message) => return Ok(Sent::Unknown { message }),
    };
    for result in &results {
        SEND.warn_of_other_id(cx, attempt, result);
    }
    Ok(most_decisive(results.iter().map(sent), rank))
}

/// One node's answer.
fn sent(result: &RpcResult) -> Sent {
    match result {
        RpcResult::Ok(_) => Sent::Accepted,
        RpcResult::Error(error) => refused(error),
    }
}

fn refused(error: &RpcError) -> Sent {
    let text = format!("{} {}", error.message, error.data).to_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|word| text.contains(word));
    if has(&["already been processed", "alreadyprocessed", "already processed"]) {
        return Sent::Accepted;
    }
    if has(&[
        "insufficientfundsforfee",
        "insufficient funds for fee",
        "no record of a prior credit",
        "accountnotfound",
        "insufficientfundsforrent",
    ]) {
        return Sent::InsufficientFunds;
    }
    let message = format!("{} {}", error.code, error.message);
    match error.code {
        SIGNATURE_VERIFICATION | INVALID_PARAMS => Sent::Rejected { message },
        // A blockhash that this node has not seen yet, a queue that is full, a leader that is not known.
        _ => Sent::Unknown { message },
    }
}

/// The most decisive answer has the lowest rank: above all, that a node has the transaction.
fn rank(sent: &Sent) -> u8 {
    match sent {
        Sent::Accepted => 0,
        Sent::SequenceUsed => 1,
        Sent::InsufficientFunds => 2,
        Sent::Unknown { .. } => 3,
        Sent::Underpriced => 4,
        Sent::Rejected { .. } => 5,
    }
}

#[cfg(test)]
mod tests {
    use sdk_plugin::Value;

    use super::*;

    fn error(code: i64, message: &str, data: Value) -> RpcResult {
        RpcResult::Error(RpcError {
            code,
            message: message.into(),
            data,
        })
    }

    #[test]
    fn nodes_words_are_understood() {
        for (result, expected) in [
            (RpcResult::Ok(json!("sig")), "Accepted"),
            (
                error(
                    -32002,
                    "Transaction simulation failed: This transaction has already been processed",
                    json!(null),
                ),
                "Accepted",
            ),
            (error(-32002, "x", json!({"err": "AlreadyProcessed"})), "Accepted"),
            (
                error(
                    -32002,
                    "Transaction simulation failed",
                    json!({"err": "InsufficientFundsForFee"}),
                ),
                "InsufficientFunds",
            ),
            (
                error(
                    -32002,
                    "Attempt to debit an account but found no record of a prior credit.",
                    json!(null),
                ),
                "InsufficientFunds",
            ),
            (
                error(-32003, "Transaction signature verification failure", json!(null)),
                "Rejected",
            ),
            (error(-32602, "failed to deserialize", json!(null)), "Rejected"),
            (error(-32002, "Blockhash not found", json!(null)), "Unknown"),
            (error(-32603, "internal error", json!(null)), "Unknown"),
        ] {
            let sent = format!("{:?}", sent(&result));
            assert!(sent.starts_with(expected), "{result:?}: {sent}");
        }
    }

    #[test]
    fn the_most_decisive_of_several_answers_decides() {
        let rejected = error(-32003, "signature", json!(null));
        let unknown = error(-32002, "Blockhash not found", json!(null));
        let known = error(-32002, "already processed", json!(null));
        let most = |results: &[&RpcResult]| results.iter().map(|result| sent(result)).min_by_key(rank);
        assert_eq!(most(&[&rejected, &unknown, &known]), Some(Sent::Accepted));
        assert!(matches!(most(&[&rejected, &unknown]), Some(Sent::Unknown { .. })));
    }
}
