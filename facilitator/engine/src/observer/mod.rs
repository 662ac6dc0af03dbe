//! One batched loop per network: where does every open transaction stand, and what follows from it?
//!
//! A pure function ([`super::verdict`]) decides what to do with a slot, from what was observed, what was decided
//! before, and the time. The loop around it carries it out. How slots close is in [`crate::endings`].

mod act;
mod pace;

use crate::decide::observation::without_leap;
use crate::endings::Endings;
use crate::outcome::Outcomes;
use crate::runtime::Runtime;
use crate::runtime::survive::AFTER_A_PANIC;
use crate::state::network::NetworkRun;
use crate::state::settlement::trace_of;
use crate::state::slot::OpenSlot;
use crate::verdict::watches::{BlockPace, watches_of};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::trace;
use futures_util::future::join_all;
use sdk_plugin::chain::{Observation, TxState, Watch};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The first poll after a send, and the least pause between two polls of a slot.
const QUICK: Duration = Duration::from_millis(40);
/// Without open slots the loop sleeps this long, or until it is woken.
const IDLE: Duration = Duration::from_secs(60);
/// How long a poll waits for the work that follows from it: slots that take longer are polled separately from then on.
const TOGETHER: Duration = Duration::from_millis(100);
/// The name of the work in alarms about its panics.
const WORK: &str = "the observer";
/// Most slots in one call.
const BATCH: usize = 256;
/// Polls the open slots of every network.
pub(crate) struct Observer {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) endings: Arc<Endings>,
}

impl Observer {
    pub(crate) async fn run_observer(self: Arc<Self>, run: Arc<NetworkRun>) {
        loop {
            let now = Instant::now();
            let next = run
                .slots()
                .iter()
                .filter_map(|slot| slot.lock().polling.due_at())
                .min();
            let pause = next.map_or(IDLE, |due| due.saturating_duration_since(now).max(QUICK));
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                () = run.wake_observer.notified() => tokio::time::sleep(QUICK).await,
            }
            self.observe_network(&run).await;
        }
    }

    /// Polls every slot that is due.
    pub(crate) async fn observe_network(self: &Arc<Self>, run: &Arc<NetworkRun>) {
        let now = Instant::now();
        let began = now;
        let mut due: Vec<Arc<OpenSlot>> = run.slots();
        due.retain(|slot| slot.lock().polling.due_at().is_some_and(|due| due <= now));
        for slots in due.chunks(BATCH) {
            let by_node = self.runtime.by_node(slots, &run.network);
            let polls = by_node.iter();
            join_all(polls.map(|(node, slots)| self.observe_group(run, slots, *node, began))).await;
        }
    }

    /// From this node, or from the one that reads go to.
    async fn observe_group(
        self: &Arc<Self>,
        run: &Arc<NetworkRun>,
        slots: &[Arc<OpenSlot>],
        node: Option<usize>,
        began: Instant,
    ) {
        let watches: Vec<Watch> = slots
            .iter()
            .flat_map(|slot| watches_of(slot, &run.network.settings, run.head(), block_pace(run)))
            .collect();
        let seen = async {
            match node {
                Some(node) => self.runtime.observe_first_by(run, &watches, node).await,
                None => self.runtime.observe_of_any(&run.network, &watches).await,
            }
        };
        // A poll of several payments belongs to the trace of the first.
        let trace = slots.first().and_then(|slot| trace_of(&slot.covers));
        let seen = trace::within(trace, seen).await;
        let Ok(observations) = seen else {
            let later = Instant::now() + Duration::from_millis(run.network.settings.poll_interval_ms);
            for slot in slots {
                slot.lock().polling.set_due(later);
            }
            return;
        };
        let known = run.head();
        record_heads(run, &watches, &observations);
        let mut by_attempt: HashMap<String, Observation> = observations
            .into_iter()
            .map(|seen| (seen.attempt_id.clone(), without_leap(seen, known)))
            .collect();
        let observed = slots.iter().map(|slot| {
            let ids: Vec<String> = slot
                .lock()
                .attempts
                .iter()
                .map(|attempt| attempt.id.to_string())
                .collect();
            let seen: Option<Vec<Observation>> = ids.iter().map(|id| by_attempt.remove(id)).collect();
            (slot, seen)
        });
        let observed: Vec<_> = observed.collect();
        let mut acting = Vec::new();
        for (slot, seen) in observed {
            match seen {
                Some(seen) => {
                    record_miss(run, slot, &seen, began);
                    acting.push(self.begin_to_act(run, slot, seen, began));
                }
                // A reply without one of the attempts says nothing about the slot.
                None => {
                    self.set_due(run, slot);
                }
            }
        }
        if tokio::time::timeout(TOGETHER, join_all(acting)).await.is_err() {
            // Work that hangs holds up its own slot only.
            for slot in slots {
                slot.lock().polling.wake_at_end();
            }
        }
    }

    /// Acts on the observations of a slot, in a separate task: a scheme that hangs, or a panic, concerns this slot
    /// alone. The receiver ends with the task.
    fn begin_to_act(
        self: &Arc<Self>,
        run: &Arc<NetworkRun>,
        slot: &Arc<OpenSlot>,
        seen: Vec<Observation>,
        began: Instant,
    ) -> oneshot::Receiver<()> {
        let (ends, end) = oneshot::channel();
        slot.lock().polling.begin_acting();
        let (engine, run, slot) = (Arc::clone(self), Arc::clone(run), Arc::clone(slot));
        self.runtime.spawn(async move {
            let id = run.network.id();
            let acting = engine.act(&run, &slot, &seen, began);
            if engine.runtime.survives(id, WORK, acting).await.is_none() {
                // Boxed, because it is rare and large.
                Box::pin(engine.revive_after_a_panic(&run, &slot)).await;
            }
            if engine.set_due(&run, &slot) {
                run.wake_observer.notify_one();
            }
            drop(ends);
        });
        end
    }

    /// Reads back from the journal what a panic may have left half done.
    async fn revive_after_a_panic(self: &Arc<Self>, run: &Arc<NetworkRun>, slot: &Arc<OpenSlot>) {
        tokio::time::sleep(AFTER_A_PANIC).await;
        let revive = || self.endings.revive_slot(run, slot);
        while let Err(error) = self.runtime.insist(run.network.id(), WORK, revive).await {
            tracing::error!(%error, sequence = slot.sequence, "a slot can't be read from the journal");
            tokio::time::sleep(AFTER_A_PANIC).await;
        }
    }

    /// Sets the time of the next poll, after the last one was acted on. `true`: the observer must be woken.
    fn set_due(&self, run: &NetworkRun, slot: &OpenSlot) -> bool {
        let poll = Duration::from_millis(run.network.settings.poll_interval_ms).max(QUICK);
        let now = Instant::now();
        let mut state = slot.lock();
        let by_blocks = run.follows_blocks().then(|| {
            let blocks = run.blocks.lock();
            pace::next_poll(&state, &blocks, run.network.settings.finality, poll, now)
        });
        let pause = if state.polling.is_soon() {
            QUICK
        } else if let Some(due) = by_blocks.flatten() {
            due.saturating_duration_since(now)
        } else if state.decision.is_some() {
            poll.saturating_mul(5)
        } else {
            (now.saturating_duration_since(state.sends.last) / 2).clamp(QUICK, poll)
        };
        state.polling.end(now + pause)
    }
}

/// What the blocks of a network tell, where polls follow them.
fn block_pace(run: &NetworkRun) -> Option<BlockPace> {
    let block_time = run.block_time()?;
    let height = run.blocks.lock().height_at(Instant::now())?;
    Some(BlockPace { block_time, height })
}

/// Records the heads of a poll's answers. One reply is one head, however many watches it is about.
fn record_heads(run: &NetworkRun, watches: &[Watch], observations: &[Observation]) {
    let shown = observations.iter().map(|seen| seen.head_height);
    let Some(head) = shown.filter(|height| *height > 0).min() else {
        return;
    };
    // A brief answer may name a block below the head.
    if watches.iter().any(|watch| watch.brief) {
        run.record_head(head);
        run.blocks.lock().record_there(head, Instant::now());
    } else {
        run.record_current_head(head);
    }
}

/// A block that shows a transaction was not there when the poll before began, which did not show it.
fn record_miss(run: &NetworkRun, slot: &OpenSlot, seen: &[Observation], began: Instant) {
    let mut state = slot.lock();
    let landed = seen.iter().find_map(|seen| match seen.state {
        TxState::Landed { height, .. } | TxState::Reverted { height, .. } => Some(height),
        TxState::Unknown
        | TxState::Pending
        | TxState::SlotUsed
        | TxState::Lapsed
        | TxState::Expired { .. } => None,
    });
    match landed {
        None if began > state.sends.last => state.missed_at = Some(began),
        None => {}
        Some(height) => {
            if let Some(missed_at) = state.missed_at.take() {
                run.blocks.lock().record_not_yet(height, missed_at);
            }
        }
    }
}
