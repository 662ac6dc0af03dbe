//! A scripted host.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use super::store::Rows;
use crate::host::{
    JobRequest, Level, MetricKind, RpcRequest, RpcResponse, RpcResult, SignRequest, Signature, StoreRequest,
    StoreResponse,
};
use crate::{CallContext, Cx, Fault, HexBytes, HostServices, NetworkView};

/// A use of a host service, with the call in which it happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// `rpc.v1`.
    Rpc {
        /// Id of the call that used it.
        call: u64,
        /// The request.
        request: RpcRequest,
    },
    /// `sign.v1`.
    Sign {
        /// Id of the call that used it.
        call: u64,
        /// The request.
        request: SignRequest,
    },
    /// `store.v1`.
    Store {
        /// Id of the call that used it.
        call: u64,
        /// The request.
        request: StoreRequest,
    },
    /// `job.v1`.
    Job {
        /// Id of the call that used it.
        call: u64,
        /// The request.
        request: JobRequest,
    },
    /// `sleep.v1`.
    Sleep {
        /// Id of the call that used it.
        call: u64,
        /// Milliseconds.
        millis: u64,
    },
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// Id of the call that wrote it.
    pub call: u64,
    /// Level.
    pub level: Level,
    /// Target, `family::module`.
    pub target: String,
    /// Message.
    pub message: String,
    /// An object or `Null`.
    pub fields: Value,
}

type Answer = Box<dyn FnMut(&Value) -> RpcResult + Send>;
type Sender = Box<dyn FnMut(&RpcRequest) -> Result<RpcResponse, Fault> + Send>;
type Signer = Box<dyn FnMut(&SignRequest) -> Result<HexBytes, Fault> + Send>;

#[derive(Default)]
struct Script {
    queued: HashMap<String, VecDeque<RpcResult>>,
    answers: HashMap<String, Answer>,
    faults: VecDeque<Fault>,
    compare_fault: Option<Fault>,
    send: Option<Sender>,
    sign: Option<Signer>,
    rows: Rows,
    recorded: Vec<Recorded>,
    logs: Vec<LogLine>,
    metrics: Vec<(MetricKind, String, f64, BTreeMap<String, String>)>,
}

/// Host services by script. A use that the script does not cover is a fault that names it.
///
/// Time stands still: it moves by [`ScriptHost::advance_ms`], and by a plugin's own sleep, which ends at once.
pub struct ScriptHost {
    now_ns: AtomicU64,
    next_call: AtomicU64,
    script: Mutex<Script>,
}

impl fmt::Debug for ScriptHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptHost")
            .field("recorded", &self.script().recorded)
            .finish_non_exhaustive()
    }
}

impl ScriptHost {
    /// A host whose clock shows `now_s` seconds since the epoch.
    #[must_use]
    pub fn at_unix_s(now_s: u64) -> Arc<Self> {
        Arc::new(Self {
            now_ns: AtomicU64::new(now_s.saturating_mul(1_000_000_000)),
            next_call: AtomicU64::new(1),
            script: Mutex::default(),
        })
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the clock ahead.
    pub fn advance_ms(&self, millis: u64) {
        self.now_ns
            .fetch_add(millis.saturating_mul(1_000_000), Ordering::Relaxed);
    }

    /// A context without lanes on `network` (CAIP-2), at one confirmation and twelve blocks to finality.
    #[must_use]
    pub fn context(&self, network: &str) -> CallContext {
        let network = NetworkView {
            id: network.to_owned(),
            confirmations: 1,
            finality: 12,
            ..NetworkView::default()
        };
        CallContext {
            scheme: String::new(),
            network,
            authorizers: Vec::new(),
        }
    }

    /// A call of its own.
    #[must_use]
    pub fn cx(self: &Arc<Self>, context: CallContext) -> Cx {
        Cx::new(
            self.clone(),
            self.next_call.fetch_add(1, Ordering::Relaxed),
            context,
        )
    }

    /// Answers every read of `method`, given its parameters.
    pub fn answer_rpc(&self, method: &str, answer: impl FnMut(&Value) -> RpcResult + Send + 'static) {
        self.script().answers.insert(method.to_owned(), Box::new(answer));
    }

    /// Answers the next read of `method`, ahead of the answers of [`Self::answer_rpc`].
    pub fn queue_rpc(&self, method: &str, result: RpcResult) {
        self.script()
            .queued
            .entry(method.to_owned())
            .or_default()
            .push_back(result);
    }

    /// Makes the next round trip fail.
    pub fn queue_rpc_fault(&self, fault: Fault) {
        self.script().faults.push_back(fault);
    }

    /// Makes every comparison of nodes fail from now on, as where only one of several answers.
    pub fn fail_comparisons(&self, fault: Fault) {
        self.script().compare_fault = Some(fault);
    }

    /// Answers sends.
    pub fn answer_send(&self, send: impl FnMut(&RpcRequest) -> Result<RpcResponse, Fault> + Send + 'static) {
        self.script().send = Some(Box::new(send));
    }

    /// Answers `sign.v1`.
    pub fn answer_sign(&self, sign: impl FnMut(&SignRequest) -> Result<HexBytes, Fault> + Send + 'static) {
        self.script().sign = Some(Box::new(sign));
    }

    /// Every use of a host service so far, in order.
    #[must_use]
    pub fn recorded(&self) -> Vec<Recorded> {
        self.script().recorded.clone()
    }

    /// Number of round trips over `rpc.v1`; a batch counts as one.
    #[must_use]
    pub fn round_trips(&self) -> usize {
        self.script()
            .recorded
            .iter()
            .filter(|recorded| matches!(recorded, Recorded::Rpc { .. }))
            .count()
    }

    /// Log lines so far, in order.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        self.script().logs.clone()
    }

    /// Kind, name, value and labels, in order.
    #[must_use]
    pub fn metrics(&self) -> Vec<(MetricKind, String, f64, BTreeMap<String, String>)> {
        self.script().metrics.clone()
    }
}

impl Script {
    fn read(&mut self, method: &str, params: &Value) -> Result<RpcResult, Fault> {
        if let Some(result) = self.queued.get_mut(method).and_then(VecDeque::pop_front) {
            return Ok(result);
        }
        let answer = self.answers.get_mut(method);
        answer
            .map(|answer| answer(params))
            .ok_or_else(|| Fault::denied(format!("the script has no answer to {method}")))
    }
}

#[async_trait]
impl HostServices for ScriptHost {
    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        let mut script = self.script();
        script.recorded.push(Recorded::Rpc {
            call,
            request: request.clone(),
        });
        if let Some(fault) = script.faults.pop_front() {
            return Err(fault);
        }
        if let (RpcRequest::Compare { .. }, Some(fault)) = (&request, &script.compare_fault) {
            return Err(fault.clone());
        }
        match &request {
            // A script is one node.
            RpcRequest::Read { calls, .. } | RpcRequest::Compare { calls, .. } => {
                let results = calls.iter().map(|call| script.read(&call.method, &call.params));
                Ok(RpcResponse {
                    results: results.collect::<Result<_, _>>()?,
                })
            }
            RpcRequest::Send { .. } => {
                let send = script.send.as_mut();
                send.map_or_else(
                    || Err(Fault::denied("the script has no answer to sends")),
                    |send| send(&request),
                )
            }
        }
    }

    async fn sign(&self, call: u64, request: SignRequest) -> Result<Signature, Fault> {
        let mut script = self.script();
        script.recorded.push(Recorded::Sign {
            call,
            request: request.clone(),
        });
        let sign = script
            .sign
            .as_mut()
            .ok_or_else(|| Fault::denied("the script has no key"))?;
        sign(&request).map(|signature| Signature { signature })
    }

    async fn store(&self, call: u64, request: StoreRequest) -> Result<StoreResponse, Fault> {
        let now_ms = self.now_unix_ns() / 1_000_000;
        let mut script = self.script();
        script.recorded.push(Recorded::Store {
            call,
            request: request.clone(),
        });
        Ok(script.rows.serve(now_ms, request))
    }

    async fn job(&self, call: u64, request: JobRequest) -> Result<(), Fault> {
        self.script().recorded.push(Recorded::Job { call, request });
        Ok(())
    }

    async fn sleep(&self, call: u64, millis: u64) -> Result<(), Fault> {
        self.script().recorded.push(Recorded::Sleep { call, millis });
        self.advance_ms(millis);
        Ok(())
    }

    fn now_unix_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn log(&self, call: u64, level: Level, target: &str, message: &str, fields: &Value) {
        let (target, message, fields) = (target.to_owned(), message.to_owned(), fields.clone());
        self.script().logs.push(LogLine {
            call,
            level,
            target,
            message,
            fields,
        });
    }

    fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &BTreeMap<String, String>) {
        self.script()
            .metrics
            .push((kind, name.to_owned(), value, labels.clone()));
    }
}
