//! What can happen. The log keeps every event for good. Bearer instruments are stored with an event, but not logged.

use std::collections::BTreeMap;

use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::scheme::{Hold, PaidReply, Refusal, Reserve};
use sdk_plugin::{Amount, HexBytes, StepIndex};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::row::{AttemptRow, Ground, Release, SettlementRow};
use super::stage::Stage;

/// One change. Events of a commit apply in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Event {
    /// A settlement begins.
    Opened(Box<NewSettlement>),
    /// A transaction is signed and may be sent once this is durable.
    Prepared(Box<NewAttempt>),
    /// A node has it.
    Sent {
        /// Id of the attempt.
        attempt: u64,
    },
    /// A step that does not pay had its effect, at `confirmations`.
    StepDone {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
        /// The transaction's id on its chain.
        tx_id: String,
        /// Height of its block.
        height: u64,
    },
    /// A step that does not pay failed, or was not started because an earlier one failed.
    StepFailed {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
        /// Why, for people.
        reason: String,
    },
    /// A step is not needed, because of what became of an earlier one.
    StepSkipped {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
    },
    /// A step that was skipped may be needed after all: what stopped it was reorganised away.
    StepRevived {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
    },
    /// What the decision about a step rests on.
    StepGrounded {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
        /// The block or the proof.
        ground: Ground,
    },
    /// Another transaction has used the step's slot for good: the step may take another slot.
    StepFreed {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
    },
    /// The step's slot is used at a final block and its guard was changed, but no transaction is known that changed
    /// it. The step is never sent again.
    StepUnexplained {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
        /// Height of the block at which the guard was read.
        height: u64,
    },
    /// What decided the step is final.
    StepFinal {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
    },
    /// The paying step landed and the scheme accepted the evidence as proof.
    Paid {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
        /// The transaction's id on its chain.
        tx_id: String,
        /// Height of its block, or 0 where no transaction was needed.
        height: u64,
        /// Evidence: what shows on the chain that this claim is paid. An item pays one claim only.
        items: Vec<String>,
        /// The scheme's answer for the caller.
        reply: PaidReply,
        /// Whether the claim may be opened again after this payment.
        repeatable: bool,
    },
    /// It is proven that the paying step did not pay and can't pay.
    Failed {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
        /// The scheme's reason for the caller.
        refusal: Refusal,
        /// Id of the failed transaction; empty if none landed.
        tx_id: String,
        /// Why it can't pay any more, for operators.
        proof: String,
    },
    /// The block that decided the step is gone.
    Reorged {
        /// Id of the settlement.
        settlement: u64,
        /// Index of the step in the plan, from 0.
        step: StepIndex,
    },
    /// Exactly one caller gets `success`.
    Released {
        /// Id of the settlement.
        settlement: u64,
        /// The caller and the answer that it gets.
        release: Release,
    },
    /// That caller was gone before anything was written to it.
    ReleaseReturned {
        /// Id of the settlement.
        settlement: u64,
        /// [`Release::number`]: another caller may have got the release since.
        #[serde(default)]
        number: u64,
    },
    /// Another node answers the same caller again with this release: the node that took it can't give it back any more.
    ReleaseKept {
        /// Id of the settlement.
        settlement: u64,
        /// [`Release::number`] so far.
        from: u64,
        /// Its number from now on.
        to: u64,
    },
    /// The journal turned out to be older than the answers that callers got: nothing that is unreleased in it is
    /// released until the operator allows it.
    ReleasesWithheld {
        /// Later settlements were started by this process and are not concerned.
        up_to_id: u64,
        /// For operators; each reason takes effect once.
        why: String,
        /// Milliseconds since the epoch.
        at_ms: u64,
    },
    /// The operator says that no caller got `success` for these.
    ReleasesAllowed {
        /// Ids of the settlements.
        settlements: Vec<u64>,
    },
    /// The conflict keys are free.
    KeysFreed {
        /// Id of the settlement.
        settlement: u64,
    },
    /// Every step is final and the outcome is decided: the settlement is no longer observed.
    Finished {
        /// Id of the settlement.
        settlement: u64,
        /// Milliseconds since the epoch.
        at_ms: u64,
    },
    /// A block shows what a transaction cost, whether or not it had its effect.
    FeePaid {
        /// Id of the attempt.
        attempt: u64,
        /// Native atomic units.
        fee: Amount,
        /// The RPC node that showed it, by the name that operators know.
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// A transaction has used the slot for good.
    SlotClosed {
        /// CAIP-2.
        network: String,
        /// The signer's address.
        signer: String,
        /// The slot's number in its lane: the nonce, on chains that have one.
        sequence: u64,
        /// Id of the transaction.
        by: String,
    },
    /// A plugin's row.
    Stored {
        /// Id in the plugin's manifest.
        plugin: String,
        /// The row, and the condition under which it is written.
        write: StoreWrite,
        /// Time of the write, milliseconds since the epoch.
        now_ms: u64,
    },
    /// A plugin schedules a job, or schedules it anew.
    JobScheduled {
        /// Id in the plugin's manifest.
        plugin: String,
        /// The job, with its id and time.
        job: Job,
    },
    /// A plugin cancels a job.
    JobCancelled {
        /// Id in the plugin's manifest.
        plugin: String,
        /// Id of the job.
        id: String,
    },
    /// A job has run. It is removed unless it was scheduled again meanwhile, for another time.
    JobDone {
        /// Id in the plugin's manifest.
        plugin: String,
        /// Id of the job.
        id: String,
        /// The time for which the job was scheduled, milliseconds since the epoch.
        run_at_ms: u64,
    },
    /// A job could not be run and is due again later.
    JobPutOff {
        /// Id in the plugin's manifest.
        plugin: String,
        /// Id of the job.
        id: String,
        /// The time for which the job was scheduled, milliseconds since the epoch.
        run_at_ms: u64,
        /// When it is due again, milliseconds since the epoch.
        again_at_ms: u64,
    },
    /// Finished settlements go through a stage of what is removed in time.
    Dropped {
        /// What goes.
        stage: Stage,
        /// The settlements, each with the time by which it waits: see [`Journal::due_for`](crate::Journal::due_for).
        due: Vec<(u64, u64)>,
    },
    /// Rows that ended before now are removed.
    Expired {
        /// Keys of the order in which rows of plugins' stores end.
        store: Vec<String>,
        /// Keys of holds of signers.
        holds: Vec<String>,
        /// Milliseconds since the epoch.
        now_ms: u64,
    },
    /// A plugin has another id: what was kept under the old one is kept under the new one. Recorded by
    /// [`Journal::adopt`](crate::Journal::adopt) alone.
    Adopted {
        /// The old id.
        from: String,
        /// The new id.
        to: String,
        /// Milliseconds since the epoch.
        at_ms: u64,
    },
    /// An operator does something, recorded before it is done.
    Acted {
        /// Name of the operator's token.
        by: String,
        /// What kind of thing, for instance `pause`.
        act: String,
        /// For people.
        details: String,
        /// The settlements that it is about.
        settlements: Vec<u64>,
    },
}

/// A settlement's first record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewSettlement {
    /// `steps` are all waiting, `outcome` is open, `release` is `None`.
    pub row: SettlementRow,
    /// JSON. A bearer instrument: not in the log.
    #[serde(skip)]
    pub plan: String,
    /// SHA-256 of `plan`, in hex.
    pub plan_sha256: String,
    /// Funds of payers that the plan counts on.
    pub reserves: Vec<Reserve>,
    /// Signers that must stay usable after the payment.
    pub holds: Vec<Hold>,
    /// Which settlement had freed each conflict key last, before the plan was made; `None`: nobody else plans, because one
    /// process holds the keys while it does. The commit is refused when a key was used since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_seen: Option<BTreeMap<String, u64>>,
}

impl NewSettlement {
    /// Computes the plan's hash.
    #[must_use]
    pub fn new(row: SettlementRow, plan: String, reserves: Vec<Reserve>, holds: Vec<Hold>) -> Self {
        let plan_sha256 = hex::encode(Sha256::digest(plan.as_bytes()));
        Self {
            row,
            plan,
            plan_sha256,
            reserves,
            holds,
            keys_seen: None,
        }
    }
}

/// An attempt's first record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewAttempt {
    /// The attempt, not yet sent.
    pub row: AttemptRow,
    /// A bearer instrument: not in the log.
    #[serde(skip)]
    pub bytes: HexBytes,
    /// SHA-256 of `bytes`, in hex.
    pub bytes_sha256: String,
}

impl NewAttempt {
    /// Computes the hash of the signed bytes.
    #[must_use]
    pub fn new(row: AttemptRow, bytes: HexBytes) -> Self {
        let bytes_sha256 = hex::encode(Sha256::digest(&bytes.0));
        Self {
            row,
            bytes,
            bytes_sha256,
        }
    }
}
