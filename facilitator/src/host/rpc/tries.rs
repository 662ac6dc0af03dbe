//! Which nodes one request has asked, and which of them it asks once more.
//!
//! Behind one URL there are often many machines, of which some are ill: what failed quickly there may be answered at the second
//! attempt. So when no node is left to ask, those that failed in a way that may pass at once are asked again, twice at most, and
//! not in an outage that has lasted for longer than a node's first rests.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::node::{Failure, Node};

/// Pauses before nodes are asked again.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];
/// Failures in a row after which a node is not asked again by the same request.
const MAX_IN_A_ROW: u32 = 2;

/// The nodes that one request has asked.
#[derive(Debug, Default)]
pub(super) struct Tries<'a> {
    asked: Vec<&'a Node>,
    /// Those of them that are worth another attempt.
    again: Vec<&'a Node>,
    rounds: usize,
}

impl<'a> Tries<'a> {
    pub(super) fn begin(&mut self, node: &'a Node) {
        self.asked.push(node);
    }

    /// The nodes that are not to be asked in this round.
    pub(super) fn asked(&self) -> &[&'a Node] {
        &self.asked
    }

    /// A node has failed, which is recorded in its state already.
    pub(super) fn failed(&mut self, node: &'a Node, failure: &Failure) {
        if failure.may_pass_at_once() && node.failures_in_a_row() <= MAX_IN_A_ROW {
            self.again.push(node);
        }
    }

    /// After a short pause, whether there are nodes to ask again before the deadline.
    pub(super) async fn another_round(&mut self, deadline: Instant) -> bool {
        let pause = PAUSES.get(self.rounds).copied();
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
