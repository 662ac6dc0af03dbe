//! What follows from a look at a slot: a pure function of what was observed, of what was decided before, and of the
//! time.

use std::time::Duration;

use sdk_plugin::chain::{ForeignTx, Observation, Shown, TxState};
use tokio::time::Instant;

use super::slot::{Decided, OpenSlot, SlotState};
use crate::journal::AttemptKind;
use crate::registry::NetworkSettings;

/// A transaction that no node knows is sent again after this long.
const RESEND_AFTER: Duration = Duration::from_secs(2);
/// Blocks that must have come since a bid before it counts as too low.
const BLOCKS_BEFORE_REBID: u64 = 2;
/// Times a node must reject a transaction before its slot is filled.
const REJECTIONS_BEFORE_FILL: u32 = 3;
/// Marks a decision that no block of ours stands for.
const GONE: &str = "gone:";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Wait,
    /// Look again with a search for other transactions that made the payment.
    SearchForeign,
    /// Have the schemes judge: `index` is the observation that shows it.
    Judge {
        index: usize,
        shown: Shown,
        decided: Decided,
    },
    /// What was decided before is not on the chain any more.
    Reorged,
    /// What was decided before was not seen by a node that should have it.
    Missed,
    /// Decided and final: the slot is this transaction's.
    Close {
        by: String,
    },
    /// Another transaction has the slot for good, and the steps are still good: they take another slot.
    Free {
        by: String,
    },
    Resend,
    Rebid,
    Fill,
}

/// What a look starts from.
#[derive(Debug)]
pub struct Look<'a> {
    pub slot: &'a OpenSlot,
    pub state: &'a SlotState,
    /// One for each attempt, in their order.
    pub seen: &'a [Observation],
    /// Transactions of others on which decisions about the slot's steps rest.
    pub resting_on: &'a [Foreign],
    pub settings: &'a NetworkSettings,
    /// Seconds since the epoch.
    pub now_s: u64,
}

/// Somebody else's transaction that made a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    pub tx_id: String,
    pub height: u64,
}

/// Whether somebody else's transaction may prove a payment: it came after our attempt, and is deep enough.
#[must_use]
pub fn counts(tx: &ForeignTx, since_height: u64, settings: &NetworkSettings) -> bool {
    tx.height > since_height && tx.depth >= settings.confirmations
}

/// Judges one look.
#[must_use]
pub fn verdict(look: &Look<'_>) -> Verdict {
    let landed = landed(look);
    if let Some(decided) = &look.state.decided {
        return after_decision(look, decided, landed.as_ref());
    }
    if let Some(landed) = landed {
        if landed.depth < look.settings.confirmations {
            return Verdict::Wait;
        }
        return judge_when_searched(look, landed.index, landed.shown, landed.here);
    }
    if let Some((by, depth)) = superseded(look.seen) {
        if depth < look.settings.finality {
            return Verdict::Wait;
        }
        let expired = look.slot.expires_at_s().is_some_and(|at| look.now_s >= at);
        let index = look.seen.len().saturating_sub(1);
        let Some(observation) = look.seen.get(index) else {
            return Verdict::Wait;
        };
        if look.slot.wants_foreign() && !observation.foreign_searched {
            return Verdict::SearchForeign;
        }
        if !expired && observation.foreign.is_empty() {
            return Verdict::Free { by };
        }
        return dead(look, index, "another transaction has its slot", &by);
    }
    if let Some((index, proof)) = expired(look.seen) {
        return dead(look, index, &proof, "expired");
    }
    waiting(look)
}

/// One of the slot's attempts in a block.
struct Landed {
    index: usize,
    depth: u64,
    here: Decided,
    tx_id: String,
    shown: Shown,
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
            TxState::Unknown | TxState::Pending | TxState::Superseded { .. } | TxState::Expired { .. } => {
                return None;
            }
        };
        let attempt = look.state.attempts.get(index)?;
        let shown = match (attempt.kind, reverted) {
            (AttemptKind::Fill, _) => Shown::Dead {
                why: "its slot was filled".into(),
            },
            (AttemptKind::Steps, None) => Shown::Landed { height },
            (AttemptKind::Steps, Some(message)) => Shown::Reverted { height, message },
        };
        let here = Decided {
            attempt: attempt.id,
            block: block.clone(),
            height,
        };
        Some(Landed {
            index,
            depth,
            here,
            tx_id: attempt.tx_id.clone(),
            shown,
        })
    })
}

/// A decision stands while what it rests on does; once all of that is final, the slot closes.
fn after_decision(look: &Look<'_>, decided: &Decided, landed: Option<&Landed>) -> Verdict {
    let (by, is_final) = match (landed, decided.block.strip_prefix(GONE)) {
        (Some(landed), _) if landed.here.is_at(decided) => {
            (landed.tx_id.clone(), landed.depth >= look.settings.finality)
        }
        (Some(_), _) => return Verdict::Reorged,
        // A slot lost to others or expired was decided on that ground, and stays so.
        (None, Some(by)) => (by.to_owned(), true),
        (None, None) if look.lags_behind(decided.height) => return Verdict::Wait,
        (None, None) => return Verdict::Missed,
    };
    let mut all_final = is_final;
    for foreign in look.resting_on {
        let Some(observation) = look.seen.last() else {
            return Verdict::Wait;
        };
        if !observation.foreign_searched {
            return Verdict::SearchForeign;
        }
        match observation.foreign.iter().find(|tx| tx.tx_id == foreign.tx_id) {
            Some(tx) => all_final &= tx.depth >= look.settings.finality,
            None if look.lags_behind(foreign.height) => return Verdict::Wait,
            None => return Verdict::Missed,
        }
    }
    if all_final {
        Verdict::Close { by }
    } else {
        Verdict::Wait
    }
}

impl Look<'_> {
    /// Whether the node that answered has not seen this height yet.
    fn lags_behind(&self, height: u64) -> bool {
        self.seen
            .iter()
            .any(|observation| observation.head_height < height)
    }
}

fn dead(look: &Look<'_>, index: usize, why: &str, by: &str) -> Verdict {
    let Some(newest) = look.state.newest() else {
        return Verdict::Wait;
    };
    let decided = Decided {
        attempt: newest.id,
        block: format!("{GONE}{by}"),
        height: 0,
    };
    judge_when_searched(look, index, Shown::Dead { why: why.to_owned() }, decided)
}

fn judge_when_searched(look: &Look<'_>, index: usize, shown: Shown, decided: Decided) -> Verdict {
    let landed = matches!(shown, Shown::Landed { .. });
    if !landed && look.slot.wants_foreign() {
        let Some(observation) = look.seen.get(index) else {
            return Verdict::Wait;
        };
        if !observation.foreign_searched {
            return Verdict::SearchForeign;
        }
        let since = look.state.since_height();
        let unripe = |tx: &ForeignTx| tx.height > since && tx.depth < look.settings.confirmations;
        if observation.foreign.iter().any(unripe) {
            return Verdict::Wait;
        }
    }
    Verdict::Judge {
        index,
        shown,
        decided,
    }
}

/// All attempts lost their slot: to whom, and how deep at least.
fn superseded(seen: &[Observation]) -> Option<(String, u64)> {
    let mut least: Option<(String, u64)> = None;
    for observation in seen {
        let TxState::Superseded { by, depth } = &observation.state else {
            return None;
        };
        let by = by
            .clone()
            .unwrap_or_else(|| "another transaction of the signer".into());
        if least.as_ref().is_none_or(|(_, least)| depth < least) {
            least = Some((by, *depth));
        }
    }
    least
}

/// All attempts have expired: the newest one's place, and the proof.
fn expired(seen: &[Observation]) -> Option<(usize, String)> {
    let mut last = None;
    for (index, observation) in seen.iter().enumerate() {
        let TxState::Expired { proof } = &observation.state else {
            return None;
        };
        last = Some((index, proof.clone()));
    }
    last
}

/// Nothing landed: is anything to be done meanwhile?
fn waiting(look: &Look<'_>) -> Verdict {
    let (slot, state) = (look.slot, look.state);
    if state.asked {
        return Verdict::Wait;
    }
    let (Some(newest), Some(observation)) = (state.newest(), look.seen.last()) else {
        return Verdict::Wait;
    };
    let expired = slot.expires_at_s().is_some_and(|at| look.now_s >= at);
    let hopeless = expired || state.rejections >= REJECTIONS_BEFORE_FILL;
    if slot.lane.ordered && !state.has_fill() && hopeless {
        return Verdict::Fill;
    }
    let now = Instant::now();
    let stuck = now.saturating_duration_since(state.last_bid)
        >= Duration::from_millis(look.settings.stuck_after_ms)
        && observation.head_height >= newest.since_height.saturating_add(BLOCKS_BEFORE_REBID);
    if slot.lane.ordered && stuck {
        return Verdict::Rebid;
    }
    let unknown = matches!(observation.state, TxState::Unknown);
    if unknown && now.saturating_duration_since(state.last_sent) >= RESEND_AFTER {
        return Verdict::Resend;
    }
    Verdict::Wait
}
