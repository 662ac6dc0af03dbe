//! What the journal says of each transaction of a settlement.

use std::collections::BTreeMap;

use journal::{AttemptKind, AttemptRow, JournalError, Outcome, Rows, SettlementRow, StepState, queries};
use sdk_plugin::chain::Lane;
use sdk_plugin::{Amount, StepIndex};

/// What the journal says of one transaction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claim {
    pub(super) tx_id: String,
    /// The signer's lane and the slot in it; `None`: it is not one of ours, or its attempt was removed in time.
    pub(super) slot: Option<(Lane, u64)>,
    /// A block has it.
    pub(super) in_block: bool,
    /// Whether it had its effect; `None`: the journal does not say.
    pub(super) effect: Option<bool>,
    /// Height of its block.
    pub(super) height: Option<u64>,
    /// What it cost.
    pub(super) fee: Option<Amount>,
}

/// A slot that the settlement's transactions were made for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slot {
    pub(super) lane: Lane,
    pub(super) sequence: u64,
    /// Every transaction that was signed for it, also those without this settlement.
    pub(super) transactions: Vec<String>,
    /// Blocks up to here were there when the first of them was made.
    pub(super) since_height: u64,
}

/// Everything of one settlement that the chain can show.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claims {
    pub(super) network: String,
    /// Names it for operators.
    pub(super) payment: String,
    pub(super) status: &'static str,
    pub(super) is_open: bool,
    /// By transaction, in lower case.
    pub(super) claims: BTreeMap<String, Claim>,
    pub(super) slots: Vec<Slot>,
}

/// What the journal says of a settlement's transactions.
pub(super) fn of(rows: &mut dyn Rows, row: &SettlementRow) -> Result<Claims, JournalError> {
    let mut all = Claims {
        network: row.network.clone(),
        payment: if row.reference.is_empty() {
            row.claim.clone()
        } else {
            row.reference.clone()
        },
        status: journal::lookups::status(row).name(),
        is_open: row.outcome == Outcome::Open,
        claims: BTreeMap::new(),
        slots: Vec::new(),
    };
    for (step, state) in StepIndex::each(&row.steps) {
        for attempt in queries::attempts_of(rows, row.id, step)? {
            all.add_slot(rows, &attempt)?;
            let claim = all.claim(&attempt.tx_id);
            claim.slot = Some((attempt.lane.clone(), attempt.sequence));
            // A fill carries nothing that could have an effect.
            if attempt.kind == AttemptKind::Steps && state.pays {
                claim.effect = did_not_pay(row, &attempt.tx_id);
            }
        }
        if let StepState::Done { tx_id, height } = &state.state
            && !tx_id.is_empty()
        {
            all.succeeded(tx_id, *height);
        }
    }
    for cost in &row.costs {
        let lane = Lane {
            network: row.network.clone(),
            signer: cost.signer.clone(),
            key: String::new(),
            ordered: true,
        };
        let claim = all.claim(&cost.tx_id);
        claim.in_block = true;
        claim.fee = Some(cost.fee);
        claim.slot.get_or_insert((lane, cost.sequence));
    }
    match &row.outcome {
        Outcome::Paid(paid) if !paid.tx_id.is_empty() => all.succeeded(&paid.tx_id, paid.height),
        Outcome::Failed { tx_id, .. } if !tx_id.is_empty() => all.claim(tx_id).in_block = true,
        Outcome::Open | Outcome::Paid(_) | Outcome::Failed { .. } | Outcome::Reversed { .. } => {}
    }
    Ok(all)
}

/// `Some(false)`: the journal says that this transaction of the paying step did not pay.
fn did_not_pay(row: &SettlementRow, tx_id: &str) -> Option<bool> {
    match &row.outcome {
        // A transaction that landed without the payment has failed, and a block shows it as a success all the same.
        Outcome::Failed {
            tx_id: failed, proof, ..
        } => {
            let landed = failed.eq_ignore_ascii_case(tx_id) && proof.starts_with("landed at");
            (!landed).then_some(false)
        }
        Outcome::Reversed { .. } => Some(false),
        Outcome::Open | Outcome::Paid(_) => None,
    }
}

impl Claims {
    fn claim(&mut self, tx_id: &str) -> &mut Claim {
        self.claims.entry(tx_id.to_lowercase()).or_insert_with(|| Claim {
            tx_id: tx_id.to_owned(),
            slot: None,
            in_block: false,
            effect: None,
            height: None,
            fee: None,
        })
    }

    fn succeeded(&mut self, tx_id: &str, height: u64) {
        let claim = self.claim(tx_id);
        claim.in_block = true;
        claim.effect = Some(true);
        claim.height = Some(height);
    }

    fn add_slot(&mut self, rows: &mut dyn Rows, attempt: &AttemptRow) -> Result<(), JournalError> {
        let (lane, sequence) = (&attempt.lane, attempt.sequence);
        let is_known = self
            .slots
            .iter()
            .any(|slot| slot.lane == *lane && slot.sequence == sequence);
        if is_known || !lane.ordered {
            return Ok(());
        }
        let attempts = queries::attempts_in_slot(rows, &lane.network, &lane.signer, sequence)?;
        if attempts.is_empty() {
            return Ok(());
        }
        self.slots.push(Slot {
            lane: lane.clone(),
            sequence,
            since_height: attempts
                .iter()
                .map(|attempt| attempt.since_height)
                .min()
                .unwrap_or(0),
            transactions: attempts.into_iter().map(|attempt| attempt.tx_id).collect(),
        });
        Ok(())
    }
}
