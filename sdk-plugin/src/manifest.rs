//! What a plugin declares about itself. The host reads it from the file before it runs any of the plugin's code.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Fault;

/// The manifest: JSON in the plugin file's own section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Never changes, reverse-domain or plain: `[a-z0-9._-]{1,64}`. Rows and claims are kept under it.
    pub id: String,
    /// Semantic version of the plugin.
    pub version: String,
    /// The ABI that the file was built for.
    pub abi: Abi,
    /// One line about the plugin.
    pub description: String,
    /// SPDX expression.
    pub licence: String,
    /// Drivers in the file.
    #[serde(default)]
    pub drivers: Vec<DriverRole>,
    /// Schemes in the file.
    #[serde(default)]
    pub schemes: Vec<SchemeRole>,
    /// Host services it needs: `rpc.v1`, `sign.v1`, `store.v1`, `job.v1`, `sleep.v1`.
    #[serde(default)]
    pub services: Vec<String>,
    /// JSON schema of the instance's configuration.
    pub config_schema: Value,
    /// Largest message in bytes, where 1 MiB is not enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<u32>,
}

impl Manifest {
    /// Parses the text of a manifest.
    ///
    /// # Errors
    /// It is not a manifest: a defect of the plugin file.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        serde_json::from_str(text).map_err(|error| Fault::internal(format!("manifest: {error}")))
    }

    /// Network and asset of every known asset of the manifest's drivers.
    #[must_use]
    pub fn known_assets(self) -> Vec<(String, String)> {
        let known = self.drivers.into_iter().flat_map(|role| role.known_assets);
        known.map(|known| (known.network, known.asset)).collect()
    }
}

/// ABI the plugin was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Abi {
    /// Major version; must be the host's.
    pub major: u16,
    /// Minor version; a host of an earlier one may load the file.
    pub minor: u16,
}

/// A chain driver in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DriverRole {
    /// CAIP-2 namespace: `eip155`.
    pub family: String,
    /// Suite of the keys that sign its transactions.
    pub suite: crate::host::Suite,
    /// JSON-RPC methods that schemes and this driver may read with.
    pub rpc_reads: Vec<String>,
    /// JSON-RPC methods that send an attempt.
    pub rpc_sends: Vec<String>,
    /// What keeps one authorization from being used by two transactions.
    #[serde(default, skip_serializing_if = "Uniqueness::is_none")]
    pub uniqueness: Uniqueness,
    /// Assets that are allowed without configuration.
    #[serde(default)]
    pub known_assets: Vec<KnownAsset>,
    /// JSON schema of a network's `options`: the host checks them against it before any code of the plugin runs, and
    /// quotes its descriptions in error messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options_schema: Option<Value>,
    /// Form of the part of a network's id after the colon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_form: Option<TextForm>,
    /// Form in which an operator writes an asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_form: Option<TextForm>,
}

/// What keeps one authorization from being used by two transactions, whatever a scheme says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Uniqueness {
    /// Nothing. The host serves the schemes of trusted plugins only.
    #[default]
    None,
    /// The chain or its contracts refuse the second one: by a nonce of the authorization, or the id of what the client signed.
    Chain,
    /// `chain.build` names each call's authorization ([`crate::chain::Built::replay_keys`]), and the host lets one claim have
    /// it.
    ReplayKeys,
}

impl Uniqueness {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// How a text is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TextForm {
    /// Regular expression (ECMA-262, as in JSON schema) over the whole text: begin it with `^` and end it with `$`.
    pub pattern: String,
    /// Completes the sentence "write …": `the chain id in decimal digits`.
    pub description: String,
    /// A text that fits.
    pub example: String,
}

/// An asset known to the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KnownAsset {
    /// CAIP-2.
    pub network: String,
    /// In the driver's canonical form.
    pub asset: String,
    /// Ticker, for people.
    pub symbol: String,
}

/// A scheme in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SchemeRole {
    /// Name of the scheme on the wire.
    pub scheme: String,
    /// CAIP-2 namespace.
    pub family: String,
    /// Protocol versions: 1, 2.
    pub versions: Vec<u8>,
    /// Whether it defines routes under `/{scheme}/`.
    #[serde(default)]
    pub routes: bool,
    /// Paths after `/{scheme}` of its routes that are about no particular network, such as `/accounts`; one that ends with `/*`
    /// stands for everything below it. Their calls get a network with an empty id, and can't read from a chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes_without_network: Vec<String>,
    /// Names of HTTP headers that its routes get, in lower case. Never those that carry credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route_headers: Vec<String>,
    /// Calls that its plans make. An operator can narrow, never widen, them.
    pub calls: Vec<Grant>,
    /// Whether a payload authorizes one payment: the host settles equal payloads under one claim only, whatever `identify`
    /// says. `false`: the payload is one of several things that name a payment, and the requirements count too.
    #[serde(default = "authorizes", skip_serializing_if = "is_authorized")]
    pub payload_authorizes: bool,
}

fn authorizes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_authorized(authorizes: &bool) -> bool {
    *authorizes
}

/// HTTP headers that no scheme gets: they carry credentials of the caller, or what only the next hop may read.
pub const SECRET_HEADERS: [&str; 6] = [
    "authorization",
    "cookie",
    "forwarded-authorization",
    "proxy-authorization",
    "x-api-key",
    "x-forwarded-authorization",
];

/// Permission for a plan to call one kind of thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// An address; or `asset`: any asset allowed on the network; or `payer`: the plan's payer; or `config:` and a path into the instance's
    /// configuration, names with dots between them, `*` for each element of a list or each value of a table
    /// (`config:deployments.*.escrow`): every text found there, which the operator grants by writing it. Hex is compared
    /// in lower case, so plans write it so; other spellings are compared as they are.
    pub target: String,
    /// EVM: 4-byte selectors. Solana: the driver's names of operations.
    pub operations: Vec<String>,
    /// The call must be the client's own transaction ([`LaneChoice::Foreign`](crate::scheme::LaneChoice::Foreign)): no signer of
    /// the host makes it.
    #[serde(default, skip_serializing_if = "crate::chain::is_false")]
    pub client_signed: bool,
    /// The most native currency that one such call may move: `config:` and a path into the instance's configuration, where
    /// `{network}` stands for the network's CAIP-2 id. What the operator writes there, a decimal string of atomic units, is the
    /// limit; without it, and where nothing is written, the calls move none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_native_value: Option<String>,
}

/// The target that means the plan's payer.
pub const PAYER: &str = "payer";

/// The target that means any asset allowed on the network.
pub const ANY_ASSET: &str = "asset";

/// The path of a target that points into the instance's configuration.
#[must_use]
pub fn config_path(target: &str) -> Option<&str> {
    target.strip_prefix("config:")
}
