//! What must be sent for a good operation, and what proves that it happened.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::cx::NetworkView;
use sdk_plugin::scheme::{Gate, LaneChoice, OnFail, Parties, Plan, Planned, Step};
use sdk_plugin::{Fault, Value};
use serde::{Deserialize, Serialize};

use super::super::authorizer::Balances;
use super::super::fees::Fee;
use super::super::guard;
use super::super::records::OperationKind;
use super::check::Good;
use super::payload::Action;
use crate::{step, text};

/// What judge needs to know of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memo {
    /// Distinguishes the steps of lifecycle calls from those of collections.
    pub(super) kind: Kind,
    pub(super) operation: OperationKind,
    pub(super) chain_id: u64,
    pub(super) escrow: Address,
    pub(super) hash: B256,
    /// Atomic units; a void's are what goes back.
    pub(super) amount: U256,
    /// Of captures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fee: Option<Fee>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fee_receiver: Option<Address>,
    /// Of refunds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) collector: Option<Address>,
    /// What the escrow holds before the step.
    pub(super) before: Balances,
    /// The rest is given back in the next step.
    #[serde(default)]
    pub(super) voids_remainder: bool,
    /// Seconds since the epoch.
    pub(super) planned_at_s: u64,
    pub(super) refund_deadline_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    #[serde(rename = "lifecycle")]
    Lifecycle,
}

impl Memo {
    /// What the escrow holds after the step. `None`: no escrow could do it.
    pub(super) fn after(&self) -> Option<Balances> {
        let Balances {
            capturable,
            refundable,
        } = self.before;
        Some(match self.operation {
            OperationKind::Capture => Balances {
                capturable: capturable.checked_sub(self.amount)?,
                refundable: refundable.checked_add(self.amount)?,
            },
            OperationKind::Void => Balances {
                capturable: U256::ZERO,
                refundable,
            },
            OperationKind::Refund => Balances {
                capturable,
                refundable: refundable.checked_sub(self.amount)?,
            },
            OperationKind::Authorize | OperationKind::Charge => return None,
        })
    }
}

/// One step, or a capture and the void after it: the void waits until the capture is final, and never happens without it.
pub(super) fn plan(good: Good, network: &NetworkView, max_gas: u64) -> Result<Planned, Fault> {
    let memos = memos(&good)?;
    let parties = parties(&good);
    let lane = LaneChoice::Signer {
        address: step::signer_at(good.terms.operator, network)
            .ok_or_else(|| Fault::internal("the operator is one of our signers no more"))?
            .to_owned(),
    };
    let mut steps = Vec::with_capacity(memos.len());
    for (memo, simulated) in memos.iter().zip(&good.calls) {
        let first = steps.is_empty();
        steps.push(Step {
            call: step::call(
                simulated.call.to,
                simulated.call.data.clone(),
                step::gas_limit(&simulated.call.data, simulated.gas, max_gas),
            )?,
            lane: lane.clone(),
            gate: if first { Gate::None } else { Gate::Final },
            on_fail: OnFail::Stop,
            batchable: false,
            one_per_payer: false,
            renewable: false,
            max_cost: None,
            expires_at_s: memo.expires_at_s,
            evidence: guard::evidence(
                memo.escrow,
                memo.hash,
                guard::holds(memo.escrow, memo.hash, memo.before),
                Vec::new(),
            ),
            pays: first,
            memo: serde_json::to_value(memo).map_err(|error| Fault::internal(format!("memo: {error}")))?,
        });
    }
    let reserves = good
        .funding
        .iter()
        .map(|funding| funding.reserve(&good.terms, good.height))
        .collect();
    Ok(Planned::Plan(Plan {
        payer: good.payer,
        steps,
        reserves,
        writes: good
            .funding
            .map(super::funding::Funding::into_write)
            .into_iter()
            .collect(),
        parties,
        ..Plan::default()
    }))
}

/// The payer's money goes to the receiver and to whom the fee is due; what is given back goes to the payer, a refund out of
/// the operator's balance.
pub(super) fn parties(good: &Good) -> Parties {
    let payload = &good.payload;
    let payer = text::lower(payload.info.payer);
    match payload.action {
        Action::Capture => {
            let parties = Parties::pair(payer, text::lower(good.terms.receiver));
            match payload.fee_receiver {
                Some(fee_receiver) if fee_receiver != Address::ZERO => {
                    parties.and_receiver(text::lower(fee_receiver))
                }
                Some(_) | None => parties,
            }
        }
        Action::Void => Parties {
            senders: Vec::new(),
            receivers: vec![payer],
        },
        Action::Refund => Parties::pair(text::lower(good.terms.operator), payer),
    }
}

fn memos(good: &Good) -> Result<Vec<Memo>, Fault> {
    let (payload, terms) = (&good.payload, &good.terms);
    let planned_at_s = good.now_s;
    let (operation, amount, expires_at_s) = match payload.action {
        Action::Capture => (
            OperationKind::Capture,
            payload.amount,
            Some(terms.capture_deadline_s),
        ),
        Action::Void => (OperationKind::Void, good.balances.capturable, None),
        Action::Refund => (
            OperationKind::Refund,
            payload.amount,
            Some(terms.refund_deadline_s),
        ),
    };
    let first = Memo {
        kind: Kind::Lifecycle,
        operation,
        chain_id: terms.chain_id,
        escrow: terms.deployment.escrow,
        hash: good.hash,
        amount,
        fee: payload.fee.ok().filter(|_| payload.action == Action::Capture),
        fee_receiver: payload.fee_receiver.filter(|_| payload.action == Action::Capture),
        collector: (payload.action == Action::Refund).then_some(terms.deployment.operator_refund_collector),
        before: good.balances,
        voids_remainder: payload.close_out.is_some(),
        planned_at_s,
        refund_deadline_s: terms.refund_deadline_s,
        expires_at_s,
    };
    let after = first
        .after()
        .ok_or_else(|| Fault::internal("an operation passed its checks and exceeds the balances"))?;
    let rest = payload.close_out.as_ref().map(|_| Memo {
        operation: OperationKind::Void,
        amount: after.capturable,
        fee: None,
        fee_receiver: None,
        before: after,
        voids_remainder: false,
        expires_at_s: None,
        ..first.clone()
    });
    Ok([Some(first), rest].into_iter().flatten().collect())
}

/// The memo of one of our steps.
pub(super) fn read_memo(value: &Value) -> Result<Memo, Fault> {
    Memo::deserialize(value)
        .map_err(|error| Fault::invalid(format!("the step's memo is not one of `auth-capture`: {error}")))
}
