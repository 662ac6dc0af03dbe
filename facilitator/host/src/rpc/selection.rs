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
    /// Nodes that are backing off only if `tries_backing_off`. A read tries one of them at most: a flood of reads must not
    /// hammer nodes that need a pause.
    Read { tries_backing_off: bool },
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
    pub(super) is_backing_off: bool,
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
        self.first(order, batch, tried)
    }

    /// The first node in order that was not tried, as of now.
    pub(super) fn first(&self, order: Order, batch: &Batch, tried: &[&Node]) -> Option<Candidate<'_>> {
        let (ready, backing_off) = self.in_order(order, batch, tried);
        let ready = ready.into_iter().map(|node| (node, false));
        let backing_off = backing_off.into_iter().map(|node| (node, true));
        let mut left = ready.chain(backing_off);
        let (node, is_backing_off) = left.next()?;
        let remaining = match left.next() {
            Some(_) => Remaining::Some,
            None => Remaining::None,
        };
        Some(Candidate {
            node,
            remaining,
            is_backing_off,
        })
    }

    /// The nodes that were not tried. First those that are ready: healthy nodes as configured, with slow ones, those that
    /// get too many calls, and those that lack one of the methods after the others; then nodes whose back-off is over. Then those that are backing off, the first
    /// to end first. For a send, healthy nodes that recently left a send without an answer come after the other healthy ones.
    fn in_order(&self, order: Order, batch: &Batch, tried: &[&Node]) -> (Vec<&Node>, Vec<&Node>) {
        let now = Instant::now();
        let mut healthy = Vec::with_capacity(self.nodes().len());
        let mut due = Vec::new();
        let mut backing_off = Vec::new();
        let left = self.nodes().iter();
        for node in left.filter(|node| self.is_usable(node) && !node.is_among(tried)) {
            match node.availability(now) {
                Availability::Healthy => healthy.push(node),
                Availability::RetryDue => due.push(node),
                Availability::BackingOff { until } => backing_off.push((until, node)),
            }
        }
        let fastest = healthy.iter().filter_map(|node| node.usual_latency()).min();
        healthy.sort_by_key(|node| {
            let is_slow = fastest.is_some_and(|fastest| node.is_slow_compared_to(fastest));
            let must_wait = !node.wait_of(batch.calls.len(), now).is_zero();
            (!node.serves_all(batch.methods(), now), must_wait, is_slow)
        });
        if let Order::Send { first } = order {
            if let Some(first) = first.checked_rem(healthy.len()) {
                healthy.rotate_left(first);
            }
            healthy.sort_by_key(|node| node.left_send_unanswered(now));
        }
        backing_off.sort_by_key(|(until, _)| *until);
        let most = match order {
            Order::Read { tries_backing_off } => usize::from(tries_backing_off),
            Order::Compare | Order::Send { .. } => backing_off.len(),
        };
        let backing_off = backing_off.into_iter().take(most).map(|(_, node)| node);
        let ready = healthy.into_iter().chain(due).collect();
        (ready, backing_off.collect())
    }
}
