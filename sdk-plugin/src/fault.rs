//! Why a call did not give an answer. A refused payment is an answer, never a fault.

use serde::{Deserialize, Serialize};

/// What kind of fault; each is one status code of the plugin ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// The caller's message can't be understood.
    Invalid,
    /// Unknown operation, scheme, network or host service.
    Unsupported,
    /// Stopped before any external effect.
    Cancelled,
    /// Timed out before any external effect.
    Deadline,
    /// Rejected because of load; nothing was started.
    Overloaded,
    /// The instance is draining.
    Shutdown,
    /// A panic was caught before any external effect.
    Panic,
    /// A defect of the answering side.
    Internal,
    /// The host's policy forbids it.
    Denied,
    /// An external effect may have happened: reconcile, never blindly retry.
    Indeterminate,
    /// Something outside (a node, a signer) did not answer.
    Unavailable,
}

/// A failed call: whose fault, and whether an effect may have happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[error("{kind:?}: {message}")]
pub struct Fault {
    /// What kind of fault it is.
    pub kind: FaultKind,
    /// For operators; may name hosts and versions, never secrets. Callers of the HTTP API don't see it raw.
    pub message: String,
    /// When trying again makes sense, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    /// A fault without a time to retry.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// A fault of kind [`FaultKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Invalid, message)
    }

    /// A fault of kind [`FaultKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Unsupported, message)
    }

    /// A fault of kind [`FaultKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Internal, message)
    }

    /// A fault of kind [`FaultKind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Unavailable, message)
    }

    /// A fault of kind [`FaultKind::Denied`].
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Denied, message)
    }

    /// Whether the same call can be made again without risk of a second effect.
    #[must_use]
    pub fn is_before_effect(&self) -> bool {
        self.kind != FaultKind::Indeterminate
    }
}
