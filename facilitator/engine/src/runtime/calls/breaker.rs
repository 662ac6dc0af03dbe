//! A circuit breaker for each instance, network and operation: after several calls in a row that the plugin left without an answer
//! in time, calls are refused for a while, so that callers get their answer at once and threads and permits stay free. Then one
//! call is let through, and its success ends the refusals.
//!
//! A call that panics or answers nonsense opens nothing. It costs its own caller, whose payload may be made for it: refusing the
//! others would let that caller switch the scheme off.
//!
//! Only intake is refused. Calls of the engine about recorded payments are made whatever happened before: a payment that is in
//! flight must not wait for a breaker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::backoff::Backoff;
use base::calls::Operation;
use parking_lot::Mutex;
use sdk_plugin::{Fault, FaultKind};
use tokio::time::Instant;

/// So many failures in a row open a breaker.
const FAILURES: u32 = 5;
/// How long calls are refused, until one is tried.
const PAUSE: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
};

/// What a call is counted for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    /// The instance's id.
    pub(crate) instance: u64,
    /// CAIP-2.
    pub(crate) network: String,
    pub(crate) operation: &'static str,
}

/// What the end of a call says of its plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It answered as it should.
    Good,
    /// It took too long, and no node is the cause.
    Bad,
    /// Nothing: a node, the host or the caller ended the call, or it failed at once.
    Nothing,
}

impl Made {
    /// `is_chain_down`: a node of the network does not answer, so that a call that is late may have waited for it.
    pub(crate) fn of(fault: Option<FaultKind>, is_chain_down: bool) -> Self {
        match fault {
            None | Some(FaultKind::Unsupported) => Self::Good,
            Some(FaultKind::Deadline) if !is_chain_down => Self::Bad,
            Some(
                FaultKind::Deadline
                | FaultKind::Panic
                | FaultKind::Internal
                | FaultKind::Invalid
                | FaultKind::Unavailable
                | FaultKind::Overloaded
                | FaultKind::Shutdown
                | FaultKind::Cancelled
                | FaultKind::Denied
                | FaultKind::Indeterminate,
            ) => Self::Nothing,
        }
    }
}

/// Whether an operation may be refused.
pub(crate) fn is_intake(operation: Operation) -> bool {
    use Operation as O;
    match operation {
        O::Supported | O::Verify | O::Identify | O::Plan | O::Route => true,
        O::Judge
        | O::Job
        | O::SchemeCheck
        | O::Check
        | O::Lane
        | O::Quote
        | O::Build
        | O::Fill
        | O::Broadcast
        | O::Observe
        | O::Start
        | O::Health => false,
    }
}

#[derive(Debug, Default)]
struct Breaker {
    /// In a row.
    failures: u32,
    /// How often it was opened since the last success.
    opened: u32,
    open_until: Option<Instant>,
    /// One call is being tried.
    is_trying: bool,
}

/// All breakers of a process.
#[derive(Debug, Default)]
pub(crate) struct Breakers {
    /// Of what has failed since its last success.
    failing: Mutex<BTreeMap<Site, Breaker>>,
    /// How many those are, so that calls usually take no lock.
    len: AtomicUsize,
}

/// A call that was let through. Dropped without an end, it says nothing.
#[derive(Debug)]
pub(crate) struct Admitted {
    breakers: Arc<Breakers>,
    site: Site,
    is_trial: bool,
}

/// A breaker that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) site: Site,
    pub(crate) failures: u32,
}

impl Breakers {
    /// # Errors
    /// The breaker is open; the fault says when to try again.
    pub(crate) fn admit(self: &Arc<Self>, site: Site) -> Result<Admitted, Fault> {
        let mut is_trial = false;
        if self.len.load(Ordering::Acquire) > 0
            && let Some(breaker) = self.failing.lock().get_mut(&site)
            && let Some(until) = breaker.open_until
        {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() || breaker.is_trying {
                let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                return Err(Fault {
                    retry_after_ms: Some(left_ms.max(1)),
                    ..Fault::unavailable(
                        "the plugin left several such calls in a row without an answer; they are tried again soon",
                    )
                });
            }
            breaker.is_trying = true;
            is_trial = true;
        }
        Ok(Admitted {
            breakers: Arc::clone(self),
            site,
            is_trial,
        })
    }

    /// Breakers that are open, also while a call is tried.
    pub(crate) fn open(&self) -> Vec<Open> {
        let failing = self.failing.lock();
        let open = failing.iter().filter(|(_, breaker)| breaker.open_until.is_some());
        open.map(|(site, breaker)| Open {
            site: site.clone(),
            failures: breaker.failures,
        })
        .collect()
    }
}

/// What the end of a call changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// The breaker opened, and was not open before.
    Opened,
    Closed,
}

impl Admitted {
    pub(crate) fn end(mut self, made: Made) -> Change {
        let is_trial = std::mem::take(&mut self.is_trial);
        let breakers = Arc::clone(&self.breakers);
        if made == Made::Good && breakers.len.load(Ordering::Acquire) == 0 {
            return Change::None;
        }
        let mut failing = breakers.failing.lock();
        let change = match made {
            Made::Nothing => {
                if let Some(breaker) = failing.get_mut(&self.site).filter(|_| is_trial) {
                    breaker.is_trying = false;
                }
                Change::None
            }
            // A call that began before the breaker opened shows nothing about those after it.
            Made::Good => match failing.get(&self.site) {
                Some(breaker) if breaker.open_until.is_none() || is_trial => {
                    let was_open = breaker.open_until.is_some();
                    failing.remove(&self.site);
                    if was_open { Change::Closed } else { Change::None }
                }
                Some(_) | None => Change::None,
            },
            Made::Bad => {
                let breaker = failing.entry(self.site.clone()).or_default();
                breaker.failures = breaker.failures.saturating_add(1);
                let was_open = breaker.open_until.is_some();
                if is_trial || (!was_open && breaker.failures >= FAILURES) {
                    breaker.open_until = Some(Instant::now() + PAUSE.after(breaker.opened));
                    breaker.opened = breaker.opened.saturating_add(1);
                }
                if is_trial {
                    breaker.is_trying = false;
                }
                if !was_open && breaker.open_until.is_some() {
                    Change::Opened
                } else {
                    Change::None
                }
            }
        };
        breakers.len.store(failing.len(), Ordering::Release);
        change
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // Its caller has gone: the next call is tried.
        if self.is_trial
            && let Some(breaker) = self.breakers.failing.lock().get_mut(&self.site)
        {
            breaker.is_trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(network: &str) -> Site {
        Site {
            instance: 1,
            network: network.to_owned(),
            operation: Operation::Verify.name(),
        }
    }

    fn call(breakers: &Arc<Breakers>, made: Made) -> Result<Change, Fault> {
        Ok(breakers.admit(site("eip155:1"))?.end(made))
    }

    fn opened() -> Arc<Breakers> {
        let breakers = Arc::new(Breakers::default());
        for _ in 1..FAILURES {
            assert_eq!(call(&breakers, Made::Bad), Ok(Change::None));
        }
        assert_eq!(call(&breakers, Made::Bad), Ok(Change::Opened));
        breakers
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_are_refused_for_a_growing_time_until_a_trial_succeeds() {
        let breakers = opened();
        for pause_s in [1, 2, 4, 8, 16, 30, 30] {
            let fault = call(&breakers, Made::Good).expect_err("it is open");
            assert_eq!(fault.kind, FaultKind::Unavailable);
            assert_eq!(fault.retry_after_ms, Some(pause_s * 1_000));
            assert!(breakers.admit(site("eip155:2")).is_ok(), "another network");
            tokio::time::advance(Duration::from_secs(pause_s)).await;
            let trial = breakers.admit(site("eip155:1")).expect("one is tried");
            assert!(breakers.admit(site("eip155:1")).is_err(), "one only");
            assert_eq!(trial.end(Made::Bad), Change::None);
            assert_eq!(breakers.open().len(), 1);
        }
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(call(&breakers, Made::Good), Ok(Change::Closed));
        assert_eq!(breakers.open(), []);
        assert_eq!(
            call(&breakers, Made::Bad),
            Ok(Change::None),
            "it counts from one again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_between_failures_and_the_faults_of_others_open_nothing() {
        let breakers = Arc::new(Breakers::default());
        for _ in 0..3 * FAILURES {
            for made in [Made::Bad, Made::Good, Made::Nothing] {
                assert_eq!(call(&breakers, made), Ok(Change::None));
            }
        }
        for kind in [
            FaultKind::Unavailable,
            FaultKind::Overloaded,
            FaultKind::Cancelled,
            FaultKind::Shutdown,
            // One caller's payload must not refuse the others.
            FaultKind::Panic,
            FaultKind::Internal,
            FaultKind::Invalid,
        ] {
            assert_eq!(Made::of(Some(kind), false), Made::Nothing);
        }
        assert_eq!(Made::of(Some(FaultKind::Deadline), true), Made::Nothing);
        assert_eq!(Made::of(Some(FaultKind::Deadline), false), Made::Bad);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_whose_caller_leaves_is_followed_by_another() {
        let breakers = opened();
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(breakers.admit(site("eip155:1")).expect("one is tried"));
        let trial = breakers.admit(site("eip155:1")).expect("another one");
        assert_eq!(trial.end(Made::Nothing), Change::None);
        assert_eq!(call(&breakers, Made::Good), Ok(Change::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_success_from_before_does_not_close_it() {
        let breakers = Arc::new(Breakers::default());
        let early = breakers.admit(site("eip155:1")).expect("closed");
        for _ in 0..FAILURES {
            call(&breakers, Made::Bad).expect("closed");
        }
        assert_eq!(early.end(Made::Good), Change::None);
        assert!(call(&breakers, Made::Good).is_err());
    }
}
