//! Typed requests over `rpc.v1`, and strict readers of what nodes answer.
//!
//! A node's error is a fault of the node, a [`Fault`], never a bad payment; the one exception is a simulation whose bytes
//! the node rejects as no transaction, which [`crate::exact`] reads itself.

mod shape;
pub(crate) mod status;

use sdk_plugin::host::{RpcCall, RpcResult};
pub use sdk_plugin::rpc::{Answers, Opinions, compare_or_read, request, unexpected_answer, value};
use sdk_plugin::rpc::{NodeProfile, Oversized};
use sdk_plugin::{Cx, Fault, Value};
use serde_json::json;
use solana_address::Address;

use crate::text;

/// The commitment of every read that is not about finality: what a supermajority has voted for.
pub const CONFIRMED: &str = "confirmed";
/// What can't be undone.
pub const FINALIZED: &str = "finalized";
/// Addresses per `getMultipleAccounts`, the nodes' limit.
pub const MAX_ACCOUNTS: usize = 100;

/// What Solana nodes accept and answer.
pub const NODES: NodeProfile = NodeProfile {
    max_batch_calls: 100,
    max_batch_bytes: usize::MAX,
    expected_bytes: |_| 0,
    oversized: Oversized::Fail,
    is_well_formed: shape::is_well_formed,
};

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

/// The same reads by two nodes, or by the network's only one: one set of answers for each.
///
/// # Errors
/// The network has two nodes or more, and no two answered.
pub async fn read_by_two(cx: &Cx, calls: Vec<RpcCall>) -> Result<Vec<Answers>, Fault> {
    let nodes = cx.compare(calls).await?;
    Ok(nodes.into_iter().map(Answers::from).collect())
}

/// An integer from 0 to 2^64 - 1.
pub fn number(result: RpcResult, what: &str) -> Result<u64, Fault> {
    value(result, what)?
        .as_u64()
        .ok_or_else(|| unexpected_answer(what, "no integer"))
}

/// The `value` of an answer that names the slot at which it was made, and that slot.
pub fn at_slot(result: RpcResult, what: &str) -> Result<(u64, Value), Fault> {
    let mut answer = value(result, what)?;
    let slot = answer.get("context").and_then(|context| context.get("slot"));
    let slot = slot
        .and_then(Value::as_u64)
        .ok_or_else(|| unexpected_answer(what, "no context slot"))?;
    let value = answer.get_mut("value").map(Value::take);
    value
        .map(|value| (slot, value))
        .ok_or_else(|| unexpected_answer(what, "no value"))
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
    let items = items.ok_or_else(|| unexpected_answer(what, "another number of accounts"))?;
    let accounts = items.iter().map(|item| {
        if item.is_null() {
            return Ok(None);
        }
        account(item)
            .map(Some)
            .ok_or_else(|| unexpected_answer(what, "a malformed account"))
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
