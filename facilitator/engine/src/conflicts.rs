//! Who holds the conflict keys, and who waits for them, in the order in which they came.
//!
//! In order, because anybody can ask for an operation on a payment: among many askers the one who may must not wait for
//! luck. One caller has few places for a key, so that nobody waits behind another's many. In memory only; the journal has
//! the last word.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

/// Most places of one caller for a key.
const PLACES_OF_A_CALLER: usize = 8;

/// The caller has as many places as it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Keys by the settlement that holds them, and those that wait for each.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    held: HashMap<String, u64>,
    waiting: HashMap<String, VecDeque<Waiter>>,
    /// What each settlement holds or waits for.
    keys: HashMap<u64, Vec<String>>,
    /// Wakes a settlement that waits, when it may be its turn.
    wakers: HashMap<u64, Arc<Notify>>,
}

/// A place in a key's queue.
#[derive(Debug)]
struct Waiter {
    settlement: u64,
    caller: Caller,
}

/// Who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// The engine, for a job: there are few of these, and no caller can make more.
    Job,
    /// A tenant, or all callers without a name.
    Of(Option<String>),
}

impl Conflicts {
    /// Whether nobody holds any of the keys, and nobody waits for one.
    pub(super) fn are_free(&self, keys: &[String]) -> bool {
        let is_free = |key: &String| !self.held.contains_key(key) && !self.waiting.contains_key(key);
        keys.iter().all(is_free)
    }

    /// A settlement that the journal says holds a key.
    pub(super) fn hold(&mut self, key: String, settlement: u64) {
        self.keys.entry(settlement).or_default().push(key.clone());
        self.held.insert(key, settlement);
    }

    /// Takes a place behind all that wait for any of the keys. Places for all keys are taken at once, so that two
    /// settlements with the same two keys never wait for each other. What it gives back is notified when it may be its turn.
    pub(super) fn queue(
        &mut self,
        keys: &[String],
        settlement: u64,
        caller: &Caller,
    ) -> Result<Arc<Notify>, TooMany> {
        let has_most = |key: &String| {
            let waiting = self.waiting.get(key).into_iter().flatten();
            waiting.filter(|waiter| waiter.caller == *caller).count() >= PLACES_OF_A_CALLER
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

    /// Takes all keys or none: each must be free, and nobody before in its queue.
    pub(super) fn take(&mut self, keys: &[String], settlement: u64) -> bool {
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

    /// Gives back what a settlement holds, and its places, and wakes those who are first now.
    pub(super) fn free(&mut self, settlement: u64) {
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
    fn keys_go_to_those_who_wait_in_the_order_in_which_they_came() {
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
        assert!(conflicts.take(&key, 3), "the second has gone");
        conflicts.free(3);
        assert!(conflicts.held.is_empty() && conflicts.waiting.is_empty());
        assert!(conflicts.keys.is_empty() && conflicts.wakers.is_empty());
    }

    #[test]
    fn several_keys_are_taken_together_and_nobody_waits_in_a_circle() {
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
    fn a_caller_has_few_places_and_takes_none_of_the_others() {
        let mut conflicts = Conflicts::default();
        let key = keys(&["a"]);
        assert!(conflicts.are_free(&key));
        conflicts.hold("a".into(), 99);
        assert!(!conflicts.are_free(&key));
        let most = u64::try_from(PLACES_OF_A_CALLER).unwrap();
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
    async fn only_those_are_woken_whose_turn_it_may_be() {
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
