//! One task owns each lane: one signer on one network, and the order of its transactions.
//!
//! The task takes work from a bounded queue while fewer slots are in flight than allowed, and carries out the
//! observer's commands (replace, fill, send again) at any time. A step becomes a transaction in this order and no
//! other: quote, build and sign, journal, hand to the sender. The sender accepts only [`Journaled`] attempts.

use crate::decide::replies::unavailable;
use crate::endings::Endings;
use crate::outcome::Outcomes;
use crate::runtime::Runtime;
use crate::state::lane::{LaneCommand, LaneEnd, LaneHandle, Work};
use crate::state::lane_queue::Waiting;
use crate::state::network::NetworkRun;
use crate::state::settlement::{Phase, Settlement};
use crate::state::slot::OpenSlot;
use reconcile::Jump;
use sdk_plugin::StepIndex;
mod first;
mod reconcile;
mod recover;
mod replace;
mod replay;
mod send;
mod shared;
mod steps;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sdk_plugin::chain::Lane;
use sdk_plugin::scheme::Refusal;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::time::Instant;

use journal::{AttemptRow, CommitError, Journaled};

/// Pause between two tries if a node did not answer.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// The most tries of quote and build for a settlement that is not recorded.
const TRIES: u32 = 4;
/// The most unused slots ahead of the first open slot that are filled at once.
const MOST_GAPS: usize = 16;

/// Starts lanes, and sends the transactions that they have recorded.
pub(crate) struct Lanes {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) endings: Arc<Endings>,
}

struct LaneTask {
    lanes: Arc<Lanes>,
    run: Arc<NetworkRun>,
    lane: Lane,
    next_sequence: u64,
    /// The chain is ahead of what the journal explains. Nothing new is started until that is final.
    jump: Option<Jump>,
    reconciled: Arc<AtomicBool>,
    in_flight: Arc<AtomicUsize>,
    sender: mpsc::UnboundedSender<Journaled<AttemptRow>>,
    /// Locked while a settlement's first transaction is recorded.
    recording: Arc<Mutex<()>>,
    /// What it has taken from its queue and not finished.
    at_work: Vec<Work>,
    /// Until when each step goes alone, because the network can't share transactions.
    alone_until: Option<Instant>,
    /// First steps that it has taken from its queue, and that may wait for others.
    gathered: Vec<Work>,
    /// Taken from the queue too: it can't share a transaction with what was taken before it, and is next.
    set_aside: Option<Work>,
}

impl Lanes {
    /// Starts a lane's tasks. The lane stays closed until its sequence is reconciled with the chain's.
    pub(crate) fn start_lane(self: &Arc<Self>, run: &Arc<NetworkRun>, lane: Lane) {
        let places = run.network.settings.lane_queue.max(1);
        let (work_in, work) = mpsc::channel(places);
        let (command_sender, commands) = mpsc::unbounded_channel();
        let (sender, to_send) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::new(places));
        let room = Arc::new(Notify::new());
        let reconciled = Arc::new(AtomicBool::new(false));
        let (ends, ended) = watch::channel(());
        let end = LaneEnd {
            requested: Arc::default(),
            recording: Arc::default(),
            ended,
        };
        let in_flight = Arc::new(AtomicUsize::new(run.in_flight(&lane.signer)));
        run.add_lane(LaneHandle {
            reconciled: Arc::clone(&reconciled),
            since: Instant::now(),
            end: end.clone(),
            in_flight: Arc::clone(&in_flight),
            lane: lane.clone(),
            work: work_in,
            commands: command_sender,
            waiting: Arc::clone(&waiting),
            room: Arc::clone(&room),
        });
        self.runtime
            .spawn(Arc::clone(self).send_in_order(Arc::clone(run), to_send));
        let task = LaneTask {
            lanes: Arc::clone(self),
            run: Arc::clone(run),
            lane,
            next_sequence: 0,
            jump: None,
            reconciled,
            in_flight,
            sender,
            recording: end.recording,
            at_work: Vec::new(),
            alone_until: None,
            gathered: Vec::new(),
            set_aside: None,
        };
        let requested = end.requested;
        self.runtime.spawn(async move {
            task.run_until(&requested, work, commands, (waiting, room)).await;
            drop(ends);
        });
    }
}

/// Why a step got no slot.
enum Stop {
    /// Nothing was recorded; the callers get this refusal.
    Refused(Refusal),
    Unavailable(&'static str),
    /// The operator has paused its kind; nothing was recorded.
    Paused,
    /// The first commit was refused.
    Commit(CommitError),
    /// The step lost a slot or follows another one, and its call would fail now, for this reason.
    WouldFail(String),
    /// The step lost more slots than it may.
    LostSlots,
    /// The callers have gone.
    Withdrawn,
    /// Another settlement has the claim.
    Taken,
}

impl LaneTask {
    /// Runs the lane until its process ends, or until that is requested: what waits in its queue is then answered.
    async fn run_until(
        mut self,
        requested: &Notify,
        mut work: mpsc::Receiver<Work>,
        commands: mpsc::UnboundedReceiver<LaneCommand>,
        (waiting, room): (Arc<Waiting>, Arc<Notify>),
    ) {
        tokio::select! {
            biased;
            () = requested.notified() => {}
            () = self.run(&mut work, commands, waiting, room) => return,
        }
        work.close();
        let begun = std::mem::take(&mut self.at_work);
        let gathered = std::mem::take(&mut self.gathered);
        let next = self.set_aside.take();
        for work in begun
            .into_iter()
            .chain(gathered)
            .chain(next)
            .chain(std::iter::from_fn(|| work.try_recv().ok()))
        {
            self.dismiss(&work.settlement);
        }
    }

    /// Answers the callers of a settlement that is not recorded. Those of a recorded one wait for what the next owner of the
    /// lane does.
    fn dismiss(&self, settlement: &Arc<Settlement>) {
        let phase = settlement.lock().phase;
        match phase {
            Phase::Opening | Phase::Committing => {
                settlement.give_up(|_| unavailable("another node sends from this signer now; try again"));
                self.lanes.runtime.claims.forget(settlement);
            }
            // Its callers have left, and only this lane would have forgotten it with its keys.
            Phase::Gone => self.lanes.runtime.claims.forget(settlement),
            Phase::Committed => {}
        }
    }

    async fn run(
        &mut self,
        work: &mut mpsc::Receiver<Work>,
        mut commands: mpsc::UnboundedReceiver<LaneCommand>,
        waiting: Arc<Waiting>,
        room: Arc<Notify>,
    ) {
        self.read_safely(true).await;
        // Callers may be waiting for releases that could not be given before.
        self.run.poll_all_now();
        loop {
            let in_flight = self.run.in_flight(&self.lane.signer);
            self.in_flight.store(in_flight, Ordering::Relaxed);
            let most = self.run.network.settings.in_flight(self.lane.ordered);
            let has_room = self.jump.is_none() && in_flight < most;
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.run_command_safely(command).await,
                    None => return,
                },
                next = self.next_works(work, &waiting), if has_room => match next {
                    Some(next) => {
                        self.at_work.clone_from(&next);
                        self.first_safely(next).await;
                        self.at_work.clear();
                    }
                    None => return,
                },
                () = room.notified() => {}
                () = tokio::time::sleep(RETRY_EVERY * 4), if self.jump.is_some() => self.read_safely(false).await,
            }
        }
    }

    async fn run_command(&mut self, command: LaneCommand) {
        match command {
            LaneCommand::Step(work) => self.later(work).await,
            LaneCommand::Rebid(key) => self.rebid(&key).await,
            LaneCommand::Fill(key) => self.fill(&key).await,
            LaneCommand::Resend(key) => {
                if let Some(slot) = self.run.slot(&key) {
                    let newest = {
                        let mut state = slot.lock();
                        state.command_pending = false;
                        state.sends.last = Instant::now();
                        state.newest_to_resend().cloned()
                    };
                    if let Some(attempt) = newest {
                        self.hand_over(&slot, attempt);
                    }
                }
            }
            LaneCommand::CatchUp => self.catch_up().await,
        }
    }

    /// Starts to observe a recorded transaction, and sends it.
    fn open_slot(&self, attempt: Journaled<AttemptRow>, covers: Vec<(Arc<Settlement>, StepIndex)>) {
        let slot = Arc::new(OpenSlot::new(
            vec![attempt.clone()],
            attempt.lane.clone(),
            attempt.sequence,
            covers,
        ));
        // No block can show it before the next one.
        if let Some(due) = self.run.next_block_due() {
            slot.lock().polling.set_due(due);
        }
        self.run.add_slot(Arc::clone(&slot));
        self.run.record_spending();
        self.hand_over(&slot, attempt);
    }

    fn hand_over(&self, slot: &OpenSlot, attempt: Journaled<AttemptRow>) {
        slot.lock().sends.begin();
        // The sender ends only with the process. The next process sends recorded transactions again.
        let _ = self.sender.send(attempt);
    }
}
