//! Where do attempts stand? One batch answers for all of them.
//!
//! Nonces stand before receipts in the batch: a nonce that is read first and already counts the slot can't be that of a
//! block which the receipts do not know yet. A slot counts as taken by another transaction only when the nonce is past
//! it and the attempt has no receipt.

use std::collections::BTreeMap;

use sdk_plugin::chain::{Observation, ReadResult, TxState, Watch};
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Cx, Fault, HexBytes, Value};
use serde_json::json;

use super::EvmDriver;
use super::foreign::Search;
use super::options::Options;
use super::receipt::{self, Receipt};
use crate::rpc::{self, Answers, EthCall, Executed};
use crate::text;

/// Most slots remembered as taken; beyond it all are forgotten, which costs waiting.
const MAX_TAKEN: usize = 10_000;

/// What the first batch shows.
struct Seen {
    head: u64,
    /// By signer, lower case: the next nonce.
    nonces: BTreeMap<String, u64>,
    /// By transaction id.
    transactions: BTreeMap<String, Transaction>,
}

struct Transaction {
    receipt: Option<Receipt>,
    /// The transaction as a node knows it; `Null` when it does not.
    known: Value,
}

impl EvmDriver {
    pub(super) async fn observe_all(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        if watches.is_empty() {
            return Ok(Vec::new());
        }
        let options = Options::read(&cx.network().options)?;
        let seen = Seen::read(cx, watches).await?;
        let mut observations: Vec<Observation> = watches
            .iter()
            .map(|watch| seen.observation(watch, watches))
            .collect();

        // What the second batch asks: older nonces of taken slots, why calls reverted, reads, logs of others.
        let finality = cx.network().finality.max(1);
        let old_block = seen.head.checked_sub(finality - 1);
        let mut calls = Vec::new();
        let mut asked = Vec::new();
        for (index, (watch, observation)) in watches.iter().zip(&observations).enumerate() {
            let questions = questions(watch, observation, &seen, old_block);
            for (question, call) in questions {
                asked.push((index, question));
                calls.push(call);
            }
        }
        let mut search = Search::default();
        for (index, watch) in watches
            .iter()
            .enumerate()
            .filter(|(_, watch)| watch.search_foreign)
        {
            search.add(index, watch, seen.head, options.max_log_range);
        }
        calls.extend(search.calls());
        let mut answers = rpc::read_all(cx, calls).await?;
        let mut old_nonces = BTreeMap::new();
        for (index, question) in asked {
            let answer = answers.take()?;
            if let Some(observation) = observations.get_mut(index) {
                match question {
                    Question::OldNonce => {
                        if let RpcResult::Ok(value) = answer {
                            old_nonces.insert(index, rpc::as_u64(&value));
                        }
                    }
                    Question::Why => set_message(&mut observation.state, answer),
                    Question::Read(name) => observation.reads.push(read_result(name, answer)),
                }
            }
        }
        search.take(cx, watches, &mut answers)?;
        let found = search.finish(cx, watches, seen.head).await?;

        for (index, (watch, observation)) in watches.iter().zip(&mut observations).enumerate() {
            let old_nonce = old_nonces.get(&index).copied().flatten();
            self.deepen(&cx.network().id, watch, observation, old_nonce, finality);
            if watch.search_foreign {
                (observation.foreign, observation.foreign_searched) = found(index);
            }
        }
        Ok(observations)
    }

    /// How long a slot has been taken by a transaction that nobody watches: as deep as an old nonce proves, else since
    /// this process first saw it.
    fn deepen(
        &self,
        network: &str,
        watch: &Watch,
        observation: &mut Observation,
        old_nonce: Option<u64>,
        finality: u64,
    ) {
        let mut networks = self.networks();
        let taken = &mut networks.entry(network.to_owned()).or_default().taken;
        let slot = (watch.lane.signer.to_lowercase(), watch.sequence);
        let TxState::Superseded { by: None, depth } = &mut observation.state else {
            taken.remove(&slot);
            return;
        };
        if taken.len() >= MAX_TAKEN {
            taken.clear();
        }
        let first_seen = *taken.entry(slot).or_insert(observation.head_height);
        *depth = observation
            .head_height
            .saturating_sub(first_seen)
            .saturating_add(1);
        if old_nonce.is_some_and(|nonce| nonce > watch.sequence) {
            *depth = finality.max(*depth);
        }
    }
}

impl Seen {
    async fn read(cx: &Cx, watches: &[Watch]) -> Result<Self, Fault> {
        let mut nonces: BTreeMap<String, u64> = BTreeMap::new();
        let mut transactions: BTreeMap<String, Transaction> = BTreeMap::new();
        for watch in watches {
            nonces.insert(watch.lane.signer.to_lowercase(), 0);
            transactions.insert(
                watch.tx_id.clone(),
                Transaction {
                    receipt: None,
                    known: Value::Null,
                },
            );
        }
        let mut calls = vec![rpc::block_number()];
        calls.extend(
            nonces
                .keys()
                .map(|signer| rpc::transaction_count(signer, json!("latest"))),
        );
        for tx_id in transactions.keys() {
            calls.push(receipt::get_receipt(tx_id));
            calls.push(rpc::request("eth_getTransactionByHash", json!([tx_id])));
        }
        let mut answers = rpc::read_all(cx, calls).await?;

        let mut head = rpc::quantity(answers.take()?, "eth_blockNumber")?;
        for nonce in nonces.values_mut() {
            *nonce = rpc::quantity(answers.take()?, "eth_getTransactionCount")?;
        }
        for (tx_id, transaction) in &mut transactions {
            *transaction = Transaction::read(tx_id, &mut answers)?;
            if let Some(receipt) = &transaction.receipt {
                head = head.max(receipt.height);
            }
        }
        Ok(Self {
            head,
            nonces,
            transactions,
        })
    }

    fn receipt(&self, watch: &Watch) -> Option<&Receipt> {
        self.transactions.get(&watch.tx_id)?.receipt.as_ref()
    }

    fn observation(&self, watch: &Watch, watches: &[Watch]) -> Observation {
        let receipt = self.receipt(watch);
        Observation {
            attempt_id: watch.attempt_id.clone(),
            state: match receipt {
                Some(receipt) => self.in_block(receipt),
                None => self.not_in_block(watch, watches),
            },
            head_height: self.head,
            logs: receipt
                .map(|receipt| receipt.logs(&watch.tx_id, &watch.evidence))
                .unwrap_or_default(),
            deltas: Vec::new(),
            reads: Vec::new(),
            foreign: Vec::new(),
            foreign_searched: false,
        }
    }

    fn in_block(&self, receipt: &Receipt) -> TxState {
        let (height, block, depth) = (
            receipt.height,
            receipt.block.to_string(),
            receipt.depth(self.head),
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

    fn not_in_block(&self, watch: &Watch, watches: &[Watch]) -> TxState {
        let known = self
            .transactions
            .get(&watch.tx_id)
            .map_or(&Value::Null, |transaction| &transaction.known);
        // In a block, as the node knows, and its receipt is not there yet.
        let mined = known.get("blockHash").is_some_and(|block| !block.is_null());
        let nonce = self.nonces.get(&watch.lane.signer.to_lowercase());
        let taken = nonce.is_some_and(|nonce| *nonce > watch.sequence) && !mined;
        if taken {
            let sibling = watches.iter().find_map(|other| {
                let same_slot = other.sequence == watch.sequence
                    && other.lane.signer.eq_ignore_ascii_case(&watch.lane.signer);
                let receipt = self.receipt(other).filter(|_| same_slot)?;
                Some((other.tx_id.clone(), receipt.depth(self.head)))
            });
            return match sibling {
                Some((by, depth)) => TxState::Superseded { by: Some(by), depth },
                None => TxState::Superseded { by: None, depth: 1 },
            };
        }
        if known.is_null() {
            TxState::Unknown
        } else {
            TxState::Pending
        }
    }
}

impl Transaction {
    fn read(tx_id: &str, answers: &mut Answers) -> Result<Self, Fault> {
        let receipt = rpc::value(answers.take()?, "eth_getTransactionReceipt")?;
        let known = rpc::value(answers.take()?, "eth_getTransactionByHash")?;
        Ok(Self {
            receipt: Receipt::read(&receipt, tx_id)?,
            known,
        })
    }

    /// The transaction's call again, for its revert message.
    fn replay(&self) -> Option<RpcCall> {
        let member = |name: &str| self.known.get(name);
        let call = EthCall {
            from: rpc::as_address(member("from")?),
            to: rpc::as_address(member("to")?)?,
            data: rpc::as_bytes(member("input")?)?,
            gas: rpc::as_u64(member("gas")?),
        };
        Some(call.call_at(json!(text::quantity(self.receipt.as_ref()?.height))))
    }
}

/// Something that only the second batch can tell of a watch.
enum Question {
    /// The signer's nonce at the depth of finality.
    OldNonce,
    /// The message of a revert.
    Why,
    /// A read that was wanted, by name.
    Read(String),
}

fn questions(
    watch: &Watch,
    observation: &Observation,
    seen: &Seen,
    old_block: Option<u64>,
) -> Vec<(Question, RpcCall)> {
    match &observation.state {
        TxState::Superseded { by: None, .. } => old_block
            .map(|block| {
                let call = rpc::transaction_count(&watch.lane.signer, json!(text::quantity(block)));
                (Question::OldNonce, call)
            })
            .into_iter()
            .collect(),
        TxState::Reverted { block, .. } => {
            let transaction = seen.transactions.get(&watch.tx_id);
            let why = transaction
                .and_then(Transaction::replay)
                .map(|call| (Question::Why, call));
            why.into_iter().chain(reads(watch, block)).collect()
        }
        TxState::Landed { block, .. } => reads(watch, block).collect(),
        TxState::Unknown | TxState::Pending | TxState::Superseded { .. } | TxState::Expired { .. } => {
            Vec::new()
        }
    }
}

/// The reads wanted at the transaction's block, named by its hash: a reorganised block has no answer.
fn reads<'a>(watch: &'a Watch, block: &'a str) -> impl Iterator<Item = (Question, RpcCall)> + 'a {
    let wanted = watch.evidence.iter().flat_map(|evidence| &evidence.reads);
    wanted.filter_map(move |read| {
        let call = EthCall {
            from: None,
            to: text::address(&read.target)?,
            data: read.data.0.clone(),
            gas: None,
        };
        let call = call.call_at(json!({ "blockHash": block }));
        Some((Question::Read(read.name.clone()), call))
    })
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
