//! Which nodes of a network are used. Each node must show what it serves before its first request, and again after
//! each failure.
//!
//! A node shows this by answering the driver's check alone. A node of another chain is never used. A node that lags
//! is used only if no other node is better. Then the network is not ready, and in-flight settlements are still
//! observed.

use crate::health::Checks;
use crate::state::network::NetworkRun;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sdk_plugin::chain::{NodeFault, Readiness};
use sdk_plugin::{Fault, FaultKind};
use tokio::time::{Instant, timeout};

/// How long one of several nodes may take to show what it serves. An only node gets more time.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
const ONLY_ONE_WITHIN: Duration = Duration::from_secs(10);
/// Minimum time between two checks of the nodes while requests wait for one.
const WANTED_INTERVAL: Duration = Duration::from_millis(100);
/// Nodes that are in use only when another one fails must show again what they serve after this time.
const SHOWN_AGAIN: Duration = Duration::from_secs(60);

/// The result of checking one node.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Good,
    Lagging(String),
    /// It must not be used, for this reason.
    Wrong(String),
    /// It did not answer, which its state shows, or it could not be queried.
    Nothing,
}

impl Shown {
    fn of(answer: Result<Readiness, Fault>) -> Self {
        match answer {
            Ok(readiness) => {
                let why = readiness.why_not.unwrap_or_default();
                match readiness.node_fault {
                    // Any other reason is not the node's fault.
                    None => Self::Good,
                    Some(NodeFault::Behind) => Self::Lagging(why),
                    Some(NodeFault::WrongChain) => Self::Wrong(why),
                }
            }
            Err(fault) if fault.kind == FaultKind::Unavailable => Self::Wrong(fault.message),
            Err(_) => Self::Nothing,
        }
    }
}

impl Checks {
    /// Checks the nodes while requests wait for a usable one. Separate from the checks of the network, which may be
    /// waiting too.
    pub(crate) async fn keep_judging(self: Arc<Self>, run: Arc<NetworkRun>) {
        loop {
            self.node_wanted(&run).await;
            let began = Instant::now();
            self.judge_nodes(&run, false).await;
            if !self.runtime.usable_nodes(&run.network).is_empty() {
                run.health.node_is_back.notify_one();
            }
            tokio::time::sleep_until(began + WANTED_INTERVAL).await;
        }
    }

    /// Checks each node that must show what it serves: the nodes that are not used, or all nodes if calls have
    /// failed or the last such check was long ago.
    pub(crate) async fn judge_nodes(&self, run: &NetworkRun, calls_failed: bool) {
        let Some(pools) = self.runtime.ops.pools() else {
            return;
        };
        let network = &run.network;
        let id = network.id();
        let _judging = run.health.judging.lock().await;
        pools.begin_judging(id);
        let now = Instant::now();
        let all = {
            let mut last = run.health.nodes_shown.lock();
            let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= SHOWN_AGAIN);
            let all = calls_failed || is_due;
            if all {
                *last = Some(now);
            }
            all
        };
        let within = if network.settings.nodes > 1 {
            SHOWN_WITHIN
        } else {
            ONLY_ONE_WITHIN
        };
        let late = || {
            Fault::unavailable(format!(
                "it did not show what it serves within {} s",
                within.as_secs()
            ))
        };
        let late = &late;
        let mut asked: FuturesUnordered<_> = (0..network.settings.nodes)
            .filter(|node| all || !pools.is_usable(id, *node))
            .map(|node| async move {
                let answer = timeout(within, self.runtime.ops.check_through(network, node)).await;
                let answer = answer.unwrap_or_else(|_| Err(late()));
                (node, Shown::of(answer))
            })
            .collect();
        let mut lagging = Vec::new();
        while let Some((node, shown)) = asked.next().await {
            match shown {
                Shown::Good => pools.judge(id, node, None),
                Shown::Lagging(why) => lagging.push((node, why)),
                Shown::Wrong(why) => {
                    // The trouble of a node that does not answer is known already.
                    let nodes = pools.nodes(id);
                    let is_away = nodes.get(node).is_some_and(|state| state.trouble.is_some());
                    if !is_away || pools.is_usable(id, node) {
                        pools.judge(id, node, Some(&why));
                    }
                }
                Shown::Nothing => {}
            }
        }
        let is_lagging = |node: usize| lagging.iter().any(|(other, _)| *other == node);
        let another_is_good =
            (0..network.settings.nodes).any(|node| !is_lagging(node) && pools.is_usable(id, node));
        for (node, why) in &lagging {
            pools.judge(id, *node, another_is_good.then_some(why));
        }
        pools.end_judgement(id);
    }

    /// Returns when a request has found no node that it may use.
    async fn node_wanted(&self, run: &NetworkRun) {
        match self.runtime.ops.pools() {
            Some(pools) => pools.judgement_wanted(run.network.id()).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_what_a_node_serves_speaks_against_it() {
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
        assert_eq!(Shown::of(readiness(None)), Shown::Good);
        let why = || "why".to_owned();
        assert_eq!(
            Shown::of(readiness(Some(NodeFault::Behind))),
            Shown::Lagging(why())
        );
        assert_eq!(
            Shown::of(readiness(Some(NodeFault::WrongChain))),
            Shown::Wrong(why())
        );
        assert_eq!(Shown::of(Err(Fault::unavailable("why"))), Shown::Wrong(why()));
        for kind in [
            FaultKind::Deadline,
            FaultKind::Overloaded,
            FaultKind::Panic,
            FaultKind::Internal,
        ] {
            assert_eq!(Shown::of(Err(Fault::new(kind, "why"))), Shown::Nothing);
        }
    }
}
