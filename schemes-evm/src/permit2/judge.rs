//! Whether the step paid (exact-evm.md sections 7 and 13, PROOF.md).
//!
//! Our own transaction calls the proxy itself, so its success shows that this permit was used in it. What it moved is shown by
//! the asset's own log: a transfer from the payer to the payee of exactly this amount. A transaction with other payments is
//! Multicall3's, and this payment is the only one of its payer in it: there the log shows both.
//!
//! No log has the nonce. A transaction of others used this permit where its own call, decoded, is the proxy's with this
//! owner and nonce. A payer may cancel a nonce also after its use, and another contract may have called the proxy inside of its
//! own call: where a transfer to the payee of exactly this amount may be that, nothing is decided.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::chain::{Evidence, ForeignCall, ForeignTx, GuardState, LogEntry, Shown};
use sdk_plugin::scheme::{Judgement, Paid, PaidReply, Plan, Refusal, Step, extensions_used};
use sdk_plugin::{Cx, Fault};
use serde_json::json;

use super::abi::{ExactProxy, UptoProxy};
use super::plan::Memo;
use super::{Proxy, approval, nonce, reason, revert};
use crate::abi::TRANSFER_TOPIC;
use crate::transfer::{Checks, out_of_gas};
use crate::{step, text};

/// The judgement; `checks` remembers an asset whose transfer ran out of gas.
///
/// # Errors
/// The memo is not one of Permit2, a defect.
pub(crate) fn judge(
    cx: &Cx,
    checks: &Checks,
    plan: &Plan,
    step: &Step,
    evidence: &Evidence,
) -> Result<Judgement, Fault> {
    if let Some(memo) = approval::Memo::read(&step.memo) {
        return Ok(approval::judge(plan, memo, evidence));
    }
    let memo = Memo::read(&step.memo)?;
    if out_of_gas::is_possible_in(evidence) {
        checks.ran_out_of_gas(cx, memo.asset);
    }
    Ok(judgement(plan, &memo, evidence, cx.now_s()))
}

/// `now_s`: seconds since the epoch; only chooses between two names of the same failure.
fn judgement(plan: &Plan, memo: &Memo, evidence: &Evidence, now_s: u64) -> Judgement {
    let names = memo.proxy.names();
    let failure = match &evidence.shown {
        Shown::Landed { .. } => match exact_transfer(memo, &evidence.logs) {
            Some(item) => return transferred(plan, memo, evidence, item),
            // Other calls of the transaction succeeded without it.
            None if evidence.shared => {
                let why = "its call failed on chain, in a transaction with other payments";
                not_paid(plan, names.transaction_failed, why.into())
            }
            None => {
                let why = "the transaction landed, and the asset did not report the exact transfer";
                return not_paid(plan, names.event_mismatch, why.into());
            }
        },
        Shown::Reverted { message, .. } => {
            let message = message.clone().unwrap_or_default();
            not_paid(plan, revert::reason_for(&message, memo.proxy), message)
        }
        Shown::Dead { why } if memo.deadline.0 <= U256::from(now_s) => not_paid(
            plan,
            reason::DEADLINE,
            format!("the permit expired before it could be used: {why}"),
        ),
        // The call may have been simulated, with the contract's own reason.
        Shown::Dead { why } => not_paid(plan, revert::reason_for(why, memo.proxy), why.clone()),
    };
    if let Some(judgement) = explained(plan, memo, &evidence.foreign) {
        return judgement;
    }
    match evidence.guard {
        GuardState::Absent | GuardState::Unchanged => failure,
        GuardState::Unread => Judgement::Unproven {
            why: "no node has shown whether the permit's nonce is used".into(),
        },
        GuardState::Changed => Judgement::Unproven {
            why: "the permit's nonce is used or cancelled, and no transaction that did it has been found"
                .into(),
        },
    }
}

/// Our own transaction made the exact transfer: the permit was used in it, and for nothing else.
fn transferred(plan: &Plan, memo: &Memo, evidence: &Evidence, item: String) -> Judgement {
    match evidence.guard {
        GuardState::Unchanged => Judgement::Unproven {
            why: "the node that read the permit's nonce does not know the transaction yet".into(),
        },
        // It is read only where something is unclear.
        GuardState::Absent | GuardState::Unread | GuardState::Changed => {
            paid(plan, memo, evidence.shared, &evidence.tx_id, item)
        }
    }
}

/// What one transaction of others shows about the permit.
#[derive(Debug, PartialEq, Eq)]
enum Trace {
    /// It used the permit for the exact transfer, whose log this is.
    Paid(String),
    /// It used the nonce for something else.
    UsedOtherwise,
    /// It may have used the permit for the exact transfer: inside of another call, or the log is not shown.
    Ambiguous,
    Canceled,
    Absent,
}

fn trace(memo: &Memo, tx: &ForeignTx) -> Trace {
    let transfer = exact_transfer(memo, &tx.logs);
    match tx.call.as_ref().and_then(Settled::decode) {
        Some(settled) if settled.is_of(memo) => match transfer {
            Some(item) if settled.pays(memo) => Trace::Paid(item),
            // A node may show a part of a transaction's logs only.
            None if settled.pays(memo) && !has_transfer(memo, &tx.logs) => Trace::Ambiguous,
            Some(_) | None => Trace::UsedOtherwise,
        },
        // Another permit's: its transfer is that one's. A wallet or token of the payer could have used ours inside of it, which
        // leaves ours unexplained.
        Some(_) => Trace::Absent,
        None if transfer.is_some() => Trace::Ambiguous,
        None if is_canceled(memo, &tx.logs) => Trace::Canceled,
        None => Trace::Absent,
    }
}

/// What transactions of others show about the permit, when they decide something.
fn explained(plan: &Plan, memo: &Memo, foreign: &[ForeignTx]) -> Option<Judgement> {
    let traces: Vec<(&ForeignTx, Trace)> = foreign.iter().map(|tx| (tx, trace(memo, tx))).collect();
    let replay = |tx: &ForeignTx, how: &str| {
        let why = format!("transaction {} {how}", tx.tx_id);
        not_paid(plan, reason::INVALID_NONCE, why)
    };
    let direct = traces.iter().find_map(|(tx, trace)| match (trace, memo.proxy) {
        (Trace::Paid(item), Proxy::Exact) if !tx.earlier => {
            Some(paid(plan, memo, false, &tx.tx_id, item.clone()))
        }
        // A replay: it pays the sender of that transaction.
        (Trace::Paid(_), Proxy::Exact) => Some(replay(tx, "used the permit before this request")),
        // Only our own key can send it: another journal did, and may have answered its own caller.
        (Trace::Paid(_), Proxy::Upto) => Some(replay(tx, "used the permit for another journal of this key")),
        (Trace::UsedOtherwise, _) => Some(replay(tx, "used the nonce without the exact transfer")),
        (Trace::Ambiguous | Trace::Canceled | Trace::Absent, _) => None,
    });
    let ambiguous = |earlier: bool| {
        let is_ambiguous =
            |(tx, trace): &&(&ForeignTx, Trace)| *trace == Trace::Ambiguous && tx.earlier == earlier;
        let (tx, _) = traces.iter().find(is_ambiguous)?;
        Some(Judgement::Unproven {
            why: format!(
                "whether transaction {} paid payTo by this permit is not shown",
                tx.tx_id
            ),
        })
    };
    let canceled = || {
        let (tx, _) = traces.iter().find(|(_, trace)| *trace == Trace::Canceled)?;
        Some(replay(tx, "cancelled the nonce"))
    };
    // An earlier transaction never pays: where another one cancelled the nonce, it does not matter what that one did.
    direct
        .or_else(|| ambiguous(false))
        .or_else(canceled)
        .or_else(|| ambiguous(true))
}

/// A direct call of a proxy.
#[derive(Debug)]
struct Settled {
    proxy: Proxy,
    owner: Address,
    nonce: U256,
    token: Address,
    to: Address,
    amount: U256,
}

impl Settled {
    /// `None`: it calls something else.
    fn decode(call: &ForeignCall) -> Option<Self> {
        let target = text::address(&call.target)?;
        let data = call.data.as_ref();
        let proxy = [Proxy::Exact, Proxy::Upto]
            .into_iter()
            .find(|proxy| proxy.address() == target)?;
        let (permit, owner, to, amount) = match proxy {
            Proxy::Exact => {
                let (permit, owner, to) = ExactProxy::settleCall::abi_decode(data)
                    .map(|call| (call.permit, call.owner, call.witness.to))
                    .or_else(|_| {
                        ExactProxy::settleWithPermitCall::abi_decode(data)
                            .map(|call| (call.permit, call.owner, call.witness.to))
                    })
                    .ok()?;
                let amount = permit.permitted.amount;
                (permit, owner, to, amount)
            }
            Proxy::Upto => UptoProxy::settleCall::abi_decode(data)
                .map(|call| (call.permit, call.owner, call.witness.to, call.amount))
                .or_else(|_| {
                    UptoProxy::settleWithPermitCall::abi_decode(data)
                        .map(|call| (call.permit, call.owner, call.witness.to, call.amount))
                })
                .ok()?,
        };
        Some(Self {
            proxy,
            owner,
            nonce: permit.nonce,
            token: permit.permitted.token,
            to,
            amount,
        })
    }

    /// Whether it used the payment's nonce: both proxies share Permit2's nonces.
    fn is_of(&self, memo: &Memo) -> bool {
        self.owner == memo.from && self.nonce == memo.nonce.0
    }

    fn pays(&self, memo: &Memo) -> bool {
        self.proxy == memo.proxy
            && self.token == memo.asset
            && self.to == memo.pay_to
            && self.amount == memo.value.0
    }
}

/// The id of the log of the exact transfer.
fn exact_transfer(memo: &Memo, logs: &[LogEntry]) -> Option<String> {
    let wanted = [TRANSFER_TOPIC, memo.from.into_word(), memo.pay_to.into_word()];
    let is_exact = |log: &&LogEntry| {
        text::address(&log.emitter) == Some(memo.asset)
            && log.topics.len() == wanted.len()
            && log
                .topics
                .iter()
                .zip(&wanted)
                .all(|(topic, wanted)| topic.as_ref() == wanted.as_slice())
            && log.data.as_ref() == B256::from(memo.value.0).as_slice()
    };
    logs.iter().find(is_exact).map(|log| log.id.clone())
}

/// Whether any transfer of the payer is shown.
fn has_transfer(memo: &Memo, logs: &[LogEntry]) -> bool {
    logs.iter()
        .any(|log| text::address(&log.emitter) == Some(memo.asset))
}

fn is_canceled(memo: &Memo, logs: &[LogEntry]) -> bool {
    logs.iter()
        .any(|log| nonce::is_cancellation(log, memo.from, memo.nonce.0))
}

fn not_paid(plan: &Plan, reason: &str, message: String) -> Judgement {
    let refusal = Refusal::new(reason, plan.payer.clone());
    Judgement::NotPaid(if message.is_empty() {
        refusal
    } else {
        refusal.with_message(message)
    })
}

/// `shared`: in a transaction with others.
fn paid(plan: &Plan, memo: &Memo, shared: bool, tx_id: &str, item: String) -> Judgement {
    let items = vec![item];
    let extra = shared.then(|| step::apart_in_transaction(json!(memo.nonce), &items));
    Judgement::Paid(Paid {
        tx_id: tx_id.to_owned(),
        items,
        reply: PaidReply {
            payer: plan.payer.clone(),
            amount: Some(memo.value),
            extra,
            extensions: extensions_used(&memo.used),
        },
        writes: Vec::new(),
        jobs: Vec::new(),
        repeatable: false,
    })
}
