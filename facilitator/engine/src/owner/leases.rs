//! The leases of this node: kept by a beat, and taken where their owner shows none.
//!
//! Another node counts as gone when this process has read the same beat for [`SILENT`], by its own monotonic time and in
//! reads that all succeeded: while the database can't be reached nobody is judged, and after that each node has time to show
//! that it lives.

use super::Owner;
use crate::state::network::NetworkRun;
use crate::state::ownership::TASKS;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use journal::keys::lane_key;
use journal::lease::{Lease, Shared};
use sdk_plugin::chain::Lane;
use tokio::time::Instant;

/// Pause between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// A node whose beat stands still for this long is gone.
const SILENT: Duration = Duration::from_secs(4);
/// A node that has its share of lanes leaves a free one to the others for so long.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(1);
/// The longest wait for one answer of the database.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The lease of a node itself begins with this.
const NODE: &str = "node|";

/// What this process has seen of the leases.
#[derive(Debug, Default)]
struct Seen {
    /// Each lease, and since when it has not changed.
    leases: BTreeMap<String, (Lease, Instant)>,
    /// Units that never had an owner, and since when they are wanted.
    new: BTreeMap<String, Instant>,
    /// Units whose beats have changed before the eyes of this process.
    beating: BTreeSet<String>,
}

impl Seen {
    /// After an answer.
    fn record(&mut self, leases: Vec<Lease>, now: Instant) {
        let mut before = std::mem::take(&mut self.leases);
        for lease in leases {
            let since = match before.remove(&lease.unit) {
                Some((known, since)) if known == lease => since,
                Some((known, _)) => {
                    if known.epoch == lease.epoch && known.beat != lease.beat {
                        self.beating.insert(lease.unit.clone());
                    } else if known.epoch != lease.epoch {
                        self.beating.remove(&lease.unit);
                    }
                    now
                }
                None => now,
            };
            self.leases.insert(lease.unit.clone(), (lease, since));
        }
    }

    /// After no answer: nobody is judged by the time that passed.
    fn record_failure(&mut self) {
        self.leases.clear();
    }

    fn is_silent(&self, unit: &str, now: Instant) -> bool {
        self.leases
            .get(unit)
            .is_some_and(|(_, since)| now.saturating_duration_since(*since) >= SILENT)
    }

    /// Units that a node which lives has compared with the chain. One that was never seen to change its beat does not count:
    /// in a database that was restored its owner is not there any more.
    fn compared(&self, now: Instant) -> BTreeSet<String> {
        let leases = self.leases.iter().filter(|(unit, (lease, _))| {
            lease.is_compared && self.beating.contains(*unit) && !self.is_silent(unit, now)
        });
        leases.map(|(unit, _)| unit.clone()).collect()
    }

    /// Whether a unit may be taken: it has no owner, or its owner is gone.
    fn is_free(&self, unit: &str, now: Instant) -> bool {
        match self.leases.get(unit) {
            None => true,
            Some((lease, _)) => lease.node.is_empty() || self.is_silent(unit, now),
        }
    }

    /// Whether it has been free for so long that a node takes it beyond its share.
    fn is_left_over(&mut self, unit: &str, now: Instant) -> bool {
        let (silent, since) = match self.leases.get(unit) {
            None => (Duration::ZERO, *self.new.entry(unit.to_owned()).or_insert(now)),
            Some((lease, since)) if lease.node.is_empty() => (Duration::ZERO, *since),
            Some((_, since)) => (SILENT, *since),
        };
        now.saturating_duration_since(since) >= silent.saturating_add(LEFT_TO_OTHERS)
    }

    fn lease(&self, unit: &str) -> Option<&Lease> {
        self.leases.get(unit).map(|(lease, _)| lease)
    }

    /// How many nodes live.
    fn living(&self, now: Instant) -> usize {
        let nodes = self.leases.iter().filter(|(unit, (lease, _))| {
            unit.starts_with(NODE) && !lease.node.is_empty() && !self.is_silent(unit, now)
        });
        nodes.count().max(1)
    }
}

impl Owner {
    pub(super) async fn keep_leases(self: Arc<Self>) {
        let mut seen = Seen::default();
        let mut is_reachable = true;
        loop {
            let round = tokio::time::timeout(ANSWER_WITHIN.saturating_mul(2), self.round(&mut seen)).await;
            let failure = match round {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some(why),
                Err(_) => Some("no answer in time".to_owned()),
            };
            match failure {
                None if !is_reachable => {
                    tracing::info!("the database answers again");
                    is_reachable = true;
                }
                None => {}
                Some(why) => {
                    seen.record_failure();
                    if is_reachable {
                        tracing::error!(
                            "database_unreachable: leases can't be kept ({why}): nothing is recorded until it answers, and \
                             another node may take this node's lanes over"
                        );
                        is_reachable = false;
                    }
                }
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    async fn round(self: &Arc<Self>, seen: &mut Seen) -> Result<(), String> {
        let Some(shared) = self.runtime.journal.shared() else {
            return Ok(());
        };
        let say = |error: &dyn std::fmt::Display| error.to_string();
        for unit in shared.renew().await.map_err(|error| say(&error))? {
            self.lose(&unit);
        }
        let leases = shared.leases().await.map_err(|error| say(&error))?;
        let now = Instant::now();
        seen.record(leases, now);
        self.runtime.ownership.set_compared(seen.compared(now));
        self.record_compared(shared, seen)
            .await
            .map_err(|error| say(&error))?;
        let own = format!("{NODE}{}", shared.node());
        if !self.runtime.ownership.owns_unit(&own) {
            self.take(shared, seen, &own).await.map_err(|error| say(&error))?;
        }
        if seen.is_free(TASKS, now) && !self.runtime.ownership.owns_unit(TASKS) {
            self.take(shared, seen, TASKS)
                .await
                .map_err(|error| say(&error))?;
        }
        let wanted = self.wanted();
        let fair = wanted.len().div_ceil(seen.living(now));
        let mut held = wanted
            .keys()
            .filter(|unit| self.runtime.ownership.owns_unit(unit))
            .count();
        for (unit, (run, lane)) in &wanted {
            let is_own = self.runtime.ownership.owns_unit(unit);
            let may_take = held < fair || seen.is_left_over(unit, now);
            if is_own || !may_take || !seen.is_free(unit, now) {
                continue;
            }
            if self.take(shared, seen, unit).await.map_err(|error| say(&error))? {
                held = held.saturating_add(1);
                let from = seen
                    .lease(unit)
                    .map(|lease| lease.node.clone())
                    .unwrap_or_default();
                self.begin_to_take_up(run, lane, from);
            }
        }
        if held > fair {
            self.give_up_idle(shared, &wanted)
                .await
                .map_err(|error| say(&error))?;
        }
        Ok(())
    }

    /// Tells the other nodes which lanes this one has compared with the chain.
    async fn record_compared(&self, shared: &dyn Shared, seen: &Seen) -> Result<(), journal::CommitError> {
        for (unit, (run, lane)) in self.wanted() {
            let is_new = seen.lease(&unit).is_some_and(|lease| !lease.is_compared);
            let is_reconciled = run
                .lane(&lane.signer)
                .is_some_and(|handle| handle.is_reconciled());
            if is_new && is_reconciled && self.runtime.ownership.owns_unit(&unit) {
                shared.record_compared(&unit).await?;
            }
        }
        Ok(())
    }

    /// Takes a unit as it was seen.
    async fn take(&self, shared: &dyn Shared, seen: &Seen, unit: &str) -> Result<bool, journal::CommitError> {
        let is_taken = shared.take(unit, seen.lease(unit)).await?.is_some();
        if is_taken {
            self.runtime.ownership.add(unit);
        }
        Ok(is_taken)
    }

    /// The lanes of every network that answers, own ones and those of others.
    fn wanted(&self) -> BTreeMap<String, (Arc<NetworkRun>, Lane)> {
        let mut wanted = BTreeMap::new();
        for run in self.runtime.networks.values() {
            for lane in run.network.all_lanes() {
                let unit = lane_key(&lane.network, &lane.signer);
                wanted.insert(unit, (Arc::clone(run), lane));
            }
        }
        wanted
    }

    fn lose(&self, unit: &str) {
        tracing::error!(
            unit,
            "lease_lost: another node owns this now, because this one did not show for {} s that it lives: it was stopped, or \
             could not reach the database. It can record nothing about it any more, and ends; the supervisor starts it again",
            SILENT.as_secs()
        );
        self.runtime.metrics.add("switchyard_leases_lost_total", &[], 1);
        self.runtime.ownership.lose(unit);
    }

    /// Gives one lane up that has nothing to do, because this node has more than its share.
    async fn give_up_idle(
        self: &Arc<Self>,
        shared: &dyn Shared,
        wanted: &BTreeMap<String, (Arc<NetworkRun>, Lane)>,
    ) -> Result<(), journal::CommitError> {
        let homes: BTreeSet<String> = self
            .runtime
            .claims
            .holders()
            .iter()
            .filter_map(|holder| holder.lock().row.unit())
            .collect();
        let is_idle = |unit: &String, run: &NetworkRun, lane: &Lane| {
            let has_slots = run.slots().iter().any(|slot| slot.lane.signer == lane.signer);
            let is_waiting = run.lane(&lane.signer).is_none_or(|handle| handle.waiting() > 0);
            !homes.contains(unit) && !has_slots && !is_waiting
        };
        let idle = wanted
            .iter()
            .find(|(unit, (run, lane))| self.runtime.ownership.owns_unit(unit) && is_idle(unit, run, lane));
        let Some((unit, (run, lane))) = idle else {
            return Ok(());
        };
        // Nothing new is queued from here on. What was queued just now is refused by the journal, and its callers try again.
        self.runtime.ownership.remove(unit);
        run.remove_lane(&lane.signer);
        shared.give_up(unit).await?;
        tracing::info!(unit, "given up: another node has too few lanes");
        Ok(())
    }

    /// Gives everything up, so that other nodes need not wait until this one counts as gone. Call it once all tasks have
    /// ended.
    pub(crate) async fn give_everything_up(&self) {
        let Some(shared) = self.runtime.journal.shared() else {
            return;
        };
        for unit in self.runtime.ownership.units() {
            self.runtime.ownership.remove(&unit);
            match tokio::time::timeout(ANSWER_WITHIN, shared.give_up(&unit)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(unit, %error, "a lease was not given up: others wait for it")
                }
                Err(_) => {
                    tracing::warn!(unit, "a lease was not given up in time: others wait for it");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(unit: &str, node: &str, beat: u64) -> Lease {
        Lease {
            unit: unit.into(),
            node: node.into(),
            epoch: 1,
            beat,
            is_compared: false,
        }
    }

    #[test]
    fn a_node_is_gone_after_its_beat_stood_still_in_reads_that_all_succeeded() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Seen::default();
        assert!(seen.is_free("lane", start), "nobody has it");
        seen.record(vec![lease("lane", "a", 1), lease("node|a", "a", 1)], at(0));
        seen.record(vec![lease("lane", "a", 2), lease("node|a", "a", 2)], at(4));
        assert!(!seen.is_free("lane", at(7)));
        assert_eq!(seen.living(at(7)), 1);
        assert!(seen.is_free("lane", at(8)));
        assert!(!seen.is_left_over("lane", at(8)));
        assert!(seen.is_left_over("lane", at(9)));
        // The database did not answer: nobody could show that it lives.
        seen.record_failure();
        seen.record(vec![lease("lane", "a", 2)], at(60));
        assert!(!seen.is_free("lane", at(63)));
        assert!(seen.is_free("lane", at(64)));
        seen.record(vec![lease("lane", "", 3)], at(66));
        assert!(seen.is_free("lane", at(66)), "it was given up");
    }

    #[test]
    fn nodes_that_are_silent_or_left_do_not_count() {
        let start = Instant::now();
        let mut seen = Seen::default();
        let all = || {
            vec![
                lease("node|a", "a", 1),
                lease("node|b", "", 1),
                lease("node|c", "c", 1),
            ]
        };
        seen.record(all(), start);
        let mut later = all();
        later[0].beat = 2;
        seen.record(later, start + SILENT);
        assert_eq!(seen.living(start + SILENT), 1);
    }
}
