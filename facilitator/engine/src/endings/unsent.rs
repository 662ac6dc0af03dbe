//! Steps of a recorded settlement that have no slot and will not get one.
//!
//! A waiting step without a slot ends when it has expired, has lost too many slots, or its call would fail: it
//! failed if its guard is unchanged at a final block. A step whose guard was changed by a transaction that no node
//! shows is *unexplained*: the logs are searched until something explains the change, and the step is never sent
//! again.

use crate::decide::observation::{search_from, without_leap};
use crate::decide::steps::{is_preparation, is_renewable};
use crate::endings::Endings;
use crate::endings::closing::unexplained;
use crate::outcome::judge::Judged;
use crate::registry::NetworkSettings;
use crate::state::settlement::Settlement;
use crate::verdict::watches::terms_of;
use sdk_plugin::StepIndex;
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::chain::{Anchor, BlockStands, Evidence, GuardState, Observation, Shown, Watch};
use sdk_plugin::scheme::Step;

use journal::{AttemptRow, StepState};

/// Pause between two tries.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(2);

/// Why a waiting step gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
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

impl Endings {
    /// Judges a step that has no slot and gets none.
    pub(crate) async fn end_unsent(
        self: Arc<Self>,
        settlement: Arc<Settlement>,
        step: StepIndex,
        ends: Ends,
    ) {
        let mut anchor: Option<Anchor> = None;
        loop {
            let waits = step
                .of(&settlement.lock().row.steps)
                .is_some_and(|row| row.state == StepState::Waiting);
            let planned = settlement.plan().and_then(|plan| step.of(&plan.steps)).cloned();
            let (true, Some(planned)) = (waits, planned) else {
                return self.go_on(settlement).await;
            };
            if !self.runtime.continues(&settlement) {
                return;
            }
            if let Some(attempts) = self.attempts_of(&settlement, step).await {
                let proof = match attempts.last() {
                    // No transaction of the step was ever signed.
                    None => Some(GuardState::Unchanged),
                    // It lost each of its slots by the proof that its transaction is dead.
                    Some(newest) if is_renewable(&planned, &newest.lane) => Some(GuardState::Unchanged),
                    // What it prepares is not started: nothing rests on whether a lost transaction had an effect.
                    Some(_) if is_preparation(&planned) => Some(GuardState::Unchanged),
                    Some(newest) => {
                        self.final_guard(&settlement, &planned, &attempts, newest, ends, &mut anchor)
                            .await
                    }
                };
                match proof {
                    Some(GuardState::Unchanged) => {
                        let why = match ends {
                            Ends::WouldFail => settlement.lock().would_fail.clone(),
                            Ends::Expired | Ends::LostSlots => None,
                        };
                        let why = why.as_deref().unwrap_or(ends.why());
                        if self.judge_dead(&settlement, step, why).await {
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

    /// Continues the settlement once a step is decided, also if that was recorded before this work panicked.
    pub(super) async fn go_on(self: Arc<Self>, settlement: Arc<Settlement>) {
        self.outcomes.advance(&settlement);
        Arc::clone(&self.outcomes).finish_if_ended(settlement).await;
    }

    pub(super) async fn judge_dead(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        step: StepIndex,
        why: &str,
    ) -> bool {
        let evidence = no_transaction(settlement, step, why, GuardState::Unchanged);
        self.outcomes.judge_step(settlement, &evidence, None, true).await == Judged::Decided
    }

    async fn commit_unexplained(&self, settlement: &Arc<Settlement>, step: StepIndex, height: u64) -> bool {
        let _deciding = settlement.deciding.lock().await;
        let row = settlement.lock().row.clone();
        let committed = self.runtime.journal.commit(unexplained(&row, step, height)).await;
        if let Err(error) = &committed {
            tracing::error!(settlement = settlement.id, step = step.number(), %error, "an unexplained step was not recorded");
        }
        self.outcomes.refresh_locked(settlement).await;
        committed.is_ok()
    }

    pub(super) async fn attempts_of(
        &self,
        settlement: &Settlement,
        step: StepIndex,
    ) -> Option<Vec<AttemptRow>> {
        match self.runtime.journal.attempts_of(settlement.id, step).await {
            Ok(attempts) => Some(attempts),
            Err(error) => {
                tracing::error!(%error, settlement = settlement.id, "a step's attempts can't be read");
                None
            }
        }
    }

    /// The number of slots that a step has had so far, and the head height when the settlement's first transaction
    /// was made. All of these slots except the newest are used by other transactions, or what was in them is proven dead. A
    /// transaction with the step's effect since that height was not there before.
    pub(crate) async fn history_of(&self, settlement: &Settlement, step: StepIndex) -> Option<(u32, u64)> {
        let own = self.attempts_of(settlement, step).await?;
        let mut slots: Vec<_> = own
            .iter()
            .map(|attempt| (&attempt.lane.signer, attempt.sequence))
            .collect();
        slots.sort();
        slots.dedup();
        let slots = u32::try_from(slots.len()).ok()?;
        let first = if step == StepIndex::FIRST {
            own
        } else {
            self.attempts_of(settlement, StepIndex::FIRST).await?
        };
        let heights = first.iter().map(|attempt| attempt.since_height);
        Some((slots, heights.min().unwrap_or(u64::MAX)))
    }

    /// The step's guard at a final block that is, for an expired step, not before its expiry. `None`: not known
    /// yet.
    pub(super) async fn final_guard(
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
                    && is_after_all(found, newest, attempts)
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

    pub(super) fn head_of(&self, settlement: &Settlement) -> u64 {
        self.runtime
            .run_of(settlement.network.id())
            .map_or(0, |run| run.head())
    }

    /// Runs one watch outside any slot. If the payment needs a second source, two nodes must agree.
    pub(super) async fn observe_one(&self, settlement: &Settlement, watch: Watch) -> Option<Observation> {
        let network = &settlement.network;
        if settlement.lock().row.second_source {
            return self.runtime.agreed_watch(network, watch).await;
        }
        let seen = self.runtime.observe_of_any(network, &[watch]).await.ok()?;
        let seen = seen.into_iter().next()?;
        let run = self.runtime.run_of(network.id())?;
        let known = run.head();
        run.record_head(seen.head_height);
        Some(without_leap(seen, known))
    }
}

/// Evidence of a step without a transaction that can still land. It contains nothing else from the chain.
pub(super) fn no_transaction(
    settlement: &Settlement,
    step: StepIndex,
    why: &str,
    guard: GuardState,
) -> Evidence {
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
        shared: false,
    }
}

/// Whether all slots of these attempts are used at an anchor's block that was read for the newest one. The state at an
/// older block does not include their effects. Slots in other signers' lanes were closed before the newest attempt was
/// made, at final blocks whose guard was unchanged.
pub(super) fn is_after_all(anchor: &Anchor, newest: &AttemptRow, attempts: &[AttemptRow]) -> bool {
    attempts
        .iter()
        .filter(|attempt| attempt.lane.signer == newest.lane.signer)
        .all(|attempt| anchor.next_sequence > attempt.sequence)
}

pub(super) fn since(attempts: &[AttemptRow]) -> u64 {
    attempts
        .iter()
        .map(|attempt| attempt.since_height)
        .min()
        .unwrap_or(0)
}

/// A watch for a step outside any slot, by one of its attempts.
pub(super) fn watch_of(
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
        terms: terms_of(attempt),
        since_height: search_from(since(attempts), head, settings),
        evidence: vec![planned.evidence.clone()],
        search_foreign: false,
        pool: false,
        block: None,
        by_block: false,
        final_at: None,
        read_guards: false,
        whole_block: false,
        brief: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk_plugin::Amount;
    use sdk_plugin::chain::{BlockRef, Lane};

    fn attempt(signer: &str, sequence: u64) -> AttemptRow {
        AttemptRow {
            id: sequence,
            lane: Lane {
                network: "n".into(),
                signer: signer.into(),
                key: "main".into(),
                ordered: true,
            },
            sequence,
            tx_id: String::new(),
            kind: journal::AttemptKind::Steps,
            covers: Vec::new(),
            max_cost: Amount::ZERO,
            bid: sdk_plugin::Value::Null,
            since_height: 0,
            prepared_at_ms: 0,
            sent: true,
        }
    }

    /// A step was in slot 14 of one signer, in 27 of another, and last in 20 of the first: 27 is no number of that lane.
    #[test]
    fn that_the_last_slot_is_used_is_seen_in_its_own_lane() {
        let attempts = [attempt("a", 14), attempt("b", 27), attempt("a", 20)];
        let anchor = |next_sequence| Anchor {
            block: BlockRef {
                id: "b1".into(),
                height: 1,
                time_s: 0,
            },
            next_sequence,
            guards: Vec::new(),
            reads: Vec::new(),
        };
        let [_, _, newest] = &attempts;
        assert!(is_after_all(&anchor(21), newest, &attempts));
        assert!(!is_after_all(&anchor(20), newest, &attempts));
    }
}
