//! Payments that are set aside, because calls about them ended their plugin's process: the plugin is not called about them any
//! more, so that one crafted payment does not end it again and again.
//!
//! A payment is known by a digest of what its caller presented, so that each call about it counts, whatever the plugin says
//! of it. Once it is recorded it stays set aside until the operator releases its plugin; before that, for an hour after the last end.
//!
//! Assumes that the operator's record of these ends is read with [`Aside::load`], and written by the sink.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

use super::{CallScope, Operation};

/// So many ends set a payment aside.
pub const ENDS: u32 = 2;
/// How long a payment that is not recorded stays set aside after its last end.
pub const REFUSED_FOR: Duration = Duration::from_secs(60 * 60);
/// Most payments that are counted for all plugins together. A caller can present any number of payments: the one whose last end is
/// the oldest is forgotten, and a recorded one after those that are not.
pub const MOST: usize = 1_000;

/// The payment that a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// SHA-256 of what the caller presented.
    pub digest: [u8; 32],
    pub scheme: String,
    /// Once it is recorded.
    pub recorded: Option<Recorded>,
}

/// A recorded settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub settlement: u64,
    pub claim: String,
}

/// A call that ended its plugin's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The instance, as in [`CallScope`].
    pub instance: u64,
    pub operation: Operation,
    pub network: String,
    pub subject: Subject,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
}

/// Why a call is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetAside {
    /// It is the first since the payment was set aside.
    News,
    Known,
}

#[derive(Debug)]
struct Counted {
    times: u32,
    last: Instant,
    is_recorded: bool,
    is_reported: bool,
}

type Sink = Box<dyn Fn(Death) + Send + Sync>;

/// What is counted in this process.
#[derive(Default)]
pub struct Aside {
    counted: DashMap<(u64, [u8; 32]), Counted>,
    /// How many are counted, so that calls usually take no lock.
    len: AtomicUsize,
    sink: OnceLock<Sink>,
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").finish_non_exhaustive()
    }
}

impl Aside {
    /// Passes each end that is recorded from now on to `sink`. Only the first sink counts.
    pub fn set_sink(&self, sink: impl Fn(Death) + Send + Sync + 'static) {
        // Set once, by the start of the process.
        let _ = self.sink.set(Box::new(sink));
    }

    /// Replaces what is counted for an instance: digest, ends, the time since the last one, and whether the payment is recorded.
    pub fn load(&self, instance: u64, ends: impl IntoIterator<Item = ([u8; 32], u32, Duration, bool)>) {
        let now = Instant::now();
        let mut reported: HashMap<[u8; 32], bool> = HashMap::new();
        self.counted.retain(|(of, digest), one| {
            if *of == instance {
                reported.insert(*digest, one.is_reported);
            }
            *of != instance
        });
        for (digest, times, age, is_recorded) in ends {
            // A clock that runs for less than that knows no such moment.
            let last = match now.checked_sub(age) {
                Some(last) => last,
                None if age < REFUSED_FOR || is_recorded => now,
                None => continue,
            };
            let one = Counted {
                times,
                last,
                is_recorded,
                is_reported: reported.get(&digest).copied().unwrap_or(false),
            };
            self.counted.insert((instance, digest), one);
        }
        self.len.store(self.counted.len(), Ordering::Release);
    }

    /// Counts a call that ended the process of its plugin. A call that is about no payment counts for none.
    pub fn record(&self, scope: &CallScope, at_ms: u64) {
        let Some(subject) = &scope.subject else { return };
        let now = Instant::now();
        self.counted
            .entry((scope.instance, subject.digest))
            .and_modify(|one| {
                one.times = one.times.saturating_add(1);
                one.last = now;
                one.is_recorded |= subject.recorded.is_some();
            })
            .or_insert(Counted {
                times: 1,
                last: now,
                is_recorded: subject.recorded.is_some(),
                is_reported: false,
            });
        if self.counted.len() > MOST {
            let oldest = self.counted.iter().min_by_key(|one| (one.is_recorded, one.last));
            let oldest = oldest.map(|one| *one.key());
            if let Some(oldest) = oldest {
                self.counted.remove(&oldest);
            }
        }
        self.len.store(self.counted.len(), Ordering::Release);
        if let Some(sink) = self.sink.get() {
            sink(Death {
                instance: scope.instance,
                operation: scope.operation,
                network: scope.network.clone(),
                subject: subject.clone(),
                at_ms,
            });
        }
    }

    /// Whether calls of an instance about this payment are not made any more.
    pub fn check(&self, instance: u64, subject: &Subject) -> Option<SetAside> {
        if self.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut one = self.counted.get_mut(&(instance, subject.digest))?;
        one.is_recorded |= subject.recorded.is_some();
        if one.times < ENDS || !(one.is_recorded || one.last.elapsed() < REFUSED_FOR) {
            return None;
        }
        if std::mem::replace(&mut one.is_reported, true) {
            Some(SetAside::Known)
        } else {
            Some(SetAside::News)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn scope(digest: u8, recorded: bool) -> CallScope {
        CallScope {
            instance: 1,
            operation: Operation::Judge,
            network: "eip155:1".into(),
            signs: None,
            attempt: None,
            node: None,
            subject: Some(subject(digest, recorded)),
        }
    }

    fn subject(digest: u8, recorded: bool) -> Subject {
        Subject {
            digest: [digest; 32],
            scheme: "exact".into(),
            recorded: recorded.then(|| Recorded {
                settlement: 7,
                claim: "claim".into(),
            }),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_payment_is_set_aside_at_the_second_end_and_others_are_not() {
        let aside = Aside::default();
        let (bad, other) = (subject(1, false), subject(2, false));
        aside.record(&scope(1, false), 5);
        assert_eq!(aside.check(1, &bad), None, "once");
        aside.record(&scope(1, false), 6);
        assert_eq!(aside.check(1, &bad), Some(SetAside::News));
        assert_eq!(aside.check(1, &bad), Some(SetAside::Known), "reported once");
        assert_eq!(aside.check(1, &other), None);
        assert_eq!(aside.check(2, &bad), None, "another instance");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_called_again_after_an_hour_and_a_recorded_payment_is_not() {
        let aside = Aside::default();
        for digest in [1, 1, 2] {
            aside.record(&scope(digest, false), 0);
        }
        aside.record(&scope(2, true), 0);
        tokio::time::advance(REFUSED_FOR - Duration::from_secs(1)).await;
        assert!(aside.check(1, &subject(1, false)).is_some());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(aside.check(1, &subject(1, false)), None);
        assert!(aside.check(1, &subject(2, false)).is_some());
        // One more end is enough then.
        aside.record(&scope(1, false), 0);
        assert!(aside.check(1, &subject(1, false)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn ends_reach_the_sink_and_what_is_loaded_replaces_them() {
        let aside = Aside::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        aside.set_sink(move |death| sink.lock().expect("no panic").push(death));
        aside.record(&scope(1, true), 5);
        aside.record(
            &CallScope {
                subject: None,
                ..scope(1, true)
            },
            6,
        );
        let found = seen.lock().expect("no panic").clone();
        assert_eq!(found.len(), 1);
        assert_eq!(
            found.first().map(|death| (death.at_ms, death.subject.clone())),
            Some((5, subject(1, true)))
        );
        let old = Duration::from_secs(1_000_000_000);
        aside.load(1, [([3; 32], 2, old, true), ([4; 32], 2, old, false)]);
        assert!(aside.check(1, &subject(3, false)).is_some(), "recorded");
        assert_eq!(aside.check(1, &subject(4, false)), None, "too long ago");
        aside.record(&scope(1, true), 7);
        assert_eq!(
            aside.check(1, &subject(1, true)),
            None,
            "its first end is released"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn callers_can_not_make_it_grow() {
        let aside = Aside::default();
        aside.record(&scope(0, true), 0);
        for number in 0..1_500_u32 {
            tokio::time::advance(Duration::from_millis(1)).await;
            let mut scope = scope(1, false);
            if let Some(subject) = &mut scope.subject {
                subject.digest[..4].copy_from_slice(&number.to_be_bytes());
                subject.digest[4] = 9;
            }
            aside.record(&scope, 0);
        }
        assert_eq!(aside.counted.len(), MOST);
        assert!(aside.counted.contains_key(&(1, [0; 32])), "recorded ones stay");
    }
}
