//! The RPC nodes of each network as the engine sees them: their state as a value, and which of them may be used.
//!
//! The pools themselves are the host's. The engine has each node checked and records the result here.

use async_trait::async_trait;

/// The state of one node, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Host name, without port. Where several nodes share a host name, its position in the list follows.
    pub host: String,
    /// The last failure, until the node answers again (for example "answered HTTP 401"), or why its answers are not
    /// used. Names no URL.
    pub trouble: Option<String>,
}

/// The node pools of all networks. A node is named by its position in the configuration, counted from 0. Networks that
/// are not configured have no nodes.
#[async_trait]
pub trait NodePools: Send + Sync + 'static {
    /// The state of each node, in the order of the configuration.
    fn nodes(&self, network: &str) -> Vec<NodeState>;

    /// A round of checks of this network's nodes begins. From now on a node is used only after [`NodePools::record_check`]
    /// has accepted it. Calls that name a node are exempt.
    fn begin_checks(&self, network: &str);

    /// Records the result of a node's check: `None` accepts the node, a text says why it is not used. An acceptance holds
    /// until the node fails.
    fn record_check(&self, network: &str, node: usize, why_not: Option<&str>);

    /// The round of checks has ended: calls that wait for a result continue.
    fn end_checks(&self, network: &str);

    /// Whether a node may be used. True for nodes that are not configured.
    fn is_usable(&self, network: &str, node: usize) -> bool;

    /// Returns when a call has found no node that it may use, and waits for a check. Never returns for an unknown network.
    async fn check_requested(&self, network: &str);
}
