//! What the host wants observed, and what a driver shows of transactions and blocks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Lane;
use crate::plan::{EvidenceWanted, LogFilter};
use crate::{Amount, HexBytes, StepIndex};

/// One attempt to observe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Watch {
    /// The attempt's id in the host's journal; unique in one request.
    pub attempt_id: String,
    /// The transaction's id. Empty: only the slot is watched.
    pub tx_id: String,
    /// The signer on its network.
    pub lane: Lane,
    /// The slot's number.
    pub sequence: u64,
    /// What the driver said about the transaction when it built it: [`Built::terms`](super::Built::terms), or the terms of its
    /// bid. Unordered lanes only.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub terms: Value,
    /// Searches begin one past this height.
    pub since_height: u64,
    /// Evidence of each step that the transaction carries.
    pub evidence: Vec<EvidenceWanted>,
    /// Whether to search for transactions that match `evidence.foreign`, the host's own included.
    pub search_foreign: bool,
    /// Whether to query the node for a transaction that is in no block. Without it the state is `Pending`, never
    /// `Unknown`.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub pool: bool,
    /// A block seen earlier whose status in the chain is wanted: the one that decided the step, or an anchor's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockRef>,
    /// The transaction was seen in `block`. Only whether that block is still canonical is wanted: as long as it is, the
    /// transaction has landed there, so a driver need not query the transaction itself.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub by_block: bool,
    /// Height of the block that makes final what is watched, when it may be there already. A driver may show by it that a head
    /// is more than a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_at: Option<u64>,
    /// Whether an [`Anchor`] is wanted.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub read_guards: bool,
    /// Whether `evidence.block_logs` and reads at the parent block are wanted for a transaction that landed.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub whole_block: bool,
    /// Only whether the transaction is in a block, or whether `block` is still canonical, is wanted, with as few calls as
    /// possible. As long as no block shows the transaction, the answer may be `Pending` with head height 0.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub brief: bool,
}

/// A block, named by its hash so that no other block can be meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BlockRef {
    /// EVM: the block hash. Solana: the slot, decimal.
    pub id: String,
    /// EVM: the block number. Solana: the slot.
    pub height: u64,
    /// The block's own timestamp, seconds since the epoch; 0 when unknown.
    #[serde(default)]
    pub time_s: u64,
}

/// The status of [`Watch::block`] in the chain of the node that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum BlockStands {
    /// The node has it in its chain. `depth` 1 is the head block itself.
    Canonical {
        /// Blocks from this one to the head, both counted.
        depth: u64,
    },
    /// The node has another block at its height.
    Replaced,
    /// The node shows no block at its height. This proves nothing.
    Unknown,
}

/// What the chain state shows of a step's guard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum GuardState {
    /// The step names no guard.
    #[default]
    Absent,
    /// The step has had no effect up to the block of the read.
    Unchanged,
    /// The guarded state was changed, by this step or by something else.
    Changed,
    /// The node did not give the state. This proves nothing.
    Unread,
}

/// Chain state at one named block: the lane's sequence and the guards, read from a node that has shown that block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Anchor {
    /// The block at which everything here was read.
    pub block: BlockRef,
    /// The first sequence of the lane that is unused at this block.
    pub next_sequence: u64,
    /// In the order of [`Watch::evidence`].
    pub guards: Vec<GuardState>,
    /// The reads wanted ([`crate::scheme::ReadAt::Block`]), at this block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<ReadResult>,
}

/// Answer of [`crate::ChainDriver::observe`] for one watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// As in [`Watch::attempt_id`].
    pub attempt_id: String,
    /// State of the transaction.
    pub state: TxState,
    /// Head height of the view that answered; 0: the answer to a brief watch, which shows none.
    pub head_height: u64,
    /// Logs of the transaction that match `evidence.logs`, in order.
    #[serde(default)]
    pub logs: Vec<LogEntry>,
    /// Balance changes by the transaction.
    #[serde(default)]
    pub deltas: Vec<Delta>,
    /// Results of `evidence.reads` at the transaction's block.
    #[serde(default)]
    pub reads: Vec<ReadResult>,
    /// Transactions that match `evidence.foreign`, those of the host's own signers included.
    #[serde(default)]
    pub foreign: Vec<ForeignTx>,
    /// Whether the foreign search was made and no part of it failed. An empty result proves nothing even so: nodes index
    /// logs later than state.
    #[serde(default)]
    pub foreign_searched: bool,
    /// The answer to [`Watch::block`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockStands>,
    /// Brought for [`Watch::read_guards`], and with [`TxState::SlotUsed`] and [`TxState::Reverted`] where possible. Of a
    /// reverted transaction it is its own block, or a later one when the node has forgotten that block's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
    /// The answer to [`Watch::whole_block`]: matching logs of every transaction in the block, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block_logs: Vec<LogEntry>,
    /// What the transaction cost its sender, in native atomic units: of one that landed or reverted, where the node shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee: Option<Amount>,
    /// The name of the node that answered. Set by the host, for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl Observation {
    /// An observation that shows a state and a head, and nothing else.
    #[must_use]
    pub fn of(attempt_id: impl Into<String>, state: TxState, head_height: u64) -> Self {
        Self {
            attempt_id: attempt_id.into(),
            state,
            head_height,
            logs: Vec::new(),
            deltas: Vec::new(),
            reads: Vec::new(),
            foreign: Vec::new(),
            foreign_searched: false,
            block: None,
            anchor: None,
            block_logs: Vec::new(),
            fee: None,
            node: None,
        }
    }
}

/// State of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TxState {
    /// The node does not know it.
    Unknown,
    /// Not in a block; known to the node if it was queried.
    Pending,
    /// In a block, its call succeeded. `depth` 1 is the head block itself.
    Landed {
        /// Height of its block.
        height: u64,
        /// Id of its block, as in [`BlockRef::id`].
        block: String,
        /// 1 is the head block itself.
        depth: u64,
    },
    /// In a block, its call had no effect.
    Reverted {
        /// Height of its block.
        height: u64,
        /// Id of its block, as in [`BlockRef::id`].
        block: String,
        /// 1 is the head block itself.
        depth: u64,
        /// The chain's message, if the node gave one.
        message: Option<String>,
    },
    /// Its slot is used and the node shows no receipt of it. Whether it had its effect is open: the step's guard decides.
    SlotUsed,
    /// It can't land any more; whether it has landed is open. Unordered lanes only.
    Lapsed,
    /// It has not landed and can't land any more, proven from a node that has shown its history. Unordered lanes only.
    Expired {
        /// What proves it, for the operator.
        proof: String,
    },
}

/// A log or instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Unique on the network: transaction id and position in it.
    pub id: String,
    /// EVM: the contract. Solana: the program.
    pub emitter: String,
    /// EVM: the topics, 32 bytes each.
    pub topics: Vec<HexBytes>,
    /// The data that is not in topics.
    pub data: HexBytes,
}

impl LogEntry {
    /// Whether this is a log that the filter wants. Emitters in hex are compared without regard to case.
    #[must_use]
    pub fn matches(&self, filter: &LogFilter) -> bool {
        let is_hex = filter.emitter.starts_with("0x");
        let is_same_emitter =
            self.emitter == filter.emitter || (is_hex && self.emitter.eq_ignore_ascii_case(&filter.emitter));
        let mut topics = filter.topics.iter().zip(&self.topics);
        is_same_emitter
            && filter.topics.len() <= self.topics.len()
            && topics.all(|(wanted, topic)| wanted.as_ref().is_none_or(|wanted| wanted == topic))
    }
}

/// Net change of one account in one asset by one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Delta {
    /// Unique on the network.
    pub id: String,
    /// Address of the account.
    pub account: String,
    /// Address of the asset.
    pub asset: String,
    /// Atomic units received.
    pub received: Amount,
    /// Atomic units sent.
    pub sent: Amount,
}

/// Answer to a `ReadWanted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReadResult {
    /// As in [`crate::scheme::ReadWanted::name`].
    pub name: String,
    /// `None`: the state is not available any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<HexBytes>,
}

/// A transaction that a search found: one by another sender that may have made the payment, or one of the host's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ForeignTx {
    /// The transaction's id.
    pub tx_id: String,
    /// Height of its block.
    pub height: u64,
    /// Id of its block.
    #[serde(default)]
    pub block: String,
    /// It was in a block before the host journaled its first attempt: it may explain why a step failed, and never pays a claim.
    /// Set by the host.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub earlier: bool,
    /// It used the watch's own slot: its sender is the lane's signer and its sequence is the watch's. Such a transaction is
    /// the host's own, of a journal that was lost.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub in_slot: bool,
    /// What it called, where the driver has seen that and it is not too large. Logs of a call may not show what it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<ForeignCall>,
    /// Depth of its block; 1 is the head block itself.
    pub depth: u64,
    /// Logs of it that match `evidence.logs`, in order.
    pub logs: Vec<LogEntry>,
}

/// The outermost call of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ForeignCall {
    /// The contract called, as in [`crate::scheme::Call::target`].
    pub target: String,
    /// What it was called with.
    pub data: HexBytes,
}

/// What the chain showed for one step of a plan, as [`crate::SchemeHandler::judge`] gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The step's position in the plan, counted from 0.
    pub step: StepIndex,
    /// What became of the step's attempts.
    pub shown: Shown,
    /// The attempt's transaction id.
    pub tx_id: String,
    /// Head height of the view that answered; 0: the answer to a brief watch, which shows none.
    pub head_height: u64,
    /// Logs of the transaction that match `evidence.logs`, in order.
    #[serde(default)]
    pub logs: Vec<LogEntry>,
    /// Balance changes by the transaction.
    #[serde(default)]
    pub deltas: Vec<Delta>,
    /// At the transaction's block; where no attempt landed, at the block of the guard.
    #[serde(default)]
    pub reads: Vec<ReadResult>,
    /// Transactions at the network's `confirmations` that match `evidence.foreign`, those with [`ForeignTx::earlier`] among
    /// them, none of them one of our attempts.
    #[serde(default)]
    pub foreign: Vec<ForeignTx>,
    /// The step's guard, read at or after the block in question. With [`GuardState::Changed`] a judgement must name what
    /// changed it, or is [`crate::scheme::Judgement::Unproven`].
    #[serde(default)]
    pub guard: GuardState,
    /// Logs of every transaction in the block that match `evidence.block_logs`, in order. Brought after a first judgement
    /// was `Unproven`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block_logs: Vec<LogEntry>,
    /// The transaction carries steps of other settlements too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// What became of the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Shown {
    /// In a block at the network's `confirmations`, its call succeeded.
    Landed {
        /// Height of its block.
        height: u64,
    },
    /// In a block at the network's `confirmations`, its call had no effect.
    Reverted {
        /// Height of its block.
        height: u64,
        /// The chain's message, if the node gave one.
        message: Option<String>,
    },
    /// No attempt of the step can have its effect any more.
    Dead {
        /// For the operator.
        why: String,
    },
}
