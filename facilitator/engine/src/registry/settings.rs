//! What an operator sets for a network, as the engine uses it.

use sdk_plugin::chain::KeyInfo;
use sdk_plugin::{Amount, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Settings of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSettings {
    /// CAIP-2.
    pub id: String,
    /// Depth for replies, releases and ordinary gates; 1 is the head block.
    pub confirmations: u64,
    /// Depth at which slots close; at least `confirmations`.
    pub finality: u64,
    /// Pause between two polls of open transactions.
    pub poll_interval_ms: u64,
    /// Polls follow the chain's blocks once their time is known, and the network is checked as seldom as possible.
    pub follow_blocks: bool,
    /// A transaction that has not landed for this long is replaced by one with a higher bid.
    pub stuck_after_ms: u64,
    /// Slots of one lane that may be open at once; `None`: by whether the lane's slots have an order.
    pub max_in_flight: Option<usize>,
    /// The most steps of different settlements that share a transaction; 1: none do.
    pub max_batch: usize,
    /// Each step has a key that one claim may have, because the chain lets an authorization be used twice.
    pub replay_keys: bool,
    /// Settlements that may wait for a lane.
    pub lane_queue: usize,
    /// The most that one transaction may cost, native atomic units.
    pub max_cost: Amount,
    /// The most that all transactions of a day (UTC) may cost, native atomic units.
    pub max_cost_per_day: Option<Amount>,
    /// The most that the transactions of each signer may cost in a day (UTC), native atomic units.
    pub max_cost_per_day_per_signer: Option<Amount>,
    /// By tenant: the most that transactions on its behalf may cost in a day (UTC), native atomic units.
    pub tenant_max_cost_per_day: BTreeMap<String, Amount>,
    /// How many nodes can be queried, each with another address.
    pub nodes: usize,
    /// By asset as [`spelled`], its atomic units: from this amount on, nothing is decided before two nodes show the
    /// same.
    pub second_source_above: BTreeMap<String, Amount>,
    /// Assets that may be used for payment, besides those that the driver knows; `None`: any.
    pub assets: Option<BTreeSet<String>>,
    pub keys: Vec<KeyInfo>,
    pub retained_keys: Vec<KeyInfo>,
    /// The driver's own options.
    pub options: Value,
}

/// Slots of one lane that may be open at once, where the operator has not said it. Nodes keep few transactions of one sender
/// that wait for the one before them; without an order none waits.
const IN_FLIGHT_IN_ORDER: usize = 16;
const IN_FLIGHT_WITHOUT_ORDER: usize = 256;

impl NetworkSettings {
    /// Slots of one lane that may be open at once. `ordered`: each slot waits for the one before it.
    #[must_use]
    pub fn in_flight(&self, ordered: bool) -> usize {
        self.max_in_flight.unwrap_or(if ordered {
            IN_FLIGHT_IN_ORDER
        } else {
            IN_FLIGHT_WITHOUT_ORDER
        })
    }

    /// Whether two nodes must show the same before a payment of this amount is decided. `amount`: atomic units of the
    /// asset.
    #[must_use]
    pub fn wants_second_source(&self, asset: &str, amount: Amount) -> bool {
        self.second_source_above
            .get(&spelled(asset))
            .is_some_and(|from| amount >= *from)
    }
}

/// An asset's name as the core compares it: hex in lower case; other names are unchanged.
#[must_use]
pub fn spelled(asset: &str) -> String {
    if asset.starts_with("0x") || asset.starts_with("0X") {
        asset.to_ascii_lowercase()
    } else {
        asset.to_owned()
    }
}
