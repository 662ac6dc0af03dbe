//! The span of a call into a plugin.

use std::sync::Arc;

use base::calls::{CallGuard, CallTable, Operation};
use base::span::{self, OpenSpan, SpanKind};
use base::trace;

/// A span in the current trace, named by the operation. `scheme`: empty for the network's driver.
pub(super) fn of_call(operation: Operation, plugin: &str, scheme: &str, network: &str) -> OpenSpan {
    let mut span = span::open(operation.name(), SpanKind::Internal);
    for (key, value) in [
        ("switchyard.plugin", plugin),
        ("switchyard.scheme", scheme),
        ("switchyard.network", network),
    ] {
        if !value.is_empty() {
            span.text(key, value);
        }
    }
    span
}

/// The header `traceparent` for the plugin. Records which trace the call's requests to nodes belong to.
pub(super) fn traceparent(calls: &CallTable, guard: &CallGuard, span: &OpenSpan) -> Option<Arc<str>> {
    if let Some(trace) = span.trace() {
        calls.record_trace(guard, trace);
    }
    let trace = span.trace().or_else(trace::current)?;
    Some(trace.header().into())
}
