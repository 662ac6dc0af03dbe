//! One URL of a network, what operators call it, and its health under a lock.
//!
//! Assumes that nothing holds the health's lock for longer than one of these functions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::nodes::NodeState;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::failure::Failure;
use super::health::{Availability, Health};
use super::rate::Rate;
use super::url::SecretUrl;

/// One URL and its health.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) url: SecretUrl,
    /// The name that operators see.
    label: String,
    health: Mutex<Health>,
    rate: Mutex<Rate>,
    is_probed: AtomicBool,
    /// The node refuses batches: its calls are sent one by one.
    refuses_batches: AtomicBool,
}

impl Node {
    /// `position`: counted from 1, where several nodes have its host name and it has no name of its own.
    pub(super) fn new(url: SecretUrl, position: Option<usize>) -> Self {
        let label = match (url.name(), position) {
            (Some(name), _) => name.to_owned(),
            (None, Some(position)) => format!("{} (node {position})", url.host()),
            (None, None) => url.host().to_owned(),
        };
        Self {
            url,
            label,
            health: Mutex::default(),
            rate: Mutex::default(),
            is_probed: AtomicBool::new(false),
            refuses_batches: AtomicBool::new(false),
        }
    }

    /// Whether this very node is in the list; two nodes may have the same URL.
    pub(super) fn is_among(&self, nodes: &[&Self]) -> bool {
        nodes.iter().any(|node| std::ptr::eq(*node, self))
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn state(&self) -> NodeState {
        NodeState {
            host: self.label.clone(),
            trouble: self.health.lock().trouble(),
        }
    }

    pub(super) fn refuses_batches(&self) -> bool {
        self.refuses_batches.load(Ordering::Acquire)
    }

    pub(super) fn record_refused_batch(&self) {
        self.refuses_batches.store(true, Ordering::Release);
    }

    /// As [`Rate::record_sent`].
    pub(super) fn record_sent(&self, calls: usize, now: Instant) {
        self.rate.lock().record_sent(calls, now);
    }

    /// As [`Rate::record_refusal`].
    pub(super) fn record_refusal(&self, now: Instant) -> Option<usize> {
        self.rate.lock().record_refusal(now)
    }

    /// As [`Rate::wait`].
    pub(super) fn wait_of(&self, calls: usize, now: Instant) -> Duration {
        self.rate.lock().wait(calls, now)
    }

    /// Claims the background read that finds out whether the node is back. Returns `false` while another one runs.
    pub(super) fn begin_probe(&self) -> bool {
        !self.is_probed.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_probe(&self) {
        self.is_probed.store(false, Ordering::Release);
    }

    /// Whether the engine has accepted the node, and it has not failed since.
    pub(super) fn is_accepted(&self) -> bool {
        self.health.lock().is_accepted()
    }

    /// As [`Health::only_awaits_check`].
    pub(super) fn only_awaits_check(&self) -> bool {
        self.health.lock().only_awaits_check()
    }

    /// As [`Health::record_check`].
    pub(super) fn record_check(&self, why_not: Option<&str>, now: Instant) -> bool {
        self.health.lock().record_check(why_not, now)
    }

    /// As [`Health::require_new_check`].
    pub(super) fn require_new_check(&self, fresh: Duration, now: Instant) {
        self.health.lock().require_new_check(fresh, now);
    }

    pub(super) fn record_latency(&self, latency: Duration) {
        self.health.lock().record_latency(latency);
    }

    pub(super) fn usual_latency(&self) -> Option<Duration> {
        self.health.lock().usual_latency()
    }

    pub(super) fn is_slow_compared_to(&self, fastest: Duration) -> bool {
        self.health.lock().is_slow_compared_to(fastest)
    }

    pub(super) fn record_missing_method(&self, method: &str, now: Instant) {
        self.health.lock().record_missing_method(method, now);
    }

    pub(super) fn serves_all<'a>(&self, methods: impl Iterator<Item = &'a str>, now: Instant) -> bool {
        self.health.lock().serves_all(methods, now)
    }

    pub(super) fn record_unanswered_send(&self, now: Instant) {
        self.health.lock().record_unanswered_send(now);
    }

    pub(super) fn record_answered_send(&self) {
        self.health.lock().record_answered_send();
    }

    pub(super) fn left_send_unanswered(&self, now: Instant) -> bool {
        self.health.lock().left_send_unanswered(now)
    }

    pub(super) fn may_retry_at_once(&self) -> bool {
        self.health.lock().may_retry_at_once()
    }

    pub(super) fn availability(&self, now: Instant) -> Availability {
        self.health.lock().availability(now)
    }

    /// As [`Health::record_success`].
    pub(super) fn record_success(&self, now: Instant) -> Option<String> {
        self.health.lock().record_success(now)
    }

    /// As [`Health::record_failure`].
    pub(super) fn record_failure(&self, failure: &Failure, now: Instant) -> bool {
        self.health.lock().record_failure(failure, now)
    }
}
