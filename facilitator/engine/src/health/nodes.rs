//! Checks of single nodes: which nodes of a network are used. A node is checked before its first request, and again
//! after each failure.
//!
//! The check is the driver's check, with every call sent to this one node. A node of another chain is never used. A
//! node that lags is used only if no other node is better. Then the network is not ready, and in-flight settlements
//! are still observed.

use crate::health::{COMPLETE_INTERVAL, Checks};
use crate::state::network::NetworkRun;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sdk_plugin::chain::{NodeFault, Readiness};
use sdk_plugin::{Fault, FaultKind};
use tokio::time::{Instant, timeout};

/// How long the check of one of several nodes may take. The network's only node gets more time.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
const ONLY_NODE_CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// Minimum time between two rounds of checks while requests wait for a usable node.
const REQUESTED_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Accepted nodes are checked again after this time. A node that gets requests only when another one fails would
/// otherwise not be checked before it is needed.
const FULL_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The result of checking one node.
#[derive(Debug, PartialEq, Eq)]
enum NodeCheck {
    Passed,
    /// It is used only if no other node is better.
    Lagging(String),
    /// It must not be used, for this reason.
    Failed(String),
    /// It did not answer, which its state shows, or it could not be queried.
    NoResult,
}

impl NodeCheck {
    fn of(answer: Result<Readiness, Fault>) -> Self {
        match answer {
            Ok(readiness) => {
                let why = readiness.why_not.unwrap_or_default();
                match readiness.node_fault {
                    // Any other reason is not the node's fault.
                    None => Self::Passed,
                    Some(NodeFault::Behind) => Self::Lagging(why),
                    Some(NodeFault::WrongChain) => Self::Failed(why),
                }
            }
            Err(fault) if fault.kind == FaultKind::Unavailable => Self::Failed(fault.message),
            Err(_) => Self::NoResult,
        }
    }
}

impl Checks {
    /// Checks the nodes whenever a request waits for a usable one. This is a separate task, because the check of the
    /// network may be waiting for a usable node itself.
    pub(crate) async fn keep_checking_nodes(self: Arc<Self>, run: Arc<NetworkRun>) {
        loop {
            self.node_check_requested(&run).await;
            let began = Instant::now();
            self.check_nodes(&run, false).await;
            if !self.runtime.usable_nodes(&run.network).is_empty() {
                run.health.node_is_back.notify_one();
            }
            tokio::time::sleep_until(began + REQUESTED_CHECK_INTERVAL).await;
        }
    }

    /// Checks the nodes that are not used; all nodes if calls have failed or all were last checked long ago.
    pub(crate) async fn check_nodes(&self, run: &NetworkRun, calls_failed: bool) {
        let Some(pools) = self.runtime.ops.pools() else {
            return;
        };
        let network = &run.network;
        let id = network.id();
        let _checking = run.health.checking_nodes.lock().await;
        pools.begin_checks(id);
        let now = Instant::now();
        let all = {
            let mut last = run.health.all_nodes_checked_at.lock();
            let interval = if run.follows_blocks() {
                COMPLETE_INTERVAL
            } else {
                FULL_CHECK_INTERVAL
            };
            let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= interval);
            let all = calls_failed || is_due;
            if all {
                *last = Some(now);
            }
            all
        };
        let within = if network.settings.nodes > 1 {
            CHECK_TIMEOUT
        } else {
            ONLY_NODE_CHECK_TIMEOUT
        };
        let late = || Fault::unavailable(format!("its check did not end within {} s", within.as_secs()));
        let late = &late;
        let mut checks: FuturesUnordered<_> = (0..network.settings.nodes)
            .filter(|node| all || !pools.is_usable(id, *node))
            .map(|node| async move {
                let answer = timeout(within, self.runtime.ops.check_through(network, node)).await;
                let answer = answer.unwrap_or_else(|_| Err(late()));
                (node, NodeCheck::of(answer))
            })
            .collect();
        let mut lagging = Vec::new();
        while let Some((node, check)) = checks.next().await {
            match check {
                NodeCheck::Passed => pools.record_check(id, node, None),
                NodeCheck::Lagging(why) => lagging.push((node, why)),
                NodeCheck::Failed(why) => {
                    // The state of a node that does not answer has its last failure already.
                    let nodes = pools.nodes(id);
                    let is_away = nodes.get(node).is_some_and(|state| state.trouble.is_some());
                    if !is_away || pools.is_usable(id, node) {
                        pools.record_check(id, node, Some(&why));
                    }
                }
                NodeCheck::NoResult => {}
            }
        }
        let is_lagging = |node: usize| lagging.iter().any(|(other, _)| *other == node);
        let another_is_good =
            (0..network.settings.nodes).any(|node| !is_lagging(node) && pools.is_usable(id, node));
        for (node, why) in &lagging {
            pools.record_check(id, *node, another_is_good.then_some(why));
        }
        pools.end_checks(id);
    }

    /// Returns when a request has found no node that it may use.
    async fn node_check_requested(&self, run: &NetworkRun) {
        match self.runtime.ops.pools() {
            Some(pools) => pools.check_requested(run.network.id()).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_node_is_rejected_only_for_what_it_serves() {
        let readiness = |node_fault| {
            Ok(Readiness {
                ready: false,
                why_not: Some("why".into()),
                addresses: BTreeMap::new(),
                ordered: true,
                head_height: 1,
                warnings: Vec::new(),
                node_fault,
            })
        };
        assert_eq!(NodeCheck::of(readiness(None)), NodeCheck::Passed);
        let why = || "why".to_owned();
        assert_eq!(
            NodeCheck::of(readiness(Some(NodeFault::Behind))),
            NodeCheck::Lagging(why())
        );
        assert_eq!(
            NodeCheck::of(readiness(Some(NodeFault::WrongChain))),
            NodeCheck::Failed(why())
        );
        assert_eq!(
            NodeCheck::of(Err(Fault::unavailable("why"))),
            NodeCheck::Failed(why())
        );
        for kind in [
            FaultKind::Deadline,
            FaultKind::Overloaded,
            FaultKind::Panic,
            FaultKind::Internal,
        ] {
            assert_eq!(NodeCheck::of(Err(Fault::new(kind, "why"))), NodeCheck::NoResult);
        }
    }
}
