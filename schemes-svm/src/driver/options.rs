//! What an operator can set for one Solana network, in its `options`.

use sdk_plugin::{Fault, Value, config};
use serde::Deserialize;

/// Options of a network. Every one has a default that suits a public cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Accept nodes whose genesis hash is not the network's. For development chains only.
    pub any_genesis: bool,
    /// If the chain's clock is older than this many seconds, the network is not ready; 0: only a warning.
    pub max_head_age_s: u64,
    /// If the chain's clock is further ahead of the host's clock than this many seconds, the network is not ready; 0: only a
    /// warning.
    pub max_clock_skew_s: u64,
    /// A fee payer with fewer lamports than this causes a warning and is not offered to new buyers.
    pub low_balance_lamports: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            any_genesis: false,
            max_head_age_s: 120,
            // The chain's clock is an estimate of its validators and runs ahead by some seconds.
            max_clock_skew_s: 60,
            low_balance_lamports: 20_000_000,
        }
    }
}

impl Options {
    /// Reads a network's options. An unknown or malformed one is a fault that names it.
    pub fn read(options: &Value) -> Result<Self, Fault> {
        config::network_options(options)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_options_are_defaults_and_wrong_ones_are_named() {
        assert_eq!(Options::read(&Value::Null), Ok(Options::default()));
        assert_eq!(Options::read(&json!({})), Ok(Options::default()));
        let read =
            Options::read(&json!({"any_genesis": true, "low_balance_lamports": 5})).expect("good options");
        assert!(read.any_genesis);
        assert_eq!(read.low_balance_lamports, 5);
        for (bad, named) in [
            (json!({"anyGenesis": true}), "anyGenesis"),
            (json!({"any_genesis": "yes"}), "yes"),
            (json!({"max_head_age_s": -1}), "-1"),
            (json!([]), "table"),
        ] {
            let fault = Options::read(&bad).expect_err("bad options");
            assert!(fault.message.contains(named), "{bad}: {fault}");
        }
    }
}
