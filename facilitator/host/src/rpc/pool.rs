//! The nodes of one network, the queues in front of them, and what a result changes about them.
//!
//! Callers never wait for a node that failed while another is healthy. The engine's reads find out whether it is back:
//! they are also sent to it in the background, beside the node that answers them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sdk_plugin::{Fault, FaultKind, HexBytes};
use tokio::sync::SemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::checks::Checks;
use super::exchange::Batch;
use super::failure::{Failure, reject_node_errors};
use super::gate::{self, Gate};
use super::health::Availability;
use super::http::HttpClient;
use super::node::Node;
use super::{RpcNetwork, RpcObserver, SecretUrl, Traffic};

/// A node with a check younger than this can take over from another one.
const FRESH_CHECK: Duration = Duration::from_secs(2);
/// Transactions whose number of sends is remembered. One that is forgotten only starts at the first node again.
const MAX_SENT: usize = 4_096;

/// The nodes of one network.
pub(super) struct Pool {
    limits: RpcNetwork,
    nodes: Vec<Node>,
    pub(super) checks: Checks,
    /// How often bytes were sent, by their hash.
    sent: Mutex<HashMap<u64, usize>>,
    hasher: RandomState,
    intake: Gate,
    engine: Gate,
    round_trips: AtomicU64,
    client: HttpClient,
    observer: Arc<dyn RpcObserver>,
}

impl Pool {
    pub(super) fn new(network: RpcNetwork, client: HttpClient, observer: Arc<dyn RpcObserver>) -> Self {
        let shares_host = |url: &SecretUrl| {
            let same = network.urls.iter().filter(|other| other.host() == url.host());
            same.count() > 1
        };
        let nodes = network.urls.iter().zip(1..);
        let nodes = nodes.map(|(url, position)| Node::new(url.clone(), shares_host(url).then_some(position)));
        Self {
            nodes: nodes.collect(),
            checks: Checks::default(),
            sent: Mutex::default(),
            hasher: RandomState::new(),
            intake: Gate::new(network.max_concurrent, network.max_queued),
            engine: Gate::new(network.max_concurrent, network.max_queued),
            round_trips: AtomicU64::new(0),
            limits: network,
            client,
            observer,
        }
    }

    pub(super) fn limits(&self) -> &RpcNetwork {
        &self.limits
    }

    /// In the order of the configuration.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn client(&self) -> &HttpClient {
        &self.client
    }

    pub(super) fn observer(&self) -> &dyn RpcObserver {
        self.observer.as_ref()
    }

    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    pub(super) fn count_round_trip(&self) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for a turn in the queue.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full, or no turn comes ahead of the deadline.
    pub(super) async fn enter(
        &self,
        traffic: Traffic,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, Fault> {
        let gate = match traffic {
            Traffic::Intake => &self.intake,
            Traffic::Engine => &self.engine,
        };
        gate.enter(deadline).await.map_err(|gate::Full| Fault {
            kind: FaultKind::Overloaded,
            message: format!("too many RPC requests to {} at once", self.limits.id),
            retry_after_ms: Some(1_000),
        })
    }

    /// The node at this position, unless it is backing off while another node may be used. A node whose last failure was
    /// transient is returned all the same.
    pub(super) fn node_if_ready(&self, position: usize) -> Option<&Node> {
        let none_is_usable = !self.nodes.iter().any(|node| self.is_usable(node));
        let now = Instant::now();
        let is_backing_off = |node: &Node| {
            matches!(node.availability(now), Availability::BackingOff { .. }) && !node.may_retry_at_once()
        };
        self.nodes
            .get(position)
            .filter(|node| none_is_usable || !is_backing_off(node))
    }

    /// The position at which a send of these bytes starts. It moves with each send of the same bytes: a node that accepts
    /// bytes and drops them must not get all repetitions.
    pub(super) fn next_send_start(&self, bytes: &HexBytes) -> usize {
        let key = self.hasher.hash_one(&bytes.0);
        let mut sent = self.sent.lock();
        if sent.len() >= MAX_SENT && !sent.contains_key(&key) {
            sent.clear();
        }
        let next = sent.entry(key).or_default();
        let start = *next;
        *next = next.wrapping_add(1);
        start
    }

    /// Sends a read to each failed node whose back-off is over, in the background. Where no node is healthy, requests try
    /// failed nodes anyway.
    pub(super) fn probe(self: &Arc<Self>, probes: &mut JoinSet<()>, batch: &Batch) {
        let now = Instant::now();
        let availabilities: Vec<Availability> =
            self.nodes.iter().map(|node| node.availability(now)).collect();
        if !availabilities.contains(&Availability::Healthy) {
            return;
        }
        for (position, availability) in availabilities.into_iter().enumerate() {
            let is_due = availability == Availability::RetryDue;
            if !is_due || !self.nodes.get(position).is_some_and(Node::begin_probe) {
                continue;
            }
            let pool = Arc::clone(self);
            let batch = batch.clone();
            probes.spawn(async move {
                let Some(node) = pool.nodes.get(position) else {
                    return;
                };
                let deadline = Instant::now() + pool.limits.timeout;
                let answer = pool.call(node, &batch, deadline).await;
                match answer.and_then(reject_node_errors) {
                    Ok(_) => pool.record_success(node),
                    Err(failure) => {
                        pool.record_failure(node, &failure);
                        pool.require_new_check(node);
                    }
                }
                node.end_probe();
            });
        }
    }

    pub(super) fn record_success(&self, node: &Node) {
        if let Some(cause) = node.record_success(Instant::now()) {
            tracing::info!(network = %self.limits.id, host = node.label(), %cause, "RPC node is back");
        }
    }

    pub(super) fn record_failure(&self, node: &Node, failure: &Failure) {
        let host = node.label();
        tracing::debug!(network = %self.limits.id, host, "RPC node {failure}");
        if failure.is_rate_limit()
            && let Some(calls) = node.record_refusal(Instant::now())
        {
            tracing::warn!(network = %self.limits.id, host, calls_per_second = calls,
                "RPC node gets too many calls: it gets fewer for some minutes");
        }
        if node.record_failure(failure, Instant::now()) {
            tracing::warn!(network = %self.limits.id, host, cause = %failure, "RPC node went away");
        }
        if failure.is_about_node() {
            self.require_new_checks_of_others(node);
            // A node that may answer an immediate retry keeps its check until then.
            if !node.may_retry_at_once() {
                self.require_new_check(node);
            }
        }
    }

    /// A node must be checked again ahead of its next use.
    pub(super) fn require_new_check(&self, node: &Node) {
        // An only node is checked regularly, and nothing could replace it meanwhile.
        if self.nodes.len() > 1 {
            node.require_new_check(Duration::ZERO, Instant::now());
        }
    }

    /// The nodes that take over from a failed one may serve something else by now.
    fn require_new_checks_of_others(&self, node: &Node) {
        if !node.is_accepted() {
            return;
        }
        let now = Instant::now();
        for other in self.nodes.iter().filter(|other| !std::ptr::eq(*other, node)) {
            other.require_new_check(FRESH_CHECK, now);
        }
    }
}
