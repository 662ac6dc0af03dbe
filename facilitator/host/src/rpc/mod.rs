//! RPC pools: JSON-RPC over HTTP to the nodes of each network.
//!
//! A read goes to one node at a time, the next URL taking over when a node fails, answers garbage or says that it is
//! unwell. What a contract did is an answer; any other JSON-RPC error may be that node's alone, so that the next one is asked
//! too, and the answers with the fewest of them count. A node whose last word was a failure is asked after
//! the others: reads of the engine are shown to it beside them, waited for by nobody, until it answers one. A send is tried at the URLs in sequence until one
//! accepts, never at two at once, and begins with the next URL each time the same bytes are sent again. Where all have failed,
//! those whose failure may pass at once are asked a few times more. What nodes serve is judged by the engine ([`RpcPools::judge`]): from then on only good ones are
//! asked. The pool knows no method: what may be read and sent with, the plugin's manifest says.
//!
//! Not guaranteed: two reads may be answered by nodes at different heights; what must be one view belongs in one batch.
//! The answers to a send prove nothing about the bytes' fate.

mod gate;
mod network;
mod node;
mod pool;
mod sending;
mod tries;
mod url;
mod wire;

#[cfg(test)]
pub(crate) mod fake_node;
#[cfg(test)]
mod judged_tests;
#[cfg(test)]
mod outage_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tries_tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base::nodes::{NodePools, NodeState};
use parking_lot::Mutex;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Fault, FaultKind};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use network::{MethodList, RpcConfigError, RpcNetwork, Traffic};
use node::{Failure, Node};
use pool::{Failures, Order, Pool, Question, all_well, unwell_code};
pub use sending::{BYTES_PLACEHOLDER, Sending};
use telemetry::metrics::Metrics;
use tries::Tries;
pub use url::{SecretUrl, UrlError};

/// Calls in one batch: what the tightest public providers take is less, what one plan needs is far less.
pub const MAX_BATCH: usize = 1_000;

/// How long a caller's read, and a send, waits for a node while there is another one to ask.
const PATIENCE: Duration = Duration::from_millis(1_500);

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

/// The nodes of all networks.
pub struct RpcPools {
    pools: BTreeMap<String, Arc<Pool>>,
    next_id: AtomicU64,
    /// Background reads that find out whether failed nodes are back; they end with the pools.
    probes: Mutex<JoinSet<()>>,
}

impl fmt::Debug for RpcPools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.pools.iter().map(|(id, pool)| (id, pool.nodes())))
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
        let http = node::http(most).map_err(|_| RpcConfigError {
            network: "*".into(),
            why: "the built-in TLS can't be set up",
        })?;
        let mut pools = BTreeMap::new();
        for network in networks {
            network.check()?;
            if pools.contains_key(&network.id) {
                return Err(network.refuse("is configured twice; put all its RPC URLs into one list"));
            }
            let id = network.id.clone();
            let pool = Pool::new(network, http.clone(), Arc::clone(&observer));
            pools.insert(id, Arc::new(pool));
        }
        // Starting anywhere lets a stale answer of an earlier process be noticed.
        #[allow(clippy::disallowed_methods, reason = "not a date: any number will do")]
        let start = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |since| u64::from(since.subsec_nanos()));
        Ok(Self {
            pools,
            next_id: AtomicU64::new(start),
            probes: Mutex::default(),
        })
    }

    /// HTTP exchanges begun with nodes of this network since the start: a batch is one.
    #[must_use]
    pub fn round_trips(&self, network: &str) -> u64 {
        self.pools.get(network).map_or(0, |pool| pool.round_trips())
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
        let question = self.question(calls)?;
        let deadline = Instant::now() + pool.limits().deadline;
        let _turn = pool.enter(traffic, deadline).await?;
        if traffic == Traffic::Engine {
            let mut probes = self.probes.lock();
            while probes.try_join_next().is_some() {}
            pool.probe(&mut probes, &question);
        }
        let mut failures = Failures::default();
        let (only, wanted): (Option<&Node>, usize) = match readers {
            Readers::One => (None, 1),
            Readers::Two => (None, pool.nodes().len().min(2)),
            Readers::This(at) => (pool.this(at), 1),
        };
        let mut answered = Vec::new();
        // The best that a node said which may not be the last word.
        let mut doubted: Option<(usize, Vec<RpcResult>)> = None;
        let mut tries = Tries::new(pool, tries::READ);
        loop {
            let asked = tries.asked();
            let next = match readers {
                Readers::This(_) => only.filter(|_| asked.is_empty()).map(|node| (node, true)),
                // For a proof it is worth trying nodes that rest.
                Readers::One | Readers::Two => {
                    let all_resting = matches!(readers, Readers::Two);
                    let order = Order::Read { all_resting };
                    pool.next(order, &question, asked, deadline).await
                }
            };
            let Some((node, is_last)) = next else {
                // An answer that may not be the last word is better than none.
                if doubted.is_none() && tries.another_round(deadline).await {
                    continue;
                }
                break;
            };
            tries.begin(node);
            let patience = (traffic == Traffic::Intake && !is_last).then_some(PATIENCE);
            let answer = pool.ask_patiently(node, &question, deadline, patience).await;
            match answer.and_then(all_well) {
                Ok(results) => {
                    pool.well(node);
                    let doubts = wire::doubtful(calls, &results);
                    if doubts > 0 && matches!(readers, Readers::One) {
                        let is_better = doubted.as_ref().is_none_or(|(fewest, _)| doubts < *fewest);
                        if is_better {
                            doubted = Some((doubts, results));
                        }
                        continue;
                    }
                    answered.push(results);
                    if answered.len() >= wanted {
                        return Ok(answered.into_iter().flatten().collect());
                    }
                }
                Err(failure) => {
                    failures.add(pool, node, &failure);
                    tries.failed(node);
                }
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        if let Some((_, results)) = doubted {
            return Ok(results);
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
        let question = self.question(std::slice::from_ref(&call))?;
        let deadline = Instant::now() + pool.limits().deadline;
        let _turn = pool.enter(Traffic::Engine, deadline).await?;
        let mut answers = Vec::new();
        let mut failures = Failures::default();
        let order = Order::Send {
            turn: pool.next_turn(sending.bytes),
        };
        let mut tries = Tries::new(pool, tries::SEND);
        loop {
            let Some((node, is_last)) = pool.next(order, &question, tries.asked(), deadline).await else {
                if answers.is_empty() && tries.another_round(deadline).await {
                    continue;
                }
                break;
            };
            tries.begin(node);
            // The same bytes can land once at most: a node that keeps silent costs little time.
            let patience = (!is_last).then_some(PATIENCE);
            match pool.ask_patiently(node, &question, deadline, patience).await {
                Ok(results) => {
                    match unwell_code(&results) {
                        Some(code) => pool.ill(node, &Failure::Unwell { code }),
                        None => pool.well(node),
                    }
                    node.answered_a_send();
                    let accepted = results.iter().any(|result| matches!(result, RpcResult::Ok(_)));
                    answers.extend(results);
                    if accepted {
                        break;
                    }
                }
                Err(failure) => {
                    if failure == Failure::TimedOut {
                        node.left_a_send(Instant::now());
                    }
                    failures.add(pool, node, &failure);
                    tries.failed(node);
                }
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

    fn pool(&self, network: &str) -> Result<&Arc<Pool>, Fault> {
        self.pools
            .get(network)
            .ok_or_else(|| Fault::unsupported(format!("no RPC URLs are configured for {network}")))
    }

    fn question(&self, calls: &[RpcCall]) -> Result<Question, Fault> {
        let count = u64::try_from(calls.len()).map_err(|_| Fault::invalid("too many calls"))?;
        let first_id = self.next_id.fetch_add(count, Ordering::Relaxed) & ID_MASK;
        Question::new(calls, first_id)
    }
}

#[async_trait]
impl NodePools for RpcPools {
    fn nodes(&self, network: &str) -> Vec<NodeState> {
        self.pools
            .get(network)
            .map_or_else(Vec::new, |pool| pool.nodes().iter().map(Node::state).collect())
    }

    fn begin_judging(&self, network: &str) {
        if let Some(pool) = self.pools.get(network) {
            pool.begin_judging();
        }
    }

    fn judge(&self, network: &str, node: usize, why_not: Option<&str>) {
        if let Some(pool) = self.pools.get(network) {
            pool.judge(node, why_not);
        }
    }

    fn end_judgement(&self, network: &str) {
        if let Some(pool) = self.pools.get(network) {
            pool.end_judgement();
        }
    }

    fn is_usable(&self, network: &str, node: usize) -> bool {
        let Some(pool) = self.pools.get(network) else {
            return true;
        };
        pool.nodes().get(node).is_none_or(|node| pool.is_usable(node))
    }

    async fn judgement_wanted(&self, network: &str) {
        match self.pools.get(network) {
            Some(pool) => pool.judgement_wanted().await,
            None => std::future::pending().await,
        }
    }
}

fn not_listed(method: &str, list: &str) -> Fault {
    // The name is the plugin's own text: shown, but not at any length.
    let method: String = method.chars().take(64).collect();
    Fault::denied(format!(
        "{method} is not among the {list} of the plugin's manifest"
    ))
}
