//! Did it happen? The escrow's own event says so, and the balances at the transaction's block bear it out
//! (auth-capture-evm.md sections 8 and 9).
//!
//! A node that shows the event without the balances behind it lags or is wrong: that proves nothing, neither that it
//! happened nor that it failed (T-76).

use alloy_primitives::U256;
use sdk_plugin::chain::{Evidence, Shown};
use sdk_plugin::scheme::{Judgement, Paid, PaidReply, Plan, Refusal};
use sdk_plugin::{Amount, Fault};

use super::super::reason::Reason;
use super::super::records::{OperationKind, OperationRow, operation_writes};
use super::super::revert;
use super::super::state::{self, Event, State};
use super::plan::{Memo, read_memo};

/// `now_s`: seconds since the epoch; only chooses between two names of the same failure.
pub(super) fn judge(plan: &Plan, evidence: &Evidence, now_s: u64) -> Result<Judgement, Fault> {
    let step = state::step_of(plan, evidence)?;
    let memo = read_memo(&step.memo)?;
    let not_done = |reason: Reason, message: String| {
        let refusal = Refusal::new(reason.v1_1(), plan.payer.clone());
        Judgement::NotPaid(if message.is_empty() {
            refusal
        } else {
            refusal.with_message(message)
        })
    };
    match &evidence.shown {
        Shown::Landed { height } => {
            let events = state::events(memo.escrow, memo.hash, &evidence.logs);
            let Some((id, _)) = events.into_iter().find(|(_, event)| is_reported(&memo, event)) else {
                return Ok(not_done(
                    Reason::UnexpectedPaymentState,
                    "the transaction landed, and the escrow did not report the operation".into(),
                ));
            };
            match State::in_evidence(&evidence.reads) {
                Some(state) if bears_out(&memo, state) => done(plan, &memo, evidence, id, *height),
                Some(_) => Ok(Judgement::Unproven {
                    why: "the escrow reported the operation, and the balances at that block do not show it"
                        .into(),
                }),
                None if state::is_forgotten(*height, evidence.head_height) => {
                    done(plan, &memo, evidence, id, *height)
                }
                None => Ok(Judgement::Unproven {
                    why: "the balances at the transaction's block were not read".into(),
                }),
            }
        }
        Shown::Reverted { message, .. } => {
            let message = message.clone().unwrap_or_default();
            let reason = revert::reason_in(&message).unwrap_or(Reason::TransactionReverted);
            Ok(not_done(reason, message))
        }
        Shown::Dead { why } => {
            let expired = memo.expires_at_s.is_some_and(|at_s| now_s >= at_s);
            let reason = match (expired, memo.operation) {
                (true, OperationKind::Capture) => Reason::CaptureDeadlineExpired,
                (true, OperationKind::Refund) => Reason::RefundDeadlineExpired,
                _ => Reason::TransactionReverted,
            };
            Ok(not_done(
                reason,
                format!("the transaction can't land any more: {why}"),
            ))
        }
    }
}

/// The event of exactly this operation.
fn is_reported(memo: &Memo, event: &Event) -> bool {
    match (memo.operation, event) {
        (
            OperationKind::Capture,
            Event::Captured {
                amount,
                fee,
                fee_receiver,
            },
        ) => *amount == memo.amount && Some(*fee) == memo.fee && Some(*fee_receiver) == memo.fee_receiver,
        (OperationKind::Void, Event::Voided { amount }) => *amount == memo.amount,
        (OperationKind::Refund, Event::Refunded { amount, collector }) => {
            *amount == memo.amount && Some(*collector) == memo.collector
        }
        _ => false,
    }
}

/// The balances right behind the operation; or, of what was still held, nothing: its payer may take it back in the very
/// same block.
fn bears_out(memo: &Memo, state: State) -> bool {
    memo.after().is_some_and(|after| {
        let held = state.balances.capturable;
        state.collected
            && state.balances.refundable == after.refundable
            && (held == after.capturable || held.is_zero())
    })
}

/// A void behind a capture is done in the same words; the host takes them as "go on".
fn done(plan: &Plan, memo: &Memo, evidence: &Evidence, id: String, height: u64) -> Result<Judgement, Fault> {
    let row = OperationRow {
        kind: memo.operation,
        amount: memo.amount,
        fee: memo.fee,
        transaction: evidence.tx_id.clone(),
        height,
        planned_at_s: memo.planned_at_s,
        voids_remainder: memo.voids_remainder,
    };
    let network = format!("eip155:{}", memo.chain_id);
    let amount = match memo.operation {
        OperationKind::Void => U256::ZERO,
        OperationKind::Authorize | OperationKind::Charge | OperationKind::Capture | OperationKind::Refund => {
            memo.amount
        }
    };
    Ok(Judgement::Paid(Paid {
        tx_id: evidence.tx_id.clone(),
        items: vec![id],
        reply: PaidReply {
            payer: plan.payer.clone(),
            amount: Some(Amount(amount)),
            ..PaidReply::default()
        },
        writes: operation_writes(&network, memo.hash, &row, memo.refund_deadline_s)?,
        ..Paid::default()
    }))
}
