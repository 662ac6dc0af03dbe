//! Typed requests over `rpc.v1`, and strict readers of what nodes answer.
//!
//! The line that matters most is drawn in [`executed`]: a call that the EVM refused is an answer about a payment, and
//! everything else that goes wrong is a [`Fault`]. What is not recognised as the EVM's refusal counts as trouble of the
//! node, never as a bad payment.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Revert, SolCall, SolError};
use sdk_plugin::host::{RpcCall, RpcError, RpcResult};
pub use sdk_plugin::rpc::{Answers, Opinions, compare_or_read, malformed, node_error, request, value};
use sdk_plugin::rpc::{NodeProfile, Oversized};
use sdk_plugin::{Fault, Value};
use serde_json::json;

use crate::abi::AuthorizedToken;
use crate::{shape, text};

/// What EVM nodes accept and answer. Nodes commonly stop at batches of 1,000 calls, hosted ones at fewer. The expected bytes
/// are a quarter of the plugin's own limit (`maxMessageBytes`).
pub const NODES: NodeProfile = NodeProfile {
    max_batch_calls: 200,
    max_batch_bytes: 4 << 20,
    expected_bytes,
    oversized: Oversized::Split,
    is_well_formed: shape::is_well_formed,
};

/// Upper estimate of a usual answer's size in bytes.
fn expected_bytes(method: &str) -> usize {
    match method {
        // The signature of a smart wallet in the calldata: 8 KiB, as hex.
        "eth_getTransactionByHash" => 24 << 10,
        // The hashes of a block's transactions; a bloom filter and a few logs.
        "eth_getBlockByNumber" | "eth_getBlockByHash" | "eth_getTransactionReceipt" | "eth_getLogs" => {
            16 << 10
        }
        _ => 1 << 10,
    }
}

/// A message call that changes nothing.
#[derive(Debug, Clone)]
pub struct EthCall {
    pub from: Option<Address>,
    pub to: Address,
    pub data: Vec<u8>,
    /// The most gas that the node may spend on it.
    pub gas: Option<u64>,
}

impl EthCall {
    /// As JSON-RPC writes it.
    #[must_use]
    pub fn object(&self) -> Value {
        let mut object = serde_json::Map::new();
        if let Some(from) = self.from {
            object.insert("from".into(), text::lower(from).into());
        }
        object.insert("to".into(), text::lower(self.to).into());
        object.insert("data".into(), format!("0x{}", hex::encode(&self.data)).into());
        if let Some(gas) = self.gas {
            object.insert("gas".into(), text::quantity(gas).into());
        }
        Value::Object(object)
    }

    /// `eth_call` at the latest block.
    #[must_use]
    pub fn call(&self) -> RpcCall {
        self.call_at(json!("latest"))
    }

    /// `eth_call` at a block: a tag, a number, or an EIP-1898 object.
    #[must_use]
    pub fn call_at(&self, block: Value) -> RpcCall {
        request("eth_call", json!([self.object(), block]))
    }

    /// `eth_estimateGas` at the latest block.
    #[must_use]
    pub fn estimate(&self) -> RpcCall {
        request("eth_estimateGas", json!([self.object(), "latest"]))
    }
}

/// An account's balance of a token, as a call.
#[must_use]
pub fn balance_of(asset: Address, account: Address, gas: Option<u64>) -> EthCall {
    EthCall {
        from: None,
        to: asset,
        data: AuthorizedToken::balanceOfCall { account }.abi_encode(),
        gas,
    }
}

#[must_use]
pub fn get_code(account: Address) -> RpcCall {
    request("eth_getCode", json!([text::lower(account), "latest"]))
}

/// The newest block, without its transactions; [`head`] takes the answer.
#[must_use]
pub fn newest_block() -> RpcCall {
    request("eth_getBlockByNumber", json!(["latest", false]))
}

/// Height and timestamp (seconds since the epoch) of the newest block.
pub fn head(result: RpcResult) -> Result<(u64, u64), Fault> {
    let block = value(result, "eth_getBlockByNumber")?;
    let member = |name: &str| block.get(name).and_then(as_count);
    member("number")
        .zip(member("timestamp"))
        .ok_or_else(|| malformed_block(&block, &["number", "timestamp"]))
}

#[must_use]
pub fn block_number() -> RpcCall {
    request("eth_blockNumber", json!([]))
}

#[must_use]
pub fn chain_id() -> RpcCall {
    request("eth_chainId", json!([]))
}

/// Whether a node is one of this network (CAIP-2), by its answer to [`chain_id`].
///
/// # Errors
/// It is another chain's, or does not say.
pub fn check_chain(result: RpcResult, network: &str) -> Result<(), Fault> {
    let shown = quantity(result, "eth_chainId")?;
    match text::chain_id(network) {
        Some(expected) if expected == shown => Ok(()),
        Some(expected) => Err(Fault::unavailable(format!(
            "the RPC node reports chain id {shown}, expected {expected}: check networks.\"{network}\".rpc"
        ))),
        None => Err(Fault::invalid(format!("{network:?} is not eip155:<chain id>"))),
    }
}

/// The next nonce of an account at a block; `latest` counts landed transactions only.
#[must_use]
pub fn transaction_count(account: &str, block: Value) -> RpcCall {
    request("eth_getTransactionCount", json!([account, block]))
}

/// A quantity that must fit 64 bits.
pub fn quantity(result: RpcResult, what: &str) -> Result<u64, Fault> {
    let value = value(result, what)?;
    as_u64(&value).ok_or_else(|| malformed(what, "a quantity of 64 bits", &value))
}

/// A height or a nonce.
pub fn count(result: RpcResult, what: &str) -> Result<u64, Fault> {
    let value = value(result, what)?;
    as_count(&value).ok_or_else(|| malformed(what, "a height or nonce", &value))
}

/// The first of a block's members that is not what it must be.
#[must_use]
pub fn malformed_block(block: &Value, members: &[&str]) -> Fault {
    if !block.is_object() {
        return malformed("eth_getBlockByNumber", "a block", block);
    }
    let is_good = |name: &str| {
        let value = block.get(name)?;
        match name {
            "hash" => as_word(value).map(|_| ()),
            _ => as_count(value).map(|_| ()),
        }
    };
    let first = members.iter().find(|name| is_good(name).is_none());
    let name = first.copied().unwrap_or("number");
    let what = format!("eth_getBlockByNumber, {name}");
    malformed(&what, "that of a block", block.get(name).unwrap_or(&Value::Null))
}

/// A quantity of up to 256 bits.
pub fn big_quantity(result: RpcResult, what: &str) -> Result<U256, Fault> {
    let value = value(result, what)?;
    as_u256(&value).ok_or_else(|| malformed(what, "a quantity", &value))
}

/// Bytes such as code.
pub fn bytes(result: RpcResult, what: &str) -> Result<Vec<u8>, Fault> {
    let value = value(result, what)?;
    as_bytes(&value).ok_or_else(|| malformed(what, "hex bytes", &value))
}

#[must_use]
pub fn as_u256(value: &Value) -> Option<U256> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if plain {
        U256::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[must_use]
pub fn as_u64(value: &Value) -> Option<u64> {
    as_u256(value).and_then(|number| u64::try_from(number).ok())
}

/// A height, a nonce, a log's place or a time in seconds since the epoch: below 2^53 on every chain, and written as a JSON integer.
#[must_use]
pub fn as_count(value: &Value) -> Option<u64> {
    as_u64(value).filter(|count| *count <= text::MAX_JSON_INTEGER)
}

#[must_use]
pub fn as_word(value: &Value) -> Option<B256> {
    value.as_str().and_then(text::word)
}

#[must_use]
pub fn as_address(value: &Value) -> Option<Address> {
    value.as_str().and_then(text::address)
}

#[must_use]
pub fn as_bytes(value: &Value) -> Option<Vec<u8>> {
    hex::decode(value.as_str()?.strip_prefix("0x")?).ok()
}

/// What the EVM made of a call.
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
    /// The contract's own words where it gave any, else the node's.
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

/// A word that a contract returned; `None` where it gave none.
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

/// Wordings by which nodes say that the EVM, and not the node, failed (go-ethereum and its forks, Erigon, Nethermind,
/// Besu, Reth, anvil, OpenEthereum, Hedera). Lower case.
const EVM_WORDS: &[&str] = &[
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
    // revm's further names for gas that is gone, and for what no contract may do.
    "memoryoog",
    "memorylimitoog",
    "precompileoog",
    "invalidoperandoog",
    "precompileerror",
    "callnotallowedinsidestatic",
    "notactivated",
];

/// The EVM's failure in a JSON-RPC error; `None` when it may be anything else.
#[must_use]
pub fn failure(error: &RpcError) -> Option<Failure> {
    let message = error.message.to_lowercase();
    // Code 3 is go-ethereum's "execution reverted", by now everybody's.
    if error.code != 3 && !EVM_WORDS.iter().any(|word| message.contains(word)) {
        return None;
    }
    Some(Failure {
        data: revert_data(&error.data).unwrap_or_default(),
        message: error.message.clone(),
    })
}

/// Nodes put revert data into `data` as hex, behind `Reverted `, or one object deeper.
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
    use super::*;

    fn error(code: i64, message: &str, data: Value) -> RpcError {
        RpcError {
            code,
            message: message.into(),
            data,
        }
    }

    #[test]
    fn only_the_evm_says_no_to_a_payment() {
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

    #[test]
    fn quantities_are_strict() {
        assert_eq!(as_u64(&json!("0x10")), Some(16));
        for bad in [
            json!("10"),
            json!("0x"),
            json!(16),
            json!("0x-1"),
            json!("0x10000000000000000"),
            json!(null),
        ] {
            assert_eq!(as_u64(&bad), None, "{bad}");
        }
    }
}
