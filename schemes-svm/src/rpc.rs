//! Typed requests over `rpc.v1`, and strict readers of what nodes answer.
//!
//! A node's error is trouble of the node, a [`Fault`], never a bad payment; the one exception is a simulation whose bytes
//! the node refuses to look at, which [`crate::exact`] reads itself.

use sdk_plugin::host::{RpcCall, RpcError, RpcResult};
use sdk_plugin::{Cx, Fault, Value};
use serde_json::json;
use solana_address::Address;

use crate::{shape, text};

/// The commitment of every read that is not about finality: what a supermajority has voted for.
pub const CONFIRMED: &str = "confirmed";
/// What can't be undone.
pub const FINALIZED: &str = "finalized";
/// Addresses per `getMultipleAccounts`, the nodes' limit.
pub const MAX_ACCOUNTS: usize = 100;
/// Calls per JSON-RPC batch.
const MAX_BATCH: usize = 100;

#[must_use]
pub fn request(method: &str, params: Value) -> RpcCall {
    RpcCall {
        method: method.into(),
        params,
    }
}

/// The slot of the newest block at a commitment.
#[must_use]
pub fn slot(commitment: &str) -> RpcCall {
    request("getSlot", json!([{ "commitment": commitment }]))
}

/// The number of blocks up to the newest one at a commitment: less than its slot, since slots are skipped.
#[must_use]
pub fn block_height(commitment: &str) -> RpcCall {
    request("getBlockHeight", json!([{ "commitment": commitment }]))
}

/// Accounts with their data, at most [`MAX_ACCOUNTS`].
#[must_use]
pub fn accounts(addresses: &[Address]) -> RpcCall {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    request(
        "getMultipleAccounts",
        json!([addresses, { "encoding": "base64", "commitment": CONFIRMED }]),
    )
}

/// Whether a blockhash is one that a transaction can land with, by the newest confirmed bank.
#[must_use]
pub fn is_blockhash_valid(blockhash: &str) -> RpcCall {
    request(
        "isBlockhashValid",
        json!([blockhash, { "commitment": CONFIRMED }]),
    )
}

/// Any number of reads in order, in batches that nodes accept. Later batches see the same or a later state.
pub async fn read_all(cx: &Cx, mut calls: Vec<RpcCall>) -> Result<Answers, Fault> {
    let mut results = Vec::with_capacity(calls.len());
    while !calls.is_empty() {
        let rest = calls.split_off(calls.len().min(MAX_BATCH));
        results.extend(cx.read(calls).await?);
        calls = rest;
    }
    Ok(Answers(results.into_iter()))
}

/// The same for what decides: an answer of a shape that its method does not have is no answer, and the reads are put to two
/// nodes. All results are one node's. Not for what one node alone must say.
///
/// # Errors
/// No node answered.
pub async fn read_well_formed(cx: &Cx, calls: Vec<RpcCall>) -> Result<Answers, Fault> {
    let answers = read_all(cx, calls.clone()).await?;
    let faults = |results: &[RpcResult]| count_malformed(&calls, results);
    if faults(answers.left()) == 0 {
        return Ok(answers);
    }
    Ok(better(cx, &calls, answers, faults).await.0)
}

/// How many results are of a shape that their method does not have.
pub(crate) fn count_malformed(calls: &[RpcCall], results: &[RpcResult]) -> usize {
    let pairs = calls.iter().zip(results);
    pairs.filter(|(call, result)| !shape::fits(call, result)).count()
}

/// Of two nodes' answers and those that are known the set with the fewest faults, and whether it is another one than the known
/// one. With one of two away nothing better is to be had.
pub(crate) async fn better(
    cx: &Cx,
    calls: &[RpcCall],
    known: Answers,
    faults: impl Fn(&[RpcResult]) -> usize,
) -> (Answers, bool) {
    if calls.len() > MAX_BATCH {
        return (known, false);
    }
    let sets = cx.compare(calls.to_vec()).await.unwrap_or_default();
    let best = sets.into_iter().min_by_key(|set| faults(set));
    match best.filter(|set| faults(set) < faults(known.left())) {
        Some(set) => (Answers(set.into_iter()), true),
        None => (known, false),
    }
}

/// The same reads by two different nodes, where the network has two: one set of answers for each.
pub async fn read_by_two(cx: &Cx, calls: Vec<RpcCall>) -> Result<Vec<Answers>, Fault> {
    let nodes = cx.compare(calls).await?;
    Ok(nodes
        .into_iter()
        .map(|results| Answers(results.into_iter()))
        .collect())
}

/// The results of one read, taken in the order of its calls.
#[derive(Debug)]
pub struct Answers(std::vec::IntoIter<RpcResult>);

impl Answers {
    /// Those that are not taken yet.
    pub(crate) fn left(&self) -> &[RpcResult] {
        self.0.as_slice()
    }

    pub fn take(&mut self) -> Result<RpcResult, Fault> {
        self.0
            .next()
            .ok_or_else(|| Fault::internal("more answers taken than calls made"))
    }
}

/// The value of a read that has no reason to fail.
pub fn value(result: RpcResult, what: &str) -> Result<Value, Fault> {
    match result {
        RpcResult::Ok(value) => Ok(value),
        RpcResult::Error(error) => Err(node_trouble(what, &error)),
    }
}

/// An integer from 0 to 2^64 - 1.
pub fn number(result: RpcResult, what: &str) -> Result<u64, Fault> {
    value(result, what)?
        .as_u64()
        .ok_or_else(|| odd(what, "no integer"))
}

/// The `value` of an answer that says at which slot it was made, and that slot.
pub fn at_slot(result: RpcResult, what: &str) -> Result<(u64, Value), Fault> {
    let mut answer = value(result, what)?;
    let slot = answer.get("context").and_then(|context| context.get("slot"));
    let slot = slot
        .and_then(Value::as_u64)
        .ok_or_else(|| odd(what, "no context slot"))?;
    let value = answer.get_mut("value").map(Value::take);
    value
        .map(|value| (slot, value))
        .ok_or_else(|| odd(what, "no value"))
}

/// An account as a node shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub owner: Address,
    pub lamports: u64,
    pub data: Vec<u8>,
}

/// The answer to [`accounts`] of `count` addresses: the slot, and `None` where there is no account.
pub fn account_list(result: RpcResult, count: usize) -> Result<(u64, Vec<Option<Account>>), Fault> {
    let what = "getMultipleAccounts";
    let (slot, value) = at_slot(result, what)?;
    let items = value.as_array().filter(|items| items.len() == count);
    let items = items.ok_or_else(|| odd(what, "another number of accounts"))?;
    let accounts = items.iter().map(|item| {
        if item.is_null() {
            return Ok(None);
        }
        account(item)
            .map(Some)
            .ok_or_else(|| odd(what, "a malformed account"))
    });
    Ok((slot, accounts.collect::<Result<_, _>>()?))
}

fn account(item: &Value) -> Option<Account> {
    let data = item.get("data")?.as_array()?;
    let [data, encoding] = data.as_slice() else {
        return None;
    };
    if encoding.as_str() != Some("base64") {
        return None;
    }
    Some(Account {
        owner: item.get("owner")?.as_str().and_then(text::address)?,
        lamports: item.get("lamports")?.as_u64()?,
        data: text::account_data(data.as_str()?)?,
    })
}

/// A node's error that says nothing about the payment.
#[must_use]
pub fn node_trouble(what: &str, error: &RpcError) -> Fault {
    Fault::unavailable(format!(
        "{what}: the node answered {} {:?}",
        error.code, error.message
    ))
}

/// An answer of another shape than documented.
#[must_use]
pub fn odd(what: &str, found: &str) -> Fault {
    Fault::unavailable(format!("{what}: the node answered {found}"))
}
