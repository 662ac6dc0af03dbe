//! What follows from a poll of a slot: a pure function of what was observed, of what was decided before, and of the time.
//!
//! The table is that of proof.md section 1. Absence decides nothing: a receipt that is null, a search that finds nothing
//! and a block that a node does not show all mean "wait". A slot that is used without a receipt of ours is decided by the guards of its steps,
//! read at a named block that is final.

use std::time::Duration;

use sdk_plugin::chain::{BlockStands, ForeignTx, GuardState, Observation, ReadResult, Shown, TxState};
use tokio::time::Instant;

use super::slot::{Decided, OpenSlot, SlotState};
use crate::registry::NetworkSettings;
use journal::{AttemptKind, GroundAt};

/// A transaction that the node does not know is sent again after this long.
const RESEND_AFTER: Duration = Duration::from_secs(2);
/// Blocks that must have come since a bid before it counts as too low.
const BLOCKS_BEFORE_REBID: u64 = 2;
/// Times a node must reject a transaction before its slot is filled.
const REJECTIONS_BEFORE_FILL: u32 = 3;

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
    /// The anchor's block is gone, or its guards could not be read: a new one is needed.
    DropAnchor,
    /// Have the schemes judge.
    Judge(Box<View>),
    /// The node has another block in place of the one that decided.
    Replaced,
    /// What was decided is in the chain, this deep.
    Stands {
        depth: u64,
    },
    /// Somebody else's transaction that decided is final; the slot's own use is still to be followed.
    GroundFinal,
    /// Decided and final: the slot is this transaction's.
    Close {
        by: String,
    },
    /// Decided by somebody else's transaction, and final; what used the slot is not seen, and its block is final too.
    CloseDecided,
    /// The slot is used at a final block, and no success of ours was seen: the guards say what becomes of its steps.
    Used,
    Resend,
    Rebid,
    Fill,
}

/// What the schemes of a slot are to judge.
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
    /// Its receipt, and the block's logs say the same: it is whole.
    ReceiptAndLogs,
    /// Logs only, and there may be more: they can prove the step's effect and nothing against it.
    Logs,
}

impl View {
    /// Whether a scheme that reads this may say that the step failed. `has_guard`: its guard was read, or it has none.
    pub fn may_fail(&self, has_guard: bool) -> bool {
        match self.source {
            Source::Receipt => has_guard,
            Source::ReceiptAndLogs => true,
            Source::Logs => false,
        }
    }

    /// Reads at the transaction's block; where nothing of ours landed, at the block of the guards.
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

/// What a verdict starts from.
#[derive(Debug)]
pub struct Look<'a> {
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
pub fn verdict(look: &Look<'_>) -> Verdict {
    let landed = landed(look);
    if let Some(decided) = &look.state.decided {
        return after_decision(look, decided, landed.as_ref());
    }
    let Some(landed) = landed else {
        return absent(look);
    };
    if landed.depth < look.settings.confirmations {
        return Verdict::Wait;
    }
    match landed.effect {
        Effect::Success => {
            let shown = Shown::Landed {
                height: landed.decided.height,
            };
            succeeded(look, landed.observation, shown, landed.decided)
        }
        Effect::Reverted(message) => reverted(look, &landed.observation, message, landed.decided),
        Effect::Fill => used(look, "its slot was filled"),
    }
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

/// A transaction of ours landed. Its receipt may lack what it did: where a first judgement was not content with it, the guards
/// come with the next looks, and what a search found where they changed.
fn succeeded(look: &Look<'_>, observation: Observation, shown: Shown, decided: Decided) -> Verdict {
    let guards = observation
        .anchor
        .as_ref()
        .map_or_else(Vec::new, |anchor| anchor.guards.clone());
    if !look.state.search_foreign || !guards.contains(&GuardState::Changed) {
        return judge(observation, shown, decided, guards, Vec::new());
    }
    match explanation(look) {
        Explanation::Ours(view) if observation.logs.is_empty() => Verdict::Judge(view),
        Explanation::Foreign(foreign, _) => judge(observation, shown, decided, guards, foreign),
        // Receipt and logs of a young block are silent both: the contract changes its state and reports nothing. Of an old
        // block both may be pruned.
        Explanation::None if was_searched(look) && is_young(look, decided.height) => {
            Verdict::Judge(Box::new(View {
                observation,
                shown,
                decided,
                guards: vec![GuardState::Absent; look.slot.covers.len()],
                source: Source::ReceiptAndLogs,
                foreign: Vec::new(),
            }))
        }
        Explanation::Ours(_) | Explanation::NotSearched | Explanation::Unripe | Explanation::None => {
            judge(observation, shown, decided, guards, Vec::new())
        }
    }
}

/// Blocks of which no node prunes receipts or logs.
const YOUNG_BLOCKS: u64 = 64;

fn is_young(look: &Look<'_>, height: u64) -> bool {
    look.seen
        .last()
        .is_some_and(|seen| seen.head_height.saturating_sub(height) < YOUNG_BLOCKS)
}

/// One of the slot's attempts in a block.
struct Landed {
    observation: Observation,
    depth: u64,
    decided: Decided,
    tx_id: String,
    effect: Effect,
}

enum Effect {
    Success,
    Reverted(Option<String>),
    /// A fill of ours, which has none.
    Fill,
}

fn landed(look: &Look<'_>) -> Option<Landed> {
    look.seen.iter().enumerate().find_map(|(index, observation)| {
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
        let attempt = look.state.attempts.get(index)?;
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

/// A decision stands until another block is seen in its place; once it is final, the slot closes.
fn after_decision(look: &Look<'_>, decided: &Decided, landed: Option<&Landed>) -> Verdict {
    if let GroundAt::Dead(why) = &decided.at {
        return match landed {
            // The proof was wrong: it is seen in a block.
            Some(_) => Verdict::Replaced,
            None => Verdict::Close { by: why.clone() },
        };
    }
    if look.state.decided_is_final {
        return after_final_ground(look, landed);
    }
    let own = landed.filter(|_| decided.foreign.is_none());
    let standing = match own {
        // What was called reverted, in that very block, is a success: a node was wrong.
        Some(own) if look.state.decided_by_revert && matches!(own.effect, Effect::Success) => {
            BlockStands::Replaced
        }
        Some(own) if own.decided.attempt == decided.attempt && own.decided.at == decided.at => {
            BlockStands::Canonical { depth: own.depth }
        }
        Some(_) => BlockStands::Replaced,
        None if expired(look.seen).is_some() => BlockStands::Replaced,
        None => followed_block(look),
    };
    match standing {
        BlockStands::Canonical { depth } if depth < look.settings.finality => Verdict::Stands { depth },
        BlockStands::Canonical { .. } if decided.foreign.is_some() => Verdict::GroundFinal,
        BlockStands::Canonical { .. } => {
            let attempts = &look.state.attempts;
            let by = attempts.iter().find(|attempt| attempt.id == decided.attempt);
            Verdict::Close {
                by: by.map(|attempt| attempt.tx_id.clone()).unwrap_or_default(),
            }
        }
        BlockStands::Replaced => Verdict::Replaced,
        // A fork may have lost it. The same bytes can land once at most, so sending them again costs nothing.
        BlockStands::Unknown if decided.foreign.is_none() && is_lost(look) => Verdict::Resend,
        BlockStands::Unknown => Verdict::Wait,
    }
}

/// Whether the node does not know the newest attempt, which was sent a while ago.
fn is_lost(look: &Look<'_>) -> bool {
    let is_unknown = look
        .seen
        .last()
        .is_some_and(|seen| seen.state == TxState::Unknown);
    let since_sent = Instant::now().saturating_duration_since(look.state.last_sent);
    is_unknown && since_sent >= RESEND_AFTER && !look.state.asked
}

/// What decided is final, and was not ours: the slot closes when its own use is final too.
fn after_final_ground(look: &Look<'_>, landed: Option<&Landed>) -> Verdict {
    let finality = look.settings.finality;
    if let Some(landed) = landed {
        return if landed.depth >= finality {
            Verdict::Close {
                by: landed.tx_id.clone(),
            }
        } else {
            Verdict::Stands { depth: finality }
        };
    }
    if !look.seen.iter().any(|seen| seen.state == TxState::SlotUsed) {
        // A reorganisation has given the slot back: whatever comes after it waits for it.
        return if is_lost(look) {
            Verdict::Resend
        } else {
            Verdict::Stands { depth: finality }
        };
    }
    if look.state.anchor.is_none() {
        return new_anchor(look);
    }
    match followed_block(look) {
        BlockStands::Canonical { depth } if depth >= finality => Verdict::CloseDecided,
        BlockStands::Replaced => Verdict::DropAnchor,
        BlockStands::Canonical { .. } | BlockStands::Unknown => Verdict::Stands { depth: finality },
    }
}

/// What the journal says about who used a slot that nothing of ours used.
pub(super) const ANOTHER: &str = "another transaction";

fn followed_block(look: &Look<'_>) -> BlockStands {
    look.seen
        .last()
        .and_then(|observation| observation.block)
        .unwrap_or(BlockStands::Unknown)
}

/// No attempt is shown in a block.
fn absent(look: &Look<'_>) -> Verdict {
    let shows = |state: &TxState| look.seen.iter().any(|observation| observation.state == *state);
    if shows(&TxState::SlotUsed) {
        // The same node says that one of ours still waits for a block: then nothing has used the slot.
        return if shows(&TxState::Pending) {
            Verdict::Wait
        } else {
            used(look, "another transaction used its slot")
        };
    }
    if let Some(proof) = expired(look.seen) {
        let (Some(newest), Some(observation)) = (look.state.newest(), look.seen.last()) else {
            return Verdict::Wait;
        };
        let decided = Decided {
            attempt: newest.id,
            at: GroundAt::Dead(proof.clone()),
            height: 0,
            foreign: None,
        };
        let guards = vec![GuardState::Absent; look.slot.covers.len()];
        return judge(
            observation.clone(),
            Shown::Dead { why: proof },
            decided,
            guards,
            Vec::new(),
        );
    }
    waiting(look)
}

/// A transaction of ours reverted: it failed if the guards are unchanged, at its block or later.
fn reverted(
    look: &Look<'_>,
    observation: &Observation,
    message: Option<String>,
    decided: Decided,
) -> Verdict {
    let shown = Shown::Reverted {
        height: decided.height,
        message,
    };
    let has_guard = look.slot.evidence().iter().any(|wanted| wanted.guard.is_some());
    let guards = match &observation.anchor {
        Some(anchor) => anchor.guards.clone(),
        None if has_guard && look.state.anchor.is_some() => return Verdict::DropAnchor,
        None if has_guard => return Verdict::ReadGuards,
        None => vec![GuardState::Absent; look.slot.covers.len()],
    };
    if guards.contains(&GuardState::Unread) {
        return Verdict::ReadGuards;
    }
    let needs_search = guards.contains(&GuardState::Changed)
        || (guards.contains(&GuardState::Absent) && look.slot.wants_foreign());
    if !needs_search {
        return judge(observation.clone(), shown, decided, guards, Vec::new());
    }
    let finality = look.settings.finality;
    let is_final = matches!(&observation.state, TxState::Reverted { depth, .. } if *depth >= finality);
    match explanation(look) {
        Explanation::NotSearched => Verdict::SearchForeign,
        Explanation::Unripe => Verdict::Wait,
        Explanation::Ours(view) => Verdict::Judge(view),
        // The receipt is final: the slot is closed, and what changed the guard is searched for without it.
        Explanation::Foreign(..) if is_final && look.state.foreign_explains_nothing => Verdict::Used,
        Explanation::Foreign(foreign, at) => judge(observation.clone(), shown, at, guards, foreign),
        Explanation::None if guards.contains(&GuardState::Changed) => {
            if is_final {
                Verdict::Used
            } else {
                Verdict::Wait
            }
        }
        Explanation::None if was_searched(look) => {
            judge(observation.clone(), shown, decided, guards, Vec::new())
        }
        Explanation::None => Verdict::Wait,
    }
}

/// The slot is used and no receipt of ours says by what: the guards decide, at a final block.
fn used(look: &Look<'_>, why: &str) -> Verdict {
    let Some(anchor) = &look.state.anchor else {
        return new_anchor(look);
    };
    let depth = match followed_block(look) {
        BlockStands::Canonical { depth } => depth,
        BlockStands::Replaced => return Verdict::DropAnchor,
        BlockStands::Unknown => return Verdict::Wait,
    };
    let guards = &anchor.guards;
    if guards.contains(&GuardState::Unread) {
        return Verdict::DropAnchor;
    }
    let is_final = depth >= look.settings.finality;
    let or_used = if is_final { Verdict::Used } else { Verdict::Wait };
    let needs_search = guards.contains(&GuardState::Changed)
        || (guards.contains(&GuardState::Absent) && look.slot.wants_foreign());
    if !needs_search {
        return or_used;
    }
    match explanation(look) {
        Explanation::NotSearched => Verdict::SearchForeign,
        Explanation::Unripe => Verdict::Wait,
        Explanation::Ours(view) => Verdict::Judge(view),
        Explanation::Foreign(..) if is_final && look.state.foreign_explains_nothing => Verdict::Used,
        Explanation::Foreign(foreign, at) => {
            let Some(observation) = look.seen.last() else {
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

fn new_anchor(look: &Look<'_>) -> Verdict {
    let anchor = look
        .seen
        .last()
        .and_then(|observation| observation.anchor.as_ref());
    match anchor {
        Some(anchor) if anchor.next_sequence > look.slot.sequence => Verdict::KeepAnchor,
        Some(_) | None => Verdict::ReadGuards,
    }
}

/// What a log search brought about a changed guard.
enum Explanation {
    NotSearched,
    /// Something was found that is not deep enough yet.
    Unripe,
    /// A transaction of ours, whose receipt is missing.
    Ours(Box<View>),
    /// Transactions of others, and the ground that they give.
    Foreign(Vec<ForeignTx>, Decided),
    /// Nothing was found. This proves nothing.
    None,
}

fn was_searched(look: &Look<'_>) -> bool {
    look.seen.last().is_some_and(|seen| seen.foreign_searched)
}

fn explanation(look: &Look<'_>) -> Explanation {
    if !look.state.search_foreign {
        return Explanation::NotSearched;
    }
    let (Some(observation), Some(newest)) = (look.seen.last(), look.state.newest()) else {
        return Explanation::None;
    };
    for tx in &observation.foreign {
        let Some(own) = look.state.carrier(&tx.tx_id) else {
            continue;
        };
        if tx.depth < look.settings.confirmations {
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
    let since = look.state.since_height();
    let unripe = |tx: &&ForeignTx| tx.depth < look.settings.confirmations;
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

/// What a search found, with the mark of what was there before our first attempt.
pub(super) fn foreign_of(found: &[ForeignTx], since_height: u64) -> Vec<ForeignTx> {
    found
        .iter()
        .map(|tx| ForeignTx {
            earlier: tx.height <= since_height,
            ..tx.clone()
        })
        .collect()
}

/// All attempts have expired: the newest one's proof.
fn expired(seen: &[Observation]) -> Option<String> {
    let mut last = None;
    for observation in seen {
        let TxState::Expired { proof } = &observation.state else {
            return None;
        };
        last = Some(proof.clone());
    }
    last
}

/// Nothing landed: is anything to be done meanwhile?
fn waiting(look: &Look<'_>) -> Verdict {
    let (slot, state) = (look.slot, look.state);
    if state.asked || state.lapsed {
        return Verdict::Wait;
    }
    let (Some(_), Some(observation), Some(bid_head)) = (state.newest(), look.seen.last(), state.bid_head)
    else {
        return Verdict::Wait;
    };
    let now = Instant::now();
    let stuck_after = Duration::from_millis(look.settings.stuck_after_ms);
    let is_stuck = now.saturating_duration_since(state.last_bid) >= stuck_after;
    let expired = slot.expires_at_s().is_some_and(|at| look.now_s >= at);
    // A node's wording alone never fills a slot: it must not know the transaction either, for a while.
    let rejected = state.rejections >= REJECTIONS_BEFORE_FILL && is_stuck;
    if slot.lane.ordered && !state.has_fill() && (expired || rejected) {
        return Verdict::Fill;
    }
    let blocks_passed = observation.head_height >= bid_head.saturating_add(BLOCKS_BEFORE_REBID);
    if slot.lane.ordered && is_stuck && blocks_passed {
        return Verdict::Rebid;
    }
    let unknown = matches!(observation.state, TxState::Unknown);
    if unknown && now.saturating_duration_since(state.last_sent) >= RESEND_AFTER {
        return Verdict::Resend;
    }
    Verdict::Wait
}
