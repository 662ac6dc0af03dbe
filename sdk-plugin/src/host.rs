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
    /// An operator has to act.
    Error = 1,
    /// Something is wrong and handled.
    Warn = 2,
    /// A normal event of interest.
    Info = 3,
    /// Details for developers.
    Debug = 4,
    /// Every step.
    Trace = 5,
}

/// Metric kind, as numbered in the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Adds `value`, 0 or more.
    Counter = 0,
    /// Sets the value.
    Gauge = 1,
    /// Observes one value.
    Histogram = 2,
}

/// A JSON-RPC call. Its method must be on the family's read list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RpcCall {
    /// Name of the method.
    pub method: String,
    /// Parameters; usually an array.
    pub params: Value,
}

/// Request of `rpc.v1`: either reads, or one send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RpcRequest {
    /// Sent as one JSON-RPC batch (a lone call as itself) to one node; another node takes over when it fails.
    Read {
        /// CAIP-2.
        network: String,
        /// In the order of the results.
        calls: Vec<RpcCall>,
    },
    /// The same reads by two different nodes, for answers that prove that something can never happen any more. Where
    /// the network has one node, that one alone answers; where it has more and no two answer, the request fails. The
    /// second node's results follow the first one's.
    Compare {
        /// CAIP-2.
        network: String,
        /// In the order of each node's results.
        calls: Vec<RpcCall>,
    },
    /// Only within `chain.broadcast`, for the attempt being served. `params` holds the string `$bytes` where the
    /// host inserts the journaled bytes in `encoding`. Nodes are tried in sequence until one accepts.
    Send {
        /// CAIP-2.
        network: String,
        /// The attempt being served.
        attempt_id: String,
        /// On the family's list of methods that send.
        method: String,
        /// Holds the string `$bytes`.
        params: Value,
        /// How the host writes the bytes.
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
    /// RFC 4648 with padding.
    Base64,
}

/// Response of `rpc.v1`: one result per call of a read, the same of each node compared, or one per node that answered a
/// send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RpcResponse {
    /// In the order of the calls; of a comparison, one node's results after the other's.
    pub results: Vec<RpcResult>,
}

/// A node's answer. A transport error is a fault of the whole request, never one of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum RpcResult {
    /// The `result` member.
    Ok(Value),
    /// The `error` member.
    Error(RpcError),
}

/// A JSON-RPC error object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RpcError {
    /// The JSON-RPC code.
    pub code: i64,
    /// The node's message, as sent.
    pub message: String,
    /// The node's `data` member; `Null` without one.
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

/// Request of `sign.v1`. Allowed inside `chain.build` and `chain.fill`, for the key of the slot's lane; with `typed` inside
/// `x402.plan`, for the keys in [`CallContext::authorizers`](crate::CallContext::authorizers).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignRequest {
    /// Name of the key.
    pub key: String,
    /// Suite of that key.
    pub suite: Suite,
    /// secp256k1: a 32-byte digest. ed25519: the message.
    pub message: HexBytes,
    /// The unsigned transaction, as the chain has it: what `message` is the digest of, or the same as `message`. A signer that
    /// is not in the host's process decodes it, to apply its own policy. Empty from drivers that do not show it.
    #[serde(default, skip_serializing_if = "HexBytes::is_empty")]
    pub unsigned: HexBytes,
    /// It is no transaction that is signed: `message` must be the digest of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<TypedData>,
}

/// Typed data (EIP-712), which a contract reads. Its digest is keccak256 of the bytes 0x19 and 0x01, the domain separator and
/// the hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TypedData {
    /// The domain separator, 32 bytes.
    pub domain: HexBytes,
    /// `hashStruct` of the message, 32 bytes.
    pub struct_hash: HexBytes,
}

/// A key that an instance may sign typed data with: secp256k1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Authorizer {
    /// Name of the key.
    pub key: String,
    /// Uncompressed, 65 bytes.
    pub public_key: HexBytes,
    /// The domain separators, 32 bytes each, that the operator has granted.
    pub domains: Vec<HexBytes>,
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
    /// One row.
    Get {
        /// The row's key.
        key: String,
    },
    /// Rows whose key begins with `prefix`, in key order, after `after`; at most `limit` (up to 1,000).
    Scan {
        /// Start of the keys.
        prefix: String,
        /// The last key of the previous page.
        after: Option<String>,
        /// Most rows of the response.
        limit: u32,
    },
    /// All or nothing.
    Write {
        /// All of them happen, or none.
        writes: Vec<StoreWrite>,
    },
}

/// One conditional write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StoreWrite {
    /// The row's key.
    pub key: String,
    /// `Null` deletes the row.
    pub value: Value,
    /// What must hold of the row before the write.
    #[serde(default)]
    pub condition: StoreCondition,
    /// Milliseconds since the epoch after which the row no longer exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

/// What must hold of a row for a write to happen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum StoreCondition {
    /// Nothing must hold.
    #[default]
    Always,
    /// There is no such row.
    Absent,
    /// The row has this value.
    Equals {
        /// The value to compare.
        value: Value,
    },
}

/// A row of the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoreRow {
    /// The row's key.
    pub key: String,
    /// Any JSON but `null`.
    pub value: Value,
}

/// Response of `store.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum StoreResponse {
    /// Response to a get or scan: the rows found, in key order.
    Rows {
        /// A get has one row at most.
        rows: Vec<StoreRow>,
    },
    /// All writes happened.
    Written,
    /// This key's condition did not hold; nothing was written.
    Conflict {
        /// The first key whose condition did not hold.
        key: String,
    },
}

/// A job for [`crate::SchemeHandler::job`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Unique per plugin: scheduling the same id again replaces the job.
    pub id: String,
    /// The scheme that handles the job.
    pub scheme: String,
    /// CAIP-2.
    pub network: String,
    /// What the scheme calls this kind of job.
    pub kind: String,
    /// The scheme's own data.
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
    /// Runs the job at its time, or changes a job with the same id.
    Schedule {
        /// The job.
        job: Job,
    },
    /// Forgets a job; an unknown id is no error.
    Cancel {
        /// The job's id.
        id: String,
    },
}
