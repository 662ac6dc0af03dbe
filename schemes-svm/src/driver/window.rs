//! The blocks in which a transaction could land, as nodes show them, and canaries from among them.
//!
//! A canary is a signature that a node must know if it has the history of these blocks. They are taken from the window's
//! first block, from its last one, and from one that is in the window of every transaction of the group: a node that has
//! forgotten the oldest slot of the window does not know the first, and one whose index lags does not know the last.
//! That no block between them is missing is shown by their heights, and that none is missing in front of the first one by the
//! slot of its parent. Where only one node answers, every block is searched for the transactions themselves.

use std::collections::BTreeSet;

use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Cx, Value};
use serde_json::json;

use super::heights::LIFE_BLOCKS;
use super::unproven::Unproven;
use crate::rpc::status::{Stage, Status};
use crate::rpc::{self, FINALIZED};
use crate::text;

/// Slots that are searched for the blocks of a window. A window has some 200 blocks, so most slots may be skipped.
const MAX_SLOTS: u64 = 4_096;
/// Canaries of one block: nodes may keep no votes in their history.
const CANARIES: usize = 4;
/// Blocks that one search reads, and how many of them with one call: they may have thousands of signatures. A window of
/// usual length is searched within the minute after which an only node decides.
const BLOCKS_PER_SEARCH: usize = 64;
const BLOCKS_PER_CALL: usize = 4;
/// Blocks without transactions that are skipped at each slot.
const MAX_EMPTY_BLOCKS: usize = 4;

/// A window of consecutive finalized blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// The slot from which on the blocks were listed.
    from: u64,
    /// The slots that have a block, in order.
    slots: Vec<u64>,
    /// The height of the first block.
    height: u64,
    canaries: Vec<Canaries>,
}

/// Signatures of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Canaries {
    slot: u64,
    signatures: Vec<String>,
}

/// A block as `getBlock` shows it.
struct Block {
    parent_slot: u64,
    height: u64,
    signatures: Vec<String>,
}

/// The call that lists the finalized blocks of these slots.
fn list(from: u64, to: u64) -> RpcCall {
    rpc::request("getBlocks", json!([from, to, { "commitment": FINALIZED }]))
}

/// The call whose answer [`check_first_available`] reads.
pub(super) fn first_available() -> RpcCall {
    rpc::request("getFirstAvailableBlock", json!([]))
}

/// Whether a node claims to have the history from slot `from` on.
pub(super) fn check_first_available(answer: RpcResult, from: u64) -> Result<(), Unproven> {
    let what = "getFirstAvailableBlock";
    let first = rpc::number(answer, what).map_err(|fault| Unproven::NoBlocks(fault.message))?;
    if first <= from {
        return Ok(());
    }
    Err(Unproven::Pruned(format!(
        "the node's first available block is that of slot {first}, the transactions are as old as slot {from}"
    )))
}

fn get_block(slot: u64) -> RpcCall {
    let options = json!({
        "commitment": FINALIZED,
        "transactionDetails": "signatures",
        "rewards": false,
        "maxSupportedTransactionVersion": 0,
    });
    rpc::request("getBlock", json!([slot, options]))
}

impl Window {
    /// Reads the blocks from slot `from` to the last one that a transaction whose blockhash was known at slot `known_at` can
    /// land in. `ids` are the transactions that no status is known of, none of which can land after block `last_valid`.
    pub(super) async fn read(
        cx: &Cx,
        (from, known_at): (u64, u64),
        last_valid: u64,
        ids: &[&str],
    ) -> Result<Self, Unproven> {
        let calls = vec![
            rpc::block_height(FINALIZED),
            first_available(),
            list(from, from.saturating_add(MAX_SLOTS)),
        ];
        let mut answers = rpc::NODES.read_all(cx, calls).await?;
        if rpc::number(answers.take()?, "getBlockHeight")? <= last_valid {
            return Err(Unproven::TooEarly);
        }
        check_first_available(answers.take()?, from)?;
        let mut slots = slots(answers.take()?)?;
        let known = slots.partition_point(|slot| *slot < known_at);
        let last = known.saturating_add(as_index(LIFE_BLOCKS));
        if last >= slots.len() || slots.first().is_none_or(|slot| *slot < from) {
            return Err(Unproven::NoBlocks(format!(
                "the node lists {} of the {} blocks from slot {from} on",
                slots.len(),
                last.saturating_add(1)
            )));
        }
        slots.truncate(last.saturating_add(1));
        let mut window = Self {
            from,
            slots,
            height: 0,
            canaries: Vec::new(),
        };
        window.find_canaries(cx, known, ids).await?;
        Ok(window)
    }

    /// Walks from the two ends inwards, and from the block at `known` on, past blocks without transactions.
    async fn find_canaries(&mut self, cx: &Cx, known: usize, ids: &[&str]) -> Result<(), Unproven> {
        let last = self.slots.len().saturating_sub(1);
        let mut wanted = [Some(0), Some(known), Some(last)];
        let mut height = None;
        for _ in 0..MAX_EMPTY_BLOCKS {
            let indices: BTreeSet<usize> = wanted.iter().flatten().copied().collect();
            let at = |index: &usize| self.slots.get(*index).copied().unwrap_or_default();
            let calls = indices.iter().map(|index| get_block(at(index))).collect();
            let mut answers = rpc::NODES.read_all(cx, calls).await?;
            for index in &indices {
                let slot = at(index);
                let block = Block::read(slot, answers.take()?)?;
                // Nothing is missing in front of the first one either.
                if *index == 0 && slot > self.from && block.parent_slot >= self.from {
                    return Err(Unproven::NoBlocks(format!(
                        "the node does not list the block of slot {}",
                        block.parent_slot
                    )));
                }
                // Heights count blocks: two of them as far apart as their indices in the list have none missing between.
                let first = block.height.checked_sub(as_u64(*index));
                let Some(first) = first.filter(|first| height.is_none_or(|known| known == *first)) else {
                    return Err(Unproven::NoBlocks(format!(
                        "the node's list of blocks from slot {} on and the height {} of slot {slot} contradict each other",
                        self.from, block.height
                    )));
                };
                height = Some(first);
                block.check_has_none_of(slot, ids)?;
                let found = !block.signatures.is_empty();
                if found {
                    self.canaries.push(Canaries {
                        slot,
                        signatures: spread(block.signatures),
                    });
                }
                for (position, at) in wanted
                    .iter_mut()
                    .enumerate()
                    .filter(|(_, at)| **at == Some(*index))
                {
                    *at = match (found, position) {
                        (true, _) => None,
                        (false, 2) => index.checked_sub(1),
                        (false, _) => Some(index.saturating_add(1)).filter(|next| *next <= last),
                    };
                    if !found && at.is_none() {
                        return Err(no_transactions(slot));
                    }
                }
            }
            if wanted.iter().all(Option::is_none) {
                self.height = height.unwrap_or_default();
                return Ok(());
            }
        }
        Err(no_transactions(self.from))
    }

    /// Reads some blocks from slot `from` on and searches them for transactions. Returns one past the last slot that was read.
    pub(super) async fn search(&self, cx: &Cx, from: u64, ids: &[&str]) -> Result<u64, Unproven> {
        let first = self.slots.partition_point(|slot| *slot < from);
        let slots = self.slots.iter().skip(first).take(BLOCKS_PER_SEARCH);
        let slots: Vec<u64> = slots.copied().collect();
        for some in slots.chunks(BLOCKS_PER_CALL) {
            let calls = some.iter().map(|slot| get_block(*slot)).collect();
            let mut answers = rpc::NODES.read_all(cx, calls).await?;
            for slot in some {
                Block::read(*slot, answers.take()?)?.check_has_none_of(*slot, ids)?;
            }
        }
        Ok(slots.last().map_or(from, |slot| slot.saturating_add(1)))
    }

    /// The call whose answer [`Window::check_list`] reads.
    pub(super) fn list(&self) -> RpcCall {
        list(self.from, self.last_slot())
    }

    pub(super) fn first_slot(&self) -> u64 {
        self.slots.first().copied().unwrap_or_default()
    }

    pub(super) fn last_slot(&self) -> u64 {
        self.slots.last().copied().unwrap_or_default()
    }

    /// The last block height in which a transaction can land whose blockhash was known at this slot.
    pub(super) fn last_valid(&self, known_at: u64) -> u64 {
        let index = self.slots.partition_point(|slot| *slot < known_at);
        self.height
            .saturating_add(as_u64(index))
            .saturating_add(LIFE_BLOCKS)
    }

    /// All canaries, in the order in which [`Window::check_canaries`] takes their statuses.
    pub(super) fn signatures(&self) -> Vec<&str> {
        let all = self.canaries.iter().flat_map(|block| &block.signatures);
        all.map(String::as_str).collect()
    }

    /// Whether a node has every block of the window.
    pub(super) fn check_list(&self, answer: RpcResult) -> Result<(), Unproven> {
        let listed = slots(answer)?;
        if listed == self.slots {
            return Ok(());
        }
        Err(Unproven::NoBlocks(format!(
            "the node lists {} of the {} blocks of slots {} to {}",
            listed.len(),
            self.slots.len(),
            self.first_slot(),
            self.last_slot()
        )))
    }

    /// Whether a node knows canaries of each block that has some; the first one that it knows.
    pub(super) fn check_canaries(&self, statuses: &[Option<Status>]) -> Result<&str, Unproven> {
        let mut statuses = statuses.iter();
        let mut first = None;
        for block in &self.canaries {
            let mut found = false;
            for signature in &block.signatures {
                let Some(status) = statuses.next().and_then(Option::as_ref) else {
                    continue;
                };
                if status.slot != block.slot || status.stage != Stage::Finalized {
                    return Err(Unproven::Contradicted(format!(
                        "transaction {signature} of finalized slot {} has a status of slot {} that is not final or elsewhere",
                        block.slot, status.slot
                    )));
                }
                found = true;
                first = first.or(Some(signature.as_str()));
            }
            if !found {
                return Err(Unproven::NoCanary(format!(
                    "the node knows no status of the transactions of slot {}",
                    block.slot
                )));
            }
        }
        first.ok_or_else(|| no_transactions(self.from))
    }
}

fn no_transactions(slot: u64) -> Unproven {
    Unproven::NoCanary(format!("the blocks at slot {slot} have no transactions"))
}

/// Some of the signatures, from everywhere in the block.
fn spread(signatures: Vec<String>) -> Vec<String> {
    let count = signatures.len();
    let last = count.saturating_sub(1);
    let steps = CANARIES.saturating_sub(1);
    let chosen: BTreeSet<usize> = (0..CANARIES).map(|step| last * step / steps).collect();
    let all = signatures.into_iter().enumerate();
    all.filter(|(index, _)| chosen.contains(index))
        .map(|(_, signature)| signature)
        .collect()
}

/// The slots of a `getBlocks`, strictly increasing.
fn slots(answer: RpcResult) -> Result<Vec<u64>, Unproven> {
    let what = "getBlocks";
    let value = shown(answer, what)?;
    let slots = value
        .as_array()
        .and_then(|items| items.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>());
    let slots = slots.filter(|slots| slots.is_sorted_by(|one, next| one < next));
    slots.ok_or_else(|| Unproven::NoBlocks(rpc::unexpected_answer(what, "no list of slots").message))
}

impl Block {
    fn check_has_none_of(&self, slot: u64, ids: &[&str]) -> Result<(), Unproven> {
        let found = self.signatures.iter().find(|id| ids.contains(&id.as_str()));
        found.map_or(Ok(()), |id| {
            let id = id.clone();
            Err(Unproven::Contained { id, slot })
        })
    }

    fn read(slot: u64, answer: RpcResult) -> Result<Self, Unproven> {
        let what = "getBlock";
        let value = shown(answer, what)?;
        let signatures = value.get("signatures").and_then(Value::as_array);
        let signatures = signatures.and_then(|items| {
            let one = |item: &Value| {
                item.as_str()
                    .filter(|item| text::signature(item).is_some())
                    .map(str::to_owned)
            };
            items.iter().map(one).collect::<Option<Vec<String>>>()
        });
        let height = value.get("blockHeight").and_then(Value::as_u64);
        let parent_slot = value.get("parentSlot").and_then(Value::as_u64);
        match (parent_slot, height, signatures) {
            (Some(parent_slot), Some(height), Some(signatures)) => Ok(Self {
                parent_slot,
                height,
                signatures,
            }),
            _ => Err(Unproven::NoBlocks(format!(
                "{what}: the node shows no parent, no height or no signatures of slot {slot}"
            ))),
        }
    }
}

/// The value of a read about blocks. A node without it lacks history.
fn shown(answer: RpcResult, what: &str) -> Result<Value, Unproven> {
    rpc::value(answer, what).map_err(|fault| Unproven::NoBlocks(fault.message))
}

fn as_u64(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

fn as_index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
