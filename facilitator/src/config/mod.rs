//! The configuration: one TOML file, read once, as plain data.
//!
//! Everything that can be checked without touching the network, keys or plugin files is checked here, all errors at
//! once, each with file, line, key and what to write instead. Later checks report through [`Config::source`].

#[cfg(test)]
mod broken_tests;
mod build;
mod error;
pub mod keys;
pub mod networks;
mod node;
mod reader;
mod substitute;
pub(crate) mod suggest;
mod syntax;
mod tenants;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sdk_plugin::Amount;
use sdk_plugin::host::Suite;
use serde_json::Value;

pub use error::{ConfigError, ConfigErrors, Source};
pub use networks::NetworkNames;
pub use substitute::Environment;

use crate::host::custody::KeySource;
use crate::host::rpc::SecretUrl;
use crate::telemetry::log;

/// A checked configuration. Keys' meanings and defaults: [`keys::KEYS`].
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    /// Where the journal lives.
    pub data_directory: PathBuf,
    pub plugins: Plugins,
    /// By name.
    pub keys: BTreeMap<String, Key>,
    /// By CAIP-2 id; at least one.
    pub networks: BTreeMap<String, Network>,
    /// By instance name; at least one.
    pub plugin: BTreeMap<String, PluginInstance>,
    pub tenants: Vec<Tenant>,
    pub limits: Limits,
    pub log: Log,
    /// v1 names, with those of the configured networks.
    pub names: NetworkNames,
    pub source: Source,
}

/// `[server]`.
#[derive(Debug, Clone)]
pub struct Server {
    pub listen: SocketAddr,
    /// Empty, or begins with `/` and does not end with one.
    pub base_path: String,
    pub settle_wait: Duration,
    pub verify_wait: Duration,
    pub body_limit_bytes: usize,
    pub body_read: Duration,
    pub max_concurrent_requests: usize,
    pub max_connections: usize,
    pub drain: Duration,
    pub legacy0: bool,
    /// Which pages' scripts may read `/supported` and `/health`.
    pub cors_origins: Origins,
    /// Whether those pages' scripts may also send payments.
    pub cors_payments: bool,
    pub trusted_proxies: Vec<AddressBlock>,
}

/// `[plugins]`.
#[derive(Debug, Clone)]
pub struct Plugins {
    pub directory: PathBuf,
    pub dev: bool,
}

/// `[keys.NAME]`: where a private key is, never the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub source: KeySource,
    pub suite: Suite,
}

/// `[networks."CAIP-2"]`.
#[derive(Debug, Clone)]
pub struct Network {
    /// CAIP-2.
    pub id: String,
    /// In order of preference; at least one.
    pub rpc: Vec<SecretUrl>,
    /// Names of keys, at least one; each is in [`Config::keys`].
    pub signers: Vec<String>,
    /// Names of keys, none of them in `signers`.
    pub retained_signers: Vec<String>,
    /// Depth, 1 is the head block.
    pub confirmations: u64,
    /// Depth, at least `confirmations`.
    pub finality: u64,
    pub poll_interval: Duration,
    pub stuck_after: Duration,
    pub max_in_flight: u32,
    pub lane_queue: u32,
    /// Most that one transaction may cost, native atomic units.
    pub max_cost: Amount,
    /// Most that all transactions of a day (UTC) may cost, native atomic units.
    pub max_cost_per_day: Option<Amount>,
    /// Most that the transactions of each signer may cost in a day (UTC), native atomic units.
    pub max_cost_per_day_per_signer: Option<Amount>,
    /// By asset as written, its atomic units: payments from this amount on need two nodes' word.
    pub second_source_above: BTreeMap<String, Amount>,
    pub assets: Assets,
    pub rpc_timeout: Duration,
    /// The plain name in protocol v1, configured or known.
    pub v1_name: Option<String>,
    /// An object: the driver's own.
    pub options: Value,
}

/// Which assets a network accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assets {
    /// Those the driver knows, and these.
    KnownAnd(Vec<String>),
    Any,
}

/// `[plugin.NAME]`.
#[derive(Debug, Clone)]
pub struct PluginInstance {
    /// The instance's name.
    pub name: String,
    pub file: PathBuf,
    /// `None` only with [`Plugins::dev`].
    pub sha256: Option<[u8; 32]>,
    /// CAIP-2; `None`: every configured network of its families.
    pub networks: Option<Vec<String>>,
    /// An object, to be checked against the manifest's schema.
    pub config: Value,
}

/// `[[tenants]]`.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub name: String,
    /// At least one.
    pub key_sha256: Vec<[u8; 32]>,
    pub scopes: BTreeSet<Scope>,
    pub rate: Rate,
    pub settle_wait: Duration,
    /// By CAIP-2 id: most that transactions on its behalf may cost in a day (UTC), native atomic units.
    pub max_cost_per_day: BTreeMap<String, Amount>,
}

/// A path that a tenant may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Verify,
    /// Also the schemes' own routes.
    Settle,
    Supported,
}

impl Scope {
    /// As the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Settle => "settle",
            Self::Supported => "supported",
        }
    }

    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        let all = [Self::Verify, Self::Settle, Self::Supported];
        all.into_iter().find(|scope| scope.name() == name)
    }
}

/// `[limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of callers without an API key.
    pub address: Rate,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// 0: no limit.
    pub per_minute: u32,
    /// At least 1.
    pub burst: u32,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    pub format: log::Format,
    pub level: String,
}

/// Origins of web pages, for CORS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    Any,
    /// Exactly as a browser writes them; empty: none.
    These(Vec<String>),
}

/// Addresses with a common prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressBlock {
    address: IpAddr,
    bits: u32,
}

impl AddressBlock {
    /// `10.0.0.0/8`, `::1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        (bits <= width).then_some(Self { address, bits })
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                (block.to_bits() ^ address.to_bits())
                    .checked_shr(32 - self.bits)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => {
                (block.to_bits() ^ address.to_bits())
                    .checked_shr(128 - self.bits)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// What commands for a running process need of a configuration: where its data lie and which networks there are. Read
/// without looking at anything else, so that a pause works where the variables of keys and nodes are not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub data_directory: PathBuf,
    /// CAIP-2 ids as written.
    pub networks: Vec<String>,
}

impl Place {
    /// Reads a file; only what is named here is checked.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let (shown, text) = read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        build::place(&shown, folder, &text, &|name| std::env::var(name).ok())
    }
}

/// A file's name for errors, and its text.
fn read(path: &Path) -> Result<(String, String), ConfigErrors> {
    let shown = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((shown, text)),
        Err(error) => {
            let what = match error.kind() {
                std::io::ErrorKind::NotFound => "name the configuration file with --config FILE",
                std::io::ErrorKind::PermissionDenied => {
                    "run this as the user that serves, or give this user the right to read it"
                }
                std::io::ErrorKind::IsADirectory => "it is a folder; write --config FILE with the file in it",
                std::io::ErrorKind::InvalidData => "it is not UTF-8; save it as UTF-8 text",
                _ => "name the configuration file with --config FILE",
            };
            Err(ConfigErrors(vec![ConfigError {
                file: shown,
                line: 0,
                column: 0,
                key: String::new(),
                message: format!("can't be read ({error}); {what}"),
            }]))
        }
    }
}

impl Config {
    /// Reads and checks a file, with the process's environment.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let (shown, text) = read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&shown, folder, &text, &|name| std::env::var(name).ok())
    }

    /// Checks a text. `file` is the name in errors; relative paths start at `folder`.
    pub fn parse(
        file: &str,
        folder: &Path,
        text: &str,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigErrors> {
        build::build(file, folder, text, environment)
    }
}
