//! Chain drivers: how one family of chains carries out the steps of plans, and what the chain shows of them.

mod observe;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::observe::{
    Anchor, BlockRef, BlockStands, Delta, Evidence, ForeignCall, ForeignTx, GuardState, LogEntry,
    Observation, ReadResult, Shown, TxState, Watch,
};
use crate::host::Suite;
pub use crate::lane::Lane;
use crate::plan::Step;
use crate::{Amount, Cx, Fault, HexBytes};

/// One family of chains (the namespace of CAIP-2). Trusted code: it turns steps into signed bytes.
#[async_trait]
pub trait ChainDriver: Send + Sync + 'static {
    /// Returns whether the network can be used (right chain id, required contracts deployed, recent head), with the
    /// address of each key.
    async fn check(&self, cx: &Cx, network: &Network) -> Result<Readiness, Fault>;

    /// Returns a lane's next sequence on chain and its signer's balance.
    async fn lane(&self, cx: &Cx, lane: &Lane) -> Result<LaneState, Fault>;

    /// Returns the price to bid now; with `previous`, a price that replaces that bid.
    async fn quote(&self, cx: &Cx, lane: &Lane, previous: Option<&Bid>) -> Result<Bid, Fault>;

    /// Builds the transaction of these steps for this slot, and has the host sign it. Returns the bytes, the most that they
    /// can cost, and the steps that it left out. Fails with [`crate::FaultKind::Denied`] when a step's call differs from what
    /// the step declares. Several steps ([`Step::batchable`], of different settlements) share the transaction in such a way
    /// that a call which fails leaves the others their effect; a driver that can't do that leaves out all but the first.
    async fn build(&self, cx: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault>;

    /// Builds and signs a transaction that uses the slot and has no other effect. `Unsupported` on unordered lanes.
    async fn fill(&self, cx: &Cx, slot: &Slot, bid: &Bid) -> Result<Built, Fault>;

    /// Sends an attempt that the journal holds; the host inserts its bytes. A node's "already known" counts as accepted.
    async fn broadcast(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault>;

    /// Returns the state of each watched attempt, in the order of the watches. It gets many watches at once, so that it can
    /// read them in one batch.
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
    /// Calls to the nodes have failed since the last check. A driver that reads some things only rarely reads them again
    /// in this check.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calls_failed: bool,
    /// A complete check succeeded a short while ago. Only whether the nodes are this network's, and their head, are wanted,
    /// with as few calls as possible. Warnings may be left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub brief: bool,
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
    /// Problems that an operator should know and that do not stop the network.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Present if the network is not ready because of the node that answered: another node may pass the check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_fault: Option<NodeFault>,
}

/// Why a node that answers should not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum NodeFault {
    /// It serves another chain. Its answers are never used.
    WrongChain,
    /// It lags, its head is in the future, it is unhealthy, or it lacks what payments need. It is used only if no other
    /// node is better.
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
    /// EVM: the nonce. On unordered lanes: a number that the host chooses.
    pub sequence: u64,
    /// How many slots the step has lost to other transactions. When it is not 0, `build` simulates as with `simulate`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u32,
    /// `build` simulates the calls at the newest block before it signs, and leaves out a step whose call would fail. Several
    /// steps in one transaction are always simulated, all of them together, unless they replace a transaction.
    #[serde(default, skip_serializing_if = "is_false")]
    pub simulate: bool,
    /// How many transactions the journal holds for the slot already.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// A transaction of these steps is journaled for the slot: `build` replaces it, and leaves no step out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replaces: bool,
}

impl Slot {
    /// A slot for steps that are new.
    #[must_use]
    pub fn new(lane: Lane, sequence: u64) -> Self {
        Self {
            lane,
            sequence,
            lost: 0,
            simulate: false,
            attempt: 0,
            replaces: false,
        }
    }

    /// Whether `build` simulates one step that stands alone.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        (self.lost > 0 || self.simulate) && !self.replaces
    }
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
    /// Head height when the price was quoted.
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
    /// What the driver wants to know of this transaction when it observes it ([`Watch::terms`]), recorded with it in place of
    /// the bid's terms. `null`: the bid's terms are recorded. Ordered lanes leave it out, where a replacement's price
    /// depends on the recorded bid.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub terms: Value,
    /// With [`Uniqueness::ReplayKeys`](crate::manifest::Uniqueness::ReplayKeys): for each step in these bytes, in their order,
    /// what its decoded call uses up, 1 to 256 characters: equal for two calls of one authorization, and different for those of
    /// two. The host refuses a step whose key another claim or another step has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replay_keys: Vec<String>,
    /// Indices of steps that are not in these bytes. When all steps are left out, `bytes` and `tx_id` are empty.
    #[serde(default)]
    pub left_out: Vec<u32>,
    /// The chain's message, if a step was left out because its call would fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_fail: Option<String>,
}

impl Built {
    /// Nothing is signed: the call of the only step would fail, for this reason.
    #[must_use]
    pub fn would_fail(why: impl Into<String>) -> Self {
        Self {
            tx_id: String::new(),
            bytes: HexBytes::default(),
            max_cost: Amount::ZERO,
            terms: Value::Null,
            replay_keys: Vec::new(),
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
    /// A node has the transaction, from this send or an earlier one.
    Accepted,
    /// The slot is already used on chain. An observation shows by which transaction.
    SequenceUsed,
    /// The bid is too low for the node, or too low to replace the attempt that the node has.
    Underpriced,
    /// The signer can't pay for it.
    InsufficientFunds,
    /// The node rejects these bytes at any price.
    Rejected {
        /// The node's message.
        message: String,
    },
    /// No node answered. The transaction may or may not have reached the network.
    Unknown {
        /// Why.
        message: String,
    },
}
