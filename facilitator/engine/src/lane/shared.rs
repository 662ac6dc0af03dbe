//! First steps that wait at the same moment share one transaction, and one commit records all of them.
//!
//! None is delayed for that, unless its tenant wants it: a lane takes what has gathered in its queue while it was busy. Each
//! payment is still claimed, judged, released and answered on its own. Whatever goes wrong before the commit costs a payment
//! its company only: it goes alone then, as it would have without others.

use super::LaneTask;
use super::steps::Turn;
use crate::decide::budget::Spender;
use crate::runtime::first_commit::Home;
use crate::state::lane::Work;
use crate::state::lane_queue::Waiting;
use crate::state::settlement::{Phase, Settlement};
use base::trace::{self, Trace};
use journal::{AttemptKind, AttemptRow, Event, Journaled, NewAttempt, record_attempt};
use sdk_plugin::chain::{Bid, Built, Slot};
use sdk_plugin::scheme::{LaneChoice, Step};
use sdk_plugin::{FaultKind, StepIndex};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long each step goes alone once a driver has said that its network can't share transactions.
const ALONE_FOR: Duration = Duration::from_secs(600);

/// What of several steps goes alone.
struct Alone {
    /// Nothing was recorded of these.
    works: Vec<Work>,
    /// The driver left these out, because their calls would have failed.
    left_out: Vec<Work>,
}

impl Alone {
    fn all(works: Vec<Work>) -> Self {
        Self {
            works,
            left_out: Vec::new(),
        }
    }
}

impl LaneTask {
    /// The next first step, with those after it in the queue that may share its transaction. Payments that may wait for
    /// others are gathered until one may not, or until there are as many as a transaction carries.
    pub(super) async fn next_works(
        &mut self,
        queue: &mut mpsc::Receiver<Work>,
        waiting: &Waiting,
    ) -> Option<Vec<Work>> {
        if self.gathered.is_empty() {
            let first = match self.set_aside.take() {
                Some(work) => work,
                None => taken(queue.recv().await?, waiting),
            };
            self.gathered.push(first);
        }
        // Those that join were checked when they were taken.
        while self.gathered.iter().all(|work| self.may_share(work)) {
            while self.has_room_to_share()
                && let Ok(work) = queue.try_recv()
            {
                self.gather(taken(work, waiting));
            }
            let Some(until) = self.gathers_until() else { break };
            // Dropped while it waits, this loses nothing: what was taken is kept.
            tokio::select! {
                biased;
                next = queue.recv() => match next {
                    Some(work) => self.gather(taken(work, waiting)),
                    None => break,
                },
                () = tokio::time::sleep_until(until) => break,
            }
        }
        Some(std::mem::take(&mut self.gathered))
    }

    fn gather(&mut self, work: Work) {
        if self.may_share(&work) && !self.is_mistakable(&work) {
            self.gathered.push(work);
        } else {
            self.set_aside = Some(work);
        }
    }

    /// Whether the logs of a step could be taken for those of one that is gathered: both are of one payer.
    fn is_mistakable(&self, work: &Work) -> bool {
        let payer = work.settlement.lock().row.payer.clone();
        let is_of_payer = |other: &Work| other.settlement.lock().row.payer.eq_ignore_ascii_case(&payer);
        let is_one_per_payer = |work: &Work| step_of(work).is_some_and(|step| step.one_per_payer);
        let mut of_payer = self.gathered.iter().filter(|other| is_of_payer(other));
        of_payer.any(|other| is_one_per_payer(work) || is_one_per_payer(other))
    }

    /// Whether another step may join those that are gathered.
    fn has_room_to_share(&self) -> bool {
        self.set_aside.is_none()
            && self.alone_until.is_none_or(|until| until <= Instant::now())
            && self.gathered.len() < self.run.network.settings.max_batch
    }

    /// Until when all that are gathered may wait for others; `None`: they go now.
    fn gathers_until(&self) -> Option<Instant> {
        if !self.has_room_to_share() {
            return None;
        }
        let untils = self
            .gathered
            .iter()
            .map(|work| work.settlement.gathers_until.get());
        let untils: Option<Vec<&Instant>> = untils.collect();
        let first = untils?.into_iter().min().copied();
        first.filter(|until| *until > Instant::now())
    }

    /// Whether a step may share a transaction with others.
    fn may_share(&self, work: &Work) -> bool {
        let is_new = work.settlement.lock().phase == Phase::Opening;
        let is_paused = |settlement: &Settlement| {
            let kind = settlement.kind.as_ref();
            kind.is_some_and(|kind| self.lanes.runtime.is_paused(kind))
        };
        is_new
            && self.lane.ordered
            && !self.run.network.settings.replay_keys
            && work.step == StepIndex::FIRST
            && !is_paused(&work.settlement)
            && step_of(work).is_some_and(|step| {
                let now_s = self.lanes.runtime.clock.now_s();
                // Reads are named within one step only.
                let has_reads = !step.evidence.reads.is_empty() || !step.evidence.block_logs.is_empty();
                step.batchable
                    && !has_reads
                    && step.lane != LaneChoice::Foreign
                    && step.expires_at_s.is_none_or(|at| now_s < at)
            })
    }

    /// Runs the first steps of these settlements, together where that is possible.
    pub(super) async fn first_of_many(&mut self, works: Vec<Work>) {
        // Callers may have left while theirs waited for others.
        let is_gone = |work: &Work| work.settlement.lock().phase == Phase::Gone;
        let (gone, works): (Vec<Work>, Vec<Work>) = works.into_iter().partition(is_gone);
        self.first_of_each(gone, Turn::First).await;
        if works.len() < 2 {
            return self.first_of_each(works, Turn::First).await;
        }
        let Alone { works, left_out } = self.share_slot(works).await;
        for work in &works {
            // Of a transaction that was not recorded.
            work.settlement.lock().row.tx_id = None;
        }
        self.first_of_each(works, Turn::First).await;
        // Alone, its call may work; or the simulation shows again that it would fail.
        self.first_of_each(left_out, Turn::FirstSimulated).await;
    }

    async fn first_of_each(&mut self, works: Vec<Work>, turn: Turn) {
        for work in works {
            self.first(work, turn).await;
        }
    }

    /// Records these steps in one slot, with one transaction. Returns those that go alone.
    async fn share_slot(&mut self, works: Vec<Work>) -> Alone {
        if self.run.is_on_wrong_chain() || self.jump.is_some() {
            return Alone::all(works);
        }
        let slot = Slot::new(self.lane.clone(), self.next_sequence);
        let steps: Vec<Step> = works.iter().filter_map(step_of).collect();
        if steps.len() != works.len() {
            return Alone::all(works);
        }
        let trace = works.first().and_then(|work| work.settlement.trace);
        let Some((bid, built)) = self.build_together(&slot, &steps, trace).await else {
            return Alone::all(works);
        };
        let is_left_out = |index: usize| {
            built
                .left_out
                .iter()
                .any(|out| usize::try_from(*out) == Ok(index))
        };
        let (mut kept, mut left_out, mut kept_steps) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (work, step)) in works.into_iter().zip(steps).enumerate() {
            if is_left_out(index) {
                left_out.push(work);
            } else {
                kept.push(work);
                kept_steps.push(step);
            }
        }
        let is_affordable =
            self.check_cost(&kept_steps, &built).is_ok() && self.check_funds(built.max_cost).is_ok();
        if kept.is_empty() || !is_affordable {
            return Alone {
                works: kept,
                left_out,
            };
        }
        let covers = kept.iter().map(|work| (work.settlement.id, work.step)).collect();
        let attempt = self.attempt_row(&slot, &bid, &built, AttemptKind::Steps, covers);
        let Some(attempt) = self.record_together(&kept, attempt, built).await else {
            return Alone {
                works: kept,
                left_out,
            };
        };
        self.next_sequence = attempt.sequence.saturating_add(1);
        for work in &kept {
            self.in_slot(&work.settlement, work.step, &attempt);
            work.settlement.changed.notify_waiters();
        }
        self.count(kept.len());
        let covers = kept
            .iter()
            .map(|work| (Arc::clone(&work.settlement), work.step))
            .collect();
        self.open_slot(attempt, covers);
        for work in &kept {
            self.lanes.outcomes.advance(&work.settlement);
        }
        Alone {
            works: Vec::new(),
            left_out,
        }
    }

    fn count(&self, steps: usize) {
        if steps < 2 {
            return;
        }
        let labels = [("network", self.lane.network.as_str())];
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        let metrics = &self.lanes.runtime.metrics;
        metrics.add("switchyard_batches_total", &labels, 1);
        metrics.add("switchyard_batched_steps_total", &labels, steps);
    }

    /// One transaction of these steps; `None` where there is none now.
    async fn build_together(
        &mut self,
        slot: &Slot,
        steps: &[Step],
        trace: Option<Trace>,
    ) -> Option<(Bid, Built)> {
        let ops = &self.lanes.runtime.ops;
        let network = &self.run.network;
        let bid = ops.quote(network, &self.lane, None).await.ok()?;
        let built = ops.build(network, slot, &bid, steps);
        match trace::within(trace, built).await {
            Ok(built) => Some((bid, built)),
            Err(fault) => {
                if fault.kind == FaultKind::Unsupported {
                    self.alone_until = Some(Instant::now() + ALONE_FOR);
                }
                tracing::warn!(network = %self.lane.network, signer = %self.lane.signer, steps = steps.len(),
                    "payments go one by one, because no transaction of all of them could be made: {}", fault.message);
                None
            }
        }
    }

    /// Opens these settlements and records their transaction, in one commit; `None`: nothing was recorded.
    async fn record_together(
        &self,
        works: &[Work],
        attempt: AttemptRow,
        built: Built,
    ) -> Option<Journaled<AttemptRow>> {
        let spender = self.spender(works.iter().map(|work| &work.settlement));
        // The lane may be handed over before this or after it, and not meanwhile.
        let recording = Arc::clone(&self.recording);
        let _recording = recording.lock().await;
        let events = self.begin_together(works, &attempt, &spender).await?;
        let (prepared_at_ms, max_cost) = (attempt.prepared_at_ms, attempt.max_cost);
        let mut by_id: Vec<&Arc<Settlement>> = works.iter().map(|work| &work.settlement).collect();
        by_id.sort_by_key(|settlement| settlement.id);
        let mut deciding = Vec::new();
        for settlement in by_id {
            deciding.push(settlement.deciding.lock().await);
        }
        let journal = &*self.lanes.runtime.journal;
        match record_attempt(journal, events, NewAttempt::new(attempt, built.bytes)).await {
            Ok(attempt) => Some(attempt),
            Err(error) => {
                self.run.budget.give_back(prepared_at_ms, max_cost, &spender);
                tracing::info!(network = %self.lane.network, signer = %self.lane.signer, %error,
                    "payments go one by one, because not all of them can be recorded");
                None
            }
        }
    }

    /// The events that open these settlements, once their transaction's cost is taken from the budgets.
    async fn begin_together(
        &self,
        works: &[Work],
        attempt: &AttemptRow,
        spender: &Spender,
    ) -> Option<Vec<Event>> {
        let (now_ms, cost) = (attempt.prepared_at_ms, attempt.max_cost);
        if !self.run.budget.fits(now_ms, cost, spender) {
            return None;
        }
        let home = Home::Here(&self.lane.signer);
        let mut events = Vec::new();
        for work in works {
            events.extend(self.lanes.runtime.begin_commit(&work.settlement, home).ok()?);
        }
        self.lanes
            .runtime
            .take_budget(&self.run, now_ms, cost, spender)
            .await
            .ok()?;
        for work in works {
            // A caller whose time ends during the commit gets this hash.
            work.settlement.lock().row.tx_id = Some(attempt.tx_id.clone());
        }
        Some(events)
    }
}

/// A step that left the queue.
fn taken(work: Work, waiting: &Waiting) -> Work {
    waiting.leave(work.payer.as_deref());
    work
}

fn step_of(work: &Work) -> Option<Step> {
    work.step.of(&work.settlement.plan()?.steps).cloned()
}
