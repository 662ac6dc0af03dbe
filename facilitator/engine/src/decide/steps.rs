//! Predicates on the steps of a settlement, and the events that a decision about a step records. Pure.

use journal::{Event, Ground, GroundAt, Outcome, SettlementRow, StepState};
use sdk_plugin::StepIndex;
use sdk_plugin::chain::{Evidence, ForeignTx, GuardState, Lane, Shown};
use sdk_plugin::scheme::{Gate, LaneChoice, OnFail, Paid, Plan, Refusal, Step};
use sdk_plugin::wire::reason::UNEXPECTED_SETTLE_ERROR;

/// What decided the steps of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub attempt: u64,
    pub at: GroundAt,
    pub height: u64,
    /// A transaction that is not ours, in the block that `at` names.
    pub foreign: Option<String>,
}

impl Decided {
    /// Whether a step was decided on this ground.
    #[must_use]
    pub fn is_ground(&self, ground: &Ground) -> bool {
        self.attempt == ground.attempt && self.at == ground.at
    }
}

/// Whether the step before this one allows it to start.
#[must_use]
pub(crate) fn is_gate_open(row: &SettlementRow, step: StepIndex, gate: Gate) -> bool {
    let before = step.previous().and_then(|step| step.of(&row.steps));
    match (before, gate) {
        (None, _) | (Some(_), Gate::None) => true,
        (Some(before), Gate::Confirmed) => {
            matches!(before.state, StepState::Done { .. } | StepState::Failed { .. })
        }
        (Some(before), Gate::Final) => before.is_final,
    }
}

/// Whether the step before this one is a client's own transaction. A call that needs its effect is simulated again before it is
/// signed: what the plan read was without that.
#[must_use]
pub(crate) fn follows_client_signed(plan: Option<&Plan>, step: StepIndex) -> bool {
    let before = plan
        .zip(step.previous())
        .and_then(|(plan, before)| before.of(&plan.steps));
    before.is_some_and(|before| before.lane == LaneChoice::Foreign)
}

/// Whether a step has neither state that shows its effect nor logs by which another transaction may have had it.
#[must_use]
pub(crate) fn is_without_guard(step: &Step) -> bool {
    step.evidence.guard.is_none() && step.evidence.foreign.is_empty()
}

/// Whether a step only prepares the payment, and has no guard: it is never sent in a second slot.
#[must_use]
pub(crate) fn is_preparation(step: &Step) -> bool {
    !step.pays && is_without_guard(step)
}

/// Whether another transaction of a step may be made once all of its transactions in this lane are proven dead.
#[must_use]
pub(crate) fn is_renewable(step: &Step, lane: &Lane) -> bool {
    step.renewable && !lane.ordered && step.lane != LaneChoice::Foreign
}

/// The most new slots that a step may take after its first one. proof.md section 1: at most twice.
pub(crate) const MOST_NEW_SLOTS: u32 = 2;

/// The event that records what a decision rests on. A decision without a ground is final at once.
pub(crate) fn ground(
    settlement: u64,
    step: StepIndex,
    decided: Option<&Decided>,
    foreign: Option<&ForeignTx>,
    shown: &Shown,
    height: u64,
) -> Event {
    match decided {
        Some(decided) => {
            let ground = match foreign {
                Some(tx) => Ground {
                    attempt: decided.attempt,
                    at: GroundAt::Block(tx.block.clone()),
                    height: tx.height,
                    foreign: Some(tx.tx_id.clone()),
                    reverted: false,
                },
                None => Ground {
                    attempt: decided.attempt,
                    at: decided.at.clone(),
                    // Must be the height of the named block: at any other height a different block is found.
                    height: match decided.at {
                        GroundAt::Block(_) => decided.height,
                        GroundAt::Dead(_) => decided.height.max(height),
                    },
                    foreign: decided.foreign.clone(),
                    reverted: matches!(shown, Shown::Reverted { .. }),
                },
            };
            Event::StepGrounded {
                settlement,
                step,
                ground,
            }
        }
        None => Event::StepFinal { settlement, step },
    }
}

pub(crate) fn height_shown(evidence: &Evidence) -> u64 {
    match &evidence.shown {
        Shown::Landed { height } | Shown::Reverted { height, .. } => *height,
        Shown::Dead { .. } => 0,
    }
}

/// Checks a judgement against its evidence, which must contain the transaction and every item. Returns the height
/// of the paying transaction.
pub(crate) fn height_of(paid: &Paid, evidence: &Evidence) -> Result<u64, String> {
    if paid.items.is_empty() {
        return Err("it names no evidence".into());
    }
    let has_all = |logs: &[sdk_plugin::chain::LogEntry], deltas: &[sdk_plugin::chain::Delta]| {
        paid.items.iter().all(|item| {
            logs.iter().any(|log| log.id == *item) || deltas.iter().any(|delta| delta.id == *item)
        })
    };
    if let Shown::Landed { height } = evidence.shown
        && paid.tx_id == evidence.tx_id
        && has_all(&evidence.logs, &evidence.deltas)
    {
        return Ok(height);
    }
    match evidence.foreign.iter().find(|tx| tx.tx_id == paid.tx_id) {
        Some(tx) if tx.earlier => Err("its transaction was on the chain before any attempt: a replay".into()),
        Some(tx) if has_all(&tx.logs, &[]) => Ok(tx.height),
        _ => Err("its transaction or items are not in the evidence".into()),
    }
}

/// Whether all steps except these are decided.
pub(crate) fn ends_with(row: &SettlementRow, over: &[StepIndex]) -> bool {
    StepIndex::each(&row.steps).all(|(step, row)| {
        over.contains(&step) || !matches!(row.state, StepState::Waiting | StepState::InSlot { .. })
    })
}

pub(crate) fn stops(plan: Option<&Plan>, step: StepIndex) -> bool {
    plan.and_then(|plan| step.of(&plan.steps))
        .is_some_and(|step| step.on_fail == OnFail::Stop)
}

/// Later steps that have not started.
pub(crate) fn skipped_after(row: &SettlementRow, step: StepIndex) -> Vec<StepIndex> {
    StepIndex::each(&row.steps)
        .filter(|(later, row)| *later > step && row.state == StepState::Waiting)
        .map(|(later, _)| later)
        .collect()
}

/// Later steps that have not started and that a failed one stops.
pub(crate) fn skipped(plan: Option<&Plan>, row: &SettlementRow, failed: StepIndex) -> Vec<StepIndex> {
    if stops(plan, failed) {
        skipped_after(row, failed)
    } else {
        Vec::new()
    }
}

/// Events that revive the steps that were skipped because of one that is open again. A payment that was reported as
/// failed stays failed, and so do the steps after it.
pub(crate) fn revived(plan: Option<&Plan>, row: &SettlementRow, reorged: StepIndex) -> Vec<Event> {
    let pays = reorged.of(&row.steps).is_some_and(|step| step.pays);
    if !pays && matches!(row.outcome, Outcome::Failed { .. } | Outcome::Reversed { .. }) {
        return Vec::new();
    }
    let still_stopped = |at: StepIndex| {
        StepIndex::each(&row.steps)
            .take_while(|(earlier, _)| *earlier < at)
            .any(|(earlier, row)| {
                earlier != reorged && matches!(row.state, StepState::Failed { .. }) && stops(plan, earlier)
            })
    };
    StepIndex::each(&row.steps)
        .filter(|(step, row)| *step > reorged && row.state == StepState::Skipped && !still_stopped(*step))
        .map(|(step, _)| Event::StepRevived {
            settlement: row.id,
            step,
        })
        .collect()
}

/// Events of a payment whose step is never started, because of a step that had to come before it.
/// `reason`: why that one failed; `None`: it did not fail, and was decided too late.
pub(crate) fn never_started(row: &SettlementRow, pays: StepIndex, reason: Option<&str>) -> [Event; 2] {
    let message = match reason {
        Some(_) => "a step that had to come before the payment failed",
        None => "what became of a step that had to come before the payment was seen too late",
    };
    let refusal = Refusal::new(reason.unwrap_or(UNEXPECTED_SETTLE_ERROR), row.payer.clone());
    [
        Event::Failed {
            settlement: row.id,
            step: pays,
            refusal: refusal.with_message(message),
            // The earlier step's transaction is not the payment's, and may land again as another one.
            tx_id: String::new(),
            proof: "the paying step was never started".into(),
        },
        Event::StepFinal {
            settlement: row.id,
            step: pays,
        },
    ]
}

/// Events of the steps that an unexplained step held back, now that it is decided. They start, unless it stops them
/// or its settlement had to free its conflict keys: the payment was never started then, and has failed.
pub(crate) fn released_by(
    plan: Option<&Plan>,
    row: &SettlementRow,
    decided: StepIndex,
    is_stopped: bool,
    reason: Option<&str>,
) -> Vec<Event> {
    let was_unexplained = decided
        .of(&row.steps)
        .is_some_and(|step| matches!(step.state, StepState::Unexplained { .. }));
    if !was_unexplained {
        return Vec::new();
    }
    let revived = revived(plan, row, decided);
    if !is_stopped && row.conflict_keys.is_empty() {
        return revived;
    }
    let mut events = Vec::new();
    for event in revived {
        let Event::StepRevived { step, .. } = &event else {
            continue;
        };
        let (step, row_of) = (*step, step.of(&row.steps));
        if row.outcome == Outcome::Open && row_of.is_some_and(|row| row.pays) {
            events.push(event);
            events.extend(never_started(row, step, reason));
        }
    }
    events
}

/// Law 4: a step has failed only if its own transaction shows it, its guard is unchanged, or something else
/// explains the change.
pub(crate) fn proves_failure(evidence: &Evidence) -> bool {
    match (&evidence.shown, evidence.guard) {
        (Shown::Landed { .. }, GuardState::Unchanged | GuardState::Absent) => true,
        (Shown::Landed { .. }, GuardState::Changed) => {
            !evidence.logs.is_empty() || !evidence.foreign.is_empty()
        }
        (Shown::Landed { .. }, GuardState::Unread) => false,
        (Shown::Reverted { .. } | Shown::Dead { .. }, GuardState::Unchanged | GuardState::Absent) => true,
        // Other transactions explain the change, or the state excludes an effect of the step.
        (Shown::Reverted { .. } | Shown::Dead { .. }, GuardState::Changed) => {
            !evidence.foreign.is_empty() || evidence.reads.iter().any(|read| read.data.is_some())
        }
        (Shown::Reverted { .. } | Shown::Dead { .. }, GuardState::Unread) => false,
    }
}
