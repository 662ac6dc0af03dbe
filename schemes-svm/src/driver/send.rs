//! Sending, and understanding a node's way of saying no.
//!
//! Nodes are asked to pass the bytes on unseen (no preflight) and to leave sending again to us. What a node says about a
//! transaction that it has simulated all the same proves nothing: the observer finds out what became of it.

use sdk_plugin::chain::{Attempt, Sent};
use sdk_plugin::host::{Level, RpcError, RpcRequest, RpcResult, SendEncoding};
use sdk_plugin::{Cx, Fault, FaultKind};
use serde_json::json;

/// JSON-RPC code of a transaction whose signatures a node has checked and found wrong.
const SIGNATURE_VERIFICATION: i64 = -32_003;
/// JSON-RPC code of parameters that a node can't read: bytes that are no transaction.
const INVALID_PARAMS: i64 = -32_602;

/// Sends the attempt's journaled bytes, which the host puts into the call.
pub(super) async fn broadcast(cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
    let request = RpcRequest::Send {
        network: attempt.lane.network.clone(),
        attempt_id: attempt.id.clone(),
        method: super::RPC_SENDS.first().copied().unwrap_or_default().into(),
        params: json!(["$bytes", { "encoding": "base64", "skipPreflight": true, "maxRetries": 0 }]),
        encoding: SendEncoding::Base64,
    };
    match cx.rpc(request).await {
        Ok(response) => Ok(decide(cx, attempt, &response.results)),
        Err(fault) => match fault.kind {
            // Nothing was sent, for reasons that sending again would not cure.
            FaultKind::Invalid | FaultKind::Unsupported | FaultKind::Denied | FaultKind::Shutdown => {
                Err(fault)
            }
            FaultKind::Cancelled
            | FaultKind::Deadline
            | FaultKind::Overloaded
            | FaultKind::Panic
            | FaultKind::Internal
            | FaultKind::Indeterminate
            | FaultKind::Unavailable => Ok(Sent::Unknown {
                message: fault.message,
            }),
        },
    }
}

fn decide(cx: &Cx, attempt: &Attempt, results: &[RpcResult]) -> Sent {
    for result in results {
        if let RpcResult::Ok(told) = result
            && told.as_str() != Some(attempt.tx_id.as_str())
        {
            let fields = json!({ "attempt": attempt.id, "expected": attempt.tx_id, "answered": told });
            cx.log(
                Level::Warn,
                "svm::send",
                "a node answered a send with another signature",
                &fields,
            );
        }
    }
    results
        .iter()
        .map(sent)
        .min_by_key(telling)
        .unwrap_or_else(|| Sent::Unknown {
            message: "no node answered".into(),
        })
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
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
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

/// The most telling answer has the least number: that a node has it, before all others.
fn telling(sent: &Sent) -> u8 {
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
    fn the_most_telling_of_several_answers_decides() {
        let rejected = error(-32003, "signature", json!(null));
        let unknown = error(-32002, "Blockhash not found", json!(null));
        let known = error(-32002, "already processed", json!(null));
        let most = |results: &[&RpcResult]| results.iter().map(|result| sent(result)).min_by_key(telling);
        assert_eq!(most(&[&rejected, &unknown, &known]), Some(Sent::Accepted));
        assert!(matches!(most(&[&rejected, &unknown]), Some(Sent::Unknown { .. })));
    }
}
