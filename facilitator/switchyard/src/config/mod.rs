//! The configuration: one TOML file, read once into plain data.
//!
//! Everything that can be checked without network, keys and plugin files is checked here. All errors are reported at once,
//! each with file, line, key and what to write instead. Later checks make their errors with [`Config::source`].

#[cfg(test)]
mod broken_tests;
mod build;
mod error;
pub mod keys;
mod node;
mod reader;
mod substitute;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_api::{NetworkNames, Rate, Server, Settings};
use plugin_host::{RunnerSettings, TrustedKey};
use sdk_plugin::host::Suite;
use sdk_plugin::{Amount, HexBytes};
use serde_json::Value;

pub use error::{ConfigError, ConfigErrors, Source};
pub use substitute::Environment;
pub(crate) use substitute::substitute;

use engine::Retention;
use host::custody::KeySource;
use host::rpc::SecretUrl;
use telemetry::{log, otlp};

/// A checked configuration. [`keys::KEYS`] documents its keys and their defaults.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    /// The directory of the journal.
    pub data_directory: PathBuf,
    /// The database of the journal; `None`: it is in the directory.
    pub postgres: Option<journal::postgres::Settings>,
    pub retention: Retention,
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
    /// The admin listener; `None`: it is off.
    pub admin: Option<admin_api::Settings>,
    pub telemetry: Telemetry,
    /// v1 names, including those of the configured networks.
    pub names: NetworkNames,
    pub source: Source,
}

/// `[plugins]`.
#[derive(Debug, Clone)]
pub struct Plugins {
    pub directory: PathBuf,
    pub dev: bool,
    /// Whose signature a file may have instead of a pin.
    pub trusted_keys: Vec<TrustedKey>,
    /// A plugin that does not load or start refuses the whole start.
    pub strict: bool,
}

/// `[keys.NAME]`: the location of a private key, never the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub source: KeySource,
    pub suite: Suite,
    /// `None`: no limit.
    pub max_signatures_per_minute: Option<u32>,
}

/// `[networks."CAIP-2"]`.
#[derive(Debug, Clone)]
pub struct Network {
    /// CAIP-2.
    pub id: String,
    /// `false`: its schemes keep the accounts themselves; everything about a chain below is empty or has no effect.
    pub has_chain: bool,
    /// In order of preference; at least one where there is a chain.
    pub rpc: Vec<SecretUrl>,
    /// Names of keys in [`Config::keys`], at least one where there is a chain.
    pub signers: Vec<String>,
    /// Names of keys, none of them in `signers`.
    pub retained_signers: Vec<String>,
    /// Depth, 1 is the head block.
    pub confirmations: u64,
    /// Depth, at least `confirmations`.
    pub finality: u64,
    /// Time between two blocks, if the operator has written it.
    pub block_time: Option<Duration>,
    /// `None`: polls follow the chain's blocks.
    pub poll_interval: Option<Duration>,
    pub stuck_after: Duration,
    /// `None`: 16 on ordered lanes, 256 on others.
    pub max_in_flight: Option<u32>,
    pub max_batch: u32,
    pub lane_queue: u32,
    /// The most that one transaction may cost, in native atomic units.
    pub max_cost: Amount,
    /// The most that all transactions of a day (UTC) may cost, in native atomic units.
    pub max_cost_per_day: Option<Amount>,
    /// The most that the transactions of one signer may cost in a day (UTC), in native atomic units.
    pub max_cost_per_day_per_signer: Option<Amount>,
    /// By asset as written, in its atomic units: payments of at least this amount need two nodes that agree.
    pub second_source_above: BTreeMap<String, Amount>,
    pub assets: Assets,
    pub rpc_timeout: Duration,
    /// The plain name in protocol v1, configured or known.
    pub v1_name: Option<String>,
    /// The driver's own options, an object.
    pub options: Value,
}

/// Which assets a network accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assets {
    /// The assets that the driver knows, and these.
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
    /// Libraries beside those of the operating system that it may need.
    pub libraries: Vec<String>,
    /// CAIP-2 ids; `None`: every configured network of its families.
    pub networks: Option<Vec<String>>,
    /// By name of a key in [`Config::keys`]: domain separators of 32 bytes.
    pub authorizers: BTreeMap<String, Vec<HexBytes>>,
    /// An object, not checked against the manifest's schema yet.
    pub config: Value,
    /// It runs in a process of its own; `None`: where no trusted key signed its file.
    pub is_isolated: Option<bool>,
    /// That process, also where a plugin is isolated because it ended this one.
    pub runner: RunnerSettings,
}

/// `[[tenants]]`.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The part that the HTTP API uses.
    pub access: http_api::Tenant,
    /// By CAIP-2 id: the most that this tenant's transactions may cost in a day (UTC), in native atomic units.
    pub max_cost_per_day: BTreeMap<String, Amount>,
}

/// `[limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The rate of callers without an API key.
    pub address: Rate,
    /// The rate of a tenant that says nothing else.
    pub tenant: Rate,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    pub format: log::Format,
    pub level: String,
}

/// `[telemetry]`.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Where spans and metrics are sent.
    pub endpoint: Option<otlp::Endpoint>,
    pub headers: Option<OtlpHeaders>,
    pub service_name: Option<String>,
    /// So many of a million traces that start here are recorded.
    pub sampled_per_million: u32,
    pub metrics_interval: Duration,
    /// Whether RPC nodes get `traceparent`.
    pub traceparent_to_nodes: bool,
}

/// Headers of requests to the collector, which may be secrets.
#[derive(Debug, Clone)]
pub enum OtlpHeaders {
    Written(otlp::Headers),
    File(PathBuf),
}

/// The part of a configuration that commands for a running process use: where the journal is, and the networks. Nothing else
/// is read, so that a pause works where the variables of keys and nodes are not set.
#[derive(Debug, Clone)]
pub struct CommandConfig {
    pub data_directory: PathBuf,
    /// The database of the journal; `None`: it is in the directory.
    pub postgres: Option<journal::postgres::Settings>,
    /// CAIP-2 ids, as written.
    pub networks: Vec<String>,
}

impl CommandConfig {
    /// Reads a file and checks only these parts.
    ///
    /// # Errors
    /// When the file can't be read or these parts are wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let (shown, text) = read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        build::build_for_commands(&shown, folder, &text, &|name| std::env::var(name).ok())
    }
}

/// Returns a file's name for errors, and its text.
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
    /// The settings of the HTTP API.
    #[must_use]
    pub fn http(&self) -> Settings {
        Settings {
            server: self.server.clone(),
            tenants: self.tenants.iter().map(|tenant| tenant.access.clone()).collect(),
            address_rate: self.limits.address,
            names: self.names.clone(),
            data_directory: self.data_directory.clone(),
        }
    }

    /// Reads and checks a file, with the process's environment.
    ///
    /// # Errors
    /// All errors of the file.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let (shown, text) = read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&shown, folder, &text, &|name| std::env::var(name).ok())
    }

    /// Checks a text. `file`: its name in errors. `folder`: where relative paths start.
    ///
    /// # Errors
    /// All errors of the text.
    pub fn parse(
        file: &str,
        folder: &Path,
        text: &str,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigErrors> {
        build::build(file, folder, text, environment)
    }
}
