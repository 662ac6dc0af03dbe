//! What follows from a poll of a slot: a pure function of what was observed, of what was decided before, and of the time.
//!
//! The table is that of proof.md section 1. Absence decides nothing: a receipt that is null, a search that finds
//! nothing and a block that a node does not show all mean "wait". A slot that is used without a receipt of ours is
//! decided by the guards of its steps, read at a named block that is final.

mod absent;
pub(crate) mod agreement;
mod landed;
#[cfg(test)]
mod law4_tests;
#[cfg(test)]
mod tests;
pub(crate) mod watches;

use absent::{absent, reverted, used};
use landed::{Effect, after_decision, landed, succeeded};

use sdk_plugin::chain::{ForeignTx, GuardState, Observation, ReadResult, Shown};

use crate::decide::steps::{Decided, is_without_guard};
use crate::registry::NetworkSettings;
use crate::state::settlement::Settlement;
use crate::state::slot::{OpenSlot, SlotState};
use sdk_plugin::StepIndex;
use std::sync::Arc;

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Wait,
    /// Poll again with a search for the transaction that changed a guard.
    SearchForeign,
    /// Poll again with the guards read.
    ReadGuards,
    /// The slot is used at the block of the anchor that came with this poll: follow that block.
    KeepAnchor,
    /// The anchor's block is gone, or its guards could not be read: a new anchor is needed.
    DropAnchor,
    /// Have the schemes judge.
    Judge(Box<View>),
    /// The node has another block in place of the one that decided.
    Replaced,
    /// What was decided is in the chain, this deep.
    Stands {
        depth: u64,
    },
    /// The foreign transaction that decided is final; the slot's own use must still be followed.
    GroundFinal,
    /// Decided and final: this transaction has used the slot.
    Close {
        by: String,
    },
    /// Decided by a foreign transaction, and final. What used the slot is not seen, and the block of that use is final
    /// too.
    CloseDecided,
    /// The slot is used at a final block, and no success of ours was seen: the guards decide about its steps.
    Used,
    Resend,
    Rebid,
    Fill,
}

/// What the schemes of a slot must judge.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub observation: Observation,
    pub shown: Shown,
    pub decided: Decided,
    /// One for each step of the slot, or none: the transaction landed.
    pub guards: Vec<GuardState>,
    pub source: Source,
    /// Transactions found by a search that may explain a changed guard.
    pub foreign: Vec<ForeignTx>,
}

/// What shows that a transaction landed, and with which logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Its receipt, which may lack logs; or nothing, where it has not landed.
    Receipt,
    /// Its receipt, and the block's logs agree with it: it is complete.
    ReceiptAndLogs,
    /// Logs only, and there may be more: they can prove the step's effect, but nothing against it.
    Logs,
}

impl View {
    /// Whether a scheme that reads this may say that the step failed. `wants_guard`: it has a guard.
    pub fn may_fail(&self, wants_guard: bool, guard: GuardState) -> bool {
        match self.source {
            Source::Receipt => !wants_guard || guard != GuardState::Absent,
            Source::ReceiptAndLogs => true,
            // The guard is read where the slot is used.
            Source::Logs => wants_guard && guard == GuardState::Unchanged,
        }
    }

    /// Reads at the transaction's block; if nothing of ours landed, at the block of the guards.
    #[must_use]
    pub fn reads(&self) -> Vec<ReadResult> {
        match self.shown {
            Shown::Landed { .. } => self.observation.reads.clone(),
            Shown::Reverted { .. } | Shown::Dead { .. } => match &self.observation.anchor {
                Some(anchor) => anchor.reads.clone(),
                None => self.observation.reads.clone(),
            },
        }
    }
}

/// The input of a verdict.
#[derive(Debug)]
pub struct VerdictInput<'a> {
    pub slot: &'a OpenSlot,
    pub state: &'a SlotState,
    /// One for each attempt, in their order.
    pub seen: &'a [Observation],
    pub settings: &'a NetworkSettings,
    /// Seconds since the epoch.
    pub now_s: u64,
}

/// Judges one poll.
#[must_use]
pub fn verdict(input: &VerdictInput<'_>) -> Verdict {
    let landed = landed(input);
    if let Some(decision) = &input.state.decision {
        let verdict = after_decision(input, decision, landed.as_ref());
        match (verdict, &landed) {
            (verdict, _) if !decision.is_partial() => return verdict,
            // Its block stands: the steps that are not decided are judged.
            (Verdict::Stands { .. } | Verdict::Close { .. }, Some(_)) => {}
            // The block that has the transaction stands, and its receipt is not shown.
            (Verdict::Close { .. }, None) => {
                let depth = input.settings.finality;
                return Verdict::Stands { depth };
            }
            (verdict, _) => return verdict,
        }
    }
    let Some(landed) = landed else {
        return absent(input);
    };
    if landed.depth < input.settings.confirmations {
        return Verdict::Wait;
    }
    match landed.effect {
        Effect::Success => {
            let shown = Shown::Landed {
                height: landed.decided.height,
            };
            succeeded(input, landed.observation, shown, landed.decided)
        }
        Effect::Reverted(message) => reverted(input, &landed.observation, message, landed.decided),
        // A slot has one transaction, and no guard is needed to see that it was not the step's.
        Effect::Fill if is_without_guards(input.slot) => {
            let guards = vec![GuardState::Absent; input.slot.covers.len()];
            let shown = Shown::Dead {
                why: "its slot was filled".into(),
            };
            judge(landed.observation, shown, landed.decided, guards, Vec::new())
        }
        Effect::Fill => used(input, "its slot was filled"),
    }
}

/// Whether there are steps in the slot, and none of them has state that shows its effect or logs by which others may have had it.
fn is_without_guards(slot: &OpenSlot) -> bool {
    let is_without = |(settlement, step): &(Arc<Settlement>, StepIndex)| {
        let planned = settlement.plan().and_then(|plan| step.of(&plan.steps));
        planned.is_some_and(is_without_guard)
    };
    !slot.covers.is_empty() && slot.covers.iter().all(is_without)
}

fn judge(
    observation: Observation,
    shown: Shown,
    decided: Decided,
    guards: Vec<GuardState>,
    foreign: Vec<ForeignTx>,
) -> Verdict {
    Verdict::Judge(Box::new(View {
        observation,
        shown,
        decided,
        guards,
        source: Source::Receipt,
        foreign,
    }))
}

/// The journal's text for a slot that no transaction of ours used.
pub(crate) const ANOTHER: &str = "another transaction";

/// The same for a slot whose transactions are all proven dead.
pub(crate) const NONE: &str = "no transaction";

/// The result of a search, with a mark on what existed before our first attempt.
pub(crate) fn foreign_of(found: &[ForeignTx], since_height: u64) -> Vec<ForeignTx> {
    found
        .iter()
        .map(|tx| ForeignTx {
            earlier: tx.height <= since_height,
            ..tx.clone()
        })
        .collect()
}
