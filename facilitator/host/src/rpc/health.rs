//! What is known about one node: its back-off after failures, its accepted check, its latency, and what it lacks.
//!
//! A node that fails backs off for a time that doubles with each failure in a row. What a node serves (which chain, how
//! new a head) is checked by the engine: a node may return well-formed answers that are wrong. After a failure that check
//! is due again.
//!
//! Assumes nothing about time but that `now` does not run backwards. Does no I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use base::backoff::Backoff;
use tokio::time::Instant;

use super::failure::Failure;

/// Longest back-off. The engine's first read after it finds a node that is back.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Back-off of a failing node.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    longest: BACKOFF_MAX,
};
/// Failures in a row, each after the back-off of the one before, after which a node may still be retried at once. More are
/// an outage.
const MAX_IN_A_ROW: u32 = 2;
/// After a node was reported as back, another failure is not reported for this long: a node that refuses every other
/// request would fill the log.
pub(super) const QUIET: Duration = Duration::from_secs(10);
/// A node with a usual latency below this never counts as slow.
const SLOW_FROM: Duration = Duration::from_secs(1);
/// A slow node takes more than this many times as long as the fastest one.
const SLOW_TIMES: u32 = 4;
/// For how long a node that does not serve a method is tried after the others for that method.
const LACKS_FOR: Duration = Duration::from_secs(600);
/// For how long a node that left a send without an answer gets sends after the other nodes.
const LEFT_SENDS_FOR: Duration = Duration::from_secs(60);
/// Methods remembered as not served by a node.
const MAX_LACKING: usize = 64;

/// Result of the engine's check of what a node serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Check {
    /// Not checked since the start or since the last failure.
    #[default]
    Due,
    Accepted,
    /// Why the node is not used.
    Rejected(String),
}

/// Whether a node may be tried now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Availability {
    Healthy,
    /// Its last request failed, and its back-off is over.
    RetryDue,
    BackingOff {
        until: Instant,
    },
}

/// What operators know about a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Reported {
    /// Nothing, or that it is back, longer than [`QUIET`] ago.
    #[default]
    Nothing,
    Away,
    BackAt(Instant),
}

/// The health of one node.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures_in_a_row: u32,
    backoff_until: Option<Instant>,
    /// The last failure, until the node answers.
    trouble: Option<String>,
    /// Whether that failure was transient.
    is_transient: bool,
    reported: Reported,
    check: Check,
    checked_at: Option<Instant>,
    usual_latency: Option<Duration>,
    /// Until when a method counts as not served.
    lacking: BTreeMap<String, Instant>,
    /// Until when the node counts as one that leaves sends without an answer.
    leaves_sends_until: Option<Instant>,
}

impl Health {
    pub(super) fn is_accepted(&self) -> bool {
        self.check == Check::Accepted
    }

    /// Whether the node only waits for its check: it has not failed and is not rejected.
    pub(super) fn only_awaits_check(&self) -> bool {
        self.check == Check::Due && self.trouble.is_none()
    }

    /// Records the engine's check: `None` accepts the node. Returns whether the node was rejected and no longer is, or the
    /// other way round.
    pub(super) fn record_check(&mut self, why_not: Option<&str>, now: Instant) -> bool {
        let check = match why_not {
            None => Check::Accepted,
            Some(why) => Check::Rejected(why.to_owned()),
        };
        let was_rejected = matches!(self.check, Check::Rejected(_));
        let is_rejected = matches!(check, Check::Rejected(_));
        self.check = check;
        self.checked_at = Some(now);
        was_rejected != is_rejected
    }

    /// An accepted node must be checked again, unless its check is younger than `fresh`.
    pub(super) fn require_new_check(&mut self, fresh: Duration, now: Instant) {
        let is_fresh = self
            .checked_at
            .is_some_and(|at| now.saturating_duration_since(at) < fresh);
        if self.is_accepted() && !is_fresh {
            self.check = Check::Due;
        }
    }

    /// Records how long an answer took, or how long one was awaited in vain.
    pub(super) fn record_latency(&mut self, latency: Duration) {
        let usual = self.usual_latency.unwrap_or(latency);
        self.usual_latency = Some(usual.saturating_add(latency) / 2);
    }

    pub(super) fn usual_latency(&self) -> Option<Duration> {
        self.usual_latency
    }

    /// Whether a node that usually takes `fastest` should be tried ahead of this one.
    pub(super) fn is_slow_compared_to(&self, fastest: Duration) -> bool {
        self.usual_latency
            .is_some_and(|usual| usual >= SLOW_FROM && usual > fastest.saturating_mul(SLOW_TIMES))
    }

    /// Records that the node does not serve a method.
    pub(super) fn record_missing_method(&mut self, method: &str, now: Instant) {
        if self.lacking.len() >= MAX_LACKING {
            self.lacking.clear();
        }
        self.lacking.insert(method.to_owned(), now + LACKS_FOR);
    }

    /// Whether the node serves all of these methods, as far as is known.
    pub(super) fn serves_all<'a>(&self, mut methods: impl Iterator<Item = &'a str>, now: Instant) -> bool {
        self.lacking.is_empty()
            || methods.all(|method| self.lacking.get(method).is_none_or(|until| *until <= now))
    }

    pub(super) fn record_unanswered_send(&mut self, now: Instant) {
        self.leaves_sends_until = Some(now + LEFT_SENDS_FOR);
    }

    pub(super) fn record_answered_send(&mut self) {
        self.leaves_sends_until = None;
    }

    /// Whether the node recently left a send without an answer.
    pub(super) fn left_send_unanswered(&self, now: Instant) -> bool {
        self.leaves_sends_until.is_some_and(|until| until > now)
    }

    /// Whether the last failure was transient and is not part of an outage.
    pub(super) fn may_retry_at_once(&self) -> bool {
        self.is_transient && self.failures_in_a_row <= MAX_IN_A_ROW
    }

    pub(super) fn availability(&self, now: Instant) -> Availability {
        match self.backoff_until {
            Some(until) if until > now => Availability::BackingOff { until },
            Some(_) => Availability::RetryDue,
            None => Availability::Healthy,
        }
    }

    /// For operators: the last failure, or why the node is not used.
    pub(super) fn trouble(&self) -> Option<String> {
        let rejection = match &self.check {
            Check::Rejected(why) => Some(format!("is not used: {why}")),
            Check::Due | Check::Accepted => None,
        };
        self.trouble.clone().or(rejection)
    }

    /// Records an answer. Returns the last failure if operators must learn that the node is back.
    pub(super) fn record_success(&mut self, now: Instant) -> Option<String> {
        self.failures_in_a_row = 0;
        self.backoff_until = None;
        let trouble = self.trouble.take();
        if self.reported != Reported::Away {
            return None;
        }
        self.reported = Reported::BackAt(now);
        trouble
    }

    /// Records a failure. Returns whether operators must learn that the node went away.
    pub(super) fn record_failure(&mut self, failure: &Failure, now: Instant) -> bool {
        let Some(requested) = failure.requested_backoff() else {
            return false;
        };
        self.trouble = Some(failure.to_string());
        self.is_transient = failure.is_transient();
        // Many requests fail together when a node goes away. That is one failure.
        if self.backoff_until.is_some_and(|until| until > now) {
            return false;
        }
        let backoff = BACKOFF.after(self.failures_in_a_row);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.backoff_until = Some(now + backoff.max(requested.min(BACKOFF_MAX)));
        let is_quiet = match self.reported {
            Reported::Nothing => false,
            Reported::Away => true,
            Reported::BackAt(at) => now.saturating_duration_since(at) < QUIET,
        };
        if !is_quiet {
            self.reported = Reported::Away;
        }
        !is_quiet
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn back_off_doubles_and_ends_with_the_first_answer() {
        let mut health = Health::default();
        let mut backoffs = Vec::new();
        for _ in 0..9 {
            let now = Instant::now();
            health.record_failure(&Failure::TimedOut, now);
            health.record_failure(&Failure::TimedOut, now);
            let Availability::BackingOff { until } = health.availability(now) else {
                panic!("it backs off")
            };
            backoffs.push((until - now).as_millis());
            tokio::time::advance(until - now).await;
            assert_eq!(health.availability(Instant::now()), Availability::RetryDue);
        }
        assert_eq!(
            backoffs,
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
        );
        health.record_failure(&Failure::TimedOut, Instant::now());
        health.record_success(Instant::now());
        assert_eq!(health.availability(Instant::now()), Availability::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_respected_up_to_the_longest_back_off() {
        let now = Instant::now();
        for (requested_s, backoff_s) in [(7, 7), (86_400, 30)] {
            let mut health = Health::default();
            let requested = Some(Duration::from_secs(requested_s));
            health.record_failure(&Failure::Status(StatusCode::TOO_MANY_REQUESTS, requested), now);
            let until = now + Duration::from_secs(backoff_s);
            assert_eq!(health.availability(now), Availability::BackingOff { until });
        }
        let mut health = Health::default();
        health.record_failure(&Failure::TooLarge { limit_bytes: 1 }, now);
        assert_eq!(health.availability(now), Availability::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn going_and_coming_back_are_reported_once_and_a_flickering_node_does_not_fill_the_log() {
        let mut health = Health::default();
        let refused = Failure::Status(StatusCode::UNAUTHORIZED, None);
        assert_eq!(health.record_success(Instant::now()), None, "it was never away");
        assert!(health.record_failure(&Failure::TimedOut, Instant::now()));
        for _ in 0..5 {
            tokio::time::advance(BACKOFF_MAX).await;
            assert!(
                !health.record_failure(&refused, Instant::now()),
                "reported before"
            );
        }
        assert_eq!(health.trouble().as_deref(), Some("answered HTTP 401"));
        let cause = health.record_success(Instant::now());
        assert_eq!(cause.as_deref(), Some("answered HTTP 401"));
        assert_eq!(health.record_success(Instant::now()), None);
        assert_eq!(health.trouble(), None);
        for _ in 0..100 {
            assert!(!health.record_failure(&refused, Instant::now()));
            assert_eq!(health.record_success(Instant::now()), None);
        }
        assert!(!health.record_failure(&refused, Instant::now()));
        tokio::time::advance(QUIET).await;
        assert!(
            health.record_failure(&refused, Instant::now()),
            "an outage after all"
        );
    }
}
