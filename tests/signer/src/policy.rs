//! The policy file: who may have what signed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, U256};
use sdk_plugin::HexBytes;
use sdk_plugin::host::Suite;
use serde::Deserialize;

/// A policy file. Relative paths start at its folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub listen: Listen,
    pub keys: BTreeMap<String, Key>,
}

/// Where the signer listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub enum Listen {
    Unix {
        socket: PathBuf,
    },
    /// TLS, with callers that show a certificate of `client_ca`.
    Tls {
        address: String,
        certificate: PathBuf,
        key: PathBuf,
        client_ca: PathBuf,
    },
}

/// A key and what it may sign. What is not named is refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    #[serde(default = "secp256k1")]
    pub suite: Suite,
    /// A file with the private key, as the facilitator reads it (mode 0600).
    pub file: Option<PathBuf>,
    /// An encrypted keystore, with `password_file`.
    pub keystore: Option<PathBuf>,
    pub password_file: Option<PathBuf>,
    /// CAIP-2 ids.
    pub networks: Vec<String>,
    /// EVM: contracts and their functions.
    #[serde(default)]
    pub contracts: Vec<Contract>,
    /// Solana: programs, in base58.
    #[serde(default)]
    pub programs: Vec<String>,
    /// Solana: programs whose instructions may name the key itself, for instance to pay for a token account.
    #[serde(default)]
    pub programs_with_key: Vec<String>,
    /// Typed data: the domain separators.
    #[serde(default)]
    pub domains: Vec<HexBytes>,
    /// The most native currency that a transaction may move, a decimal string. EVM only.
    #[serde(default)]
    pub max_value: U256,
    /// The most that a transaction may cost, a decimal string in the smallest unit.
    pub max_fee: U256,
    pub max_signatures_per_hour: u32,
    /// How many different transactions of one slot are signed without a higher fee, after the first: the facilitator discards a
    /// transaction that it could not record, and makes another one.
    #[serde(default = "discarded")]
    pub max_discarded: u32,
}

/// A contract and the functions that may be called.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    pub address: Address,
    /// Four bytes each.
    pub selectors: Vec<HexBytes>,
}

fn secp256k1() -> Suite {
    Suite::Secp256k1
}

fn discarded() -> u32 {
    3
}

impl Policy {
    /// # Errors
    /// What is wrong with the file.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{} can't be read: {error}", file.display()))?;
        let mut policy: Self =
            toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        for (name, key) in &mut policy.keys {
            let selectors = key.contracts.iter().flat_map(|contract| &contract.selectors);
            if let Some(odd) = selectors.into_iter().find(|selector| selector.len() != 4) {
                return Err(format!(
                    "key {name}: {odd} is no selector; write 0x and 8 hex digits"
                ));
            }
            if key.domains.iter().any(|domain| domain.len() != 32) {
                return Err(format!("key {name}: a domain separator has 32 bytes"));
            }
            for path in [&mut key.file, &mut key.keystore, &mut key.password_file]
                .into_iter()
                .flatten()
            {
                *path = folder.join(&path);
            }
        }
        match &mut policy.listen {
            Listen::Unix { socket } => *socket = folder.join(&socket),
            Listen::Tls {
                certificate,
                key,
                client_ca,
                ..
            } => {
                for path in [certificate, key, client_ca] {
                    *path = folder.join(&path);
                }
            }
        }
        Ok(policy)
    }
}
