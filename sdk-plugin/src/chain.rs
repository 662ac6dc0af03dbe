//! The driver's side: how one family of chains carries out steps, and what it shows of them.

mod observe;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::observe::{
    Anchor, BlockRef, BlockStands, Delta, Evidence, ForeignTx, GuardState, LogEntry, Observation, ReadResult,
    Shown, TxState, Watch,
};
use crate::host::Suite;
pub use crate::lane::Lane;
use crate::plan::Step;
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

    /// Builds and signs the steps for this slot. Returns the bytes, the most they can cost and the steps that it left out of a batch.
    /// Signs through the host. Fails with [`crate::FaultKind::Denied`] when a step's call is not what it declares.
    async fn build(&self, cx: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault>;

    /// Something harmless that consumes the slot. `Unsupported` on unordered lanes.
    async fn fill(&self, cx: &Cx, slot: &Slot, bid: &Bid) -> Result<Built, Fault>;

    /// Send an attempt that the journal holds; the host inserts its bytes. "Already known" is success.
    async fn broadcast(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault>;

    /// The state of each watched attempt, in the order of the watches. Many at once, so that one RPC call serves all of them.
    async fn observe(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault>;
}

/// A network as the operator configured it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// CAIP-2.
    pub id: String,
    /// Keys that the operator assigned to the network.
    pub keys: Vec<KeyInfo>,
    /// The driver's own options for this network, as configured.
    #[serde(default)]
    pub options: Value,
    /// Calls to the nodes have failed since the last check: what a driver reads only now and then has to be read again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calls_failed: bool,
}

/// A key of custody: its name and public half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeyInfo {
    /// Name in the host's custody.
    pub name: String,
    /// Signature suite.
    pub suite: Suite,
    /// secp256k1: 65 bytes uncompressed; ed25519: 32 bytes.
    pub public_key: HexBytes,
}

/// Answer of [`ChainDriver::check`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether new payments may use the network.
    pub ready: bool,
    /// One sentence for the operator: what is wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Key name to signer address.
    pub addresses: BTreeMap<String, String>,
    /// Whether transactions of a signer are numbered and land in that order.
    pub ordered: bool,
    /// Height of the head block that the check read.
    pub head_height: u64,
    /// What deserves an operator's eye and does not stop the network.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Where not ready because of the node that answered: another one may do better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_fault: Option<NodeFault>,
}

/// What is wrong with what a node serves, though it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum NodeFault {
    /// It serves another chain. Its answers are never used.
    WrongChain,
    /// It lags, is ahead of all clocks, is unhealthy, or lacks what payments need. Used only where no other node is better.
    Behind,
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
    /// Height of the block at which this was read, or a lower one.
    pub head_height: u64,
}

/// A slot of a lane: at most one transaction lands in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// The signer on its network.
    pub lane: Lane,
    /// EVM: the nonce. On unordered lanes a number of the host's own.
    pub sequence: u64,
    /// Slots that the step has lost to other transactions. When it is not 0, `build` simulates the call at the newest block
    /// before it signs, and leaves out a step whose call would fail.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

pub(crate) fn is_false(flag: &bool) -> bool {
    !*flag
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
    /// The signed transaction, as it is sent.
    pub bytes: HexBytes,
    /// The most this transaction can cost the signer, native atomic units, data fees included.
    pub max_cost: Amount,
    /// Indices of steps that are not in these bytes. When all steps are left out, `bytes` and `tx_id` are empty.
    #[serde(default)]
    pub left_out: Vec<u32>,
    /// Why steps were left out whose call would fail: the chain's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_fail: Option<String>,
}

impl Built {
    /// Nothing is signed, because the only step's call would fail.
    #[must_use]
    pub fn would_fail(why: impl Into<String>) -> Self {
        Self {
            tx_id: String::new(),
            bytes: HexBytes::default(),
            max_cost: Amount::ZERO,
            left_out: vec![0],
            would_fail: Some(why.into()),
        }
    }
}

/// A journaled attempt. Its bytes stay with the host, which inserts them by this id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Unique in the host's journal.
    pub id: String,
    /// The transaction's id, as in [`Built::tx_id`].
    pub tx_id: String,
    /// The signer on its network.
    pub lane: Lane,
    /// The slot's number, as in [`Slot::sequence`].
    pub sequence: u64,
}

/// Answer of [`ChainDriver::broadcast`]: the nodes' reply.
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
    Rejected {
        /// The node's message.
        message: String,
    },
    /// No node gave an answer; it may or may not be out.
    Unknown {
        /// Why.
        message: String,
    },
}
