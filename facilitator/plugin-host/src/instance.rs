//! One instance of a plugin: calls into it, their completions, and its end.
//!
//! A completion finds its call by a number and not by a pointer: the `ctx` that the plugin receives is a key of a table in
//! this process. A completion that comes twice, too late or without a call finds no entry and touches no memory.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use dashmap::DashMap;
use sdk_plugin::abi::buf::Received;
use sdk_plugin::abi::raw::{self, Buf, Bytes, Call, Plugin, SubmitFn};
use sdk_plugin::operation::{Health, OperationKind, PluginOperation, Start};
use sdk_plugin::ops::{self, ContextCall, FaultBody};
use sdk_plugin::{CallContext, Fault, FaultKind};
use tokio::sync::oneshot;

use super::bridge::Bridge;
use super::calls::{Bulkhead, Effect};
use super::crumbs::{Doing, inside};

/// Room for the JSON of usual requests, so that it is not moved while it is written.
const REQUEST_BYTES: usize = 4 << 10;

/// The functions of a plugin that are called after `create`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Functions {
    pub(super) submit: SubmitFn,
    pub(super) cancel: extern "C" fn(*mut raw::Instance, u64),
    pub(super) destroy: extern "C" fn(*mut raw::Instance),
}

impl Functions {
    /// `None` when one of them is null.
    pub(super) fn of(table: &Plugin) -> Option<Self> {
        Some(Self {
            submit: table.submit?,
            cancel: table.cancel?,
            destroy: table.destroy?,
        })
    }
}

/// The plugin's pointer to its instance.
#[derive(Debug, Clone, Copy)]
struct Pointer(*mut raw::Instance);

// SAFETY: the ABI lets an instance be used from any thread (R6); the host only returns the pointer.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

/// A live instance. It is destroyed with its last handle; every call that the plugin has not completed holds one.
#[derive(Debug)]
pub(super) struct Instance {
    pointer: Pointer,
    functions: Functions,
    pub(super) bridge: &'static Bridge,
}

/// A call that a plugin has not completed.
struct Pending {
    instance: Arc<Instance>,
    call_id: u64,
    answer: oneshot::Sender<Completed>,
}

struct Completed {
    status: i32,
    body: Result<Vec<u8>, Fault>,
    effect: Effect,
}

/// Every call into any plugin that is not completed, by the number that the plugin has as `ctx`.
static PENDING: LazyLock<DashMap<u64, Pending>> = LazyLock::new(DashMap::new);
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
static STRAYS: AtomicU64 = AtomicU64::new(0);

/// Completions since the start that belonged to no call: made twice, or after a refusal. Each is a defect of a plugin.
#[must_use]
pub fn stray_completions() -> u64 {
    STRAYS.load(Ordering::Relaxed)
}

fn complete(key: u64, status: i32, body: impl FnOnce(&Instance) -> Result<Vec<u8>, Fault>) -> bool {
    // The entry is out of the table, and the table's lock is free, before any of it is dropped.
    let Some((_, pending)) = PENDING.remove(&key) else {
        return false;
    };
    let Pending {
        instance,
        call_id,
        answer,
    } = pending;
    let body = body(&instance);
    let effect = instance.bridge.calls.end(call_id);
    // The receiver is gone when the caller stopped waiting.
    let _ = answer.send(Completed { status, body, effect });
    true
}

extern "C" fn completed(ctx: *mut c_void, status: i32, response: Buf) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the buffer moves with the call (R3).
        let response = unsafe { Received::new(response) };
        let found = complete(ctx as usize as u64, status, |instance| {
            match response.bytes(instance.bridge.message_bytes) {
                Ok(bytes) => Ok(bytes.to_vec()),
                Err(len) => Err(Fault::internal(format!(
                    "the plugin's answer has {len} bytes, {} are allowed",
                    instance.bridge.message_bytes
                ))),
            }
        });
        if !found {
            STRAYS.fetch_add(1, Ordering::Relaxed);
        }
    }));
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
            pointer: Pointer(pointer),
            functions,
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
        self.bridge.calls.begin(call_id, scope_id, bulkhead, places)?;
        let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        PENDING.insert(
            key,
            Pending {
                instance: self.clone(),
                call_id,
                answer,
            },
        );
        let mut waiting = Waiting {
            instance: self,
            call_id,
            key,
            is_over: false,
        };
        let instance = self.clone();
        if !self
            .bridge
            .pool
            .try_push(move || instance.submit(key, call_id, O::KIND, &request))
        {
            complete(key, raw::E_OVERLOADED, |_| Ok(Vec::new()));
        }
        let limit = self.bridge.limits.call_timeout;
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

    /// Passes a call to the plugin. Runs on the instance's threads.
    fn submit(&self, key: u64, call_id: u64, operation: OperationKind, request: &[u8]) {
        if !self.bridge.calls.is_open(call_id) {
            complete(key, raw::E_CANCELLED, |_| Ok(Vec::new()));
            return;
        }
        let call = Call {
            struct_size: raw::struct_size::<Call>(),
            reserved: 0,
            call_id,
            parent_id: 0,
            timeout_ns: u64::try_from(self.bridge.limits.call_timeout.as_nanos()).unwrap_or(0),
            op: Bytes::lend(operation.name().as_bytes()),
            request: Bytes::lend(request),
            trace: Bytes::EMPTY,
            ctx: key as usize as *mut c_void,
            complete: Some(completed),
        };
        let status = inside(self.bridge.instance_id, Doing::Operation(operation), || {
            (self.functions.submit)(self.pointer.0, &raw const call)
        });
        if status != raw::OK {
            complete(key, status, |_| {
                Ok(format!("the plugin refused the call with status {status}").into_bytes())
            });
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Self {
            pointer,
            functions,
            bridge,
        } = *self;
        // A thread of its own: this code may run on one of the threads that must end first.
        let ended = std::thread::Builder::new()
            .name("plugin end".to_owned())
            .spawn(move || {
                let pointer = pointer;
                bridge.finish();
                inside(bridge.instance_id, Doing::Destroy, || {
                    (functions.destroy)(pointer.0)
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
        let effect = self.instance.bridge.calls.close(self.call_id);
        let (instance, key, call_id) = (self.instance.clone(), self.key, self.call_id);
        // Advisory: dropped where the plugin's queue is full.
        self.instance.bridge.pool.try_push(move || {
            if PENDING.contains_key(&key) {
                inside(instance.bridge.instance_id, Doing::Task, || {
                    (instance.functions.cancel)(instance.pointer.0, call_id);
                });
            }
        });
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

    /// `plugin.start`. A plugin that does not know the operation has nothing to start.
    pub(super) async fn start(&self) -> Result<(), Fault> {
        match self.call::<Start>().await {
            Err(fault) if fault.kind != FaultKind::Unsupported => Err(fault),
            _ => Ok(()),
        }
    }

    async fn call<O>(&self) -> Result<O::Response, Fault>
    where
        O: for<'a> PluginOperation<Request<'a> = ContextCall<'a>>,
    {
        let call_id = OWN_CALLS.fetch_add(1, Ordering::Relaxed);
        let request = ContextCall {
            context: std::borrow::Cow::Owned(CallContext::default()),
        };
        self.0.call::<O>(call_id, 0, "", request).await
    }
}
