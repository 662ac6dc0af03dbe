//! The engine's checks of what nodes serve: which nodes may be used, and how requests wait for a check.
//!
//! Once the engine has started to check a network, only nodes are used that it accepted since they last failed. While there
//! is none, a request triggers a check and waits for it, for a little while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::node::Node;
use super::pool::Pool;

/// How long a request waits for a check when no node may be used.
const CHECKED_WITHIN: Duration = Duration::from_secs(2);

/// Whether a network's nodes are checked, and who waits for that.
#[derive(Default)]
pub(super) struct Checks {
    is_required: AtomicBool,
    /// Notified when a request finds no usable node.
    requested: Notify,
    /// Notified when a node was accepted, or all nodes were checked.
    finished: Notify,
}

impl Pool {
    /// From now on only accepted nodes are used.
    pub(super) fn require_checks(&self) {
        self.checks.is_required.store(true, Ordering::Release);
    }

    /// All nodes were checked, with whatever result.
    pub(super) fn end_checks(&self) {
        self.checks.finished.notify_waiters();
    }

    /// Returns when a request has found no usable node.
    pub(super) async fn check_requested(&self) {
        self.checks.requested.notified().await;
    }

    /// Records the check of the node at this position: `None` accepts it.
    pub(super) fn record_check(&self, position: usize, why_not: Option<&str>) {
        let Some(node) = self.nodes().get(position) else {
            return;
        };
        if node.record_check(why_not, Instant::now()) {
            let (network, host) = (&self.limits().id, node.label());
            match why_not {
                Some(why) => tracing::warn!(%network, host, why, "RPC node is not used"),
                None => tracing::info!(%network, host, "RPC node is used again"),
            }
        }
        if why_not.is_none() {
            // One usable node is enough for the requests that wait.
            self.checks.finished.notify_waiters();
        }
    }

    pub(super) fn is_usable(&self, node: &Node) -> bool {
        node.is_accepted() || !self.checks.is_required.load(Ordering::Acquire)
    }

    /// Returns at once while any node may be used; otherwise requests a check and waits for its end.
    pub(super) async fn wait_for_usable_node(&self, deadline: Instant) {
        let finished = self.checks.finished.notified();
        tokio::pin!(finished);
        // Registered ahead of the test, so that a check that ends in between is not missed.
        finished.as_mut().enable();
        if self.nodes().iter().any(|node| self.is_usable(node)) {
            return;
        }
        self.checks.requested.notify_one();
        let _ = timeout_at(deadline.min(Instant::now() + CHECKED_WITHIN), finished).await;
    }
}
