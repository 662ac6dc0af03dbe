//! What a call knows about itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::host::{
    Authorizer, HostServices, JobRequest, Level, MetricKind, RpcCall, RpcRequest, RpcResponse, RpcResult,
    SignRequest, Signature, StoreRequest, StoreResponse,
};
use crate::lane::Lane;
use crate::{Fault, HexBytes};

/// The network as a scheme or driver sees it during a call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NetworkView {
    /// CAIP-2.
    pub id: String,
    /// Depth (1 is the head block) at which replies and releases go out.
    pub confirmations: u64,
    /// Depth at which slots close.
    pub finality: u64,
    /// Lanes granted to the instance, in the order of configuration.
    pub lanes: Vec<Lane>,
    /// Lanes no longer used for new work, still accepted where an earlier payment names them.
    #[serde(default)]
    pub retained: Vec<Lane>,
    /// Signers among `retained` that the operator has retired: no new payment may be bound to them. The others there
    /// are current signers that can't pay for a transaction now. Empty from hosts that do not distinguish them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
    /// Assets allowed on this network, in the driver's canonical form; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<Vec<String>>,
    /// The driver's own options for this network, as configured.
    #[serde(default)]
    pub options: Value,
}

/// What travels with every operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CallContext {
    /// Which of the instance's schemes is called; empty for driver operations.
    #[serde(default)]
    pub scheme: String,
    /// The network that the operation is about.
    pub network: NetworkView,
    /// Of a scheme's operation: keys with which its plans may sign typed data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorizers: Vec<Authorizer>,
}

/// How long the host waits for a call, and which request it is made for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallTerms {
    /// From the moment the host makes the call; then it gives the call up. `None`: it is not known.
    pub timeout: Option<Duration>,
    /// W3C `traceparent` of the request or settlement that the call is made for; `None`: of none, or of several.
    pub trace: Option<Arc<str>>,
}

/// Passed to every function of a scheme or driver: the call's context, and access to the host.
#[derive(Clone)]
pub struct Cx {
    host: Arc<dyn HostServices>,
    call: u64,
    context: Arc<CallContext>,
    terms: CallTerms,
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("call", &self.call)
            .field("context", &self.context)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl Cx {
    /// A context for one call. `call`: id of the call that the host makes; 0 outside of a call.
    pub fn new(host: Arc<dyn HostServices>, call: u64, context: CallContext) -> Self {
        Self {
            host,
            call,
            context: Arc::new(context),
            terms: CallTerms::default(),
        }
    }

    /// The same call on these terms.
    #[must_use]
    pub fn with_terms(mut self, terms: CallTerms) -> Self {
        self.terms = terms;
        self
    }

    /// How long the host waits for the call, and what it is made for.
    #[must_use]
    pub fn terms(&self) -> &CallTerms {
        &self.terms
    }

    /// What travels with the operation.
    #[must_use]
    pub fn context(&self) -> &CallContext {
        &self.context
    }

    /// The network that the operation is about.
    #[must_use]
    pub fn network(&self) -> &NetworkView {
        &self.context.network
    }

    /// The id of the call being served.
    #[must_use]
    pub fn call_id(&self) -> u64 {
        self.call
    }

    /// Reads in one round trip to the call's network. As many results as calls.
    pub async fn read(&self, calls: Vec<RpcCall>) -> Result<Vec<RpcResult>, Fault> {
        let wanted = calls.len();
        let request = RpcRequest::Read {
            network: self.context.network.id.clone(),
            calls,
        };
        let response = self.host.rpc(self.call, request).await?;
        if response.results.len() != wanted {
            return Err(Fault::internal(format!(
                "{} results for {wanted} calls on {}",
                response.results.len(),
                self.context.network.id
            )));
        }
        Ok(response.results)
    }

    /// Reads by two nodes of the call's network, by one where it has one: the results of each, as many as calls.
    pub async fn compare(&self, calls: Vec<RpcCall>) -> Result<Vec<Vec<RpcResult>>, Fault> {
        let wanted = calls.len();
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let network = self.context.network.id.clone();
        let response = self
            .host
            .rpc(self.call, RpcRequest::Compare { network, calls })
            .await?;
        let results = response.results;
        if results.is_empty() || results.len() % wanted != 0 {
            return Err(Fault::internal(format!(
                "{} results for {wanted} calls to each node",
                results.len()
            )));
        }
        Ok(results.chunks(wanted).map(<[RpcResult]>::to_vec).collect())
    }

    /// Any request of `rpc.v1`.
    pub async fn rpc(&self, request: RpcRequest) -> Result<RpcResponse, Fault> {
        self.host.rpc(self.call, request).await
    }

    /// A signature by a key in the host's custody (`sign.v1`).
    ///
    /// # Errors
    /// [`FaultKind::Denied`](crate::FaultKind::Denied) outside `chain.build` and `chain.fill`, or for another key than the
    /// slot's.
    pub async fn sign(&self, request: SignRequest) -> Result<HexBytes, Fault> {
        self.host
            .sign(self.call, request)
            .await
            .map(|Signature { signature }| signature)
    }

    /// Reads or writes rows of this plugin (`store.v1`).
    ///
    /// # Errors
    /// The host's fault. A condition that does not hold is a response, not an error.
    pub async fn store(&self, request: StoreRequest) -> Result<StoreResponse, Fault> {
        self.host.store(self.call, request).await
    }

    /// Schedules or cancels a job (`job.v1`).
    ///
    /// # Errors
    /// The host's fault.
    pub async fn job(&self, request: JobRequest) -> Result<(), Fault> {
        self.host.job(self.call, request).await
    }

    /// Waits for this many milliseconds (`sleep.v1`).
    ///
    /// # Errors
    /// The host's fault, for example when the call is cancelled.
    pub async fn sleep_ms(&self, millis: u64) -> Result<(), Fault> {
        self.host.sleep(self.call, millis).await
    }

    /// Seconds since the epoch.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        self.host.now_unix_ns() / 1_000_000_000
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.host.now_unix_ns() / 1_000_000
    }

    /// Writes a log line. `target` is `family::module`; `fields` is an object or `Null`.
    pub fn log(&self, level: Level, target: &str, message: &str, fields: &Value) {
        self.host.log(self.call, level, target, message, fields);
    }

    /// Adds to a counter, sets a gauge or observes a value of a histogram. Label sets must be bounded.
    pub fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &BTreeMap<String, String>) {
        self.host.metric(kind, name, value, labels);
    }
}
