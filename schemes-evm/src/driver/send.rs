//! Sending, and classifying the errors that nodes reply with.
//!
//! The host tries nodes in sequence and returns each answer; the most decisive one counts. An answer is `Rejected` only
//! where its text means that no node can ever take these bytes. An unknown text is `Unknown`, like no answer: the
//! node may have taken the transaction, so it is observed and the same bytes are sent again.

use sdk_plugin::chain::{Attempt, Sent};
use sdk_plugin::host::{Level, RpcResult, SendEncoding};
use sdk_plugin::rpc::{SendMethod, most_decisive};
use sdk_plugin::{Cx, Fault};
use serde_json::json;

use super::wording::{self, Class};
use super::{EvmDriver, fees};

const SEND: SendMethod = SendMethod {
    method: super::RPC_SENDS[0],
    encoding: SendEncoding::Hex,
    log_target: "evm::send",
    id_name: "hash",
    is_same_id: |answered, tx_id| answered.eq_ignore_ascii_case(tx_id),
};

impl EvmDriver {
    /// Sends the attempt's journaled bytes, which the host puts into the call.
    pub(super) async fn send(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
        let results = match SEND.send(cx, attempt, json!(["$bytes"])).await? {
            Ok(results) => results,
            Err(message) => return Ok(Sent::Unknown { message }),
        };
        let sent = decide(cx, attempt, &results);
        if sent == Sent::Underpriced {
            self.was_underpriced(cx, &results);
        }
        Ok(sent)
    }

    /// The next bid is made from what the newest block shows, and from the minimum that a node has named.
    fn was_underpriced(&self, cx: &Cx, results: &[RpcResult]) {
        let minimum = results.iter().filter_map(|result| match result {
            RpcResult::Ok(_) => None,
            RpcResult::Error(error) => wording::minimum_price_wei(&error.message),
        });
        let minimum = minimum.max();
        let mut networks = self.networks();
        let known = networks.entry(cx.network().id.clone()).or_default();
        known.market = None;
        if let Some(wei) = minimum {
            known.named_price = Some(fees::NamedPrice::now(cx, wei));
        }
    }
}

fn decide(cx: &Cx, attempt: &Attempt, results: &[RpcResult]) -> Sent {
    for result in results {
        if let RpcResult::Error(error) = result
            && let Some(alarm) = wording::class(error).and_then(alarm)
        {
            let fields = json!({ "attempt": attempt.id, "node": error.message });
            cx.log(Level::Error, SEND.log_target, alarm, &fields);
        }
        SEND.warn_of_other_id(cx, attempt, result);
    }
    most_decisive(results.iter().map(sent), rank)
}

/// What an operator must know about an answer.
fn alarm(class: Class) -> Option<&'static str> {
    match class {
        Class::TipAboveCap => Some("a transaction was sent whose tip is above its cap; this is a defect"),
        Class::NodeFeeCap => Some(
            "a node refuses what a transaction may cost: raise its own fee cap (--rpc.txfeecap), lower \
             max_fee_per_gas_wei, or use another node",
        ),
        Class::BadTransaction => Some("a node calls a transaction malformed; this is a defect"),
        Class::Known
        | Class::NonceTooLow
        | Class::NonceGap
        | Class::ReplacementUnderpriced
        | Class::FeeCapBelowBaseFee
        | Class::Underpriced
        | Class::InsufficientFunds
        | Class::PoolFull
        | Class::RangeTooLarge
        | Class::RateLimit
        | Class::MethodMissing
        | Class::StateMissing
        | Class::BlockTag
        | Class::TimeLimit => None,
    }
}

/// One node's answer.
fn sent(result: &RpcResult) -> Sent {
    let error = match result {
        RpcResult::Ok(_) => return Sent::Accepted,
        RpcResult::Error(error) => error,
    };
    let message = format!("{} ({})", error.message, error.code);
    match wording::class(error) {
        Some(Class::Known) => Sent::Accepted,
        Some(Class::NonceTooLow) => Sent::SequenceUsed,
        // A new bid keeps its tip below its cap, whatever the refused one did.
        Some(
            Class::ReplacementUnderpriced
            | Class::FeeCapBelowBaseFee
            | Class::Underpriced
            | Class::TipAboveCap,
        ) => Sent::Underpriced,
        Some(Class::InsufficientFunds) => Sent::InsufficientFunds,
        Some(Class::BadTransaction) => Sent::Rejected { message },
        Some(
            Class::NonceGap
            | Class::NodeFeeCap
            | Class::PoolFull
            | Class::RangeTooLarge
            | Class::RateLimit
            | Class::MethodMissing
            | Class::StateMissing
            | Class::BlockTag
            | Class::TimeLimit,
        )
        | None => Sent::Unknown { message },
    }
}

/// The most decisive answer has the lowest rank. A used sequence outranks doubt about the price, because observing then
/// settles it; a rejection counts only when no node answered anything else.
fn rank(sent: &Sent) -> u8 {
    match sent {
        Sent::Accepted => 0,
        Sent::SequenceUsed => 1,
        Sent::Underpriced => 2,
        Sent::InsufficientFunds => 3,
        Sent::Unknown { .. } => 4,
        Sent::Rejected { .. } => 5,
    }
}

#[cfg(test)]
mod tests {
    use sdk_plugin::Value;
    use sdk_plugin::host::RpcError;

    use super::*;

    fn answered(message: &str) -> Sent {
        sent(&RpcResult::Error(RpcError {
            code: -32000,
            message: message.into(),
            data: Value::Null,
        }))
    }

    #[test]
    fn t112_t162_t166_a_wording_is_refused_only_where_no_node_can_take_the_bytes() {
        for (message, expected) in [
            ("known transaction: 0xb5c8", Sent::Accepted),
            ("nonce too low: next nonce 5, tx nonce 4", Sent::SequenceUsed),
            ("replacement transaction underpriced", Sent::Underpriced),
            ("fee cap less than base fee", Sent::Underpriced),
            ("transaction underpriced", Sent::Underpriced),
            ("tip higher than fee cap", Sent::Underpriced),
            ("Upfront cost exceeds account balance", Sent::InsufficientFunds),
        ] {
            assert_eq!(answered(message), expected, "{message}");
        }
        // Sent again in the same slot: a filler instead of it would fail a good payment.
        for message in [
            "txpool is full",
            "nonce too high",
            "tx fee (2.10 ether) exceeds the configured cap (1.00 ether)",
            "block range is too wide",
            "Too many requests",
            "the method eth_sendRawTransaction does not exist/is not available",
            "header not found",
            "request timed out",
            "unknown transaction type",
            "sender not an eoa",
            "Unauthorized",
            "something new",
        ] {
            let unknown = Sent::Unknown {
                message: format!("{message} (-32000)"),
            };
            assert_eq!(answered(message), unknown);
        }
        for message in ["intrinsic gas too low", "invalid sender", "Wrong chainId"] {
            let rejected = Sent::Rejected {
                message: format!("{message} (-32000)"),
            };
            assert_eq!(answered(message), rejected);
        }
    }

    #[test]
    fn the_most_decisive_node_decides() {
        let of = |messages: &[&str]| messages.iter().map(|message| answered(message)).min_by_key(rank);
        assert_eq!(
            of(&["transaction type not supported", "already known"]),
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
