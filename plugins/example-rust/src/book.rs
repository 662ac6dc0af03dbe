//! The vouchers that were issued, from the configuration.

use std::collections::BTreeMap;

use sdk_plugin::{Amount, Fault, Value};
use serde::Deserialize;

/// One voucher and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Issued {
    sha256: String,
    /// CAIP-2.
    pub(crate) network: String,
    pub(crate) asset: String,
    pub(crate) amount: Amount,
    pub(crate) pay_to: String,
    /// Seconds since the epoch.
    pub(crate) expires_at_s: u64,
}

/// All vouchers, by the digest of their code.
#[derive(Debug, Default)]
pub(crate) struct Book(BTreeMap<String, Issued>);

#[derive(Deserialize)]
struct Config {
    vouchers: Vec<Issued>,
}

impl Book {
    /// The host has validated the configuration against the manifest's schema; rules that a schema can't express are checked
    /// here.
    pub(crate) fn read(config: Value) -> Result<Self, Fault> {
        let config: Config =
            serde_json::from_value(config).map_err(|error| Fault::invalid(error.to_string()))?;
        let mut book = BTreeMap::new();
        for issued in config.vouchers {
            if let Some(twice) = book.insert(issued.sha256.clone(), issued) {
                return Err(Fault::invalid(format!(
                    "voucher {} is listed twice: remove one",
                    twice.sha256
                )));
            }
        }
        Ok(Self(book))
    }

    pub(crate) fn get(&self, digest: &str) -> Option<&Issued> {
        self.0.get(digest)
    }

    /// Whether any voucher is for this network.
    pub(crate) fn serves(&self, network: &str) -> bool {
        self.0.values().any(|issued| issued.network == network)
    }
}
