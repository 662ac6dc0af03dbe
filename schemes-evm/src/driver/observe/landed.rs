//! Reads at the blocks of transactions, and why calls reverted. Each fault concerns one watch only.

use sdk_plugin::chain::{Observation, ReadResult, TxState, Watch};
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::scheme::{LogFilter, ReadAt, ReadWanted};
use sdk_plugin::{Cx, Fault, HexBytes, Value};
use serde_json::json;

use super::view;
use crate::driver::receipt::{self, BlockLog};
use crate::rpc::{self, Answers, EthCall, Executed};
use crate::text;

/// A read that only a transaction in a block needs.
enum BlockRead {
    /// The reverted call itself, for its message.
    Call,
    /// A read of [`sdk_plugin::scheme::EvidenceWanted`], by name.
    State(String),
    /// The block's header, for its parent.
    Header,
    /// Logs of the whole block.
    Logs(LogFilter),
}

/// A read that follows from the results of the first ones.
enum FollowUp {
    /// The call of a reverted transaction once more, at its block.
    Replay,
    /// A read at the parent block, by name.
    Parent(String),
}

/// What is read for a watch: its index, and the read.
type Reads<R> = (Vec<(usize, R)>, Vec<RpcCall>);

/// Adds block reads, revert messages and whole blocks' logs to the observations of transactions in blocks.
pub(super) async fn read_blocks(
    cx: &Cx,
    watches: &[Watch],
    observations: &mut [Observation],
) -> Result<(), Fault> {
    let (reads, calls) = first_reads(watches, observations);
    if calls.is_empty() {
        return Ok(());
    }
    let answers = rpc::NODES.read_all(cx, calls).await?;
    let (follow_ups, calls) = store_first(watches, observations, reads, answers)?;
    if calls.is_empty() {
        return Ok(());
    }
    let mut answers = rpc::NODES.read_all(cx, calls).await?;
    for (index, read) in follow_ups {
        let answer = answers.take()?;
        if let Some(observation) = observations.get_mut(index) {
            match read {
                FollowUp::Parent(name) => observation.reads.push(read_result(name, answer)),
                FollowUp::Replay => set_message(&mut observation.state, answer),
            }
        }
    }
    Ok(())
}

fn first_reads(watches: &[Watch], observations: &[Observation]) -> Reads<BlockRead> {
    let mut reads = Vec::new();
    let mut calls = Vec::new();
    for (index, (watch, observation)) in watches.iter().zip(observations).enumerate() {
        let mut add = |read, call| {
            reads.push((index, read));
            calls.push(call);
        };
        let block = match &observation.state {
            // An earlier poll has read what it did.
            TxState::Landed { .. } if watch.by_block => continue,
            TxState::Landed { block, .. } => block,
            TxState::Reverted { block, .. } => {
                // The message is for the judgement; after it, no one reads it.
                if watch.block.is_none() {
                    add(BlockRead::Call, view::transaction(&watch.tx_id));
                }
                block
            }
            TxState::Unknown
            | TxState::Pending
            | TxState::SlotUsed
            | TxState::Lapsed
            | TxState::Expired { .. } => continue,
        };
        for read in reads_at(watch, ReadAt::Block) {
            if let Some(call) = call_at(read, json!({ "blockHash": block })) {
                add(BlockRead::State(read.name.clone()), call);
            }
        }
        if watch.whole_block {
            add(
                BlockRead::Header,
                rpc::request("eth_getBlockByHash", json!([block, false])),
            );
            for filter in watch.evidence.iter().flat_map(|evidence| &evidence.block_logs) {
                add(
                    BlockRead::Logs(filter.clone()),
                    receipt::logs_of_block(block, filter),
                );
            }
        }
    }
    (reads, calls)
}

/// Stores the results of [`first_reads`], and returns the reads that follow from them.
fn store_first(
    watches: &[Watch],
    observations: &mut [Observation],
    reads: Vec<(usize, BlockRead)>,
    mut answers: Answers,
) -> Result<Reads<FollowUp>, Fault> {
    let mut follow_ups = Vec::new();
    let mut calls = Vec::new();
    // `None`: a part of the block's logs is missing, and a part would mean something else than the whole.
    let mut block_logs: Vec<Option<Vec<BlockLog>>> = vec![Some(Vec::new()); observations.len()];
    for (index, read) in reads {
        let answer = answers.take()?;
        let (Some(watch), Some(observation)) = (watches.get(index), observations.get_mut(index)) else {
            continue;
        };
        match read {
            BlockRead::Call => {
                if let Some(call) = replay(answer, &observation.state) {
                    follow_ups.push((index, FollowUp::Replay));
                    calls.push(call);
                }
            }
            BlockRead::State(name) => observation.reads.push(read_result(name, answer)),
            BlockRead::Header => {
                let parent = match answer {
                    RpcResult::Ok(block) => block.get("parentHash").and_then(rpc::as_word),
                    RpcResult::Error(_) => None,
                };
                let Some(parent) = parent else { continue };
                for read in reads_at(watch, ReadAt::Parent) {
                    if let Some(call) = call_at(read, json!({ "blockHash": parent })) {
                        follow_ups.push((index, FollowUp::Parent(read.name.clone())));
                        calls.push(call);
                    }
                }
            }
            BlockRead::Logs(filter) => {
                if let Some(logs) = block_logs.get_mut(index) {
                    let found = receipt::block_logs(answer, &filter);
                    *logs = logs.take().zip(found).map(|(mut logs, found)| {
                        logs.extend(found);
                        logs
                    });
                }
            }
        }
    }
    for (observation, logs) in observations.iter_mut().zip(block_logs) {
        if let Some(mut logs) = logs {
            logs.sort_by_key(|log| log.index);
            logs.dedup_by_key(|log| log.index);
            observation.block_logs = logs.into_iter().map(BlockLog::into_entry).collect();
        }
    }
    Ok((follow_ups, calls))
}

fn reads_at(watch: &Watch, at: ReadAt) -> impl Iterator<Item = &ReadWanted> {
    let reads = watch.evidence.iter().flat_map(|evidence| &evidence.reads);
    reads.filter(move |read| read.at == at)
}

fn call_at(read: &ReadWanted, block: Value) -> Option<RpcCall> {
    let call = EthCall {
        from: None,
        to: text::address(&read.target)?,
        data: read.data.0.clone(),
        gas: None,
    };
    Some(call.call_at(block))
}

/// A reverted transaction's call again, at its block.
fn replay(answer: RpcResult, state: &TxState) -> Option<RpcCall> {
    let TxState::Reverted { height, .. } = state else {
        return None;
    };
    let RpcResult::Ok(known) = answer else { return None };
    let member = |name: &str| known.get(name);
    let call = EthCall {
        from: rpc::as_address(member("from")?),
        to: rpc::as_address(member("to")?)?,
        data: rpc::as_bytes(member("input")?)?,
        gas: rpc::as_u64(member("gas")?),
    };
    Some(call.call_at(json!(text::quantity(*height))))
}

fn set_message(state: &mut TxState, answer: RpcResult) {
    // Without the node's help the message stays out: it is for humans, and for choosing between names of a failure.
    if let (TxState::Reverted { message, .. }, Ok(Executed::Failed(failure))) =
        (state, rpc::executed(answer, "replay"))
    {
        *message = Some(failure.text());
    }
}

fn read_result(name: String, answer: RpcResult) -> ReadResult {
    let data = match rpc::executed(answer, "read") {
        Ok(Executed::Returned(data)) => Some(HexBytes(data)),
        Ok(Executed::Failed(_)) | Err(_) => None,
    };
    ReadResult { name, data }
}
