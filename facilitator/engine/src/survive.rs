//! A panic is a defect. It ends the piece of work that met it and nothing else: the loop around it goes on, what the work
//! had recorded is read back from the journal, and operators see an alarm.
//!
//! Assumed: the journal is whole whatever panics, and the locks in memory are held by nothing that panics between two writes
//! that belong together.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::network::NetworkRun;
use super::settle::unavailable;
use super::settlement::{Phase, Settlement};
use super::slot::OpenSlot;
use super::unsent::Ends;
use super::{Engine, lock};
use journal::{JournalError, StepState, open_slots};

/// A lane that is closed for longer since its start needs a person.
const CLOSED_FOR: Duration = Duration::from_secs(30);
/// Before work that panicked is tried again.
pub(super) const AFTER_A_PANIC: Duration = Duration::from_secs(1);

impl Engine {
    /// Carries out a piece of work; `None`: it panicked. An empty `network` stands for what concerns all of them.
    pub(super) async fn survives<T>(
        &self,
        network: &str,
        work: &'static str,
        task: impl Future<Output = T>,
    ) -> Option<T> {
        match AssertUnwindSafe(task).catch_unwind().await {
            Ok(done) => Some(done),
            Err(payload) => {
                // Its own drop could panic again.
                std::mem::forget(payload);
                self.note_panic(network, work);
                None
            }
        }
    }

    /// The same for work that is tried until it does not panic.
    pub(super) async fn insist<T, F>(
        &self,
        network: &str,
        work: &'static str,
        mut task: impl FnMut() -> F,
    ) -> T
    where
        F: Future<Output = T>,
    {
        loop {
            if let Some(done) = self.survives(network, work, task()).await {
                return done;
            }
            tokio::time::sleep(AFTER_A_PANIC).await;
        }
    }

    /// A task that is begun again when it panics.
    pub(super) fn keep<F>(
        self: &Arc<Self>,
        network: &str,
        work: &'static str,
        task: impl Fn(Arc<Self>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (engine, network) = (Arc::clone(self), network.to_owned());
        self.spawn(async move {
            engine.insist(&network, work, || task(Arc::clone(&engine))).await;
        });
    }

    fn note_panic(&self, network: &str, work: &'static str) {
        tracing::error!(
            network,
            "panic: {work} panicked, which is a defect: report it with the lines before this one. It is \
            begun again from what is recorded"
        );
        self.metrics
            .add("switchyard_panics_total", &[("network", network)], 1);
        let mut panics = lock(&self.panics);
        let times = panics.entry((network.to_owned(), work)).or_default();
        *times = times.saturating_add(1);
    }

    /// For operators: what needs a person on a network, though it may be ready.
    pub(super) fn alarms_on(&self, network: &str) -> Vec<String> {
        let overdue = self
            .run_of(network)
            .and_then(|run| lock(&run.health.overdue).clone());
        let panics = lock(&self.panics);
        let concern = panics
            .iter()
            .filter(|((on, _), _)| on == network || on.is_empty());
        let panics = concern
            .map(|((_, work), times)| {
                format!("{work} panicked {times} times since the start and was begun again: report the defect with the log")
            });
        let failing = self.griefing.alarm(network);
        let closed = self.closed_lanes_on(network);
        let others = closed.into_iter().chain(failing).chain(panics);
        overdue.into_iter().chain(others).collect()
    }

    fn closed_lanes_on(&self, network: &str) -> Option<String> {
        let closed = self.run_of(network)?.long_closed(CLOSED_FOR);
        (!closed.is_empty()).then(|| {
            format!(
                "{} {} nothing yet: no RPC node shows a transaction count that can be compared with the journal's; the log says \
                 what is missing",
                closed.join(", "),
                if closed.len() == 1 { "sends" } else { "send" },
            )
        })
    }

    /// After a panic of the work that alone may record a settlement: it is as the journal has it, or given up. `true`: it is
    /// recorded.
    pub(super) async fn recover_first_commit(
        &self,
        settlement: &Arc<Settlement>,
    ) -> Result<bool, JournalError> {
        if settlement.lock().phase == Phase::Gone {
            return Ok(false);
        }
        let Some(row) = self.journal.settlement(settlement.id).await? else {
            settlement.give_up(|_| unavailable("it could not be begun; try again"));
            return Ok(false);
        };
        {
            let mut state = settlement.lock();
            state.row = row;
            state.phase = Phase::Committed;
        }
        settlement.changed.notify_waiters();
        Ok(true)
    }

    /// After a panic of work on a recorded settlement: everything that follows from its row is begun again.
    pub(super) async fn revive(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        {
            let _deciding = settlement.deciding.lock().await;
            self.refresh_locked(settlement).await;
        }
        if !settlement.lock().row.holds_keys() {
            self.free_keys(settlement.id);
        }
        self.serve_waiters(settlement, None).await;
        self.advance(settlement);
        for step in unexplained_steps(settlement) {
            self.begin_again_to_explain(settlement, step);
        }
        Arc::clone(self).finish_if_ended(Arc::clone(settlement)).await;
        self.forget_if_finished(settlement);
    }

    /// After a panic of work on a slot, which nobody else closes: the slot and its settlements are as the journal has them.
    pub(super) async fn revive_slot(
        self: &Arc<Self>,
        run: &Arc<NetworkRun>,
        slot: &Arc<OpenSlot>,
    ) -> Result<(), JournalError> {
        let open = open_slots(&*self.journal).await?;
        let is_open = open
            .iter()
            .any(|(row, _)| row.lane == slot.lane && row.sequence == slot.sequence);
        for settlement in slot.settlements() {
            self.revive(&settlement).await;
        }
        if is_open {
            slot.lock().asked = false;
            slot.resume_decision();
        } else {
            self.remove_closed(run, slot);
        }
        Ok(())
    }

    /// Looks for what had the effect of a step, as a task that is begun again when it panics.
    pub(super) fn begin_again_to_explain(self: &Arc<Self>, settlement: &Arc<Settlement>, step: u32) {
        let settlement = Arc::clone(settlement);
        let network = settlement.network.id().to_owned();
        self.keep(&network, "the search for a step's effect", move |engine| {
            engine.explain_anew(Arc::clone(&settlement), step)
        });
    }

    /// Has a step judged that gets no slot, as a task that is begun again when it panics.
    pub(super) fn begin_to_end_unsent(self: &Arc<Self>, settlement: &Arc<Settlement>, step: u32, ends: Ends) {
        let settlement = Arc::clone(settlement);
        let network = settlement.network.id().to_owned();
        self.keep(
            &network,
            "the judgement of a step without a slot",
            move |engine| {
                let settlement = Arc::clone(&settlement);
                async move {
                    engine.as_recorded(&settlement).await;
                    engine.end_unsent(settlement, step, ends).await;
                }
            },
        );
    }

    /// Ends a settlement of which every step is final, as a task that is begun again when it panics.
    pub(super) fn begin_to_finish(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        let settlement = Arc::clone(settlement);
        let network = settlement.network.id().to_owned();
        self.keep(&network, "the end of a settlement", move |engine| {
            engine.finish_if_ended(Arc::clone(&settlement))
        });
    }

    async fn explain_anew(self: Arc<Self>, settlement: Arc<Settlement>, step: u32) {
        self.as_recorded(&settlement).await;
        self.explain(settlement, step).await;
    }

    /// What an earlier try found may be recorded although it panicked.
    async fn as_recorded(&self, settlement: &Arc<Settlement>) {
        let _deciding = settlement.deciding.lock().await;
        self.refresh_locked(settlement).await;
    }
}

/// Steps for which it is searched what had their effect.
pub(super) fn unexplained_steps(settlement: &Settlement) -> Vec<u32> {
    let state = settlement.lock();
    let steps = state.row.steps.iter().enumerate();
    steps
        .filter(|(_, step)| matches!(step.state, StepState::Unexplained { .. }))
        .filter_map(|(index, _)| u32::try_from(index).ok())
        .collect()
}
