//! Whether the step paid. Only logs that the asset itself emitted prove it (exact-evm.md sections 5 and 13).
//!
//! What had no effect has failed only where the nonce is unused, or where the transaction that used it is known. A used
//! nonce without that transaction decides nothing: nodes index logs later than state, and the transaction may be one that
//! paid.

use alloy_primitives::U256;
use sdk_plugin::chain::{Evidence, ForeignTx, GuardState, Shown};
use sdk_plugin::scheme::{Judgement, Paid, PaidReply, Plan, Refusal, Step, extensions_used};
use sdk_plugin::{Fault, Value};
use serde_json::{Map, json};

use super::plan::Memo;
use super::trace::{Sender, Trace, trace};
use super::{reason, revert};
use crate::step;

/// `now_s`: seconds since the epoch; only chooses between two names of the same failure.
pub(super) fn judge(plan: &Plan, step: &Step, evidence: &Evidence, now_s: u64) -> Result<Judgement, Fault> {
    let memo = Memo::read(&step.memo)?;
    let failure = match &evidence.shown {
        Shown::Landed { .. } => match trace(&memo, &evidence.logs, sender(&memo)) {
            Trace::Paid(items) => {
                let extra = evidence
                    .shared
                    .then(|| step::apart_in_transaction(json!(memo.nonce), &items));
                return Ok(paid(plan, &memo, &evidence.tx_id, items, extra));
            }
            Trace::Ambiguous if memo.deploys => {
                return Ok(Judgement::Unproven {
                    why: "the wallet's deployment moved the payer's tokens too, and which transfer belongs to this payment is \
                          open"
                        .into(),
                });
            }
            Trace::UsedOtherwise | Trace::Unmoved | Trace::Ambiguous | Trace::Canceled => {
                return Ok(event_mismatch(plan));
            }
            // Other calls of the transaction succeeded without it.
            Trace::Absent if evidence.shared => not_paid(
                plan,
                reason::TRANSACTION_FAILED,
                "its call failed on chain, in a transaction with other payments".into(),
            ),
            // Tokens that return where others revert: something else may have used the nonce before (T-111).
            Trace::Absent => event_mismatch(plan),
        },
        Shown::Reverted { message, .. } => {
            let message = message.clone().unwrap_or_default();
            not_paid(plan, revert::reason_for(&message), message)
        }
        Shown::Dead { why } if memo.valid_before.0 <= U256::from(now_s) => not_paid(
            plan,
            reason::VALID_BEFORE,
            format!("the authorization expired before it could be used: {why}"),
        ),
        Shown::Dead { why } => not_paid(plan, reason::TRANSACTION_FAILED, why.clone()),
    };
    if let Some(judgement) = explained(plan, &memo, &evidence.foreign) {
        return Ok(judgement);
    }
    let landed = matches!(evidence.shown, Shown::Landed { .. });
    Ok(match evidence.guard {
        // Absent: a plan of a version without guards.
        GuardState::Absent | GuardState::Unchanged => failure,
        GuardState::Unread if landed => failure,
        GuardState::Unread => Judgement::Unproven {
            why: "no node has shown whether the authorization is used".into(),
        },
        GuardState::Changed => Judgement::Unproven {
            why: "the authorization is used or cancelled, and no transaction that did it has been found"
                .into(),
        },
    })
}

/// Who decides what our transaction does. A deployment runs the payer's code, which can use other authorizations of the
/// payer, of the same nonce too.
fn sender(memo: &Memo) -> Sender {
    if memo.deploys {
        Sender::Stranger
    } else {
        Sender::Ours
    }
}

/// What transactions of others show about the authorization, when they decide something.
fn explained(plan: &Plan, memo: &Memo, foreign: &[ForeignTx]) -> Option<Judgement> {
    let traces = || {
        foreign
            .iter()
            .map(|tx| (tx, trace(memo, &tx.logs, Sender::Stranger)))
    };
    let paid = traces().find_map(|(tx, trace)| match trace {
        Trace::Paid(items) if !tx.earlier => Some(paid(plan, memo, &tx.tx_id, items, None)),
        Trace::Paid(_)
        | Trace::UsedOtherwise
        | Trace::Unmoved
        | Trace::Ambiguous
        | Trace::Canceled
        | Trace::Absent => None,
    });
    let ambiguous = || {
        traces().find_map(|(tx, trace)| {
            let what = match trace {
                Trace::Ambiguous => "its transfer to payTo may be another payment",
                // A node may show a part of a transaction's logs only.
                Trace::Unmoved => "no transfer of the payer in it is shown",
                Trace::Paid(_) | Trace::UsedOtherwise | Trace::Canceled | Trace::Absent => return None,
            };
            Some(Judgement::Unproven {
                why: format!("transaction {} used the authorization, and {what}", tx.tx_id),
            })
        })
    };
    let used_up = || {
        traces().find_map(|(tx, trace)| {
            let how = match trace {
                // A replay: it pays the sender of that transaction.
                Trace::Paid(_) if tx.earlier => "used the authorization before this request",
                Trace::UsedOtherwise => "used the authorization without the exact transfer",
                Trace::Canceled => "cancelled the authorization",
                Trace::Paid(_) | Trace::Unmoved | Trace::Ambiguous | Trace::Absent => return None,
            };
            Some(not_paid(
                plan,
                reason::NONCE_USED,
                format!("transaction {} {how}", tx.tx_id),
            ))
        })
    };
    paid.or_else(ambiguous).or_else(used_up)
}

fn event_mismatch(plan: &Plan) -> Judgement {
    not_paid(
        plan,
        reason::EVENT_MISMATCH,
        "the transaction landed, and the asset did not report the exact transfer".into(),
    )
}

fn not_paid(plan: &Plan, reason: &str, message: String) -> Judgement {
    let refusal = Refusal::new(reason, plan.payer.clone());
    Judgement::NotPaid(if message.is_empty() {
        refusal
    } else {
        refusal.with_message(message)
    })
}

fn paid(
    plan: &Plan,
    memo: &Memo,
    tx_id: &str,
    items: [String; 2],
    extra: Option<Map<String, Value>>,
) -> Judgement {
    Judgement::Paid(Paid {
        tx_id: tx_id.to_owned(),
        items: items.into(),
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

impl Memo {
    pub(super) fn read(value: &Value) -> Result<Self, Fault> {
        serde_json::from_value(value.clone())
            .map_err(|error| Fault::invalid(format!("the step's memo is not one of `exact`: {error}")))
    }
}
