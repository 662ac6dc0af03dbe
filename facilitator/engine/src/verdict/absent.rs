//! Verdicts on a slot without a success of ours: it waits, reverted, or is used by another transaction.

use super::landed::followed_block;
use super::{Source, Verdict, VerdictInput, View, foreign_of, judge};
use crate::decide::steps::Decided;
use crate::state::slot::Search;
use journal::GroundAt;
use sdk_plugin::chain::{BlockStands, ForeignTx, GuardState, Observation, Shown, TxState};
use std::time::Duration;
use tokio::time::Instant;

/// How often a node must reject a transaction before its slot is filled.
const REJECTIONS_BEFORE_FILL: u32 = 3;
/// A transaction that the node does not know is sent again after this long.
pub(super) const RESEND_AFTER: Duration = Duration::from_secs(2);
/// This many blocks must follow a bid before it counts as too low.
const BLOCKS_BEFORE_REBID: u64 = 2;

/// No attempt is shown in a block.
pub(super) fn absent(input: &VerdictInput<'_>) -> Verdict {
    let shows = |state: &TxState| input.seen.iter().any(|observation| observation.state == *state);
    if shows(&TxState::SlotUsed) {
        // The same node says that one of ours is still pending: then nothing has used the slot.
        return if shows(&TxState::Pending) {
            Verdict::Wait
        } else {
            used(input, "another transaction used its slot")
        };
    }
    // The slot was found used at a block that is gone. With the anchor it would not count as in flight, and get no better bid.
    if input.state.anchor.is_some() && followed_block(input) == BlockStands::Replaced {
        return Verdict::DropAnchor;
    }
    if let Some(proof) = expired(input.seen) {
        let (Some(newest), Some(observation)) = (input.state.newest(), input.seen.last()) else {
            return Verdict::Wait;
        };
        let decided = Decided {
            attempt: newest.id,
            at: GroundAt::Dead(proof.clone()),
            height: 0,
            foreign: None,
        };
        let guards = vec![GuardState::Absent; input.slot.covers.len()];
        return judge(
            observation.clone(),
            Shown::Dead { why: proof },
            decided,
            guards,
            Vec::new(),
        );
    }
    waiting(input)
}

/// A transaction of ours reverted. It failed if the guards are unchanged, at its block or later.
pub(super) fn reverted(
    input: &VerdictInput<'_>,
    observation: &Observation,
    message: Option<String>,
    decided: Decided,
) -> Verdict {
    let shown = Shown::Reverted {
        height: decided.height,
        message,
    };
    let has_guard = input.slot.evidence().iter().any(|wanted| wanted.guard.is_some());
    let guards = match &observation.anchor {
        Some(anchor) => anchor.guards.clone(),
        None if has_guard && input.state.anchor.is_some() => return Verdict::DropAnchor,
        None if has_guard => return Verdict::ReadGuards,
        None => vec![GuardState::Absent; input.slot.covers.len()],
    };
    if guards.contains(&GuardState::Unread) {
        return Verdict::ReadGuards;
    }
    let finality = input.settings.finality;
    let is_final = matches!(&observation.state, TxState::Reverted { depth, .. } if *depth >= finality);
    if !needs_search(input, &guards) || (input.slot.is_shared() && !is_final) {
        // In a shared slot a step whose guard was changed stays open meanwhile: the search for it begins when the slot closes.
        return judge(observation.clone(), shown, decided, guards, Vec::new());
    }
    if input.slot.is_shared() {
        return Verdict::Used;
    }
    match explanation(input) {
        Explanation::NotSearched => Verdict::SearchForeign,
        Explanation::Unripe => Verdict::Wait,
        Explanation::Ours(view) => Verdict::Judge(view),
        // The receipt is final: the slot closes, and the search for what changed the guard continues without it.
        Explanation::Foreign(..) if is_final && explains_nothing(input) => Verdict::Used,
        Explanation::Foreign(foreign, at) => judge(observation.clone(), shown, at, guards, foreign),
        Explanation::None if guards.contains(&GuardState::Changed) => {
            if is_final {
                Verdict::Used
            } else {
                Verdict::Wait
            }
        }
        Explanation::None if was_searched(input) => {
            judge(observation.clone(), shown, decided, guards, Vec::new())
        }
        Explanation::None => Verdict::Wait,
    }
}

/// The slot is used and no receipt of ours shows by what: the guards decide, at a final block.
pub(super) fn used(input: &VerdictInput<'_>, why: &str) -> Verdict {
    let Some(anchor) = &input.state.anchor else {
        return new_anchor(input);
    };
    let depth = match followed_block(input) {
        BlockStands::Canonical { depth } => depth,
        BlockStands::Replaced => return Verdict::DropAnchor,
        BlockStands::Unknown => return Verdict::Wait,
    };
    let guards = &anchor.guards;
    if guards.contains(&GuardState::Unread) {
        return Verdict::DropAnchor;
    }
    let is_final = depth >= input.settings.finality;
    let or_used = if is_final { Verdict::Used } else { Verdict::Wait };
    if !needs_search(input, guards) || (input.slot.is_shared() && is_final) {
        return or_used;
    }
    match explanation(input) {
        Explanation::NotSearched => Verdict::SearchForeign,
        Explanation::Unripe => Verdict::Wait,
        Explanation::Ours(view) => Verdict::Judge(view),
        // What foreign transactions mean for each step of several is decided once the slot is closed.
        Explanation::Foreign(..) if input.slot.is_shared() => Verdict::Wait,
        Explanation::Foreign(..) if is_final && explains_nothing(input) => Verdict::Used,
        Explanation::Foreign(foreign, at) => {
            let Some(observation) = input.seen.last() else {
                return Verdict::Wait;
            };
            let observation = Observation {
                anchor: Some(anchor.clone()),
                ..observation.clone()
            };
            let shown = Shown::Dead { why: why.to_owned() };
            judge(observation, shown, at, guards.clone(), foreign)
        }
        Explanation::None => or_used,
    }
}

/// Whether the guard of an undecided step was changed, or a step without a guard may be paid by others.
pub(super) fn needs_search(input: &VerdictInput<'_>, guards: &[GuardState]) -> bool {
    let undecided = input.slot.undecided();
    let mut open = guards
        .iter()
        .enumerate()
        .filter(|(index, _)| undecided.get(*index).copied().unwrap_or(true));
    open.any(|(_, guard)| match guard {
        GuardState::Changed => true,
        GuardState::Absent => input.slot.wants_foreign(),
        GuardState::Unchanged | GuardState::Unread => false,
    })
}

pub(super) fn new_anchor(input: &VerdictInput<'_>) -> Verdict {
    let anchor = input
        .seen
        .last()
        .and_then(|observation| observation.anchor.as_ref());
    match anchor {
        Some(anchor) if anchor.next_sequence > input.slot.sequence => Verdict::KeepAnchor,
        Some(_) | None => Verdict::ReadGuards,
    }
}

/// What a log search found about a changed guard.
pub(super) enum Explanation {
    NotSearched,
    /// Something was found that is not deep enough yet.
    Unripe,
    /// A transaction of ours, whose receipt is missing.
    Ours(Box<View>),
    /// Foreign transactions, and the ground that they give.
    Foreign(Vec<ForeignTx>, Decided),
    /// Nothing was found. This proves nothing.
    None,
}

/// Whether the foreign transactions that the search finds were judged, and do not explain the change.
fn explains_nothing(input: &VerdictInput<'_>) -> bool {
    input.state.reads.search == Search::ExplainsNothing
}

pub(super) fn was_searched(input: &VerdictInput<'_>) -> bool {
    input.seen.last().is_some_and(|seen| seen.foreign_searched)
}

pub(super) fn explanation(input: &VerdictInput<'_>) -> Explanation {
    if !input.state.reads.search.is_on() {
        return Explanation::NotSearched;
    }
    let (Some(observation), Some(newest)) = (input.seen.last(), input.state.newest()) else {
        return Explanation::None;
    };
    for tx in &observation.foreign {
        let Some(own) = input.state.carrier(&tx.tx_id) else {
            continue;
        };
        if tx.depth < input.settings.confirmations {
            return Explanation::Unripe;
        }
        let state = TxState::Landed {
            height: tx.height,
            block: tx.block.clone(),
            depth: tx.depth,
        };
        return Explanation::Ours(Box::new(View {
            observation: Observation {
                logs: tx.logs.clone(),
                ..Observation::of(own.id.to_string(), state, observation.head_height)
            },
            shown: Shown::Landed { height: tx.height },
            decided: Decided {
                attempt: own.id,
                at: GroundAt::Block(tx.block.clone()),
                height: tx.height,
                foreign: None,
            },
            guards: Vec::new(),
            source: Source::Logs,
            foreign: Vec::new(),
        }));
    }
    let since = input.state.since_height();
    let unripe = |tx: &&ForeignTx| tx.depth < input.settings.confirmations;
    if observation.foreign.iter().any(|tx| unripe(&tx)) {
        return Explanation::Unripe;
    }
    let foreign = foreign_of(&observation.foreign, since);
    match foreign.last() {
        Some(last) => {
            let decided = Decided {
                attempt: newest.id,
                at: GroundAt::Block(last.block.clone()),
                height: last.height,
                foreign: Some(last.tx_id.clone()),
            };
            Explanation::Foreign(foreign, decided)
        }
        None => Explanation::None,
    }
}

/// All attempts have expired: the proof of the newest one.
pub(super) fn expired(seen: &[Observation]) -> Option<String> {
    let mut last = None;
    for observation in seen {
        let TxState::Expired { proof } = &observation.state else {
            return None;
        };
        last = Some(proof.clone());
    }
    last
}

/// A client's transaction is in no block when its step ends. It may still land: it is not the payment, and the steps after it are
/// not started, so nothing rests on that.
fn given_up(input: &VerdictInput<'_>) -> Verdict {
    let (Some(newest), Some(observation)) = (input.state.newest(), input.seen.last()) else {
        return Verdict::Wait;
    };
    let why = "the client's transaction was in no block when its time was over".to_owned();
    let decided = Decided {
        attempt: newest.id,
        at: GroundAt::Dead(why.clone()),
        height: 0,
        foreign: None,
    };
    let guards = vec![GuardState::Absent; input.slot.covers.len()];
    judge(
        observation.clone(),
        Shown::Dead { why },
        decided,
        guards,
        Vec::new(),
    )
}

/// Nothing landed: whether anything must be done meanwhile.
pub(super) fn waiting(input: &VerdictInput<'_>) -> Verdict {
    let (slot, state) = (input.slot, input.state);
    let expired = slot.expires_at_s().is_some_and(|at| input.now_s >= at);
    if slot.is_client_signed() && expired {
        return given_up(input);
    }
    if state.command_pending || state.last_poll.is_lapsed() {
        return Verdict::Wait;
    }
    let (Some(_), Some(observation), Some(bid_head)) = (state.newest(), input.seen.last(), state.bids.head)
    else {
        return Verdict::Wait;
    };
    let now = Instant::now();
    let stuck_after = Duration::from_millis(input.settings.stuck_after_ms);
    let is_stuck = now.saturating_duration_since(state.bids.last) >= stuck_after;
    // A node's wording alone never fills a slot: the node must also not know the transaction for a while.
    let rejected = state.sends.rejections >= REJECTIONS_BEFORE_FILL && is_stuck;
    if slot.lane.ordered && !state.has_fill() && (expired || rejected) {
        return Verdict::Fill;
    }
    let blocks_passed = observation.head_height >= bid_head.saturating_add(BLOCKS_BEFORE_REBID);
    if slot.lane.ordered && is_stuck && blocks_passed {
        return Verdict::Rebid;
    }
    let unknown = matches!(observation.state, TxState::Unknown);
    if unknown && now.saturating_duration_since(state.sends.last) >= RESEND_AFTER {
        return Verdict::Resend;
    }
    Verdict::Wait
}
