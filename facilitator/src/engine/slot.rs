//! Slots in memory: which transactions may land in one place of a lane, and which steps hang on them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sdk_plugin::chain::{Bid, Lane};
use tokio::time::Instant;

use super::settlement::Settlement;
use crate::journal::{AttemptKind, AttemptRow, Journaled};

/// Signer and sequence.
pub type SlotKey = (String, u64);

/// A place in a lane that is not closed.
#[derive(Debug)]
pub struct OpenSlot {
    pub lane: Lane,
    pub sequence: u64,
    /// Settlements and steps that its attempts carry.
    pub covers: Vec<(Arc<Settlement>, u32)>,
    state: Mutex<SlotState>,
}

/// What changes.
#[derive(Debug)]
pub struct SlotState {
    /// Oldest first; at least one.
    pub attempts: Vec<Journaled<AttemptRow>>,
    /// The transaction and block that were judged.
    pub decided: Option<Decided>,
    /// Looks in a row that did not show what was decided.
    pub missed: u32,
    /// The next look shall search for somebody else's transaction.
    pub search_foreign: bool,
    /// The lane was asked to do something about it and has not yet.
    pub asked: bool,
    pub last_sent: Instant,
    pub last_bid: Instant,
    /// When the next look is due.
    pub due: Instant,
    pub closed: bool,
}

/// What landed in the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub attempt: u64,
    pub block: String,
    pub height: u64,
}

impl OpenSlot {
    pub fn new(
        attempts: Vec<Journaled<AttemptRow>>,
        lane: Lane,
        sequence: u64,
        covers: Vec<(Arc<Settlement>, u32)>,
    ) -> Self {
        let now = Instant::now();
        let state = SlotState {
            attempts,
            decided: None,
            missed: 0,
            search_foreign: false,
            asked: false,
            last_sent: now,
            last_bid: now,
            due: now,
            closed: false,
        };
        Self { lane, sequence, covers, state: Mutex::new(state) }
    }

    #[must_use]
    pub fn key(&self) -> SlotKey {
        (self.lane.signer.clone(), self.sequence)
    }

    pub fn lock(&self) -> MutexGuard<'_, SlotState> {
        // No holder panics between two writes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its place in the lane counts as in flight.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.lock().decided.is_none()
    }

    /// When the earliest of its undecided steps expires, seconds since the epoch.
    #[must_use]
    pub fn expires_at_s(&self) -> Option<u64> {
        self.covers
            .iter()
            .filter_map(|(settlement, step)| {
                let plan = settlement.plan()?;
                plan.steps.get(usize::try_from(*step).ok()?)?.expires_at_s
            })
            .min()
    }
}

impl SlotState {
    /// The newest attempt.
    #[must_use]
    pub fn newest(&self) -> Option<&Journaled<AttemptRow>> {
        self.attempts.last()
    }

    #[must_use]
    pub fn has_fill(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.kind == AttemptKind::Fill)
    }

    /// Head height when the first attempt was made: what is older is none of our doing.
    #[must_use]
    pub fn since_height(&self) -> u64 {
        self.attempts.iter().map(|attempt| attempt.since_height).min().unwrap_or(0)
    }
}

/// The bid of an attempt, for the one that replaces it.
#[must_use]
pub fn bid_of(attempt: &AttemptRow) -> Bid {
    Bid { terms: attempt.bid.clone(), head_height: attempt.since_height }
}
