//! Typed requests over `rpc.v1`, and strict readers of what nodes answer.
//!
//! The line that matters most is drawn in [`executed`]: a call that the EVM refused is an answer about a payment, and
//! everything else that goes wrong is a [`Fault`]. What is not recognised as the EVM's refusal counts as a fault of the
//! node, never as a bad payment.

mod failure;
mod shape;

pub(crate) use shape::LEAST_CALL_GAS;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::host::{RpcCall, RpcResult};
pub use sdk_plugin::rpc::{Answers, Opinions, compare_or_read, malformed, node_error, request, value};
use sdk_plugin::rpc::{NodeProfile, Oversized};
use sdk_plugin::{Fault, Value};
use serde_json::json;

pub use self::failure::{Executed, Failure, estimated, executed, executed_word, failure};
use crate::abi::AuthorizedToken;
use crate::text;

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
    /// The same with more bytes at the end of its calldata, which contracts ignore.
    #[must_use]
    pub fn followed_by(mut self, suffix: &[u8]) -> Self {
        self.data.extend_from_slice(suffix);
        self
    }

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
/// It is another chain's, or does not return its id.
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

/// A height, a nonce, a log's index or a time in seconds since the epoch: below 2^53 on every chain, and written as a JSON
/// integer.
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

#[cfg(test)]
mod tests {
    use super::*;

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
