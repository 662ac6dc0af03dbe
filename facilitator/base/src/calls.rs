//! The open calls into plugins, and what each of them may do.
//!
//! A plugin calls a host service on behalf of a call id. The table has the operation of that call, so that a signature is
//! given only inside `chain.build` and `chain.fill`, and a send only inside `chain.broadcast`, for that one attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
pub use sdk_plugin::operation::OperationKind as Operation;
use tokio::time::Instant;

use crate::trace::Trace;
use aside::{Aside, Subject};

pub mod aside;

/// What a call may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallScope {
    /// The plugin instance that is called.
    pub instance: u64,
    pub operation: Operation,
    /// The only network that it may read from, CAIP-2.
    pub network: String,
    /// What it may sign: only for `chain.build` and `chain.fill`.
    pub signs: Option<SigningSlot>,
    /// The journaled attempt that it may send: only for `chain.broadcast`.
    pub attempt: Option<String>,
    /// The only node that answers its reads, counted from 0; `None` for any healthy node.
    pub node: Option<usize>,
    /// The payment that it is about; `None`: it is about none, or about several.
    pub subject: Option<Subject>,
}

/// The slot whose transaction a call may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSlot {
    /// Name of the only key.
    pub key: String,
    /// As in [`sdk_plugin::chain::Slot`].
    pub sequence: u64,
    /// As in [`sdk_plugin::chain::Slot`].
    pub attempt: u32,
}

/// All open calls.
#[derive(Debug, Default)]
pub struct CallTable {
    next: AtomicU64,
    open: DashMap<u64, Arc<CallScope>>,
    /// The node that answered the last read of an open call.
    nodes: DashMap<u64, String>,
    /// The traces of open calls that are sampled.
    traces: DashMap<u64, Trace>,
    /// Calls that have no caller any more and are not completed, and since when.
    hanging: DashMap<u64, (Arc<CallScope>, Instant)>,
    /// Payments about which no calls are made any more.
    pub aside: Aside,
}

impl CallTable {
    /// Registers a call until the guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>, scope: CallScope) -> CallGuard {
        let id = self.next.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.open.insert(id, Arc::new(scope));
        CallGuard {
            table: Arc::clone(self),
            id,
        }
    }

    /// Records which node answered a read of an open call.
    pub fn record_node(&self, call: u64, node: String) {
        // A call that ends meanwhile removes both, the scope last.
        if self.open.contains_key(&call) {
            self.nodes.insert(call, node);
        }
    }

    /// The name of the node that answered the last read of an open call; `None`: it has read nothing.
    #[must_use]
    pub fn node(&self, call: u64) -> Option<String> {
        self.nodes.get(&call).map(|node| node.clone())
    }

    /// Records the trace that an open call belongs to.
    pub fn record_trace(&self, call: &CallGuard, trace: Trace) {
        self.traces.insert(call.id, trace);
    }

    /// The trace of an open call, if it is sampled.
    #[must_use]
    pub fn trace(&self, call: u64) -> Option<Trace> {
        self.traces.get(&call).map(|trace| *trace)
    }

    /// The scope of an open call of `instance`; `None` for calls of another instance.
    #[must_use]
    pub fn scope(&self, instance: u64, call: u64) -> Option<Arc<CallScope>> {
        let scope = self.open.get(&call)?;
        (scope.instance == instance).then(|| Arc::clone(&scope))
    }

    /// Records that the caller of a call has stopped waiting, and that the plugin has not completed it.
    pub fn left_open(&self, call: u64, scope: Arc<CallScope>) {
        self.hanging.insert(call, (scope, Instant::now()));
    }

    /// Records that a call is completed.
    pub fn completed(&self, call: u64) {
        self.hanging.remove(&call);
    }

    /// Calls whose callers stopped waiting this long ago, and that are not completed.
    #[must_use]
    pub fn hanging(&self, longer_than: Duration) -> Vec<Arc<CallScope>> {
        let hanging = self.hanging.iter();
        hanging
            .filter(|one| one.1.elapsed() > longer_than)
            .map(|one| Arc::clone(&one.0))
            .collect()
    }

    /// The scope of an open call of any instance. Gives no rights.
    #[must_use]
    pub fn open(&self, call: u64) -> Option<Arc<CallScope>> {
        self.open.get(&call).map(|scope| Arc::clone(&scope))
    }
}

/// Keeps a call open until it is dropped.
#[derive(Debug)]
pub struct CallGuard {
    table: Arc<CallTable>,
    id: u64,
}

impl CallGuard {
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.table.open.remove(&self.id);
        self.table.nodes.remove(&self.id);
        self.table.traces.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_open_until_its_guard_is_dropped_and_only_for_its_instance() {
        let table = Arc::new(CallTable::default());
        let scope = CallScope {
            instance: 1,
            operation: Operation::Build,
            network: "eip155:1".into(),
            signs: Some(SigningSlot {
                key: "hot".into(),
                sequence: 7,
                attempt: 0,
            }),
            attempt: None,
            node: None,
            subject: None,
        };
        let guard = table.begin(scope.clone());
        assert_eq!(table.scope(1, guard.id()).as_deref(), Some(&scope));
        assert_eq!(table.scope(2, guard.id()), None);
        let id = guard.id();
        table.record_node(id, "main".into());
        assert_eq!(table.node(id).as_deref(), Some("main"));
        drop(guard);
        assert_eq!(table.scope(1, id), None);
        // An answer that arrives after the end of its call.
        table.record_node(id, "late".into());
        assert_eq!(table.node(id), None);
    }
}
