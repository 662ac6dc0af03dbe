//! The driver's side: how one family of chains carries out steps, and what it shows of them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::host::Suite;
use crate::scheme::{EvidenceWanted, Step};
use crate::{Amount, Cx, Fault, HexBytes};

/// One family of chains (the namespace of CAIP-2). Trusted code: it turns steps into signed bytes.
#[async_trait]
pub trait ChainDriver: Send + Sync + 'static {
    /// Right chain id, contracts present, clock and head sane, each key's address: ready, or why not.
    async fn check(&self, cx: &Cx, network: &Network) -> Result<Readiness, Fault>;

    /// A lane's next sequence on chain and its signer's balance.
    async fn lane(&self, cx: &Cx, lane: &Lane) -> Result<LaneState, Fault>;

    /// The price to bid now; with a previous bid, the one that replaces it.
    async fn quote(&self, cx: &Cx, lane: &Lane, previous: Option<&Bid>) -> Result<Bid, Fault>;

    /// Steps to signed bytes for this slot, with the most they can cost; which steps it left out of a batch.
    /// Signs through the host. Fails with [`crate::FaultKind::Denied`] when a step's call is not what it declares.
    async fn build(&self, cx: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault>;

    /// Something harmless that consumes the slot. `Unsupported` on unordered lanes.
    async fn fill(&self, cx: &Cx, slot: &Slot, bid: &Bid) -> Result<Built, Fault>;

    /// Send an attempt that the journal holds; the host inserts its bytes. "Already known" is success.
    async fn broadcast(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault>;

    /// Where do these stand? Many at once, so that one RPC call answers for all; answers in the watches' order.
    async fn observe(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault>;
}

/// A network as the operator configured it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// CAIP-2.
    pub id: String,
    pub keys: Vec<KeyInfo>,
    /// The driver's own options for this network, as configured.
    #[serde(default)]
    pub options: Value,
}

/// A key of custody: its name and public half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeyInfo {
    pub name: String,
    pub suite: Suite,
    /// secp256k1: 65 bytes uncompressed; ed25519: 32 bytes.
    pub public_key: HexBytes,
}

/// Answer of [`ChainDriver::check`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    pub ready: bool,
    /// One sentence for the operator: what is wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Key name to signer address.
    pub addresses: BTreeMap<String, String>,
    /// Whether transactions of a signer are numbered and land in that order.
    pub ordered: bool,
    pub head_height: u64,
    /// What deserves an operator's eye and does not stop the network.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One signer on one network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Lane {
    /// CAIP-2.
    pub network: String,
    /// Address, in the driver's canonical spelling.
    pub signer: String,
    /// Name of the key in custody.
    pub key: String,
    pub ordered: bool,
}

/// Answer of [`ChainDriver::lane`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LaneState {
    /// The first sequence that no landed transaction has used; 0 on unordered lanes.
    pub next_sequence: u64,
    /// Native atomic units.
    pub balance: Amount,
    pub head_height: u64,
}

/// A place in a lane: at most one transaction lands in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    pub lane: Lane,
    /// EVM: the nonce. On unordered lanes a number of the host's own.
    pub sequence: u64,
}

/// What a transaction offers to pay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Bid {
    /// The driver's own terms.
    pub terms: Value,
    /// The head height the quote was made at.
    pub head_height: u64,
}

/// Signed bytes for a slot; nothing has been sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Built {
    /// The transaction's id on its network (EVM: hash; Solana: first signature).
    pub tx_id: String,
    pub bytes: HexBytes,
    /// The most this transaction can cost the signer, native atomic units, data fees included.
    pub max_cost: Amount,
    /// Indices of steps that are not in these bytes.
    #[serde(default)]
    pub left_out: Vec<u32>,
}

/// A journaled attempt. Its bytes stay with the host, which inserts them by this id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    pub id: String,
    pub tx_id: String,
    pub lane: Lane,
    pub sequence: u64,
}

/// Answer of [`ChainDriver::broadcast`]: what the node said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Sent {
    /// A node has it, now or before.
    Accepted,
    /// The slot is used on chain: observe.
    SequenceUsed,
    /// It bids too little to enter or to replace.
    Underpriced,
    /// The signer can't pay for it.
    InsufficientFunds,
    /// The node will not take these bytes, whatever the price.
    Rejected { message: String },
    /// No node gave an answer; it may or may not be out.
    Unknown { message: String },
}

/// One attempt to look after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Watch {
    pub attempt_id: String,
    pub tx_id: String,
    pub lane: Lane,
    pub sequence: u64,
    /// Head height when the attempt was journaled: nothing of interest is older.
    pub since_height: u64,
    pub evidence: Vec<EvidenceWanted>,
    /// Whether to search for somebody else's transaction that made the payment.
    pub search_foreign: bool,
}

/// Answer of [`ChainDriver::observe`] for one watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    pub attempt_id: String,
    pub state: TxState,
    /// Head height of the view that answered.
    pub head_height: u64,
    #[serde(default)]
    pub logs: Vec<LogEntry>,
    #[serde(default)]
    pub deltas: Vec<Delta>,
    #[serde(default)]
    pub reads: Vec<ReadResult>,
    #[serde(default)]
    pub foreign: Vec<ForeignTx>,
    /// Whether the foreign search was made and complete.
    #[serde(default)]
    pub foreign_searched: bool,
}

/// Where a transaction stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TxState {
    /// No node knows it.
    Unknown,
    /// Known and not in a block.
    Pending,
    /// In a block, its call succeeded. `depth` 1 is the head block itself.
    Landed { height: u64, block: String, depth: u64 },
    /// In a block, its call had no effect.
    Reverted {
        height: u64,
        block: String,
        depth: u64,
        message: Option<String>,
    },
    /// Another transaction has its slot; `depth` counts blocks since the slot was first seen used, at least 1.
    Superseded { by: Option<String>, depth: u64 },
    /// It can't land any more.
    Expired { proof: String },
}

/// A log or instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Unique on the network: transaction id and position in it.
    pub id: String,
    pub emitter: String,
    pub topics: Vec<HexBytes>,
    pub data: HexBytes,
}

/// Net change of one account in one asset by one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Delta {
    /// Unique on the network.
    pub id: String,
    pub account: String,
    pub asset: String,
    pub received: Amount,
    pub sent: Amount,
}

/// Answer to a `ReadWanted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReadResult {
    pub name: String,
    /// `None`: the state is not available any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<HexBytes>,
}

/// Somebody else's transaction that may have made the payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ForeignTx {
    pub tx_id: String,
    pub height: u64,
    pub depth: u64,
    pub logs: Vec<LogEntry>,
}

/// What the chain showed for one step of a plan, as [`crate::SchemeHandler::judge`] gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Index into the plan's steps.
    pub step: u32,
    pub shown: Shown,
    /// The attempt's transaction id.
    pub tx_id: String,
    pub head_height: u64,
    #[serde(default)]
    pub logs: Vec<LogEntry>,
    #[serde(default)]
    pub deltas: Vec<Delta>,
    #[serde(default)]
    pub reads: Vec<ReadResult>,
    /// Only transactions in blocks after our attempt was journaled, at the network's `confirmations`.
    #[serde(default)]
    pub foreign: Vec<ForeignTx>,
}

/// What became of the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Shown {
    /// In a block at the network's `confirmations`, its call succeeded.
    Landed { height: u64 },
    /// In a block at the network's `confirmations`, its call had no effect.
    Reverted { height: u64, message: Option<String> },
    /// It can never land: its slot went to another transaction for good, or it expired.
    Dead { why: String },
}
