//! The engine's checks of what nodes serve: which nodes may be used, and how requests wait for a check.
//!
//! Once the engine has started to check a network, only nodes are used that it accepted since they last failed. While there
//! is none that a request has not tried yet, the request triggers a check and waits for it, for a little while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
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
    /// Requests wait for its changes: also when a node is accepted, which changes none of its fields.
    progress: watch::Sender<Progress>,
}

/// How far the checks are.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    is_running: bool,
    ended_count: u64,
}

impl Progress {
    /// The value of `ended_count` from which a check has ended that began later than now.
    fn next_whole_check(self) -> u64 {
        let running = u64::from(self.is_running);
        self.ended_count.saturating_add(running).saturating_add(1)
    }
}

impl Pool {
    /// A check begins. From now on only accepted nodes are used.
    pub(super) fn begin_checks(&self) {
        self.checks.is_required.store(true, Ordering::Release);
        self.checks
            .progress
            .send_modify(|progress| progress.is_running = true);
    }

    /// All nodes were checked, with whatever result.
    pub(super) fn end_checks(&self) {
        self.checks.progress.send_modify(|progress| {
            progress.is_running = false;
            progress.ended_count = progress.ended_count.saturating_add(1);
        });
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
            // One usable node is enough for a request that has not tried it.
            self.checks.progress.send_modify(|_| ());
        }
    }

    pub(super) fn is_usable(&self, node: &Node) -> bool {
        node.is_accepted() || !self.checks.is_required.load(Ordering::Acquire)
    }

    /// Returns at once while a check could not help this request; otherwise requests one, and waits until an untried node
    /// is accepted or a check that began after this call has ended.
    pub(super) async fn wait_for_usable_node(&self, tried: &[&Node], deadline: Instant) {
        if !self.needs_check(tried) {
            return;
        }
        let mut progress = self.checks.progress.subscribe();
        let ends_at = progress.borrow_and_update().next_whole_check();
        let usable = async {
            while self.needs_check(tried) && progress.borrow_and_update().ended_count < ends_at {
                // Each time: a check that was given up never ends, and is not followed by another one.
                self.checks.requested.notify_one();
                if progress.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout_at(deadline.min(Instant::now() + CHECKED_WITHIN), usable).await;
    }

    /// Whether a check could give this request a node that it has not tried. If no node may be used, a check of any node
    /// could. Otherwise only nodes count that have not failed and whose check is due.
    fn needs_check(&self, tried: &[&Node]) -> bool {
        let mut usable = self.nodes().iter().filter(|node| self.is_usable(node)).peekable();
        if usable.peek().is_none() {
            return true;
        }
        // A retry of the same node is faster than a check of another.
        if usable.any(|node| !node.is_among(tried) || node.may_retry_at_once()) {
            return false;
        }
        self.nodes()
            .iter()
            .any(|node| !node.is_among(tried) && node.only_awaits_check())
    }
}
