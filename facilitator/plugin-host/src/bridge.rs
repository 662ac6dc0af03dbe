//! Host calls of one instance, forwarded to [`HostServices`].
//!
//! A bridge belongs to one instance and lives as long as the process, which the header promises to the plugin. So it is
//! leaked on purpose: some hundred bytes per load. A host call has only the rights of an open call of this instance.
//!
//! Assumes that it may be called from any thread at any time. Nothing here waits: services run on the tokio runtime,
//! completions on the instance's own threads.

use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use sdk_plugin::abi::buf::give;
use sdk_plugin::abi::raw::{self, Call, CompleteFn, RunFn};
use sdk_plugin::host::Level;
use sdk_plugin::ops::{FaultBody, service};
use sdk_plugin::{Fault, FaultKind, HostServices};
use serde_json::Value;
use tokio::sync::oneshot;

use super::calls::{Bulkhead, OpenCalls, Permits};
use super::crumbs::{Doing, inside};
use super::host_calls::{HostRequest, is_refused_untouched, unknown_service};
use super::limits::Limits;
use super::pool::Pool;

/// One instance's connection to the host.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) instance_id: u64,
    pub(super) calls: OpenCalls,
    pub(super) pool: Pool,
    pub(super) limits: Limits,
    /// Largest message in bytes.
    pub(super) message_bytes: usize,
    services: HashSet<String>,
    pub(super) host: Host,
    runtime: tokio::runtime::Handle,
    /// Host calls without a delivered completion, by the plugin's id. The sender cancels the call where that is possible.
    host_calls: Mutex<HashMap<u64, Option<oneshot::Sender<()>>>>,
    permits: Mutex<Permits>,
    completed: Condvar,
    ending: AtomicBool,
    has_reported_lost_task: AtomicBool,
}

/// The host's services, which have no `Debug`.
pub(super) struct Host(pub(super) Arc<dyn HostServices>);

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostServices")
    }
}

/// A pointer of the plugin. The host only returns it to the plugin.
pub(super) struct PluginPointer(pub(super) *mut c_void);

// SAFETY: the ABI lets the plugin's functions that take this pointer be called from any thread (R6).
unsafe impl Send for PluginPointer {}

impl PluginPointer {
    pub(super) fn get(&self) -> *mut c_void {
        self.0
    }
}

impl Bridge {
    pub(super) fn leak(
        instance_id: u64,
        host: Arc<dyn HostServices>,
        services: &[String],
        pool: Pool,
        limits: Limits,
        message_bytes: usize,
        runtime: tokio::runtime::Handle,
    ) -> &'static Self {
        Box::leak(Box::new(Self {
            instance_id,
            calls: OpenCalls::default(),
            pool,
            limits,
            message_bytes,
            services: services.iter().cloned().collect(),
            host: Host(host),
            runtime,
            host_calls: Mutex::default(),
            permits: Mutex::default(),
            completed: Condvar::new(),
            ending: AtomicBool::new(false),
            has_reported_lost_task: AtomicBool::new(false),
        }))
    }

    /// Writes a warning about the plugin to the host's log.
    pub(super) fn warn(&self, message: &str) {
        self.host.0.log(0, Level::Warn, "plugin", message, &Value::Null);
    }

    /// Ends every host call, then the instance's threads. Waits; forever, where the plugin's code does not return.
    pub(super) fn finish(&self) {
        let mut open = self.host_calls.lock();
        self.ending.store(true, Ordering::Release);
        for cancel in open.values_mut() {
            if let Some(cancel) = cancel.take() {
                // The receiver is gone where the service has just answered.
                let _ = cancel.send(());
            }
        }
        while !open.is_empty() {
            self.completed.wait(&mut open);
        }
        drop(open);
        self.pool.finish();
    }

    /// Stops a host call where that is possible. Ignores unknown ids.
    pub(super) fn cancel(&self, call_id: u64) {
        let cancel = self.host_calls.lock().get_mut(&call_id).and_then(Option::take);
        if let Some(cancel) = cancel {
            // The receiver is gone where the service has just answered.
            let _ = cancel.send(());
        }
    }

    /// Runs a task of the plugin on its threads. Drops it when the queue is full.
    pub(super) fn spawn(&self, run: RunFn, task: PluginPointer) {
        let instance = self.instance_id;
        let is_queued = self
            .pool
            .try_push(move || inside(instance, Doing::Task, || run(task.get())));
        if !is_queued && !self.has_reported_lost_task.swap(true, Ordering::Relaxed) {
            self.warn("the plugin has more queued tasks than it may have; the excess is lost, reload it");
        }
    }

    /// Accepts a host call.
    ///
    /// # Errors
    /// A status of the ABI with which the call is refused; it is not completed then.
    pub(super) fn accept(&'static self, call: &Call, service: &str, request: Vec<u8>) -> Result<(), i32> {
        let complete = call.complete.ok_or(raw::E_INVALID)?;
        let request = self.parse(service, &request, call.parent_id);
        let kind = match &request {
            Ok(request) if request.is_send() => HostCallKind::Send,
            Ok(_) | Err(_) => HostCallKind::Other,
        };
        let bulkhead = self.calls.bulkhead(call.parent_id);
        let cancelled = self.register(call.call_id, kind, &bulkhead)?;
        let completion = Completion {
            bridge: self,
            call_id: call.call_id,
            bulkhead,
            ctx: Some(PluginPointer(call.ctx)),
            complete,
            kind,
        };
        let request = match request {
            Ok(request) => request,
            Err(fault) => {
                completion.finish(Err(fault));
                return Ok(());
            }
        };
        let claimed_parent = call.parent_id;
        let scope = self.calls.scope_of(claimed_parent);
        if kind == HostCallKind::Send && !self.calls.begin_send(claimed_parent) {
            completion.finish(Err(Fault::denied(
                "a send needs the open chain.broadcast it belongs to as its parent",
            )));
            return Ok(());
        }
        let limit = match (kind, call.timeout_ns) {
            (HostCallKind::Send, _) | (HostCallKind::Other, 0) => None,
            (HostCallKind::Other, nanos) => Some(Duration::from_nanos(nanos)),
        };
        self.runtime.spawn(async move {
            let result = tokio::select! {
                result = self.serve(request, scope, limit) => result,
                Ok(()) = cancelled => Err(Fault::new(FaultKind::Cancelled, "cancelled by the plugin")),
            };
            let is_untouched = result
                .as_ref()
                .is_err_and(|fault| is_refused_untouched(fault.kind));
            if kind == HostCallKind::Send && is_untouched {
                self.calls.undo_send(claimed_parent);
            }
            completion.finish(result);
        });
        Ok(())
    }

    /// Enters a host call in the table. The receiver gets the plugin's cancellation.
    fn register(
        &self,
        call_id: u64,
        kind: HostCallKind,
        bulkhead: &Bulkhead,
    ) -> Result<oneshot::Receiver<()>, i32> {
        let (cancel, cancelled) = oneshot::channel();
        let mut open = self.host_calls.lock();
        // Set under this lock, so that `finish` waits for every call that gets past it.
        if self.ending.load(Ordering::Acquire) {
            return Err(raw::E_SHUTDOWN);
        }
        if open.contains_key(&call_id) {
            return Err(raw::E_INVALID);
        }
        if !self.permits.lock().try_acquire(bulkhead, self.limits.host_calls) {
            return Err(raw::E_OVERLOADED);
        }
        // A send can't be cancelled: nothing could find out whether it had an effect.
        open.insert(call_id, (kind == HostCallKind::Other).then_some(cancel));
        Ok(cancelled)
    }

    fn parse(&self, service: &str, request: &[u8], parent: u64) -> Result<HostRequest, Fault> {
        if !service::ALL.contains(&service) {
            return Err(unknown_service(service));
        }
        if !self.services.contains(service) {
            return Err(Fault::denied(format!(
                "{service} is not in the manifest's services: add it there"
            )));
        }
        if service == service::SIGN && self.calls.scope_of(parent) == 0 {
            return Err(Fault::denied(
                "a signature needs the open chain.build or chain.fill it belongs to as its parent",
            ));
        }
        HostRequest::parse(service, request)
    }

    async fn serve(
        &self,
        request: HostRequest,
        scope: u64,
        limit: Option<Duration>,
    ) -> Result<Vec<u8>, Fault> {
        let answer = request.serve(self.host.0.as_ref(), scope);
        let response = match limit {
            None => answer.await,
            Some(limit) => tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
                Err(Fault::new(
                    FaultKind::Deadline,
                    "the host service did not answer in the time given",
                ))
            }),
        }?;
        if response.len() > self.message_bytes {
            let (len, cap) = (response.len(), self.message_bytes);
            return Err(Fault::invalid(format!(
                "the answer has {len} bytes, the plugin takes {cap}: request less at once, or raise maxMessageBytes in its manifest"
            )));
        }
        Ok(response)
    }
}

/// Whether a host call may have an effect that can't be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostCallKind {
    Send,
    Other,
}

/// Completes a host call exactly once (R4). Dropped without a result, it reports that the service broke off.
struct Completion {
    bridge: &'static Bridge,
    call_id: u64,
    bulkhead: Bulkhead,
    /// Taken by the one completion.
    ctx: Option<PluginPointer>,
    complete: CompleteFn,
    kind: HostCallKind,
}

impl Completion {
    fn finish(mut self, result: Result<Vec<u8>, Fault>) {
        self.deliver(result);
    }

    fn deliver(&mut self, result: Result<Vec<u8>, Fault>) {
        let Some(ctx) = self.ctx.take() else { return };
        let (bridge, call_id, complete) = (self.bridge, self.call_id, self.complete);
        let bulkhead = self.bulkhead.clone();
        let (status, body) = match result {
            Ok(body) => (raw::OK, body),
            Err(fault) => (fault.kind.status(), FaultBody::encode(&fault)),
        };
        // On the plugin's own threads, because its code may block. The pool stays open while a host call is.
        bridge.pool.push_completion(move || {
            inside(bridge.instance_id, Doing::Task, || {
                complete(ctx.get(), status, give(body))
            });
            bridge.host_calls.lock().remove(&call_id);
            bridge.permits.lock().release(&bulkhead);
            bridge.completed.notify_all();
        });
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let kind = match self.kind {
            HostCallKind::Send => FaultKind::Indeterminate,
            HostCallKind::Other => FaultKind::Shutdown,
        };
        self.deliver(Err(Fault::new(kind, "the host service broke off")));
    }
}
