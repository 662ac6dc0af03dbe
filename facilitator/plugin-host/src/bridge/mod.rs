//! Host calls of one instance, forwarded to [`HostServices`].
//!
//! A bridge belongs to one instance and lives as long as the process, which the header promises to the plugin. So it is
//! leaked on purpose: some hundred bytes per load. A host call has only the rights of an open call of this instance.
//!
//! The other end is the plugin's code in this process, or the process of an isolated plugin ([`Side`]).
//!
//! Assumes that it may be called from any thread at any time. Nothing here waits: services run on the tokio runtime,
//! completions on the instance's own threads.

mod completion;
mod host_side;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::calls::CallTable;
use parking_lot::{Condvar, Mutex};
use sdk_plugin::abi::raw;
use sdk_plugin::host::{Level, MetricKind};
use sdk_plugin::ops::service;
use sdk_plugin::{Fault, FaultKind, HostServices};
use serde_json::Value;
use tokio::sync::oneshot;

use super::calls::{Bulkhead, OpenCalls, Permits};
use super::host_calls::{HostRequest, is_refused_untouched, unknown_service};
use super::limits::Limits;
use super::link::{HostCallKey, Link};
use super::pool::Pool;
use super::request::InstanceRequest;
use completion::{Completion, HostCallKind};

pub(crate) use completion::ReplyTo;
pub(crate) use host_side::current_level;

/// One instance's connection to the host.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) instance_id: u64,
    pub(super) calls: OpenCalls,
    /// What the core knows of each of them.
    pub(super) scopes: Arc<CallTable>,
    pub(super) side: Side,
    pub(super) limits: Limits,
    /// Largest message in bytes.
    pub(super) message_bytes: usize,
    services: HashSet<String>,
    pub(super) host: Host,
    runtime: tokio::runtime::Handle,
    /// Host calls without a delivered completion. The sender cancels the call where that is possible.
    host_calls: Mutex<HashMap<HostCallKey, Option<oneshot::Sender<()>>>>,
    permits: Mutex<Permits>,
    completed: Condvar,
    ending: AtomicBool,
    pub(super) has_reported_lost_task: AtomicBool,
}

/// Where the plugin's code runs.
#[derive(Debug)]
pub(super) enum Side {
    /// In this process, on these threads.
    Here(Pool),
    /// In a process of its own.
    Runner(Arc<Link>),
}

/// A host call, as the plugin makes it.
pub(super) struct Asked {
    pub(super) key: HostCallKey,
    /// The call that the plugin claims to serve with it.
    pub(super) parent: u64,
    /// 0: no limit.
    pub(super) timeout_ns: u64,
    pub(super) reply: ReplyTo,
}

/// The host's services, which have no `Debug`.
pub(super) struct Host(pub(super) Arc<dyn HostServices>);

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostServices")
    }
}

impl Bridge {
    pub(super) fn leak(
        request: InstanceRequest,
        services: &[String],
        side: Side,
        message_bytes: usize,
        runtime: tokio::runtime::Handle,
    ) -> &'static Self {
        let InstanceRequest {
            instance_id,
            host,
            limits,
            calls,
            config: _,
        } = request;
        Box::leak(Box::new(Self {
            instance_id,
            scopes: calls,
            calls: OpenCalls::default(),
            side,
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

    /// Runs work on the instance's threads; `false`: they have too much, or the plugin is isolated.
    pub(super) fn try_push(&self, work: impl FnOnce() + Send + 'static) -> bool {
        match &self.side {
            Side::Here(pool) => pool.try_push(work),
            Side::Runner(_) => false,
        }
    }

    /// Ends every host call, then the instance's threads. Waits; forever, where the plugin's code does not return.
    pub(super) fn finish(&self) {
        let mut open = self.host_calls.lock();
        self.ending.store(true, Ordering::Release);
        open.values_mut().for_each(stop);
        while !open.is_empty() {
            self.completed.wait(&mut open);
        }
        drop(open);
        if let Side::Here(pool) = &self.side {
            pool.finish();
        }
    }

    /// Stops a host call where that is possible. Ignores unknown ones.
    pub(super) fn cancel_host_call(&self, key: HostCallKey) {
        if let Some(call) = self.host_calls.lock().get_mut(&key) {
            stop(call);
        }
    }

    /// Stops what a process that has ended waited for. Its sends continue, because they can't be stopped.
    pub(super) fn cancel_generation(&self, generation: u32) {
        let mut open = self.host_calls.lock();
        let of_it = open.iter_mut().filter(|(key, _)| key.generation == generation);
        of_it.for_each(|(_, call)| stop(call));
    }

    /// Accepts a host call.
    ///
    /// # Errors
    /// A status of the ABI with which the call is refused; it is not completed then.
    pub(super) fn accept(&'static self, asked: Asked, service: &str, request: &[u8]) -> Result<(), i32> {
        let Asked {
            key,
            parent: claimed_parent,
            timeout_ns,
            reply,
        } = asked;
        let request = self.parse(service, request, claimed_parent);
        let kind = match &request {
            Ok(request) if request.is_send() => HostCallKind::Send,
            Ok(_) | Err(_) => HostCallKind::Other,
        };
        let bulkhead = self.calls.bulkhead(claimed_parent);
        let cancelled = self.register(key, kind, &bulkhead)?;
        let completion = Completion {
            bridge: self,
            key,
            bulkhead,
            reply: Some(reply),
            kind,
        };
        let request = match request {
            Ok(request) => request,
            Err(fault) => {
                completion.finish(Err(fault));
                return Ok(());
            }
        };
        let scope = self.calls.scope_of(claimed_parent);
        if kind == HostCallKind::Send && !self.calls.begin_send(claimed_parent) {
            completion.finish(Err(Fault::denied(
                "a send needs the open chain.broadcast it belongs to as its parent",
            )));
            return Ok(());
        }
        let limit = match (kind, timeout_ns) {
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

    /// Writes a line of the plugin.
    pub(super) fn write_line(&self, call_id: u64, level: Level, target: &str, message: &str, fields: &[u8]) {
        let fields = serde_json::from_slice(fields)
            .ok()
            .filter(Value::is_object)
            .unwrap_or(Value::Null);
        let call = self.calls.scope_of(call_id);
        self.host.0.log(call, level, target, message, &fields);
    }

    /// Records a metric of the plugin, where its value and labels are valid.
    pub(super) fn record(&self, kind: MetricKind, name: &str, value: f64, labels: &[u8]) {
        let labels = if labels.is_empty() {
            Ok(BTreeMap::new())
        } else {
            serde_json::from_slice(labels)
        };
        if let (Ok(labels), true) = (labels, value.is_finite()) {
            self.host.0.metric(kind, name, value, &labels);
        }
    }

    /// Enters a host call in the table. The receiver gets the plugin's cancellation.
    fn register(
        &self,
        key: HostCallKey,
        kind: HostCallKind,
        bulkhead: &Bulkhead,
    ) -> Result<oneshot::Receiver<()>, i32> {
        let (cancel, cancelled) = oneshot::channel();
        let mut open = self.host_calls.lock();
        // Set under this lock, so that `finish` waits for every call that gets past it.
        if self.ending.load(Ordering::Acquire) {
            return Err(raw::E_SHUTDOWN);
        }
        if open.contains_key(&key) {
            return Err(raw::E_INVALID);
        }
        if !self.permits.lock().try_acquire(bulkhead, self.limits.host_calls) {
            return Err(raw::E_OVERLOADED);
        }
        // A send can't be cancelled: nothing could find out whether it had an effect.
        open.insert(key, (kind == HostCallKind::Other).then_some(cancel));
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

impl Bridge {
    /// A host call's result is delivered.
    pub(super) fn completed(&self, key: HostCallKey, bulkhead: &Bulkhead) {
        self.host_calls.lock().remove(&key);
        self.permits.lock().release(bulkhead);
        self.completed.notify_all();
    }
}

/// Cancels a host call where that is possible.
fn stop(call: &mut Option<oneshot::Sender<()>>) {
    if let Some(cancel) = call.take() {
        // The receiver is gone where the service has just answered.
        let _ = cancel.send(());
    }
}
