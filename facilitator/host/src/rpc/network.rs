//! A network's nodes and limits, the two queues in front of them, and lists of methods.

use std::collections::BTreeSet;
use std::time::Duration;

use super::SecretUrl;

/// A network's nodes and limits.
#[derive(Debug, Clone)]
pub struct RpcNetwork {
    /// CAIP-2.
    pub id: String,
    /// In order of preference.
    pub urls: Vec<SecretUrl>,
    /// For one exchange with one node.
    pub timeout: Duration,
    /// For a whole request, including its wait in the queue and all nodes.
    pub deadline: Duration,
    /// Requests that run at once, for each [`Traffic`].
    pub max_concurrent: usize,
    /// Requests that wait for a turn, for each [`Traffic`]; more are refused.
    pub max_queued: usize,
    /// Largest answer in bytes.
    pub max_answer_bytes: usize,
    /// Whether nodes get the header `traceparent` of a request in a sampled trace.
    pub traceparent: bool,
}

impl RpcNetwork {
    /// With the usual limits: 5 s per node, 12 s in all, 64 at once, 1,024 waiting, answers of 16 MiB.
    #[must_use]
    pub fn new(id: impl Into<String>, urls: Vec<SecretUrl>) -> Self {
        Self {
            id: id.into(),
            urls,
            timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(12),
            max_concurrent: 64,
            max_queued: 1_024,
            max_answer_bytes: 16 << 20,
            traceparent: false,
        }
    }

    /// Whether a pool with these settings can work.
    pub(super) fn check(&self) -> Result<(), RpcConfigError> {
        if self.urls.is_empty() {
            Err(self.refuse("has no RPC URL; name at least one"))
        } else if self.max_concurrent == 0 || self.max_answer_bytes == 0 {
            Err(self.refuse("RPC limits must be 1 or more"))
        } else if self.timeout.is_zero() || self.deadline.is_zero() {
            Err(self.refuse("RPC timeouts must be longer than 0"))
        } else {
            Ok(())
        }
    }

    pub(super) fn refuse(&self, why: &'static str) -> RpcConfigError {
        RpcConfigError {
            network: self.id.clone(),
            why,
        }
    }
}

/// On whose behalf a request is made. Each kind has its own queue, so a flood of one never delays the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Requests that any caller can cause: verification and planning.
    Intake,
    /// Committed settlements and the observation of the chain.
    Engine,
}

/// JSON-RPC methods that a plugin may use, by exact name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MethodList(BTreeSet<String>);

impl MethodList {
    #[must_use]
    pub fn contains(&self, method: &str) -> bool {
        self.0.contains(method)
    }
}

impl<S: Into<String>> FromIterator<S> for MethodList {
    fn from_iter<I: IntoIterator<Item = S>>(methods: I) -> Self {
        Self(methods.into_iter().map(Into::into).collect())
    }
}

/// What is wrong with the settings of a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("network {network}: {why}")]
pub struct RpcConfigError {
    /// CAIP-2; `*` for all networks.
    pub network: String,
    pub why: &'static str,
}
