//! A lane: one signer on one network.

use serde::{Deserialize, Serialize};

/// One signer on one network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Lane {
    /// CAIP-2.
    pub network: String,
    /// Address, in the driver's canonical spelling.
    pub signer: String,
    /// Name of the key in custody.
    pub key: String,
    /// Whether its transactions are numbered and land in that order.
    pub ordered: bool,
}
