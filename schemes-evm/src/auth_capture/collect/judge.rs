//! Whether the payment was collected. The canonical escrow's own event for this payment shows it, and the payment's state at
//! that block must agree (auth-capture-evm.md section 8, steps 7 to 9; T-76), alone or with what else happened in the block.
//!
//! What had no effect has failed only where the payment is not collected, or where the transaction that collected it is
//! known.

use sdk_plugin::chain::{Evidence, ForeignTx, GuardState, LogEntry, Shown};
use sdk_plugin::scheme::{Judgement, Paid, PaidReply, Plan, ReadAt, Refusal, Step};
use sdk_plugin::{Amount, Fault};

use super::collection::state_after;
use super::custom::is_collection;
use super::plan::{Collected, Memo};
use crate::auth_capture::fees::Fee;
use crate::auth_capture::reason::Reason;
use crate::auth_capture::records::{self, OperationKind, OperationRow};
use crate::auth_capture::state::{self, Event, State};
use crate::auth_capture::{fold, revert};
use serde::Deserialize;

/// `now_s`: seconds since the epoch; only chooses between two names of the same failure.
pub(super) fn judge(plan: &Plan, step: &Step, evidence: &Evidence, now_s: u64) -> Result<Judgement, Fault> {
    let Memo::Collect(planned) = Memo::deserialize(&step.memo)
        .map_err(|error| Fault::invalid(format!("the step's memo is not one of a collection: {error}")))?;
    let not_paid = |reason, message: &str| planned.not_paid(plan, reason, message);
    let failure = match &evidence.shown {
        Shown::Landed { height } => {
            if let Some((item, event)) = planned.item(&evidence.logs) {
                return landed(plan, &planned, evidence, *height, (&item, &event));
            }
            let unexpected = not_paid(
                Reason::UnexpectedPaymentState,
                "the transaction landed, and the escrow did not report this collection",
            );
            // The contract that we called collected it in another way: no other transaction is needed to explain it.
            if planned.is_collected_by(&evidence.logs) {
                return Ok(unexpected);
            }
            unexpected
        }
        Shown::Reverted { message, .. } => {
            let state = State::in_evidence(&evidence.reads, ReadAt::Block);
            let collected = state.is_some_and(|state| state.collected);
            let message = message.as_deref().unwrap_or_default();
            match revert::reason_in(message)
                .filter(|reason| planned.sandbox.is_some() || revert::can_be_of_own_signer(*reason))
            {
                Some(reason) => not_paid(reason, message),
                None if collected => not_paid(
                    Reason::PaymentAlreadyCollected,
                    "another transaction collected the payment",
                ),
                None => not_paid(Reason::TransactionReverted, message),
            }
        }
        Shown::Dead { why } if planned.info.preApprovalExpiry.to::<u64>() <= now_s => not_paid(
            Reason::AuthorizationExpired,
            &format!("the authorization expired before it could be used: {why}"),
        ),
        Shown::Dead { why } => not_paid(Reason::TransactionReverted, why),
    };
    for foreign in &evidence.foreign {
        if let Some(judgement) = of_others(plan, &planned, foreign)? {
            return Ok(judgement);
        }
    }
    let landed = matches!(evidence.shown, Shown::Landed { .. });
    Ok(match evidence.guard {
        // Absent: a plan of a version without guards.
        GuardState::Absent | GuardState::Unchanged => failure,
        GuardState::Unread if landed => failure,
        GuardState::Unread => Judgement::Unproven {
            why: "no node has shown whether the payment is collected".into(),
        },
        GuardState::Changed => Judgement::Unproven {
            why: "the payment is collected, and no transaction that did it has been found".into(),
        },
    })
}

/// Our transaction, with the escrow's event for exactly this collection.
fn landed(
    plan: &Plan,
    planned: &Collected,
    evidence: &Evidence,
    height: u64,
    own: (&str, &Event),
) -> Result<Judgement, Fault> {
    let unproven = |why: &str| Ok(Judgement::Unproven { why: why.into() });
    match State::in_evidence(&evidence.reads, ReadAt::Block) {
        Some(state) if state == state_after(planned.charge, planned.amount) => {}
        // The escrow's own event contradicts it: the node that read the state lags the one that showed the event.
        Some(state) if state.is_untouched() => {
            return unproven("the node that read the payment's state does not know the collection yet");
        }
        // More may have happened in the same block.
        Some(state) if planned.proved_with_block(evidence, own, state) => {}
        Some(_) => {
            return unproven(
                "the payment's state after the block is not that of this collection, and its events of the block don't \
                 explain that",
            );
        }
        None if state::is_forgotten(height, evidence.head_height) => {}
        None => return unproven("the payment's state at the transaction's block was not read"),
    }
    if let Some(sandbox) = &planned.sandbox
        && !sandbox.moved_as_expected(&evidence.logs)
    {
        return Ok(planned.not_paid(
            plan,
            Reason::UnexpectedPaymentState,
            "the operator's contract moved other amounts than it had to",
        ));
    }
    paid(plan, planned, &evidence.tx_id, height, own.0)
}

/// A payment is collected once. The escrow emits its event only after exactly this amount of exactly this payment came in,
/// so the event of one is enough; several payments may share such a transaction, and its transfers can't distinguish them.
/// Any caller may use a contract operator, so exactly this collection is this payment. Where our own key is the operator,
/// a transaction that is not ours is a use of that key by another journal.
fn of_others(plan: &Plan, planned: &Collected, foreign: &ForeignTx) -> Result<Option<Judgement>, Fault> {
    match planned.item(&foreign.logs) {
        Some((item, _)) if planned.sandbox.is_some() && !foreign.earlier => {
            paid(plan, planned, &foreign.tx_id, foreign.height, &item).map(Some)
        }
        Some(_) | None if planned.is_collected_by(&foreign.logs) => Ok(Some(planned.not_paid(
            plan,
            Reason::PaymentAlreadyCollected,
            &format!("transaction {} collected the payment", foreign.tx_id),
        ))),
        Some(_) | None => Ok(None),
    }
}

fn paid(plan: &Plan, planned: &Collected, tx_id: &str, height: u64, item: &str) -> Result<Judgement, Fault> {
    let (kind, fee): (_, Option<Fee>) = match planned.charge {
        None => (OperationKind::Authorize, None),
        Some(charge) => (OperationKind::Charge, Some(charge.fee)),
    };
    let row = OperationRow {
        kind,
        amount: planned.amount,
        fee,
        transaction: tx_id.to_owned(),
        height,
        planned_at_s: planned.planned_at_s,
        voids_remainder: false,
    };
    let network = format!("eip155:{}", planned.chain_id);
    let refund_deadline_s = planned.info.refundExpiry.to();
    Ok(Judgement::Paid(Paid {
        tx_id: tx_id.to_owned(),
        items: vec![item.to_owned()],
        reply: PaidReply {
            payer: plan.payer.clone(),
            amount: Some(Amount(planned.amount)),
            ..PaidReply::default()
        },
        writes: records::operation_writes(&network, planned.hash, &row, refund_deadline_s)?,
        ..Paid::default()
    }))
}

impl Collected {
    /// The escrow's event for exactly this collection, with its id. A contract operator may cause no other event of the
    /// payment beside it.
    fn item(&self, logs: &[LogEntry]) -> Option<(String, Event)> {
        if let Some(sandbox) = &self.sandbox {
            return sandbox.event(self.hash, logs);
        }
        state::events(self.escrow, self.hash, logs)
            .into_iter()
            .find(|(_, event)| is_collection(event, &self.info, self.amount, self.collector, self.charge))
    }

    /// Whether these logs report a collection of this payment, from any sender.
    fn is_collected_by(&self, logs: &[LogEntry]) -> bool {
        state::events(self.escrow, self.hash, logs)
            .iter()
            .any(|(_, event)| match event {
                Event::Authorized { .. } | Event::Charged { .. } => true,
                Event::Captured { .. }
                | Event::Voided { .. }
                | Event::Reclaimed { .. }
                | Event::Refunded { .. } => false,
            })
    }

    /// Whether this collection and the later events of its block result in `state`. Nothing can come before a collection.
    fn proved_with_block(&self, evidence: &Evidence, own: (&str, &Event), state: State) -> bool {
        let before = State::in_evidence(&evidence.reads, ReadAt::Parent);
        before.is_none_or(State::is_untouched)
            && fold::proves(self.escrow, self.hash, evidence, own, State::UNTOUCHED, state)
    }

    fn not_paid(&self, plan: &Plan, reason: Reason, message: &str) -> Judgement {
        let refusal = Refusal::new(reason.name(self.dialect), plan.payer.clone());
        Judgement::NotPaid(if message.is_empty() {
            refusal
        } else {
            refusal.with_message(message)
        })
    }
}
