//! What a landed transaction did: its instructions, as far as they are wanted, and its token balances.
//!
//! An instruction is shown as a log: `emitter` is its program, `topics` are its accounts in order, `data` is its data.
//! Its id is the transaction's and its position, `<signature>/<n>` at the top level and `<signature>/<n>.<m>` for the m-th
//! inner instruction of the n-th. A balance's id is `<signature>/balance/<account>`.

use std::collections::BTreeMap;

use sdk_plugin::chain::{Delta, LogEntry};
use sdk_plugin::host::RpcCall;
use sdk_plugin::scheme::{EvidenceWanted, LogFilter};
use sdk_plugin::{Amount, HexBytes, Value};
use serde_json::json;
use solana_address::Address;

use crate::rpc::{self, CONFIRMED};
use crate::text::{self, MAX_TRANSACTION_BYTES};

/// Longest data of an inner instruction (the runtime's `MAX_INSTRUCTION_DATA_LEN` is larger; what is longer than a
/// packet is no token transfer).
const MAX_DATA_BYTES: usize = MAX_TRANSACTION_BYTES;

/// The call that shows one transaction.
pub(super) fn get_transaction(tx_id: &str) -> RpcCall {
    let options = json!({ "encoding": "json", "commitment": CONFIRMED, "maxSupportedTransactionVersion": 0 });
    rpc::request("getTransaction", json!([tx_id, options]))
}

/// Whether a node's answer is that of a landed transaction that failed.
pub(super) fn has_failed(answer: &Value) -> bool {
    let error = answer.get("meta").and_then(|meta| meta.get("err"));
    error.is_some_and(|error| !error.is_null())
}

/// What the fee payer of a landed transaction paid, in lamports, whether it failed or not.
pub(super) fn fee(answer: &Value) -> Option<Amount> {
    answer.get("meta")?.get("fee")?.as_u64().map(Amount::from)
}

/// What one transaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) slot: u64,
    instructions: Vec<LocatedInstruction>,
    pub(super) deltas: Vec<Delta>,
    /// `None`: the node does not show it.
    pub(super) fee: Option<Amount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LocatedInstruction {
    position: String,
    program: Address,
    accounts: Vec<Address>,
    data: Vec<u8>,
}

impl Shown {
    /// Reads a node's answer; `None` when it is not that of a landed, successful transaction, or is malformed.
    pub(super) fn read(tx_id: &str, answer: &Value) -> Option<Self> {
        let meta = answer.get("meta")?;
        if !meta.get("err")?.is_null() {
            return None;
        }
        let message = answer.get("transaction")?.get("message")?;
        let mut accounts = addresses(message.get("accountKeys")?)?;
        if let Some(loaded) = meta.get("loadedAddresses").filter(|loaded| !loaded.is_null()) {
            accounts.extend(addresses(loaded.get("writable")?)?);
            accounts.extend(addresses(loaded.get("readonly")?)?);
        }
        let mut instructions = Vec::new();
        for (index, instruction) in message.get("instructions")?.as_array()?.iter().enumerate() {
            instructions.push(located(index.to_string(), instruction, &accounts)?);
        }
        let inner = meta.get("innerInstructions").and_then(Value::as_array);
        for group in inner.into_iter().flatten() {
            let index = group.get("index")?.as_u64()?;
            for (position, instruction) in group.get("instructions")?.as_array()?.iter().enumerate() {
                instructions.push(located(format!("{index}.{position}"), instruction, &accounts)?);
            }
        }
        Some(Self {
            slot: answer.get("slot")?.as_u64()?,
            instructions,
            deltas: deltas(tx_id, meta, &accounts)?,
            fee: fee(answer),
        })
    }

    /// The instructions that are wanted, in order.
    pub(super) fn logs(&self, tx_id: &str, wanted: &[EvidenceWanted]) -> Vec<LogEntry> {
        let filters: Vec<&LogFilter> = wanted.iter().flat_map(|wanted| &wanted.logs).collect();
        self.instructions
            .iter()
            .filter(|instruction| filters.iter().any(|filter| matches(filter, instruction)))
            .map(|instruction| LogEntry {
                id: format!("{tx_id}/{}", instruction.position),
                emitter: instruction.program.to_string(),
                topics: instruction
                    .accounts
                    .iter()
                    .map(|account| HexBytes(account.to_bytes().to_vec()))
                    .collect(),
                data: HexBytes(instruction.data.clone()),
            })
            .collect()
    }
}

fn matches(filter: &LogFilter, instruction: &LocatedInstruction) -> bool {
    text::address(&filter.emitter) == Some(instruction.program)
        && filter.topics.len() <= instruction.accounts.len()
        && filter
            .topics
            .iter()
            .zip(&instruction.accounts)
            .all(|(topic, account)| {
                topic
                    .as_ref()
                    .is_none_or(|topic| topic.as_ref() == account.as_ref() as &[u8])
            })
}

fn addresses(list: &Value) -> Option<Vec<Address>> {
    list.as_array()?
        .iter()
        .map(|item| item.as_str().and_then(text::address))
        .collect()
}

fn located(position: String, instruction: &Value, accounts: &[Address]) -> Option<LocatedInstruction> {
    let account = |index: &Value| {
        let index = usize::try_from(index.as_u64()?).ok()?;
        accounts.get(index).copied()
    };
    let named = instruction.get("accounts")?.as_array()?.iter().map(account);
    Some(LocatedInstruction {
        position,
        program: account(instruction.get("programIdIndex")?)?,
        accounts: named.collect::<Option<_>>()?,
        // Data too long to be a transfer is of no interest; what is no base58 makes the answer malformed.
        data: match instruction.get("data")?.as_str()? {
            long if long.len() > MAX_DATA_BYTES * 2 => Vec::new(),
            text => text::base58(text, MAX_DATA_BYTES * 2)?,
        },
    })
}

/// Net changes of the token accounts; empty when the node keeps no token balances.
fn deltas(tx_id: &str, meta: &Value, accounts: &[Address]) -> Option<Vec<Delta>> {
    let mut by_account: BTreeMap<(u64, String), (u64, u64)> = BTreeMap::new();
    for (member, is_post) in [("preTokenBalances", false), ("postTokenBalances", true)] {
        let balances = meta.get(member).and_then(Value::as_array);
        for balance in balances.into_iter().flatten() {
            let index = balance.get("accountIndex")?.as_u64()?;
            let mint = balance.get("mint")?.as_str()?.to_owned();
            let amount = balance
                .get("uiTokenAmount")?
                .get("amount")?
                .as_str()?
                .parse()
                .ok()?;
            let (pre, post) = by_account.entry((index, mint)).or_default();
            *(if is_post { post } else { pre }) = amount;
        }
    }
    by_account
        .into_iter()
        .map(|((index, asset), (pre, post))| {
            let account = accounts.get(usize::try_from(index).ok()?)?.to_string();
            Some(Delta {
                id: format!("{tx_id}/balance/{account}"),
                account,
                asset,
                received: Amount::from(post.saturating_sub(pre)),
                sent: Amount::from(pre.saturating_sub(post)),
            })
        })
        .collect()
}
