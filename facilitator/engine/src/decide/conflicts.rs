//! Which settlements hold the conflict keys, and which wait for them, in order of arrival.
//!
//! The order matters because any caller can request an operation on a payment: the caller that may perform it must
//! not depend on luck among many others. Each caller has only a few positions in a key's queue, so that no caller
//! waits for the many requests of another. In memory only; the journal decides.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

/// The most positions that one caller may have in a key's queue.
const MAX_QUEUED_PER_CALLER: usize = 8;

/// The caller has the maximum number of positions in a queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// Which settlement holds each key, and which ones wait for it.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    held: HashMap<String, u64>,
    waiting: HashMap<String, VecDeque<Waiter>>,
    /// The keys that each settlement holds or waits for.
    keys: HashMap<u64, Vec<String>>,
    /// Wakes a waiting settlement when it may be its turn.
    wakers: HashMap<u64, Arc<Notify>>,
}

/// An entry in a key's queue.
#[derive(Debug)]
struct Waiter {
    settlement: u64,
    caller: Caller,
}

/// Who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The engine, for a job: there are few of these, and no caller can make more.
    Job,
    /// A tenant, or all callers without a name.
    Of(Option<String>),
}

impl Conflicts {
    /// Whether no settlement holds any of the keys or waits for one.
    pub(crate) fn are_free(&self, keys: &[String]) -> bool {
        let is_free = |key: &String| !self.held.contains_key(key) && !self.waiting.contains_key(key);
        keys.iter().all(is_free)
    }

    /// Records that a settlement holds a key, according to the journal.
    pub(crate) fn hold(&mut self, key: String, settlement: u64) {
        self.keys.entry(settlement).or_default().push(key.clone());
        self.held.insert(key, settlement);
    }

    /// Adds a settlement to the end of the queues of all the keys. It joins all queues at once, so that two
    /// settlements with the same two keys never wait for each other. The result is notified when it may be the
    /// settlement's turn.
    ///
    /// # Errors
    ///
    /// [`TooMany`] if the caller has the maximum number of positions in one of the queues. Jobs have no maximum.
    pub(crate) fn queue(
        &mut self,
        keys: &[String],
        settlement: u64,
        caller: &Caller,
    ) -> Result<Arc<Notify>, TooMany> {
        let has_most = |key: &String| {
            let waiting = self.waiting.get(key).into_iter().flatten();
            waiting.filter(|waiter| waiter.caller == *caller).count() >= MAX_QUEUED_PER_CALLER
        };
        if *caller != Caller::Job && keys.iter().any(has_most) {
            return Err(TooMany);
        }
        for key in keys {
            self.waiting.entry(key.clone()).or_default().push_back(Waiter {
                settlement,
                caller: caller.clone(),
            });
        }
        self.keys.entry(settlement).or_default().extend_from_slice(keys);
        let waker = Arc::new(Notify::new());
        self.wakers.insert(settlement, Arc::clone(&waker));
        Ok(waker)
    }

    /// Takes all keys or none: each must be free, and the settlement must be first in its queue.
    pub(crate) fn take(&mut self, keys: &[String], settlement: u64) -> bool {
        let first = |key: &String| {
            let front = self.waiting.get(key).and_then(VecDeque::front);
            front.is_some_and(|waiter| waiter.settlement == settlement)
        };
        if !keys.iter().all(|key| !self.held.contains_key(key) && first(key)) {
            return false;
        }
        for key in keys {
            if let Some(queue) = self.waiting.get_mut(key) {
                queue.pop_front();
                if queue.is_empty() {
                    self.waiting.remove(key);
                }
            }
            self.held.insert(key.clone(), settlement);
        }
        self.wakers.remove(&settlement);
        true
    }

    /// Frees a settlement's keys and queue positions, and wakes the settlements that are first now.
    pub(crate) fn free(&mut self, settlement: u64) {
        self.wakers.remove(&settlement);
        for key in self.keys.remove(&settlement).unwrap_or_default() {
            if self.held.get(&key) == Some(&settlement) {
                self.held.remove(&key);
            }
            let Some(queue) = self.waiting.get_mut(&key) else {
                continue;
            };
            queue.retain(|waiter| waiter.settlement != settlement);
            match queue.front() {
                Some(first) => {
                    if let Some(waker) = self.wakers.get(&first.settlement) {
                        waker.notify_one();
                    }
                }
                None => {
                    self.waiting.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn unnamed() -> Caller {
        Caller::Of(None)
    }

    fn tenant(name: &str) -> Caller {
        Caller::Of(Some(name.to_owned()))
    }

    #[test]
    fn keys_are_granted_in_the_order_of_arrival() {
        let mut conflicts = Conflicts::default();
        let key = keys(&["a"]);
        for settlement in [1, 2, 3] {
            conflicts.queue(&key, settlement, &unnamed()).unwrap();
        }
        assert!(!conflicts.take(&key, 2), "not before the first");
        assert!(conflicts.take(&key, 1));
        assert!(!conflicts.take(&key, 2), "it is held");
        conflicts.free(2);
        conflicts.free(1);
        assert!(conflicts.take(&key, 3), "the second has left the queue");
        conflicts.free(3);
        assert!(conflicts.held.is_empty() && conflicts.waiting.is_empty());
        assert!(conflicts.keys.is_empty() && conflicts.wakers.is_empty());
    }

    #[test]
    fn several_keys_are_taken_together_without_deadlock() {
        let mut conflicts = Conflicts::default();
        conflicts.hold("a".into(), 9);
        let (one, other) = (keys(&["a", "b"]), keys(&["b", "a"]));
        conflicts.queue(&one, 1, &unnamed()).unwrap();
        conflicts.queue(&other, 2, &unnamed()).unwrap();
        assert!(!conflicts.take(&one, 1) && !conflicts.take(&other, 2));
        conflicts.free(9);
        assert!(!conflicts.take(&other, 2));
        assert!(conflicts.take(&one, 1));
        conflicts.free(1);
        assert!(conflicts.take(&other, 2));
    }

    #[test]
    fn a_caller_has_few_places_and_leaves_the_others_theirs() {
        let mut conflicts = Conflicts::default();
        let key = keys(&["a"]);
        assert!(conflicts.are_free(&key));
        conflicts.hold("a".into(), 99);
        assert!(!conflicts.are_free(&key));
        let most = u64::try_from(MAX_QUEUED_PER_CALLER).unwrap();
        for settlement in 0..most {
            conflicts.queue(&key, settlement, &tenant("loud")).unwrap();
        }
        assert_eq!(conflicts.queue(&key, most, &tenant("loud")).err(), Some(TooMany));
        conflicts.queue(&key, most, &tenant("quiet")).unwrap();
        conflicts.queue(&key, most + 3, &Caller::Job).unwrap();
        conflicts.queue(&keys(&["b"]), most + 1, &tenant("loud")).unwrap();
        conflicts.free(0);
        conflicts.queue(&key, most + 2, &tenant("loud")).unwrap();
        for settlement in (0..most + 4).chain([99]) {
            conflicts.free(settlement);
        }
        assert!(conflicts.are_free(&key));
        assert!(conflicts.keys.is_empty() && conflicts.wakers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_next_waiter_of_a_freed_key_is_woken() {
        let mut conflicts = Conflicts::default();
        conflicts.hold("a".into(), 9);
        conflicts.hold("b".into(), 8);
        let mut wakers = Vec::new();
        for (settlement, key) in [(1, "a"), (2, "a"), (3, "b")] {
            wakers.push(conflicts.queue(&keys(&[key]), settlement, &unnamed()).unwrap());
        }
        conflicts.free(9);
        let wait = std::time::Duration::from_millis(1);
        let mut woken = Vec::new();
        for waker in &wakers {
            woken.push(tokio::time::timeout(wait, waker.notified()).await.is_ok());
        }
        assert_eq!(woken, [true, false, false]);
        assert!(conflicts.take(&keys(&["a"]), 1));
    }
}
