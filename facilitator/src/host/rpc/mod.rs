//! RPC pools: JSON-RPC over HTTP to the nodes of each network.
//!
//! A read goes to one node at a time, the next URL taking over when a node fails, answers garbage or says that it is
//! unwell; a JSON-RPC error about the question itself is an answer. A send is tried at the URLs in sequence until one
//! accepts, never at two at once. The pool knows no method: what may be read and sent with, the plugin's manifest says.
//!
//! Not guaranteed: two reads may be answered by nodes at different heights; what must be one view belongs in one batch.
//! The answers to a send prove nothing about the bytes' fate.

mod gate;
mod network;
mod node;
mod sending;
mod url;
mod wire;

#[cfg(test)]
pub(crate) mod fake_node;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Fault, FaultKind};
use tokio::time::Instant;

use crate::telemetry::metrics::Metrics;
use gate::Gate;
pub use network::{MethodList, RpcConfigError, RpcNetwork, Traffic};
use node::{Failure, Http, Node};
pub use sending::{BYTES_PLACEHOLDER, Sending};
pub use url::{SecretUrl, UrlError};
use wire::Garbage;

/// Calls in one batch: what the tightest public providers take is less, what one plan needs is far less.
pub const MAX_BATCH: usize = 1_000;

/// Ids wrap long before JavaScript nodes would lose digits.
const ID_MASK: u64 = (1 << 48) - 1;

/// Learns of every exchange; for metrics. Must not block.
pub trait RpcObserver: Send + Sync + 'static {
    /// `host`: the node's host name. `outcome`: `ok`, or a word for the kind of failure.
    fn exchanged(&self, network: &str, host: &str, outcome: &'static str, took: Duration);
}

/// For who counts nothing.
impl RpcObserver for () {
    fn exchanged(&self, _: &str, _: &str, _: &'static str, _: Duration) {}
}

impl RpcObserver for Metrics {
    fn exchanged(&self, network: &str, host: &str, outcome: &'static str, took: Duration) {
        let labels = [("network", network), ("host", host), ("outcome", outcome)];
        self.add("switchyard_rpc_round_trips_total", &labels, 1);
        self.observe("switchyard_rpc_seconds", &labels, took.as_secs_f64());
    }
}

/// Whose answers a read wants.
#[derive(Debug, Clone, Copy)]
enum Readers {
    One,
    /// By its place in the configuration.
    This(usize),
    Two,
}

struct Pool {
    limits: RpcNetwork,
    nodes: Vec<Node>,
    intake: Gate,
    engine: Gate,
    round_trips: AtomicU64,
}

/// The nodes of all networks.
pub struct RpcPools {
    pools: BTreeMap<String, Pool>,
    http: Http,
    next_id: AtomicU64,
    observer: Arc<dyn RpcObserver>,
}

impl fmt::Debug for RpcPools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.pools.iter().map(|(id, pool)| (id, &pool.nodes)))
            .finish()
    }
}

impl RpcPools {
    /// Opens no connection yet.
    pub fn new(networks: Vec<RpcNetwork>, observer: Arc<dyn RpcObserver>) -> Result<Self, RpcConfigError> {
        let most = networks
            .iter()
            .map(|network| network.max_concurrent)
            .max()
            .unwrap_or(1);
        let mut pools = BTreeMap::new();
        for network in networks {
            network.check()?;
            if pools.contains_key(&network.id) {
                return Err(network.refuse("is configured twice; put all its RPC URLs into one list"));
            }
            let pool = Pool {
                nodes: network.urls.iter().cloned().map(Node::new).collect(),
                intake: Gate::new(network.max_concurrent, network.max_queued),
                engine: Gate::new(network.max_concurrent, network.max_queued),
                round_trips: AtomicU64::new(0),
                limits: network,
            };
            pools.insert(pool.limits.id.clone(), pool);
        }
        let http = node::http(most).map_err(|_| RpcConfigError {
            network: "*".into(),
            why: "the built-in TLS can't be set up",
        })?;
        // Starting anywhere lets a stale answer of an earlier process be noticed.
        #[allow(clippy::disallowed_methods, reason = "not a date: any number will do")]
        let start = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |since| u64::from(since.subsec_nanos()));
        Ok(Self {
            pools,
            http,
            next_id: AtomicU64::new(start),
            observer,
        })
    }

    /// HTTP exchanges begun with nodes of this network since the start: a batch is one.
    #[must_use]
    pub fn round_trips(&self, network: &str) -> u64 {
        self.pools
            .get(network)
            .map_or(0, |pool| pool.round_trips.load(Ordering::Relaxed))
    }

    /// Answers in the order of `calls`, all by one node.
    ///
    /// `Denied` if any method is not on the list; `Overloaded` when the network's queue is full; `Unavailable` when no
    /// node answered.
    pub async fn read(
        &self,
        network: &str,
        calls: &[RpcCall],
        allowed: &MethodList,
        traffic: Traffic,
    ) -> Result<Vec<RpcResult>, Fault> {
        self.read_by(network, Readers::One, calls, allowed, traffic).await
    }

    /// The same by two different nodes, one set of answers behind the other; by one where the network has only one.
    ///
    /// As [`Self::read`], and `Unavailable` also when only one of several nodes answered.
    pub async fn compare(
        &self,
        network: &str,
        calls: &[RpcCall],
        allowed: &MethodList,
        traffic: Traffic,
    ) -> Result<Vec<RpcResult>, Fault> {
        self.read_by(network, Readers::Two, calls, allowed, traffic).await
    }

    /// As [`RpcPools::read`]; with a `node`, counted from 0 as configured, that node alone answers. While it rests after
    /// failures it is not asked: who wants its word can't wait for a node that hangs, each time anew.
    pub async fn read_from(
        &self,
        network: &str,
        node: Option<usize>,
        calls: &[RpcCall],
        allowed: &MethodList,
        traffic: Traffic,
    ) -> Result<Vec<RpcResult>, Fault> {
        let readers = node.map_or(Readers::One, Readers::This);
        self.read_by(network, readers, calls, allowed, traffic).await
    }

    async fn read_by(
        &self,
        network: &str,
        readers: Readers,
        calls: &[RpcCall],
        allowed: &MethodList,
        traffic: Traffic,
    ) -> Result<Vec<RpcResult>, Fault> {
        let pool = self.pool(network)?;
        if let Some(call) = calls.iter().find(|call| !allowed.contains(&call.method)) {
            return Err(not_listed(&call.method, "reads"));
        }
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        if calls.len() > MAX_BATCH {
            return Err(Fault::invalid(format!(
                "{} calls in a batch; at most {MAX_BATCH}",
                calls.len()
            )));
        }
        let (first_id, body) = self.encode(calls)?;
        let deadline = Instant::now() + pool.limits.deadline;
        let _turn = pool.enter(traffic, deadline).await?;
        let mut failures = Failures::default();
        let (nodes, wanted): (Vec<&Node>, usize) = match readers {
            Readers::One => (pool.in_order(false).collect(), 1),
            // For a proof it is worth trying nodes that rest.
            Readers::Two => (pool.in_order(true).collect(), pool.nodes.len().min(2)),
            Readers::This(at) => {
                let node = pool.nodes.get(at);
                let node = node.filter(|node| node.resting(Instant::now()).is_none());
                (node.into_iter().collect(), 1)
            }
        };
        let mut answered = Vec::new();
        for node in nodes {
            let answer = self.ask(pool, node, &body, first_id, calls.len(), deadline).await;
            match answer.and_then(all_well) {
                Ok(results) => {
                    node.succeeded();
                    answered.push(results);
                    if answered.len() >= wanted {
                        return Ok(answered.into_iter().flatten().collect());
                    }
                }
                Err(failure) => failures.add(pool, node, failure),
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        let mut fault = failures.into_fault(pool, FaultKind::Unavailable);
        if !answered.is_empty() {
            let some = answered.len();
            fault.message = format!(
                "only {some} of {wanted} nodes answered, which is no proof; {}",
                fault.message
            );
        }
        Err(fault)
    }

    /// The answers of the nodes that gave one, in the order asked; the last is `Ok` if any is.
    ///
    /// `Unavailable` when it surely reached no node; `Indeterminate` when it may have reached one that did not answer
    /// and none of the others answered.
    pub async fn send(
        &self,
        network: &str,
        sending: Sending<'_>,
        allowed: &MethodList,
    ) -> Result<Vec<RpcResult>, Fault> {
        let pool = self.pool(network)?;
        if !allowed.contains(sending.method) {
            return Err(not_listed(sending.method, "sends"));
        }
        let call = RpcCall {
            method: sending.method.to_owned(),
            params: sending::insert_bytes(sending)?,
        };
        let (first_id, body) = self.encode(std::slice::from_ref(&call))?;
        let deadline = Instant::now() + pool.limits.deadline;
        let _turn = pool.enter(Traffic::Engine, deadline).await?;
        let mut answers = Vec::new();
        let mut failures = Failures::default();
        for node in pool.in_order(true) {
            match self.ask(pool, node, &body, first_id, 1, deadline).await {
                Ok(results) => {
                    match unwell_code(&results) {
                        Some(code) => node.failed(&Failure::Unwell { code }, Instant::now()),
                        None => node.succeeded(),
                    }
                    let accepted = results.iter().any(|result| matches!(result, RpcResult::Ok(_)));
                    answers.extend(results);
                    if accepted {
                        break;
                    }
                }
                Err(failure) => failures.add(pool, node, failure),
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        if !answers.is_empty() {
            return Ok(answers);
        }
        let kind = if failures.may_have_arrived {
            FaultKind::Indeterminate
        } else {
            FaultKind::Unavailable
        };
        Err(failures.into_fault(pool, kind))
    }

    fn pool(&self, network: &str) -> Result<&Pool, Fault> {
        self.pools
            .get(network)
            .ok_or_else(|| Fault::unsupported(format!("no RPC URLs are configured for {network}")))
    }

    fn encode(&self, calls: &[RpcCall]) -> Result<(u64, Bytes), Fault> {
        let count = u64::try_from(calls.len()).map_err(|_| Fault::invalid("too many calls"))?;
        let first_id = self.next_id.fetch_add(count, Ordering::Relaxed) & ID_MASK;
        Ok((first_id, wire::encode(calls, first_id)?))
    }

    /// One exchange with one node.
    async fn ask(
        &self,
        pool: &Pool,
        node: &Node,
        body: &Bytes,
        first_id: u64,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<RpcResult>, Failure> {
        pool.round_trips.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let until = deadline.min(started + pool.limits.timeout);
        let answer = node
            .post(&self.http, body.clone(), pool.limits.max_answer_bytes, until)
            .await
            .and_then(|bytes| wire::decode(&bytes, first_id, count).map_err(Failure::from));
        let outcome = answer.as_ref().map_or_else(Failure::label, |_| "ok");
        self.observer
            .exchanged(&pool.limits.id, node.url.host(), outcome, started.elapsed());
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

impl Pool {
    async fn enter(
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

    /// Healthy nodes as configured, then resting ones, the next to wake first. A read asks one resting node at most:
    /// a flood of reads must not keep hammering nodes that ask for a rest.
    fn in_order(&self, all_resting: bool) -> impl Iterator<Item = &Node> {
        let now = Instant::now();
        let mut healthy = Vec::with_capacity(self.nodes.len());
        let mut resting = Vec::new();
        for node in &self.nodes {
            match node.resting(now) {
                None => healthy.push(node),
                Some(until) => resting.push((until, node)),
            }
        }
        resting.sort_by_key(|(until, _)| *until);
        let most = if all_resting { resting.len() } else { 1 };
        healthy
            .into_iter()
            .chain(resting.into_iter().take(most).map(|(_, node)| node))
    }
}

/// What went wrong at each node, as one sentence.
#[derive(Default)]
struct Failures {
    texts: Vec<String>,
    may_have_arrived: bool,
}

impl Failures {
    fn add(&mut self, pool: &Pool, node: &Node, failure: Failure) {
        let host = node.url.host();
        tracing::debug!(network = %pool.limits.id, host, "RPC node {failure}");
        node.failed(&failure, Instant::now());
        self.may_have_arrived |= failure.may_have_arrived();
        self.texts.push(format!("{host} {failure}"));
    }

    fn into_fault(self, pool: &Pool, kind: FaultKind) -> Fault {
        Fault::new(
            kind,
            format!(
                "no node of {} answered: {}",
                pool.limits.id,
                self.texts.join("; ")
            ),
        )
    }
}

/// A read with one element about the node's own trouble is no answer: another node is asked for all of it.
fn all_well(results: Vec<RpcResult>) -> Result<Vec<RpcResult>, Failure> {
    match unwell_code(&results) {
        None => Ok(results),
        Some(code) => Err(Failure::Unwell { code }),
    }
}

fn unwell_code(results: &[RpcResult]) -> Option<i64> {
    results.iter().find_map(|result| match result {
        RpcResult::Error(error) if wire::is_unwell(error) => Some(error.code),
        RpcResult::Error(_) | RpcResult::Ok(_) => None,
    })
}

fn not_listed(method: &str, list: &str) -> Fault {
    // The name is the plugin's own text: shown, but not at any length.
    let method: String = method.chars().take(64).collect();
    Fault::denied(format!(
        "{method} is not among the {list} of the plugin's manifest"
    ))
}
