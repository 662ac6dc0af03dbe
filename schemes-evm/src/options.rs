//! What an operator can set for one EVM network, in its `options`.

use std::collections::BTreeMap;

use alloy_primitives::{Address, FixedBytes};
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
    /// Factories that may deploy a payer's wallet, each with the selectors of its functions that may be called. Empty: only
    /// deployed wallets pay.
    #[serde(deserialize_with = "by_factory")]
    pub wallet_factories: BTreeMap<Address, Vec<FixedBytes<4>>>,
    /// What the operator expects of tokens: compared with the chain after the start, and shown in `/supported`.
    #[serde(deserialize_with = "by_token")]
    pub tokens: BTreeMap<Address, Token>,
    /// The most gas that a wallet's deployment may use, in addition to that of its transfer.
    pub deployment_gas: u64,
}

/// Gas of one asset's transfers; 0: as the network's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssetGas {
    pub max_gas: u64,
    pub fixed_gas: u64,
}

/// A token as the operator describes it. What is absent is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Token {
    /// Of the EIP-712 domain, as `version`.
    pub name: Option<String>,
    pub version: Option<String>,
    pub symbol: Option<String>,
    pub decimals: Option<u8>,
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
            wallet_factories: BTreeMap::new(),
            tokens: BTreeMap::new(),
            deployment_gas: 1_000_000,
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

/// By token.
fn by_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Address, Token>, D::Error> {
    let sent = BTreeMap::<String, Token>::deserialize(deserializer)?;
    let read = |(asset, token): (String, Token)| match text::address(&asset) {
        Some(address) => Ok((address, token)),
        None => Err(de::Error::custom(format!(
            "tokens: {asset:?} is not a token contract's address"
        ))),
    };
    sent.into_iter().map(read).collect()
}

/// By factory. Each must have at least one function.
fn by_factory<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Address, Vec<FixedBytes<4>>>, D::Error> {
    let sent = BTreeMap::<String, Vec<String>>::deserialize(deserializer)?;
    let mut read = BTreeMap::new();
    for (factory, functions) in sent {
        let address = text::address(factory.trim()).ok_or_else(|| {
            de::Error::custom(format!(
                "wallet_factories: {factory:?} is not a factory contract's address"
            ))
        })?;
        let selectors: Option<Vec<_>> = functions.iter().map(|text| selector(text.trim())).collect();
        let selectors = selectors.filter(|selectors| !selectors.is_empty()).ok_or_else(|| {
            de::Error::custom(format!(
                "wallet_factories: write the selectors of the functions that {factory} may be called with, e.g. \
                 [\"0x3ffba36f\"]"
            ))
        })?;
        if read.insert(address, selectors).is_some() {
            return Err(de::Error::custom(format!("wallet_factories: {factory} twice")));
        }
    }
    Ok(read)
}

/// Four bytes of hex after `0x`.
fn selector(text: &str) -> Option<FixedBytes<4>> {
    let bytes = hex::decode(text.strip_prefix("0x")?).ok()?;
    FixedBytes::try_from(bytes.as_slice()).ok()
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

    const FACTORY: &str = "0x0ba5ed0c6aa8c49038f819e587e2633c4a9f428a";

    #[test]
    fn factories_are_trimmed_and_spelled_in_any_case() {
        let spelled = format!(" {} ", FACTORY.to_uppercase().replace("0X", "0x"));
        let read = Options::read(&json!({"wallet_factories": {spelled: [" 0x3FFBA36F "]}}));
        let factories = read.expect("good options").wallet_factories;
        let [(factory, selectors)] = Vec::from_iter(factories).try_into().expect("one factory");
        assert_eq!(text::lower(factory), FACTORY);
        assert_eq!(selectors, [FixedBytes([0x3f, 0xfb, 0xa3, 0x6f])]);
    }

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
            (json!({"tokens": {"USDC": {"name": "USDC"}}}), "USDC"),
            (json!({"tokens": {FACTORY: {"title": "USDC"}}}), "title"),
            (json!({"tokens": {FACTORY: {"decimals": 256}}}), "256"),
            (json!({"asset_gas": {"USDC": {}}}), "USDC"),
            (
                json!({"asset_gas": {"0x036cbd53842c5426634e7929541ec2318f3dcf7e": {"gas": 1}}}),
                "gas",
            ),
            (
                json!({"wallet_factories": {"factory": ["0x3ffba36f"]}}),
                "factory",
            ),
            (json!({"wallet_factories": {FACTORY: []}}), FACTORY),
            (json!({"wallet_factories": {FACTORY: ["create"]}}), "selectors"),
            (
                json!({"wallet_factories": {FACTORY: ["0x3ffba36f00"]}}),
                "selectors",
            ),
            (
                json!({"wallet_factories": {FACTORY: ["0x3ffba36f"], format!(" {FACTORY}"): ["0x3ffba36f"]}}),
                "twice",
            ),
            (json!([]), "table"),
        ] {
            let fault = Options::read(&bad).expect_err("bad options");
            assert!(fault.message.contains(named), "{bad}: {fault}");
        }
    }
}
