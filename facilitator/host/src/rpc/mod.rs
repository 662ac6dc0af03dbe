//! RPC pools: JSON-RPC over HTTP to the nodes of each network.
//!
//! | module | holds |
//! |---|---|
//! | `network` | a network's nodes and limits, and lists of methods |
//! | `url` | a node's URL, which may hold API keys |
//! | `hedge` | a read that takes longer than usual is tried at another node beside it |
//! | `read`, `send` | one request to a network: which nodes it tries, and what its result is |
//! | `retries` | the nodes that one request has tried, and the rounds in which it retries some of them |
//! | `pool`, `selection` | the nodes of one network, and the order in which a request tries them |
//! | `checks` | which nodes the engine has accepted, and how requests wait for that |
//! | `exchange`, `http` | one batch to one node |
//! | `node`, `health`, `rate` | one URL and what is known about it |
//! | `failure` | why a node gave no usable answer |
//! | `wire`, `classify` | JSON-RPC bytes, and what an error says about a node |
//!
//! A read goes to one node at a time; a caller's read that takes much longer than the node's usual time goes to the next one
//! too. The next node takes over when a node fails, returns malformed bytes or reports a
//! problem of its own. An execution error (a revert) is an answer. Any other JSON-RPC error may be specific to that node,
//! so the next node is tried too, and the results with the fewest such errors are returned. A node whose last request
//! failed is tried after the others. The engine's reads are also sent to it in the background, until it answers one.
//!
//! A send is tried at one node after another until one accepts it, never at two at once. Each repetition of the same bytes
//! starts at another node. When every node has failed, those with a transient failure are retried a few times.
//!
//! The engine checks what nodes serve ([`NodePools::record_check`]); from then on only accepted nodes are used. The pool knows no
//! methods: the plugin's manifest lists which may be read and which send.
//!
//! Not guaranteed: two reads may be answered by nodes at different heights; reads that must show one state belong in one
//! batch. The results of a send prove nothing about what became of the bytes.

mod checks;
mod classify;
mod exchange;
mod failure;
mod gate;
mod health;
mod hedge;
mod http;
mod network;
mod node;
mod pool;
mod rate;
mod read;
mod retries;
mod selection;
mod send;
mod url;
mod wire;

#[cfg(test)]
mod checks_tests;
#[cfg(test)]
pub(crate) mod fake_node;
#[cfg(test)]
mod hedge_tests;
#[cfg(test)]
mod outage_tests;
#[cfg(test)]
mod retries_tests;
#[cfg(test)]
mod tests;

/// For fuzz targets only.
#[cfg(feature = "testkit")]
pub(crate) mod fuzzing {
    use sdk_plugin::host::{RpcError, RpcResult};

    use super::{classify, wire};

    /// The results in a node's answer to `count` calls, numbered from `first_id`.
    #[must_use]
    pub fn decode_answers(bytes: &[u8], first_id: u64, count: usize) -> Option<Vec<RpcResult>> {
        wire::decode(bytes, first_id, count).ok()
    }

    /// Whether an error is about the node and not about the request.
    #[must_use]
    pub fn is_node_error(error: &RpcError) -> bool {
        classify::is_node_error(error)
    }
}

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base::nodes::{NodePools, NodeState};
use parking_lot::Mutex;
use sdk_plugin::Fault;
use sdk_plugin::host::RpcCall;
use tokio::task::JoinSet;

use exchange::Batch;
pub use network::{MethodList, RpcConfigError, RpcNetwork, Traffic};
use node::Node;
use pool::Pool;
pub use read::Answered;
pub use send::{BYTES_PLACEHOLDER, SendRequest};
use telemetry::metrics::Metrics;
pub use url::{SecretUrl, UrlError};

/// How long a caller's read, and a send, waits for one node while there is another node to try.
const FAILOVER_AFTER: Duration = Duration::from_millis(1_500);

/// Ids wrap long before nodes written in JavaScript would lose digits.
const ID_MASK: u64 = (1 << 48) - 1;

/// Receives every HTTP exchange with a node, for metrics. Must not block.
pub trait RpcObserver: Send + Sync + 'static {
    /// `host`: the node's host name. `outcome`: `ok`, or the kind of failure.
    fn exchanged(&self, network: &str, host: &str, outcome: &'static str, took: Duration);
}

/// Ignores every exchange.
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

/// The nodes of all networks.
pub struct RpcPools {
    pools: BTreeMap<String, Arc<Pool>>,
    next_id: AtomicU64,
    /// Background reads to failed nodes, and calls that a hedge was faster than. They end when the pools are dropped.
    background: Mutex<JoinSet<()>>,
}

impl fmt::Debug for RpcPools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.pools.iter().map(|(id, pool)| (id, pool.nodes())))
            .finish()
    }
}

impl RpcPools {
    /// The pools of these networks. Opens no connection.
    ///
    /// # Errors
    /// A network that is listed twice, has no URL, or has a limit of 0.
    pub fn new(networks: Vec<RpcNetwork>, observer: Arc<dyn RpcObserver>) -> Result<Self, RpcConfigError> {
        let max_concurrent = networks
            .iter()
            .map(|network| network.max_concurrent)
            .max()
            .unwrap_or(1);
        let client = http::client(max_concurrent).map_err(|_| RpcConfigError {
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
            let pool = Pool::new(network, client.clone(), Arc::clone(&observer));
            pools.insert(id, Arc::new(pool));
        }
        // A start that differs per process exposes a stale answer to an earlier process.
        #[allow(clippy::disallowed_methods, reason = "not a date: any number will do")]
        let first_id = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |since| u64::from(since.subsec_nanos()));
        Ok(Self {
            pools,
            next_id: AtomicU64::new(first_id),
            background: Mutex::default(),
        })
    }

    /// HTTP exchanges started with nodes of this network since the process started. A batch is one exchange.
    #[must_use]
    pub fn round_trips(&self, network: &str) -> u64 {
        self.pools.get(network).map_or(0, |pool| pool.round_trips())
    }

    fn pool(&self, network: &str) -> Result<&Arc<Pool>, Fault> {
        self.pools
            .get(network)
            .ok_or_else(|| Fault::unsupported(format!("no RPC URLs are configured for {network}")))
    }

    fn batch(&self, calls: &[RpcCall]) -> Result<Batch, Fault> {
        let count = u64::try_from(calls.len()).map_err(|_| Fault::invalid("too many calls"))?;
        let first_id = self.next_id.fetch_add(count, Ordering::Relaxed) & ID_MASK;
        Batch::new(calls, first_id)
    }

    /// Sends the batch to failed nodes in the background, to find out whether they are back.
    fn probe(&self, pool: &Arc<Pool>, batch: &Batch) {
        let mut background = self.background.lock();
        while background.try_join_next().is_some() {}
        pool.probe(&mut background, batch);
    }
}

#[async_trait]
impl NodePools for RpcPools {
    fn nodes(&self, network: &str) -> Vec<NodeState> {
        self.pools
            .get(network)
            .map_or_else(Vec::new, |pool| pool.nodes().iter().map(Node::state).collect())
    }

    fn begin_checks(&self, network: &str) {
        if let Some(pool) = self.pools.get(network) {
            pool.begin_checks();
        }
    }

    fn record_check(&self, network: &str, node: usize, why_not: Option<&str>) {
        if let Some(pool) = self.pools.get(network) {
            pool.record_check(node, why_not);
        }
    }

    fn end_checks(&self, network: &str) {
        if let Some(pool) = self.pools.get(network) {
            pool.end_checks();
        }
    }

    fn is_usable(&self, network: &str, node: usize) -> bool {
        let Some(pool) = self.pools.get(network) else {
            return true;
        };
        pool.nodes().get(node).is_none_or(|node| pool.is_usable(node))
    }

    async fn check_requested(&self, network: &str) {
        match self.pools.get(network) {
            Some(pool) => pool.check_requested().await,
            None => std::future::pending().await,
        }
    }
}

fn not_listed(method: &str, list: &str) -> Fault {
    // The name is the plugin's own text, so its length is limited.
    let method: String = method.chars().take(64).collect();
    Fault::denied(format!(
        "{method} is not among the {list} of the plugin's manifest"
    ))
}
