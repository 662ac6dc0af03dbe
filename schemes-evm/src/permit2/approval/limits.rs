//! What the operator spends on approvals, by network.

use std::collections::BTreeMap;

use sdk_plugin::Amount;
use serde::Deserialize;

/// The limits of one network. Without them the extension is not served there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The most native currency that one payer is given for its approval, once a day, in wei. The host keeps to it too. With 0,
    /// payers need their own.
    pub max_funding_wei: Amount,
    /// The most that all payers are given in one day (UTC), in wei. Each payer counts as if it got the most.
    pub max_funding_per_day_wei: Amount,
}

impl Limits {
    /// How many payers are given something in a day.
    pub(super) fn shares(&self) -> u32 {
        let shares = self.max_funding_per_day_wei.0.checked_div(self.max_funding_wei.0);
        shares.map_or(0, |shares| u32::try_from(shares).unwrap_or(u32::MAX))
    }

    /// # Errors
    /// What can't be meant.
    pub fn check(&self, network: &str) -> Result<(), String> {
        if self.max_funding_wei <= self.max_funding_per_day_wei {
            return Ok(());
        }
        Err(format!(
            "approvals.{network:?}: max_funding_wei, for one payer, is above max_funding_per_day_wei, for all of them"
        ))
    }
}

/// By CAIP-2 id.
pub type LimitsByNetwork = BTreeMap<String, Limits>;
