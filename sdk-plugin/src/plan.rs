//! What a scheme wants done for a payment: steps, the evidence of each, and what the plan counts on.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::host::{Job, StoreWrite};
use crate::lane::Lane;
use crate::parties::Parties;
use crate::{Amount, HexBytes};

/// What must be done, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The payer's address.
    pub payer: String,
    /// At least one; exactly one has `pays`.
    pub steps: Vec<Step>,
    /// Funds of payers that this plan counts on.
    #[serde(default)]
    pub reserves: Vec<Reserve>,
    /// Signers that must stay usable after the payment.
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// Rows of the scheme's own, written in the first commit. A condition that does not hold refuses that commit: nothing
    /// starts, the caller gets a retryable answer, and the payment is planned anew then.
    #[serde(default)]
    pub writes: Vec<StoreWrite>,
    /// Scheduled in the first commit, of the plan's own scheme and network. The manifest must list `job.v1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
    /// Who sends and receives money. The host reads them before anything starts, and does not record them: the plan that
    /// [`crate::SchemeHandler::judge`] gets has none.
    #[serde(default, skip_serializing_if = "Parties::is_empty")]
    pub parties: Parties,
}

/// One transaction's worth of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The call to make.
    pub call: Call,
    /// Which signer sends it.
    pub lane: LaneChoice,
    /// What must have become of the step before it. Ignored on the first step.
    pub gate: Gate,
    /// What a failure of this step means for the later ones.
    pub on_fail: OnFail,
    /// Whether it may share a transaction with other settlements' steps.
    #[serde(default)]
    pub batchable: bool,
    /// Its logs don't tell it from other payments of the same payer: it shares a transaction with other payers' steps only.
    #[serde(default, skip_serializing_if = "crate::chain::is_false")]
    pub one_per_payer: bool,
    /// Unordered lanes: the driver makes the transaction of the call alone, and can make another one that lands although this
    /// one did not. Once all of the step's transactions are proven dead it gets another slot, twice at most, until
    /// `expires_at_s`. False for transactions that the client has signed. On ordered lanes slots that were lost are always
    /// replaced, whatever this says.
    #[serde(default, skip_serializing_if = "crate::chain::is_false")]
    pub renewable: bool,
    /// The most this step may cost the signer in native atomic units; `None`: the network's limit alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Amount>,
    /// After this second since the epoch the call can't succeed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_s: Option<u64>,
    /// What the driver must read when it observes the step.
    pub evidence: EvidenceWanted,
    /// The step whose transaction hash, outcome and release are the reply's.
    #[serde(default)]
    pub pays: bool,
    /// The scheme's own note to its [`crate::SchemeHandler::judge`].
    #[serde(default)]
    pub memo: Value,
}

/// A call in the terms of the chain's driver. The driver checks that `data` matches `target` and `operation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// EVM: the contract, lower case. Solana: the mint whose tokens move.
    pub target: String,
    /// EVM: the 4-byte selector, `0x` and 8 lower-case digits. Solana: a name of the driver's.
    pub operation: String,
    /// EVM: calldata. Client-signed chains: the client's transaction.
    pub data: HexBytes,
    /// Native currency moved by the call, atomic units.
    #[serde(default)]
    pub native_value: Amount,
    /// Compute limit (EVM: gas).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_limit: Option<u64>,
}

/// Whose transaction carries the step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum LaneChoice {
    /// Any active signer granted to the instance.
    Any,
    /// This signer, active or retained.
    Signer {
        /// In the driver's canonical form.
        address: String,
    },
    /// Bytes the client has signed; they can't be replaced.
    Foreign,
}

/// When a step may start, relative to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Gate {
    /// Once that one is journaled.
    None,
    /// Once it has landed at the network's `confirmations`.
    Confirmed,
    /// Once it is final.
    Final,
}

/// What a failed step means for the later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum OnFail {
    /// Later steps are not started.
    Stop,
    /// Later steps start as if it had succeeded.
    Continue,
}

/// What the driver must read when it observes the step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EvidenceWanted {
    /// Logs of our transaction that match any of these.
    #[serde(default)]
    pub logs: Vec<LogFilter>,
    /// Contract reads at the block of our transaction.
    #[serde(default)]
    pub reads: Vec<ReadWanted>,
    /// Logs by which the transaction is found that changed the guard: one of the host's when no receipt shows it, another
    /// sender's that made the same payment, or one that cancelled it. Transactions with a match are reported whole, filtered
    /// by `logs`.
    #[serde(default)]
    pub foreign: Vec<LogFilter>,
    /// Chain state that changes permanently when the step has its effect. A step without a guard never changes its slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
    /// Logs of the whole block of our transaction, for steps that share a block with others on the same payment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block_logs: Vec<LogFilter>,
}

/// Chain state that tells whether a step has had its effect. Once changed it never returns to `unchanged`; so a read at any
/// later block that still shows `unchanged` proves the same for every block before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Guard {
    /// EVM: an `eth_call`, named by `target` and `data`.
    pub read: ReadWanted,
    /// Bits of the result that count. As long as the result.
    pub mask: HexBytes,
    /// The masked result before the step's effect.
    pub unchanged: HexBytes,
}

impl Guard {
    /// Whether a result still is what it was before the step; `None` when it is no result of this read.
    #[must_use]
    pub fn is_unchanged(&self, result: &[u8]) -> Option<bool> {
        let (mask, unchanged) = (self.mask.as_ref(), self.unchanged.as_ref());
        if result.len() != mask.len() || unchanged.len() != mask.len() {
            return None;
        }
        let masked = result.iter().zip(mask).map(|(byte, mask)| byte & mask);
        Some(masked.eq(unchanged.iter().copied()))
    }

    /// Whether the guard can distinguish the two states.
    ///
    /// # Errors
    /// A message that names the defect.
    pub fn check(&self) -> Result<(), &'static str> {
        let (mask, unchanged) = (self.mask.as_ref(), self.unchanged.as_ref());
        if mask.len() != unchanged.len() {
            return Err("a guard's mask and unchanged value differ in length");
        }
        if mask.iter().all(|byte| *byte == 0) {
            return Err("a guard's mask selects no bit");
        }
        if mask.iter().zip(unchanged).any(|(mask, value)| value & !mask != 0) {
            return Err("a guard's unchanged value has bits outside its mask");
        }
        Ok(())
    }
}

/// Matches logs by emitter and leading topics; `null` matches any topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogFilter {
    /// EVM: the contract, lower case. Solana: the program.
    pub emitter: String,
    /// By position; may be fewer than the log has.
    #[serde(default)]
    pub topics: Vec<Option<HexBytes>>,
}

/// A read at the block of the step's transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReadWanted {
    /// Unique within the step; names the result.
    pub name: String,
    /// EVM: the contract.
    pub target: String,
    /// EVM: the calldata of an `eth_call`.
    pub data: HexBytes,
    /// Without it the step stays unproven; an optional one may be missing (pruned state).
    pub required: bool,
    /// Which state is read.
    #[serde(default)]
    pub at: ReadAt,
}

/// The state that a read is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ReadAt {
    /// After the block of the step's transaction.
    #[default]
    Block,
    /// Before that block. Brought together with `block_logs` only.
    Parent,
}

/// Funds of the payer that this plan counts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Reserve {
    /// Address of the asset.
    pub asset: String,
    /// Address of the payer.
    pub payer: String,
    /// Atomic units that this plan needs.
    pub amount: Amount,
    /// What the payer had at `as_of_height`.
    pub available: Amount,
    /// Height at which `available` was read, or a lower one.
    pub as_of_height: u64,
    /// The reason that answers a payment for which not enough is left.
    pub refusal_reason: String,
}

/// A signer that must stay usable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Address of the signer.
    pub signer: String,
    /// Seconds since the epoch.
    pub until_s: u64,
}

impl Lane {
    /// The choice of this lane's signer.
    #[must_use]
    pub fn choice(&self) -> LaneChoice {
        LaneChoice::Signer {
            address: self.signer.clone(),
        }
    }
}
