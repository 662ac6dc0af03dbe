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

use async_task::Runnable;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::buf::give;
use super::guest::PluginRoles;
use super::guest_host::{AbiHost, HostTable};
use super::raw::{self, Call, CompleteFn};
use crate::ops::{self, FaultBody, op};
use crate::{CallContext, ChainDriver, Cx, Fault, FaultKind, HostServices, SchemeHandler};

/// An instance, shared by its open calls.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) host: HostTable,
    pub(super) instance_id: u64,
    /// Largest message in bytes.
    pub(super) cap: usize,
    roles: PluginRoles,
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
    /// A send was handed to the host: an effect may have happened.
    pub(super) sent: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// The right to complete a call. Dropped without having been used, it completes the call as a defect.
#[derive(Debug)]
struct Completion {
    ctx: *mut c_void,
    complete: Option<CompleteFn>,
}

// SAFETY: R4 allows completing from any thread, and `ctx` is only handed back.
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
        // What the handler held may panic when it goes; the answer stands.
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
    let said = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| payload.downcast_ref::<String>().cloned());
    // Its drop could panic again.
    std::mem::forget(payload);
    Fault::new(
        FaultKind::Panic,
        said.unwrap_or_else(|| "a panic without a message".to_owned()),
    )
}

/// Takes a call over: the task to run first, or the status that refuses it.
///
/// # Safety
/// The call's bytes are readable until this returns, and its `complete` may be called once when this returns `Ok`.
pub(super) unsafe fn accept(shared: Arc<Shared>, call: &Call) -> Result<Runnable, i32> {
    // SAFETY: the caller's word.
    let (op, request) = unsafe { (call.op.borrow(256), call.request.borrow(shared.cap)) };
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

/// From operation and JSON to the traits' functions and back.
struct Server {
    shared: Arc<Shared>,
    state: Arc<CallState>,
    call_id: u64,
}

fn read<'a, T: Deserialize<'a>>(op: &str, request: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(request).map_err(|error| Fault::invalid(format!("request of {op}: {error}")))
}

fn write<T: Serialize>(answer: &T) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(answer)
        .map_err(|error| Fault::internal(format!("the answer does not serialise: {error}")))
}

impl Server {
    fn cx(&self, context: CallContext) -> Cx {
        let host: Arc<dyn HostServices> = Arc::new(AbiHost::new(self.shared.clone(), self.state.clone()));
        Cx::new(host, self.call_id, context)
    }

    fn scheme(&self, context: &CallContext) -> Result<Arc<dyn SchemeHandler>, Fault> {
        let found = self
            .shared
            .roles
            .schemes
            .iter()
            .find(|(name, _)| *name == context.scheme);
        let found = found.map(|(_, handler)| handler.clone());
        found.ok_or_else(|| Fault::unsupported(format!("this plugin has no scheme {:?}", context.scheme)))
    }

    fn driver(&self, context: &CallContext) -> Result<Arc<dyn ChainDriver>, Fault> {
        let family = context
            .network
            .id
            .split_once(':')
            .map_or("", |(family, _)| family);
        let found = self.shared.roles.drivers.iter().find(|(name, _)| name == family);
        let found = found.map(|(_, driver)| driver.clone());
        found.ok_or_else(|| {
            Fault::unsupported(format!("this plugin has no driver for {:?}", context.network.id))
        })
    }

    async fn answer(&self, op: &str, request: &[u8]) -> Result<Vec<u8>, Fault> {
        match op {
            op::SUPPORTED => {
                let (handler, cx) =
                    self.for_scheme(read::<ops::ContextCall<'_>>(op, request)?.context.into_owned())?;
                write(&handler.supported(&cx).await?)
            }
            op::IDENTIFY | op::VERIFY | op::PLAN => {
                let call: ops::PaymentCall<'_> = read(op, request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                match op {
                    op::IDENTIFY => write(&handler.identify(&cx, &call.request).await?),
                    op::VERIFY => write(&handler.verify(&cx, &call.request).await?),
                    _ => write(&handler.plan(&cx, &call.request).await?),
                }
            }
            op::JUDGE => {
                let call: ops::JudgeCall<'_> = read(op, request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write(&handler.judge(&cx, &call.plan, &call.evidence).await?)
            }
            op::ROUTE => {
                let call: ops::RouteCall<'_> = read(op, request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write(&handler.route(&cx, &call.request).await?)
            }
            op::JOB => {
                let call: ops::JobCall<'_> = read(op, request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write(&ops::JobReply {
                    requests: handler.job(&cx, &call.job).await?,
                })
            }
            op::START => {
                let cx = self.cx(read::<ops::ContextCall<'_>>(op, request)?.context.into_owned());
                if let Some(lifecycle) = &self.shared.roles.lifecycle {
                    lifecycle.start(&cx).await?;
                }
                write(&ops::Empty {})
            }
            op::HEALTH => {
                let cx = self.cx(read::<ops::ContextCall<'_>>(op, request)?.context.into_owned());
                match &self.shared.roles.lifecycle {
                    Some(lifecycle) => write(&lifecycle.health(&cx).await?),
                    None => write(&ops::Health {
                        healthy: true,
                        message: None,
                    }),
                }
            }
            _ => self.answer_driver(op, request).await,
        }
    }

    async fn answer_driver(&self, op: &str, request: &[u8]) -> Result<Vec<u8>, Fault> {
        match op {
            op::CHECK => {
                let call: ops::CheckCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.check(&cx, &call.network).await?)
            }
            op::LANE => {
                let call: ops::LaneCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.lane(&cx, &call.lane).await?)
            }
            op::QUOTE => {
                let call: ops::QuoteCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.quote(&cx, &call.lane, call.previous.as_deref()).await?)
            }
            op::BUILD => {
                let call: ops::BuildCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.build(&cx, &call.slot, &call.bid, &call.steps).await?)
            }
            op::FILL => {
                let call: ops::FillCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.fill(&cx, &call.slot, &call.bid).await?)
            }
            op::BROADCAST => {
                let call: ops::BroadcastCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.broadcast(&cx, &call.attempt).await?)
            }
            op::OBSERVE => {
                let call: ops::ObserveCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&ops::ObserveReply {
                    observations: driver.observe(&cx, &call.watches).await?,
                })
            }
            _ => Err(Fault::unsupported(format!("unknown operation {op:?}"))),
        }
    }

    fn for_scheme(&self, context: CallContext) -> Result<(Arc<dyn SchemeHandler>, Cx), Fault> {
        Ok((self.scheme(&context)?, self.cx(context)))
    }

    fn for_driver(&self, context: CallContext) -> Result<(Arc<dyn ChainDriver>, Cx), Fault> {
        Ok((self.driver(&context)?, self.cx(context)))
    }
}

/// Reads a JSON answer of the host.
pub(super) fn read_answer<T: DeserializeOwned>(service: &str, response: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(response).map_err(|error| Fault::internal(format!("answer of {service}: {error}")))
}
