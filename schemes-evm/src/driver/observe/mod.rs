//! Where do attempts stand? One batch answers for all of them.
//!
//! | batch | when | reads |
//! |---|---|---|
//! | 1 | always | chain id, head block, nonces, receipts, blocks that decided something, transactions by hash where wanted |
//! | 1a | a receipt is not of the head block | the block at its height, which must be its own |
//! | 1b | something looks final by the head's number | the block that makes it final, by its number |
//! | 2 | a slot is used without a receipt, a transaction reverted, guards are wanted | nonce and guards at one block named by its hash |
//! | 3 | a transaction landed whose evidence has reads; searches | reads at its block, logs |
//!
//! Absence decides nothing: a null receipt with a nonce that is past only says that the slot is used, and the guards say
//! what that means. Nonces stand before receipts in the batch: a nonce that is read first and already counts the slot
//! can't be that of a block which the receipts of the same node do not know yet.

mod anchor;
mod view;

use sdk_plugin::chain::{Observation, ReadResult, TxState, Watch};
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::scheme::{LogFilter, ReadAt};
use sdk_plugin::{Cx, Fault, HexBytes, Value};
use serde_json::json;

use self::view::View;
pub(super) use self::view::{Header, transaction};
use super::EvmDriver;
use super::foreign::Search;
use super::options::Options;
use super::receipt;
use crate::rpc::{self, EthCall, Executed};
use crate::text;

impl EvmDriver {
    pub(super) async fn observe_all(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        if watches.is_empty() {
            return Ok(Vec::new());
        }
        let options = Options::read(&cx.network().options)?;
        let view = View::read(cx, watches).await?;
        let mut observations: Vec<Observation> =
            watches.iter().map(|watch| view.observation(watch)).collect();
        view.prove_finality(cx, watches, &mut observations).await?;
        self.anchors(cx, &view, watches, &mut observations).await?;
        landed(cx, watches, &mut observations).await?;
        self.search(cx, &view, &options, watches, &mut observations)
            .await?;
        Ok(observations)
    }

    /// Looks for what others did. A search that nodes refuse is incomplete, and no trouble of the rest.
    async fn search(
        &self,
        cx: &Cx,
        view: &View,
        options: &Options,
        watches: &[Watch],
        observations: &mut [Observation],
    ) -> Result<(), Fault> {
        if !watches.iter().any(|watch| watch.search_foreign) {
            return Ok(());
        }
        let accepted = self.accepted_log_range(cx).unwrap_or(options.max_log_range);
        let mut search = Search::default();
        for (index, watch) in watches.iter().enumerate() {
            if watch.search_foreign {
                search.add(index, watch, view.head.height, options.max_log_range, accepted);
            }
        }
        search.run(cx).await?;
        {
            let mut networks = self.networks();
            let known = networks.entry(cx.network().id.clone()).or_default();
            known.log_limits.learn(&search, cx.now_ms());
        }
        let found = search.finish(cx, watches, view.head.height).await?;
        for (index, (watch, observation)) in watches.iter().zip(observations).enumerate() {
            if watch.search_foreign {
                (observation.foreign, observation.foreign_searched) = found(index);
            }
        }
        Ok(())
    }

    /// The most blocks that a search may cover, as far as nodes have said.
    fn accepted_log_range(&self, cx: &Cx) -> Option<u64> {
        let networks = self.networks();
        networks.get(&cx.network().id)?.log_limits.blocks(cx.now_ms())
    }
}

/// Something that only a transaction in a block raises.
enum Question {
    /// The reverted call itself, for its message.
    Call,
    /// A read that was wanted, by name.
    Read(String),
    /// The block's header, for its parent.
    Header,
    /// Logs of the whole block.
    Logs(LogFilter),
}

/// Reads at the blocks of transactions, and why calls reverted. Each fault concerns one watch only.
async fn landed(cx: &Cx, watches: &[Watch], observations: &mut [Observation]) -> Result<(), Fault> {
    let mut asked = Vec::new();
    let mut calls = Vec::new();
    for (index, (watch, observation)) in watches.iter().zip(observations.iter()).enumerate() {
        let mut ask = |question, call| {
            asked.push((index, question));
            calls.push(call);
        };
        let block = match &observation.state {
            // What it did was seen before.
            TxState::Landed { .. } if watch.by_block => continue,
            TxState::Landed { block, .. } => block,
            TxState::Reverted { block, .. } => {
                // The message is for the judgement; once that is made nobody needs it.
                if watch.block.is_none() {
                    ask(Question::Call, view::transaction(&watch.tx_id));
                }
                block
            }
            TxState::Unknown
            | TxState::Pending
            | TxState::SlotUsed
            | TxState::Lapsed
            | TxState::Expired { .. } => continue,
        };
        for read in watch.evidence.iter().flat_map(|evidence| &evidence.reads) {
            if read.at == ReadAt::Block
                && let Some(call) = read_at(read, json!({ "blockHash": block }))
            {
                ask(Question::Read(read.name.clone()), call);
            }
        }
        if watch.whole_block {
            ask(
                Question::Header,
                rpc::request("eth_getBlockByHash", json!([block, false])),
            );
            for filter in watch.evidence.iter().flat_map(|evidence| &evidence.block_logs) {
                ask(
                    Question::Logs(filter.clone()),
                    receipt::logs_of_block(block, filter),
                );
            }
        }
    }
    if calls.is_empty() {
        return Ok(());
    }
    let mut answers = rpc::NODES.read_all(cx, calls).await?;
    let mut again = Vec::new();
    let mut calls = Vec::new();
    let mut block_logs: Vec<Vec<receipt::BlockLog>> = vec![Vec::new(); observations.len()];
    let mut broken = vec![false; observations.len()];
    for (index, question) in asked {
        let answer = answers.take()?;
        let (Some(watch), Some(observation)) = (watches.get(index), observations.get_mut(index)) else {
            continue;
        };
        match question {
            Question::Call => {
                if let Some(call) = replay(answer, &observation.state) {
                    again.push((index, None));
                    calls.push(call);
                }
            }
            Question::Read(name) => observation.reads.push(read_result(name, answer)),
            Question::Header => {
                let parent = match answer {
                    RpcResult::Ok(block) => block.get("parentHash").and_then(rpc::as_word),
                    RpcResult::Error(_) => None,
                };
                let Some(parent) = parent else { continue };
                for read in watch.evidence.iter().flat_map(|evidence| &evidence.reads) {
                    if read.at == ReadAt::Parent
                        && let Some(call) = read_at(read, json!({ "blockHash": parent }))
                    {
                        again.push((index, Some(read.name.clone())));
                        calls.push(call);
                    }
                }
            }
            Question::Logs(filter) => match (receipt::block_logs(answer, &filter), block_logs.get_mut(index))
            {
                (Some(found), Some(all)) => all.extend(found),
                _ => broken
                    .iter_mut()
                    .skip(index)
                    .take(1)
                    .for_each(|flag| *flag = true),
            },
        }
    }
    for (index, mut logs) in block_logs.into_iter().enumerate() {
        // Half of a block's logs would be another story than the whole.
        if broken.get(index) == Some(&false)
            && let Some(observation) = observations.get_mut(index)
        {
            logs.sort_by_key(|log| log.index);
            logs.dedup_by_key(|log| log.index);
            observation.block_logs = logs.into_iter().map(receipt::BlockLog::into_entry).collect();
        }
    }
    if calls.is_empty() {
        return Ok(());
    }
    let mut answers = rpc::NODES.read_all(cx, calls).await?;
    for (index, read) in again {
        let answer = answers.take()?;
        if let Some(observation) = observations.get_mut(index) {
            match read {
                Some(name) => observation.reads.push(read_result(name, answer)),
                None => set_message(&mut observation.state, answer),
            }
        }
    }
    Ok(())
}

fn read_at(read: &sdk_plugin::scheme::ReadWanted, block: Value) -> Option<RpcCall> {
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
