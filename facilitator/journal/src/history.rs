//! What happened to each settlement, in the order in which it was recorded: for people and the look-up. Nothing is
//! decided by it.

use sdk_plugin::{Amount, StepIndex};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::change::put;
use crate::keys::id_key;
use crate::overlay::Overlay;
use crate::queries::{decode, get};
use crate::row::{AttemptKind, AttemptRow, Ground, GroundAt};
use crate::{CommitError, Event, JournalError, Rows, Table};

/// One event of a settlement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRow {
    /// When it was recorded, milliseconds since the epoch.
    pub at_ms: u64,
    /// What was recorded.
    #[serde(flatten)]
    pub what: Happened,
}

/// What was recorded of a settlement. It has no payload bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Happened {
    /// It began.
    Opened {
        /// 0 for the first settlement of its claim.
        generation: u32,
    },
    /// A transaction was signed.
    Prepared {
        /// Index of the step that it carries.
        step: StepIndex,
        /// Id of the attempt.
        attempt: u64,
        /// The transaction's id on its chain.
        transaction: String,
        /// Whether it carries the step or fills its slot.
        kind: AttemptKind,
        /// The signer's address.
        signer: String,
        /// The slot's number in its lane: the nonce, on chains that have one.
        sequence: u64,
        /// The most that it can cost, in native atomic units.
        max_cost: Amount,
        /// The driver's own terms of the bid.
        bid: Value,
    },
    /// A node accepted the transaction.
    Sent {
        /// The transaction's id on its chain.
        transaction: String,
    },
    /// A block shows what a transaction cost.
    FeePaid {
        /// The transaction's id on its chain.
        transaction: String,
        /// What the whole transaction cost, in native atomic units.
        fee: Amount,
        /// The RPC node that showed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// A step that does not pay had its effect.
    StepDone {
        /// Index of the step.
        step: StepIndex,
        /// The transaction's id on its chain.
        transaction: String,
        /// Height of its block.
        height: u64,
    },
    /// A step that does not pay failed.
    StepFailed {
        /// Index of the step.
        step: StepIndex,
        /// Why.
        reason: String,
    },
    /// A step is not needed.
    StepSkipped {
        /// Index of the step.
        step: StepIndex,
    },
    /// A skipped step may be needed after all.
    StepRevived {
        /// Index of the step.
        step: StepIndex,
    },
    /// What the decision about a step rests on.
    StepGrounded {
        /// Index of the step.
        step: StepIndex,
        /// The block.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<String>,
        /// Height of the block.
        height: u64,
        /// The proof, where no block shows the transaction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<String>,
    },
    /// Another transaction has used the step's slot.
    StepFreed {
        /// Index of the step.
        step: StepIndex,
    },
    /// A transaction that no node shows changed the state that the step guards.
    StepUnexplained {
        /// Index of the step.
        step: StepIndex,
        /// Height at which the guard was read.
        height: u64,
    },
    /// What decided the step is final.
    StepFinal {
        /// Index of the step.
        step: StepIndex,
    },
    /// The chain shows the payment.
    Paid {
        /// The transaction's id on its chain.
        transaction: String,
        /// Height of its block.
        height: u64,
    },
    /// It is proven that it did not pay and can't.
    Failed {
        /// The scheme's reason.
        reason: String,
        /// The failed transaction; empty if none landed.
        transaction: String,
        /// Why it can't pay any more.
        proof: String,
    },
    /// The block that decided the step is gone.
    Reorged {
        /// Index of the step.
        step: StepIndex,
    },
    /// One caller gets `success`.
    Released,
    /// That caller was gone before anything was written to it.
    ReleaseReturned,
    /// The operator allowed a withheld release.
    ReleaseAllowed,
    /// Every step is final and the outcome is decided.
    Finished,
    /// An operator did something about it.
    Acted {
        /// Name of the operator's token.
        by: String,
        /// What kind of thing, for instance `annotate`.
        act: String,
        /// For people.
        details: String,
    },
}

/// No settlement has this id: what operators do is recorded under it.
const OF_OPERATORS: u64 = 0;

fn key_prefix(settlement: u64) -> String {
    format!("{}|", id_key(settlement))
}

/// What one commit recorded of a settlement. An earlier version wrote a row for each event.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum OfCommit {
    One(HistoryRow),
    Several(Vec<HistoryRow>),
}

impl OfCommit {
    fn into_rows(self) -> Vec<HistoryRow> {
        match self {
            Self::One(row) => vec![row],
            Self::Several(rows) => rows,
        }
    }
}

pub(crate) fn add(rows: &mut Overlay<'_>, settlement: u64, what: Happened) -> Result<(), CommitError> {
    let (at_ms, seq) = (rows.stamp().at_ms, rows.first_event());
    let key = format!("{}{at_ms:020}|{seq:020}", key_prefix(settlement));
    let before = match rows.written(Table::History, &key) {
        Some(text) => decode::<OfCommit>(Table::History, &key, text)?.into_rows(),
        None => Vec::new(),
    };
    let row = HistoryRow { at_ms, what };
    let all = if before.is_empty() {
        OfCommit::One(row)
    } else {
        OfCommit::Several(before.into_iter().chain([row]).collect())
    };
    put(rows, Table::History, &key, &all)
}

/// Adds an event to the history of the settlements that it concerns.
pub(crate) fn record(rows: &mut Overlay<'_>, event: &Event) -> Result<(), CommitError> {
    let (settlement, what) = match event {
        Event::Opened(new) => {
            let generation = new.row.generation;
            (new.row.id, Happened::Opened { generation })
        }
        Event::Prepared(new) => {
            let covers = new.row.covers.iter();
            return covers.copied().try_for_each(|(id, step)| add(rows, id, prepared(&new.row, step)));
        }
        Event::Sent { attempt } => return sent(rows, *attempt),
        Event::ReleasesAllowed { settlements } => {
            let mut allowed = settlements.iter();
            return allowed.try_for_each(|settlement| add(rows, *settlement, Happened::ReleaseAllowed));
        }
        Event::StepDone {
            settlement,
            step,
            tx_id,
            height,
        } => {
            let (step, transaction, height) = (*step, tx_id.clone(), *height);
            let done = Happened::StepDone {
                step,
                transaction,
                height,
            };
            (*settlement, done)
        }
        Event::StepFailed {
            settlement,
            step,
            reason,
        } => {
            let (step, reason) = (*step, reason.clone());
            (*settlement, Happened::StepFailed { step, reason })
        }
        Event::StepSkipped { settlement, step } => (*settlement, Happened::StepSkipped { step: *step }),
        Event::StepRevived { settlement, step } => (*settlement, Happened::StepRevived { step: *step }),
        Event::StepGrounded {
            settlement,
            step,
            ground,
        } => (*settlement, grounded(*step, ground)),
        Event::StepFreed { settlement, step } => (*settlement, Happened::StepFreed { step: *step }),
        Event::StepUnexplained {
            settlement,
            step,
            height,
        } => {
            let (step, height) = (*step, *height);
            (*settlement, Happened::StepUnexplained { step, height })
        }
        Event::StepFinal { settlement, step } => (*settlement, Happened::StepFinal { step: *step }),
        Event::Paid {
            settlement,
            tx_id,
            height,
            ..
        } => {
            let (transaction, height) = (tx_id.clone(), *height);
            (*settlement, Happened::Paid { transaction, height })
        }
        Event::Failed {
            settlement,
            refusal,
            tx_id,
            proof,
            ..
        } => {
            let failed = Happened::Failed {
                reason: refusal.reason.clone(),
                transaction: tx_id.clone(),
                proof: proof.clone(),
            };
            (*settlement, failed)
        }
        Event::Reorged { settlement, step } => (*settlement, Happened::Reorged { step: *step }),
        Event::Released { settlement, .. } => (*settlement, Happened::Released),
        Event::ReleaseReturned { settlement, .. } => (*settlement, Happened::ReleaseReturned),
        Event::Finished { settlement, .. } => (*settlement, Happened::Finished),
        Event::Acted { by, act, details, settlements } => return acted(rows, [by, act, details], settlements),
        // Its release is in the list of withheld ones, with the reason and the time.
        Event::ReleasesWithheld { .. }
        // Follows from the others, or is added with the settlement's part of it.
        | Event::KeysFreed { .. }
        | Event::FeePaid { .. }
        | Event::SlotClosed { .. }
        | Event::Stored { .. }
        | Event::JobScheduled { .. }
        | Event::JobCancelled { .. }
        | Event::JobDone { .. }
        | Event::JobPutOff { .. }
        | Event::Dropped { .. }
        | Event::Expired { .. }
        | Event::Adopted { .. }
        | Event::ReleaseKept { .. } => return Ok(()),
    };
    add(rows, settlement, what)
}

/// What an operator does is in their list, and in the histories that it is about.
fn acted(rows: &mut Overlay<'_>, texts: [&String; 3], settlements: &[u64]) -> Result<(), CommitError> {
    let [by, act, details] = texts.map(Clone::clone);
    let acted = Happened::Acted { by, act, details };
    let mut concerned = settlements.iter().copied().chain([OF_OPERATORS]);
    concerned.try_for_each(|id| add(rows, id, acted.clone()))
}

fn sent(rows: &mut Overlay<'_>, attempt: u64) -> Result<(), CommitError> {
    let Some(row) = get::<AttemptRow>(rows, Table::Attempts, &id_key(attempt))? else {
        return Ok(());
    };
    row.covers.iter().try_for_each(|(settlement, _)| {
        let transaction = row.tx_id.clone();
        add(rows, *settlement, Happened::Sent { transaction })
    })
}

fn grounded(step: StepIndex, ground: &Ground) -> Happened {
    let (block, proof) = match &ground.at {
        GroundAt::Block(block) => (Some(block.clone()), None),
        GroundAt::Dead(proof) => (None, Some(proof.clone())),
    };
    Happened::StepGrounded {
        step,
        block,
        height: ground.height,
        proof,
    }
}

fn prepared(attempt: &AttemptRow, step: StepIndex) -> Happened {
    Happened::Prepared {
        step,
        attempt: attempt.id,
        transaction: attempt.tx_id.clone(),
        kind: attempt.kind,
        signer: attempt.lane.signer.clone(),
        sequence: attempt.sequence,
        max_cost: attempt.max_cost,
        bid: attempt.bid.clone(),
    }
}

/// Everything that was recorded of a settlement, the oldest first; nothing from before this version.
///
/// # Errors
/// The table can't be read.
pub fn of(rows: &mut dyn Rows, settlement: u64) -> Result<Vec<HistoryRow>, JournalError> {
    let mut found = Vec::new();
    for (key, text) in rows.scan(Table::History, &key_prefix(settlement), None, usize::MAX)? {
        found.extend(decode::<OfCommit>(Table::History, &key, &text)?.into_rows());
    }
    Ok(found)
}

/// What operators did, the newest first, at most about `limit`.
///
/// # Errors
/// The table can't be read.
pub fn acts(rows: &mut dyn Rows, limit: usize) -> Result<Vec<HistoryRow>, JournalError> {
    let mut found = Vec::new();
    for (key, text) in rows.scan_back(Table::History, &key_prefix(OF_OPERATORS), None, limit)? {
        let of_commit = decode::<OfCommit>(Table::History, &key, &text)?.into_rows();
        found.extend(of_commit.into_iter().rev());
    }
    Ok(found)
}
