//! Brief polls: whether a transaction landed, or whether the block that decided is still canonical, with as few calls as
//! possible. A transaction in no block costs one call, one that landed two, a decided one two.
//!
//! They leave out the chain id and the nonces, and therefore accept only what binds its answer to this chain by itself: a
//! receipt of our transaction, whose hash covers the chain id (EIP-155), in a block that the same node shows at its height;
//! or a block with the very hash that was accepted earlier. Absence decides nothing. Whatever else a node shows, a failure
//! included, needs a complete poll, which has the chain id in the same batch.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use sdk_plugin::chain::{BlockRef, BlockStands, Observation, TxState, Watch};
use sdk_plugin::host::RpcResult;
use sdk_plugin::{Cx, Fault};

use super::view::Header;
use crate::driver::receipt::{self, Receipt};
use crate::{rpc, text};

/// What a node shows in a brief poll; `None`: a complete one is needed.
pub(super) async fn read(cx: &Cx, watches: &[Watch]) -> Result<Option<Vec<Observation>>, Fault> {
    if !watches.iter().all(is_brief) {
        return Ok(None);
    }
    let Some(first) = First::read(cx, watches).await? else {
        return Ok(None);
    };
    let Some(blocks) = blocks_of_receipts(cx, &first).await? else {
        return Ok(None);
    };
    let finality = cx.network().finality.max(1);
    let observations = watches
        .iter()
        .map(|watch| first.observation(watch, &blocks, finality));
    Ok(observations.collect())
}

fn is_brief(watch: &Watch) -> bool {
    let wants_more = watch.pool || watch.read_guards || watch.search_foreign || watch.whole_block;
    let is_known = !watch.tx_id.is_empty() && watch.block.is_some() == watch.by_block;
    watch.brief && is_known && !wants_more
}

/// The block that a watch follows.
fn followed(watch: &Watch) -> Option<&BlockRef> {
    watch.block.as_ref().filter(|_| watch.by_block)
}

/// The first batch of one node.
struct First {
    /// `None`: it was not read.
    head: Option<u64>,
    blocks: BTreeMap<u64, B256>,
    /// By transaction id; `None`: no block shows the transaction.
    receipts: BTreeMap<String, Option<Receipt>>,
}

impl First {
    /// `None`: something is missing, failed or unexpected.
    async fn read(cx: &Cx, watches: &[Watch]) -> Result<Option<Self>, Fault> {
        let undecided = || watches.iter().filter(|watch| followed(watch).is_none());
        // The depth of a receipt's own block is 1; more needs the head. A followed block is final by the block above it.
        let wants_head = (undecided().count() > 0 && cx.network().confirmations > 1)
            || watches
                .iter()
                .any(|watch| followed(watch).is_some() && watch.final_at.is_none());
        let heights: BTreeSet<u64> = watches
            .iter()
            .filter_map(|watch| Some((followed(watch)?.height, watch.final_at)))
            .flat_map(|(height, final_at)| std::iter::once(height).chain(final_at))
            .collect();
        let ids: BTreeSet<&str> = undecided().map(|watch| watch.tx_id.as_str()).collect();
        let mut calls = Vec::new();
        if wants_head {
            calls.push(rpc::newest_block());
        }
        // From the top down, as in a complete poll.
        calls.extend(heights.iter().rev().map(|height| Header::at(*height)));
        calls.extend(ids.iter().map(|id| receipt::get_receipt(id)));
        let mut answers = rpc::NODES.read_all(cx, calls).await?;

        let mut blocks = BTreeMap::new();
        let mut head = None;
        if wants_head {
            let RpcResult::Ok(block) = answers.take()? else {
                return Ok(None);
            };
            let Some(header) = Header::read(&block) else {
                return Ok(None);
            };
            head = Some(header.height);
            blocks.insert(header.height, header.hash);
        }
        for height in heights.iter().rev() {
            let Some(hash) = Header::hash_at(answers.take()?, *height) else {
                return Ok(None);
            };
            blocks.insert(*height, hash);
        }
        let mut receipts = BTreeMap::new();
        for id in ids {
            let RpcResult::Ok(answer) = answers.take()? else {
                return Ok(None);
            };
            // What reverted is judged with its guards, which come with the chain id.
            match Receipt::read(&answer, id) {
                Ok(receipt) if receipt.as_ref().is_none_or(|receipt| receipt.success) => {
                    receipts.insert(id.to_owned(), receipt);
                }
                Ok(_) | Err(_) => return Ok(None),
            }
        }
        let first = Self {
            head,
            blocks,
            receipts,
        };
        Ok(watches
            .iter()
            .filter_map(followed)
            .all(|block| first.shows(block))
            .then_some(first))
    }

    fn shows(&self, block: &BlockRef) -> bool {
        let hash = self.blocks.get(&block.height).copied();
        hash.is_some() && hash == text::word(&block.id)
    }

    fn observation(&self, watch: &Watch, blocks: &BTreeMap<u64, B256>, finality: u64) -> Option<Observation> {
        let deep = |height: u64| {
            let head = self.head.unwrap_or(0).max(height);
            head.saturating_sub(height).saturating_add(1)
        };
        // A head is a number that any node can name: it makes nothing final.
        let by_head = |height: u64| deep(height).min(finality.saturating_sub(1).max(1));
        if let Some(block) = followed(watch) {
            // Both blocks were shown, the upper one first.
            let depth = match watch.final_at {
                Some(top) => top.saturating_sub(block.height).saturating_add(1),
                None => by_head(block.height),
            };
            let state = TxState::Landed {
                height: block.height,
                block: block.id.clone(),
                depth,
            };
            let head = watch.final_at.into_iter().chain(self.head).max();
            return Some(Observation {
                block: Some(BlockStands::Canonical { depth }),
                ..Observation::of(watch.attempt_id.clone(), state, head.unwrap_or(block.height))
            });
        }
        let Some(receipt) = self.receipts.get(&watch.tx_id)? else {
            let head = self.head.unwrap_or(0);
            return Some(Observation::of(watch.attempt_id.clone(), TxState::Pending, head));
        };
        // A receipt may be that of a block which the chain has left.
        if blocks.get(&receipt.height) != Some(&receipt.block) {
            return None;
        }
        let state = TxState::Landed {
            height: receipt.height,
            block: receipt.block.to_string(),
            depth: by_head(receipt.height),
        };
        let head = self.head.unwrap_or(0).max(receipt.height);
        Some(Observation {
            logs: receipt.logs(&watch.tx_id, &watch.evidence),
            fee: receipt.fee,
            ..Observation::of(watch.attempt_id.clone(), state, head)
        })
    }
}

/// The blocks at the heights of the receipts; `None`: the node does not show one of them.
async fn blocks_of_receipts(cx: &Cx, first: &First) -> Result<Option<BTreeMap<u64, B256>>, Fault> {
    let mut blocks = first.blocks.clone();
    let heights = first.receipts.values().flatten().map(|receipt| receipt.height);
    let unknown: BTreeSet<u64> = heights.filter(|height| !blocks.contains_key(height)).collect();
    let calls = unknown.iter().map(|height| Header::at(*height));
    let mut answers = rpc::NODES.read_all(cx, calls.collect()).await?;
    for height in unknown {
        let Some(hash) = Header::hash_at(answers.take()?, height) else {
            return Ok(None);
        };
        blocks.insert(height, hash);
    }
    Ok(Some(blocks))
}
