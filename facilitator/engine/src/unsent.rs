//! Steps of a journaled settlement that are in no slot and get none any more.
//!
//! A step that waits without a slot ends when it has expired, or has lost too many slots: it failed if its guard is
//! unchanged at a final block. A step whose guard was changed by a transaction that nobody has shown is *unexplained*: the
//! logs are searched until something explains it, and it is never sent again.

use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::chain::{
    Anchor, BlockStands, Evidence, ForeignTx, GuardState, Observation, Shown, TxState, Watch,
};
use sdk_plugin::scheme::Step;

use super::Engine;
use super::closing::unexplained;
use super::observer::{Judged, search_from, without_leap};
use super::settlement::Settlement;
use super::verdict::foreign_of;
use crate::registry::NetworkSettings;
use journal::{AttemptKind, AttemptRow, StepState};

/// Between two tries.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// The longest pause between two searches for what changed a guard.
const LONGEST_SEARCH_PAUSE: Duration = Duration::from_secs(60);
/// Searches after which an unexplained step is logged again.
const REMIND_AFTER: u32 = 60;

/// Why an unexplained step had no effect after all.
const REORGANISED: &str =
    "its slot is used, and what had changed the state that it guards was reorganised away";

/// Why a waiting step gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Expired,
    /// Other transactions used too many of its slots: the signer's key is in use elsewhere.
    LostSlots,
    /// Its call would fail now.
    WouldFail,
}

impl Ends {
    fn why(self) -> &'static str {
        match self {
            Self::Expired => "it expired before it could be sent",
            Self::LostSlots => "the signer's key is used elsewhere: other transactions used its slots",
            Self::WouldFail => "its call would fail now, and it had no effect before",
        }
    }
}

impl Engine {
    /// Has a step judged that is in no slot and gets none.
    pub(super) async fn end_unsent(self: Arc<Self>, settlement: Arc<Settlement>, step: u32, ends: Ends) {
        let index = usize::try_from(step).unwrap_or(usize::MAX);
        let mut anchor: Option<Anchor> = None;
        loop {
            let waits = settlement
                .lock()
                .row
                .steps
                .get(index)
                .is_some_and(|row| row.state == StepState::Waiting);
            let planned = settlement.plan().and_then(|plan| plan.steps.get(index)).cloned();
            let (true, Some(planned)) = (waits, planned) else {
                return self.go_on(settlement).await;
            };
            if let Some(attempts) = self.attempts_of(&settlement, step).await {
                let proof = match attempts.last() {
                    // Nothing of it was ever signed.
                    None => Some(GuardState::Unchanged),
                    Some(newest) => {
                        self.final_guard(&settlement, &planned, &attempts, newest, ends, &mut anchor)
                            .await
                    }
                };
                match proof {
                    Some(GuardState::Unchanged) => {
                        if self.judge_dead(&settlement, step, ends.why()).await {
                            return self.go_on(settlement).await;
                        }
                    }
                    Some(GuardState::Changed | GuardState::Absent) => {
                        let height = anchor.as_ref().map_or(0, |anchor| anchor.block.height);
                        if self.commit_unexplained(&settlement, step, height).await {
                            return self.begin_explaining(settlement, step);
                        }
                    }
                    Some(GuardState::Unread) | None => {}
                }
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    /// What follows once a step is decided; also when that was recorded before a panic of the same work.
    async fn go_on(self: Arc<Self>, settlement: Arc<Settlement>) {
        self.advance(&settlement);
        self.finish_if_ended(settlement).await;
    }

    async fn judge_dead(self: &Arc<Self>, settlement: &Arc<Settlement>, step: u32, why: &str) -> bool {
        let evidence = no_transaction(settlement, step, why, GuardState::Unchanged);
        self.judge_step(settlement, &evidence, None, true).await == Judged::Decided
    }

    async fn commit_unexplained(&self, settlement: &Arc<Settlement>, step: u32, height: u64) -> bool {
        let _deciding = settlement.deciding.lock().await;
        let row = settlement.lock().row.clone();
        let committed = self.journal.commit(unexplained(&row, step, height)).await;
        if let Err(error) = &committed {
            tracing::error!(settlement = settlement.id, step, %error, "an unexplained step was not recorded");
        }
        self.refresh_locked(settlement).await;
        committed.is_ok()
    }

    async fn attempts_of(&self, settlement: &Settlement, step: u32) -> Option<Vec<AttemptRow>> {
        match self.journal.attempts_of(settlement.id, step).await {
            Ok(attempts) => Some(attempts),
            Err(error) => {
                tracing::error!(%error, settlement = settlement.id, "a step's attempts can't be read");
                None
            }
        }
    }

    /// Slots that a step has had so far, of which all but the newest are used by other transactions, and the head height when
    /// the settlement's first transaction was made: what has the step's effect since then is no transaction of before.
    pub(super) async fn history_of(&self, settlement: &Settlement, step: u32) -> Option<(u32, u64)> {
        let own = self.attempts_of(settlement, step).await?;
        let mut slots: Vec<_> = own
            .iter()
            .map(|attempt| (&attempt.lane.signer, attempt.sequence))
            .collect();
        slots.sort();
        slots.dedup();
        let slots = u32::try_from(slots.len()).ok()?;
        let first = match step {
            0 => own,
            _ => self.attempts_of(settlement, 0).await?,
        };
        let heights = first.iter().map(|attempt| attempt.since_height);
        Some((slots, heights.min().unwrap_or(u64::MAX)))
    }

    /// The step's guard at a block that is final and, for an expired step, not before its end. `None`: not known yet.
    async fn final_guard(
        &self,
        settlement: &Settlement,
        planned: &Step,
        attempts: &[AttemptRow],
        newest: &AttemptRow,
        ends: Ends,
        anchor: &mut Option<Anchor>,
    ) -> Option<GuardState> {
        if planned.evidence.guard.is_none() {
            return Some(GuardState::Absent);
        }
        let mut watch = watch_of(
            planned,
            attempts,
            newest,
            self.head_of(settlement),
            &settlement.network.settings,
        );
        watch.block = anchor.as_ref().map(|anchor| anchor.block.clone());
        watch.read_guards = anchor.is_none();
        let seen = self.observe_one(settlement, watch).await?;
        let Some(known) = anchor else {
            let is_late_enough = |found: &Anchor| {
                ends != Ends::Expired || planned.expires_at_s.is_none_or(|end| found.block.time_s >= end)
            };
            *anchor = seen.anchor.filter(|found| {
                is_late_enough(found)
                    && is_behind_all(found, attempts)
                    && found.guards.first() != Some(&GuardState::Unread)
            });
            return None;
        };
        match seen.block {
            Some(BlockStands::Canonical { depth }) if depth >= settlement.network.settings.finality => {
                known.guards.first().copied()
            }
            Some(BlockStands::Canonical { .. } | BlockStands::Unknown) | None => None,
            Some(BlockStands::Replaced) => {
                *anchor = None;
                None
            }
        }
    }

    fn head_of(&self, settlement: &Settlement) -> u64 {
        self.run_of(settlement.network.id()).map_or(0, |run| run.head())
    }

    /// One watch outside any slot, from two nodes that agree where the payment wants that.
    async fn observe_one(&self, settlement: &Settlement, watch: Watch) -> Option<Observation> {
        let network = &settlement.network;
        if settlement.lock().row.second_source {
            return self.agreed_watch(network, watch).await;
        }
        let seen = self.observe_of_any(network, &[watch]).await.ok()?;
        let seen = seen.into_iter().next()?;
        let run = self.run_of(network.id())?;
        let known = run.head();
        run.saw_head(seen.head_height);
        Some(without_leap(seen, known))
    }

    /// Searches for what had the effect of an unexplained step, until it is found.
    pub(super) async fn explain(self: Arc<Self>, settlement: Arc<Settlement>, step: u32) {
        let index = usize::try_from(step).unwrap_or(usize::MAX);
        let mut pause = RETRY_EVERY;
        let mut searches: u32 = 0;
        let mut anchor: Option<Anchor> = None;
        loop {
            let is_open = settlement
                .lock()
                .row
                .steps
                .get(index)
                .is_some_and(|row| matches!(row.state, StepState::Unexplained { .. }));
            let planned = settlement.plan().and_then(|plan| plan.steps.get(index)).cloned();
            let (true, Some(planned)) = (is_open, planned) else {
                return self.go_on(settlement).await;
            };
            if let Some(attempts) = self.attempts_of(&settlement, step).await
                && (self.is_explained(&settlement, step, &planned, &attempts).await
                    || self
                        .is_unchanged_after_all(&settlement, step, &planned, &attempts, &mut anchor)
                        .await)
            {
                tracing::info!(
                    settlement = settlement.id,
                    step,
                    "step_explained: what its guard shows is explained"
                );
                return self.go_on(settlement).await;
            }
            searches = searches.saturating_add(1);
            if searches.is_multiple_of(REMIND_AFTER) {
                tracing::error!(
                    settlement = settlement.id,
                    network = settlement.network.id(),
                    step,
                    searches,
                    "step_unexplained: still no node shows the transaction that had its effect; check eth_getLogs and the \
                     history of the network's RPC nodes"
                );
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_SEARCH_PAUSE);
        }
    }

    /// Whether the step's guard is unchanged at a final block, and the step is decided by that: what had changed it was
    /// reorganised away. A guard changes for good, so the step had no effect, and its slots are used.
    async fn is_unchanged_after_all(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        step: u32,
        planned: &Step,
        attempts: &[AttemptRow],
        anchor: &mut Option<Anchor>,
    ) -> bool {
        let Some(newest) = attempts.last() else {
            return false;
        };
        let ends = Ends::LostSlots;
        match self
            .final_guard(settlement, planned, attempts, newest, ends, anchor)
            .await
        {
            Some(GuardState::Unchanged) => self.judge_dead(settlement, step, REORGANISED).await,
            Some(GuardState::Changed) => match anchor.take() {
                Some(known) => self.is_excluded_by_state(settlement, step, known).await,
                None => false,
            },
            Some(GuardState::Absent | GuardState::Unread) => {
                *anchor = None;
                false
            }
            None => false,
        }
    }

    /// Whether what the chain holds at a final block shows that the step had no effect, though its guard is changed.
    async fn is_excluded_by_state(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        step: u32,
        known: Anchor,
    ) -> bool {
        let evidence = Evidence {
            head_height: known.block.height,
            reads: known.reads,
            ..no_transaction(settlement, step, REORGANISED, GuardState::Changed)
        };
        self.judge_step(settlement, &evidence, None, true).await == Judged::Decided
    }

    /// One search. What it finds counts once it is final, and is then decided for good.
    async fn is_explained(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        step: u32,
        planned: &Step,
        attempts: &[AttemptRow],
    ) -> bool {
        let settings = &settlement.network.settings;
        let finality = settings.finality;
        let mut evidence = no_transaction(settlement, step, "its slot is used", GuardState::Changed);
        let carriers = || {
            attempts
                .iter()
                .filter(|attempt| attempt.kind == AttemptKind::Steps)
        };
        let mut found: Vec<ForeignTx> = Vec::new();
        for (index, attempt) in carriers().enumerate() {
            let mut watch = watch_of(planned, attempts, attempt, self.head_of(settlement), settings);
            watch.whole_block = true;
            watch.search_foreign = index == 0;
            watch.read_guards = index == 0;
            let Some(seen) = self.observe_one(settlement, watch).await else {
                continue;
            };
            evidence.head_height = seen.head_height;
            if let TxState::Landed { height, depth, .. } = seen.state
                && depth >= finality
            {
                evidence.shown = Shown::Landed { height };
                evidence.tx_id.clone_from(&attempt.tx_id);
                evidence.logs = seen.logs;
                evidence.reads = seen.reads;
                evidence.block_logs = seen.block_logs;
                return self.judge_step(settlement, &evidence, None, true).await == Judged::Decided;
            }
            if let Some(anchor) = seen
                .anchor
                .filter(|anchor| index == 0 && is_behind_all(anchor, attempts))
            {
                evidence.reads = anchor.reads;
            }
            found.extend(seen.foreign);
        }
        // Half of what changed the state would be another story than the whole.
        if found.is_empty() || found.iter().any(|tx| tx.depth < finality) {
            return false;
        }
        let own = found
            .iter()
            .find(|tx| carriers().any(|own| own.tx_id.eq_ignore_ascii_case(&tx.tx_id)));
        if let Some(own) = own {
            evidence.shown = Shown::Landed { height: own.height };
            evidence.tx_id.clone_from(&own.tx_id);
            evidence.logs.clone_from(&own.logs);
            evidence.reads.clear();
            return self.judge_step(settlement, &evidence, None, true).await == Judged::Decided;
        }
        evidence.foreign = foreign_of(&found, since(attempts));
        self.judge_step(settlement, &evidence, None, true).await == Judged::Decided
    }
}

/// Evidence of a step without a transaction that can still land; the chain shows nothing else yet.
fn no_transaction(settlement: &Settlement, step: u32, why: &str, guard: GuardState) -> Evidence {
    Evidence {
        step,
        shown: Shown::Dead { why: why.into() },
        tx_id: settlement.lock().row.tx_id.clone().unwrap_or_default(),
        head_height: 0,
        logs: Vec::new(),
        deltas: Vec::new(),
        reads: Vec::new(),
        foreign: Vec::new(),
        guard,
        block_logs: Vec::new(),
    }
}

/// Whether the anchor's block is one at which all places of these attempts are used: at an older one the state knows nothing of
/// them.
fn is_behind_all(anchor: &Anchor, attempts: &[AttemptRow]) -> bool {
    attempts
        .iter()
        .all(|attempt| anchor.next_sequence > attempt.sequence)
}

fn since(attempts: &[AttemptRow]) -> u64 {
    attempts
        .iter()
        .map(|attempt| attempt.since_height)
        .min()
        .unwrap_or(0)
}

/// A watch for a step outside any slot, by one of its attempts.
fn watch_of(
    planned: &Step,
    attempts: &[AttemptRow],
    attempt: &AttemptRow,
    head: u64,
    settings: &NetworkSettings,
) -> Watch {
    Watch {
        attempt_id: attempt.id.to_string(),
        tx_id: attempt.tx_id.clone(),
        lane: attempt.lane.clone(),
        sequence: attempt.sequence,
        since_height: search_from(since(attempts), head, settings),
        evidence: vec![planned.evidence.clone()],
        search_foreign: false,
        pool: false,
        block: None,
        by_block: false,
        final_at: None,
        read_guards: false,
        whole_block: false,
    }
}
