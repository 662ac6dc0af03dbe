//! What transactions cost.

use std::collections::BTreeMap;

use sdk_plugin::Amount;
use serde::{Deserialize, Serialize};

use super::AttemptKind;

/// What a transaction in a block cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostRow {
    /// Id of the attempt.
    pub attempt: u64,
    /// The transaction's id on its chain.
    pub tx_id: String,
    /// Whether it carries steps or fills a slot.
    pub kind: AttemptKind,
    /// The signer that paid it.
    pub signer: String,
    /// The slot's number in the signer's lane.
    pub sequence: u64,
    /// What the whole transaction cost, in native atomic units.
    pub fee: Amount,
    /// How many settlements it carries.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub settlements: u64,
    /// This settlement's part of `fee`: the parts of all settlements that it carries add up to `fee`. `None`: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Amount>,
}

impl CostRow {
    /// This settlement's part, in native atomic units.
    #[must_use]
    pub fn part(&self) -> Amount {
        self.part.unwrap_or(self.fee)
    }
}

/// What a transaction cost that carries no settlement: it filled a slot that was left unused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpareCostRow {
    /// CAIP-2.
    pub network: String,
    /// When it was prepared, milliseconds since the epoch.
    pub at_ms: u64,
    /// The transaction and its fee.
    pub cost: CostRow,
}

fn one() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(number: &u64) -> bool {
    *number == 1
}

/// What transactions of one signer can cost together, with the same number of settlements of the same tenants in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentRow {
    /// The signer's address.
    pub signer: String,
    /// How many settlements of each tenant such a transaction carries.
    pub tenants: BTreeMap<String, u64>,
    /// How many settlements such a transaction carries.
    pub steps: u64,
    /// Native atomic units.
    pub amount: Amount,
}
