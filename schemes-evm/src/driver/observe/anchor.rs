//! Nonces and guards at one block, named so that no other can be meant.
//!
//! A block is named by its hash (EIP-1898): a node of a pool that lacks it answers with an error, which is not an answer.
//! Where a node does not know EIP-1898 the block is named by its number, and its hash is read before and after in the same
//! batch.

use std::collections::BTreeMap;

use sdk_plugin::chain::{Anchor, BlockRef, GuardState, Observation, ReadResult, TxState, Watch};
use sdk_plugin::host::{RpcCall, RpcError, RpcResult};
use sdk_plugin::scheme::{Guard, ReadAt, ReadWanted};
use sdk_plugin::{Cx, Fault, HexBytes, Value};
use serde_json::json;

use super::view::{Header, View};
use crate::driver::EvmDriver;
use crate::rpc::{self, EthCall, Executed};
use crate::text;

/// Calls that share a batch with the two reads of their block's hash.
const PER_NUMBERED_BATCH: usize = 100;

/// A state that is wanted, at a block that is named elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    Nonce(String),
    /// Target and data of a call.
    Call(String, Vec<u8>),
}

impl Wanted {
    fn of(read: &ReadWanted) -> Self {
        Self::Call(read.target.to_lowercase(), read.data.0.clone())
    }

    fn call(&self, block: Value) -> Option<RpcCall> {
        match self {
            Self::Nonce(signer) => Some(rpc::transaction_count(signer, block)),
            Self::Call(target, data) => {
                let call = EthCall {
                    from: None,
                    to: text::address(target)?,
                    data: data.clone(),
                    gas: None,
                };
                Some(call.call_at(block))
            }
        }
    }
}

/// A block and what was read there.
struct StateAt {
    block: BlockRef,
    answers: BTreeMap<Wanted, RpcResult>,
}

impl EvmDriver {
    /// Adds an anchor to every watch whose slot is used, whose transaction reverted, or that wants one. That of a
    /// reverted transaction is at its block, where the node has it.
    pub(super) async fn anchors(
        &self,
        cx: &Cx,
        view: &View,
        watches: &[Watch],
        observations: &mut [Observation],
    ) -> Result<(), Fault> {
        let mut at_head: Vec<Wanted> = Vec::new();
        // By block hash: height and what is wanted there.
        let mut at_receipts: BTreeMap<String, (u64, Vec<Wanted>)> = BTreeMap::new();
        for (watch, observation) in watches.iter().zip(observations.iter()) {
            if !wants_anchor(watch, observation) {
                continue;
            }
            at_head.extend(wanted_by(watch));
            if let TxState::Reverted { height, block, .. } = &observation.state {
                let (_, wanted) = at_receipts
                    .entry(block.clone())
                    .or_insert_with(|| (*height, Vec::new()));
                wanted.extend(calls_of(watch));
            }
        }
        if at_head.is_empty() {
            return Ok(());
        }
        let head = self.state_at(cx, view.head.named(), at_head).await?;
        let mut receipts = BTreeMap::new();
        for (id, (height, wanted)) in at_receipts {
            let block = BlockRef {
                id: id.clone(),
                height,
                time_s: 0,
            };
            receipts.insert(id, self.state_at(cx, block, wanted).await?);
        }
        for (watch, observation) in watches.iter().zip(observations) {
            if wants_anchor(watch, observation) {
                observation.anchor =
                    own_anchor(watch, &observation.state, &receipts).or_else(|| head.anchor(watch));
            }
        }
        Ok(())
    }

    async fn state_at(&self, cx: &Cx, block: BlockRef, mut wanted: Vec<Wanted>) -> Result<StateAt, Fault> {
        wanted.sort();
        wanted.dedup();
        let network = &cx.network().id;
        let by_number = self
            .networks()
            .get(network)
            .is_some_and(|known| known.blocks_by_number_only);
        if !by_number {
            let state = named_by_hash(cx, &block, &wanted).await?;
            if !state.answers.values().any(is_unknown_form) {
                return Ok(state);
            }
            self.networks()
                .entry(network.clone())
                .or_default()
                .blocks_by_number_only = true;
        }
        named_by_number(cx, &block, &wanted).await
    }
}

async fn named_by_hash(cx: &Cx, block: &BlockRef, wanted: &[Wanted]) -> Result<StateAt, Fault> {
    let callable: Vec<(&Wanted, RpcCall)> = wanted
        .iter()
        .filter_map(|wanted| Some((wanted, wanted.call(json!({ "blockHash": block.id }))?)))
        .collect();
    let calls = callable.iter().map(|(_, call)| call.clone()).collect();
    let mut answers = rpc::NODES.read_all(cx, calls).await?;
    let mut state = StateAt {
        block: block.clone(),
        answers: BTreeMap::new(),
    };
    for (wanted, _) in callable {
        state.answers.insert(wanted.clone(), answers.take()?);
    }
    Ok(state)
}

/// Answers count only from batches in which the block's number meant this very block before and after.
async fn named_by_number(cx: &Cx, block: &BlockRef, wanted: &[Wanted]) -> Result<StateAt, Fault> {
    let number = json!(text::quantity(block.height));
    let mut state = StateAt {
        block: block.clone(),
        answers: BTreeMap::new(),
    };
    for wanted in wanted.chunks(PER_NUMBERED_BATCH) {
        let header = || Header::at(block.height);
        let callable: Vec<(&Wanted, RpcCall)> = wanted
            .iter()
            .filter_map(|wanted| Some((wanted, wanted.call(number.clone())?)))
            .collect();
        let mut calls = vec![header()];
        calls.extend(callable.iter().map(|(_, call)| call.clone()));
        calls.push(header());
        let Some(mut answers) = rpc::NODES.read_at_once(cx, calls).await? else {
            continue;
        };
        let is_block = |answer: RpcResult| {
            let hash = Header::hash_at(answer, block.height);
            hash.is_some() && hash == text::word(&block.id)
        };
        let before = is_block(answers.take()?);
        let mut read = Vec::new();
        for (wanted, _) in callable {
            read.push((wanted.clone(), answers.take()?));
        }
        if before && is_block(answers.take()?) {
            state.answers.extend(read);
        }
    }
    Ok(state)
}

/// Whether a node reports that it does not support a block named by its hash.
fn is_unknown_form(answer: &RpcResult) -> bool {
    let RpcResult::Error(RpcError { code, message, .. }) = answer else {
        return false;
    };
    let message = message.to_lowercase();
    *code == -32602
        || [
            "invalid argument",
            "cannot unmarshal",
            "invalid params",
            "invalid type",
        ]
        .iter()
        .any(|words| message.contains(words))
}

fn wants_anchor(watch: &Watch, observation: &Observation) -> bool {
    // While a block that was seen earlier is being followed, its anchor is kept.
    let by_itself =
        watch.block.is_none() && matches!(observation.state, TxState::SlotUsed | TxState::Reverted { .. });
    watch.read_guards || by_itself
}

/// The guards' reads and the step's own.
fn calls_of(watch: &Watch) -> impl Iterator<Item = Wanted> {
    let guards = watch
        .evidence
        .iter()
        .filter_map(|evidence| Some(&evidence.guard.as_ref()?.read));
    guards.chain(reads_of(watch)).map(Wanted::of)
}

fn reads_of(watch: &Watch) -> impl Iterator<Item = &ReadWanted> {
    let reads = watch.evidence.iter().flat_map(|evidence| &evidence.reads);
    reads.filter(|read| read.at == ReadAt::Block)
}

fn wanted_by(watch: &Watch) -> impl Iterator<Item = Wanted> {
    let nonce = Wanted::Nonce(watch.lane.signer.to_lowercase());
    std::iter::once(nonce).chain(calls_of(watch))
}

/// The anchor at a reverted transaction's own block, when the node still has that block's state.
fn own_anchor(watch: &Watch, state: &TxState, receipts: &BTreeMap<String, StateAt>) -> Option<Anchor> {
    let TxState::Reverted { block, .. } = state else {
        return None;
    };
    let at = receipts.get(block)?;
    let guards = at.guards(watch);
    (!guards.contains(&GuardState::Unread)).then(|| Anchor {
        block: at.block.clone(),
        next_sequence: watch.sequence.saturating_add(1),
        guards,
        reads: at.reads(watch),
    })
}

impl StateAt {
    fn anchor(&self, watch: &Watch) -> Option<Anchor> {
        let nonce = self
            .answers
            .get(&Wanted::Nonce(watch.lane.signer.to_lowercase()))?;
        let RpcResult::Ok(nonce) = nonce else { return None };
        Some(Anchor {
            block: self.block.clone(),
            next_sequence: rpc::as_count(nonce)?,
            guards: self.guards(watch),
            reads: self.reads(watch),
        })
    }

    fn reads(&self, watch: &Watch) -> Vec<ReadResult> {
        let answer = |read: &ReadWanted| {
            let answer = self.answers.get(&Wanted::of(read)).cloned();
            match answer.map(|answer| rpc::executed(answer, "read")) {
                Some(Ok(Executed::Returned(data))) => Some(HexBytes(data)),
                Some(Ok(Executed::Failed(_)) | Err(_)) | None => None,
            }
        };
        reads_of(watch)
            .map(|read| ReadResult {
                name: read.name.clone(),
                data: answer(read),
            })
            .collect()
    }

    fn guards(&self, watch: &Watch) -> Vec<GuardState> {
        watch
            .evidence
            .iter()
            .map(|evidence| match &evidence.guard {
                None => GuardState::Absent,
                Some(guard) => self.guard(guard),
            })
            .collect()
    }

    fn guard(&self, guard: &Guard) -> GuardState {
        let answer = self.answers.get(&Wanted::of(&guard.read)).cloned();
        let returned = match answer.map(|answer| rpc::executed(answer, "guard")) {
            Some(Ok(Executed::Returned(data))) => data,
            Some(Ok(Executed::Failed(_)) | Err(_)) | None => return GuardState::Unread,
        };
        match guard.is_unchanged(&returned) {
            Some(true) => GuardState::Unchanged,
            Some(false) => GuardState::Changed,
            None => GuardState::Unread,
        }
    }
}
