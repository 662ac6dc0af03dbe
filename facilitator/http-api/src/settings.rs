//! The settings of the HTTP API. The binary builds them from its configuration file, whose reference documents the keys
//! and their defaults.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::names::NetworkNames;
use crate::tls::Files;

/// All settings of the HTTP API.
#[derive(Debug, Clone)]
pub struct Settings {
    pub server: Server,
    /// Empty: every caller may use every path.
    pub tenants: Vec<Tenant>,
    /// The rate of callers without an API key, per address.
    pub address_rate: Rate,
    /// v1 names, including those of the configured networks.
    pub names: NetworkNames,
    /// The directory whose disk is monitored. Nothing is monitored when it does not exist.
    pub data_directory: PathBuf,
}

/// The listener and its limits: `[server]`.
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
    /// Web pages whose scripts may read `/supported` and `/health`.
    pub cors_origins: Origins,
    /// Whether scripts of those pages may also send payments.
    pub cors_payments: bool,
    pub trusted_proxies: Vec<AddressBlock>,
    /// `None`: plain HTTP.
    pub tls: Option<Files>,
}

/// A caller with API keys: `[[tenants]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub name: String,
    /// At least one.
    pub key_sha256: Vec<[u8; 32]>,
    pub scopes: BTreeSet<Scope>,
    pub rate: Rate,
    pub settle_wait: Duration,
    pub wait_until: WaitUntil,
    /// How long its payments may wait for others to share a transaction.
    pub gather: Duration,
    /// How long a verify reserves a valid payment for it at most; `None`: it reserves nothing.
    pub reserve_at_verify: Option<Duration>,
}

/// What a settle waits for, within its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitUntil {
    /// A transaction is recorded: the reply is `settlement_pending`. A caller that requests a wait gets it.
    Submitted,
    /// The chain shows the payment at the depth `confirmations`.
    Confirmed,
    /// No reorganisation can take the payment away: the depth `finality`.
    Final,
}

impl WaitUntil {
    /// The level with this name in the configuration.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "submitted" => Some(Self::Submitted),
            "confirmed" => Some(Self::Confirmed),
            "final" => Some(Self::Final),
            _ => None,
        }
    }
}

/// A path that a tenant may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Verify,
    /// Includes the schemes' own routes.
    Settle,
    Supported,
}

impl Scope {
    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Settle => "settle",
            Self::Supported => "supported",
        }
    }

    /// The scope with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Verify, Self::Settle, Self::Supported];
        all.into_iter().find(|scope| scope.name() == name)
    }
}

/// The rate of a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// 0: no limit.
    pub per_minute: u32,
    /// At least 1.
    pub burst: u32,
}

/// Origins of web pages, for CORS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    Any,
    /// Exactly as browsers send them; empty: none.
    These(Vec<String>),
}

/// Addresses with a common prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressBlock(IpNet);

impl AddressBlock {
    /// Parses `10.0.0.0/8`, or a single address such as `::1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let block = match text.parse() {
            Ok(block) => block,
            Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
        };
        Some(Self(block))
    }

    /// Whether the block contains the address. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}
