//! What a buyer signs where transactions have no numbers: the transactions themselves, for one fee payer and good until
//! a block height. Each step of a plan is one of them, so that a step has one transaction id, for all senders and resends.

use sdk_plugin::HexBytes;
use sdk_plugin::scheme::{LaneChoice, Plan};
use serde::{Deserialize, Serialize};

use crate::chain::{CALM_FEE, Tx, tx_id};
use crate::token::{Op, State};

/// What the buyer offers for a unit of gas: enough while the chain is calm.
pub const MAX_FEE: u64 = CALM_FEE * 4;

/// Who pays the fee, and how long it is good.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Message {
    pub fee_payer: String,
    /// The last block that may have it.
    pub good_until: u64,
    /// It is an offer: the driver makes the transactions, each of which is good for some blocks only, and another one may be
    /// made once the one before it is dead. Nothing on the chain keeps two of them from landing.
    pub is_offer: bool,
}

impl Message {
    fn transaction(&self, op: Op) -> Tx {
        // Neither authorizations nor their times: the message is both.
        let op = match op {
            Op::Transfer {
                from,
                to,
                value,
                nonce,
                ..
            } => Op::Pay {
                from,
                to,
                value,
                nonce,
            },
            Op::Lock {
                from, value, nonce, ..
            } => Op::Lock {
                from,
                value,
                nonce,
                valid_before_s: u64::MAX,
            },
            Op::Approve { .. }
            | Op::Pay { .. }
            | Op::Capture { .. }
            | Op::Sweep { .. }
            | Op::Note { .. }
            | Op::Spend { .. }
            | Op::Cancel { .. } => op,
        };
        Tx {
            signer: self.fee_payer.clone(),
            nonce: 0,
            max_fee: MAX_FEE,
            op: Some(op),
            more: Vec::new(),
            salt: 0,
            good_until: Some(self.good_until),
        }
    }

    /// Puts the signed transactions into a plan, or the calls of which the driver makes them.
    pub fn sign(&self, plan: &mut Plan) {
        for step in &mut plan.steps {
            let Some(op) = Op::decode(&step.call.data) else {
                continue;
            };
            let tx = self.transaction(op);
            step.call.operation = tx.op.as_ref().map(Op::name).unwrap_or_default().into();
            if let (true, Some(op)) = (self.is_offer, &tx.op) {
                step.call.data = op.encode();
                step.renewable = true;
            } else {
                step.call.data = HexBytes(tx.encode());
                step.expires_at_s = None;
            }
            step.lane = LaneChoice::Signer {
                address: self.fee_payer.clone(),
            };
            // The id is that of the message: nobody else's transaction can be this payment.
            step.evidence.foreign.clear();
            step.evidence.guard = None;
        }
    }
}

/// What a step's call does, with or without a transaction around it.
#[must_use]
pub fn op_of(data: &HexBytes) -> Option<Op> {
    Op::decode(data).or_else(|| Tx::decode(&data.0)?.op)
}

/// Whether one of a plan's transactions has landed, as far as the chain still remembers.
#[must_use]
pub fn has_landed(plan: &Plan, state: &State) -> bool {
    plan.steps
        .iter()
        .any(|step| state.landed.contains_key(&tx_id(&step.call.data.0)))
}
