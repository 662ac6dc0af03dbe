//! Slots in memory: which transactions may land in one slot of a lane, and which steps depend on them.

mod decision;
mod fee;
mod polls;
mod reads;
mod second_node;
mod sends;

pub use decision::SlotDecision;
pub use fee::ShownFee;
pub use polls::{LastPoll, Polling};
pub use reads::{Reads, Search};
use second_node::SecondNode;
use sends::{Bids, Sends};

use crate::decide::steps::Decided;
use crate::state::settlement::Settlement;
use parking_lot::{Mutex, MutexGuard};
use sdk_plugin::StepIndex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::chain::{Anchor, Bid, BlockRef, Lane, Observation, Shown};
use sdk_plugin::scheme::EvidenceWanted;
use tokio::time::Instant;

use journal::{AttemptKind, AttemptRow, Ground, Journaled, SlotRow, StepState, is_client_signed};

/// When no second node has answered for this long, one node decides where two should, with an alarm.
pub(crate) const ONE_NODE_DECIDES_AFTER: Duration = Duration::from_secs(600);

/// Signer and sequence.
pub type SlotKey = (String, u64);

/// A slot that is not closed.
#[derive(Debug)]
pub struct OpenSlot {
    pub lane: Lane,
    pub sequence: u64,
    /// Settlements and steps that its attempts carry.
    pub covers: Vec<(Arc<Settlement>, StepIndex)>,
    /// Another node owns it: it is polled for callers that wait here, and nothing is recorded or sent.
    pub(crate) is_watched: bool,
    state: Mutex<SlotState>,
}

/// The state of a slot that changes.
#[derive(Debug)]
pub struct SlotState {
    /// Oldest first; at least one.
    pub attempts: Vec<Journaled<AttemptRow>>,
    /// The decision about its steps.
    pub decision: Option<SlotDecision>,
    /// The block at which the slot was found used, and the state of the guards there. In memory only: after a restart
    /// a newer block serves as well.
    pub anchor: Option<Anchor>,
    /// What the next poll reads.
    pub reads: Reads,
    /// The lane has a command about this slot that it has not carried out yet.
    pub command_pending: bool,
    pub sends: Sends,
    pub bids: Bids,
    pub second_node: SecondNode,
    /// What the last poll showed of its transactions.
    pub last_poll: LastPoll,
    /// What the attempt cost that a poll has shown in a block.
    pub fee: Option<ShownFee>,
    /// When the last poll began that showed none of them in a block, since they were sent.
    pub missed_at: Option<Instant>,
    /// Counts the searches for what no block shows: each goes to another node.
    turn: usize,
    /// When it is polled.
    pub polling: Polling,
    pub closed: bool,
}

impl OpenSlot {
    pub fn new(
        attempts: Vec<Journaled<AttemptRow>>,
        lane: Lane,
        sequence: u64,
        covers: Vec<(Arc<Settlement>, StepIndex)>,
    ) -> Self {
        let now = Instant::now();
        let state = SlotState {
            attempts,
            decision: None,
            anchor: None,
            reads: Reads::default(),
            command_pending: false,
            sends: Sends::new(now),
            bids: Bids::new(now),
            second_node: SecondNode::default(),
            last_poll: LastPoll::InNoBlock {
                since: now,
                lapsed: false,
            },
            fee: None,
            missed_at: None,
            turn: 0,
            polling: Polling::Due(now),
            closed: false,
        };
        Self {
            lane,
            sequence,
            covers,
            is_watched: false,
            state: Mutex::new(state),
        }
    }

    /// A slot that another node owns.
    pub(crate) fn watched(
        attempts: Vec<Journaled<AttemptRow>>,
        lane: Lane,
        sequence: u64,
        covers: Vec<(Arc<Settlement>, StepIndex)>,
    ) -> Self {
        Self {
            is_watched: true,
            ..Self::new(attempts, lane, sequence, covers)
        }
    }

    /// A recorded slot of these settlements, with the recorded decision about its steps.
    pub(crate) fn resumed(
        row: SlotRow,
        attempts: Vec<Journaled<AttemptRow>>,
        settlements: &BTreeMap<u64, Arc<Settlement>>,
    ) -> Arc<Self> {
        let covers = covers_of(&attempts, settlements);
        let slot = Self::new(attempts, row.lane, row.sequence, covers);
        slot.resume_decision();
        Arc::new(slot)
    }

    #[must_use]
    pub fn key(&self) -> SlotKey {
        (self.lane.signer.clone(), self.sequence)
    }

    pub fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock()
    }

    /// Whether a client has signed its transaction, which is sent beside the signer's own ones.
    #[must_use]
    pub fn is_client_signed(&self) -> bool {
        is_client_signed(self.sequence)
    }

    /// Whether it counts as in flight: one of its attempts may still land.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        let state = self.lock();
        state.decision.is_none() && state.anchor.is_none() && !state.last_poll.is_lapsed()
    }

    /// When the last of its steps expires, seconds since the epoch; `None`: one of them does not. In a shared transaction
    /// a step that has expired leaves the others their effect.
    #[must_use]
    pub fn expires_at_s(&self) -> Option<u64> {
        let of = |(settlement, step): &(Arc<Settlement>, StepIndex)| {
            let plan = settlement.plan()?;
            step.of(&plan.steps)?.expires_at_s
        };
        let each: Option<Vec<u64>> = self.covers.iter().map(of).collect();
        each?.into_iter().max()
    }

    /// What each of its steps was decided on, as the journal has it.
    fn grounds(&self) -> Vec<Option<Ground>> {
        let ground = |(settlement, step): &(Arc<Settlement>, StepIndex)| {
            let row = settlement.lock();
            step.of(&row.row.steps)?.ground.clone()
        };
        self.covers.iter().map(ground).collect()
    }

    /// Records what was judged about all its steps. The journal's decision counts, if there is one: a restart finds that one.
    pub fn record_decision(&self, judged: Decided, shown: &Shown) {
        self.resume_decision();
        let mut state = self.lock();
        if state.decision.is_none() {
            state.decision = Some(SlotDecision::new(judged, shown));
        }
    }

    /// Restores the decision from the journal. It is partial while some of its steps are not decided, or rest on another block.
    pub fn resume_decision(&self) {
        let grounds = self.grounds();
        let Some(first) = grounds.iter().flatten().next() else {
            return;
        };
        let decided = Decided {
            attempt: first.attempt,
            at: first.at.clone(),
            height: first.height,
            foreign: first.foreign.clone(),
        };
        let agrees =
            |ground: &Option<Ground>| ground.as_ref().is_some_and(|ground| decided.is_ground(ground));
        let is_partial = !grounds.iter().all(agrees);
        let by_revert = grounds.iter().flatten().any(|ground| ground.reverted);
        let mut state = self.lock();
        let known = state.decision.take();
        state.decision = Some(SlotDecision::restored(decided, by_revert, is_partial, known));
    }

    /// Whether a foreign transaction may make the payment of one of its steps.
    #[must_use]
    pub fn wants_foreign(&self) -> bool {
        self.evidence().iter().any(|wanted| !wanted.foreign.is_empty())
    }

    /// The evidence that each of its steps needs, in their order; nothing for a plan that can't be read.
    #[must_use]
    pub fn evidence(&self) -> Vec<EvidenceWanted> {
        let of = |(settlement, step): &(Arc<Settlement>, StepIndex)| {
            let step = step.of(&settlement.plan()?.steps)?;
            Some(step.evidence.clone())
        };
        self.covers
            .iter()
            .map(|cover| of(cover).unwrap_or_default())
            .collect()
    }

    /// Whether it carries steps of several settlements.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.covers.len() > 1
    }

    /// Which of its steps are not decided, in their order.
    #[must_use]
    pub fn undecided(&self) -> Vec<bool> {
        let is_undecided = |(settlement, step): &(Arc<Settlement>, StepIndex)| {
            let state = settlement.lock();
            let row = step.of(&state.row.steps);
            row.is_some_and(|row| matches!(row.state, StepState::Waiting | StepState::InSlot { .. }))
        };
        self.covers.iter().map(is_undecided).collect()
    }

    /// Its settlements, each once, in the same order for all callers, so that several of them can be locked.
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

impl OpenSlot {
    /// Whether one node has answered alone for long enough; the first call starts the time.
    pub(crate) fn may_one_node_decide(&self) -> bool {
        self.lock().second_node.record_missing(Instant::now()) >= ONE_NODE_DECIDES_AFTER
    }

    /// Whether any payment in it needs two nodes.
    pub(crate) fn wants_second_source(&self) -> bool {
        self.covers
            .iter()
            .any(|(settlement, _)| settlement.lock().row.second_source)
    }
}

impl SlotState {
    /// The block whose presence in the chain matters now: the one that decided, or the one at which the slot was found
    /// used.
    #[must_use]
    pub fn followed(&self) -> Option<BlockRef> {
        match &self.decision {
            Some(decision) if !decision.is_final() => decision.block(),
            Some(_) | None => self.anchor.as_ref().map(|anchor| anchor.block.clone()),
        }
    }

    /// Which node to query next, when no block has shown a transaction of ours for this long although one should. With
    /// several nodes, two polls in a row never go to the same one.
    pub fn next_turn(&mut self, now: Instant, long: Duration) -> Option<usize> {
        let is_awaited = match &self.decision {
            Some(decision) => decision.rests_on_own_block(),
            None => self.anchor.is_none(),
        };
        let since = self.last_poll.unseen_since().filter(|_| is_awaited)?;
        if now.saturating_duration_since(since) < long {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        Some(self.turn)
    }

    /// Records what a poll showed, one observation for each attempt.
    pub fn record_poll(&mut self, seen: &[Observation]) {
        // A brief poll may show no head.
        if let Some(newest) = seen.last().filter(|newest| newest.head_height > 0) {
            self.bids.record_head(newest.head_height);
        }
        self.last_poll = LastPoll::of(seen, self.last_poll, Instant::now());
        if let Some(shown) = ShownFee::of(&self.attempts, seen) {
            self.fee = Some(shown);
        }
        let is_in_block = matches!(self.last_poll, LastPoll::InBlock);
        if let Some(decision) = &mut self.decision
            && decision.record_in_block(is_in_block)
        {
            self.polling.repeat_soon();
        }
    }

    /// The block that decided is gone: its steps are open again, and where the slot stands is read again.
    pub fn reopen(&mut self) {
        self.decision = None;
        self.anchor = None;
        self.fee = None;
    }

    /// The attempt with this transaction id that carries steps.
    #[must_use]
    pub fn carrier(&self, tx_id: &str) -> Option<&Journaled<AttemptRow>> {
        self.attempts
            .iter()
            .find(|attempt| attempt.kind == AttemptKind::Steps && attempt.tx_id.eq_ignore_ascii_case(tx_id))
    }

    /// The newest attempt.
    #[must_use]
    pub fn newest(&self) -> Option<&Journaled<AttemptRow>> {
        self.attempts.last()
    }

    /// The newest attempt, unless an attempt is being sent at present.
    #[must_use]
    pub fn newest_to_resend(&self) -> Option<&Journaled<AttemptRow>> {
        self.newest().filter(|_| !self.sends.are_in_progress())
    }

    /// Adds a replacement, which is sent next.
    pub fn add_attempt(&mut self, attempt: Journaled<AttemptRow>) {
        let now = Instant::now();
        self.bids.restart(now);
        self.sends.last = now;
        self.sends.rejections = 0;
        self.attempts.push(attempt);
    }

    #[must_use]
    pub fn has_fill(&self) -> bool {
        self.attempts
            .iter()
            .any(|attempt| attempt.kind == AttemptKind::Fill)
    }

    /// Head height when the first attempt was made: what is older was not caused by us.
    #[must_use]
    pub fn since_height(&self) -> u64 {
        self.attempts
            .iter()
            .map(|attempt| attempt.since_height)
            .min()
            .unwrap_or(0)
    }
}

/// The bid of an attempt, as input for its replacement.
#[must_use]
pub fn bid_of(attempt: &AttemptRow) -> Bid {
    Bid {
        terms: attempt.bid.clone(),
        head_height: attempt.since_height,
    }
}

/// The settlements that these attempts carry, with their steps, each once.
fn covers_of(
    attempts: &[Journaled<AttemptRow>],
    settlements: &BTreeMap<u64, Arc<Settlement>>,
) -> Vec<(Arc<Settlement>, StepIndex)> {
    let mut covers: Vec<(Arc<Settlement>, StepIndex)> = Vec::new();
    for (id, step) in attempts.iter().flat_map(|attempt| &attempt.covers) {
        let is_known = covers.iter().any(|(known, s)| known.id == *id && s == step);
        if let (Some(settlement), false) = (settlements.get(id), is_known) {
            covers.push((Arc::clone(settlement), *step));
        }
    }
    covers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::releases::NETWORK;

    #[tokio::test(start_paused = true)]
    async fn a_transaction_in_no_block_is_searched_at_another_node_each_time() {
        let lane = Lane {
            network: NETWORK.into(),
            signer: "0xsigner".into(),
            key: "main".into(),
            ordered: true,
        };
        let slot = OpenSlot::new(Vec::new(), lane, 0, Vec::new());
        let long = Duration::from_secs(2);
        let turn = || slot.lock().next_turn(Instant::now(), long);
        assert_eq!(turn(), None, "it was sent just now");
        tokio::time::advance(long).await;
        assert_eq!([turn(), turn()], [Some(1), Some(2)]);
        // More time may pass between two polls of what a block shows.
        slot.lock().last_poll = LastPoll::InBlock;
        tokio::time::advance(long * 5).await;
        assert_eq!(turn(), None);
        slot.lock().last_poll = LastPoll::of(&[], LastPoll::InBlock, Instant::now());
        assert_eq!(turn(), None);
        tokio::time::advance(long).await;
        assert_eq!(turn(), Some(3));
        // By its sequence the slot is used: the transaction that used it is followed at one node.
        let anchor = Anchor {
            block: BlockRef {
                id: "b1".into(),
                height: 1,
                time_s: 0,
            },
            next_sequence: 1,
            guards: Vec::new(),
            reads: Vec::new(),
        };
        slot.lock().anchor = Some(anchor);
        assert_eq!(turn(), None);
    }
}
