//! The nodes that one request has tried, and the rounds in which it retries some of them.
//!
//! One URL often stands for many machines, some of which fail: what failed quickly may succeed at the second attempt. When
//! no node is left, those with a transient failure are retried, a few times, unless the outage has outlasted a node's first
//! back-offs. A node that then answers keeps its accepted check; one that does not must be checked again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::node::Node;
use super::pool::Pool;

/// Pauses between the rounds of a read.
pub(super) const READ_PAUSES: &[Duration] = &[
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(250),
];
/// Pauses between the rounds of a send. One only: the lane waits for it, and the engine repeats it until a block shows it.
pub(super) const SEND_PAUSES: &[Duration] = &[Duration::from_millis(30)];

/// The nodes that one request has tried.
pub(super) struct Retries<'a> {
    pool: &'a Pool,
    tried: Vec<&'a Node>,
    /// Nodes among them that the next round retries.
    retryable: Vec<&'a Node>,
    pauses: &'static [Duration],
    rounds: usize,
}

impl<'a> Retries<'a> {
    pub(super) fn new(pool: &'a Pool, pauses: &'static [Duration]) -> Self {
        Self {
            pool,
            tried: Vec::new(),
            retryable: Vec::new(),
            pauses,
            rounds: 0,
        }
    }

    pub(super) fn record_try(&mut self, node: &'a Node) {
        self.tried.push(node);
    }

    /// The nodes that this round does not try again.
    pub(super) fn tried(&self) -> &[&'a Node] {
        &self.tried
    }

    /// Records a failure that the node's health already holds.
    pub(super) fn record_failure(&mut self, node: &'a Node) {
        if !node.may_retry_at_once() {
            return;
        }
        self.retryable.push(node);
        // The nodes that could take over may wait for a check, which is requested only when no node is accepted.
        if self.rounds > 0 {
            self.pool.require_new_check(node);
        }
    }

    /// Waits for the next pause. Returns whether there are nodes to retry ahead of the deadline.
    pub(super) async fn wait_for_next_round(&mut self, deadline: Instant) -> bool {
        let pause = self.pauses.get(self.rounds).copied();
        let Some(pause) = pause.filter(|_| !self.retryable.is_empty()) else {
            return false;
        };
        self.rounds = self.rounds.saturating_add(1);
        let starts_at = Instant::now() + pause;
        if starts_at >= deadline {
            return false;
        }
        sleep_until(starts_at).await;
        let retryable = std::mem::take(&mut self.retryable);
        self.tried.retain(|node| !node.is_among(&retryable));
        true
    }
}

/// Runs also when the caller drops the request.
impl Drop for Retries<'_> {
    fn drop(&mut self) {
        for node in &self.retryable {
            self.pool.require_new_check(node);
        }
    }
}
