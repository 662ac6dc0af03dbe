//! Host services as a plugin reaches them: [`HostServices`] over the host's table of functions.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::buf::Received;
use super::raw::{self, Buf, Bytes, Call, Host, RunFn};
use super::serve::{CallState, Shared};
use crate::host::{
    JobRequest, Level, MetricKind, RpcRequest, RpcResponse, SignRequest, Signature, StoreRequest,
    StoreResponse,
};
use crate::ops::{Empty, FaultBody, SleepRequest, service};
use crate::{Fault, HostServices};

/// The id of the next host call. Ids are unique among all instances of this plugin file.
static NEXT_CALL: AtomicU64 = AtomicU64::new(1);

/// The host's table, complete: none of its pointers is null.
#[derive(Clone, Copy)]
pub(super) struct HostTable {
    ctx: *mut c_void,
    log: raw::LogFn,
    log_level: extern "C" fn(*mut c_void) -> i32,
    now_unix_ns: extern "C" fn(*mut c_void) -> u64,
    metric: raw::MetricFn,
    call: raw::HostCallFn,
    cancel: extern "C" fn(*mut c_void, u64, u64),
    spawn: extern "C" fn(*mut c_void, u64, Option<RunFn>, *mut c_void),
}

// SAFETY: every function may be called from any thread (R6); `ctx` is only passed back to them.
unsafe impl Send for HostTable {}
// SAFETY: as above.
unsafe impl Sync for HostTable {}

impl fmt::Debug for HostTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostTable").finish_non_exhaustive()
    }
}

impl HostTable {
    /// `None` when the table is of another major version or has a null in it.
    pub(super) fn new(host: Host) -> Option<Self> {
        if host.abi_major != raw::ABI_MAJOR {
            return None;
        }
        Some(Self {
            ctx: host.ctx,
            log: host.log?,
            log_level: host.log_level?,
            now_unix_ns: host.now_unix_ns?,
            metric: host.metric?,
            call: host.call?,
            cancel: host.cancel?,
            spawn: host.spawn?,
        })
    }

    /// Has the host run `run(task)` once.
    pub(super) fn spawn(&self, instance_id: u64, run: RunFn, task: NonNull<()>) {
        (self.spawn)(self.ctx, instance_id, Some(run), task.as_ptr().cast::<c_void>());
    }
}

/// The host services, for one call that is being served.
#[derive(Debug)]
pub(super) struct AbiHost {
    shared: Arc<Shared>,
    state: Arc<CallState>,
}

impl AbiHost {
    pub(super) fn new(shared: Arc<Shared>, state: Arc<CallState>) -> Self {
        Self { shared, state }
    }

    async fn request<Q, A>(&self, parent: u64, service: &'static str, request: &Q) -> Result<A, Fault>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned,
    {
        let request = serde_json::to_vec(request)
            .map_err(|error| Fault::invalid(format!("request of {service} does not serialise: {error}")))?;
        if request.len() > self.shared.cap {
            let (len, cap) = (request.len(), self.shared.cap);
            return Err(Fault::invalid(format!(
                "a request to {service} of {len} bytes is over the limit of {cap} bytes"
            )));
        }
        let response = HostCall::begin(self.shared.clone(), parent, service, &request)?.await?;
        serde_json::from_slice(&response)
            .map_err(|error| Fault::internal(format!("answer of {service}: {error}")))
    }
}

#[async_trait]
impl HostServices for AbiHost {
    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        if matches!(request, RpcRequest::Send { .. }) {
            self.state.sent.store(true, Ordering::Release);
        }
        self.request(call, service::RPC, &request).await
    }

    async fn sign(&self, call: u64, request: SignRequest) -> Result<Signature, Fault> {
        self.request(call, service::SIGN, &request).await
    }

    async fn store(&self, call: u64, request: StoreRequest) -> Result<StoreResponse, Fault> {
        self.request(call, service::STORE, &request).await
    }

    async fn job(&self, call: u64, request: JobRequest) -> Result<(), Fault> {
        self.request(call, service::JOB, &request)
            .await
            .map(|Empty {}| ())
    }

    async fn sleep(&self, call: u64, millis: u64) -> Result<(), Fault> {
        self.request(call, service::SLEEP, &SleepRequest { millis })
            .await
            .map(|Empty {}| ())
    }

    fn now_unix_ns(&self) -> u64 {
        (self.shared.host.now_unix_ns)(self.shared.host.ctx)
    }

    fn log(&self, call: u64, level: Level, target: &str, message: &str, fields: &Value) {
        let host = &self.shared.host;
        if level > Level::from_abi((host.log_level)(host.ctx)) {
            return;
        }
        let fields = if fields.is_null() {
            String::new()
        } else {
            fields.to_string()
        };
        let [target, message, fields] = [target, message, &fields].map(|text| Bytes::lend(text.as_bytes()));
        (host.log)(
            host.ctx,
            self.shared.instance_id,
            call,
            level as i32,
            target,
            message,
            fields,
        );
    }

    fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &BTreeMap<String, String>) {
        let host = &self.shared.host;
        let labels = serde_json::to_vec(labels).unwrap_or_default();
        let (name, labels) = (Bytes::lend(name.as_bytes()), Bytes::lend(&labels));
        (host.metric)(
            host.ctx,
            self.shared.instance_id,
            kind as i32,
            name,
            value,
            labels,
        );
    }
}

/// The result of a host call, shared by the host's completion and the waiting future.
#[derive(Debug)]
struct Meeting {
    cap: usize,
    state: Mutex<MeetingState>,
}

#[derive(Debug)]
enum MeetingState {
    Waiting(Option<Waker>),
    Done(Result<Vec<u8>, Fault>),
    Taken,
}

/// An open call of a host service. If it is dropped before the host completes the call, it cancels the call. The host still
/// completes it, and the result is discarded.
#[derive(Debug)]
struct HostCall {
    shared: Arc<Shared>,
    call_id: u64,
    meeting: Arc<Meeting>,
}

impl HostCall {
    fn begin(shared: Arc<Shared>, parent: u64, service: &str, request: &[u8]) -> Result<Self, Fault> {
        let meeting = Arc::new(Meeting {
            cap: shared.cap,
            state: Mutex::new(MeetingState::Waiting(None)),
        });
        let call_id = NEXT_CALL.fetch_add(1, Ordering::Relaxed);
        let ctx = Arc::into_raw(meeting.clone());
        let call = Call {
            struct_size: raw::struct_size::<Call>(),
            reserved: 0,
            call_id,
            parent_id: parent,
            timeout_ns: 0,
            op: Bytes::lend(service.as_bytes()),
            request: Bytes::lend(request),
            trace: Bytes::EMPTY,
            ctx: ctx.cast::<c_void>().cast_mut(),
            complete: Some(completed),
        };
        let status = (shared.host.call)(shared.host.ctx, shared.instance_id, &raw const call);
        if status < 0 {
            // SAFETY: refused, so the host never completes (R4) and this side still owns the handle made for it.
            drop(unsafe { Arc::from_raw(ctx) });
            return Err(FaultBody::decode(
                status,
                format!("the host refused a call of {service}").as_bytes(),
            ));
        }
        Ok(Self {
            shared,
            call_id,
            meeting,
        })
    }
}

extern "C" fn completed(ctx: *mut c_void, status: i32, response: Buf) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the host completes once (R4), with the pointer that `begin` made out of a handle.
        let meeting = unsafe { Arc::from_raw(ctx.cast_const().cast::<Meeting>()) };
        // SAFETY: the buffer moves with the call (R3).
        let response = unsafe { Received::new(response) };
        let result = match response.bytes(meeting.cap) {
            Err(len) => Err(Fault::internal(format!(
                "the host answered {len} bytes, over the limit"
            ))),
            Ok(bytes) if status == raw::OK => Ok(bytes.to_vec()),
            Ok(bytes) => Err(FaultBody::decode(status, bytes)),
        };
        drop(response);
        let before = {
            let mut state = meeting.state.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, MeetingState::Done(result))
        };
        if let MeetingState::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }));
}

impl Future for HostCall {
    type Output = Result<Vec<u8>, Fault>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.meeting.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, MeetingState::Taken) {
            MeetingState::Done(result) => Poll::Ready(result),
            MeetingState::Waiting(_) => {
                *state = MeetingState::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            MeetingState::Taken => Poll::Ready(Err(Fault::internal("a finished host call was polled again"))),
        }
    }
}

impl Drop for HostCall {
    fn drop(&mut self) {
        let open = {
            let state = self.meeting.state.lock().unwrap_or_else(PoisonError::into_inner);
            matches!(*state, MeetingState::Waiting(_))
        };
        if open {
            (self.shared.host.cancel)(self.shared.host.ctx, self.shared.instance_id, self.call_id);
        }
    }
}
