//! Distinguishes the EVM's result of a call from faults of the node.

use alloy_primitives::U256;
use alloy_sol_types::{Revert, SolError};
use sdk_plugin::host::{RpcError, RpcResult};
use sdk_plugin::{Fault, Value};

use super::{as_bytes, malformed, node_error, quantity};

/// The EVM's result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executed {
    Returned(Vec<u8>),
    Failed(Failure),
}

/// A call that the EVM refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// Revert data, as far as the node gave it.
    pub data: Vec<u8>,
    /// The node's message.
    pub message: String,
}

impl Failure {
    /// The contract's own message if it gave any, else the node's.
    #[must_use]
    pub fn text(&self) -> String {
        match Revert::abi_decode(&self.data) {
            Ok(revert) => revert.reason,
            Err(_) if self.data.is_empty() => self.message.clone(),
            Err(_) => {
                let shown = self.data.get(..4).unwrap_or(&self.data);
                format!("{} (error data 0x{}…)", self.message, hex::encode(shown))
            }
        }
    }

    /// The custom error's selector; `None` for `Error(string)` and for failures without data.
    #[must_use]
    pub fn selector(&self) -> Option<[u8; 4]> {
        self.data
            .first_chunk::<4>()
            .copied()
            .filter(|selector| *selector != Revert::SELECTOR)
    }
}

/// The outcome of an `eth_call`.
pub fn executed(result: RpcResult, what: &str) -> Result<Executed, Fault> {
    match result {
        RpcResult::Ok(value) => as_bytes(&value)
            .map(Executed::Returned)
            .ok_or_else(|| malformed(what, "hex bytes", &value)),
        RpcResult::Error(error) => match failure(&error) {
            Some(failure) => Ok(Executed::Failed(failure)),
            None => Err(node_error(what, &error)),
        },
    }
}

/// The first 32 bytes that a contract returned; `None` if it returned fewer, or if the call failed.
pub fn executed_word(result: RpcResult, what: &str) -> Result<Option<U256>, Fault> {
    Ok(match executed(result, what)? {
        Executed::Returned(data) => data.first_chunk::<32>().map(|word| U256::from_be_bytes(*word)),
        Executed::Failed(_) => None,
    })
}

/// Gas that an `eth_estimateGas` found, or the EVM's refusal.
pub fn estimated(result: RpcResult, what: &str) -> Result<Result<u64, Failure>, Fault> {
    if let RpcResult::Error(error) = &result
        && let Some(failure) = failure(error)
    {
        return Ok(Err(failure));
    }
    quantity(result, what).map(Ok)
}

/// Texts with which nodes report that the EVM, and not the node, failed (go-ethereum and its forks, Erigon, Nethermind,
/// Besu, Reth, anvil, OpenEthereum, Hedera). Lower case.
const EVM_TEXTS: &[&str] = &[
    "execution reverted",
    "transaction reverted",
    "vm execution error",
    "contract_revert_executed",
    "out of gas",
    "outofgas",
    "gas required exceeds",
    "intrinsic gas",
    "intrinsicgas",
    "invalid opcode",
    "invalidopcode",
    "opcodenotfound",
    "invalidfeopcode",
    "badinstruction",
    "stack underflow",
    "stackunderflow",
    "stack limit reached",
    "stackoverflow",
    "invalid jump",
    "invalidjump",
    "badjumpdestination",
    "write protection",
    "statechangeduringstaticcall",
    "return data out of bounds",
    "outofoffset",
    // revm has more names for gas that has run out, and for operations that a contract may not do.
    "memoryoog",
    "memorylimitoog",
    "precompileoog",
    "invalidoperandoog",
    "precompileerror",
    "callnotallowedinsidestatic",
    "notactivated",
];

/// The EVM's failure in a JSON-RPC error; `None` if the error may have any other cause.
#[must_use]
pub fn failure(error: &RpcError) -> Option<Failure> {
    let message = error.message.to_lowercase();
    // Code 3 is go-ethereum's "execution reverted", which most nodes use by now.
    if error.code != 3 && !EVM_TEXTS.iter().any(|word| message.contains(word)) {
        return None;
    }
    Some(Failure {
        data: revert_data(&error.data).unwrap_or_default(),
        message: error.message.clone(),
    })
}

/// Nodes put revert data into `data` as hex, after `Reverted `, or one object deeper.
fn revert_data(data: &Value) -> Option<Vec<u8>> {
    match data {
        Value::String(text) => hex::decode(
            text.strip_prefix("Reverted ")
                .unwrap_or(text)
                .strip_prefix("0x")?,
        )
        .ok(),
        Value::Object(object) => as_bytes(object.get("data").or_else(|| object.get("result"))?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(code: i64, message: &str, data: Value) -> RpcError {
        RpcError {
            code,
            message: message.into(),
            data,
        }
    }

    #[test]
    fn only_errors_of_the_evm_refuse_a_payment() {
        for (code, message) in [
            (3, "execution reverted: FiatTokenV2: invalid signature"),
            (-32000, "execution reverted"),
            (-32015, "VM execution error."),
            (-32000, "out of gas"),
            (-32000, "invalid opcode: opcode 0xfe not defined"),
            (-32603, "EVM error OutOfGas"),
            (-32603, "EVM error MemoryOOG"),
            (-32000, "gas required exceeds allowance (400000)"),
        ] {
            assert!(failure(&error(code, message, Value::Null)).is_some(), "{message}");
        }
        for (code, message) in [
            (-32000, "header not found"),
            (-32005, "limit exceeded"),
            (-32603, "internal error"),
            (-32000, "missing trie node 00 (path )"),
            (-32601, "the method eth_call does not exist"),
            (429, "Too Many Requests"),
            (-32000, "insufficient funds for gas * price + value"),
            (-32603, "EVM error: Database error: failed to get account"),
            (-32000, "request timed out"),
        ] {
            assert!(failure(&error(code, message, Value::Null)).is_none(), "{message}");
            let result = RpcResult::Error(error(code, message, Value::Null));
            assert!(executed(result, "call").is_err(), "{message}");
        }
    }

    #[test]
    fn revert_texts_are_found_wherever_nodes_put_them() {
        let hex = format!("0x{}", hex::encode(Revert::from("Pausable: paused").abi_encode()));
        for data in [
            json!(hex),
            json!(format!("Reverted {hex}")),
            json!({"data": hex}),
            json!({"result": hex}),
        ] {
            let failure = failure(&error(3, "execution reverted", data)).expect("a revert");
            assert_eq!(failure.text(), "Pausable: paused");
            assert_eq!(failure.selector(), None);
        }
        let custom = failure(&error(3, "execution reverted", json!("0xe450d38c"))).expect("a revert");
        assert_eq!(custom.selector(), Some([0xe4, 0x50, 0xd3, 0x8c]));
        assert!(custom.text().contains("0xe450d38c"));
    }
}
