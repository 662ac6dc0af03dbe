//! Which transaction had a step's effect, ours or somebody else's: logs since the attempt was journaled, then the receipts
//! of the transactions that hold them, or their logs where a node has no receipt.
//!
//! What is found counts. What is not found proves nothing: logs may lag behind state, and a node that answers with an error,
//! drops a range or shows half a transaction leaves the search incomplete.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use sdk_plugin::chain::{ForeignTx, Watch};
use sdk_plugin::host::{Level, RpcCall, RpcResult};
use sdk_plugin::scheme::LogFilter;
use sdk_plugin::{Cx, Fault, Value};
use serde_json::json;

use super::observe::{Header, transaction};
use super::receipt::{self, Receipt};
use crate::{rpc, text};

/// Most ranges of blocks per watch and filter; of an older watch the newest blocks are searched.
const MAX_RANGES: u64 = 64;

/// Where a transaction is, by one of its logs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    height: u64,
    block: B256,
}

/// One `eth_getLogs` of a search.
#[derive(Debug)]
struct Query {
    watch: usize,
    filter: LogFilter,
    from: u64,
    to: u64,
}

/// The questions of all searches, to be put into a batch.
#[derive(Debug, Default)]
pub(super) struct Search {
    queries: Vec<Query>,
    /// Watches whose search can't be complete.
    incomplete: BTreeSet<usize>,
    /// Transactions that were found, and the watches that they concern.
    hits: BTreeMap<String, (Place, BTreeSet<usize>)>,
}

impl Search {
    /// Searches for `watch` up to `head`. A journaled
    /// height above the head is that of a node that was wrong: the newest blocks are searched.
    pub(super) fn add(&mut self, index: usize, watch: &Watch, head: u64, range: u64) {
        let earliest = |ranges: u64| head.saturating_sub(range.saturating_mul(ranges).saturating_sub(1));
        let mut first = watch.since_height.saturating_add(1);
        if watch.since_height > head {
            self.incomplete.insert(index);
            first = earliest(1);
        } else if first < earliest(MAX_RANGES) {
            self.incomplete.insert(index);
            first = earliest(MAX_RANGES);
        }
        for filter in watch.evidence.iter().flat_map(|evidence| &evidence.foreign) {
            let mut from = first;
            while from <= head {
                let to = from.saturating_add(range - 1).min(head);
                self.queries.push(Query {
                    watch: index,
                    filter: filter.clone(),
                    from,
                    to,
                });
                from = to.saturating_add(1);
            }
        }
    }

    pub(super) fn calls(&self) -> Vec<RpcCall> {
        self.queries.iter().map(Query::call).collect()
    }

    /// Takes the answers to [`Self::calls`], in order.
    pub(super) fn take(&mut self, cx: &Cx, answers: &mut rpc::Answers) -> Result<(), Fault> {
        for query in std::mem::take(&mut self.queries) {
            match query.transactions(answers.take()?) {
                Ok(transactions) => {
                    for (tx_id, place) in transactions {
                        let (_, concerned) =
                            self.hits.entry(tx_id).or_insert_with(|| (place, BTreeSet::new()));
                        concerned.insert(query.watch);
                    }
                }
                Err(why) => {
                    let fields = json!({ "from": query.from, "to": query.to, "why": why });
                    cx.log(Level::Warn, "evm::foreign", "a log search is incomplete", &fields);
                    self.incomplete.insert(query.watch);
                }
            }
        }
        Ok(())
    }

    /// Reads the transactions found. Per watch: what was found, and whether the search was whole.
    pub(super) async fn finish(
        mut self,
        cx: &Cx,
        watches: &[Watch],
        head: u64,
    ) -> Result<impl Fn(usize) -> (Vec<ForeignTx>, bool), Fault> {
        let heights: BTreeSet<u64> = self.hits.values().map(|(place, _)| place.height).collect();
        let mut calls: Vec<RpcCall> = heights.iter().map(|height| Header::at(*height)).collect();
        calls.extend(
            self.hits
                .keys()
                .flat_map(|tx_id| [receipt::get_receipt(tx_id), transaction(tx_id)]),
        );
        let mut answers = rpc::read_all(cx, calls).await?;
        let mut blocks: BTreeMap<u64, B256> = BTreeMap::new();
        for height in heights {
            blocks.extend(Header::hash_at(answers.take()?, height).map(|hash| (height, hash)));
        }
        let mut found: BTreeMap<usize, Vec<ForeignTx>> = BTreeMap::new();
        let mut without_receipt = Vec::new();
        for (tx_id, (place, concerned)) in std::mem::take(&mut self.hits) {
            let read = match answers.take()? {
                RpcResult::Ok(value) => Receipt::read(&value, &tx_id).ok().flatten(),
                RpcResult::Error(_) => None,
            };
            let sent = Sent::read(answers.take()?, &tx_id);
            for index in concerned {
                let Some(watch) = watches.get(index) else { continue };
                // One that shows a failure, or not the log that was found, is of another block, or not whole.
                let in_slot = sent.as_ref().is_some_and(|sent| sent.is_of(watch));
                let agrees = |receipt: &&Receipt| receipt.success && receipt.has(&watch.evidence);
                match read.as_ref().filter(agrees) {
                    Some(receipt) => found.entry(index).or_default().push(ForeignTx {
                        tx_id: tx_id.clone(),
                        height: receipt.height,
                        block: receipt.block.to_string(),
                        earlier: false,
                        in_slot,
                        depth: receipt.depth(head),
                        logs: receipt.logs(&tx_id, &watch.evidence),
                    }),
                    // The node has its logs and no receipt: receipts lag, or are pruned.
                    None => without_receipt.push((index, tx_id.clone(), place.clone(), in_slot)),
                }
            }
        }
        for (index, foreign) in by_logs(cx, watches, without_receipt, head).await? {
            match foreign {
                Some(foreign) => found.entry(index).or_default().push(foreign),
                None => {
                    self.incomplete.insert(index);
                }
            }
        }
        // Logs and receipts may be of a block that the chain has left.
        for (index, transactions) in &mut found {
            let count = transactions.len();
            transactions.retain(|found| blocks.get(&found.height).copied() == text::word(&found.block));
            if transactions.len() < count {
                self.incomplete.insert(*index);
            }
        }
        for transactions in found.values_mut() {
            transactions.sort_by_key(|transaction| transaction.height);
        }
        let incomplete = self.incomplete;
        Ok(move |index| {
            let transactions = found.get(&index).cloned().unwrap_or_default();
            (transactions, !incomplete.contains(&index))
        })
    }
}

/// Transactions as their blocks' logs show them. Logs exist of successful transactions only.
async fn by_logs(
    cx: &Cx,
    watches: &[Watch],
    wanted: Vec<(usize, String, Place, bool)>,
    head: u64,
) -> Result<Vec<(usize, Option<ForeignTx>)>, Fault> {
    let mut calls = Vec::new();
    for (index, _, place, _) in &wanted {
        let filters = watches.get(*index).into_iter().flat_map(filters_of);
        calls.extend(filters.map(|filter| receipt::logs_of_block(&place.block.to_string(), filter)));
    }
    let mut answers = rpc::read_all(cx, calls).await?;
    let mut found = Vec::new();
    for (index, tx_id, place, in_slot) in wanted {
        let mut logs = Some(Vec::new());
        for filter in watches.get(index).into_iter().flat_map(filters_of) {
            let read = receipt::block_logs(answers.take()?, filter);
            logs = match (logs, read) {
                (Some(mut logs), Some(read)) => {
                    logs.extend(
                        read.into_iter()
                            .filter(|log| log.tx_id.eq_ignore_ascii_case(&tx_id)),
                    );
                    Some(logs)
                }
                _ => None,
            };
        }
        let foreign = logs.filter(|logs| !logs.is_empty()).map(|mut logs| {
            logs.sort_by_key(|log| log.index);
            logs.dedup_by_key(|log| log.index);
            ForeignTx {
                tx_id,
                height: place.height,
                block: place.block.to_string(),
                earlier: false,
                in_slot,
                depth: head.saturating_sub(place.height).saturating_add(1),
                logs: logs.into_iter().map(receipt::BlockLog::into_entry).collect(),
            }
        });
        found.push((index, foreign));
    }
    Ok(found)
}

/// Who sent a transaction, and in which place.
struct Sent {
    from: Address,
    nonce: u64,
}

impl Sent {
    /// `None` where the node does not show it.
    fn read(answer: RpcResult, tx_id: &str) -> Option<Self> {
        let RpcResult::Ok(shown) = answer else {
            return None;
        };
        let is_it = rpc::as_word(shown.get("hash")?)? == text::word(tx_id)?;
        is_it.then_some(Self {
            from: rpc::as_address(shown.get("from")?)?,
            nonce: rpc::as_u64(shown.get("nonce")?)?,
        })
    }

    fn is_of(&self, watch: &Watch) -> bool {
        text::address(&watch.lane.signer) == Some(self.from) && self.nonce == watch.sequence
    }
}

fn filters_of(watch: &Watch) -> impl Iterator<Item = &LogFilter> {
    watch.evidence.iter().flat_map(|evidence| &evidence.logs)
}

impl Query {
    fn call(&self) -> RpcCall {
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
    fn transactions(&self, result: RpcResult) -> Result<BTreeMap<String, Place>, String> {
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
                    Place {
                        height: rpc::as_u64(log.get("blockNumber")?)?,
                        block: rpc::as_word(log.get("blockHash")?)?,
                    },
                ))
            };
            let (emitter, topics, tx_id, place) = read().ok_or("a log is malformed")?;
            let in_range = (self.from..=self.to).contains(&place.height);
            if in_range && receipt::matches(&self.filter, emitter, &topics) {
                transactions.insert(tx_id.to_string(), place);
            }
        }
        Ok(transactions)
    }
}
