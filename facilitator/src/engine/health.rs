//! Whether a network can be used: the task that keeps checking, what it says about it, and how often.
//!
//! Ready means: the driver's check says so, the chain is the one that the journal knows ([`super::history`]), and a
//! signer can pay for a transaction ([`super::funds`]). A network that is not ready begins nothing new.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sdk_plugin::chain::{LaneState, Readiness};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::lane::Ask;
use super::network::NetworkRun;
use super::{Engine, lock, public_message};

/// Between two checks of a network that is ready and of which nothing bad is heard.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Between two checks of one that is not.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3);
/// The least time between two checks, however many calls fail.
const SUSPECT_INTERVAL: Duration = Duration::from_millis(500);
/// Nodes that have just left a call without an answer, and let this pass too, do not answer.
const SUSPECT_DEADLINE: Duration = Duration::from_secs(3);
/// What lasts is said again after this long.
const REMIND_EVERY: Duration = Duration::from_secs(300);
/// Kinds of sentences remembered.
const MAX_SAID: usize = 64;
const NO_ANSWER: &str = "a node or service behind this network did not answer; try again";

/// What the checks of one network have found out and said.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The chain is not the one that the journal knows: nothing is sent to it.
    pub(super) astray: AtomicBool,
    /// Height of the highest final settlement when the process began; `None` inside: there is none.
    pub(super) final_height: OnceCell<Option<u64>>,
    /// Since when the head is below a block in which a payment was seen.
    pub(super) behind_since: Mutex<Option<Instant>>,
    said: Mutex<BTreeMap<String, Instant>>,
}

impl Health {
    /// Whether a sentence is to be said: one that differs only in numbers was said before and is repeated now and then.
    fn is_news(&self, sentence: &str) -> bool {
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

    /// What was said is over: the next time is news again.
    fn forget(&self, sentence: &str) {
        lock(&self.said).remove(&kind_of(sentence));
    }
}

/// A sentence without its numbers: ages and heights change from check to check and mean the same.
fn kind_of(sentence: &str) -> String {
    let mut kind = String::new();
    for c in sentence.chars() {
        match c {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            c => kind.push(c),
        }
    }
    kind
}

impl Engine {
    /// Keeps asking the driver whether the network can be used, at once when a call to its nodes fails, and starts
    /// lanes as their signers become known.
    pub(super) async fn keep_checking(self: Arc<Self>, run: Arc<NetworkRun>) {
        let mut is_suspect = false;
        loop {
            let began = Instant::now();
            let ready = if is_suspect {
                match tokio::time::timeout(SUSPECT_DEADLINE, self.check_network(&run)).await {
                    Ok(ready) => ready,
                    Err(_) => {
                        self.take_in(&run, Err(NO_ANSWER.to_owned()));
                        false
                    }
                }
            } else {
                self.check_network(&run).await
            };
            is_suspect = tokio::select! {
                biased;
                () = run.network.suspect.notified(), if ready => true,
                () = tokio::time::sleep(if ready { CHECK_INTERVAL } else { RECHECK_INTERVAL }) => false,
            };
            tokio::time::sleep_until(began + SUSPECT_INTERVAL).await;
        }
    }

    /// One check. Starts lanes that were not known before.
    pub(super) async fn check_network(self: &Arc<Self>, run: &Arc<NetworkRun>) -> bool {
        let network = &run.network;
        match self.ops.check(network).await {
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
            Err(fault) => self.take_in(run, Err(public_message(&fault).to_owned())),
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
        network.readiness().is_ok()
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
            if let Ok(state) = self.ops.lane(&run.network, &lane).await {
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
            (Err(old), Ok(())) => {
                run.health.forget(old);
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
                if run.health.is_news(why) {
                    tracing::error!(network = network.id(), "network is not ready: {why}");
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
        health.forget("the head block 99 is 1 s old");
        assert!(health.is_news("the head block 17 is 181 s old"), "a new outage");
    }
}
