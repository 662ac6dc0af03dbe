//! What an operator can set for one EVM network, in its `options`.

use std::collections::BTreeMap;

use sdk_plugin::{Amount, Fault, Value, config};
use serde::{Deserialize, Deserializer, de};

use crate::text;

/// Options of a network. Every one has a default that suits a public chain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Price transactions with `eth_gasPrice` even if blocks have a base fee.
    pub legacy: bool,
    /// The most a transaction may offer per unit of gas, in wei.
    #[serde(deserialize_with = "wei")]
    pub max_fee_per_gas_wei: u128,
    /// The least tip per unit of gas, in wei.
    #[serde(deserialize_with = "wei")]
    pub min_priority_fee_per_gas_wei: u128,
    /// Gas limit of a transaction that only fills a slot. Some chains need more than Ethereum for a plain transfer.
    pub fill_gas: u64,
    /// If the head block is older than this many seconds, the network is not ready; 0: only a warning.
    pub max_head_age_s: u64,
    /// If the head block is further ahead of the host's clock than this many seconds, the network is not ready; 0: only a
    /// warning.
    pub max_clock_skew_s: u64,
    /// A signer with less native currency than this, in wei, causes a warning.
    #[serde(deserialize_with = "wei")]
    pub low_balance_wei: u128,
    /// The most blocks that one `eth_getLogs` may cover.
    pub max_log_range: u64,
    /// The most gas that one transfer may use on this network; 0: `max_gas` of the plugin's configuration.
    pub max_gas: u64,
    /// The assumed gas of a transfer if nodes can't estimate it; 0: `max_gas`.
    pub fixed_gas: u64,
    /// `max_gas` and `fixed_gas` of single assets, by address.
    #[serde(deserialize_with = "by_asset")]
    pub asset_gas: BTreeMap<String, AssetGas>,
}

/// Gas of one asset's transfers; 0: as the network's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssetGas {
    pub max_gas: u64,
    pub fixed_gas: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            legacy: false,
            max_fee_per_gas_wei: 500_000_000_000,
            min_priority_fee_per_gas_wei: 1_000_000,
            fill_gas: 21_000,
            max_head_age_s: 180,
            max_clock_skew_s: 5,
            low_balance_wei: 1_000_000_000_000_000,
            max_log_range: 1_000,
            max_gas: 0,
            fixed_gas: 0,
            asset_gas: BTreeMap::new(),
        }
    }
}

impl Options {
    /// Reads a network's options. An unknown or malformed one is a fault that names it.
    pub fn read(options: &Value) -> Result<Self, Fault> {
        let read: Self = config::network_options(options)?;
        if read.fill_gas < 21_000 {
            return Err(config::invalid_option("fill_gas must be at least 21000"));
        }
        if read.max_log_range == 0 {
            return Err(config::invalid_option("max_log_range must be at least 1"));
        }
        if read.max_fee_per_gas_wei == 0 {
            return Err(config::invalid_option("max_fee_per_gas_wei must be above 0"));
        }
        Ok(read)
    }
}

/// Wei as a decimal string, or as an integer below 2^53.
fn wei<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    let value = Value::deserialize(deserializer)?;
    text::number(&value)
        .and_then(|wei| u128::try_from(wei).ok())
        .ok_or_else(|| de::Error::custom(format!("{value} is not an amount in wei; write a decimal string")))
}

/// By address, in lower case.
fn by_asset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, AssetGas>, D::Error> {
    let sent = BTreeMap::<String, AssetGas>::deserialize(deserializer)?;
    let read = |(asset, gas): (String, AssetGas)| match text::address(&asset) {
        Some(address) => Ok((text::lower(address), gas)),
        None => Err(de::Error::custom(format!(
            "asset_gas: {asset:?} is not a token contract's address"
        ))),
    };
    sent.into_iter().map(read).collect()
}

/// Wei for the wire and for messages.
#[must_use]
pub fn amount(wei: u128) -> Amount {
    Amount::from(wei)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_options_are_defaults_and_wrong_ones_are_named() {
        assert_eq!(Options::read(&Value::Null), Ok(Options::default()));
        assert_eq!(Options::read(&json!({})), Ok(Options::default()));
        let read = Options::read(&json!({"legacy": true, "max_fee_per_gas_wei": "7", "low_balance_wei": 5}));
        let read = read.expect("good options");
        assert!(read.legacy);
        assert_eq!((read.max_fee_per_gas_wei, read.low_balance_wei), (7, 5));
        for (bad, named) in [
            (json!({"max_fee_per_gas": "1"}), "max_fee_per_gas"),
            (json!({"max_fee_per_gas_wei": "1e9"}), "1e9"),
            (json!({"max_fee_per_gas_wei": "0"}), "max_fee_per_gas_wei"),
            (json!({"legacy": "yes"}), "yes"),
            (json!({"fill_gas": 20_999}), "fill_gas"),
            (json!({"max_log_range": 0}), "max_log_range"),
            (json!({"max_gas": -1}), "-1"),
            (json!({"asset_gas": {"USDC": {}}}), "USDC"),
            (
                json!({"asset_gas": {"0x036cbd53842c5426634e7929541ec2318f3dcf7e": {"gas": 1}}}),
                "gas",
            ),
            (json!([]), "table"),
        ] {
            let fault = Options::read(&bad).expect_err("bad options");
            assert!(fault.message.contains(named), "{bad}: {fault}");
        }
    }
}
