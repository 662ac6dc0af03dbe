//! Whether the operation happened. The escrow's own event in our transaction shows it, and the balances at the transaction's
//! block bear it out (auth-capture-evm.md sections 8 and 9), alone or with what else happened in the block.
//!
//! A node that shows the event without its balances lags or is wrong: that proves nothing, neither that it
//! happened nor that it failed (T-76). What had no effect has failed where the balances are as before, or where what
//! others did with the payment is known as a whole (`others`).

use alloy_primitives::U256;
use sdk_plugin::chain::{Evidence, ForeignTx, GuardState, Shown};
use sdk_plugin::scheme::{Judgement, Paid, PaidReply, Plan, ReadAt, Refusal};
use sdk_plugin::{Amount, Fault};

use super::super::fold;
use super::super::reason::Reason;
use super::super::records::{OperationKind, OperationRow, SkippedVoid, operation_writes};
use super::super::revert;
use super::super::state::{self, Event, State};
use super::others::{self, Others};
use super::plan::{Memo, read_memo};

/// `now_s`: seconds since the epoch; chooses between names of the same failure, and is the time at which a void is given up.
pub(super) fn judge(plan: &Plan, evidence: &Evidence, now_s: u64) -> Result<Judgement, Fault> {
    let step = state::step_of(plan, evidence)?;
    let memo = read_memo(&step.memo)?;
    Ok(match judged(plan, &memo, evidence, now_s)? {
        // The void after a capture: no reply contains its failure, so the payment's page has to show it.
        Judgement::NotPaid(mut refusal) if !step.pays => {
            let message = refusal.message.as_deref().unwrap_or_default();
            let skipped = SkippedVoid::new(&refusal.reason, message, now_s);
            let network = format!("eip155:{}", memo.chain_id);
            refusal.writes =
                vec![skipped.write(&network, memo.hash, memo.planned_at_s, memo.refund_deadline_s)?];
            Judgement::NotPaid(refusal)
        }
        other => other,
    })
}

fn judged(plan: &Plan, memo: &Memo, evidence: &Evidence, now_s: u64) -> Result<Judgement, Fault> {
    if let Shown::Landed { height } = &evidence.shown {
        return landed(plan, memo, evidence, *height);
    }
    Ok(match evidence.guard {
        // Absent: a plan of a version without guards.
        GuardState::Absent | GuardState::Unchanged => failure(plan, memo, &evidence.shown, now_s, None),
        GuardState::Unread => unproven("no node has shown what the escrow holds"),
        GuardState::Changed => {
            if let Some((twin, own)) = twin(memo, &evidence.foreign) {
                return done(plan, memo, &twin.tx_id, own, twin.height);
            }
            match others::explanation(memo, evidence) {
                Some(others) => failure(plan, memo, &evidence.shown, now_s, Some(others)),
                None if is_excluded(memo, evidence) => {
                    failure(plan, memo, &evidence.shown, now_s, Some(others::ruled_out()))
                }
                None => unproven(
                    "what the escrow holds has changed, and the transactions found so far do not explain all of it",
                ),
            }
        }
    })
}

/// Whether the escrow holds what it can't hold once the operation has happened, at any position among others: what is
/// capturable never grows, and what can be refunded grows by captures only.
///
/// That ours did not happen until then proves little while it may still land: it has landed and reverted, or the host
/// reports that it can't land without having found anything, which it does when its slot is certainly used.
fn is_excluded(memo: &Memo, evidence: &Evidence) -> bool {
    let is_over = match &evidence.shown {
        Shown::Reverted { .. } => true,
        Shown::Dead { .. } => evidence.foreign.is_empty(),
        Shown::Landed { .. } => false,
    };
    if !is_over {
        return false;
    }
    let Some(state) = State::in_evidence(&evidence.reads, ReadAt::Block) else {
        return false;
    };
    let (held, refundable) = (state.balances.capturable, state.balances.refundable);
    if !state.collected {
        return true;
    }
    match memo.operation {
        OperationKind::Capture => memo
            .before
            .capturable
            .checked_sub(memo.amount)
            .is_some_and(|most| held > most),
        OperationKind::Void => !held.is_zero(),
        OperationKind::Refund => {
            let captured_since = memo.before.capturable.saturating_sub(held);
            memo.before
                .refundable
                .checked_sub(memo.amount)
                .and_then(|left| left.checked_add(captured_since))
                .is_some_and(|most| refundable > most)
        }
        OperationKind::Authorize | OperationKind::Charge => false,
    }
}

/// The same operation in our transaction's slot, signed by our key: a journal that was lost had ordered it, and an older
/// copy of that journal has ordered it again. It landed after that, so no caller has had a reply.
fn twin<'a>(memo: &Memo, foreign: &'a [ForeignTx]) -> Option<(&'a ForeignTx, (String, Event))> {
    let in_slot = foreign.iter().filter(|tx| tx.in_slot && !tx.earlier);
    in_slot
        .filter_map(|tx| {
            let mut events = state::events(memo.escrow, memo.hash, &tx.logs).into_iter();
            Some((tx, events.find(|(_, event)| memo.is_reported_by(event))?))
        })
        .next()
}

fn landed(plan: &Plan, memo: &Memo, evidence: &Evidence, height: u64) -> Result<Judgement, Fault> {
    let events = state::events(memo.escrow, memo.hash, &evidence.logs);
    let Some((id, event)) = events.into_iter().find(|(_, event)| memo.is_reported_by(event)) else {
        if evidence.guard == GuardState::Changed {
            return Ok(unproven(
                "the transaction landed, what the escrow holds has changed, and no event of the operation was shown",
            ));
        }
        return Ok(not_done(
            plan,
            Reason::UnexpectedPaymentState,
            "the transaction landed, and the escrow did not report the operation".into(),
        ));
    };
    let with_block = |state| {
        State::in_evidence(&evidence.reads, ReadAt::Parent).is_some_and(|before| {
            fold::proves(memo.escrow, memo.hash, evidence, (&id, &event), before, state)
        })
    };
    match State::in_evidence(&evidence.reads, ReadAt::Block) {
        Some(state) if bears_out(memo, state) || with_block(state) => {
            done(plan, memo, &evidence.tx_id, (id, event), height)
        }
        Some(_) => Ok(unproven(
            "the escrow reported the operation, and neither the balances after the block nor all events of the block with \
             the balances before it show it",
        )),
        None if state::is_forgotten(height, evidence.head_height) => {
            done(plan, memo, &evidence.tx_id, (id, event), height)
        }
        None => Ok(unproven("the balances at the transaction's block were not read")),
    }
}

/// Why it had no effect. `others`: who else moved the payment's balances.
fn failure(plan: &Plan, memo: &Memo, shown: &Shown, now_s: u64, others: Option<Others>) -> Judgement {
    let (stated, message) = match shown {
        Shown::Reverted { message, .. } => {
            let message = message.clone().unwrap_or_default();
            (revert::reason_in(&message), message)
        }
        Shown::Dead { why } => {
            let expired = memo.expires_at_s.is_some_and(|at_s| now_s >= at_s);
            let reason = match memo.operation {
                OperationKind::Capture if expired => Some(Reason::CaptureDeadlineExpired),
                OperationKind::Refund if expired => Some(Reason::RefundDeadlineExpired),
                OperationKind::Authorize
                | OperationKind::Charge
                | OperationKind::Capture
                | OperationKind::Void
                | OperationKind::Refund => None,
            };
            (reason, format!("the transaction can't land any more: {why}"))
        }
        Shown::Landed { .. } => (None, String::new()),
    };
    let by_others = others.as_ref().map(|others| others.reason);
    let reason = stated.or(by_others).unwrap_or(Reason::TransactionReverted);
    let message = match others {
        Some(others) if message.is_empty() => others.message,
        Some(others) => format!("{}; {message}", others.message),
        None => message,
    };
    not_done(plan, reason, message)
}

fn not_done(plan: &Plan, reason: Reason, message: String) -> Judgement {
    let refusal = Refusal::new(reason.v1_1(), plan.payer.clone());
    Judgement::NotPaid(if message.is_empty() {
        refusal
    } else {
        refusal.with_message(message)
    })
}

fn unproven(why: &str) -> Judgement {
    Judgement::Unproven { why: why.into() }
}

impl Memo {
    /// The event of exactly this operation. A void's order names no amount: it gives back whatever is left.
    pub(super) fn is_reported_by(&self, event: &Event) -> bool {
        match (self.operation, event) {
            (
                OperationKind::Capture,
                Event::Captured {
                    amount,
                    fee,
                    fee_receiver,
                },
            ) => *amount == self.amount && Some(*fee) == self.fee && Some(*fee_receiver) == self.fee_receiver,
            (OperationKind::Void, Event::Voided { .. }) => true,
            (OperationKind::Refund, Event::Refunded { amount, collector }) => {
                *amount == self.amount && Some(*collector) == self.collector
            }
            _ => false,
        }
    }
}

/// The balances right after the operation; or, of what was still held, nothing: its payer may take it back in the very
/// same block.
fn bears_out(memo: &Memo, state: State) -> bool {
    memo.after().is_some_and(|after| {
        let held = state.balances.capturable;
        state.collected
            && state.balances.refundable == after.refundable
            && (held == after.capturable || held.is_zero())
    })
}

/// A void after a capture is done in the same way; the host takes `Next` as "continue" and writes the rows.
fn done(
    plan: &Plan,
    memo: &Memo,
    tx_id: &str,
    (id, event): (String, Event),
    height: u64,
) -> Result<Judgement, Fault> {
    let moved = match event {
        Event::Voided { amount } => amount,
        Event::Authorized { .. }
        | Event::Charged { .. }
        | Event::Captured { .. }
        | Event::Reclaimed { .. }
        | Event::Refunded { .. } => memo.amount,
    };
    let row = OperationRow {
        kind: memo.operation,
        amount: moved,
        fee: memo.fee,
        transaction: tx_id.to_owned(),
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
        tx_id: tx_id.to_owned(),
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
