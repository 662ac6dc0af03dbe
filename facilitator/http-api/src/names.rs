//! Plain network names of protocol v1 and their CAIP-2 ids: a table of known names, to which the configuration adds.

use std::collections::{BTreeMap, HashMap};

/// Names in the spelling of the protocol's version 1. Source: x402 v1, list of networks.
const KNOWN: &[(&str, &str)] = &[
    ("ethereum", "eip155:1"),
    ("sepolia", "eip155:11155111"),
    ("base", "eip155:8453"),
    ("base-sepolia", "eip155:84532"),
    ("abstract", "eip155:2741"),
    ("abstract-testnet", "eip155:11124"),
    ("avalanche", "eip155:43114"),
    ("avalanche-fuji", "eip155:43113"),
    ("iotex", "eip155:4689"),
    ("sei", "eip155:1329"),
    ("sei-testnet", "eip155:1328"),
    ("polygon", "eip155:137"),
    ("polygon-amoy", "eip155:80002"),
    ("peaq", "eip155:3338"),
    ("story", "eip155:1514"),
    ("educhain", "eip155:41923"),
    ("skale-base-sepolia", "eip155:324705682"),
    ("megaeth", "eip155:4326"),
    ("monad", "eip155:143"),
    ("stable", "eip155:988"),
    ("stable-testnet", "eip155:2201"),
    ("celo", "eip155:42220"),
    ("flare", "eip155:14"),
    ("solana", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"),
    ("solana-devnet", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
    ("solana-testnet", "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z"),
];

/// The mapping in both directions. Names are compared exactly, with case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkNames {
    to_caip2: HashMap<String, String>,
    to_v1: HashMap<String, String>,
}

impl Default for NetworkNames {
    fn default() -> Self {
        Self::with(&BTreeMap::new())
    }
}

impl NetworkNames {
    /// The known names and `configured` ones (CAIP-2 to name). A configured name replaces the known one.
    #[must_use]
    pub fn with(configured: &BTreeMap<String, String>) -> Self {
        let mut names = Self {
            to_caip2: HashMap::new(),
            to_v1: HashMap::new(),
        };
        let known = KNOWN
            .iter()
            .map(|(v1, caip2)| ((*v1).to_owned(), (*caip2).to_owned()));
        let configured = configured.iter().map(|(caip2, v1)| (v1.clone(), caip2.clone()));
        for (v1, caip2) in known.chain(configured) {
            if let Some(former) = names.to_v1.insert(caip2.clone(), v1.clone()) {
                names.to_caip2.remove(&former);
            }
            if let Some(former) = names
                .to_caip2
                .insert(v1, caip2.clone())
                .filter(|former| *former != caip2)
            {
                names.to_v1.remove(&former);
            }
        }
        names
    }

    /// The CAIP-2 id of a plain name: `base` → `eip155:8453`.
    #[must_use]
    pub fn caip2(&self, v1: &str) -> Option<&str> {
        self.to_caip2.get(v1).map(String::as_str)
    }

    /// The plain name of a CAIP-2 id: `eip155:8453` → `base`.
    #[must_use]
    pub fn v1(&self, caip2: &str) -> Option<&str> {
        self.to_v1.get(caip2).map(String::as_str)
    }
}

/// Whether the text has the form of a CAIP-2 chain id (namespace 3-8 of `[-a-z0-9]`, reference 1-32 of
/// `[-_a-zA-Z0-9]`), and a numeric reference has no leading zero.
#[must_use]
pub fn is_caip2(text: &str) -> bool {
    let Some((namespace, reference)) = text.split_once(':') else {
        return false;
    };
    let numeric = reference.bytes().all(|b| b.is_ascii_digit());
    (3..=8).contains(&namespace.len())
        && namespace
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && (1..=32).contains(&reference.len())
        && reference
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !(numeric && reference.len() > 1 && reference.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_map_both_ways_and_every_known_id_is_well_formed() {
        let names = NetworkNames::default();
        for (v1, caip2) in KNOWN {
            assert!(is_caip2(caip2), "{caip2}");
            assert_eq!((names.caip2(v1), names.v1(caip2)), (Some(*caip2), Some(*v1)));
        }
        assert_eq!(names.caip2("Base"), None);
        assert_eq!(names.caip2("eip155:8453"), None);
    }

    #[test]
    fn a_configured_name_replaces_the_known_one() {
        let names = NetworkNames::with(&BTreeMap::from([
            ("eip155:31337".to_owned(), "base-sepolia".to_owned()),
            ("eip155:8453".to_owned(), "base-mainnet".to_owned()),
        ]));
        assert_eq!(names.caip2("base-sepolia"), Some("eip155:31337"));
        assert_eq!(names.v1("eip155:84532"), None);
        assert_eq!(
            (names.caip2("base"), names.v1("eip155:8453")),
            (None, Some("base-mainnet"))
        );
    }

    #[test]
    fn t10_other_spellings_are_not_ids() {
        for bad in [
            "",
            ":",
            "eip155",
            "EIP155:1",
            "eip155:08453",
            "eip155:",
            "eip155:1:2",
            "eip155:١",
            "ab:1",
            "eip155: 1",
        ] {
            assert!(!is_caip2(bad), "{bad}");
        }
    }
}
