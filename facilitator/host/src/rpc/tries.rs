//! Which nodes one request has asked, and which of them it asks once more.
//!
//! Behind one URL there are often many machines, of which some are ill: what failed quickly there may be answered at the second
//! attempt. So when no node is left to ask, those that failed in a way that may pass at once are asked again, a few times, and not
//! in an outage that has lasted for longer than a node's first rests. A node that then answers need not show again what it serves;
//! one that does not has to.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::node::Node;
use super::pool::Pool;

/// Pauses before nodes are asked again by a read.
pub(super) const READ: &[Duration] = &[
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(250),
];
/// The same by a send: others wait for it, and it is repeated anyway while no block shows it.
pub(super) const SEND: &[Duration] = &[Duration::from_millis(30)];

/// The nodes that one request has asked.
pub(super) struct Tries<'a> {
    pool: &'a Pool,
    asked: Vec<&'a Node>,
    /// Those of them that are worth another attempt.
    again: Vec<&'a Node>,
    pauses: &'static [Duration],
    rounds: usize,
}

impl<'a> Tries<'a> {
    pub(super) fn new(pool: &'a Pool, pauses: &'static [Duration]) -> Self {
        Self {
            pool,
            asked: Vec::new(),
            again: Vec::new(),
            pauses,
            rounds: 0,
        }
    }

    pub(super) fn begin(&mut self, node: &'a Node) {
        self.asked.push(node);
    }

    /// The nodes that are not to be asked in this round.
    pub(super) fn asked(&self) -> &[&'a Node] {
        &self.asked
    }

    /// A node has failed, which is recorded in its state already.
    pub(super) fn failed(&mut self, node: &'a Node) {
        if !node.may_be_asked_again() {
            return;
        }
        self.again.push(node);
        // Who could take its place may be waiting for a judgement, which is made when no node is good.
        if self.rounds > 0 {
            self.pool.doubt(node);
        }
    }

    /// After a short pause, whether there are nodes to ask again before the deadline.
    pub(super) async fn another_round(&mut self, deadline: Instant) -> bool {
        let pause = self.pauses.get(self.rounds).copied();
        let Some(pause) = pause.filter(|_| !self.again.is_empty()) else {
            return false;
        };
        self.rounds = self.rounds.saturating_add(1);
        let begins = Instant::now() + pause;
        if begins >= deadline {
            return false;
        }
        sleep_until(begins).await;
        let again = std::mem::take(&mut self.again);
        self.asked
            .retain(|node| !again.iter().any(|other| std::ptr::eq(*other, *node)));
        true
    }
}

/// Also when the caller has gone.
impl Drop for Tries<'_> {
    fn drop(&mut self) {
        for node in &self.again {
            self.pool.doubt(node);
        }
    }
}
