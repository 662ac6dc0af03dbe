//! Whether the step paid. The transfer must be in the transaction that landed, and the payee's token account must hold more
//! for it.

use ruint::aliases::U256;
use sdk_plugin::Fault;
use sdk_plugin::chain::{Delta, Evidence, LogEntry, Shown};
use sdk_plugin::scheme::{Judgement, Paid, PaidReply, Plan, Refusal};

use super::plan::Memo;
use super::reason;
use crate::text;
use crate::token::{Instruction, TransferChecked};

pub(super) fn judge(plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
    let step = evidence
        .step
        .of(&plan.steps)
        .ok_or_else(|| Fault::invalid(format!("the plan has no step {}", evidence.step)))?;
    let memo: Memo = serde_json::from_value(step.memo.clone())
        .map_err(|error| Fault::invalid(format!("the step's memo is not one of `exact`: {error}")))?;
    let not_paid = |reason: &str, message: String| {
        let reason = if memo.v1 { reason::in_v1(reason) } else { reason };
        Judgement::NotPaid(Refusal::new(reason, plan.payer.clone()).with_message(message))
    };
    Ok(match &evidence.shown {
        Shown::Landed { .. } => match proof(&memo, evidence) {
            Proof::Paid(items) => Judgement::Paid(Paid {
                tx_id: evidence.tx_id.clone(),
                items,
                reply: PaidReply {
                    payer: plan.payer.clone(),
                    amount: Some(memo.amount),
                    ..PaidReply::default()
                },
                writes: Vec::new(),
                jobs: Vec::new(),
                repeatable: false,
            }),
            Proof::NotPaid(why) => not_paid(reason::NOT_CONFIRMED, why),
            Proof::Unproven(why) => Judgement::Unproven { why },
        },
        Shown::Reverted { message, .. } => {
            not_paid(reason::TRANSACTION_FAILED, message.clone().unwrap_or_default())
        }
        Shown::Dead { why } => not_paid(reason::TRANSACTION_FAILED, why.clone()),
    })
}

enum Proof {
    /// Ids of what proves it.
    Paid(Vec<String>),
    NotPaid(String),
    Unproven(String),
}

fn proof(memo: &Memo, evidence: &Evidence) -> Proof {
    // A token moves only by accounts whose balances the node reports; no report at all proves nothing.
    if evidence.deltas.is_empty() {
        return Proof::Unproven("the node does not show the transaction's token balances".into());
    }
    let received: Vec<&Delta> = evidence
        .deltas
        .iter()
        .filter(|delta| delta.asset == memo.mint && memo.destinations.contains(&delta.account))
        .collect();
    let enough = |delta: &&&Delta| {
        let net = delta.received.0.saturating_sub(delta.sent.0);
        if memo.wallet {
            net >= memo.amount.0
        } else {
            net == memo.amount.0
        }
    };
    let Some(delta) = received.iter().find(enough) else {
        let most = received
            .iter()
            .map(|delta| delta.received.0)
            .max()
            .unwrap_or(U256::ZERO);
        return Proof::NotPaid(format!(
            "the transaction landed, and {most} arrived at the payee, not {}",
            memo.amount
        ));
    };
    let transfer = evidence.logs.iter().find(|log| pays(memo, &delta.account, log));
    match transfer {
        Some(log) => Proof::Paid(vec![log.id.clone(), delta.id.clone()]),
        // A smart wallet may move the amount in parts, or by another instruction: what arrived is what counts.
        None if memo.wallet => Proof::Paid(vec![delta.id.clone()]),
        None => Proof::NotPaid("the transaction landed without the transfer that was planned".into()),
    }
}

/// Whether a log is a transfer to this account of the amount, or by a wallet of more.
fn pays(memo: &Memo, account: &str, log: &LogEntry) -> bool {
    let Some(transfer) = instruction(log).as_ref().and_then(TransferChecked::read) else {
        return false;
    };
    let amount = U256::from(transfer.amount);
    let right_amount = if memo.wallet {
        amount >= memo.amount.0
    } else {
        amount == memo.amount.0
    };
    right_amount && transfer.mint.to_string() == memo.mint && transfer.destination.to_string() == account
}

fn instruction(log: &LogEntry) -> Option<Instruction> {
    let accounts = log.topics.iter().map(|topic| {
        let bytes = <[u8; 32]>::try_from(topic.as_ref()).ok()?;
        Some(solana_address::Address::new_from_array(bytes))
    });
    Some(Instruction {
        program: text::address(&log.emitter)?,
        accounts: accounts.collect::<Option<_>>()?,
        data: log.data.0.clone(),
    })
}
