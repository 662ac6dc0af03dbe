//! What a fault of a plugin call means. Pure.

use sdk_plugin::{Fault, FaultKind};

/// What a caller may read of a fault; the whole is in the log.
pub(crate) fn public_message(fault: &Fault) -> &'static str {
    match fault.kind {
        FaultKind::Unavailable => "a node or service behind this network did not answer; try again",
        FaultKind::Deadline => "this network's handler did not answer in time; try again",
        FaultKind::Overloaded => "this network's handler is overloaded; try again",
        FaultKind::Shutdown | FaultKind::Cancelled => "this network's handler is stopping; try again",
        FaultKind::Invalid
        | FaultKind::Unsupported
        | FaultKind::Panic
        | FaultKind::Internal
        | FaultKind::Denied
        | FaultKind::Indeterminate => "this network's handler failed",
    }
}

/// Whether a fault says nothing about the request: what it stopped before the first commit was not begun, and the same
/// request may succeed later. One cause has one answer, whichever call met it first.
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

/// Whether a fault looks as if no node answers, so that the network's readiness has to be looked at at once.
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
