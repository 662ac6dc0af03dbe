//! Why a node gave no usable answer: for one exchange, and for a whole request over several nodes.
//!
//! Operators and plugins read these texts: none names a URL or repeats a node's text unredacted.

use std::time::Duration;

use hyper::StatusCode;
use sdk_plugin::host::RpcResult;
use sdk_plugin::{Fault, FaultKind};

use super::classify;
use super::node::Node;
use super::pool::Pool;
use super::wire::DecodeError;

/// Why an exchange with a node gave no usable answer. `Display` continues a sentence that starts with the node's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No connection, so nothing was sent.
    #[error("could not be reached ({0})")]
    Connect(String),
    #[error("did not answer in time")]
    TimedOut,
    /// The connection broke after the request may have been written.
    #[error("broke the connection")]
    Broken,
    /// The status, and the time in `Retry-After`.
    #[error("answered HTTP {}", .0.as_u16())]
    Status(StatusCode, Option<Duration>),
    #[error("answered more than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    #[error("did not answer in JSON-RPC")]
    NotJsonRpc,
    #[error("did not answer each call exactly once")]
    WrongIds,
    /// An error about the node itself, with this code.
    #[error("answered that it can't serve now (error {code})")]
    NodeError { code: i64 },
}

impl Failure {
    /// Whether the request may have had an effect at or beyond the node.
    pub(super) fn may_have_arrived(&self) -> bool {
        match self {
            Self::Connect(_) => false,
            Self::Status(status, _) => *status != StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut
            | Self::Broken
            | Self::TooLarge { .. }
            | Self::NotJsonRpc
            | Self::WrongIds
            | Self::NodeError { .. } => true,
        }
    }

    /// Value of the metric label `outcome`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::TimedOut => "timeout",
            Self::Broken => "broken",
            Self::Status(..) => "status",
            Self::TooLarge { .. } => "too_large",
            Self::NotJsonRpc | Self::WrongIds => "garbage",
            Self::NodeError { .. } => "unwell",
        }
    }

    /// Whether the failure says something about the node, and not only about the request.
    pub(super) fn is_about_node(&self) -> bool {
        self.requested_backoff().is_some()
    }

    /// Whether the same request may succeed a moment later: one URL may stand for many machines.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Broken | Self::NotJsonRpc | Self::WrongIds => true,
            Self::Status(status, None) => status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED,
            // The node needs a pause.
            Self::Status(_, Some(_)) | Self::NodeError { .. } => false,
            Self::Connect(_) | Self::TimedOut | Self::TooLarge { .. } => false,
        }
    }

    /// Whether the node refused because it gets too many calls.
    pub(super) fn is_rate_limit(&self) -> bool {
        match self {
            Self::Status(status, _) => *status == StatusCode::TOO_MANY_REQUESTS,
            Self::NodeError { code } => matches!(code, 429 | -32005),
            Self::Connect(_)
            | Self::TimedOut
            | Self::Broken
            | Self::TooLarge { .. }
            | Self::NotJsonRpc
            | Self::WrongIds => false,
        }
    }

    /// The pause that the node requests; `None` where the failure says nothing about the node.
    pub(super) fn requested_backoff(&self) -> Option<Duration> {
        match self {
            // This is about the request's size, not about the node.
            Self::TooLarge { .. } => None,
            Self::Status(_, requested) => Some(requested.unwrap_or_default()),
            Self::Connect(_)
            | Self::TimedOut
            | Self::Broken
            | Self::NotJsonRpc
            | Self::WrongIds
            | Self::NodeError { .. } => Some(Duration::ZERO),
        }
    }

    /// Whether a node that answers a batch like this may still answer its calls one by one.
    pub(super) fn may_mean_no_batches(&self) -> bool {
        match self {
            Self::NotJsonRpc | Self::NodeError { code: -32_600 } => true,
            Self::Status(status, _) => matches!(
                *status,
                StatusCode::PAYLOAD_TOO_LARGE
                    | StatusCode::UNPROCESSABLE_ENTITY
                    | StatusCode::NOT_IMPLEMENTED
            ),
            Self::Connect(_)
            | Self::TimedOut
            | Self::Broken
            | Self::TooLarge { .. }
            | Self::WrongIds
            | Self::NodeError { .. } => false,
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Shape => Self::NotJsonRpc,
            DecodeError::Ids => Self::WrongIds,
            DecodeError::Refused { code } => Self::NodeError { code },
        }
    }
}

/// The failures of one request, and what they mean together.
#[derive(Default)]
pub(super) struct Failures {
    texts: Vec<String>,
    may_have_arrived: bool,
}

impl Failures {
    /// Records a node's failure here and in the node's health.
    pub(super) fn record(&mut self, pool: &Pool, node: &Node, failure: &Failure) {
        pool.record_failure(node, failure);
        self.may_have_arrived |= failure.may_have_arrived();
        let text = format!("{} {failure}", node.label());
        // A retried node often fails in the same way.
        if !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }

    /// Whether any node may have acted on the request.
    pub(super) fn may_have_arrived(&self) -> bool {
        self.may_have_arrived
    }

    pub(super) fn into_fault(self, pool: &Pool, kind: FaultKind) -> Fault {
        let mut why = self.texts.join("; ");
        if why.is_empty() {
            why = why_not_usable(pool);
        }
        if why.is_empty() {
            "the requested node backs off after failures, or is not configured".clone_into(&mut why);
        }
        let network = &pool.limits().id;
        Fault::new(kind, format!("no node of {network} gave a usable answer: {why}"))
    }
}

/// Each node that may not be used, with the reason.
fn why_not_usable(pool: &Pool) -> String {
    let nodes = pool.nodes().iter().filter(|node| !pool.is_usable(node));
    let reasons = nodes.map(|node| {
        let why = node
            .state()
            .trouble
            .unwrap_or_else(|| "has not been checked since the start or its last failure".into());
        format!("{} {why}", node.label())
    });
    reasons.collect::<Vec<_>>().join("; ")
}

/// A batch with one error about the node itself is no answer: the whole batch goes to another node.
pub(super) fn reject_node_errors(results: Vec<RpcResult>) -> Result<Vec<RpcResult>, Failure> {
    match node_error_code(&results) {
        None => Ok(results),
        Some(code) => Err(Failure::NodeError { code }),
    }
}

/// The code of the first error about the node itself.
pub(super) fn node_error_code(results: &[RpcResult]) -> Option<i64> {
    results.iter().find_map(|result| match result {
        RpcResult::Error(error) if classify::is_node_error(error) => Some(error.code),
        RpcResult::Error(_) | RpcResult::Ok(_) => None,
    })
}
