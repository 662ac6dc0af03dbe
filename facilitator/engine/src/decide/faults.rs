//! What a fault of a plugin call means. Pure.

use sdk_plugin::{Fault, FaultKind};

/// The part of a fault that callers may read. The log has all of it.
pub(crate) fn public_message(fault: &Fault) -> &'static str {
    match fault.kind {
        FaultKind::Unavailable => "a node or service of this network did not answer; try again",
        FaultKind::Deadline => "this network's handler did not answer in time; try again",
        FaultKind::Overloaded => "this network's handler is overloaded; try again",
        FaultKind::Shutdown | FaultKind::Cancelled => "this network's handler does not run now; try again",
        FaultKind::Invalid
        | FaultKind::Unsupported
        | FaultKind::Panic
        | FaultKind::Internal
        | FaultKind::Denied
        | FaultKind::Indeterminate => "this network's handler failed",
    }
}

/// Whether a fault says nothing about the request: the same request may succeed later. If the fault came before the
/// first commit, nothing was started. One cause has one reply, whichever call hit it first.
pub(crate) fn passes_by_itself(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Unavailable
        | FaultKind::Deadline
        | FaultKind::Overloaded
        | FaultKind::Shutdown
        | FaultKind::Cancelled => true,
        FaultKind::Invalid
        | FaultKind::Unsupported
        | FaultKind::Panic
        | FaultKind::Internal
        | FaultKind::Denied
        | FaultKind::Indeterminate => false,
    }
}

/// Whether a fault suggests that no node answers, so that the network's readiness must be checked at once.
pub(crate) fn is_outage(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Unavailable | FaultKind::Deadline => true,
        FaultKind::Invalid
        | FaultKind::Unsupported
        | FaultKind::Cancelled
        | FaultKind::Overloaded
        | FaultKind::Shutdown
        | FaultKind::Panic
        | FaultKind::Internal
        | FaultKind::Denied
        | FaultKind::Indeterminate => false,
    }
}
