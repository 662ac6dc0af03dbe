//! The order in which a request tries the nodes of a network.
//!
//! Assumes that [`Node`] answers from its health at this moment; nothing is cached.

use tokio::time::Instant;

use super::exchange::Batch;
use super::health::Availability;
use super::node::Node;
use super::pool::Pool;

/// Which nodes a request may try, and where it starts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// At most one node that is backing off: a flood of reads must not hammer nodes that need a pause.
    Read,
    /// Every node, also those that are backing off: a proof is worth it.
    Compare,
    /// Every node; the healthy ones rotated, so that each repetition of the same bytes starts at another one.
    Send { first: usize },
}

/// The node to try next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) node: &'a Node,
    pub(super) remaining: Remaining,
}

/// Whether the request could try another node after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remaining {
    Some,
    None,
}

impl Pool {
    /// The first node in order that was not tried. While no such node may be used, waits a little for the engine's check.
    pub(super) async fn next(
        &self,
        order: Order,
        batch: &Batch,
        tried: &[&Node],
        deadline: Instant,
    ) -> Option<Candidate<'_>> {
        self.wait_for_usable_node(tried, deadline).await;
        let nodes = self.in_order(order, batch);
        let mut left = nodes
            .into_iter()
            .filter(|node| !tried.iter().any(|other| std::ptr::eq(*other, *node)));
        let node = left.next()?;
        let remaining = match left.next() {
            Some(_) => Remaining::Some,
            None => Remaining::None,
        };
        Some(Candidate { node, remaining })
    }

    /// Healthy nodes as configured, with slow ones and those that lack one of the methods after the others; then nodes
    /// whose back-off is over; then nodes that are backing off, the first to end first. For a send, healthy nodes that
    /// recently left a send without an answer come after the other healthy ones.
    fn in_order(&self, order: Order, batch: &Batch) -> Vec<&Node> {
        let now = Instant::now();
        let mut healthy = Vec::with_capacity(self.nodes().len());
        let mut due = Vec::new();
        let mut backing_off = Vec::new();
        for node in self.nodes().iter().filter(|node| self.is_usable(node)) {
            match node.availability(now) {
                Availability::Healthy => healthy.push(node),
                Availability::RetryDue => due.push(node),
                Availability::BackingOff { until } => backing_off.push((until, node)),
            }
        }
        let fastest = healthy.iter().filter_map(|node| node.usual_latency()).min();
        healthy.sort_by_key(|node| {
            let is_slow = fastest.is_some_and(|fastest| node.is_slow_compared_to(fastest));
            (!node.serves_all(batch.methods(), now), is_slow)
        });
        if let Order::Send { first } = order {
            if let Some(first) = first.checked_rem(healthy.len()) {
                healthy.rotate_left(first);
            }
            healthy.sort_by_key(|node| node.left_send_unanswered(now));
        }
        backing_off.sort_by_key(|(until, _)| *until);
        let most = match order {
            Order::Read => 1,
            Order::Compare | Order::Send { .. } => backing_off.len(),
        };
        let backing_off = backing_off.into_iter().take(most).map(|(_, node)| node);
        healthy.into_iter().chain(due).chain(backing_off).collect()
    }
}
