//! Was it collected? The canonical escrow's own event for this payment says so, and the payment's state at that block must
//! agree (auth-capture-evm.md section 8, steps 7 to 9; T-76).

use sdk_plugin::chain::{Evidence, ForeignTx, Shown};
use sdk_plugin::scheme::{Judgement, Paid, PaidReply, Plan, Refusal, Step};
use sdk_plugin::{Amount, Fault};

use super::collection::state_after;
use super::custom::is_collection;
use super::plan::{Collected, Memo};
use crate::auth_capture::fees::Fee;
use crate::auth_capture::reason::Reason;
use crate::auth_capture::records::{self, OperationKind, OperationRow};
use crate::auth_capture::revert;
use crate::auth_capture::state::{self, State};
use serde::Deserialize;

/// `now_s`: seconds since the epoch; only chooses between two names of the same failure.
pub(super) fn judge(plan: &Plan, step: &Step, evidence: &Evidence, now_s: u64) -> Result<Judgement, Fault> {
    let Memo::Collect(planned) = Memo::deserialize(&step.memo)
        .map_err(|error| Fault::invalid(format!("the step's memo is not one of a collection: {error}")))?;
    let not_paid = |reason: Reason, message: &str| {
        let refusal = Refusal::new(reason.name(planned.dialect), plan.payer.clone());
        Judgement::NotPaid(if message.is_empty() {
            refusal
        } else {
            refusal.with_message(message)
        })
    };
    let effectless = match &evidence.shown {
        Shown::Landed { height } => return landed(plan, &planned, evidence, *height),
        Shown::Reverted { message, .. } => {
            let collected = State::in_evidence(&evidence.reads).is_some_and(|state| state.collected);
            let message = message.as_deref().unwrap_or_default();
            match revert::reason_in(message)
                .filter(|reason| revert::is_of_collections(*reason, planned.sandbox.is_some()))
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
    // Ours had no effect. With a contract operator somebody else may have made the same call.
    for foreign in &evidence.foreign {
        if let Some(judgement) = of_others(plan, &planned, foreign)? {
            return Ok(judgement);
        }
    }
    Ok(effectless)
}

fn landed(plan: &Plan, planned: &Collected, evidence: &Evidence, height: u64) -> Result<Judgement, Fault> {
    let unexpected = |message: &str| {
        Ok(Judgement::NotPaid(
            Refusal::new(
                Reason::UnexpectedPaymentState.name(planned.dialect),
                plan.payer.clone(),
            )
            .with_message(message),
        ))
    };
    let Some(item) = planned.item(&evidence.logs) else {
        return unexpected("the transaction landed, and the escrow did not report this collection");
    };
    let state = match State::in_evidence(&evidence.reads) {
        Some(state) => state,
        // What the operator's contract did to the payment in the same transaction would be in the events.
        None if state::is_forgotten(height, evidence.head_height) => {
            state_after(planned.charge, planned.amount)
        }
        None => {
            return Ok(Judgement::Unproven {
                why: "the payment's state at the transaction's block was not read".into(),
            });
        }
    };
    if state.is_untouched() {
        // The escrow's own event says otherwise: the node that read is behind the one that showed the event.
        return Ok(Judgement::Unproven {
            why: "the node that was asked for the payment's state does not know the collection yet".into(),
        });
    }
    if state != state_after(planned.charge, planned.amount) {
        return unexpected(
            "the payment's state after the transaction is not that of this collection; look it up before anything else, \
             money may be in escrow",
        );
    }
    if let Some(sandbox) = &planned.sandbox
        && !sandbox.moved_as_expected(&evidence.logs)
    {
        return unexpected("the operator's contract moved other amounts than it had to");
    }
    paid(plan, planned, &evidence.tx_id, height, item)
}

/// Anybody may call a contract operator. The escrow emits its event only after exactly this amount of exactly this payment
/// came in, so the event of one is enough; several payments may share such a transaction, which its transfers can't
/// tell apart.
fn of_others(plan: &Plan, planned: &Collected, foreign: &ForeignTx) -> Result<Option<Judgement>, Fault> {
    match planned.item(&foreign.logs) {
        Some(item) if planned.sandbox.is_some() => {
            paid(plan, planned, &foreign.tx_id, foreign.height, item).map(Some)
        }
        Some(_) | None => Ok(None),
    }
}

fn paid(
    plan: &Plan,
    planned: &Collected,
    tx_id: &str,
    height: u64,
    item: String,
) -> Result<Judgement, Fault> {
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
        items: vec![item],
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
    /// The id of the escrow's event for exactly this collection. A contract operator may cause no other event of the
    /// payment beside it.
    fn item(&self, logs: &[sdk_plugin::chain::LogEntry]) -> Option<String> {
        if let Some(sandbox) = &self.sandbox {
            return sandbox.event(self.hash, logs);
        }
        state::events(self.escrow, self.hash, logs)
            .into_iter()
            .find(|(_, event)| is_collection(event, &self.info, self.amount, self.collector, self.charge))
            .map(|(id, _)| id)
    }
}
