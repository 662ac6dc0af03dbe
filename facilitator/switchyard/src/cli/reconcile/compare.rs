//! Compares what the journal says with what the chain shows. Pure.
//!
//! That a node does not show a transaction proves nothing by itself: nodes drop old receipts. It counts as absent only when the
//! same node shows that the signer has not used the transaction's nonce, or shows receipts that are at least as old, or the
//! driver proves that it can't land. Everything else could not be read, and is no difference.

use std::collections::BTreeMap;

use sdk_plugin::chain::{Observation, TxState};
use serde_json::{Value, json};

use super::claims::{Claim, Claims, Slot};

/// What the journal and the chain do not agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// In a block by the journal, and in no block.
    Absent,
    /// It had its effect by the journal, and has reverted.
    Reverted,
    /// It did not pay by the journal, and a block shows it as a success.
    Landed,
    /// The chain has a transaction of our signer that the journal does not know.
    UnknownTransaction,
    /// The fee differs.
    Fee,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Reverted => "reverted",
            Self::Landed => "landed",
            Self::UnknownTransaction => "unknownTransaction",
            Self::Fee => "fee",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) kind: Kind,
    pub(super) network: String,
    /// Empty: it concerns no payment.
    pub(super) payment: String,
    /// Empty: no transaction is known.
    pub(super) transaction: String,
    /// What the journal says.
    pub(super) journal: String,
    /// What the chain shows.
    pub(super) chain: String,
}

impl Difference {
    pub(super) fn json(&self) -> Value {
        json!({
            "difference": self.kind.name(), "network": self.network, "payment": self.payment,
            "transaction": self.transaction, "journal": self.journal, "chain": self.chain,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{}  {}", self.kind.name(), self.network);
        for (name, value) in [("payment", &self.payment), ("transaction", &self.transaction)] {
            if !value.is_empty() {
                text.push_str(&format!("  {name} {value}"));
            }
        }
        format!(
            "{text}\n    journal: {}\n    chain:   {}",
            self.journal, self.chain
        )
    }
}

/// What could not be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) network: String,
    pub(super) payment: String,
    pub(super) transaction: String,
    pub(super) why: String,
}

/// The results of a comparison.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) differences: Vec<Difference>,
    pub(super) unread: Vec<Unread>,
    /// Transactions that the chain shows as the journal says.
    pub(super) agreeing: u64,
    /// Transactions in blocks whose fee the journal does not have.
    pub(super) without_fee: u64,
}

/// What the chain shows, by network and transaction in lower case.
#[derive(Debug, Default)]
pub(super) struct Seen {
    observations: BTreeMap<(String, String), Observation>,
    /// The lowest block of each network whose receipts a node showed in this run.
    lowest: BTreeMap<String, u64>,
}

impl Seen {
    pub(super) fn add(&mut self, network: &str, tx_id: &str, observation: Observation) {
        if let TxState::Landed { height, .. } | TxState::Reverted { height, .. } = observation.state {
            let lowest = self.lowest.entry(network.to_owned()).or_insert(height);
            *lowest = height.min(*lowest);
        }
        let key = (network.to_owned(), tx_id.to_lowercase());
        self.observations.insert(key, observation);
    }

    pub(super) fn get(&self, network: &str, tx_id: &str) -> Option<&Observation> {
        self.observations.get(&(network.to_owned(), tx_id.to_lowercase()))
    }

    /// Forgets the transactions. How old receipts are shown stays.
    pub(super) fn clear(&mut self) {
        self.observations.clear();
    }

    fn shows_receipts_of(&self, network: &str, height: u64) -> bool {
        self.lowest.get(network).is_some_and(|lowest| *lowest <= height)
    }
}

/// Compares one settlement.
pub(super) fn settlement(claims: &Claims, seen: &Seen, found: &mut Findings) {
    let before = found.differences.len();
    for claim in claims.claims.values() {
        transaction(claims, claim, seen, found);
    }
    // What used the slot is explained by a difference above, if there is one.
    if found.differences.len() == before {
        for slot in &claims.slots {
            used_slot(claims, slot, seen, found);
        }
    }
}

fn transaction(claims: &Claims, claim: &Claim, seen: &Seen, found: &mut Findings) {
    let says_nothing = !claim.in_block && claim.effect.is_none();
    let Some(observation) = seen.get(&claims.network, &claim.tx_id) else {
        if !says_nothing {
            found.unread.push(unread(claims, claim, "no node answered"));
        }
        return;
    };
    let differ = |kind, journal: String, chain: String| Difference {
        kind,
        network: claims.network.clone(),
        payment: claims.payment.clone(),
        transaction: claim.tx_id.clone(),
        journal,
        chain,
    };
    let says = format!("the payment is {}", claims.status);
    match &observation.state {
        TxState::Landed { height, .. } => {
            if claim.effect == Some(false) {
                let chain = format!("block {height} shows the transaction as a success");
                found.differences.push(differ(Kind::Landed, says, chain));
            } else {
                found.agreeing = found.agreeing.saturating_add(1);
            }
            fee(claims, claim, observation, found);
        }
        TxState::Reverted { height, .. } => {
            if claim.effect == Some(true) {
                let chain = format!("the transaction reverted in block {height}");
                found.differences.push(differ(Kind::Reverted, says, chain));
            } else {
                found.agreeing = found.agreeing.saturating_add(1);
            }
            fee(claims, claim, observation, found);
        }
        _ if !claim.in_block && claim.effect != Some(true) => {
            if claim.effect.is_some() {
                found.agreeing = found.agreeing.saturating_add(1);
            }
        }
        TxState::Unknown
        | TxState::Pending
        | TxState::SlotUsed
        | TxState::Lapsed
        | TxState::Expired { .. } => match absent(claims, claim, observation, seen) {
            Some(why) => {
                let says = match claim.height {
                    Some(height) => format!("{says}, its transaction is in block {height}"),
                    None => format!("{says}, its transaction is in a block"),
                };
                found.differences.push(differ(Kind::Absent, says, why));
            }
            None => found.unread.push(unread(
                claims,
                claim,
                "no node shows the transaction, and none shows that it keeps receipts that old",
            )),
        },
    }
}

fn unread(claims: &Claims, claim: &Claim, why: &str) -> Unread {
    Unread {
        network: claims.network.clone(),
        payment: claims.payment.clone(),
        transaction: claim.tx_id.clone(),
        why: why.to_owned(),
    }
}

/// Why it is certain that no block has the transaction; `None`: it is not.
fn absent(claims: &Claims, claim: &Claim, observation: &Observation, seen: &Seen) -> Option<String> {
    if let TxState::Expired { proof } = &observation.state {
        return Some(format!("it is in no block: {proof}"));
    }
    if let (Some((lane, sequence)), Some(anchor)) = (&claim.slot, &observation.anchor)
        && lane.ordered
        && anchor.next_sequence <= *sequence
    {
        return Some(format!(
            "it is in no block: by block {} the signer {} has not used nonce {sequence}",
            anchor.block.height, lane.signer
        ));
    }
    let is_missing = matches!(observation.state, TxState::Unknown | TxState::SlotUsed);
    let height = claim.height.filter(|_| is_missing)?;
    seen.shows_receipts_of(&claims.network, height).then(|| {
        let used = match observation.state {
            TxState::SlotUsed => ", and another transaction has used its nonce",
            _ => "",
        };
        format!("no block has it{used}; the nodes show receipts of that time")
    })
}

fn fee(claims: &Claims, claim: &Claim, observation: &Observation, found: &mut Findings) {
    match (claim.fee, observation.fee) {
        (Some(journal), Some(chain)) if journal != chain => found.differences.push(Difference {
            kind: Kind::Fee,
            network: claims.network.clone(),
            payment: claims.payment.clone(),
            transaction: claim.tx_id.clone(),
            journal: format!("the transaction cost {journal} native atomic units"),
            chain: format!("it cost {chain}"),
        }),
        (None, Some(_)) => found.without_fee = found.without_fee.saturating_add(1),
        (Some(_) | None, _) => {}
    }
}

/// A slot that none of its transactions has used, and that is used.
fn used_slot(claims: &Claims, slot: &Slot, seen: &Seen, found: &mut Findings) {
    let is_used = |tx_id: &String| {
        seen.get(&claims.network, tx_id)
            .is_some_and(|observation| observation.state == TxState::SlotUsed)
    };
    if !slot.transactions.iter().all(is_used) {
        return;
    }
    if !seen.shows_receipts_of(&claims.network, slot.since_height) {
        found.unread.push(Unread {
            network: claims.network.clone(),
            payment: claims.payment.clone(),
            transaction: slot.transactions.last().cloned().unwrap_or_default(),
            why: format!(
                "nonce {} of {} is used, and no node shows that it keeps receipts that old",
                slot.sequence, slot.lane.signer
            ),
        });
        return;
    }
    found.differences.push(Difference {
        kind: Kind::UnknownTransaction,
        network: claims.network.clone(),
        payment: claims.payment.clone(),
        transaction: String::new(),
        journal: format!(
            "{} transactions were signed for nonce {} of {}",
            slot.transactions.len(),
            slot.sequence,
            slot.lane.signer
        ),
        chain: "another transaction has used it".to_owned(),
    });
}

/// Compares a signer's number of transactions.
pub(super) fn lane(network: &str, signer: &str, journal_next: u64, chain_next: u64) -> Option<Difference> {
    let more = chain_next.checked_sub(journal_next).filter(|more| *more > 0)?;
    let last = chain_next.saturating_sub(1);
    Some(Difference {
        kind: Kind::UnknownTransaction,
        network: network.to_owned(),
        payment: String::new(),
        transaction: String::new(),
        journal: format!("the first nonce of {signer} without a transaction is {journal_next}"),
        chain: format!("{more} more transactions, with the nonces {journal_next} to {last}"),
    })
}
