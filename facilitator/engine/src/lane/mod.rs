//! One task owns each lane: a signer on a network, and the order of its transactions.
//!
//! It takes work from a bounded queue while fewer slots are in flight than allowed, and does what the observer asks
//! for (replace, fill, send again) at any time. A step becomes a transaction in this order and no other: quote, build
//! and sign, journal, hand to the sender. The sender accepts only [`Journaled`] attempts.

mod first;
mod recover;
mod replace;
mod send;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sdk_plugin::chain::{Lane, LaneState, Slot};
use sdk_plugin::scheme::Refusal;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::Engine;
use super::decide::decide;
use super::network::NetworkRun;
use super::outcome::is_gate_open;
use super::settle::{paused, refusal_of_commit, refuse, unavailable};
use super::settlement::{self, Phase, Settlement};
use super::slot::{OpenSlot, SlotKey};
use super::unsent::Ends;
use base::service::SettleAnswer;
use journal::{AttemptKind, AttemptRow, CommitError, Journaled, NewAttempt, StepState, record_attempt};
use waiting::Waiting;

/// Between two tries of something that a node did not answer.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// How long a network's only node must show more transactions of a signer than the journal has, before the journal counts as
/// an old copy.
const ONE_NODE_SAYS_MORE_FOR: Duration = Duration::from_secs(15);
/// Before a later step that could not be brought into a slot is tried again, doubled with each time.
const FIRST_STEP_PAUSE: Duration = Duration::from_secs(2);
/// The longest such pause.
const LONGEST_STEP_PAUSE: Duration = Duration::from_secs(30);
/// Tries of quote and build for a settlement that is not journaled.
const TRIES: u32 = 4;
/// New slots that a step may take after its first one. proof.md section 1: at most twice.
const MOST_NEW_SLOTS: u32 = 2;
/// Unused places before the first open slot that are filled at one go.
const MOST_GAPS: usize = 16;

/// A step to be carried out.
#[derive(Debug, Clone)]
pub struct Work {
    pub settlement: Arc<Settlement>,
    pub step: u32,
    /// Who signed for it and decides how much of it there is; `None` for orders on earlier payments.
    pub payer: Option<String>,
}

/// What the lane is asked to do beside new work.
#[derive(Debug)]
pub enum Ask {
    /// A step of a settlement that is journaled: it passes queue and cap.
    Step(Work),
    /// Replace the slot's transaction by one that bids more.
    Rebid(SlotKey),
    /// Consume the slot harmlessly.
    Fill(SlotKey),
    /// Send the slot's newest transaction again.
    Resend(SlotKey),
    /// The signer's key was used elsewhere: read the chain's sequence again.
    CatchUp,
}

/// Whether a lane took work into its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    Yes,
    Full,
    /// Its payer has as many places as it may.
    PayerFull,
    Closed,
}

/// How others reach a lane.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    pub lane: Lane,
    work: mpsc::Sender<Work>,
    asks: mpsc::UnboundedSender<Ask>,
    waiting: Arc<Waiting>,
    reconciled: Arc<AtomicBool>,
    since: Instant,
    /// Wakes the lane when a slot has landed.
    pub room: Arc<Notify>,
}

impl LaneHandle {
    pub fn queue(&self, work: Work) -> Queued {
        // Counted first: the lane may take it off before this thread goes on.
        let payer = work.payer.clone();
        if !self.waiting.enter(payer.as_deref()) {
            return Queued::PayerFull;
        }
        let queued = match self.work.try_send(work) {
            Ok(()) => Queued::Yes,
            Err(mpsc::error::TrySendError::Full(_)) => Queued::Full,
            Err(mpsc::error::TrySendError::Closed(_)) => Queued::Closed,
        };
        if queued != Queued::Yes {
            self.waiting.leave(payer.as_deref());
        }
        queued
    }

    /// Bounded by the open slots and settlements themselves: each has at most one question out.
    pub fn ask(&self, ask: Ask) {
        // A lane that has ended is being torn down with the process.
        let _ = self.asks.send(ask);
    }

    /// Whether the chain's sequence has been compared with the journal's.
    #[must_use]
    pub fn is_reconciled(&self) -> bool {
        self.reconciled.load(Ordering::Acquire)
    }

    /// Whether it has waited for that comparison for so long since its start.
    #[must_use]
    pub fn is_closed_for(&self, long: Duration) -> bool {
        !self.is_reconciled() && Instant::now().saturating_duration_since(self.since) >= long
    }

    /// Settlements in the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.all()
    }
}

struct LaneTask {
    engine: Arc<Engine>,
    run: Arc<NetworkRun>,
    lane: Lane,
    next_sequence: u64,
    /// The chain is ahead of what the journal explains; nothing new is begun until that is final.
    jump: Option<Jump>,
    reconciled: Arc<AtomicBool>,
    sender: mpsc::UnboundedSender<Journaled<AttemptRow>>,
}

impl Engine {
    /// Starts a lane's tasks. It stays closed until its sequence is reconciled with the chain's.
    pub(super) fn start_lane(self: &Arc<Self>, run: &Arc<NetworkRun>, lane: Lane) {
        let places = run.network.settings.lane_queue.max(1);
        let (work_in, work) = mpsc::channel(places);
        let (asks_in, asks) = mpsc::unbounded_channel();
        let (sender, to_send) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::new(places));
        let room = Arc::new(Notify::new());
        let reconciled = Arc::new(AtomicBool::new(false));
        run.add_lane(LaneHandle {
            reconciled: Arc::clone(&reconciled),
            since: Instant::now(),
            lane: lane.clone(),
            work: work_in,
            asks: asks_in,
            waiting: Arc::clone(&waiting),
            room: Arc::clone(&room),
        });
        self.spawn(Arc::clone(self).send_in_order(Arc::clone(run), to_send));
        let task = LaneTask {
            engine: Arc::clone(self),
            run: Arc::clone(run),
            lane,
            next_sequence: 0,
            jump: None,
            reconciled,
            sender,
        };
        self.spawn(task.run(work, asks, waiting, room));
    }
}

/// A lane's sequence on chain that the journal can't explain.
#[derive(Debug, Clone, Copy)]
struct Jump {
    next: u64,
    /// Head height of the first read that showed it.
    height: u64,
}

/// While the chain shows more transactions of a signer than the journal.
#[derive(Debug, Default)]
struct Doubt {
    since: Option<Instant>,
    /// The log has the disagreement of the nodes.
    reported: bool,
}

/// Why a step could not be brought into a slot.
enum Stop {
    /// Nothing was journaled; this is what the callers get.
    Refused(Refusal),
    Unavailable(&'static str),
    /// The operator has paused its kind; nothing was journaled.
    Paused,
    /// The first commit was refused.
    Commit(CommitError),
    /// The step lost a slot, and its call would fail in a new one.
    WouldFail,
    /// The step lost more slots than it may.
    LostSlots,
    /// The callers have gone.
    Withdrawn,
    /// Another settlement has the claim.
    Taken,
}

impl LaneTask {
    async fn run(
        mut self,
        mut work: mpsc::Receiver<Work>,
        mut asks: mpsc::UnboundedReceiver<Ask>,
        waiting: Arc<Waiting>,
        room: Arc<Notify>,
    ) {
        self.read_safely(true).await;
        // Callers may wait for releases that were not given before.
        self.run.poll_all_now();
        loop {
            let has_room = self.jump.is_none()
                && self.run.in_flight(&self.lane.signer) < self.run.network.settings.max_in_flight;
            tokio::select! {
                biased;
                ask = asks.recv() => match ask {
                    Some(ask) => self.answer_safely(ask).await,
                    None => return,
                },
                next = work.recv(), if has_room => match next {
                    Some(next) => {
                        waiting.leave(next.payer.as_deref());
                        self.first_safely(next).await;
                    }
                    None => return,
                },
                () = room.notified() => {}
                () = tokio::time::sleep(RETRY_EVERY * 4), if self.jump.is_some() => self.read_safely(false).await,
            }
        }
    }

    /// The next sequence is behind everything journaled and everything landed. A chain that is behind the journal's
    /// closed slots is another chain or a lagging node: the lane stays closed.
    async fn reconcile(&mut self) {
        if !self.lane.ordered {
            return self.reconciled.store(true, Ordering::Release);
        }
        let (network, signer) = (self.lane.network.clone(), self.lane.signer.clone());
        let mut doubt = Doubt::default();
        loop {
            match (
                self.engine.journal.lane_next(&network, &signer).await,
                self.engine.journal.closed_below(&network, &signer).await,
                self.engine.lane_of_any(&self.run.network, &self.lane).await,
            ) {
                (Ok(journaled), Ok(closed), Ok(state)) => {
                    let closed_below = closed.unwrap_or(0);
                    // Places between the closed ones and the first open one may be unused: they get filled.
                    if state.next_sequence >= closed_below {
                        self.run.saw_head(state.head_height);
                        let agrees = match journaled {
                            // A new journal has nothing to explain the chain by.
                            None => self.begin_anew(&state).await,
                            Some(journaled) => self.continue_from(journaled, &state, &mut doubt).await,
                        };
                        if agrees {
                            return self.reconciled.store(true, Ordering::Release);
                        }
                    } else {
                        // The network's check reports it, and what to do.
                        tracing::debug!(network = %self.lane.network, signer = %self.lane.signer,
                            "the lane stays closed: the chain's next sequence is {}, and slots below {closed_below} are \
                             closed",
                            state.next_sequence);
                    }
                }
                (Err(error), _, _) | (_, Err(error), _) => {
                    tracing::error!(%error, "the lane's sequence can't be read from the journal")
                }
                (_, _, Err(_)) => {}
            }
            tokio::time::sleep(RETRY_EVERY * 4).await;
        }
    }

    /// Begins a lane of which the journal has no transaction. A sequence that only one of several nodes has reached would leave
    /// a gap to be filled. `false`: no node answers.
    async fn begin_anew(&mut self, state: &LaneState) -> bool {
        let first = if self.run.network.settings.nodes < 2 || state.next_sequence == 0 {
            Some(state.next_sequence)
        } else {
            self.engine.shown_by_most(&self.run, &self.lane).await
        };
        self.next_sequence = first.unwrap_or(self.next_sequence);
        first.is_some()
    }

    /// Continues after the journal's last transaction. While the process runs its journal is its own; at the start it may be an
    /// old copy, of which the chain has more transactions. One node may be wrong. `false`: not known yet.
    async fn continue_from(&mut self, journaled: u64, state: &LaneState, doubt: &mut Doubt) -> bool {
        self.next_sequence = journaled;
        if state.next_sequence <= journaled {
            return true;
        }
        let since = *doubt.since.get_or_insert_with(Instant::now);
        let lasted = Instant::now().saturating_duration_since(since);
        if self.run.network.settings.nodes < 2 && lasted < ONE_NODE_SAYS_MORE_FOR {
            return false;
        }
        match self
            .engine
            .most_show_more_than(&self.run, &self.lane, journaled)
            .await
        {
            Some(false) => true,
            Some(true) => {
                let is_withheld = self.withhold(state).await;
                if is_withheld {
                    self.compare(state);
                }
                is_withheld
            }
            None => {
                if !std::mem::replace(&mut doubt.reported, true) {
                    tracing::error!(network = %self.lane.network, signer = %self.lane.signer,
                        on_chain = state.next_sequence, in_journal = journaled,
                        "nodes_disagree: one RPC node shows more transactions of this signer than the journal has, and most nodes \
                         do not. The signer sends nothing new and no payment of its network is released until they agree: remove \
                         the node that is wrong from rpc and restart");
                }
                false
            }
        }
    }

    /// The journal may be an old copy: nothing is released by it before that is recorded.
    async fn withhold(&self, state: &LaneState) -> bool {
        let why = format!(
            "signer {} has {} transactions on {}, and the journal knows {}",
            self.lane.signer, state.next_sequence, self.lane.network, self.next_sequence
        );
        let withheld = self.engine.withhold_releases(&why).await;
        if let Err(error) = &withheld {
            tracing::error!(%error, "releases of an old journal could not be withheld; it is tried again");
            tokio::time::sleep(RETRY_EVERY * 4).await;
        }
        withheld.is_ok()
    }

    /// Reads the chain's sequence again.
    async fn catch_up(&mut self) {
        if !self.lane.ordered {
            return;
        }
        if let Ok(state) = self.engine.lane_of_any(&self.run.network, &self.lane).await {
            self.run.saw_head(state.head_height);
            self.compare(&state);
        }
    }

    /// The journal holds every transaction before it is sent. A chain that is further shows transactions of somebody else with
    /// the signer's key, or an old journal. Its sequence is adopted once it is final: a node may be wrong.
    fn compare(&mut self, state: &LaneState) {
        if state.next_sequence <= self.next_sequence {
            self.jump = None;
            return;
        }
        let first = self.jump.is_none();
        let jump = self.jump.get_or_insert(Jump {
            next: state.next_sequence,
            height: state.head_height,
        });
        // A node that shows less than the jump did does not confirm it.
        if state.next_sequence < jump.next {
            *jump = Jump {
                next: state.next_sequence,
                height: state.head_height,
            };
        }
        let jump = *jump;
        if first {
            let (network, signer) = (self.lane.network.as_str(), self.lane.signer.as_str());
            tracing::error!(
                network,
                signer,
                on_chain = state.next_sequence,
                in_journal = self.next_sequence,
                "unexplained_sequence: the chain has transactions of this signer that the journal does not know. Either the key \
                 is used elsewhere, which must stop, or this journal is an old copy. Nothing new is begun with the signer until \
                 they are final"
            );
            self.engine.metrics.add(
                "switchyard_unexplained_sequence_total",
                &[("network", network)],
                1,
            );
        }
        let depth = state.head_height.saturating_sub(jump.height).saturating_add(1);
        if depth >= self.run.network.settings.finality {
            self.next_sequence = jump.next;
            self.jump = None;
            self.compare(state);
        }
    }

    async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Step(work) => self.later(work).await,
            Ask::Rebid(key) => self.replace(&key, false).await,
            Ask::Fill(key) => self.replace(&key, true).await,
            Ask::Resend(key) => {
                if let Some(slot) = self.run.slot(&key) {
                    let newest = {
                        let mut state = slot.lock();
                        state.asked = false;
                        state.last_sent = Instant::now();
                        if state.sending > 0 {
                            None
                        } else {
                            state.newest().cloned()
                        }
                    };
                    if let Some(attempt) = newest {
                        self.hand_over(&slot, attempt);
                    }
                }
            }
            Ask::CatchUp => self.catch_up().await,
        }
    }

    /// A settlement's first step: commits the settlement with its first attempt, or answers its callers.
    async fn first(&mut self, work: Work) {
        let Work { settlement, step, .. } = work;
        match self.bring_into_slot(&settlement, step, true).await {
            Ok(()) => return,
            Err(Stop::Withdrawn) => settlement.give_up(|_| unavailable("withdrawn")),
            Err(Stop::Refused(refusal)) => refuse(&settlement, &refusal),
            Err(Stop::Unavailable(message)) => settlement.give_up(|_| unavailable(message)),
            // A first step of a settlement that is not journaled has lost no slot.
            Err(Stop::WouldFail | Stop::LostSlots) => {
                settlement.give_up(|_| unavailable("it could not be begun; try again"));
            }
            Err(Stop::Paused) => settlement.give_up(|_| paused()),
            Err(Stop::Commit(CommitError::ClaimTaken) | Stop::Taken) => {
                // Out of the way first, or the look-up would find the loser itself.
                self.engine.forget(&settlement);
                self.lost_the_race(&settlement).await;
            }
            Err(Stop::Commit(error)) => {
                tracing::warn!(settlement = settlement.id, %error, "a settlement was not begun");
                let row = settlement.lock().row.clone();
                settlement.give_up(|waiter| refusal_of_commit(&error, &row, &waiter.network_as_sent));
            }
        }
        self.engine.forget(&settlement);
    }

    /// Somebody else holds the claim: the callers get what the table says.
    async fn lost_the_race(&self, settlement: &Arc<Settlement>) {
        let row = self.engine.claim_row(&settlement.claim).await.ok().flatten();
        settlement.give_up(|waiter| match &row {
            Some(row) => match decide(row, &waiter.asker) {
                super::decide::Decision::ReplayReason => {
                    SettleAnswer::Reply(settlement::replayed(row, &waiter.network_as_sent))
                }
                super::decide::Decision::Duplicate { tx_id } => {
                    SettleAnswer::Reply(settlement::duplicate(row, &tx_id, &waiter.network_as_sent))
                }
                _ => unavailable("another request for the same payment was faster; try again"),
            },
            None => unavailable("another request for the same payment was faster; try again"),
        });
    }

    /// A later step of a journaled settlement: it is tried until it is in a slot, or can't succeed any more.
    async fn later(&mut self, work: Work) {
        let Work { settlement, step, .. } = work;
        let index = usize::try_from(step).unwrap_or(usize::MAX);
        let is_waiting = settlement
            .lock()
            .row
            .steps
            .get(index)
            .is_some_and(|row| row.state == StepState::Waiting);
        let Some(planned) = settlement.plan().and_then(|plan| plan.steps.get(index)).cloned() else {
            tracing::error!(
                settlement = settlement.id,
                step,
                "the plan can't be read: load the version that made it"
            );
            return;
        };
        let is_open = is_gate_open(&settlement.lock().row, index, planned.gate);
        if !is_waiting || !is_open {
            // Asked for twice, decided meanwhile, or what came before it was reorganised away: `advance` asks again.
            return;
        }
        if planned
            .expires_at_s
            .is_some_and(|at| self.engine.clock.now_s() >= at)
        {
            return self.end(settlement, step, Ends::Expired);
        }
        match self.bring_into_slot(&settlement, step, false).await {
            Ok(()) => settlement.lock().retries = 0,
            // A pause stops first steps only.
            Err(Stop::Withdrawn | Stop::Taken | Stop::Paused) => {}
            Err(Stop::WouldFail) => self.end(settlement, step, Ends::WouldFail),
            Err(Stop::LostSlots) => self.end(settlement, step, Ends::LostSlots),
            Err(Stop::Refused(refusal)) => {
                tracing::error!(settlement = settlement.id, step, reason = %refusal.reason, detail = ?refusal.message,
                    "a step of a settlement can't be built");
                self.try_later(settlement, step);
            }
            Err(Stop::Unavailable(_) | Stop::Commit(_)) => self.try_later(settlement, step),
        }
    }

    fn end(&self, settlement: Arc<Settlement>, step: u32, ends: Ends) {
        if ends == Ends::LostSlots {
            tracing::error!(network = %self.lane.network, signer = %self.lane.signer, settlement = settlement.id,
                "key_used_elsewhere: other transactions have used every slot of a step; the signer's key is used elsewhere: stop \
                 that, or replace the key");
            self.engine.metrics.add(
                "switchyard_key_used_elsewhere_total",
                &[("network", self.lane.network.as_str())],
                1,
            );
        }
        self.engine.begin_to_end_unsent(&settlement, step, ends);
    }

    /// Longer each time. Whoever else asks for the step meanwhile starts no second row of tries.
    fn try_later(&self, settlement: Arc<Settlement>, step: u32) {
        let Some(handle) = self.run.lane(&self.lane.signer) else {
            return;
        };
        let pause = {
            let mut state = settlement.lock();
            if std::mem::replace(&mut state.retrying, true) {
                return;
            }
            let doubled = 1_u32.checked_shl(state.retries).unwrap_or(u32::MAX);
            state.retries = state.retries.saturating_add(1);
            FIRST_STEP_PAUSE.saturating_mul(doubled).min(LONGEST_STEP_PAUSE)
        };
        self.engine.spawn_after(pause, move || {
            settlement.lock().retrying = false;
            handle.ask(Ask::Step(Work {
                settlement,
                step,
                payer: None,
            }));
        });
    }

    async fn bring_into_slot(
        &mut self,
        settlement: &Arc<Settlement>,
        step: u32,
        is_first: bool,
    ) -> Result<(), Stop> {
        let index = usize::try_from(step).unwrap_or(usize::MAX);
        let planned = settlement.plan().and_then(|plan| plan.steps.get(index)).cloned();
        let Some(planned) = planned else {
            return Err(Stop::Unavailable("the plan can't be read"));
        };
        if self.run.is_astray() || self.jump.is_some() {
            return Err(Stop::Unavailable("this network is not ready; try again"));
        }
        if is_first
            && planned
                .expires_at_s
                .is_some_and(|at| self.engine.clock.now_s() >= at)
        {
            return Err(Stop::Unavailable("it expired while it waited for its turn"));
        }
        let sequence = if self.lane.ordered {
            self.next_sequence
        } else {
            self.engine.journal.new_id()
        };
        let (lost, first_height) = if is_first {
            (0, u64::MAX)
        } else {
            match self.engine.history_of(settlement, step).await {
                Some((slots, _)) if slots > MOST_NEW_SLOTS => return Err(Stop::LostSlots),
                Some(history) => history,
                None => return Err(Stop::Unavailable("the journal can't be read")),
            }
        };
        let slot = Slot {
            lane: self.lane.clone(),
            sequence,
            lost,
        };
        let (bid, built) = self
            .quote_and_build(settlement, &slot, &planned, is_first)
            .await?;
        self.check_cost(&planned, &built)?;
        if is_first {
            self.check_funds(&built)?;
        }

        let mut attempt = self.attempt_row(
            &slot,
            &bid,
            &built,
            AttemptKind::Steps,
            vec![(settlement.id, step)],
        );
        // Somebody else may have made the payment between the steps.
        attempt.since_height = attempt.since_height.min(first_height);
        let spender = self.spender(std::iter::once(settlement));
        let mut before = Vec::new();
        if is_first {
            if settlement
                .kind
                .as_ref()
                .is_some_and(|kind| self.engine.is_paused(kind))
            {
                return Err(Stop::Paused);
            }
            before = self.begin_commit(settlement)?;
            self.run
                .budget
                .take(attempt.prepared_at_ms, attempt.max_cost, &spender)
                .map_err(|over| self.over_budget(&over))?;
            // A caller whose time ends during the commit is told this hash.
            settlement.lock().row.tx_id = Some(attempt.tx_id.clone());
        }
        let (prepared_at_ms, max_cost) = (attempt.prepared_at_ms, attempt.max_cost);
        let deciding = settlement.deciding.lock().await;
        let recorded = record_attempt(
            &*self.engine.journal,
            before,
            NewAttempt::new(attempt, built.bytes),
        )
        .await;
        let attempt = match recorded {
            Ok(attempt) => attempt,
            Err(error) => {
                if is_first {
                    self.run.budget.give_back(prepared_at_ms, max_cost, &spender);
                }
                // Still `Committing`: the caller of this function gives it up, or tries a later step again.
                return Err(Stop::Commit(error));
            }
        };
        if !is_first {
            self.run.budget.charge(prepared_at_ms, max_cost, &spender);
        }
        if self.lane.ordered {
            self.next_sequence = sequence.saturating_add(1);
        }
        {
            let mut state = settlement.lock();
            state.phase = Phase::Committed;
            if let Some(row) = state.row.steps.get_mut(index) {
                row.state = StepState::InSlot {
                    lane: self.lane.clone(),
                    sequence,
                };
            }
            state.row.note_tx_id(step, &attempt.tx_id);
        }
        drop(deciding);
        settlement.changed.notify_waiters();
        self.open_slot(attempt, vec![(Arc::clone(settlement), step)]);
        self.engine.advance(settlement);
        Ok(())
    }

    /// Begins to watch a journaled transaction, and sends it.
    fn open_slot(&self, attempt: Journaled<AttemptRow>, covers: Vec<(Arc<Settlement>, u32)>) {
        let slot = Arc::new(OpenSlot::new(
            vec![attempt.clone()],
            self.lane.clone(),
            attempt.sequence,
            covers,
        ));
        self.run.add_slot(Arc::clone(&slot));
        self.hand_over(&slot, attempt);
    }

    fn hand_over(&self, slot: &OpenSlot, attempt: Journaled<AttemptRow>) {
        {
            let mut state = slot.lock();
            state.sending = state.sending.saturating_add(1);
        }
        // The sender ends only with the process; what is journaled is sent again by the next.
        let _ = self.sender.send(attempt);
    }
}
