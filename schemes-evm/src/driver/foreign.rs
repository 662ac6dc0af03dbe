//! Whether somebody else's transaction made a payment: logs since the attempt was journaled, then the receipts of the
//! transactions that hold them.
//!
//! A search is complete or it is not: a node that answers with an error, drops a range or shows half a transaction
//! leaves it incomplete, and nothing may be concluded from silence.

use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::chain::{ForeignTx, Watch};
use sdk_plugin::host::{Level, RpcCall, RpcResult};
use sdk_plugin::scheme::LogFilter;
use sdk_plugin::{Cx, Fault, Value};
use serde_json::json;

use super::receipt::{self, Receipt};
use crate::{rpc, text};

/// Most ranges of blocks per watch and filter; a watch older than that is not searched.
const MAX_RANGES: u64 = 64;

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
    /// Transactions to look at, and the watches that they concern.
    hits: BTreeMap<String, BTreeSet<usize>>,
}

impl Search {
    /// Searches for `watch` up to `head`. What landed before the attempt was journaled is none of its business.
    pub(super) fn add(&mut self, index: usize, watch: &Watch, head: u64, range: u64) {
        let Some(first) = watch.since_height.checked_add(1).filter(|first| *first <= head) else {
            return;
        };
        if (head - first) / range >= MAX_RANGES {
            self.incomplete.insert(index);
            return;
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
    pub(super) fn take(
        &mut self,
        cx: &Cx,
        watches: &[Watch],
        answers: &mut rpc::Answers,
    ) -> Result<(), Fault> {
        for query in std::mem::take(&mut self.queries) {
            match query.transactions(answers.take()?) {
                Ok(transactions) => {
                    for tx_id in transactions {
                        let own = watches
                            .get(query.watch)
                            .is_some_and(|watch| watch.tx_id.eq_ignore_ascii_case(&tx_id));
                        if !own {
                            self.hits.entry(tx_id).or_default().insert(query.watch);
                        }
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

    /// Reads the transactions found. Per watch: what was found, or `None` where the search is incomplete.
    pub(super) async fn finish(
        mut self,
        cx: &Cx,
        watches: &[Watch],
        head: u64,
    ) -> Result<impl Fn(usize) -> (Vec<ForeignTx>, bool), Fault> {
        let calls = self
            .hits
            .keys()
            .map(|tx_id| receipt::get_receipt(tx_id))
            .collect();
        let mut answers = rpc::read_all(cx, calls).await?;
        let mut found: BTreeMap<usize, Vec<ForeignTx>> = BTreeMap::new();
        for (tx_id, concerned) in std::mem::take(&mut self.hits) {
            let read = match answers.take()? {
                RpcResult::Ok(value) => Receipt::read(&value, &tx_id).ok().flatten(),
                RpcResult::Error(_) => None,
            };
            for index in concerned {
                match (&read, watches.get(index)) {
                    (Some(receipt), Some(watch)) => found.entry(index).or_default().push(ForeignTx {
                        tx_id: tx_id.clone(),
                        height: receipt.height,
                        depth: receipt.depth(head),
                        logs: receipt.logs(&tx_id, &watch.evidence),
                    }),
                    // Reorganised away between two reads, or the node lags behind itself.
                    (None, _) | (_, None) => {
                        self.incomplete.insert(index);
                    }
                }
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

    /// Ids of the transactions whose logs match.
    fn transactions(&self, result: RpcResult) -> Result<BTreeSet<String>, String> {
        let logs = match result {
            RpcResult::Ok(Value::Array(logs)) => logs,
            RpcResult::Ok(_) => return Err("the answer is no list".into()),
            RpcResult::Error(error) => return Err(error.message),
        };
        let mut transactions = BTreeSet::new();
        for log in logs {
            let read = || {
                Some((
                    rpc::as_address(log.get("address")?)?,
                    receipt::topics(&log)?,
                    rpc::as_word(log.get("transactionHash")?)?,
                ))
            };
            let (emitter, topics, tx_id) = read().ok_or("a log is malformed")?;
            if receipt::matches(&self.filter, emitter, &topics) {
                transactions.insert(tx_id.to_string());
            }
        }
        Ok(transactions)
    }
}
