//! Receipts and logs as nodes give them, checked before anything is believed.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::chain::LogEntry;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::scheme::{EvidenceWanted, LogFilter};
use sdk_plugin::{Amount, Fault, HexBytes, Value};
use serde_json::json;

use crate::{rpc, text};

pub(super) fn get_receipt(tx_id: &str) -> RpcCall {
    rpc::request("eth_getTransactionReceipt", json!([tx_id]))
}

/// Logs of one block that match a filter.
pub(super) fn logs_of_block(block: &str, filter: &LogFilter) -> RpcCall {
    rpc::request(
        "eth_getLogs",
        json!([{ "blockHash": block, "address": filter.emitter, "topics": filter.topics }]),
    )
}

/// A log and the transaction that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockLog {
    /// Position in the block.
    pub(super) index: u64,
    pub(super) tx_id: String,
    emitter: Address,
    topics: Vec<B256>,
    data: Vec<u8>,
}

impl BlockLog {
    pub(super) fn into_entry(self) -> LogEntry {
        entry(&self.tx_id, self.index, self.emitter, &self.topics, &self.data)
    }
}

/// The answer to [`logs_of_block`], as far as it matches; `None` when it is not whole.
pub(super) fn block_logs(answer: RpcResult, filter: &LogFilter) -> Option<Vec<BlockLog>> {
    let RpcResult::Ok(Value::Array(logs)) = answer else {
        return None;
    };
    let read: Option<Vec<BlockLog>> = logs
        .iter()
        .map(|log| {
            let tx_hash = rpc::as_word(log.get("transactionHash")?)?;
            let read = Log::parse(log, tx_hash)?;
            Some(BlockLog {
                index: read.index,
                tx_id: tx_hash.to_string(),
                emitter: read.emitter,
                topics: read.topics,
                data: read.data,
            })
        })
        .collect();
    let is_match = |log: &BlockLog| matches(filter, log.emitter, &log.topics);
    Some(read?.into_iter().filter(is_match).collect())
}

fn entry(tx_id: &str, index: u64, emitter: Address, topics: &[B256], data: &[u8]) -> LogEntry {
    LogEntry {
        id: format!("{}/{index}", tx_id.to_lowercase()),
        emitter: text::lower(emitter),
        topics: topics.iter().map(|topic| HexBytes(topic.to_vec())).collect(),
        data: HexBytes(data.to_vec()),
    }
}

/// The receipt of a transaction in a block.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    pub(super) height: u64,
    pub(super) block: B256,
    /// Whether the call had its effect.
    pub(super) success: bool,
    /// What the sender paid, in wei; `None`: the receipt does not show all of it.
    pub(super) fee: Option<Amount>,
    logs: Vec<Log>,
}

#[derive(Debug, Clone)]
struct Log {
    /// Position in the block.
    index: u64,
    emitter: Address,
    topics: Vec<B256>,
    data: Vec<u8>,
}

impl Receipt {
    /// `None` while the transaction is in no block. A receipt that is another transaction's, or lacks what a receipt
    /// must have, is a fault of the node.
    pub(super) fn read(receipt: &Value, tx_id: &str) -> Result<Option<Self>, Fault> {
        if receipt.is_null() || receipt.get("blockHash").is_none_or(Value::is_null) {
            return Ok(None);
        }
        Self::parse(receipt, tx_id)
            .map(Some)
            .ok_or_else(|| Fault::unavailable(format!("the node's receipt of {tx_id} is malformed")))
    }

    fn parse(receipt: &Value, tx_id: &str) -> Option<Self> {
        let hash = text::word(tx_id)?;
        if rpc::as_word(receipt.get("transactionHash")?)? != hash {
            return None;
        }
        let mut logs = receipt
            .get("logs")?
            .as_array()?
            .iter()
            .map(|log| Log::parse(log, hash))
            .collect::<Option<Vec<_>>>()?;
        logs.sort_by_key(|log| log.index);
        let distinct = logs.windows(2).all(|pair| match pair {
            [first, second] => first.index != second.index,
            _ => true,
        });
        if !distinct {
            return None;
        }
        Some(Self {
            height: rpc::as_count(receipt.get("blockNumber")?)?,
            block: rpc::as_word(receipt.get("blockHash")?)?,
            success: match rpc::as_u64(receipt.get("status")?)? {
                0 => false,
                1 => true,
                _ => return None,
            },
            fee: fee(receipt),
            logs,
        })
    }

    /// Blocks from its own to `head`, both counted; 1 is the head itself.
    pub(super) fn depth(&self, head: u64) -> u64 {
        head.saturating_sub(self.height).saturating_add(1)
    }

    /// Whether it holds a log by which the evidence finds transactions.
    pub(super) fn has(&self, evidence: &[EvidenceWanted]) -> bool {
        let mut filters = evidence.iter().flat_map(|evidence| &evidence.foreign);
        filters.any(|filter| {
            self.logs
                .iter()
                .any(|log| matches(filter, log.emitter, &log.topics))
        })
    }

    /// Logs that match any of the evidence, in the order in which they were emitted.
    pub(super) fn logs(&self, tx_id: &str, evidence: &[EvidenceWanted]) -> Vec<LogEntry> {
        let wanted = |log: &&Log| {
            evidence
                .iter()
                .flat_map(|evidence| &evidence.logs)
                .any(|filter| matches(filter, log.emitter, &log.topics))
        };
        self.logs
            .iter()
            .filter(wanted)
            .map(|log| entry(tx_id, log.index, log.emitter, &log.topics, &log.data))
            .collect()
    }
}

/// Gas, and on OP Stack chains the data fee of layer 1 (`l1Fee`). A receipt with an operator fee does not show how that is
/// computed, so its fee is unknown.
fn fee(receipt: &Value) -> Option<Amount> {
    let quantity = |name: &str| receipt.get(name).filter(|value| !value.is_null());
    for name in ["operatorFeeScalar", "operatorFeeConstant"] {
        if quantity(name).is_some_and(|value| rpc::as_u256(value) != Some(U256::ZERO)) {
            return None;
        }
    }
    let gas = rpc::as_u256(quantity("gasUsed")?)?;
    let execution = gas.checked_mul(rpc::as_u256(quantity("effectiveGasPrice")?)?)?;
    let data = match quantity("l1Fee") {
        Some(value) => rpc::as_u256(value)?,
        None => U256::ZERO,
    };
    Some(Amount(execution.checked_add(data)?))
}

impl Log {
    fn parse(log: &Value, tx_hash: B256) -> Option<Self> {
        if log.get("removed").and_then(Value::as_bool) == Some(true)
            || rpc::as_word(log.get("transactionHash")?)? != tx_hash
        {
            return None;
        }
        Some(Self {
            index: rpc::as_count(log.get("logIndex")?)?,
            emitter: rpc::as_address(log.get("address")?)?,
            topics: topics(log)?,
            data: rpc::as_bytes(log.get("data")?)?,
        })
    }
}

/// A log's topics: at most four of 32 bytes.
pub(super) fn topics(log: &Value) -> Option<Vec<B256>> {
    let topics = log.get("topics")?.as_array()?;
    if topics.len() > 4 {
        return None;
    }
    topics.iter().map(rpc::as_word).collect()
}

pub(super) fn matches(filter: &LogFilter, emitter: Address, topics: &[B256]) -> bool {
    text::address(&filter.emitter) == Some(emitter)
        && filter.topics.len() <= topics.len()
        && filter.topics.iter().zip(topics).all(|(wanted, topic)| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.as_ref() == topic.as_slice())
        })
}
