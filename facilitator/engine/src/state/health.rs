//! What the checks of a network have found, and what was logged about it.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

/// A condition that lasts is logged again after this long.
pub(crate) const REMIND_EVERY: Duration = Duration::from_secs(300);
/// How many kinds of sentences are remembered.
pub(crate) const MAX_LOGGED: usize = 64;
/// Every sentence about a network that can't be used begins with this.
pub(crate) const NOT_READY: &str = "network is not ready: ";
/// Begins the list of nodes and their troubles.
pub(crate) const NO_NODE: &str = "no RPC node gives a usable answer: ";
/// What the checks of one network have found and logged.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The chain is not the one that the journal knows: nothing is sent to it.
    pub(crate) on_wrong_chain: AtomicBool,
    /// The nodes that this process queries show the right chain as it is now. Not whether its signers can pay: that is the
    /// same for every process.
    reaches_chain: AtomicBool,
    /// Height of the highest final settlement when the process started; `None` inside: there is none.
    pub(crate) final_height: OnceCell<Option<u64>>,
    /// Since when the head is below a block in which a payment was seen.
    pub(crate) lagging_since: Mutex<Option<Instant>>,
    /// The last check of a network that was ready failed quickly. The next check decides whether the network is still
    /// ready.
    pub(crate) missed: AtomicBool,
    /// A node can be queried again, after there was none.
    pub(crate) node_is_back: Notify,
    /// Held while the nodes are checked, so that only one task at a time does it.
    pub(crate) checking_nodes: tokio::sync::Mutex<()>,
    /// When the last complete check of the network ended that found it ready.
    pub(crate) complete_check_at: Mutex<Option<Instant>>,
    /// Transactions since the signers' balances were last read.
    pub(crate) spent_since: AtomicU64,
    /// A complete check is due before its time.
    pub(crate) check_is_due: Notify,
    /// When all nodes were last checked.
    pub(crate) all_nodes_checked_at: Mutex<Option<Instant>>,
    /// What is reported about payments that are pending for too long.
    pub(crate) overdue: Mutex<Option<String>>,
    /// When each kind of sentence was last logged.
    logged: Mutex<BTreeMap<String, Instant>>,
}

impl Health {
    pub(crate) fn set_reaches_chain(&self, reaches: bool) {
        self.reaches_chain.store(reaches, Ordering::Relaxed);
    }

    /// Whether this process can send and observe on the network now.
    pub(crate) fn reaches_chain(&self) -> bool {
        self.reaches_chain.load(Ordering::Relaxed)
    }

    /// Whether to log a sentence. One that differs only in numbers from an earlier one is repeated now and then.
    pub(crate) fn is_news(&self, sentence: &str) -> bool {
        let now = Instant::now();
        let mut logged = self.logged.lock();
        if logged.len() > MAX_LOGGED {
            logged.clear();
        }
        let last = logged.entry(kind_of(sentence));
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

    /// The network is ready again: the next reason why it can't be used is news.
    pub(crate) fn forget_not_ready(&self) {
        self.forget(NOT_READY);
    }

    /// Sentences with this beginning are news again.
    pub(crate) fn forget(&self, beginning: &str) {
        self.logged
            .lock()
            .retain(|sentence, _| !sentence.starts_with(beginning));
    }
}

/// A sentence without its numbers: ages and heights change from check to check and mean the same. So do the errors of
/// nodes that are down: first a connection breaks, then none is made.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lasting_condition_is_repeated_after_minutes_whatever_its_numbers() {
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
}
