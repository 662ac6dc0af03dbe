//! What an instance asks of its host, forwarded to [`HostServices`].
//!
//! A bridge belongs to one instance and lives as long as the process (the header promises it to the plugin), so it is leaked
//! on purpose: some hundred bytes per load. What it forwards on behalf of a call is limited to calls that are open in
//! that instance. Nothing here waits: services run on the tokio runtime, completions on the instance's own threads.

use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use sdk_plugin::abi::buf::give;
use sdk_plugin::abi::raw::{self, Call, CompleteFn, RunFn};
use sdk_plugin::host::{Level, RpcRequest};
use sdk_plugin::operation::{JobService, Operation, RpcService, SignService, SleepService, StoreService};
use sdk_plugin::ops::{Empty, FaultBody, service};
use sdk_plugin::{Fault, FaultKind, HostServices};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

use super::calls::{Bulkhead, OpenCalls, Places};
use super::instance::Limits;
use super::pool::Pool;

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
    pub(super) host: Shielded,
    runtime: tokio::runtime::Handle,
    /// Host calls without a delivered completion, by the plugin's id; the sender cancels where that is possible.
    asked: Mutex<HashMap<u64, Option<oneshot::Sender<()>>>>,
    /// Whose places these take.
    places: Mutex<Places>,
    answered: Condvar,
    ending: AtomicBool,
    lost_a_task: AtomicBool,
}

/// The host itself, which has no `Debug`.
pub(super) struct Shielded(pub(super) Arc<dyn HostServices>);

impl std::fmt::Debug for Shielded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostServices")
    }
}

/// A pointer of the plugin's that is only handed back to it.
pub(super) struct Token(pub(super) *mut c_void);

// SAFETY: the ABI lets the plugin's functions that take this pointer be called from any thread (R6).
unsafe impl Send for Token {}

impl Token {
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
            host: Shielded(host),
            runtime,
            asked: Mutex::default(),
            places: Mutex::default(),
            answered: Condvar::new(),
            ending: AtomicBool::new(false),
            lost_a_task: AtomicBool::new(false),
        }))
    }

    /// Says something about the plugin in the host's log.
    pub(super) fn warn(&self, message: &str) {
        self.host.0.log(0, Level::Warn, "plugin", message, &Value::Null);
    }

    /// Ends all that is under way for the plugin, then its threads. Waits; for ever, where its code does not return.
    pub(super) fn finish(&self) {
        let mut asked = self.asked.lock();
        self.ending.store(true, Ordering::Release);
        for cancel in asked.values_mut() {
            if let Some(cancel) = cancel.take() {
                // The receiver is gone where the service has just answered.
                let _ = cancel.send(());
            }
        }
        while !asked.is_empty() {
            self.answered.wait(&mut asked);
        }
        drop(asked);
        self.pool.finish();
    }

    /// Stops a host call where that is possible; unknown ids are ignored.
    pub(super) fn cancel(&self, call_id: u64) {
        let cancel = self.asked.lock().get_mut(&call_id).and_then(Option::take);
        if let Some(cancel) = cancel {
            // The receiver is gone where the service has just answered.
            let _ = cancel.send(());
        }
    }

    /// Runs a task of the plugin's on its threads. The excess is lost when it piles up more than it may.
    pub(super) fn spawn(&self, run: RunFn, task: Token) {
        let queued = self.pool.try_push(move || run(task.get()));
        if !queued && !self.lost_a_task.swap(true, Ordering::Relaxed) {
            self.warn("the plugin has piled up more tasks than it may; the excess is lost, reload it");
        }
    }

    /// Takes a host call over, or refuses it with a status.
    pub(super) fn accept(&'static self, call: &Call, service: &str, request: Vec<u8>) -> Result<(), i32> {
        let complete = call.complete.ok_or(raw::E_INVALID)?;
        let asked = self.read(service, &request, call.parent_id);
        let sends = matches!(asked, Ok(Asked::Rpc(RpcRequest::Send { .. })));
        let (cancel, cancelled) = oneshot::channel();
        let bulkhead = self.calls.bulkhead(call.parent_id);
        {
            let mut open = self.asked.lock();
            // Set under this lock: a call that gets past it is waited for by `finish`.
            if self.ending.load(Ordering::Acquire) {
                return Err(raw::E_SHUTDOWN);
            }
            if open.contains_key(&call.call_id) {
                return Err(raw::E_INVALID);
            }
            if !self.places.lock().take(&bulkhead, self.limits.host_calls) {
                return Err(raw::E_OVERLOADED);
            }
            // A send is not stopped half-way: nobody could tell what became of it.
            open.insert(call.call_id, (!sends).then_some(cancel));
        }
        let completion = Completion {
            bridge: self,
            call_id: call.call_id,
            bulkhead,
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
            RpcService::NAME => parse::<RpcService>(request).map(Asked::Rpc),
            SignService::NAME if self.calls.parent(parent) == 0 => Err(Fault::denied(
                "a signature needs the open chain.build or chain.fill it belongs to as its parent",
            )),
            SignService::NAME => parse::<SignService>(request).map(Asked::Sign),
            StoreService::NAME => parse::<StoreService>(request).map(Asked::Store),
            JobService::NAME => parse::<JobService>(request).map(Asked::Job),
            _ => parse::<SleepService>(request).map(Asked::Sleep),
        }
    }

    async fn serve(&self, parent: u64, asked: Asked) -> Result<Vec<u8>, Fault> {
        let host = &self.host.0;
        let response = match asked {
            Asked::Rpc(request) => encode::<RpcService>(&host.rpc(parent, request).await?),
            Asked::Sign(request) => encode::<SignService>(&host.sign(parent, request).await?),
            Asked::Store(request) => encode::<StoreService>(&host.store(parent, request).await?),
            Asked::Job(request) => {
                host.job(parent, request).await?;
                encode::<JobService>(&Empty {})
            }
            Asked::Sleep(request) => {
                host.sleep(parent, request.millis).await?;
                encode::<SleepService>(&Empty {})
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

type Request<O> = <O as Operation>::Request<'static>;

/// A request for a host service, read.
enum Asked {
    Rpc(Request<RpcService>),
    Sign(Request<SignService>),
    Store(Request<StoreService>),
    Job(Request<JobService>),
    Sleep(Request<SleepService>),
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

fn parse<O: Operation>(request: &[u8]) -> Result<Request<O>, Fault>
where
    Request<O>: DeserializeOwned,
{
    serde_json::from_slice(request)
        .map_err(|error| Fault::invalid(format!("request of {}: {error}", O::NAME)))
}

fn encode<O: Operation>(response: &O::Response) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(response)
        .map_err(|error| Fault::internal(format!("the answer does not serialise: {error}")))
}

/// The duty to complete a host call once (R4). Dropped, it says that the service broke off.
struct Completion {
    bridge: &'static Bridge,
    call_id: u64,
    bulkhead: Bulkhead,
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
        let bulkhead = self.bulkhead.clone();
        let (status, body) = match result {
            Ok(body) => (raw::OK, body),
            Err(fault) => (fault.kind.status(), FaultBody::encode(&fault)),
        };
        // On the plugin's own threads: its code might block. The pool is open as long as a host call is.
        bridge.pool.push(move || {
            complete(ctx.get(), status, give(body));
            bridge.asked.lock().remove(&call_id);
            bridge.places.lock().give_back(&bulkhead);
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
