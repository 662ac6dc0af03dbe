//! One `eth_getLogs`, and the transactions in its answer.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use sdk_plugin::Value;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::scheme::LogFilter;
use serde_json::json;

use super::MAX_QUERIES;
use crate::driver::receipt;
use crate::{rpc, text};

/// Where a transaction is, by one of its logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) height: u64,
    pub(super) block: B256,
}

/// One `eth_getLogs` of a search.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) watch: usize,
    pub(super) filter: LogFilter,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Query {
    pub(super) fn blocks(&self) -> u64 {
        self.to.saturating_sub(self.from).saturating_add(1)
    }

    /// The same search in ranges of at most so many blocks, from the first block on.
    pub(super) fn cut(self, blocks: u64) -> Vec<Self> {
        let blocks = blocks.max(1);
        // No caller runs more of them than this.
        let ranges = self.blocks().div_ceil(blocks).min(MAX_QUERIES as u64 + 1);
        let mut to = self.to;
        let mut parts = Vec::new();
        for _ in 0..ranges {
            let from = to.saturating_sub(blocks - 1).max(self.from);
            parts.push(Self {
                watch: self.watch,
                filter: self.filter.clone(),
                from,
                to,
            });
            if from <= self.from {
                break;
            }
            to = from - 1;
        }
        parts
    }

    pub(super) fn call(&self) -> RpcCall {
        rpc::request(
            "eth_getLogs",
            json!([{
                "address": self.filter.emitter,
                "topics": self.filter.topics,
                "fromBlock": text::quantity(self.from),
                "toBlock": text::quantity(self.to),
            }]),
        )
    }

    /// Transactions whose logs match, by id.
    pub(super) fn transactions(&self, result: RpcResult) -> Result<BTreeMap<String, Position>, String> {
        let logs = match result {
            RpcResult::Ok(Value::Array(logs)) => logs,
            RpcResult::Ok(_) => return Err("the answer is no list".into()),
            RpcResult::Error(error) => return Err(error.message),
        };
        let mut transactions = BTreeMap::new();
        for log in logs {
            let read = || {
                Some((
                    rpc::as_address(log.get("address")?)?,
                    receipt::topics(&log)?,
                    rpc::as_word(log.get("transactionHash")?)?,
                    Position {
                        height: rpc::as_count(log.get("blockNumber")?)?,
                        block: rpc::as_word(log.get("blockHash")?)?,
                    },
                ))
            };
            let (emitter, topics, tx_id, position) = read().ok_or("a log is malformed")?;
            let in_range = (self.from..=self.to).contains(&position.height);
            if in_range && receipt::matches(&self.filter, emitter, &topics) {
                transactions.insert(tx_id.to_string(), position);
            }
        }
        Ok(transactions)
    }
}
