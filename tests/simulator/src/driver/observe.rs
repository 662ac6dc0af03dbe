//! Where transactions stand that are numbered: a first batch of reads from one node, and a second for what the first calls
//! for.

use std::sync::Arc;

use sdk_plugin::chain::{
    Anchor, BlockRef, ForeignTx, GuardState, LogEntry, Observation, ReadResult, TxState, Watch,
};
use sdk_plugin::scheme::{LogFilter, ReadAt, ReadWanted};

use super::SimDriver;
use crate::chain::{Block, Included, Read, View};
use crate::token::Query;

/// A block as drivers name it.
pub(crate) fn name_of(block: &Block) -> BlockRef {
    BlockRef {
        id: block.id.clone(),
        height: block.height,
        time_s: block.mined_ms / 1_000,
    }
}

pub(crate) fn matches(log: &LogEntry, filters: &[LogFilter]) -> bool {
    filters.iter().any(|filter| log.matches(filter))
}

fn filters(watch: &Watch, of: fn(&sdk_plugin::scheme::EvidenceWanted) -> &[LogFilter]) -> Vec<LogFilter> {
    watch
        .evidence
        .iter()
        .flat_map(|wanted| of(wanted).iter().cloned())
        .collect()
}

fn matching(all: &[LogEntry], filters: &[LogFilter]) -> Vec<LogEntry> {
    all.iter().filter(|log| matches(log, filters)).cloned().collect()
}

/// A transaction in its block.
struct Receipt {
    block: Arc<Block>,
    at: usize,
}

impl Receipt {
    fn tx(&self) -> Option<&Included> {
        self.block.txs.get(self.at)
    }
}

impl SimDriver {
    fn receipt(&self, view: &View, id: &str) -> Option<Receipt> {
        let block = self.world.chain().find(view, Read::Receipts, id)?;
        let at = block.txs.iter().position(|tx| tx.id == id)?;
        Some(Receipt { block, at })
    }

    /// A transaction's position as its receipt shows it; its logs.
    pub(super) fn landed(&self, view: &View, watch: &Watch) -> Option<(TxState, Vec<LogEntry>, Arc<Block>)> {
        let receipt = self.receipt(view, &watch.tx_id)?;
        let block = Arc::clone(&receipt.block);
        let (height, id, depth) = (block.height, block.id.clone(), view.depth(block.height));
        let tx = receipt.tx()?;
        Some(match &tx.result {
            Ok(logs) => {
                let logs = matching(logs, &filters(watch, |wanted| &wanted.logs));
                let state = TxState::Landed {
                    height,
                    block: id,
                    depth,
                };
                (state, logs, block)
            }
            Err(why) => {
                let state = TxState::Reverted {
                    height,
                    block: id,
                    depth,
                    message: Some(why.clone()),
                };
                (state, Vec::new(), block)
            }
        })
    }

    /// Where a transaction is that has no receipt. What the node does not show proves nothing.
    fn without_receipt(&self, view: &View, watch: &Watch) -> TxState {
        let is_past = view
            .next_nonce(&watch.lane.signer)
            .is_some_and(|next| next > watch.sequence);
        let is_known = view.is_pooled(&watch.tx_id)
            || self
                .world
                .chain()
                .find(view, Read::Transactions, &watch.tx_id)
                .is_some();
        if is_past {
            TxState::SlotUsed
        } else if is_known || !watch.pool {
            TxState::Pending
        } else {
            TxState::Unknown
        }
    }

    pub(super) fn observe_one(
        &self,
        first: &View,
        second: &View,
        watch: &Watch,
        head_height: u64,
    ) -> Observation {
        let landed = self.landed(first, watch);
        let (state, logs, block) = match landed {
            Some((state, logs, block)) => (state, logs, Some(block)),
            None => (self.without_receipt(first, watch), Vec::new(), None),
        };
        let head = first.head().map(|block| name_of(block));
        let own = block.as_deref().map(name_of);
        let anchor = match &state {
            TxState::Reverted { .. } => own
                .as_ref()
                .and_then(|own| anchor(second, watch, own))
                .filter(|anchor| !anchor.guards.contains(&GuardState::Unread))
                .or_else(|| anchor(second, watch, head.as_ref()?)),
            TxState::SlotUsed => head.as_ref().and_then(|head| anchor(second, watch, head)),
            _ if watch.read_guards => head.as_ref().and_then(|head| anchor(second, watch, head)),
            _ => None,
        };
        let reads = own.map_or_else(Vec::new, |at| reads(second, watch, &at, watch.whole_block));
        let block_logs = match (&state, &block) {
            (TxState::Landed { .. }, Some(block)) if watch.whole_block => {
                let wanted = filters(watch, |wanted| &wanted.block_logs);
                let all = block.txs.iter().filter_map(|tx| tx.result.as_ref().ok());
                all.flat_map(|logs| matching(logs, &wanted)).collect()
            }
            _ => Vec::new(),
        };
        let searches = watch.search_foreign && !first.is_silent(Read::Logs);
        Observation {
            state,
            logs,
            reads,
            foreign: if searches {
                foreign(first, watch)
            } else {
                Vec::new()
            },
            foreign_searched: searches,
            block: watch.block.as_ref().map(|block| first.stands(block)),
            anchor,
            block_logs,
            ..Observation::of(watch.attempt_id.clone(), TxState::Unknown, head_height)
        }
    }
}

/// Transactions that match, our own included, as far as the logs' index has come.
fn foreign(view: &View, watch: &Watch) -> Vec<ForeignTx> {
    let wanted = filters(watch, |wanted| &wanted.logs);
    let searched = filters(watch, |wanted| &wanted.foreign);
    let blocks = view.blocks(Read::Logs);
    let first = blocks.partition_point(|block| block.height < watch.since_height);
    let mut found = Vec::new();
    for block in blocks.get(first..).unwrap_or_default() {
        for tx in &block.txs {
            let Ok(all) = &tx.result else { continue };
            if all.iter().any(|log| matches(log, &searched)) {
                found.push(ForeignTx {
                    tx_id: tx.id.clone(),
                    height: block.height,
                    block: block.id.clone(),
                    earlier: false,
                    in_slot: false,
                    call: None,
                    depth: view.depth(block.height),
                    logs: matching(all, &wanted),
                });
            }
        }
    }
    found
}

/// Nonce and guards at a block that is named by its id; `None` when the node does not know the block.
fn anchor(view: &View, watch: &Watch, at: &BlockRef) -> Option<Anchor> {
    let nonces = view.block(Read::Nonces, &at.id, at.height)?;
    let next_sequence = nonces.state.nonces.get(&watch.lane.signer).copied().unwrap_or(0);
    let guards = watch.evidence.iter().map(|wanted| {
        let Some(guard) = &wanted.guard else {
            return GuardState::Absent;
        };
        match answer(view, at, &guard.read).and_then(|result| guard.is_unchanged(&result.0)) {
            Some(true) => GuardState::Unchanged,
            Some(false) => GuardState::Changed,
            None => GuardState::Unread,
        }
    });
    Some(Anchor {
        block: at.clone(),
        next_sequence,
        guards: guards.collect(),
        reads: reads(view, watch, at, false),
    })
}

fn answer(view: &View, at: &BlockRef, read: &ReadWanted) -> Option<sdk_plugin::HexBytes> {
    let state = view.state_at(at)?;
    Some(Query::decode(&read.data)?.answer(state))
}

/// Reads of a block and, when the whole block is wanted, of its parent.
fn reads(view: &View, watch: &Watch, at: &BlockRef, with_parent: bool) -> Vec<ReadResult> {
    let state = view.blocks(Read::State);
    let parent = view
        .block(Read::State, &at.id, at.height)
        .and_then(|_| state.iter().find(|block| block.height + 1 == at.height))
        .map(|block| name_of(block));
    let wanted = watch.evidence.iter().flat_map(|wanted| &wanted.reads);
    wanted
        .filter(|read| read.at == ReadAt::Block || with_parent)
        .map(|read| ReadResult {
            name: read.name.clone(),
            data: match read.at {
                ReadAt::Block => answer(view, at, read),
                ReadAt::Parent => parent.as_ref().and_then(|parent| answer(view, parent, read)),
            },
        })
        .collect()
}
