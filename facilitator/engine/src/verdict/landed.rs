//! Verdicts on a slot whose transaction a block shows, or showed when it was decided.

use super::absent::{Explanation, expired, explanation, needs_search, new_anchor, was_searched};
use super::{Source, Verdict, VerdictInput, View, judge};
use crate::decide::steps::Decided;
use crate::state::slot::SlotDecision;
use journal::{AttemptKind, GroundAt};
use sdk_plugin::chain::{BlockStands, GuardState, Observation, Shown, TxState};
use tokio::time::Instant;

/// No node prunes receipts or logs of this many newest blocks.
const YOUNG_BLOCKS: u64 = 64;

/// A transaction of ours landed. Its receipt may lack what it did. If a first judgement did not accept the receipt,
/// the next polls bring the guards and, where a guard changed, the result of a search.
pub(super) fn succeeded(
    input: &VerdictInput<'_>,
    observation: Observation,
    shown: Shown,
    decided: Decided,
) -> Verdict {
    let guards = observation
        .anchor
        .as_ref()
        .map_or_else(Vec::new, |anchor| anchor.guards.clone());
    if !input.state.reads.search.is_on() || !guards.contains(&GuardState::Changed) {
        return judge(observation, shown, decided, guards, Vec::new());
    }
    if input.slot.is_shared() {
        return succeeded_for_some(input, observation, shown, decided, guards);
    }
    match explanation(input) {
        Explanation::Ours(view) if observation.logs.is_empty() => Verdict::Judge(view),
        Explanation::Foreign(foreign, _) => judge(observation, shown, decided, guards, foreign),
        // The receipt and the logs of a young block both show nothing: the contract changes its state and emits no
        // logs. For an old block both may be pruned.
        Explanation::None if was_searched(input) && is_young(input, decided.height) => {
            Verdict::Judge(Box::new(View {
                observation,
                shown,
                decided,
                guards: vec![GuardState::Absent; input.slot.covers.len()],
                source: Source::ReceiptAndLogs,
                foreign: Vec::new(),
            }))
        }
        Explanation::Ours(_) | Explanation::NotSearched | Explanation::Unripe | Explanation::None => {
            judge(observation, shown, decided, guards, Vec::new())
        }
    }
}

/// A transaction of several steps landed, and not each of them is shown to have had its effect. A foreign transaction may have
/// used up what a step needed: no poll would follow the block of that one, so it counts only when the slot is closed.
fn succeeded_for_some(
    input: &VerdictInput<'_>,
    observation: Observation,
    shown: Shown,
    decided: Decided,
    guards: Vec<GuardState>,
) -> Verdict {
    let finality = input.settings.finality;
    let is_final = matches!(&observation.state, TxState::Landed { depth, .. } if *depth >= finality);
    // The search is on: a judgement without it left a step open.
    if is_final && needs_search(input, &guards) {
        return Verdict::Used;
    }
    judge(observation, shown, decided, guards, Vec::new())
}

pub(super) fn is_young(input: &VerdictInput<'_>, height: u64) -> bool {
    input
        .seen
        .last()
        .is_some_and(|seen| seen.head_height.saturating_sub(height) < YOUNG_BLOCKS)
}

/// One of the slot's attempts in a block.
pub(super) struct Landed {
    pub(super) observation: Observation,
    pub(super) depth: u64,
    pub(super) decided: Decided,
    pub(super) tx_id: String,
    pub(super) effect: Effect,
}

impl Landed {
    /// The height of the newest block that the node shows.
    fn head(&self) -> u64 {
        self.decided.height.saturating_add(self.depth.saturating_sub(1))
    }
}

pub(super) enum Effect {
    Success,
    Reverted(Option<String>),
    /// A fill of ours, which has no effect.
    Fill,
}

pub(super) fn landed(input: &VerdictInput<'_>) -> Option<Landed> {
    input.seen.iter().enumerate().find_map(|(index, observation)| {
        let (height, block, depth, reverted) = match &observation.state {
            TxState::Landed { height, block, depth } => (*height, block, *depth, None),
            TxState::Reverted {
                height,
                block,
                depth,
                message,
            } => (*height, block, *depth, Some(message.clone())),
            TxState::Unknown
            | TxState::Pending
            | TxState::SlotUsed
            | TxState::Lapsed
            | TxState::Expired { .. } => return None,
        };
        let attempt = input.state.attempts.get(index)?;
        let effect = match (attempt.kind, reverted) {
            (AttemptKind::Fill, _) => Effect::Fill,
            (AttemptKind::Steps, None) => Effect::Success,
            (AttemptKind::Steps, Some(message)) => Effect::Reverted(message),
        };
        Some(Landed {
            observation: observation.clone(),
            depth,
            decided: Decided {
                attempt: attempt.id,
                at: GroundAt::Block(block.clone()),
                height,
                foreign: None,
            },
            tx_id: attempt.tx_id.clone(),
            effect,
        })
    })
}

/// A decision stands until another block is seen in place of its block; once it is final, the slot closes.
pub(super) fn after_decision(
    input: &VerdictInput<'_>,
    decision: &SlotDecision,
    landed: Option<&Landed>,
) -> Verdict {
    let decided = &decision.on;
    if let GroundAt::Dead(why) = &decided.at {
        return match landed {
            // The proof was wrong: a block shows the transaction.
            Some(_) => Verdict::Replaced,
            None => Verdict::Close { by: why.clone() },
        };
    }
    if decision.is_final() {
        return after_final_ground(input, landed);
    }
    let own = landed.filter(|_| decided.foreign.is_none());
    let standing = match own {
        // What was called reverted is a success in that very block: a node was wrong.
        Some(own) if decision.is_by_revert() && matches!(own.effect, Effect::Success) => {
            BlockStands::Replaced
        }
        Some(own) if own.decided.attempt == decided.attempt && own.decided.at == decided.at => {
            BlockStands::Canonical { depth: own.depth }
        }
        // A node that has fallen behind on a fork shows no block at the height of the deciding one.
        Some(own) if own.head() < decided.height => BlockStands::Unknown,
        Some(_) => BlockStands::Replaced,
        None if expired(input.seen).is_some() => BlockStands::Replaced,
        None => followed_block(input),
    };
    match standing {
        BlockStands::Canonical { depth } if depth < input.settings.finality => Verdict::Stands { depth },
        BlockStands::Canonical { .. } if decided.foreign.is_some() => Verdict::GroundFinal,
        BlockStands::Canonical { .. } => {
            let attempts = &input.state.attempts;
            let by = attempts.iter().find(|attempt| attempt.id == decided.attempt);
            Verdict::Close {
                by: by.map(|attempt| attempt.tx_id.clone()).unwrap_or_default(),
            }
        }
        BlockStands::Replaced => Verdict::Replaced,
        // A fork may have lost it. The same bytes can land at most once, so sending them again costs nothing.
        BlockStands::Unknown if decided.foreign.is_none() && is_lost(input) => Verdict::Resend,
        BlockStands::Unknown => Verdict::Wait,
    }
}

/// Whether the node does not know the newest attempt, which was sent a while ago.
pub(super) fn is_lost(input: &VerdictInput<'_>) -> bool {
    let is_unknown = input
        .seen
        .last()
        .is_some_and(|seen| seen.state == TxState::Unknown);
    let since_sent = Instant::now().saturating_duration_since(input.state.sends.last);
    is_unknown && since_sent >= super::absent::RESEND_AFTER && !input.state.command_pending
}

/// What decided is final, and was not ours: the slot closes when its own use is final too.
pub(super) fn after_final_ground(input: &VerdictInput<'_>, landed: Option<&Landed>) -> Verdict {
    let finality = input.settings.finality;
    if let Some(landed) = landed {
        return if landed.depth >= finality {
            Verdict::Close {
                by: landed.tx_id.clone(),
            }
        } else {
            Verdict::Stands { depth: finality }
        };
    }
    if !input.seen.iter().any(|seen| seen.state == TxState::SlotUsed) {
        // A reorganisation has freed the slot again: every later transaction of the lane waits for it.
        return if is_lost(input) {
            Verdict::Resend
        } else {
            Verdict::Stands { depth: finality }
        };
    }
    if input.state.anchor.is_none() {
        return new_anchor(input);
    }
    match followed_block(input) {
        BlockStands::Canonical { depth } if depth >= finality => Verdict::CloseDecided,
        BlockStands::Replaced => Verdict::DropAnchor,
        BlockStands::Canonical { .. } | BlockStands::Unknown => Verdict::Stands { depth: finality },
    }
}

pub(super) fn followed_block(input: &VerdictInput<'_>) -> BlockStands {
    input
        .seen
        .last()
        .and_then(|observation| observation.block)
        .unwrap_or(BlockStands::Unknown)
}
