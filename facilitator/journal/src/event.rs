//! What can happen. The log keeps every event for good. Bearer instruments are stored with an event, but not logged.

use sdk_plugin::HexBytes;
use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::scheme::{Hold, PaidReply, Refusal, Reserve};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::row::{AttemptRow, Ground, Release, SettlementRow};

/// One change. Events of a commit apply in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Event {
    /// A settlement begins.
    Opened(Box<NewSettlement>),
    /// A transaction is signed and may be sent once this is durable.
    Prepared(Box<NewAttempt>),
    /// A node has it.
    Sent {
        attempt: u64,
    },
    /// A step that does not pay had its effect, at `confirmations`.
    StepDone {
        settlement: u64,
        step: u32,
        tx_id: String,
        height: u64,
    },
    /// A step that does not pay failed, or was not started because an earlier one failed.
    StepFailed {
        settlement: u64,
        step: u32,
        reason: String,
    },
    StepSkipped {
        settlement: u64,
        step: u32,
    },
    /// A step that was skipped may be needed after all: what stopped it was reorganised away.
    StepRevived {
        settlement: u64,
        step: u32,
    },
    /// What the decision about a step rests on.
    StepGrounded {
        settlement: u64,
        step: u32,
        ground: Ground,
    },
    /// Another transaction has used the step's slot for good: the step may take another slot.
    StepFreed {
        settlement: u64,
        step: u32,
    },
    /// The step's slot is used at a final block and its guard was changed, but no transaction is known that changed
    /// it. The step is never sent again.
    StepUnexplained {
        settlement: u64,
        step: u32,
        /// Height of the block at which the guard was read.
        height: u64,
    },
    /// What decided the step is final.
    StepFinal {
        settlement: u64,
        step: u32,
    },
    /// The paying step landed and the scheme accepted the evidence as proof.
    Paid {
        settlement: u64,
        step: u32,
        tx_id: String,
        height: u64,
        items: Vec<String>,
        reply: PaidReply,
        repeatable: bool,
    },
    /// It is proven that the paying step did not pay and can't pay.
    Failed {
        settlement: u64,
        step: u32,
        refusal: Refusal,
        tx_id: String,
        proof: String,
    },
    /// The block that decided the step is gone.
    Reorged {
        settlement: u64,
        step: u32,
    },
    /// Exactly one caller gets `success`.
    Released {
        settlement: u64,
        release: Release,
    },
    /// That caller was gone before anything was written to it.
    ReleaseReturned {
        settlement: u64,
        /// [`Release::number`]: another caller may have got the release since.
        #[serde(default)]
        number: u64,
    },
    /// The journal turned out to be older than the answers that callers got: nothing that is unreleased in it is
    /// released until the operator allows it.
    ReleasesWithheld {
        /// Later settlements were started by this process and are not concerned.
        up_to_id: u64,
        why: String,
        at_ms: u64,
    },
    /// The operator says that no caller got `success` for these.
    ReleasesAllowed {
        settlements: Vec<u64>,
    },
    /// The conflict keys are free.
    KeysFreed {
        settlement: u64,
    },
    /// Nothing is left to watch.
    Finished {
        settlement: u64,
        at_ms: u64,
    },
    /// A transaction has used the slot for good.
    SlotClosed {
        network: String,
        signer: String,
        sequence: u64,
        by: String,
    },
    /// A plugin's row.
    Stored {
        plugin: String,
        write: StoreWrite,
        now_ms: u64,
    },
    JobScheduled {
        plugin: String,
        job: Job,
    },
    JobCancelled {
        plugin: String,
        id: String,
    },
    /// A job has run. It is removed unless it was scheduled again meanwhile, for another time.
    JobDone {
        plugin: String,
        id: String,
        run_at_ms: u64,
    },
    /// A job could not be run and is due again later.
    JobPutOff {
        plugin: String,
        id: String,
        run_at_ms: u64,
        again_at_ms: u64,
    },
    /// Plans and signed bytes of settlements finished before this are dropped.
    PayloadsDropped {
        finished_before_ms: u64,
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
    pub plan_sha256: String,
    pub reserves: Vec<Reserve>,
    pub holds: Vec<Hold>,
}

impl NewSettlement {
    #[must_use]
    pub fn new(row: SettlementRow, plan: String, reserves: Vec<Reserve>, holds: Vec<Hold>) -> Self {
        let plan_sha256 = hex::encode(Sha256::digest(plan.as_bytes()));
        Self {
            row,
            plan,
            plan_sha256,
            reserves,
            holds,
        }
    }
}

/// An attempt's first record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewAttempt {
    pub row: AttemptRow,
    /// A bearer instrument: not in the log.
    #[serde(skip)]
    pub bytes: HexBytes,
    pub bytes_sha256: String,
}

impl NewAttempt {
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
