//! What the host does for plugins: the only way to the outside world.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Fault, HexBytes};

/// Host services, called on behalf of the call `call` (0 where none is being served). Implemented by the host itself,
/// by the ABI bridge inside a plugin file, and by the test kit.
#[async_trait]
pub trait HostServices: Send + Sync + 'static {
    /// `rpc.v1`: one round trip to a network's nodes. A batch counts as one.
    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault>;
    /// `sign.v1`: a signature by a key of custody, where the operation being served allows it.
    async fn sign(&self, call: u64, request: SignRequest) -> Result<Signature, Fault>;
    /// `store.v1`: rows of this plugin.
    async fn store(&self, call: u64, request: StoreRequest) -> Result<StoreResponse, Fault>;
    /// `job.v1`: run this later.
    async fn job(&self, call: u64, request: JobRequest) -> Result<(), Fault>;
    /// `sleep.v1`: host time passes.
    async fn sleep(&self, call: u64, millis: u64) -> Result<(), Fault>;
    /// Nanoseconds since the epoch: the only clock verification may use.
    fn now_unix_ns(&self) -> u64;
    /// Structured log; `fields` is an object or `Null`.
    fn log(&self, call: u64, level: Level, target: &str, message: &str, fields: &Value);
    /// Counter add, gauge set or histogram observe. Label sets must be bounded.
    fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &BTreeMap<String, String>);
}

/// Log level, as numbered in the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
    Trace = 5,
}

/// Metric kind, as numbered in the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

/// A JSON-RPC call. Its method must be on the family's read list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RpcCall {
    pub method: String,
    pub params: Value,
}

/// Request of `rpc.v1`: either reads, or one send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RpcRequest {
    /// Sent as one JSON-RPC batch (a lone call as itself) to one node; another node takes over when it fails.
    Read { network: String, calls: Vec<RpcCall> },
    /// The same reads by two different nodes, for answers that prove that something can never happen any more. Where
    /// the network has one node, that one alone answers; where it has more and no two answer, the request fails. One
    /// set of results stands behind the other.
    Compare { network: String, calls: Vec<RpcCall> },
    /// Only within `chain.broadcast`, for the attempt being served. `params` holds the string `$bytes` where the
    /// host inserts the journaled bytes in `encoding`. Nodes are tried in sequence until one accepts.
    Send {
        network: String,
        attempt_id: String,
        method: String,
        params: Value,
        encoding: SendEncoding,
    },
}

/// How the host writes an attempt's bytes into a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum SendEncoding {
    /// `0x` hex.
    Hex,
    Base64,
}

/// Response of `rpc.v1`: one result per call of a read, the same of each node compared, or one per node that answered a
/// send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RpcResponse {
    pub results: Vec<RpcResult>,
}

/// A node's answer. Transport trouble is a fault of the whole request, never one of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum RpcResult {
    Ok(Value),
    Error(RpcError),
}

/// A JSON-RPC error object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RpcError {
    pub code: i64,
    pub message: String,
    #[serde(default)]
    pub data: Value,
}

/// Signature suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// ECDSA over a 32-byte digest; RFC 6979, low s.
    Secp256k1,
    /// RFC 8032 over the message.
    Ed25519,
}

/// Request of `sign.v1`. Allowed inside `chain.build` and `chain.fill`, for the key of the slot's lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignRequest {
    /// Name of the key.
    pub key: String,
    pub suite: Suite,
    /// secp256k1: a 32-byte digest. ed25519: the message.
    pub message: HexBytes,
}

/// Response of `sign.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Signature {
    /// secp256k1: r, s and the recovery id (0 or 1), 65 bytes. ed25519: 64 bytes.
    pub signature: HexBytes,
}

/// Request of `store.v1`. Keys are the plugin's own; other plugins can't see them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StoreRequest {
    Get {
        key: String,
    },
    /// Rows whose key begins with `prefix`, in key order, behind `after`; at most `limit` (up to 1,000).
    Scan {
        prefix: String,
        after: Option<String>,
        limit: u32,
    },
    /// All or nothing.
    Write {
        writes: Vec<StoreWrite>,
    },
}

/// One conditional write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StoreWrite {
    pub key: String,
    /// `Null` deletes the row.
    pub value: Value,
    #[serde(default)]
    pub condition: StoreCondition,
    /// Milliseconds since the epoch after which the row is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

/// What must hold of a row for a write to happen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum StoreCondition {
    #[default]
    Always,
    Absent,
    Equals {
        value: Value,
    },
}

/// A row of the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoreRow {
    pub key: String,
    pub value: Value,
}

/// Response of `store.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum StoreResponse {
    Rows {
        rows: Vec<StoreRow>,
    },
    Written,
    /// This key's condition did not hold; nothing was written.
    Conflict {
        key: String,
    },
}

/// A job to be handed to [`crate::SchemeHandler::job`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Unique per plugin: asking again with the same id replaces the job.
    pub id: String,
    pub scheme: String,
    /// CAIP-2.
    pub network: String,
    pub kind: String,
    #[serde(default)]
    pub payload: Value,
    /// Milliseconds since the epoch.
    pub run_at_ms: u64,
}

/// Request of `job.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum JobRequest {
    Schedule { job: Job },
    Cancel { id: String },
}
