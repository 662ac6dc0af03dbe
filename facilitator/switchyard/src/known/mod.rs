//! Networks and families that this build knows by name, as data: `networks.toml`. The core itself knows no chain: what is here
//! only fills a new configuration and shows keys as addresses. A network that is not here works the same.

use serde::Deserialize;
use sha3::{Digest as _, Keccak256};

use sdk_plugin::chain::KeyInfo;
use sdk_plugin::host::Suite;

const TEXT: &str = include_str!("networks.toml");

/// What is known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    #[serde(rename = "family")]
    pub families: Vec<Family>,
    #[serde(rename = "network")]
    pub networks: Vec<Network>,
}

/// A CAIP-2 namespace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    pub name: String,
    /// Of its signers' keys.
    pub suite: Suite,
    /// How a public key becomes an address.
    pub address: AddressForm,
    /// The manifest id of the shipped plugin that drives it.
    pub plugin: String,
    /// The file of that plugin, as it is built.
    pub file: String,
    /// The shipped plugin with the scheme `auth-capture`.
    pub escrow: Option<Escrow>,
}

/// A plugin with the scheme `auth-capture`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escrow {
    /// Its manifest id.
    pub plugin: String,
    /// Its file, as it is built.
    pub file: String,
}

/// How a public key becomes an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressForm {
    /// The last 20 bytes of the Keccak-256 hash of an uncompressed secp256k1 point, `0x` and hex.
    Keccak20,
    /// The key itself.
    Base58,
}

/// A network.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// CAIP-2.
    pub id: String,
    /// As operators write it on a command line; where protocol v1 has a name, that one.
    pub name: String,
    /// For people.
    pub title: String,
    #[serde(default)]
    pub testnet: bool,
    pub currency: Currency,
    /// A public node, for a first try.
    pub rpc: Option<String>,
    /// Where a transaction can be seen; `{}` is its id.
    pub explorer: String,
    /// Time between two blocks, rounded up.
    pub block_time_ms: u64,
    pub confirmations: u64,
    pub finality: u64,
    /// The most that one transaction may cost, atomic units.
    pub max_cost: String,
}

/// The native currency.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Currency {
    pub symbol: String,
    pub decimals: u32,
}

impl Known {
    /// What this build knows.
    ///
    /// # Errors
    /// Never: a test reads the same text.
    pub fn load() -> Result<Self, String> {
        toml::from_str(TEXT).map_err(|error| format!("the list of known networks can't be read: {error}"))
    }

    /// By CAIP-2 id or name.
    #[must_use]
    pub fn network(&self, named: &str) -> Option<&Network> {
        self.networks
            .iter()
            .find(|network| network.id == named || network.name == named)
    }

    #[must_use]
    pub fn family(&self, network: &str) -> Option<&Family> {
        let family = network.split(':').next().unwrap_or_default();
        self.families.iter().find(|known| known.name == family)
    }

    /// The addresses of a key, each with its family.
    pub fn addresses<'k>(&'k self, key: &'k KeyInfo) -> impl Iterator<Item = (&'k str, String)> {
        let of_suite = self.families.iter().filter(|family| family.suite == key.suite);
        of_suite
            .filter_map(|family| Some((family.name.as_str(), family.address.of(key.public_key.as_ref())?)))
    }
}

impl AddressForm {
    /// The address of a public key; `None`: the key has another form.
    #[must_use]
    pub fn of(self, public_key: &[u8]) -> Option<String> {
        match self {
            Self::Keccak20 => {
                let point = public_key.strip_prefix(&[4]).filter(|point| point.len() == 64)?;
                let hash = Keccak256::digest(point);
                Some(format!("0x{}", hex::encode(hash.get(12..)?)))
            }
            Self::Base58 => (public_key.len() == 32).then(|| bs58::encode(public_key).into_string()),
        }
    }
}

/// An amount in atomic units, in units of the currency.
#[must_use]
pub fn in_units(atomic: &str, decimals: u32) -> String {
    let decimals = usize::try_from(decimals).unwrap_or(0);
    let padded = format!("{atomic:0>width$}", width = decimals.saturating_add(1));
    let (whole, part) = padded.split_at(padded.len().saturating_sub(decimals));
    match part.trim_end_matches('0') {
        "" => whole.to_owned(),
        part => format!("{whole}.{part}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http_api::NetworkNames;

    use super::*;

    #[test]
    fn the_list_is_consistent_and_agrees_with_the_names_of_v1() {
        let known = Known::load().expect("it is read");
        let v1 = NetworkNames::default();
        let mut seen = BTreeSet::new();
        for network in &known.networks {
            assert!(
                seen.insert(&network.id) && seen.insert(&network.name),
                "{}",
                network.id
            );
            assert!(known.family(&network.id).is_some(), "{}", network.id);
            assert!(network.finality >= network.confirmations && network.finality > 1);
            assert!(network.max_cost.parse::<u128>().is_ok_and(|cost| cost >= 1_000));
            assert_eq!(network.explorer.matches("{}").count(), 1, "{}", network.explorer);
            assert!(network.explorer.starts_with("https://"));
            assert!(network.rpc.iter().all(|rpc| rpc.starts_with("https://")));
            if let Some(id) = v1.caip2(&network.name) {
                assert_eq!(id, network.id);
            }
            assert_eq!(
                known.network(&network.id).map(|found| &found.name),
                Some(&network.name)
            );
        }
    }

    #[test]
    fn keys_have_the_addresses_that_wallets_show() {
        let key = k256_one();
        assert_eq!(
            AddressForm::Keccak20.of(&key).as_deref(),
            Some("0x7e5f4552091a69125d5dfcb7b8c2659029395bdf")
        );
        assert_eq!(AddressForm::Keccak20.of(&[1; 32]), None);
        assert_eq!(AddressForm::Base58.of(&key), None);
        assert_eq!(
            AddressForm::Base58.of(&[0; 32]).as_deref(),
            Some("11111111111111111111111111111111")
        );
    }

    /// The generator of the curve: the public key of the private key 1.
    fn k256_one() -> Vec<u8> {
        hex::decode(concat!(
            "04",
            "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
        ))
        .expect("hex")
    }

    #[test]
    fn amounts_are_shown_in_units() {
        for (atomic, decimals, shown) in [
            ("50000000000000", 18, "0.00005"),
            ("3000000", 9, "0.003"),
            ("1000000000", 9, "1"),
            ("1230000000", 9, "1.23"),
            ("7", 0, "7"),
        ] {
            assert_eq!(in_units(atomic, decimals), shown);
        }
    }
}
