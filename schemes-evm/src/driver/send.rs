//! Sending, and understanding every node's way of saying no.
//!
//! The host tries nodes in sequence and hands over each answer; the most telling one decides. Whatever is not
//! understood is `Rejected` with the node's words only when every node said so; silence is `Unknown`.

use sdk_plugin::chain::{Attempt, Sent};
use sdk_plugin::host::{Level, RpcError, RpcRequest, RpcResult, SendEncoding};
use sdk_plugin::{Cx, Fault, FaultKind};
use serde_json::json;

/// What a node's words mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Accepted,
    SequenceUsed,
    Underpriced,
    InsufficientFunds,
    /// Not taken now, perhaps later: the pool is full, or an earlier nonce has not arrived at this node yet.
    Later,
}

/// Lower-case wordings, most specific first; the first that occurs decides. Sources: the error texts of go-ethereum and
/// its forks (op-geth, bor, coreth, Arbitrum), Erigon, Nethermind, Besu, Reth, anvil, OpenEthereum, ZKsync, Sei, Monad.
const WORDINGS: &[(&str, Means)] = &[
    ("already known", Means::Accepted),
    ("alreadyknown", Means::Accepted),
    ("already imported", Means::Accepted),
    ("already in mempool", Means::Accepted),
    ("already exists in cache", Means::Accepted),
    ("already exists in mempool", Means::Accepted),
    ("already in the system", Means::Accepted),
    ("already existed", Means::Accepted),
    ("existing tx with same hash", Means::Accepted),
    ("known transaction", Means::Accepted),
    ("nonce too low", Means::SequenceUsed),
    ("nonce is too low", Means::SequenceUsed),
    ("oldnonce", Means::SequenceUsed),
    ("old nonce", Means::SequenceUsed),
    ("nonce has already been used", Means::SequenceUsed),
    ("nonce already used", Means::SequenceUsed),
    // The node tells that the transaction is in a block.
    ("already mined", Means::SequenceUsed),
    ("replacement transaction underpriced", Means::Underpriced),
    ("replacementnotallowed", Means::Underpriced),
    ("replacement not allowed", Means::Underpriced),
    ("could not replace existing tx", Means::Underpriced),
    ("replaced by transaction with higher tip", Means::Underpriced),
    ("an existing transaction had higher priority", Means::Underpriced),
    ("underpriced", Means::Underpriced),
    ("another transaction with same nonce", Means::Underpriced),
    ("fee too low", Means::Underpriced),
    ("feetoolow", Means::Underpriced),
    ("insufficient fee", Means::Underpriced),
    ("less than block base fee", Means::Underpriced),
    ("below current base fee", Means::Underpriced),
    ("lower than block base fee", Means::Underpriced),
    ("below configured minimum gas price", Means::Underpriced),
    ("gas price too low", Means::Underpriced),
    ("gas price is too low", Means::Underpriced),
    ("gasprice too low", Means::Underpriced),
    ("max priority fee per gas below", Means::Underpriced),
    ("insufficient funds", Means::InsufficientFunds),
    ("insufficientfunds", Means::InsufficientFunds),
    ("insufficient balance", Means::InsufficientFunds),
    ("not enough balance", Means::InsufficientFunds),
    ("upfront cost exceeds", Means::InsufficientFunds),
    ("does not have enough funds", Means::InsufficientFunds),
    ("nonce too high", Means::Later),
    ("nonce is too high", Means::Later),
    ("noncegap", Means::Later),
    ("nonce gap", Means::Later),
    ("gapped", Means::Later),
    ("too distant from current sender nonce", Means::Later),
    ("txpool is full", Means::Later),
    ("pool is full", Means::Later),
    ("pool full", Means::Later),
    ("sub-pool is full", Means::Later),
    ("pool overflow", Means::Later),
    ("mempool is full", Means::Later),
    ("too many transactions in the queue", Means::Later),
    ("in-flight transaction limit reached", Means::Later),
    ("account limit exceeded", Means::Later),
    ("future transaction tries to replace pending", Means::Later),
    ("already reserved", Means::Later),
    ("delegatorhaspendingtx", Means::Later),
    ("limit exceeded", Means::Later),
    ("rate limit", Means::Later),
    ("too many requests", Means::Later),
    ("timeout", Means::Later),
    ("timed out", Means::Later),
    ("internal error", Means::Later),
    ("syncing", Means::Later),
];

/// Sends the attempt's journaled bytes, which the host puts into the call.
pub(super) async fn broadcast(cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
    let request = RpcRequest::Send {
        network: attempt.lane.network.clone(),
        attempt_id: attempt.id.clone(),
        method: super::RPC_SENDS.first().copied().unwrap_or_default().into(),
        params: json!(["$bytes"]),
        encoding: SendEncoding::Hex,
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
        if let RpcResult::Ok(hash) = result
            && hash
                .as_str()
                .is_none_or(|hash| !hash.eq_ignore_ascii_case(&attempt.tx_id))
        {
            let fields = json!({ "attempt": attempt.id, "expected": attempt.tx_id, "answered": hash });
            cx.log(
                Level::Warn,
                "evm::send",
                "a node answered a send with another hash",
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
    let error = match result {
        RpcResult::Ok(_) => return Sent::Accepted,
        RpcResult::Error(error) => error,
    };
    let message = || format!("{} ({})", error.message, error.code);
    match meaning(error) {
        Some(Means::Accepted) => Sent::Accepted,
        Some(Means::SequenceUsed) => Sent::SequenceUsed,
        Some(Means::Underpriced) => Sent::Underpriced,
        Some(Means::InsufficientFunds) => Sent::InsufficientFunds,
        Some(Means::Later) => Sent::Unknown { message: message() },
        None => Sent::Rejected { message: message() },
    }
}

/// The most telling answer has the least number. A used sequence outranks doubt about the price, because observing then
/// settles it; a rejection counts only when nobody said anything else.
fn telling(sent: &Sent) -> u8 {
    match sent {
        Sent::Accepted => 0,
        Sent::SequenceUsed => 1,
        Sent::Underpriced => 2,
        Sent::InsufficientFunds => 3,
        Sent::Unknown { .. } => 4,
        Sent::Rejected { .. } => 5,
    }
}

fn meaning(error: &RpcError) -> Option<Means> {
    let message = error.message.to_lowercase();
    WORDINGS
        .iter()
        .find(|(wording, _)| begins_word(&message, wording))
        .map(|(_, means)| *means)
}

/// Whether `wording` occurs in `message` at the beginning of a word: "unknown transaction type" does not mean that the
/// transaction is a "known transaction".
fn begins_word(message: &str, wording: &str) -> bool {
    message.match_indices(wording).any(|(at, _)| {
        let before = message.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|before| !before.is_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use sdk_plugin::Value;

    use super::*;

    type Expected = fn(&Sent) -> bool;

    fn answered(message: &str) -> Sent {
        sent(&RpcResult::Error(RpcError {
            code: -32000,
            message: message.into(),
            data: Value::Null,
        }))
    }

    #[test]
    fn every_nodes_wording_is_understood() {
        let table: [(Expected, &[&str]); 6] = [
            (
                |sent| *sent == Sent::Accepted,
                &[
                    "already known",
                    "AlreadyKnown",
                    "transaction already imported",
                    "Transaction with the same hash was already imported.",
                    "known transaction: 0xb5c8bd9430b6cc87a0e2fe110ece6bf527fa4f170a4bc8cd032f768fc5219838",
                    "Known transaction",
                    "known transaction. transaction with hash 0x12 is already in the system",
                    "tx already exists in cache",
                    "tx already in mempool",
                    "existing tx with same hash",
                ],
            ),
            (
                |sent| *sent == Sent::SequenceUsed,
                &[
                    "nonce too low",
                    "nonce too low: next nonce 5, tx nonce 4",
                    "nonce too low: address 0x5CbD, tx: 4 state: 5",
                    "Nonce too low",
                    "nonce too low. allowed nonce range: 5 - 25, actual: 4",
                    "OldNonce, Current nonce: 5, nonce of rejected tx: 4",
                    "Transaction nonce is too low. Try incrementing the nonce.",
                ],
            ),
            (
                |sent| *sent == Sent::Underpriced,
                &[
                    "replacement transaction underpriced",
                    "Replacement transaction underpriced",
                    "transaction underpriced",
                    "transaction underpriced: gas tip cap 0, minimum needed 1000000",
                    "ReplacementNotAllowed",
                    "FeeTooLow, MaxFeePerGas: 1",
                    "FeeTooLowToCompete",
                    "fee too low",
                    "could not replace existing tx",
                    "max fee per gas less than block base fee: address 0x5CbD, maxFeePerGas: 1, baseFee: 2",
                    "Gas price below configured minimum gas price",
                    "Gas price below current base fee",
                    "Transaction gas price 1wei is too low. There is another transaction with same nonce in the queue with gas price 2wei.",
                    "An existing transaction had higher priority",
                    "insufficient fee: required 10, got 1",
                ],
            ),
            (
                |sent| *sent == Sent::InsufficientFunds,
                &[
                    "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1",
                    "Insufficient funds for gas * price + value",
                    "insufficient funds for transfer",
                    "InsufficientFunds, Balance is 0 less than sending value",
                    "Upfront cost exceeds account balance",
                    "Insufficient funds. The account you tried to send transaction from does not have enough funds.",
                ],
            ),
            (
                |sent| matches!(sent, Sent::Unknown { .. }),
                &[
                    "txpool is full",
                    "pending sub-pool is full",
                    "nonce too high",
                    "NonceGap, Future nonce. Expected nonce: 4",
                    "gapped-nonce tx from delegated accounts",
                    "in-flight transaction limit reached for delegated accounts",
                    "Transaction nonce is too distant from current sender nonce",
                    "There are too many transactions in the queue. Your transaction was dropped due to limit. Try increasing the fee.",
                    "request timed out",
                    "Internal error",
                ],
            ),
            (
                |sent| matches!(sent, Sent::Rejected { message } if message.contains("-32000")),
                &[
                    "unknown transaction type",
                    "transaction type not supported",
                    "intrinsic gas too low",
                    "exceeds block gas limit",
                    "invalid sender",
                    "invalid chain id for signer: have 1 want 2",
                    "tx fee (2.10 ether) exceeds the configured cap (1.00 ether)",
                    "max priority fee per gas higher than max fee per gas",
                    "sender not an eoa",
                    "only replay-protected (EIP-155) transactions allowed over RPC",
                ],
            ),
        ];
        for (expected, messages) in table {
            for message in messages {
                let sent = answered(message);
                assert!(expected(&sent), "{message:?} is {sent:?}");
            }
        }
    }

    #[test]
    fn the_most_telling_node_decides() {
        let of = |messages: &[&str]| {
            messages
                .iter()
                .map(|message| answered(message))
                .min_by_key(telling)
        };
        assert_eq!(
            of(&["unknown transaction type", "already known"]),
            Some(Sent::Accepted)
        );
        assert_eq!(
            of(&["replacement transaction underpriced", "nonce too low"]),
            Some(Sent::SequenceUsed)
        );
        assert_eq!(
            of(&["txpool is full", "transaction underpriced"]),
            Some(Sent::Underpriced)
        );
        assert!(matches!(
            of(&["invalid sender", "txpool is full"]),
            Some(Sent::Unknown { .. })
        ));
    }
}
