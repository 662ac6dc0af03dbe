//! What the first batch shows: one node's head, nonces, receipts, and the blocks that earlier decisions rest on.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use sdk_plugin::chain::{BlockRef, BlockStands, Observation, TxState, Watch};
use sdk_plugin::host::{Level, RpcCall, RpcResult};
use sdk_plugin::{Cx, Fault, Value};
use serde_json::json;

use crate::driver::receipt::{self, Receipt};
use crate::rpc;
use crate::text;

/// A block's header, as far as it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver) struct Header {
    pub(in crate::driver) height: u64,
    pub(in crate::driver) hash: B256,
    /// Seconds since the epoch.
    pub(super) time_s: u64,
}

impl Header {
    pub(in crate::driver) fn read(block: &Value) -> Option<Self> {
        Some(Self {
            height: rpc::as_count(block.get("number")?)?,
            hash: rpc::as_word(block.get("hash")?)?,
            time_s: rpc::as_count(block.get("timestamp")?)?,
        })
    }

    /// The call for the block at this height, without its transactions.
    pub(in crate::driver) fn at(height: u64) -> RpcCall {
        rpc::request("eth_getBlockByNumber", json!([text::quantity(height), false]))
    }

    /// The hash of the block at this height by the answer to [`Self::at`]. An error or another block's header counts as
    /// null.
    pub(in crate::driver) fn hash_at(answer: RpcResult, height: u64) -> Option<B256> {
        match answer {
            RpcResult::Ok(block) => Self::read(&block)
                .filter(|header| header.height == height)
                .map(|header| header.hash),
            RpcResult::Error(_) => None,
        }
    }

    pub(super) fn named(&self) -> BlockRef {
        BlockRef {
            id: self.hash.to_string(),
            height: self.height,
            time_s: self.time_s,
        }
    }
}

/// One node's answers.
pub(super) struct View {
    pub(super) head: Header,
    /// The highest block that any answer named: receipts may be ahead of the head block.
    highest: u64,
    /// By signer, lower case: the next nonce; `None`: the node did not return it.
    nonces: BTreeMap<String, Option<u64>>,
    /// By transaction id.
    transactions: BTreeMap<String, Transaction>,
    /// By height; `None`: the node shows no block there.
    blocks: BTreeMap<u64, Option<B256>>,
}

#[derive(Default)]
struct Transaction {
    receipt: Option<Receipt>,
    /// Whether the node knows it; `None`: it was not queried.
    known: Option<bool>,
    /// The node reports that it waits for a block.
    waits: bool,
}

pub(in super::super) fn transaction(tx_id: &str) -> RpcCall {
    rpc::request("eth_getTransactionByHash", json!([tx_id]))
}

impl View {
    pub(super) async fn read(cx: &Cx, watches: &[Watch]) -> Result<Self, Fault> {
        let mut nonces: BTreeMap<String, Option<u64>> = BTreeMap::new();
        let mut transactions: BTreeMap<String, Transaction> = BTreeMap::new();
        let mut blocks: BTreeMap<u64, Option<B256>> = BTreeMap::new();
        for watch in watches {
            nonces.insert(watch.lane.signer.to_lowercase(), None);
            if !watch.by_block || watch.pool {
                transactions.entry(watch.tx_id.clone()).or_default();
            }
            let followed = watch.block.as_ref().map(|block| block.height);
            for height in followed.into_iter().chain(watch.final_at) {
                blocks.insert(height, None);
            }
        }
        // Of a watch outside any slot there may be no transaction.
        transactions.remove("");
        let pool: BTreeSet<&str> = watches
            .iter()
            .filter(|watch| watch.pool && !watch.tx_id.is_empty())
            .map(|watch| watch.tx_id.as_str())
            .collect();
        let mut calls = vec![rpc::chain_id(), rpc::newest_block()];
        calls.extend(
            nonces
                .keys()
                .map(|signer| rpc::transaction_count(signer, json!("latest"))),
        );
        // From the top down: a block that is canonical when a higher one has been shown is as deep as that one is above it.
        // Read the other way round, a reorganisation in between would make a block final that it has just replaced.
        calls.extend(blocks.keys().rev().map(|height| Header::at(*height)));
        calls.extend(transactions.keys().map(|tx_id| receipt::get_receipt(tx_id)));
        // Whole transactions last: they are large, and what decides must not be cut apart because of them.
        let queried = || transactions.keys().filter(|tx_id| pool.contains(tx_id.as_str()));
        calls.extend(queried().map(|tx_id| transaction(tx_id)));
        let mut answers = rpc::NODES.read_all(cx, calls).await?;

        rpc::check_chain(answers.take()?, &cx.network().id)?;
        let head = rpc::value(answers.take()?, "eth_getBlockByNumber")?;
        let head = Header::read(&head)
            .ok_or_else(|| rpc::malformed_block(&head, &["number", "hash", "timestamp"]))?;
        let mut last_fault = None;
        for nonce in nonces.values_mut() {
            match rpc::count(answers.take()?, "eth_getTransactionCount") {
                Ok(read) => *nonce = Some(read),
                Err(fault) => last_fault = Some(fault),
            }
        }
        // One signer's fault does not affect the others; a node that returns none of them shows no view.
        if let Some(fault) = last_fault.filter(|_| nonces.values().all(Option::is_none)) {
            return Err(fault);
        }
        for (height, hash) in blocks.iter_mut().rev() {
            *hash = Header::hash_at(answers.take()?, *height);
        }
        for (tx_id, transaction) in &mut transactions {
            transaction.receipt = read_receipt(cx, tx_id, answers.take()?);
        }
        for (tx_id, transaction) in &mut transactions {
            if pool.contains(tx_id.as_str()) {
                transaction.read_pool(answers.take()?);
            }
        }
        let mut view = Self {
            highest: head.height,
            head,
            nonces,
            transactions,
            blocks,
        };
        view.drop_receipts_of_other_blocks(cx).await?;
        Ok(view)
    }

    /// A receipt may be that of a block which the chain has left. It counts only while its block is the one at its height.
    async fn drop_receipts_of_other_blocks(&mut self, cx: &Cx) -> Result<(), Fault> {
        self.blocks
            .entry(self.head.height)
            .or_insert(Some(self.head.hash));
        let receipts = || {
            self.transactions
                .values()
                .filter_map(|known| known.receipt.as_ref())
        };
        let unknown: BTreeSet<u64> = receipts()
            .map(|receipt| receipt.height)
            .filter(|height| !self.blocks.contains_key(height))
            .collect();
        let calls = unknown.iter().map(|height| Header::at(*height));
        let mut answers = rpc::NODES.read_all(cx, calls.collect()).await?;
        for height in unknown {
            self.blocks
                .insert(height, Header::hash_at(answers.take()?, height));
        }
        for transaction in self.transactions.values_mut() {
            let stands = |receipt: &Receipt| {
                self.blocks.get(&receipt.height).copied().flatten() == Some(receipt.block)
            };
            if transaction
                .receipt
                .as_ref()
                .is_some_and(|receipt| !stands(receipt))
            {
                transaction.receipt = None;
            }
        }
        let heights = self
            .transactions
            .values()
            .filter_map(|known| Some(known.receipt.as_ref()?.height));
        self.highest = heights.fold(self.head.height, u64::max);
        Ok(())
    }

    pub(super) fn receipt(&self, tx_id: &str) -> Option<&Receipt> {
        self.transactions.get(tx_id)?.receipt.as_ref()
    }

    pub(super) fn observation(&self, watch: &Watch) -> Observation {
        let receipt = self.receipt(&watch.tx_id);
        let block = watch.block.as_ref();
        let state = match (receipt, block.filter(|_| watch.by_block)) {
            (_, Some(block)) => match self.stands(block) {
                BlockStands::Canonical { depth } => TxState::Landed {
                    height: block.height,
                    block: block.id.clone(),
                    depth,
                },
                BlockStands::Replaced | BlockStands::Unknown => self.not_in_block(watch),
            },
            (Some(receipt), None) => self.in_block(receipt),
            (None, None) => self.not_in_block(watch),
        };
        Observation {
            logs: receipt.map_or_else(Vec::new, |receipt| receipt.logs(&watch.tx_id, &watch.evidence)),
            block: watch.block.as_ref().map(|block| self.stands(block)),
            fee: receipt.and_then(|receipt| receipt.fee),
            ..Observation::of(watch.attempt_id.clone(), state, self.highest)
        }
    }

    /// The status of a block that was seen earlier.
    fn stands(&self, block: &BlockRef) -> BlockStands {
        match self.blocks.get(&block.height).copied().flatten() {
            Some(hash) if Some(hash) == text::word(&block.id) => BlockStands::Canonical {
                depth: self.head.height.saturating_sub(block.height).saturating_add(1),
            },
            Some(_) => BlockStands::Replaced,
            None => BlockStands::Unknown,
        }
    }

    /// A head is a number that any node can name. What seems final by it is final only when the node also shows the block
    /// that is `finality - 1` above: otherwise it counts as one block short of final.
    pub(super) async fn prove_finality(
        &self,
        cx: &Cx,
        watches: &[Watch],
        observations: &mut [Observation],
    ) -> Result<(), Fault> {
        let finality = cx.network().finality.max(1);
        // At the head itself there is nothing above to show.
        if finality < 2 {
            return Ok(());
        }
        // By the height that makes it final: what must be below.
        let mut tops: BTreeMap<u64, bool> = BTreeMap::new();
        let mut below: BTreeMap<u64, Option<B256>> = BTreeMap::new();
        for (watch, observation) in watches.iter().zip(observations.iter()) {
            for (height, depth) in depths(watch, observation) {
                let top = height.saturating_add(finality - 1);
                // The head's own block has been shown, and so have those that came with the first batch.
                let shown = self.blocks.get(&top).is_some_and(Option::is_some);
                if *depth >= finality && top != self.head.height && !shown {
                    tops.insert(top, false);
                    below.insert(height, None);
                }
            }
        }
        if tops.is_empty() {
            return Ok(());
        }
        let heights = tops.keys().rev().chain(below.keys().rev());
        let mut answers = rpc::NODES
            .read_all(cx, heights.map(|height| Header::at(*height)).collect())
            .await?;
        let mut read =
            |height: u64| -> Result<Option<B256>, Fault> { Ok(Header::hash_at(answers.take()?, height)) };
        for (height, shown) in tops.iter_mut().rev() {
            *shown = read(*height)?.is_some();
        }
        for (height, hash) in below.iter_mut().rev() {
            *hash = read(*height)?;
        }
        // One that is not canonical any more when the top has been shown is not below it.
        let stands = |height: u64| match (below.get(&height), self.blocks.get(&height)) {
            (Some(now), Some(before)) => now.is_some() && now == before,
            (Some(now), None) => now.is_some(),
            (None, _) => true,
        };
        for (watch, observation) in watches.iter().zip(observations) {
            let mut short = observation.clone();
            for (height, depth) in depths_mut(watch, &mut short) {
                let top = height.saturating_add(finality - 1);
                let unproven = tops.get(&top) == Some(&false) || (tops.contains_key(&top) && !stands(height));
                if *depth >= finality && unproven {
                    *depth = finality - 1;
                }
            }
            *observation = short;
        }
        Ok(())
    }

    fn in_block(&self, receipt: &Receipt) -> TxState {
        let (height, block, depth) = (
            receipt.height,
            receipt.block.to_string(),
            receipt.depth(self.highest),
        );
        if receipt.success {
            TxState::Landed { height, block, depth }
        } else {
            TxState::Reverted {
                height,
                block,
                depth,
                message: None,
            }
        }
    }

    fn not_in_block(&self, watch: &Watch) -> TxState {
        let transaction = self.transactions.get(&watch.tx_id);
        let nonce = self
            .nonces
            .get(&watch.lane.signer.to_lowercase())
            .copied()
            .flatten();
        // Some nodes count what waits for a block, whichever block is named.
        let waits = transaction.is_some_and(|transaction| transaction.waits);
        if nonce.is_some_and(|nonce| nonce > watch.sequence) && !waits {
            return TxState::SlotUsed;
        }
        match transaction.and_then(|transaction| transaction.known) {
            Some(false) => TxState::Unknown,
            Some(true) | None => TxState::Pending,
        }
    }
}

fn depths<'a>(watch: &Watch, observation: &'a Observation) -> impl Iterator<Item = (u64, &'a u64)> {
    let landed = match &observation.state {
        TxState::Landed { height, depth, .. } | TxState::Reverted { height, depth, .. } => {
            Some((*height, depth))
        }
        TxState::Unknown
        | TxState::Pending
        | TxState::SlotUsed
        | TxState::Lapsed
        | TxState::Expired { .. } => None,
    };
    let followed = match (&watch.block, &observation.block) {
        (Some(block), Some(BlockStands::Canonical { depth })) => Some((block.height, depth)),
        _ => None,
    };
    landed.into_iter().chain(followed)
}

fn depths_mut<'a>(
    watch: &Watch,
    observation: &'a mut Observation,
) -> impl Iterator<Item = (u64, &'a mut u64)> {
    let landed = match &mut observation.state {
        TxState::Landed { height, depth, .. } | TxState::Reverted { height, depth, .. } => {
            Some((*height, depth))
        }
        TxState::Unknown
        | TxState::Pending
        | TxState::SlotUsed
        | TxState::Lapsed
        | TxState::Expired { .. } => None,
    };
    let followed = match (&watch.block, &mut observation.block) {
        (Some(block), Some(BlockStands::Canonical { depth })) => Some((block.height, depth)),
        _ => None,
    };
    landed.into_iter().chain(followed)
}

impl Transaction {
    /// The answer about the transaction itself: whether the node has it, and whether it waits for a block.
    fn read_pool(&mut self, answer: RpcResult) {
        if let RpcResult::Ok(transaction) = answer {
            let in_block = transaction.get("blockHash").is_some_and(|block| !block.is_null());
            self.known = Some(!transaction.is_null());
            self.waits = !transaction.is_null() && !in_block;
        }
    }
}

/// A fault of one transaction concerns that one only: this poll shows nothing of it.
fn read_receipt(cx: &Cx, tx_id: &str, answer: RpcResult) -> Option<Receipt> {
    let receipt = rpc::value(answer, "eth_getTransactionReceipt");
    let receipt = receipt.and_then(|receipt| Receipt::read(&receipt, tx_id));
    receipt.unwrap_or_else(|fault| {
        let fields = json!({ "transaction": tx_id, "why": fault.message });
        cx.log(
            Level::Debug,
            "evm::observe",
            "a receipt could not be read",
            &fields,
        );
        None
    })
}
