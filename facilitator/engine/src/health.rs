//! Whether a network can be used: the task that keeps checking, what it says about it, and how often.
//!
//! Ready means: the driver's check says so, the chain is the one that the journal knows ([`super::history`]), and a
//! signer can pay for a transaction ([`super::funds`]). A network that is not ready begins nothing new.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sdk_plugin::chain::{LaneState, Readiness};
use sdk_plugin::{Fault, FaultKind};
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

use super::lane::Ask;
use super::network::NetworkRun;
use super::ops::is_outage;
use super::{Engine, lock, public_message};
use base::nodes::NodeState;

/// Between two checks of a network that is ready and of which nothing bad is heard.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Between two checks of one that is not, at most: at first it is looked at more often.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3);
/// The least time between two checks, however many calls fail.
const SUSPECT_INTERVAL: Duration = Duration::from_millis(500);
/// Nodes that have just left a call without an answer, and let this pass too, do not answer.
const SUSPECT_DEADLINE: Duration = Duration::from_secs(3);
/// A check that fails within this time may have met the one ill machine behind a URL: another one decides.
const QUICK_FAILURE: Duration = Duration::from_secs(1);
/// What lasts is said again after this long.
const REMIND_EVERY: Duration = Duration::from_secs(300);
/// Kinds of sentences remembered.
const MAX_SAID: usize = 64;
/// How every sentence about a network that can't be used begins.
const NOT_READY: &str = "network is not ready: ";
/// Begins the list of nodes and their troubles.
const NO_NODE: &str = "no RPC node gives a usable answer: ";
/// Longest sentence about what a check met, in characters.
const MAX_WHY_CHARS: usize = 400;

/// What the checks of one network have found out and said.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The chain is not the one that the journal knows: nothing is sent to it.
    pub(super) astray: AtomicBool,
    /// Height of the highest final settlement when the process began; `None` inside: there is none.
    pub(super) final_height: OnceCell<Option<u64>>,
    /// Since when the head is below a block in which a payment was seen.
    pub(super) behind_since: Mutex<Option<Instant>>,
    /// The last check of a network that was ready failed quickly: the next one decides whether it still is.
    missed: AtomicBool,
    /// There was no node to ask, and there is one.
    pub(super) node_is_back: Notify,
    /// Nodes show what they serve, to one task at a time.
    pub(super) judging: tokio::sync::Mutex<()>,
    /// When all nodes were last looked at.
    pub(super) nodes_shown: Mutex<Option<Instant>>,
    /// What is said of payments that are pending for too long.
    pub(super) overdue: Mutex<Option<String>>,
    said: Mutex<BTreeMap<String, Instant>>,
}

impl Health {
    /// Whether a sentence is to be said: one that differs only in numbers was said before and is repeated now and then.
    pub(super) fn is_news(&self, sentence: &str) -> bool {
        let now = Instant::now();
        let mut said = lock(&self.said);
        if said.len() > MAX_SAID {
            said.clear();
        }
        let last = said.entry(kind_of(sentence));
        match last {
            std::collections::btree_map::Entry::Occupied(mut last) => {
                let is_due = now.saturating_duration_since(*last.get()) >= REMIND_EVERY;
                if is_due {
                    last.insert(now);
                }
                is_due
            }
            std::collections::btree_map::Entry::Vacant(first) => {
                first.insert(now);
                true
            }
        }
    }

    /// The network is ready again: whatever keeps it from being used the next time is news.
    fn forget_not_ready(&self) {
        self.forget(NOT_READY);
    }

    /// Sentences that begin so are news again.
    pub(super) fn forget(&self, beginning: &str) {
        lock(&self.said).retain(|sentence, _| !sentence.starts_with(beginning));
    }
}

/// A sentence without its numbers: ages and heights change from check to check and mean the same. So do the ways in which
/// nodes that are down show it: first a connection breaks, then none is made.
fn kind_of(sentence: &str) -> String {
    let mut kind = String::new();
    let sentence = match sentence.find(NO_NODE) {
        Some(at) => sentence.split_at(at.saturating_add(NO_NODE.len())).0,
        None => sentence,
    };
    for c in sentence.chars() {
        match c {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            c => kind.push(c),
        }
    }
    kind
}

/// Why a check that got no answer got none, for operators: hosts and causes, never a URL.
fn why_not(fault: &Fault, nodes: &[NodeState]) -> String {
    if !is_outage(fault.kind) {
        return public_message(fault).to_owned();
    }
    // Reads go to the first node without trouble.
    let asked = nodes.iter().find(|node| node.trouble.is_none());
    let why = match (nodes, asked) {
        ([], _) => public_message(fault).to_owned(),
        (_, Some(asked)) if fault.kind == FaultKind::Unavailable => {
            format!("{}: {}", asked.host, fault.message)
        }
        (_, Some(asked)) => format!("{}: no answer in time", asked.host),
        (nodes, None) => {
            let troubles: Vec<String> = nodes
                .iter()
                .filter_map(|node| Some(format!("{} {}", node.host, node.trouble.as_ref()?)))
                .collect();
            format!("{NO_NODE}{}", troubles.join("; "))
        }
    };
    // A driver's sentence may quote a node.
    why.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_WHY_CHARS)
        .collect()
}

impl Engine {
    /// Keeps asking the driver whether the network can be used, at once when a call to its nodes fails, and starts
    /// lanes as their signers become known.
    pub(super) async fn keep_checking(self: Arc<Self>, run: Arc<NetworkRun>) {
        let mut is_suspect = false;
        let mut recheck = SUSPECT_INTERVAL;
        loop {
            let began = Instant::now();
            let ready = if is_suspect {
                match tokio::time::timeout(SUSPECT_DEADLINE, self.check_network(&run, true)).await {
                    Ok(ready) => ready,
                    Err(_) => {
                        let late =
                            Fault::unavailable(format!("no answer within {} s", SUSPECT_DEADLINE.as_secs()));
                        self.take_in(&run, Err(why_not(&late, &self.ops.nodes(&run.network))));
                        false
                    }
                }
            } else {
                self.check_network(&run, false).await
            };
            let next = match (ready, run.health.missed.load(Ordering::Acquire)) {
                (true, true) => SUSPECT_INTERVAL,
                (true, false) => CHECK_INTERVAL,
                (false, _) => recheck,
            };
            recheck = if ready {
                SUSPECT_INTERVAL
            } else {
                recheck.saturating_mul(2).min(RECHECK_INTERVAL)
            };
            is_suspect = tokio::select! {
                biased;
                () = run.network.suspect.notified(), if ready => true,
                () = run.health.node_is_back.notified(), if !ready => false,
                () = tokio::time::sleep(next) => false,
            };
            tokio::time::sleep_until(began + SUSPECT_INTERVAL).await;
        }
    }

    /// One check; when calls have failed since the last one, all nodes show again what they serve. Starts lanes that were not
    /// known before.
    pub(super) async fn check_network(self: &Arc<Self>, run: &Arc<NetworkRun>, calls_failed: bool) -> bool {
        let network = &run.network;
        let began = Instant::now();
        self.judge_nodes(run, calls_failed).await;
        let mut checked = self.checked(run, calls_failed).await;
        if checked.is_err() && !calls_failed && network.settings.nodes > 1 {
            // The node that answered may be the only one that can't: each shows again what it serves.
            self.judge_nodes(run, true).await;
            checked = self.checked(run, calls_failed).await;
        }
        let missed_before = run.health.missed.swap(false, Ordering::AcqRel);
        match checked {
            Ok(readiness) => {
                for warning in &readiness.warnings {
                    if run.health.is_news(warning) {
                        tracing::warn!(network = network.id(), "{warning}");
                    }
                }
                run.saw_head(readiness.head_height);
                network.set_lanes(&readiness);
                match self.obstacle(run, &readiness).await {
                    Some(why) => self.take_in(run, Err(why)),
                    None => self.take_in(run, Ok(&readiness)),
                }
            }
            Err(fault) => {
                let why = why_not(&fault, &self.ops.nodes(network));
                let is_quick = fault.kind == FaultKind::Unavailable && began.elapsed() < QUICK_FAILURE;
                if is_quick && !missed_before && network.readiness().is_ok() {
                    run.health.missed.store(true, Ordering::Release);
                    tracing::debug!(
                        network = network.id(),
                        why,
                        "a check failed; the next one decides"
                    );
                } else {
                    self.take_in(run, Err(why));
                }
            }
        }
        for lane in network.all_lanes() {
            if run.lane(&lane.signer).is_none() {
                self.start_lane(run, lane);
            }
        }
        // Steps that found no lane when their time came.
        for settlement in self.holders_on(network.id()) {
            self.advance(&settlement);
        }
        self.watch_overdue(run);
        network.readiness().is_ok()
    }

    async fn checked(&self, run: &NetworkRun, calls_failed: bool) -> Result<Readiness, Fault> {
        let network = &run.network;
        if self.usable_nodes(network).is_empty() && network.settings.nodes > 0 {
            return Err(Fault::unavailable("no node can be used"));
        }
        self.ops.check(network, calls_failed).await
    }

    /// What keeps a network from being used whose driver's check is good: its history, or its signers' funds.
    async fn obstacle(&self, run: &NetworkRun, readiness: &Readiness) -> Option<String> {
        if !readiness.ready {
            return None;
        }
        if let Some(why) = self.unserved_signer(run) {
            return Some(why);
        }
        let known = self.journaled_history(run).await;
        let mut states: BTreeMap<String, LaneState> = BTreeMap::new();
        for lane in run.network.all_lanes() {
            // What is not known of a signer is no reason to do without it: the next check asks again.
            if let Ok(state) = self.lane_of_any(&run.network, &lane).await {
                run.saw_head(state.head_height);
                states.insert(lane.signer.clone(), state);
            }
        }
        match run.history_lost(&known, &states, readiness.head_height) {
            Some(why) => Some(why),
            None => self.watch_funds(run, &states),
        }
    }

    fn take_in(&self, run: &NetworkRun, checked: Result<&Readiness, String>) {
        let network = &run.network;
        let before = network.readiness();
        network.set_readiness(checked);
        let now = network.readiness();
        match (&before, &now) {
            (Err(_), Ok(())) => {
                run.health.forget_not_ready();
                // Other nodes may answer now than when its schemes were asked.
                run.schemes_due.notify_one();
                tracing::info!(network = network.id(), "network is ready");
                // What was wrong may have been put right with a signer's key.
                for handle in network
                    .active_lanes()
                    .iter()
                    .filter_map(|lane| run.lane(&lane.signer))
                {
                    handle.ask(Ask::CatchUp);
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
        self.metrics.set(
            "switchyard_network_ready",
            &[("network", network.id())],
            if now.is_ok() { 1.0 } else { 0.0 },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_said_once_and_again_after_minutes_whatever_its_numbers() {
        let health = Health::default();
        assert!(health.is_news("the head block 17 is 181 s old"));
        for age in 182..220 {
            tokio::time::advance(Duration::from_secs(3)).await;
            assert!(!health.is_news(&format!("the head block 17 is {age} s old")));
        }
        assert!(health.is_news("another node"), "another kind is news");
        tokio::time::advance(REMIND_EVERY).await;
        assert!(health.is_news("the head block 17 is 520 s old"));
        assert!(!health.is_news("the head block 17 is 521 s old"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_after_a_recovery_is_news_and_a_lasting_warning_is_not() {
        let health = Health::default();
        let outages = ["network is not ready: a", "network is not ready: b"];
        for sentence in [outages[0], outages[1], "a low balance"] {
            assert!(health.is_news(sentence));
            assert!(!health.is_news(sentence));
        }
        health.forget_not_ready();
        for sentence in outages {
            assert!(health.is_news(sentence));
        }
        let down = |cause| format!("{NOT_READY}{NO_NODE}one.example {cause}");
        assert!(health.is_news(&down("broke the connection")));
        assert!(!health.is_news(&down("could not be reached")), "the same outage");
        assert!(!health.is_news("a low balance"));
    }

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
    fn an_answer_that_the_driver_can_not_use_is_told_with_the_host_that_gave_it() {
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
    fn a_fault_that_is_no_node_s_is_told_in_the_neutral_words() {
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
