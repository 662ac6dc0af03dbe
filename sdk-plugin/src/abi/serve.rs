//! One call being served inside a plugin: its future, its cancellation, and its one completion (R4).

use std::any::Any;
use std::collections::HashMap;
use std::ffi::c_void;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_task::Runnable;

use super::buf::give;
use super::dispatch::Server;
use super::guest::PluginRoles;
use super::guest_host::HostTable;
use super::raw::{self, Call, CompleteFn};
use crate::ops::FaultBody;
use crate::{CallTerms, Fault, FaultKind};

/// An instance, shared by its open calls.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) host: HostTable,
    pub(super) instance_id: u64,
    /// Largest message in bytes.
    pub(super) cap: usize,
    pub(super) roles: PluginRoles,
    // The mutex of std and not parking_lot: this crate is linked into every plugin, so its dependencies stay few. A panic
    // is caught at the boundary and leaves the data valid, so the poison flag is ignored.
    calls: Mutex<HashMap<u64, Arc<CallState>>>,
}

impl Shared {
    pub(super) fn new(host: HostTable, instance_id: u64, roles: PluginRoles, cap: usize) -> Self {
        Self {
            host,
            instance_id,
            cap,
            roles,
            calls: Mutex::default(),
        }
    }

    /// Unknown ids are ignored.
    pub(super) fn cancel(&self, call_id: u64) {
        let state = self
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&call_id)
            .cloned();
        if let Some(state) = state {
            state.cancelled.store(true, Ordering::Release);
            let waker = state.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// What others may change about a call while it is served.
#[derive(Debug, Default)]
pub(super) struct CallState {
    cancelled: AtomicBool,
    /// The plugin has requested a send: an effect may have happened.
    pub(super) sent: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// The right to complete a call. Dropped without having been used, it completes the call as a defect.
#[derive(Debug)]
struct Completion {
    ctx: *mut c_void,
    complete: Option<CompleteFn>,
}

// SAFETY: R4 allows completing from any thread, and `ctx` is only passed back.
unsafe impl Send for Completion {}

impl Completion {
    fn finish(mut self, status: i32, response: Vec<u8>) {
        if let Some(complete) = self.complete.take() {
            complete(self.ctx, status, give(response));
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(complete) = self.complete.take() {
            complete(
                self.ctx,
                raw::E_INTERNAL,
                give(b"{\"message\":\"the plugin dropped the call\"}".to_vec()),
            );
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, Fault>> + Send>>;

/// The future of a call. Polls never unwind.
struct Served {
    shared: Arc<Shared>,
    state: Arc<CallState>,
    call_id: u64,
    answer: Option<Answer>,
    completion: Option<Completion>,
}

impl Future for Served {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Registered before the flag is read: a cancel between the two finds the waker.
        *this.state.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        let polled = if this.state.cancelled.load(Ordering::Acquire) {
            Ok(Poll::Ready(Err(Fault::new(
                FaultKind::Cancelled,
                "cancelled by the host",
            ))))
        } else {
            let Some(answer) = this.answer.as_mut() else {
                return Poll::Ready(());
            };
            catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)))
        };
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(payload) => Err(panicked(payload)),
        };
        let answer = this.answer.take();
        // The handler's values may panic when they are dropped; the response is kept.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(answer))) {
            std::mem::forget(payload);
        }
        this.shared
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&this.call_id);
        if let Some(completion) = this.completion.take() {
            let (status, response) = this.settle(result);
            completion.finish(status, response);
        }
        Poll::Ready(())
    }
}

impl Served {
    fn settle(&self, result: Result<Vec<u8>, Fault>) -> (i32, Vec<u8>) {
        let result = result.and_then(|response| match response.len() {
            len if len > self.shared.cap => Err(Fault::internal(format!(
                "an answer of {len} bytes is over the limit of {} bytes",
                self.shared.cap
            ))),
            _ => Ok(response),
        });
        let mut fault = match result {
            Ok(response) => return (raw::OK, response),
            Err(fault) => fault,
        };
        let broke_off = matches!(
            fault.kind,
            FaultKind::Cancelled | FaultKind::Panic | FaultKind::Internal
        );
        if broke_off && self.state.sent.load(Ordering::Acquire) {
            fault.kind = FaultKind::Indeterminate;
            fault.message.push_str(" (after a send)");
        }
        (fault.kind.status(), FaultBody::encode(&fault))
    }
}

/// The fault of a caught panic.
pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Fault {
    let message = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = message.or_else(|| payload.downcast_ref::<String>().cloned());
    // Its drop could panic again.
    std::mem::forget(payload);
    Fault::new(
        FaultKind::Panic,
        message.unwrap_or_else(|| "a panic without a message".to_owned()),
    )
}

/// Takes a call over: the task to run first, or the status that refuses it.
///
/// # Safety
/// The call's bytes are readable until this returns, and its `complete` may be called once when this returns `Ok`.
pub(super) unsafe fn accept(shared: Arc<Shared>, call: &Call) -> Result<Runnable, i32> {
    // SAFETY: guaranteed by the caller.
    let (op, request, trace) = unsafe {
        (
            call.op.borrow(256),
            call.request.borrow(shared.cap),
            call.trace.borrow(256),
        )
    };
    // One that can't be read is no reason to refuse the call.
    let trace = trace.and_then(|trace| std::str::from_utf8(trace).ok());
    let terms = CallTerms {
        timeout: (call.timeout_ns > 0).then(|| Duration::from_nanos(call.timeout_ns)),
        trace: trace.filter(|trace| !trace.is_empty()).map(Arc::from),
    };
    let (Some(op), Some(request), Some(complete)) = (op, request, call.complete) else {
        return Err(raw::E_INVALID);
    };
    let Ok(op) = std::str::from_utf8(op).map(str::to_owned) else {
        return Err(raw::E_INVALID);
    };
    let request = request.to_vec();
    let state = Arc::new(CallState::default());
    let call_id = call.call_id;
    shared
        .calls
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(call_id, state.clone());
    let server = Server {
        shared: shared.clone(),
        state: state.clone(),
        call_id,
        terms,
    };
    let served = Served {
        shared: shared.clone(),
        state,
        call_id,
        answer: Some(Box::pin(async move { server.answer(&op, &request).await })),
        completion: Some(Completion {
            ctx: call.ctx,
            complete: Some(complete),
        }),
    };
    let schedule = move |runnable: Runnable| {
        shared
            .host
            .spawn(shared.instance_id, run_task, runnable.into_raw())
    };
    let (runnable, task) = async_task::spawn(served, schedule);
    task.detach();
    Ok(runnable)
}

extern "C" fn run_task(task: *mut c_void) {
    let Some(task) = NonNull::new(task.cast::<()>()) else {
        return;
    };
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `accept` gave this pointer to the host's `spawn`, which runs it exactly once.
        unsafe { Runnable::<()>::from_raw(task) }.run();
    }));
}
