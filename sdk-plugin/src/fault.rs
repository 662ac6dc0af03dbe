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
    /// Shed; nothing was begun.
    Overloaded,
    /// The instance is draining.
    Shutdown,
    /// A panic was caught before any external effect.
    Panic,
    /// A defect of the answering side.
    Internal,
    /// The host's policy says no.
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
    pub kind: FaultKind,
    /// For operators; may name hosts and versions, never secrets. Callers of the HTTP API don't see it raw.
    pub message: String,
    /// When trying again makes sense, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Invalid, message)
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Unsupported, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Internal, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Unavailable, message)
    }

    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Denied, message)
    }

    /// Whether the same call can be made again without risk of a second effect.
    #[must_use]
    pub fn is_before_effect(&self) -> bool {
        self.kind != FaultKind::Indeterminate
    }
}
