//! The leases of this node: kept by a beat, taken where their owner shows none, and given up where another node serves better.
//!
//! Another node counts as gone when this process has read the same beat for [`SILENT`], by its own monotonic time and in
//! reads that all succeeded: while the database can't be reached nobody is judged, and after that each node has time to show
//! that it lives.
//!
//! Each node says in its own lease which networks it serves. A node that can't reach a chain hands its lanes of that network
//! over once another node has said for a while that it serves the network, and takes none while such a node lives. A node
//! that is about to end takes nothing, and says that it serves nothing.

use super::Owner;
use super::seen::{SILENT, Seen};
use super::share::{Abilities, GivenUp, LEFT_LONGER, fair_share};
use crate::state::network::NetworkRun;
use crate::state::ownership::TASKS;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use journal::CommitError;
use journal::keys::lane_key;
use journal::lease::{Shared, node_unit};
use sdk_plugin::chain::Lane;
use tokio::time::Instant;

/// Pause between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// The longest wait for one answer of the database.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A node that has not reached a chain for this long hands its lanes over.
const UNABLE: Duration = Duration::from_secs(5);
/// A node that has said for this long that it serves a network is given lanes of it.
const STEADY: Duration = Duration::from_secs(3);
/// A node that has too many lanes gives up this part of them at once.
const AT_ONCE: usize = 4;
/// Leases of processes that ended, removed in one round.
const ENDED_AT_ONCE: usize = 4;

/// The lanes that this node knows, by unit.
pub(super) type Wanted = BTreeMap<String, (Arc<NetworkRun>, Lane)>;

/// What this process remembers from round to round.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) seen: Seen,
    given_up: GivenUp,
    pub(super) abilities: Abilities,
    /// What the own lease says.
    said: Option<BTreeSet<String>>,
    /// When open payments without a node were searched for last.
    pub(super) searched_at: Option<Instant>,
    /// Locked while such a search runs.
    pub(super) read_all: Arc<tokio::sync::Mutex<ReadAll>>,
}

/// What the last read of all open payments showed. It is needed for leases that an earlier version wrote: see
/// `journal::units`.
#[derive(Debug, Default)]
pub(super) struct ReadAll {
    /// When it ended.
    pub(super) at: Option<Instant>,
    /// Units with open payments.
    pub(super) open: BTreeSet<String>,
}

impl Owner {
    pub(super) async fn keep_leases(self: Arc<Self>) {
        let mut memory = Memory::default();
        loop {
            let round = tokio::time::timeout(ANSWER_WITHIN.saturating_mul(2), self.round(&mut memory)).await;
            let failure = match round {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some(why),
                Err(_) => Some("no answer in time".to_owned()),
            };
            let is_news = self.runtime.shared_journal.set_trouble(failure.clone());
            match failure {
                None if is_news => tracing::info!("the database answers again"),
                None => {}
                Some(why) => {
                    memory.seen.record_failure();
                    if is_news {
                        tracing::error!(
                            "database_unreachable: leases can't be kept ({why}): nothing is recorded until it answers, and \
                             another node may take this node's lanes over"
                        );
                    }
                }
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    async fn round(self: &Arc<Self>, memory: &mut Memory) -> Result<(), String> {
        let Some(shared) = self.runtime.journal.shared() else {
            return Ok(());
        };
        for unit in shared.renew().await.map_err(text)? {
            // One that is just being given up is not lost.
            if self.runtime.ownership.owns_unit(&unit) {
                self.lose(&unit);
            }
        }
        let leases = shared.leases().await.map_err(text)?;
        let now = Instant::now();
        memory.seen.record(leases, now);
        self.runtime.ownership.set_compared(memory.seen.compared(now));
        let served = memory.seen.served_by_others(shared.node(), now);
        self.runtime.shared_journal.set_served(served);
        self.keep_own(shared, memory, now).await.map_err(text)?;
        let wanted = self.wanted();
        if !self.runtime.ownership.is_leaving() {
            self.take_what_is_free(shared, memory, &wanted, now)
                .await
                .map_err(text)?;
            self.give_up_what_others_serve(shared, memory, &wanted, now)
                .await
                .map_err(text)?;
        }
        if self.runtime.ownership.owns_unit(TASKS) {
            for lease in memory.seen.ended(now).iter().take(ENDED_AT_ONCE) {
                shared.remove_node(lease).await.map_err(text)?;
            }
        }
        self.begin_to_search_unserved(shared.node(), memory, &wanted, now);
        Ok(())
    }

    /// The lease of this node itself, and what it says.
    async fn keep_own(
        self: &Arc<Self>,
        shared: &dyn Shared,
        memory: &mut Memory,
        now: Instant,
    ) -> Result<(), CommitError> {
        for (network, run) in &self.runtime.networks {
            let is_able = run.health.reaches_chain() && !run.network.all_lanes().is_empty();
            memory.abilities.record(network, is_able, now);
        }
        self.record_compared(shared, &memory.seen).await?;
        let own = node_unit(shared.node());
        if !self.runtime.ownership.owns_unit(&own) {
            memory.said = None;
            self.take(shared, memory, &own, now).await?;
        }
        let serves = if self.runtime.ownership.is_leaving() {
            BTreeSet::new()
        } else {
            memory.abilities.able()
        };
        if memory.said.as_ref() != Some(&serves) {
            shared.record_serves(&serves).await?;
            memory.said = Some(serves);
        }
        Ok(())
    }

    async fn take_what_is_free(
        self: &Arc<Self>,
        shared: &dyn Shared,
        memory: &mut Memory,
        wanted: &Wanted,
        now: Instant,
    ) -> Result<(), CommitError> {
        let is_second = {
            let able = memory.abilities.able_lately(UNABLE, now);
            memory
                .seen
                .another_serves_more(shared.node(), &able, now, Duration::ZERO)
        };
        if !is_second && memory.seen.is_free(TASKS, now) && !self.runtime.ownership.owns_unit(TASKS) {
            self.take(shared, memory, TASKS, now).await?;
        }
        let fair = self.fair_share(shared.node(), memory, wanted, now);
        let mut held = self.held(wanted);
        for (unit, (run, lane)) in wanted {
            let is_own = self.runtime.ownership.owns_unit(unit) || self.releasing.lock().contains(unit);
            let (network, node) = (run.network.id(), shared.node());
            let is_for_others = !memory.abilities.is_able(network)
                && memory.seen.others_serve(node, network, now, Duration::ZERO) > 0;
            let longer = if memory.given_up.is_open(unit) {
                LEFT_LONGER
            } else {
                Duration::ZERO
            };
            let is_left_over = memory.seen.is_left_over(unit, now, longer);
            let may_take = is_left_over || held < fair && longer == Duration::ZERO;
            if is_own || is_for_others || !may_take || !memory.seen.is_free(unit, now) {
                continue;
            }
            let before = memory.seen.lease(unit).cloned();
            if self.take(shared, memory, unit, now).await? {
                held = held.saturating_add(1);
                self.begin_to_take_up(run, lane, before.as_ref());
            }
        }
        Ok(())
    }

    /// Gives up what other nodes serve while this one can't, and lanes that have nothing to do if this node has more than its
    /// share.
    async fn give_up_what_others_serve(
        self: &Arc<Self>,
        shared: &dyn Shared,
        memory: &mut Memory,
        wanted: &Wanted,
        now: Instant,
    ) -> Result<(), CommitError> {
        let seen = &memory.seen;
        let node = shared.node();
        memory
            .given_up
            .record_elsewhere(|unit| seen.is_held_by_another(node, unit, now), now);
        memory.given_up.record_others(seen.served_elsewhere(node, now));
        // Also of networks that are configured there and not here: their jobs run where they can.
        let able = memory.abilities.able_lately(UNABLE, now);
        if self.runtime.ownership.owns_unit(TASKS) && seen.another_serves_more(node, &able, now, STEADY) {
            self.runtime.ownership.remove(TASKS);
            shared.give_up(TASKS).await?;
            tracing::info!(unit = TASKS, "given up: another node reaches more networks");
        }
        let is_started = |run: &NetworkRun, lane: &Lane| run.lane(&lane.signer).is_some();
        for (unit, (run, lane)) in wanted {
            let network = run.network.id();
            if self.runtime.ownership.owns_unit(unit)
                && is_started(run, lane)
                && memory.abilities.is_unable_for(network, UNABLE, now)
                && seen.others_serve(node, network, now, STEADY) > 0
                && memory.given_up.may_give_up(unit, now)
            {
                memory.given_up.record(unit, now);
                self.begin_to_release(
                    unit,
                    run,
                    lane,
                    "this node does not reach the chain, and another one does",
                );
            }
        }
        let fair = fair_share(by_network(wanted).into_iter().map(|(network, lanes)| {
            let others = seen.others_serve(node, network, now, STEADY);
            (lanes, others.saturating_add(1))
        }));
        // A part of what is too much: each lane waits for what becomes of the ones before.
        let at_once = self.held(wanted).saturating_sub(fair).div_ceil(AT_ONCE);
        let more = at_once.saturating_sub(memory.given_up.open());
        if more == 0 {
            return Ok(());
        }
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
        let idle = wanted.iter().filter(|(unit, (run, lane))| {
            self.runtime.ownership.owns_unit(unit)
                && is_idle(unit, run, lane)
                && seen.others_serve(node, run.network.id(), now, STEADY) > 0
                && memory.given_up.may_offer(unit, now)
        });
        let idle: Vec<_> = idle.take(more).collect();
        for (unit, (run, lane)) in idle {
            memory.given_up.record(unit, now);
            self.begin_to_release(unit, run, lane, "another node has too few lanes");
        }
        Ok(())
    }

    /// How many lanes this node takes before others have had the time to.
    fn fair_share(&self, node: &str, memory: &Memory, wanted: &Wanted, now: Instant) -> usize {
        let networks = by_network(wanted).into_iter().filter(|(network, _)| {
            let others = memory.seen.others_serve(node, network, now, Duration::ZERO);
            memory.abilities.is_able(network) || others == 0
        });
        fair_share(networks.map(|(network, lanes)| (lanes, memory.seen.may_serve(network, now))))
    }

    fn held(&self, wanted: &Wanted) -> usize {
        let held = wanted
            .keys()
            .filter(|unit| self.runtime.ownership.owns_unit(unit));
        held.count()
    }

    /// Tells the other nodes which lanes this one has compared with the chain.
    async fn record_compared(&self, shared: &dyn Shared, seen: &Seen) -> Result<(), CommitError> {
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
    async fn take(
        &self,
        shared: &dyn Shared,
        memory: &mut Memory,
        unit: &str,
        now: Instant,
    ) -> Result<bool, CommitError> {
        let is_taken = shared.take(unit, memory.seen.lease(unit)).await?.is_some();
        if is_taken {
            self.runtime.ownership.add(unit);
            memory.given_up.record_taken(unit, now);
        }
        Ok(is_taken)
    }

    /// The lanes of every network that answers, own ones and those of others.
    fn wanted(&self) -> Wanted {
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

    /// Gives everything up, so that other nodes need not wait until this one counts as gone. Call it once all tasks have
    /// ended.
    pub(crate) async fn give_everything_up(&self) {
        let Some(shared) = self.runtime.journal.shared() else {
            return;
        };
        // Also lanes whose handing over was cut short by the end of all tasks.
        let mut units = self.runtime.ownership.units();
        units.extend(self.releasing.lock().iter().cloned());
        for unit in units {
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

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// How many lanes each network has.
fn by_network(wanted: &Wanted) -> BTreeMap<&str, usize> {
    let mut networks: BTreeMap<&str, usize> = BTreeMap::new();
    for (run, _) in wanted.values() {
        let lanes = networks.entry(run.network.id()).or_default();
        *lanes = lanes.saturating_add(1);
    }
    networks
}
