//! One simulation, and everything that its one answer shows: whether the transaction works, what it costs, what moves.
//!
//! Balances before and after come from the same answer: two reads would race with other payments to a busy payee.

use std::collections::BTreeMap;

use sdk_plugin::host::{RpcCall, RpcError, RpcResult};
use sdk_plugin::{Fault, Value};
use serde_json::json;
use solana_address::Address;

use crate::programs::is_token;
use crate::rpc::{self, CONFIRMED};
use crate::text;
use crate::token::{Instruction, TransferChecked};
use crate::wire::Transaction;

/// JSON-RPC code of parameters that a node can't read.
const INVALID_PARAMS: i64 = -32_602;
/// Longest data of an inner instruction that is decoded; a transfer is shorter.
const MAX_DATA_BYTES: usize = 64;
/// Lines of a failed simulation's log that go to our own.
const LOGGED_LINES: usize = 3;
/// The runtime's error for a blockhash that the node's bank does not know, or does not know any more.
const BLOCKHASH_NOT_FOUND: &str = "BlockhashNotFound";
/// The token programs' `InsufficientFunds`.
const TOKEN_INSUFFICIENT_FUNDS: u64 = 1;

/// One token account before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Balance {
    /// `None`: the account did not exist.
    pub(super) pre: Option<u64>,
    pub(super) post: Option<u64>,
    pub(super) mint: Option<Address>,
    pub(super) owner: Option<Address>,
}

/// What a simulation shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Simulated {
    /// The slot whose state it started from.
    pub(super) slot: u64,
    /// The fee payer's lamports before and after, where the node returns them.
    pub(super) fee_payer: Option<(u64, u64)>,
    /// Token accounts by address, where the node returns them.
    pub(super) balances: Option<BTreeMap<Address, Balance>>,
    /// Transfers with checks by inner instructions, in order.
    pub(super) inner: Vec<TransferChecked>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Works(Simulated),
    Fails(Failed),
}

/// Why the transaction fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Failed {
    /// The slot whose state it started from; 0: the node refused to read the bytes.
    pub(super) slot: u64,
    /// The runtime's error in short.
    pub(super) error: String,
    /// The bank does not know the blockhash: it is expired, or newer than the node's view.
    pub(super) unknown_blockhash: bool,
    /// The fee payer lacks the money: no fault of the buyer's.
    pub(super) is_fee_payer_unfunded: bool,
    /// The instruction that fails with this error of its program's own.
    pub(super) custom: Option<(u64, u64)>,
    /// The last lines of the programs' log, for our log only.
    pub(super) log: Vec<String>,
}

impl Failed {
    /// One sentence, without what programs wrote.
    pub(super) fn sentence(&self, instructions: &[Instruction]) -> String {
        if self.unknown_blockhash {
            return "blockhash unknown or expired".into();
        }
        if self.is_fee_payer_unfunded {
            let error = &self.error;
            return format!("the fee payer can't pay for a transaction ({error}): send it SOL");
        }
        let is_token_program = |index: u64| {
            let index = usize::try_from(index).ok();
            index
                .and_then(|index| instructions.get(index))
                .is_some_and(|instruction| is_token(&instruction.program))
        };
        match self.custom {
            Some((index, TOKEN_INSUFFICIENT_FUNDS)) if is_token_program(index) => {
                "the payer's token account holds less than the amount".into()
            }
            Some(_) | None => format!("the transaction fails with {}", self.error),
        }
    }
}

/// Whether the result lists the instructions that programs call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InnerInstructions {
    Included,
    Omitted,
}

/// The call. Signatures are not checked by the node: the fee payer's is not there yet, the others were checked here.
pub(super) fn call(transaction: &Transaction, inner: InnerInstructions) -> RpcCall {
    rpc::request(
        "simulateTransaction",
        json!([
            text::base64(&transaction.to_bytes()),
            {
                "encoding": "base64",
                "commitment": CONFIRMED,
                "sigVerify": false,
                "replaceRecentBlockhash": false,
                "innerInstructions": inner == InnerInstructions::Included,
            }
        ]),
    )
}

/// Reads the answer. A fault of the node is a [`Fault`].
pub(super) fn read(answer: RpcResult, accounts: &[Address]) -> Result<Outcome, Fault> {
    let what = "simulateTransaction";
    let answer = match answer {
        RpcResult::Error(error) if refuses_bytes(&error) => {
            return Ok(Outcome::Fails(Failed {
                error: error.message,
                ..Failed::default()
            }));
        }
        other => other,
    };
    let (slot, value) = rpc::at_slot(answer, what)?;
    let error = value
        .get("err")
        .ok_or_else(|| rpc::unexpected_answer(what, "no err"))?;
    if !error.is_null() {
        return Ok(Outcome::Fails(failed(slot, error, &value)));
    }
    let malformed = || rpc::unexpected_answer(what, "malformed balances or inner instructions");
    Ok(Outcome::Works(Simulated {
        slot,
        fee_payer: lamports(&value).ok_or_else(malformed)?,
        balances: balances(&value, accounts).ok_or_else(malformed)?,
        inner: inner(&value, accounts).ok_or_else(malformed)?,
    }))
}

/// The node reports that these bytes are no transaction that could ever run.
fn refuses_bytes(error: &RpcError) -> bool {
    let text = error.message.to_lowercase();
    error.code == INVALID_PARAMS && (text.contains("invalid transaction") || text.contains("deserialize"))
}

/// Errors that can only be the fee payer's: the first account has not enough lamports, or does not exist.
fn is_fee_payer_unfunded(error: &Value) -> bool {
    let rent = error
        .get("InsufficientFundsForRent")
        .and_then(|inner| inner.get("account_index"));
    matches!(
        error.as_str(),
        Some("InsufficientFundsForFee" | "AccountNotFound")
    ) || rent.and_then(Value::as_u64) == Some(0)
}

fn failed(slot: u64, error: &Value, value: &Value) -> Failed {
    let logs = value.get("logs").and_then(Value::as_array);
    let lines: Vec<&str> = logs.into_iter().flatten().filter_map(Value::as_str).collect();
    let last = lines.get(lines.len().saturating_sub(LOGGED_LINES)..);
    let custom = error.get("InstructionError").and_then(|inner| {
        let code = inner.get(1)?.get("Custom")?.as_u64()?;
        Some((inner.get(0)?.as_u64()?, code))
    });
    Failed {
        slot,
        error: error.as_str().map_or_else(|| error.to_string(), str::to_owned),
        unknown_blockhash: error.as_str() == Some(BLOCKHASH_NOT_FOUND),
        is_fee_payer_unfunded: is_fee_payer_unfunded(error),
        custom,
        log: last
            .unwrap_or_default()
            .iter()
            .map(|line| (*line).to_owned())
            .collect(),
    }
}

/// `None`: malformed. `Some(None)`: not returned.
fn lamports(value: &Value) -> Option<Option<(u64, u64)>> {
    let first = |member: &str| match value.get(member) {
        None | Some(Value::Null) => Some(None),
        Some(list) => list.as_array()?.first()?.as_u64().map(Some),
    };
    Some(first("preBalances")?.zip(first("postBalances")?))
}

fn balances(value: &Value, accounts: &[Address]) -> Option<Option<BTreeMap<Address, Balance>>> {
    let list = |member: &str| match value.get(member) {
        None | Some(Value::Null) => Some(None),
        Some(list) => list.as_array().map(Some),
    };
    let (Some(pre), Some(post)) = (list("preTokenBalances")?, list("postTokenBalances")?) else {
        return Some(None);
    };
    let mut balances: BTreeMap<Address, Balance> = BTreeMap::new();
    for (items, is_post) in [(pre, false), (post, true)] {
        for item in items {
            let index = usize::try_from(item.get("accountIndex")?.as_u64()?).ok()?;
            let amount = item.get("uiTokenAmount")?.get("amount")?.as_str()?.parse().ok()?;
            let balance = balances.entry(*accounts.get(index)?).or_default();
            balance.mint = item.get("mint").and_then(Value::as_str).and_then(text::address);
            let owner = item.get("owner").and_then(Value::as_str).and_then(text::address);
            balance.owner = owner.or(balance.owner);
            *(if is_post {
                &mut balance.post
            } else {
                &mut balance.pre
            }) = Some(amount);
        }
    }
    Some(Some(balances))
}

/// Transfers in the two forms that nodes write: compiled, with indices and base58, and parsed.
fn inner(value: &Value, accounts: &[Address]) -> Option<Vec<TransferChecked>> {
    let groups = match value.get("innerInstructions") {
        None | Some(Value::Null) => return Some(Vec::new()),
        Some(groups) => groups.as_array()?,
    };
    let mut transfers = Vec::new();
    for group in groups {
        for instruction in group.get("instructions")?.as_array()? {
            let transfer = if instruction.get("programIdIndex").is_some() {
                compiled(instruction, accounts)?
            } else {
                parsed(instruction)?
            };
            transfers.extend(transfer);
        }
    }
    Some(transfers)
}

fn compiled(instruction: &Value, accounts: &[Address]) -> Option<Option<TransferChecked>> {
    let account = |index: &Value| accounts.get(usize::try_from(index.as_u64()?).ok()?).copied();
    let program = account(instruction.get("programIdIndex")?)?;
    if !is_token(&program) {
        return Some(None);
    }
    let named = instruction.get("accounts")?.as_array()?.iter().map(account);
    let instruction = Instruction {
        program,
        accounts: named.collect::<Option<_>>()?,
        data: text::base58(instruction.get("data")?.as_str()?, MAX_DATA_BYTES).unwrap_or_default(),
    };
    Some(TransferChecked::read(&instruction))
}

fn parsed(instruction: &Value) -> Option<Option<TransferChecked>> {
    let program = text::address(instruction.get("programId")?.as_str()?)?;
    if !is_token(&program) {
        return Some(None);
    }
    let address = |info: &Value, name: &str| info.get(name).and_then(Value::as_str).and_then(text::address);
    let Some(parsed) = instruction.get("parsed") else {
        // Partly decoded: accounts are written out.
        let named = instruction.get("accounts")?.as_array()?.iter();
        let instruction = Instruction {
            program,
            accounts: named
                .map(|account| account.as_str().and_then(text::address))
                .collect::<Option<_>>()?,
            data: text::base58(instruction.get("data")?.as_str()?, MAX_DATA_BYTES).unwrap_or_default(),
        };
        return Some(TransferChecked::read(&instruction));
    };
    if parsed.get("type").and_then(Value::as_str) != Some("transferChecked") {
        return Some(None);
    }
    let info = parsed.get("info")?;
    let amount = info.get("tokenAmount")?;
    Some(Some(TransferChecked {
        program,
        source: address(info, "source")?,
        mint: address(info, "mint")?,
        destination: address(info, "destination")?,
        authority: address(info, "authority").or_else(|| address(info, "multisigAuthority"))?,
        further: Vec::new(),
        amount: amount.get("amount")?.as_str()?.parse().ok()?,
        decimals: u8::try_from(amount.get("decimals")?.as_u64()?).ok()?,
    }))
}
