//! Rows of the projection.

mod cost;
mod job;

pub use cost::{CostRow, SpareCostRow, SpentRow};
pub use job::JobRow;

use sdk_plugin::chain::Lane;
use sdk_plugin::scheme::{PaidReply, Refusal};
use sdk_plugin::{Amount, ProtocolVersion, StepIndex};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The first number of a slot for a transaction that a client has signed and that is sent beside a signer's own ones. Such slots
/// belong to the signer's lane, and have no order: they use none of its sequences, which never get this high.
pub const CLIENT_SIGNED_FROM: u64 = 1 << 52;

/// Whether a slot with this number is for a transaction that a client has signed.
#[must_use]
pub fn is_client_signed(sequence: u64) -> bool {
    sequence >= CLIENT_SIGNED_FROM
}

/// One settlement of a claim: its terms, its progress, its outcome, and which caller got it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettlementRow {
    /// Never used for another settlement or attempt.
    pub id: u64,
    /// Plugin, network and the scheme's claim key.
    pub claim: String,
    /// 0 for the first; a failed or repeatable claim reopens with the next number.
    pub generation: u32,
    /// Id in the plugin's manifest.
    pub plugin: String,
    /// The scheme's name, as in the payment requirements.
    pub scheme: String,
    /// The protocol version of the request that opened it.
    pub version: ProtocolVersion,
    /// CAIP-2.
    pub network: String,
    /// The tenant whose request opened it; `None`: a facilitator without tenants.
    pub tenant: Option<String>,
    /// Hash over the scheme's fingerprint and the tenant.
    pub fingerprint: String,
    /// Canonical digest of what the payer signed, from the scheme.
    pub digest: String,
    /// Hash over the opener's request: finds the settlement when its plugin can't identify the request.
    #[serde(default)]
    pub request: String,
    /// Hash over scheme, network and payload, without the plugin's word: no other claim is opened with the same one. Empty for
    /// jobs and for operations by a route, and in rows of an earlier version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub payload: String,
    /// The scheme's reason for a caller that presents the payment again.
    pub replay_reason: String,
    /// Seconds since the epoch.
    pub replayable_until_s: Option<u64>,
    /// The payer's address.
    pub payer: String,
    /// What no other open settlement may use: a nonce of the payer, for example.
    pub conflict_keys: Vec<String>,
    /// What callers name it by; see [`Journal::reference`](crate::Journal::reference). Empty in rows of an earlier version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
    /// `payTo` of the requirements. Empty in rows of an earlier version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pay_to: String,
    /// The asset of the requirements. Empty in rows of an earlier version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asset: String,
    /// The amount of the requirements, in atomic units of the asset; `None` in rows of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// The `Idempotency-Key` of the request that opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// When the last of its steps expires, seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_s: Option<u64>,
    /// Signer of the lane whose owner continues the settlement, where several nodes share the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// It was opened for the owner of that lane, which has put no step into a slot yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub handed_over: bool,
    /// Milliseconds since the epoch.
    pub opened_at_ms: u64,
    /// When it changed last, milliseconds since the epoch; 0 in rows of an earlier version.
    #[serde(default)]
    pub updated_at_ms: u64,
    /// A high-value payment: two nodes must show the same before anything is decided.
    #[serde(default)]
    pub second_source: bool,
    /// In the order of the plan.
    pub steps: Vec<StepRow>,
    /// What the chain shows, as far as it is decided.
    pub outcome: Outcome,
    /// The caller that got `success`; `None`: no caller yet.
    pub release: Option<Release>,
    /// The paying step's newest attempt, or the first step's while the paying one has none: what `settlement_pending`
    /// names.
    pub tx_id: Option<String>,
    /// Every step is final and the outcome is decided: the settlement is no longer observed.
    pub finished: bool,
    /// The journal may be an old copy: a caller may have got `success` already, so no caller gets it until the
    /// operator allows it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub withheld: bool,
    /// What its transactions cost, those without effect included: at most one for each slot. Nothing in rows of an earlier
    /// version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub costs: Vec<CostRow>,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl SettlementRow {
    /// Records a step's newest transaction if it is the one for callers: the paying step's, or the first step's while
    /// the paying one has none.
    pub fn note_tx_id(&mut self, step: StepIndex, tx_id: &str) {
        let pays = step.of(&self.steps).is_some_and(|step| step.pays);
        let none_pays_yet = self
            .steps
            .iter()
            .any(|step| step.pays && step.state == StepState::Waiting);
        if pays || (step == StepIndex::FIRST && none_pays_yet) {
            self.tx_id = Some(tx_id.to_owned());
        }
    }

    /// Whether nothing more will happen in any step, at `confirmations`.
    #[must_use]
    pub fn steps_ended(&self) -> bool {
        self.steps.iter().all(|step| match step.state {
            StepState::Done { .. } | StepState::Failed { .. } | StepState::Skipped => true,
            StepState::Waiting | StepState::InSlot { .. } | StepState::Unexplained { .. } => false,
        })
    }

    /// Whether no reorganisation can take the payment away any more.
    #[must_use]
    pub fn paid_is_final(&self) -> bool {
        let paying = self.steps.iter().find(|step| step.pays);
        self.finished || paying.is_none_or(|step| step.is_final)
    }

    /// Whether its conflict keys are still needed: a step may yet be sent, or an attempt may yet have its effect.
    #[must_use]
    pub fn holds_keys(&self) -> bool {
        self.steps.iter().any(|step| match step.state {
            StepState::Waiting | StepState::InSlot { .. } => true,
            StepState::Done { .. }
            | StepState::Failed { .. }
            | StepState::Skipped
            | StepState::Unexplained { .. } => false,
        })
    }
}

/// The progress of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// How far it is.
    pub state: StepState,
    /// Whether this is the step that pays: exactly one does.
    pub pays: bool,
    /// The transaction that decided it is at the network's finality.
    pub is_final: bool,
    /// What the decision rests on, as long as a reorganisation can still undo it.
    #[serde(default)]
    pub ground: Option<Ground>,
}

/// Where on the chain the transaction is that decided a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// Id of the attempt.
    pub attempt: u64,
    /// The block or the proof.
    pub at: GroundAt,
    /// Height of the highest block that the decision rests on.
    pub height: u64,
    /// The foreign transaction that made the payment; `at` is its block.
    #[serde(default)]
    pub foreign: Option<String>,
    /// Nodes showed our transaction as reverted in this block: a success in the same block proves that to be wrong. Not known
    /// for decisions of an earlier version.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reverted: bool,
}

/// What a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroundAt {
    /// The block with this id.
    Block(String),
    /// No block: it is proven that no attempt can have its effect; the proof, for people.
    Dead(String),
}

/// State of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepState {
    /// It has no transaction and may get one.
    Waiting,
    /// All its attempts are in this slot.
    InSlot {
        /// The signer's sequence of transactions.
        lane: Lane,
        /// The slot's number in its lane.
        sequence: u64,
    },
    /// It had its effect.
    Done {
        /// The transaction that had the effect.
        tx_id: String,
        /// Height of its block.
        height: u64,
    },
    /// It had no effect and is not sent again.
    Failed {
        /// Why, for people.
        reason: String,
    },
    /// It is not needed.
    Skipped,
    /// Its slot is used at a final block and its guard was changed by a transaction that no node has shown yet. The
    /// step is never sent again, and holds neither slot nor conflict key.
    Unexplained {
        /// Height of the block at which the guard was read.
        height: u64,
    },
}

/// The state of a settlement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing is decided.
    Open,
    /// The chain shows the payment.
    Paid(PaidRow),
    /// It is proven that it did not pay.
    Failed {
        /// The scheme's reason for the caller.
        refusal: Refusal,
        /// Id of the failed transaction; empty if none landed.
        tx_id: String,
        /// Why it can't pay any more, for operators.
        proof: String,
    },
    /// A caller got `success`, and it is proven that the payment is gone from the chain.
    Reversed {
        /// The transaction that is gone.
        tx_id: String,
        /// Why it can't come back, for operators.
        proof: String,
        /// The scheme's reason; absent in rows of an earlier version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refusal: Option<Refusal>,
    },
}

/// A payment that the chain shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaidRow {
    /// The paying transaction's id on its chain.
    pub tx_id: String,
    /// Block height, or 0 where no transaction was needed.
    pub height: u64,
    /// Evidence: what shows on the chain that this claim is paid. An item pays one claim only.
    pub items: Vec<String>,
    /// The scheme's answer for the caller.
    pub reply: PaidReply,
    /// Whether the claim may be opened again after this payment.
    pub repeatable: bool,
}

/// Which caller got `success`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Distinguishes it from every other release, also of the same settlement; 0 in rows of an earlier version.
    #[serde(default)]
    pub number: u64,
    /// The tenant of the caller.
    pub tenant: Option<String>,
    /// The caller's `Idempotency-Key`, if it sent one.
    pub idempotency_key: Option<String>,
    /// The HTTP body, for a byte-identical replay.
    pub body: String,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
}

/// Why a release is withheld.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithheldRow {
    /// For operators.
    pub why: String,
    /// Since when, milliseconds since the epoch.
    pub at_ms: u64,
}

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptKind {
    /// Carries the steps it covers.
    Steps,
    /// Harmless; its landing proves that the steps it covers can't land in this slot.
    Fill,
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Never used for another attempt or settlement.
    pub id: u64,
    /// The network and signer that send it.
    pub lane: Lane,
    /// The slot's number in its lane.
    pub sequence: u64,
    /// The transaction's id on its chain.
    pub tx_id: String,
    /// Whether it carries steps or fills a slot.
    pub kind: AttemptKind,
    /// Settlement and step.
    pub covers: Vec<(u64, StepIndex)>,
    /// Native atomic units.
    pub max_cost: Amount,
    /// The driver's own terms of the bid.
    pub bid: Value,
    /// Head height when it was made.
    pub since_height: u64,
    /// Milliseconds since the epoch.
    pub prepared_at_ms: u64,
    /// A node has accepted it. A crash after the send and before this is recorded leaves it unset.
    pub sent: bool,
}

/// A slot of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRow {
    /// The network and signer.
    pub lane: Lane,
    /// The number in its lane: the nonce, on chains that have one.
    pub sequence: u64,
    /// Ids of its attempts, the oldest first.
    pub attempts: Vec<u64>,
    /// The transaction that has used it for good.
    pub closed_by: Option<String>,
}

/// Who has a conflict key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KeyRow {
    /// This settlement holds it.
    Held(u64),
    /// It is free, where several nodes share the journal: a plan that was made before this settlement freed it is old.
    Freed {
        /// Id of the settlement that held it last.
        freed_by: u64,
    },
}

/// Reserved funds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveRow {
    /// Atomic units of the asset.
    pub amount: Amount,
    /// Height of the transfer; a read at or after it has it in its balance.
    pub settled_at_height: Option<u64>,
}

/// A row of a plugin's store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreValue {
    /// Any JSON value except `null`.
    pub value: Value,
    /// Milliseconds since the epoch, from when the row does not exist; `None`: never.
    pub expires_at_ms: Option<u64>,
}

/// A promise that a signer stays usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRow {
    /// The signer's address.
    pub signer: String,
    /// Seconds since the epoch.
    pub until_s: u64,
}
