//! The nodes of one network: whom to ask in which order, one exchange with one of them, and what becomes known of it.
//!
//! Buyers never wait for a node that failed while another is well: it is found to be back by reads of the engine, which
//! are shown to it as well, beside the node that answers them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Bytes;
use sdk_plugin::host::RpcResult;
use sdk_plugin::{Fault, FaultKind};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::gate::{self, Gate};
use super::node::{Failure, Http, Node, Standing};
use super::wire::{self, Garbage};
use super::{RpcNetwork, RpcObserver, Traffic};

pub(super) struct Pool {
    limits: RpcNetwork,
    nodes: Vec<Node>,
    intake: Gate,
    engine: Gate,
    round_trips: AtomicU64,
    http: Http,
    observer: Arc<dyn RpcObserver>,
}

impl Pool {
    pub(super) fn new(network: RpcNetwork, http: Http, observer: Arc<dyn RpcObserver>) -> Self {
        Self {
            nodes: network.urls.iter().cloned().map(Node::new).collect(),
            intake: Gate::new(network.max_concurrent, network.max_queued),
            engine: Gate::new(network.max_concurrent, network.max_queued),
            round_trips: AtomicU64::new(0),
            limits: network,
            http,
            observer,
        }
    }

    pub(super) fn limits(&self) -> &RpcNetwork {
        &self.limits
    }

    /// As configured.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    pub(super) async fn enter(
        &self,
        traffic: Traffic,
        deadline: Instant,
    ) -> Result<tokio::sync::SemaphorePermit<'_>, Fault> {
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

    /// Nodes that are well as configured, then those whose rest is over, then resting ones, the next to wake first. A
    /// read asks one resting node at most: a flood of reads must not keep hammering nodes that ask for a rest.
    pub(super) fn in_order(&self, all_resting: bool) -> impl Iterator<Item = &Node> {
        let now = Instant::now();
        let mut well = Vec::with_capacity(self.nodes.len());
        let mut due = Vec::new();
        let mut resting = Vec::new();
        for node in &self.nodes {
            match node.standing(now) {
                Standing::Well => well.push(node),
                Standing::Due => due.push(node),
                Standing::Resting { until } => resting.push((until, node)),
            }
        }
        resting.sort_by_key(|(until, _)| *until);
        let most = if all_resting { resting.len() } else { 1 };
        well.into_iter()
            .chain(due)
            .chain(resting.into_iter().take(most).map(|(_, node)| node))
    }

    /// Shows a read to each node that failed and has rested, in the background, to learn whether it is back. Where none
    /// is well they are asked anyway.
    pub(super) fn probe(
        self: &Arc<Self>,
        probes: &mut JoinSet<()>,
        body: &Bytes,
        first_id: u64,
        count: usize,
    ) {
        let now = Instant::now();
        let standings: Vec<Standing> = self.nodes.iter().map(|node| node.standing(now)).collect();
        if !standings.contains(&Standing::Well) {
            return;
        }
        for (at, standing) in standings.into_iter().enumerate() {
            let is_due = standing == Standing::Due;
            if !is_due || !self.nodes.get(at).is_some_and(Node::begin_probe) {
                continue;
            }
            let pool = Arc::clone(self);
            let body = body.clone();
            probes.spawn(async move {
                let Some(node) = pool.nodes.get(at) else { return };
                let deadline = Instant::now() + pool.limits.timeout;
                let answer = pool.ask(node, &body, first_id, count, deadline).await;
                match answer.and_then(all_well) {
                    Ok(_) => pool.well(node),
                    Err(failure) => pool.ill(node, &failure),
                }
                node.end_probe();
            });
        }
    }

    /// A node has answered.
    pub(super) fn well(&self, node: &Node) {
        if let Some(cause) = node.succeeded(Instant::now()) {
            tracing::info!(network = %self.limits.id, host = node.url.host(), %cause, "RPC node is back");
        }
    }

    /// A node has failed.
    pub(super) fn ill(&self, node: &Node, failure: &Failure) {
        let host = node.url.host();
        tracing::debug!(network = %self.limits.id, host, "RPC node {failure}");
        if node.failed(failure, Instant::now()) {
            tracing::warn!(network = %self.limits.id, host, cause = %failure, "RPC node went away");
        }
    }

    /// One exchange with one node.
    pub(super) async fn ask(
        &self,
        node: &Node,
        body: &Bytes,
        first_id: u64,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<RpcResult>, Failure> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let until = deadline.min(started + self.limits.timeout);
        let answer = node
            .post(&self.http, body.clone(), self.limits.max_answer_bytes, until)
            .await
            .and_then(|bytes| wire::decode(&bytes, first_id, count).map_err(Failure::from));
        let outcome = answer.as_ref().map_or_else(Failure::label, |_| "ok");
        self.observer
            .exchanged(&self.limits.id, node.url.host(), outcome, started.elapsed());
        let redact = |text: &str| node.url.redact(text);
        answer.map(|results| {
            results
                .into_iter()
                .map(|result| match result {
                    RpcResult::Ok(value) => RpcResult::Ok(value),
                    RpcResult::Error(error) => RpcResult::Error(wire::tidy(error, &redact)),
                })
                .collect()
        })
    }
}

impl From<Garbage> for Failure {
    fn from(garbage: Garbage) -> Self {
        match garbage {
            Garbage::Shape => Self::NotJsonRpc,
            Garbage::Ids => Self::WrongIds,
            Garbage::Refused { code } => Self::Unwell { code },
        }
    }
}

/// What went wrong at each node, as one sentence.
#[derive(Default)]
pub(super) struct Failures {
    texts: Vec<String>,
    pub(super) may_have_arrived: bool,
}

impl Failures {
    pub(super) fn add(&mut self, pool: &Pool, node: &Node, failure: Failure) {
        let host = node.url.host();
        pool.ill(node, &failure);
        self.may_have_arrived |= failure.may_have_arrived();
        self.texts.push(format!("{host} {failure}"));
    }

    pub(super) fn into_fault(self, pool: &Pool, kind: FaultKind) -> Fault {
        let network = &pool.limits.id;
        let why = if self.texts.is_empty() {
            "the one to ask rests after failures, or is not configured".to_owned()
        } else {
            self.texts.join("; ")
        };
        Fault::new(kind, format!("no node of {network} gave a usable answer: {why}"))
    }
}

/// A read with one element about the node's own trouble is no answer: another node is asked for all of it.
pub(super) fn all_well(results: Vec<RpcResult>) -> Result<Vec<RpcResult>, Failure> {
    match unwell_code(&results) {
        None => Ok(results),
        Some(code) => Err(Failure::Unwell { code }),
    }
}

pub(super) fn unwell_code(results: &[RpcResult]) -> Option<i64> {
    results.iter().find_map(|result| match result {
        RpcResult::Error(error) if wire::is_unwell(error) => Some(error.code),
        RpcResult::Error(_) | RpcResult::Ok(_) => None,
    })
}
