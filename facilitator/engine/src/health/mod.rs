//! Whether a network can be used: the task that checks it, what it reports, and how often it checks.
//!
//! A network is ready if the driver's check succeeds, the chain is the one that the journal knows
//! ([`super::history`]), and a signer can pay for a transaction ([`super::funds`]). A network that is not ready
//! starts nothing new.

use crate::decide::faults::{is_outage, public_message};
use crate::lane::Lanes;
use crate::outcome::Outcomes;
use crate::runtime::Runtime;
use crate::runtime::calls::Depth;
use crate::state::health::{NO_NODE, NOT_READY};
use crate::state::lane::LaneCommand;
use crate::state::network::NetworkRun;
use history::Known;
mod bound;
mod funds;
mod history;
mod nodes;
mod overdue;
mod schemes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sdk_plugin::chain::{LaneState, Readiness};
use sdk_plugin::{Fault, FaultKind};
use tokio::time::Instant;

use base::backoff::Backoff;
use base::nodes::NodeState;

/// Pause between two checks of a network that is ready and has no reported failures.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The same where polls follow blocks: such a check is brief, and a complete one follows after [`COMPLETE_INTERVAL`].
const BRIEF_INTERVAL: Duration = Duration::from_secs(60);
/// The same until the block time is known.
const LEARNING_INTERVAL: Duration = Duration::from_secs(5);
/// Where polls follow blocks, the time between two complete checks of the network, and of all its nodes.
const COMPLETE_INTERVAL: Duration = Duration::from_secs(300);
/// The longest pause between two checks of a network that is not ready. The first pauses are shorter.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3);
/// Minimum time between two checks, however many calls fail.
const SUSPECT_INTERVAL: Duration = Duration::from_millis(500);
/// Pause between two checks of a network that is not ready.
const RECHECK_BACKOFF: Backoff = Backoff {
    first: SUSPECT_INTERVAL,
    longest: RECHECK_INTERVAL,
};
/// Nodes that have just left a call without an answer, and do not answer within this time either, count as down.
const SUSPECT_DEADLINE: Duration = Duration::from_secs(3);
/// A check that fails within this time may have hit the one unhealthy machine of a URL: the next check decides.
const QUICK_FAILURE: Duration = Duration::from_secs(1);
/// The longest reason of a failed check, in characters.
const MAX_WHY_CHARS: usize = 400;

/// Why a check failed, for operators: hosts and causes, never a URL.
fn why_not(fault: &Fault, nodes: &[NodeState]) -> String {
    if !is_outage(fault.kind) {
        return public_message(fault).to_owned();
    }
    // Reads go to the first node without trouble.
    let queried = nodes.iter().find(|node| node.trouble.is_none());
    let why = match (nodes, queried) {
        ([], _) => public_message(fault).to_owned(),
        (_, Some(queried)) if fault.kind == FaultKind::Unavailable => {
            format!("{}: {}", queried.host, fault.message)
        }
        (_, Some(queried)) => format!("{}: no answer in time", queried.host),
        (nodes, None) => {
            let troubles: Vec<String> = nodes
                .iter()
                .filter_map(|node| Some(format!("{} {}", node.host, node.trouble.as_ref()?)))
                .collect();
            format!("{NO_NODE}{}", troubles.join("; "))
        }
    };
    // The driver's message may quote a node.
    why.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_WHY_CHARS)
        .collect()
}

/// Whether a check may leave out what a complete one has read a short while ago: the network is ready, nothing has failed
/// since, and every signer can certainly pay.
fn is_brief_enough(run: &NetworkRun, now: Instant) -> bool {
    let network = &run.network;
    let is_young = run
        .health
        .complete_check_at
        .lock()
        .is_some_and(|at| now.saturating_duration_since(at) < COMPLETE_INTERVAL);
    let spent = run.health.spent_since.load(Ordering::Relaxed);
    run.follows_blocks()
        && is_young
        && network.readiness().is_ok()
        && !run.health.missed.load(Ordering::Acquire)
        && !run.is_on_wrong_chain()
        && network.lanes().len() == network.active_signers().len()
        && !run.may_be_unfunded(spent)
}

fn pause_when_ready(run: &NetworkRun) -> Duration {
    let network = &run.network;
    let is_one_unfunded = network.lanes().len() < network.active_signers().len();
    // A chain that seems to have lost its history is checked again soon.
    let is_lagging = run.health.lagging_since.lock().is_some();
    if !run.follows_blocks() || is_one_unfunded || is_lagging {
        CHECK_INTERVAL
    } else if run.block_time().is_none() {
        LEARNING_INTERVAL
    } else {
        BRIEF_INTERVAL
    }
}

/// Checks networks, nodes and schemes, and starts lanes as their signers become known.
pub(crate) struct Checks {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) lanes: Arc<Lanes>,
}

impl Checks {
    /// Keeps checking the network, at once when a call to its nodes fails, and starts lanes as their signers become
    /// known.
    pub(crate) async fn keep_checking(self: Arc<Self>, run: Arc<NetworkRun>) {
        let mut is_suspect = false;
        let mut not_ready: u32 = 0;
        loop {
            let began = Instant::now();
            let ready = if is_suspect {
                match tokio::time::timeout(SUSPECT_DEADLINE, self.check_network(&run, true)).await {
                    Ok(ready) => ready,
                    Err(_) => {
                        let late =
                            Fault::unavailable(format!("no answer within {} s", SUSPECT_DEADLINE.as_secs()));
                        run.health.set_reaches_chain(false);
                        self.record_readiness(
                            &run,
                            Err(why_not(&late, &self.runtime.ops.nodes(&run.network))),
                        );
                        false
                    }
                }
            } else {
                self.check_network(&run, false).await
            };
            let next = match (ready, run.health.missed.load(Ordering::Acquire)) {
                (true, true) => SUSPECT_INTERVAL,
                (true, false) => pause_when_ready(&run),
                (false, _) => RECHECK_BACKOFF.after(not_ready),
            };
            not_ready = if ready { 0 } else { not_ready.saturating_add(1) };
            is_suspect = tokio::select! {
                biased;
                () = run.network.suspect.notified(), if ready => true,
                () = run.health.node_is_back.notified(), if !ready => false,
                () = run.health.check_is_due.notified(), if ready => {
                    *run.health.complete_check_at.lock() = None;
                    false
                }
                () = tokio::time::sleep(next) => false,
            };
            tokio::time::sleep_until(began + SUSPECT_INTERVAL).await;
        }
    }

    /// Runs one check. If calls have failed since the last one, all nodes are checked too. Starts
    /// lanes that were not known before. `true`: the network is ready.
    pub(crate) async fn check_network(self: &Arc<Self>, run: &Arc<NetworkRun>, calls_failed: bool) -> bool {
        let network = &run.network;
        let began = Instant::now();
        let depth = if !calls_failed && is_brief_enough(run, began) {
            Depth::Brief
        } else {
            Depth::Complete { calls_failed }
        };
        self.check_nodes(run, calls_failed).await;
        let mut checked = self.checked(run, depth).await;
        if checked.is_err() && !calls_failed && network.settings.nodes > 1 {
            // The node that answered may be the only one that fails: every node is checked again.
            self.check_nodes(run, true).await;
            checked = self.checked(run, depth).await;
        }
        if depth == Depth::Brief
            && let Ok(readiness) = &mut checked
        {
            readiness.warnings = network.warnings();
        }
        let missed_before = run.health.missed.swap(false, Ordering::AcqRel);
        match checked {
            Ok(readiness) => {
                for warning in &readiness.warnings {
                    if run.health.is_news(warning) {
                        tracing::warn!(network = network.id(), "{warning}");
                    }
                }
                run.record_current_head(readiness.head_height);
                network.set_lanes(&readiness);
                let obstacle = self.obstacle(run, &readiness, depth).await;
                // A driver that is not ready may still read the chain: what is in flight can be observed and stays here.
                run.health.set_reaches_chain(!run.is_on_wrong_chain());
                if depth != Depth::Brief {
                    let is_good = readiness.ready && obstacle.is_none();
                    *run.health.complete_check_at.lock() = is_good.then_some(began);
                }
                match obstacle {
                    Some(why) => self.record_readiness(run, Err(why)),
                    None => self.record_readiness(run, Ok(&readiness)),
                }
            }
            Err(fault) => {
                let why = why_not(&fault, &self.runtime.ops.nodes(network));
                let is_quick = fault.kind == FaultKind::Unavailable && began.elapsed() < QUICK_FAILURE;
                if is_quick && !missed_before && network.readiness().is_ok() {
                    run.health.missed.store(true, Ordering::Release);
                    tracing::debug!(
                        network = network.id(),
                        why,
                        "a check failed; the next one decides"
                    );
                } else {
                    run.health.set_reaches_chain(false);
                    self.record_readiness(run, Err(why));
                }
            }
        }
        for lane in network.all_lanes() {
            // Where nodes share the journal, a lane starts once its settlements are in memory: see `owner::take_up`.
            let is_shared = self.runtime.ownership.is_shared();
            if !is_shared && run.lane(&lane.signer).is_none() {
                self.lanes.start_lane(run, lane);
            }
        }
        // Some steps may have found no lane when they were due.
        for settlement in self.runtime.claims.holders_on(network.id()) {
            self.outcomes.advance(&settlement);
        }
        self.watch_overdue(run);
        network.readiness().is_ok()
    }

    async fn checked(&self, run: &NetworkRun, depth: Depth) -> Result<Readiness, Fault> {
        let network = &run.network;
        if self.runtime.usable_nodes(network).is_empty() && network.settings.nodes > 0 {
            return Err(Fault::unavailable("no node can be used"));
        }
        self.runtime.ops.check(network, depth).await
    }

    /// Why a network can't be used although its driver's check succeeds: a missing signer, its history, or its
    /// signers' funds.
    async fn obstacle(&self, run: &NetworkRun, readiness: &Readiness, depth: Depth) -> Option<String> {
        if !readiness.ready {
            return None;
        }
        if let Some(why) = self.unserved_signer(run) {
            return Some(why);
        }
        let known = self.journaled_history(run).await;
        let mut states: BTreeMap<String, LaneState> = BTreeMap::new();
        if depth == Depth::Brief {
            return run.history_lost(&known, &states, readiness.head_height);
        }
        run.health.spent_since.store(0, Ordering::Relaxed);
        for lane in run.network.all_lanes() {
            // A signer whose state is unknown stays in use: the next check queries it again.
            if let Ok(state) = self.runtime.lane_of_any(&run.network, &lane).await {
                run.record_current_head(state.head_height);
                states.insert(lane.signer.clone(), state);
            }
        }
        if run.network.settings.nodes > 1 {
            self.doubt(run, &known, &mut states).await;
        }
        match run.history_lost(&known, &states, readiness.head_height) {
            Some(why) => Some(why),
            None => self.watch_funds(run, &states),
        }
    }

    /// A state that makes a signer or the network unusable is read at every node: one node must not stop payments.
    async fn doubt(&self, run: &NetworkRun, known: &Known, states: &mut BTreeMap<String, LaneState>) {
        for lane in run.network.all_lanes() {
            let max_cost = run.network.settings.max_cost;
            let is_low =
                |state: &LaneState| state.balance < max_cost || known.is_used_above(&lane.signer, state);
            if let Some(state) = states.get_mut(&lane.signer).filter(|state| is_low(state))
                && let Some(of_half) = self.runtime.lane_of_half(run, &lane).await
            {
                *state = of_half;
            }
        }
    }

    fn record_readiness(&self, run: &NetworkRun, checked: Result<&Readiness, String>) {
        let network = &run.network;
        let before = network.readiness();
        network.set_readiness(checked);
        let now = network.readiness();
        match (&before, &now) {
            (Err(_), Ok(())) => {
                run.health.forget_not_ready();
                // Other nodes may answer now than when the schemes were checked.
                run.schemes_due.notify_one();
                tracing::info!(network = network.id(), "network is ready");
                // The problem may have been fixed with a transaction of a signer's key.
                for handle in network
                    .active_lanes()
                    .iter()
                    .filter_map(|lane| run.lane(&lane.signer))
                {
                    handle.send_command(LaneCommand::CatchUp);
                }
            }
            (_, Err(why)) => {
                let sentence = format!("{NOT_READY}{why}");
                if run.health.is_news(&sentence) {
                    tracing::error!(network = network.id(), "{sentence}");
                }
            }
            (Ok(()), Ok(())) => {}
        }
        self.runtime.metrics.set(
            "switchyard_network_ready",
            &[("network", network.id())],
            if now.is_ok() { 1.0 } else { 0.0 },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, trouble: Option<&str>) -> NodeState {
        NodeState {
            host: host.to_owned(),
            trouble: trouble.map(str::to_owned),
        }
    }

    #[test]
    fn a_network_without_answers_names_each_host_and_its_cause() {
        let nodes = [
            node("one.example", Some("answered HTTP 401")),
            node("two.example", Some("did not answer in time")),
        ];
        for fault in [Fault::unavailable("x"), Fault::new(FaultKind::Deadline, "y")] {
            assert_eq!(
                why_not(&fault, &nodes),
                "no RPC node gives a usable answer: one.example answered HTTP 401; two.example did not answer in time"
            );
        }
    }

    #[test]
    fn an_unusable_answer_is_reported_with_its_host() {
        let nodes = [
            node("one.example", Some("broke the connection")),
            node("two.example", None),
        ];
        let fault = Fault::unavailable("eth_chainId: the node answered -32601\nno such method");
        assert_eq!(
            why_not(&fault, &nodes),
            "two.example: eth_chainId: the node answered -32601 no such method"
        );
        let late = Fault::new(FaultKind::Deadline, "chain.check took longer than 10000 ms");
        assert_eq!(why_not(&late, &nodes), "two.example: no answer in time");
        let endless = Fault::unavailable("x".repeat(10_000));
        assert_eq!(why_not(&endless, &nodes).chars().count(), MAX_WHY_CHARS);
    }

    #[test]
    fn a_fault_of_no_node_is_reported_with_the_public_message() {
        let nodes = [node("one.example", None)];
        for fault in [
            Fault::internal("x"),
            Fault::invalid("x"),
            Fault::new(FaultKind::Overloaded, "x"),
        ] {
            assert_eq!(why_not(&fault, &nodes), public_message(&fault));
        }
        let fault = Fault::unavailable("x");
        assert_eq!(why_not(&fault, &[]), public_message(&fault));
    }
}
