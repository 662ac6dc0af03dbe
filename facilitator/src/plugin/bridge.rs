//! The table of host functions that an instance gets, forwarded to [`HostServices`].
//!
//! A bridge belongs to one instance and lives as long as the process (the header promises it to the plugin), so it is leaked
//! on purpose: some hundred bytes per load. What it forwards on behalf of a call is limited to calls that are open in
//! that instance. Nothing here waits: services run on the tokio runtime, completions on the instance's own threads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sdk_plugin::abi::buf::give;
use sdk_plugin::abi::raw::{self, Bytes, Call, CompleteFn, Host, RunFn, read_sized};
use sdk_plugin::host::{Level, MetricKind, RpcRequest};
use sdk_plugin::ops::{Empty, FaultBody, SleepRequest, service};
use sdk_plugin::{Fault, FaultKind, HostServices};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

use super::calls::OpenCalls;
use super::instance::Limits;
use super::pool::Pool;

/// Longest texts of a log line or metric in bytes; what is longer is cut, or left out where it is JSON.
const MAX_TARGET_BYTES: usize = 128;
const MAX_MESSAGE_BYTES: usize = 8 << 10;
const MAX_FIELDS_BYTES: usize = 16 << 10;

/// One instance's way to the host.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) instance_id: u64,
    pub(super) calls: OpenCalls,
    pub(super) pool: Pool,
    pub(super) limits: Limits,
    /// Largest message in bytes.
    pub(super) message_bytes: usize,
    services: HashSet<String>,
    host: Shielded,
    runtime: tokio::runtime::Handle,
    /// Host calls without a delivered completion, by the plugin's id; the sender cancels where that is possible.
    asked: Mutex<HashMap<u64, Option<oneshot::Sender<()>>>>,
    answered: Condvar,
    ending: AtomicBool,
    lost_a_task: AtomicBool,
}

struct Shielded(Arc<dyn HostServices>);

impl std::fmt::Debug for Shielded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostServices")
    }
}

/// A pointer of the plugin's that is only handed back to it.
struct Token(*mut c_void);

// SAFETY: the ABI lets the plugin's functions that take this pointer be called from any thread (R6).
unsafe impl Send for Token {}

impl Token {
    fn get(&self) -> *mut c_void {
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
            host: Shielded(host),
            runtime,
            asked: Mutex::default(),
            answered: Condvar::new(),
            ending: AtomicBool::new(false),
            lost_a_task: AtomicBool::new(false),
        }))
    }

    /// The table for the plugin, leaked like the bridge itself.
    pub(super) fn table(&'static self) -> &'static Host {
        Box::leak(Box::new(Host {
            struct_size: raw::struct_size::<Host>(),
            abi_major: raw::ABI_MAJOR,
            abi_minor: raw::ABI_MINOR,
            ctx: std::ptr::from_ref(self).cast_mut().cast::<c_void>(),
            log: Some(log),
            log_level: Some(log_level),
            now_unix_ns: Some(now_unix_ns),
            metric: Some(metric),
            call: Some(call),
            cancel: Some(cancel),
            spawn: Some(spawn),
        }))
    }

    /// Says something about the plugin in the host's log.
    pub(super) fn warn(&self, message: &str) {
        self.host.0.log(0, Level::Warn, "plugin", message, &Value::Null);
    }

    /// Ends all that is under way for the plugin, then its threads. Waits; for ever, where its code does not return.
    pub(super) fn finish(&self) {
        let mut asked = self.asked();
        self.ending.store(true, Ordering::Release);
        for cancel in asked.values_mut() {
            if let Some(cancel) = cancel.take() {
                // The receiver is gone where the service has just answered.
                let _ = cancel.send(());
            }
        }
        while !asked.is_empty() {
            asked = self.answered.wait(asked).unwrap_or_else(PoisonError::into_inner);
        }
        drop(asked);
        self.pool.finish();
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<u64, Option<oneshot::Sender<()>>>> {
        // Nothing panics while holding the lock, and the map is valid at every point.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a host call over, or refuses it with a status.
    fn accept(&'static self, call: &Call, service: &str, request: Vec<u8>) -> Result<(), i32> {
        let complete = call.complete.ok_or(raw::E_INVALID)?;
        let asked = self.read(service, &request, call.parent_id);
        let sends = matches!(asked, Ok(Asked::Rpc(RpcRequest::Send { .. })));
        let (cancel, cancelled) = oneshot::channel();
        {
            let mut open = self.asked();
            // Set under this lock: a call that gets past it is waited for by `finish`.
            if self.ending.load(Ordering::Acquire) {
                return Err(raw::E_SHUTDOWN);
            }
            if open.len() >= self.limits.host_calls {
                return Err(raw::E_OVERLOADED);
            }
            if open.contains_key(&call.call_id) {
                return Err(raw::E_INVALID);
            }
            // A send is not stopped half-way: nobody could tell what became of it.
            open.insert(call.call_id, (!sends).then_some(cancel));
        }
        let completion = Completion {
            bridge: self,
            call_id: call.call_id,
            ctx: Some(Token(call.ctx)),
            complete,
            sends,
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(fault) => {
                completion.finish(Err(fault));
                return Ok(());
            }
        };
        let parent = self.calls.parent(call.parent_id);
        if sends && !self.calls.begin_send(call.parent_id) {
            completion.finish(Err(Fault::denied(
                "a send needs the open chain.broadcast it belongs to as its parent",
            )));
            return Ok(());
        }
        let claimed = call.parent_id;
        let limit = match (sends, call.timeout_ns) {
            (true, _) | (_, 0) => None,
            (false, nanos) => Some(Duration::from_nanos(nanos)),
        };
        self.runtime.spawn(async move {
            let answer = self.serve(parent, asked);
            let answer = async {
                match limit {
                    None => answer.await,
                    Some(limit) => tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
                        Err(Fault::new(
                            FaultKind::Deadline,
                            "the host service did not answer in the time given",
                        ))
                    }),
                }
            };
            let result = tokio::select! {
                result = answer => result,
                Ok(()) = cancelled => Err(Fault::new(FaultKind::Cancelled, "cancelled by the plugin")),
            };
            if sends && result.as_ref().is_err_and(|fault| refused_untouched(fault.kind)) {
                self.calls.take_send_back(claimed);
            }
            completion.finish(result);
        });
        Ok(())
    }

    fn read(&self, service: &str, request: &[u8], parent: u64) -> Result<Asked, Fault> {
        if !service::ALL.contains(&service) {
            return Err(Fault::unsupported(format!("unknown host service {service:?}")));
        }
        if !self.services.contains(service) {
            return Err(Fault::denied(format!(
                "{service} is not in the manifest's services: add it there"
            )));
        }
        match service {
            service::RPC => Ok(Asked::Rpc(parse(service, request)?)),
            service::SIGN if self.calls.parent(parent) == 0 => Err(Fault::denied(
                "a signature needs the open chain.build or chain.fill it belongs to as its parent",
            )),
            service::SIGN => Ok(Asked::Sign(parse(service, request)?)),
            service::STORE => Ok(Asked::Store(parse(service, request)?)),
            service::JOB => Ok(Asked::Job(parse(service, request)?)),
            _ => Ok(Asked::Sleep(parse::<SleepRequest>(service, request)?.millis)),
        }
    }

    async fn serve(&self, parent: u64, asked: Asked) -> Result<Vec<u8>, Fault> {
        let host = &self.host.0;
        let response = match asked {
            Asked::Rpc(request) => encode(&host.rpc(parent, request).await?),
            Asked::Sign(request) => encode(&host.sign(parent, request).await?),
            Asked::Store(request) => encode(&host.store(parent, request).await?),
            Asked::Job(request) => {
                host.job(parent, request).await?;
                encode(&Empty {})
            }
            Asked::Sleep(millis) => {
                host.sleep(parent, millis).await?;
                encode(&Empty {})
            }
        }?;
        if response.len() > self.message_bytes {
            let (len, cap) = (response.len(), self.message_bytes);
            return Err(Fault::invalid(format!(
                "the answer has {len} bytes, the plugin takes {cap}: ask for less at once, or raise maxMessageBytes in its manifest"
            )));
        }
        Ok(response)
    }
}

/// A request for a host service, read.
enum Asked {
    Rpc(RpcRequest),
    Sign(sdk_plugin::host::SignRequest),
    Store(sdk_plugin::host::StoreRequest),
    Job(sdk_plugin::host::JobRequest),
    Sleep(u64),
}

/// Kinds with which a host service says that it did not begin.
fn refused_untouched(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Denied
        | FaultKind::Invalid
        | FaultKind::Unsupported
        | FaultKind::Overloaded
        | FaultKind::Shutdown => true,
        FaultKind::Cancelled
        | FaultKind::Deadline
        | FaultKind::Panic
        | FaultKind::Internal
        | FaultKind::Indeterminate
        | FaultKind::Unavailable => false,
    }
}

fn parse<T: DeserializeOwned>(service: &str, request: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(request).map_err(|error| Fault::invalid(format!("request of {service}: {error}")))
}

fn encode<T: Serialize>(response: &T) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(response)
        .map_err(|error| Fault::internal(format!("the answer does not serialise: {error}")))
}

/// The duty to complete a host call once (R4). Dropped, it says that the service broke off.
struct Completion {
    bridge: &'static Bridge,
    call_id: u64,
    /// Taken by the one completion.
    ctx: Option<Token>,
    complete: CompleteFn,
    sends: bool,
}

impl Completion {
    fn finish(mut self, result: Result<Vec<u8>, Fault>) {
        self.deliver(result);
    }

    fn deliver(&mut self, result: Result<Vec<u8>, Fault>) {
        let Some(ctx) = self.ctx.take() else { return };
        let (bridge, call_id, complete) = (self.bridge, self.call_id, self.complete);
        let (status, body) = match result {
            Ok(body) => (raw::OK, body),
            Err(fault) => (fault.kind.status(), FaultBody::encode(&fault)),
        };
        // On the plugin's own threads: its code might block. The pool is open as long as a host call is.
        bridge.pool.push(move || {
            complete(ctx.get(), status, give(body));
            bridge.asked().remove(&call_id);
            bridge.answered.notify_all();
        });
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let kind = if self.sends {
            FaultKind::Indeterminate
        } else {
            FaultKind::Shutdown
        };
        self.deliver(Err(Fault::new(kind, "the host service broke off")));
    }
}

/// The bridge behind a table's `ctx`.
///
/// # Safety
/// `ctx` is null or the one that [`Bridge::table`] wrote.
unsafe fn bridge(ctx: *mut c_void) -> Option<&'static Bridge> {
    // SAFETY: the caller's word; bridges are leaked, so any lifetime is right.
    unsafe { ctx.cast::<Bridge>().as_ref() }
}

/// Runs one of the table's functions; a panic of ours must not unwind into the plugin (R5).
fn shielded<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        otherwise
    })
}

/// Text of the plugin's, cut to `cap` bytes.
///
/// # Safety
/// `bytes` are readable for `'a`.
unsafe fn text<'a>(bytes: Bytes, cap: usize) -> std::borrow::Cow<'a, str> {
    let cut = Bytes {
        ptr: bytes.ptr,
        len: bytes.len.min(cap),
    };
    // SAFETY: a part of what the caller vouches for.
    String::from_utf8_lossy(unsafe { cut.borrow(cap) }.unwrap_or_default())
}

extern "C" fn log(
    ctx: *mut c_void,
    _instance_id: u64,
    call_id: u64,
    level: i32,
    target: Bytes,
    message: Bytes,
    fields: Bytes,
) {
    shielded((), || {
        // SAFETY: the plugin hands back the table's `ctx` and lends the texts for this call (R2).
        let (bridge, target, message, fields) = unsafe {
            (
                bridge(ctx),
                text(target, MAX_TARGET_BYTES),
                text(message, MAX_MESSAGE_BYTES),
                fields.borrow(MAX_FIELDS_BYTES),
            )
        };
        let Some(bridge) = bridge else { return };
        let fields = fields
            .and_then(|fields| serde_json::from_slice(fields).ok())
            .filter(Value::is_object);
        let call = bridge.calls.parent(call_id);
        bridge.host.0.log(
            call,
            Level::from_abi(level),
            &target,
            &message,
            &fields.unwrap_or(Value::Null),
        );
    });
}

extern "C" fn log_level(_ctx: *mut c_void) -> i32 {
    use tracing::level_filters::LevelFilter;
    let level = LevelFilter::current();
    // Without a subscriber nothing is written, and tests of plugins still want to see their lines.
    match level {
        LevelFilter::OFF | LevelFilter::TRACE => Level::Trace as i32,
        LevelFilter::DEBUG => Level::Debug as i32,
        LevelFilter::INFO => Level::Info as i32,
        LevelFilter::WARN => Level::Warn as i32,
        _ => Level::Error as i32,
    }
}

extern "C" fn now_unix_ns(ctx: *mut c_void) -> u64 {
    shielded(0, || {
        // SAFETY: the plugin hands back the table's `ctx`.
        unsafe { bridge(ctx) }.map_or(0, |bridge| bridge.host.0.now_unix_ns())
    })
}

extern "C" fn metric(ctx: *mut c_void, _instance_id: u64, kind: i32, name: Bytes, value: f64, labels: Bytes) {
    shielded((), || {
        // SAFETY: the plugin hands back the table's `ctx` and lends the texts for this call (R2).
        let (bridge, name, labels) = unsafe {
            (
                bridge(ctx),
                name.borrow(MAX_TARGET_BYTES),
                labels.borrow(MAX_FIELDS_BYTES),
            )
        };
        let (Some(bridge), Some(name), Some(labels)) = (bridge, name, labels) else {
            return;
        };
        let (Ok(name), Some(kind)) = (std::str::from_utf8(name), MetricKind::from_abi(kind)) else {
            return;
        };
        let labels = if labels.is_empty() {
            Ok(BTreeMap::new())
        } else {
            serde_json::from_slice(labels)
        };
        if let (Ok(labels), true) = (labels, value.is_finite()) {
            bridge.host.0.metric(kind, name, value, &labels);
        }
    });
}

extern "C" fn call(ctx: *mut c_void, instance_id: u64, call: *const Call) -> i32 {
    shielded(raw::E_INTERNAL, || {
        // SAFETY: the plugin hands back the table's `ctx` and lends the call (R2).
        let (bridge, call) = unsafe { (bridge(ctx), read_sized(call)) };
        let (Some(bridge), Ok(call)) = (bridge, call) else {
            return raw::E_INVALID;
        };
        // SAFETY: as above, for the call's own texts.
        let (service, request) = unsafe {
            (
                call.op.borrow(MAX_TARGET_BYTES),
                call.request.borrow(bridge.message_bytes),
            )
        };
        let service = service.and_then(|service| std::str::from_utf8(service).ok());
        let (Some(service), Some(request)) = (service, request) else {
            return raw::E_INVALID;
        };
        if instance_id != bridge.instance_id {
            return raw::E_INVALID;
        }
        bridge
            .accept(&call, service, request.to_vec())
            .err()
            .unwrap_or(raw::OK)
    })
}

extern "C" fn cancel(ctx: *mut c_void, _instance_id: u64, call_id: u64) {
    shielded((), || {
        // SAFETY: the plugin hands back the table's `ctx`.
        let Some(bridge) = (unsafe { bridge(ctx) }) else {
            return;
        };
        let cancel = bridge.asked().get_mut(&call_id).and_then(Option::take);
        if let Some(cancel) = cancel {
            // The receiver is gone where the service has just answered.
            let _ = cancel.send(());
        }
    });
}

extern "C" fn spawn(ctx: *mut c_void, _instance_id: u64, run: Option<RunFn>, task: *mut c_void) {
    shielded((), || {
        // SAFETY: the plugin hands back the table's `ctx`.
        let (Some(bridge), Some(run)) = (unsafe { bridge(ctx) }, run) else {
            return;
        };
        let task = Token(task);
        let queued = bridge.pool.try_push(move || run(task.get()));
        if !queued && !bridge.lost_a_task.swap(true, Ordering::Relaxed) {
            bridge.warn("the plugin has piled up more tasks than it may; the excess is lost, reload it");
        }
    });
}
