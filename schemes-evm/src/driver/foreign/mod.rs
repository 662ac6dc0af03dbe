//! Which transaction had a step's effect, ours or another sender's: logs since the attempt was journaled, then the receipts
//! of the transactions that hold them, or their logs where a node has no receipt.
//!
//! Providers limit what one search may cover: ranges are reduced to the limit that they name, or halved (exact-evm.md
//! section 16).
//!
//! What is found counts. What is not found proves nothing: logs may lag state, and a node that answers with an error,
//! drops a range or shows half a transaction leaves the search incomplete.

mod limits;
mod query;

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use sdk_plugin::chain::{ForeignCall, ForeignTx, Watch};
use sdk_plugin::host::{Level, RpcCall, RpcResult};
use sdk_plugin::scheme::LogFilter;
use sdk_plugin::{Cx, Fault, HexBytes};
use serde_json::json;

pub(super) use self::limits::LogLimits;
use self::query::{Position, Query};
use super::observe::{Header, transaction};
use super::receipt::{self, Receipt};
use super::wording::{self, Class};
use crate::{rpc, signature, text};

/// Most ranges of blocks per watch and filter, of the configured size; of an older watch the newest blocks are searched.
const MAX_RANGES: u64 = 64;
/// Most searches of one poll, once nodes have made the ranges smaller: the newest blocks are searched first.
const MAX_QUERIES: usize = 512;
/// Larger calldata than this is not handed on: a signature, and the arguments around it, are smaller.
const MAX_CALL_BYTES: usize = 2 * signature::MAX_SIGNATURE_BYTES;
/// Most times that a poll makes its ranges smaller: halving reaches one block from a thousand.
const MAX_ROUNDS: usize = 11;

/// All searches of one poll.
#[derive(Debug, Default)]
pub(super) struct Search {
    queries: Vec<Query>,
    /// Watches whose search can't be complete.
    incomplete: BTreeSet<usize>,
    /// Transactions that were found, and the watches that they concern.
    hits: BTreeMap<String, (Position, BTreeSet<usize>)>,
    /// The smallest range that was tried because a node refused a larger one, and the node's message.
    smaller: Option<(u64, String)>,
    /// Why a part of the search has no answer.
    refused: Option<String>,
}

impl Search {
    /// Searches for `watch` up to `head`, in ranges of at most `accepted` blocks; `range`: the configured size. A journaled
    /// height above the head is that of a node that was wrong: the newest blocks are searched.
    pub(super) fn add(&mut self, index: usize, watch: &Watch, head: u64, range: u64, accepted: u64) {
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
            if first <= head {
                let whole = Query {
                    watch: index,
                    filter: filter.clone(),
                    from: first,
                    to: head,
                };
                self.queries.extend(whole.cut(accepted.min(range)));
            }
        }
    }

    /// Searches. What nodes refuse as too large is searched in smaller ranges; what they do not answer leaves the search
    /// incomplete, and does not affect other watches.
    pub(super) async fn run(&mut self, cx: &Cx) -> Result<(), Fault> {
        for _ in 0..MAX_ROUNDS {
            // The newest blocks first: what is searched for is mostly there.
            self.queries.sort_by_key(|query| std::cmp::Reverse(query.to));
            for query in self.queries.drain(self.queries.len().min(MAX_QUERIES)..) {
                self.incomplete.insert(query.watch);
            }
            if self.queries.is_empty() {
                return Ok(());
            }
            let queries = std::mem::take(&mut self.queries);
            let calls = queries.iter().map(Query::call).collect();
            match rpc::NODES.read_all(cx, calls).await {
                Ok(mut answers) => {
                    for query in queries {
                        let answer = answers.take()?;
                        self.take(cx, query, answer);
                    }
                }
                Err(fault) => {
                    for query in queries {
                        if may_be_too_large(&fault) {
                            self.narrow_or_refuse(cx, query, &fault.message);
                        } else {
                            self.refused(cx, query, &fault.message);
                        }
                    }
                }
            }
        }
        for query in std::mem::take(&mut self.queries) {
            self.incomplete.insert(query.watch);
        }
        Ok(())
    }

    fn take(&mut self, cx: &Cx, query: Query, answer: RpcResult) {
        let is_too_large = match &answer {
            RpcResult::Ok(_) => false,
            RpcResult::Error(error) => {
                matches!(
                    wording::class(error),
                    Some(Class::RangeTooLarge | Class::TimeLimit)
                )
            }
        };
        match query.transactions(answer) {
            Ok(transactions) => {
                for (tx_id, position) in transactions {
                    let (_, concerned) = self
                        .hits
                        .entry(tx_id)
                        .or_insert_with(|| (position, BTreeSet::new()));
                    concerned.insert(query.watch);
                }
            }
            Err(why) if is_too_large => self.narrow_or_refuse(cx, query, &why),
            Err(why) => self.refused(cx, query, &why),
        }
    }

    /// A search that is too large for a node is repeated in smaller ranges. One block can't be made smaller.
    fn narrow_or_refuse(&mut self, cx: &Cx, query: Query, why: &str) {
        let blocks = query.blocks();
        if blocks <= 1 {
            self.refused(cx, query, why);
            return;
        }
        let allowed = wording::allowed_blocks(why).filter(|allowed| *allowed < blocks);
        let smaller = allowed.unwrap_or(blocks / 2).max(1);
        self.queries.extend(query.cut(smaller));
        if self.smaller.as_ref().is_none_or(|(known, _)| smaller < *known) {
            self.smaller = Some((smaller, why.to_owned()));
        }
    }

    /// A part of the search has no result.
    fn refused(&mut self, cx: &Cx, query: Query, why: &str) {
        let fields = json!({ "from": query.from, "to": query.to, "why": why });
        cx.log(Level::Warn, "evm::foreign", "a log search is incomplete", &fields);
        self.incomplete.insert(query.watch);
        self.refused = Some(why.to_owned());
    }

    /// Reads the transactions found. Per watch: what was found, and whether the search was whole.
    pub(super) async fn finish(
        mut self,
        cx: &Cx,
        watches: &[Watch],
        head: u64,
    ) -> Result<impl Fn(usize) -> (Vec<ForeignTx>, bool), Fault> {
        let heights: BTreeSet<u64> = self.hits.values().map(|(position, _)| position.height).collect();
        let mut calls: Vec<RpcCall> = heights.iter().map(|height| Header::at(*height)).collect();
        calls.extend(
            self.hits
                .keys()
                .flat_map(|tx_id| [receipt::get_receipt(tx_id), transaction(tx_id)]),
        );
        let mut answers = rpc::NODES.read_all(cx, calls).await?;
        let mut blocks: BTreeMap<u64, B256> = BTreeMap::new();
        for height in heights {
            blocks.extend(Header::hash_at(answers.take()?, height).map(|hash| (height, hash)));
        }
        let mut found: BTreeMap<usize, Vec<ForeignTx>> = BTreeMap::new();
        let mut without_receipt = Vec::new();
        for (tx_id, (position, concerned)) in std::mem::take(&mut self.hits) {
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
                        call: sent.as_ref().and_then(Sent::call),
                        depth: receipt.depth(head),
                        logs: receipt.logs(&tx_id, &watch.evidence),
                    }),
                    // The node has its logs and no receipt: receipts lag, or are pruned.
                    None => without_receipt.push(Unconfirmed {
                        watch: index,
                        tx_id: tx_id.clone(),
                        position: position.clone(),
                        in_slot,
                        call: sent.as_ref().and_then(Sent::call),
                    }),
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

/// A transaction that a search found, and that has no receipt.
struct Unconfirmed {
    watch: usize,
    tx_id: String,
    position: Position,
    in_slot: bool,
    call: Option<ForeignCall>,
}

/// Transactions as their blocks' logs show them. Logs exist of successful transactions only.
async fn by_logs(
    cx: &Cx,
    watches: &[Watch],
    wanted: Vec<Unconfirmed>,
    head: u64,
) -> Result<Vec<(usize, Option<ForeignTx>)>, Fault> {
    let mut calls = Vec::new();
    for Unconfirmed { watch, position, .. } in &wanted {
        let filters = watches.get(*watch).into_iter().flat_map(filters_of);
        calls.extend(filters.map(|filter| receipt::logs_of_block(&position.block.to_string(), filter)));
    }
    let mut answers = rpc::NODES.read_all(cx, calls).await?;
    let mut found = Vec::new();
    for Unconfirmed {
        watch: index,
        tx_id,
        position,
        in_slot,
        call,
    } in wanted
    {
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
                height: position.height,
                block: position.block.to_string(),
                earlier: false,
                in_slot,
                call,
                depth: head.saturating_sub(position.height).saturating_add(1),
                logs: logs.into_iter().map(receipt::BlockLog::into_entry).collect(),
            }
        });
        found.push((index, foreign));
    }
    Ok(found)
}

/// A transaction as it was sent.
struct Sent {
    from: Address,
    nonce: u64,
    /// `None` where the node does not show it whole, and for the creation of a contract.
    called: Option<(Address, Vec<u8>)>,
}

impl Sent {
    /// `None` where the node does not show it.
    fn read(answer: RpcResult, tx_id: &str) -> Option<Self> {
        let RpcResult::Ok(shown) = answer else {
            return None;
        };
        let is_it = rpc::as_word(shown.get("hash")?)? == text::word(tx_id)?;
        let called = || {
            let target = rpc::as_address(shown.get("to")?)?;
            Some((target, rpc::as_bytes(shown.get("input")?)?))
        };
        is_it.then_some(Self {
            from: rpc::as_address(shown.get("from")?)?,
            nonce: rpc::as_count(shown.get("nonce")?)?,
            called: called(),
        })
    }

    fn is_of(&self, watch: &Watch) -> bool {
        text::address(&watch.lane.signer) == Some(self.from) && self.nonce == watch.sequence
    }

    fn call(&self) -> Option<ForeignCall> {
        let (target, data) = self.called.as_ref()?;
        (data.len() <= MAX_CALL_BYTES).then(|| ForeignCall {
            target: text::lower(*target),
            data: HexBytes(data.clone()),
        })
    }
}

fn filters_of(watch: &Watch) -> impl Iterator<Item = &LogFilter> {
    watch.evidence.iter().flat_map(|evidence| &evidence.logs)
}

/// Whether a fault without the node's own message may come from a search over too much: -32005 is how several providers refuse
/// one, and the host keeps no text where it does not know the wording.
fn may_be_too_large(fault: &Fault) -> bool {
    fault.message.contains("(error -32005)")
}
