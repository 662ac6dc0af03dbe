//! One instance of a plugin: calls into it, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sdk_plugin::abi::raw;
use sdk_plugin::operation::{Health, PluginOperation, Start};
use sdk_plugin::ops::{self, ContextCall, FaultBody};
use sdk_plugin::{CallContext, CallTerms, Fault, FaultKind};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bridge::Bridge;
use super::calls::{Bulkhead, Effect};
use super::crumbs::{Doing, inside, inside_about};
use super::functions::{Functions, Handed, Pointer, Submitted, refusal};
use super::link::Link;
use super::pending::{self, Completed, Pending, complete, completed};

/// Room for the JSON of usual requests, so that it is not moved while it is written.
const REQUEST_BYTES: usize = 4 << 10;

/// A live instance. It is destroyed with its last handle; every call that the plugin has not completed holds one.
#[derive(Debug)]
pub(super) struct Instance {
    code: Code,
    pub(super) bridge: &'static Bridge,
}

/// Where the plugin's code is.
#[derive(Debug)]
enum Code {
    Here(Pointer, Functions),
    Runner(Arc<Link>),
}

impl Instance {
    /// # Safety
    /// `pointer` is from the `create` of the plugin whose `functions` these are, and nothing else destroys it.
    pub(super) unsafe fn new(
        pointer: *mut raw::Instance,
        functions: Functions,
        bridge: &'static Bridge,
    ) -> Arc<Self> {
        Arc::new(Self {
            code: Code::Here(Pointer::new(pointer), functions),
            bridge,
        })
    }

    /// An instance in a process of its own, which ends with it.
    pub(super) fn isolated(link: Arc<Link>, bridge: &'static Bridge) -> Arc<Self> {
        Arc::new(Self {
            code: Code::Runner(link),
            bridge,
        })
    }

    /// One call for a network. Host services receive `scope_id` as its id.
    ///
    /// # Errors
    /// The plugin's fault, or the host's. It is [`FaultKind::Indeterminate`] once the call has handed a send to the host,
    /// whatever the plugin reports.
    pub(super) async fn call<O: PluginOperation>(
        self: &Arc<Self>,
        call_id: u64,
        scope_id: u64,
        network: &str,
        terms: &CallTerms,
        request: O::Request<'_>,
    ) -> Result<O::Response, Fault> {
        let op = O::NAME;
        let mut json = Vec::with_capacity(REQUEST_BYTES);
        serde_json::to_writer(&mut json, &request)
            .map_err(|error| Fault::internal(format!("the request of {op} does not serialise: {error}")))?;
        let request = json;
        let (len, cap) = (request.len(), self.bridge.message_bytes);
        if len > cap {
            return Err(Fault::invalid(format!(
                "the request of {op} has {len} bytes, the plugin takes {cap}"
            )));
        }
        let (bulkhead, places) = (
            Bulkhead::of(network, O::KIND),
            self.bridge.limits.concurrent_calls,
        );
        let begin = || {
            self.bridge
                .calls
                .begin(call_id, scope_id, bulkhead.clone(), places)
        };
        match begin() {
            Err(fault) if fault.kind == FaultKind::Overloaded && self.give_up() => begin()?,
            accepted => accepted?,
        }
        let (answer, answered) = oneshot::channel();
        let key = pending::enter(Pending {
            instance: self.clone(),
            bridge: self.bridge,
            call_id,
            scope: self.bridge.scopes.open(scope_id),
            since: Instant::now(),
            has_left: false,
            answer,
        });
        let mut waiting = Waiting {
            instance: self,
            call_id,
            key,
            is_over: false,
        };
        let limit = self.bridge.limits.call_timeout;
        let handed = Handed {
            key,
            call_id,
            operation: O::KIND,
            timeout: terms.timeout.map_or(limit, |timeout| timeout.min(limit)),
            trace: terms.trace.clone(),
        };
        self.hand_over(handed, request);
        let completed = match tokio::time::timeout(limit, answered).await {
            Ok(Ok(completed)) => {
                waiting.is_over = true;
                completed
            }
            // The sender is dropped only with a completion.
            Ok(Err(_)) => return Err(waiting.broke_off(FaultKind::Internal, "the call was lost")),
            Err(_) => {
                let message = format!("the plugin did not answer {op} within {} ms", limit.as_millis());
                return Err(waiting.broke_off(FaultKind::Deadline, &message));
            }
        };
        let Completed { status, body, effect } = completed;
        let answer = match (body, status) {
            (Ok(body), raw::OK) => serde_json::from_slice(&body).map_err(|error| {
                Fault::internal(format!("the plugin's answer to {op} does not parse: {error}"))
            }),
            (Ok(body), _) => Err(FaultBody::decode(status, &body)),
            (Err(fault), _) => Err(fault),
        };
        answer.map_err(|fault| after_effect(fault, effect))
    }

    /// Passes a call on to where the plugin's code is.
    fn hand_over(self: &Arc<Self>, handed: Handed, request: Vec<u8>) {
        let key = handed.key;
        match &self.code {
            Code::Here(pointer, functions) => {
                let (instance, pointer, functions) = (self.clone(), *pointer, *functions);
                let is_queued = self
                    .bridge
                    .try_push(move || instance.submit(pointer, functions, &handed, &request));
                if !is_queued {
                    complete(key, raw::E_OVERLOADED, |_| Ok(Vec::new()));
                }
            }
            Code::Runner(link) => {
                if let Err(fault) = link.submit(&handed, &request) {
                    complete(key, fault.kind.status(), |_| Ok(FaultBody::encode(&fault)));
                }
            }
        }
    }

    /// Passes a call to the plugin. Runs on the instance's threads.
    fn submit(&self, pointer: Pointer, functions: Functions, handed: &Handed, request: &[u8]) {
        let key = handed.key;
        if !self.bridge.calls.is_open(handed.call_id) {
            complete(key, raw::E_CANCELLED, |_| Ok(Vec::new()));
            return;
        }
        let call = Submitted {
            key,
            call_id: handed.call_id,
            operation: handed.operation.name(),
            timeout_ns: handed.timeout_ns(),
            trace: handed.trace.as_deref().unwrap_or_default(),
            request,
        };
        let scope = pending::scope_of(key);
        let subject = scope.as_ref().and_then(|scope| scope.subject.as_ref());
        let (instance, doing) = (self.bridge.instance_id, Doing::Operation(handed.operation));
        let status = inside_about(instance, doing, subject, || {
            call.submit(pointer, functions, completed)
        });
        if status == raw::OK {
            pending::left(key);
        } else {
            complete(key, status, |_| Ok(refusal(status)));
        }
    }

    /// Frees the permits of calls that the plugin has had for twice the longest time of a call. `false`: there are none.
    fn give_up(&self) -> bool {
        let limit = self.bridge.limits.call_timeout.saturating_mul(2);
        let count = pending::give_up(self.bridge.instance_id, limit);
        if count > 0 {
            let message = format!(
                "{count} calls were given up, which the plugin has not completed within {} s",
                limit.as_secs()
            );
            self.bridge.warn(&message);
        }
        count > 0
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let bridge = self.bridge;
        let (pointer, functions) = match &self.code {
            Code::Here(pointer, functions) => (*pointer, *functions),
            Code::Runner(link) => {
                link.end();
                return;
            }
        };
        // A thread of its own: this code may run on one of the threads that must end first.
        let ended = std::thread::Builder::new()
            .name("plugin end".to_owned())
            .spawn(move || {
                let pointer = pointer;
                bridge.finish();
                inside(bridge.instance_id, Doing::Destroy, || {
                    (functions.destroy)(pointer.get());
                });
            });
        if ended.is_err() {
            bridge.warn("no thread to destroy a plugin's instance on; its memory is not freed");
        }
    }
}

/// The fault that the caller receives: the host knows whether something was sent, so the plugin's kind does not decide.
fn after_effect(fault: Fault, effect: Effect) -> Fault {
    if effect == Effect::Sent && fault.is_before_effect() {
        let message = format!("after a send: {}", fault.message);
        return Fault {
            kind: FaultKind::Indeterminate,
            message,
            ..fault
        };
    }
    fault
}

/// Ends a call's rights, and cancels it in the plugin, when its caller stops waiting.
struct Waiting<'a> {
    instance: &'a Arc<Instance>,
    call_id: u64,
    key: u64,
    is_over: bool,
}

impl Waiting<'_> {
    fn broke_off(&mut self, kind: FaultKind, message: &str) -> Fault {
        self.is_over = true;
        after_effect(Fault::new(kind, message), self.stop())
    }

    fn stop(&self) -> Effect {
        let bridge = self.instance.bridge;
        let effect = bridge.calls.close(self.call_id);
        let (key, call_id) = (self.key, self.call_id);
        if let Some(scope) = pending::scope_of(key) {
            bridge.scopes.left_open(call_id, scope);
            // Completed meanwhile: that has found nothing to remove.
            if !pending::is_open(key) {
                bridge.scopes.completed(call_id);
            }
        }
        // Advisory: dropped where the plugin's queue is full.
        match &self.instance.code {
            Code::Here(pointer, functions) => {
                let (instance, pointer, functions) = (self.instance.clone(), *pointer, *functions);
                bridge.try_push(move || {
                    if pending::is_open(key) {
                        inside(instance.bridge.instance_id, Doing::Task, || {
                            (functions.cancel)(pointer.get(), call_id);
                        });
                    }
                });
            }
            Code::Runner(link) if pending::is_open(key) => link.cancel(call_id),
            Code::Runner(_) => {}
        }
        effect
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.stop();
        }
    }
}

/// The health check of an instance.
#[derive(Debug, Clone)]
pub struct HealthProbe(pub(super) Arc<Instance>);

/// Ids of the calls that this module makes itself; far from those of the host's table.
static OWN_CALLS: AtomicU64 = AtomicU64::new(1 << 63);

impl HealthProbe {
    /// `plugin.health`. A plugin that does not know the operation counts as healthy.
    pub async fn check(&self) -> Result<ops::Health, Fault> {
        match self.call::<Health>().await {
            Err(fault) if fault.kind == FaultKind::Unsupported => Ok(ops::Health {
                healthy: true,
                message: None,
            }),
            answer => answer,
        }
    }

    /// `plugin.start`. A plugin that does not know the operation has nothing to start. An isolated one takes other calls
    /// afterwards.
    pub(super) async fn start(&self) -> Result<(), Fault> {
        match self.call::<Start>().await {
            Err(fault) if fault.kind != FaultKind::Unsupported => return Err(fault),
            Ok(_) | Err(_) => {}
        }
        match &self.0.code {
            Code::Here(..) => {}
            Code::Runner(link) => link.started(),
        }
        Ok(())
    }

    async fn call<O>(&self) -> Result<O::Response, Fault>
    where
        O: for<'a> PluginOperation<Request<'a> = ContextCall<'a>>,
    {
        let call_id = OWN_CALLS.fetch_add(1, Ordering::Relaxed);
        let request = ContextCall {
            context: std::borrow::Cow::Owned(CallContext::default()),
        };
        self.0
            .call::<O>(call_id, 0, "", &CallTerms::default(), request)
            .await
    }
}
