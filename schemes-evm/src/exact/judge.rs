//! Did it pay? Only logs that the asset itself emitted say so (exact-evm.md section 5, steps 7 and 8).
//!
//! The asset reports `AuthorizationUsed(payer, nonce)` and then the transfer that belongs to it: its next transfer of
//! this payer, with no other authorization used in between. That transfer must be the exact one.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::chain::{Evidence, LogEntry, Shown};
use sdk_plugin::scheme::{Judgement, Paid, PaidReply, Plan, Refusal};
use sdk_plugin::{Fault, HexBytes};

use super::plan::Memo;
use super::{reason, revert};
use crate::abi::{AUTHORIZATION_USED_TOPIC, TRANSFER_TOPIC};
use crate::text;

/// `now_s`: seconds since the epoch; only chooses between two names of the same failure.
pub(super) fn judge(plan: &Plan, evidence: &Evidence, now_s: u64) -> Result<Judgement, Fault> {
    let step = usize::try_from(evidence.step)
        .ok()
        .and_then(|index| plan.steps.get(index))
        .ok_or_else(|| Fault::invalid(format!("the plan has no step {}", evidence.step)))?;
    let memo = Memo::deserialize_from(&step.memo)?;
    let not_paid = |reason: &str, message: String| {
        let refusal = Refusal::new(reason, plan.payer.clone());
        Judgement::NotPaid(if message.is_empty() {
            refusal
        } else {
            refusal.with_message(message)
        })
    };

    let effectless = match &evidence.shown {
        Shown::Landed { .. } => {
            return Ok(match trace(&memo, &evidence.logs) {
                Trace::Paid(items) => paid(plan, &evidence.tx_id, items),
                Trace::UsedOtherwise | Trace::Unused => not_paid(
                    reason::EVENT_MISMATCH,
                    "the transaction landed, and the asset did not report the exact transfer".into(),
                ),
            });
        }
        Shown::Reverted { message, .. } => {
            let message = message.clone().unwrap_or_default();
            not_paid(revert::reason_for(&message), message)
        }
        Shown::Dead { why } if memo.valid_before.0 <= U256::from(now_s) => not_paid(
            reason::VALID_BEFORE,
            format!("the authorization expired before it could be used: {why}"),
        ),
        Shown::Dead { why } => not_paid(reason::TRANSACTION_FAILED, why.clone()),
    };

    // Ours had no effect. Somebody else's transaction may have carried the same authorization.
    let mut used_otherwise = None;
    for foreign in &evidence.foreign {
        match trace(&memo, &foreign.logs) {
            Trace::Paid(items) => return Ok(paid(plan, &foreign.tx_id, items)),
            Trace::UsedOtherwise => used_otherwise = Some(&foreign.tx_id),
            Trace::Unused => {}
        }
    }
    Ok(match used_otherwise {
        Some(tx_id) => not_paid(
            reason::NONCE_USED,
            format!("transaction {tx_id} used the authorization without the exact transfer"),
        ),
        None => effectless,
    })
}

fn paid(plan: &Plan, tx_id: &str, items: [String; 2]) -> Judgement {
    Judgement::Paid(Paid {
        tx_id: tx_id.to_owned(),
        items: items.into(),
        reply: PaidReply {
            payer: plan.payer.clone(),
            ..PaidReply::default()
        },
        writes: Vec::new(),
        jobs: Vec::new(),
        repeatable: false,
    })
}

impl Memo {
    fn deserialize_from(value: &sdk_plugin::Value) -> Result<Self, Fault> {
        serde_json::from_value(value.clone())
            .map_err(|error| Fault::invalid(format!("the step's memo is not one of `exact`: {error}")))
    }
}

/// What one transaction's logs say about an authorization.
#[derive(Debug, PartialEq, Eq)]
enum Trace {
    /// Ids of the two logs that prove the payment.
    Paid([String; 2]),
    /// The authorization was used, and no exact transfer belongs to it.
    UsedOtherwise,
    Unused,
}

/// `logs` in the order in which they were emitted.
fn trace(memo: &Memo, logs: &[LogEntry]) -> Trace {
    let mut own = logs
        .iter()
        .filter(|log| text::address(&log.emitter) == Some(memo.asset))
        .map(|log| (log, Event::read(log)));
    let used = own.find_map(|(log, event)| match event {
        Event::Used(payer, nonce) if payer == memo.from && nonce == memo.nonce => Some(log),
        Event::Used(..) | Event::Moved(..) | Event::Other => None,
    });
    let Some(used) = used else {
        return Trace::Unused;
    };
    for (log, event) in own {
        match event {
            Event::Moved(from, to, value) if from == memo.from => {
                return if to == memo.pay_to && value == memo.value.0 {
                    Trace::Paid([used.id.clone(), log.id.clone()])
                } else {
                    Trace::UsedOtherwise
                };
            }
            // What follows belongs to the next authorization.
            Event::Used(..) => return Trace::UsedOtherwise,
            Event::Moved(..) | Event::Other => {}
        }
    }
    Trace::UsedOtherwise
}

enum Event {
    Used(Address, B256),
    Moved(Address, Address, U256),
    Other,
}

impl Event {
    /// Both events index their first two members, so topics are read as whole words: dirt in the upper bytes of an
    /// address makes it another event.
    fn read(log: &LogEntry) -> Self {
        let words: Option<Vec<B256>> = log.topics.iter().map(word).collect();
        match words.as_deref() {
            Some([topic, payer, nonce]) if *topic == AUTHORIZATION_USED_TOPIC && log.data.is_empty() => {
                account(payer).map_or(Self::Other, |payer| Self::Used(payer, *nonce))
            }
            Some([topic, from, to]) if *topic == TRANSFER_TOPIC => {
                match (account(from), account(to), word(&log.data)) {
                    (Some(from), Some(to), Some(value)) => Self::Moved(from, to, value.into()),
                    _ => Self::Other,
                }
            }
            _ => Self::Other,
        }
    }
}

fn word(bytes: &HexBytes) -> Option<B256> {
    B256::try_from(bytes.as_ref()).ok()
}

fn account(word: &B256) -> Option<Address> {
    let address = Address::from_word(*word);
    (address.into_word() == *word).then_some(address)
}
