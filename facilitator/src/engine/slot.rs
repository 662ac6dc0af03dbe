//! Slots in memory: which transactions may land in one place of a lane, and which steps hang on them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sdk_plugin::chain::{Bid, Lane};
use tokio::time::Instant;

use super::settlement::Settlement;
use super::verdict::Foreign;
use crate::journal::{AttemptKind, AttemptRow, Ground, Journaled};

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
    /// The next look is due at once.
    pub soon: bool,
    /// The lane was asked to do something about it and has not yet.
    pub asked: bool,
    /// Attempts on their way to a node.
    pub sending: u32,
    /// Times a node would not take the newest attempt at any price.
    pub rejections: u32,
    pub last_sent: Instant,
    pub last_bid: Instant,
    /// When the next look is due.
    pub due: Instant,
    pub closed: bool,
    /// It was said that two nodes do not agree on it.
    pub disagreed: bool,
}

/// What landed in the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub attempt: u64,
    pub block: String,
    pub height: u64,
}

impl Decided {
    /// The same transaction in the same block.
    #[must_use]
    pub fn is_at(&self, other: &Self) -> bool {
        self.attempt == other.attempt && self.block == other.block
    }

    /// Whether a step was decided on this ground.
    #[must_use]
    pub fn is_ground(&self, ground: &Ground) -> bool {
        self.attempt == ground.attempt && self.block == ground.block
    }
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
            soon: false,
            asked: false,
            sending: 0,
            rejections: 0,
            last_sent: now,
            last_bid: now,
            due: now,
            closed: false,
            disagreed: false,
        };
        Self {
            lane,
            sequence,
            covers,
            state: Mutex::new(state),
        }
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

    /// What the journal says each of its steps was decided on.
    fn grounds(&self) -> Vec<Option<Ground>> {
        let ground = |(settlement, step): &(Arc<Settlement>, u32)| {
            let row = settlement.lock();
            row.row.steps.get(usize::try_from(*step).ok()?)?.ground.clone()
        };
        self.covers.iter().map(ground).collect()
    }

    /// Takes up a decision from before a restart: when all steps rest on the same place of the chain.
    pub fn resume_decision(&self) {
        let grounds = self.grounds();
        let Some(Some(first)) = grounds.first() else {
            return;
        };
        let decided = Decided {
            attempt: first.attempt,
            block: first.block.clone(),
            height: first.height,
        };
        let agree = |ground: &Option<Ground>| ground.as_ref().is_some_and(|ground| decided.is_ground(ground));
        if grounds.iter().all(agree) {
            self.lock().decided = Some(decided);
        }
    }

    /// Transactions of others on which decisions about its steps rest.
    #[must_use]
    pub fn resting_on(&self) -> Vec<Foreign> {
        let grounds = self.grounds().into_iter().flatten();
        grounds
            .filter_map(|ground| {
                Some(Foreign {
                    tx_id: ground.foreign?,
                    height: ground.height,
                })
            })
            .collect()
    }

    /// Whether somebody else's transaction may make the payment of one of its steps.
    #[must_use]
    pub fn wants_foreign(&self) -> bool {
        self.covers.iter().any(|(settlement, step)| {
            let wanted = || {
                let plan = settlement.plan()?;
                Some(
                    !plan
                        .steps
                        .get(usize::try_from(*step).ok()?)?
                        .evidence
                        .foreign
                        .is_empty(),
                )
            };
            wanted().unwrap_or(false)
        })
    }

    /// Its settlements, each once and in one order for everybody: for locking several of them.
    #[must_use]
    pub fn settlements(&self) -> Vec<Arc<Settlement>> {
        let mut all: Vec<Arc<Settlement>> = self
            .covers
            .iter()
            .map(|(settlement, _)| Arc::clone(settlement))
            .collect();
        all.sort_by_key(|settlement| settlement.id);
        all.dedup_by_key(|settlement| settlement.id);
        all
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
        self.attempts
            .iter()
            .any(|attempt| attempt.kind == AttemptKind::Fill)
    }

    /// Head height when the first attempt was made: what is older is none of our doing.
    #[must_use]
    pub fn since_height(&self) -> u64 {
        self.attempts
            .iter()
            .map(|attempt| attempt.since_height)
            .min()
            .unwrap_or(0)
    }
}

/// The bid of an attempt, for the one that replaces it.
#[must_use]
pub fn bid_of(attempt: &AttemptRow) -> Bid {
    Bid {
        terms: attempt.bid.clone(),
        head_height: attempt.since_height,
    }
}
