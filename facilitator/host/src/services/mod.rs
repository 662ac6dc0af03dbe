//! The host services of one plugin instance: [`HostServices`] over RPC pools, custody, journal and clock.
//!
//! Every request is made on behalf of a call, and the scope of that call decides. Reads go to the scope's network only. A
//! signature is given inside `chain.build` and `chain.fill`, for the slot's key only, and inside `x402.plan` over typed data of
//! a granted domain, for the key that was granted for it. A send happens inside
//! `chain.broadcast`, for the attempt of that call only, and its bytes come from the journal, never from the plugin. A
//! service that the manifest does not list is refused.
//!
//! Not guaranteed: that a driver signs what its steps say. Drivers are trusted code, and custody can check only the key.

mod lines;
mod rights;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sdk_plugin::host::{
    JobRequest, Level, MetricKind, RpcRequest, RpcResponse, SignRequest, Signature, StoreRequest,
    StoreResponse, Suite, TypedData,
};
use sdk_plugin::operation::{
    JobService, Operation as _, Right, RpcService, SignService, SleepService, StoreService,
};
use sdk_plugin::{Fault, HexBytes, HostServices, Value};
use sha3::{Digest as _, Keccak256};

use super::custody::{Custody, Signed, Signing};
use super::rpc::{MethodList, RpcPools, SendRequest};
use base::calls::{CallScope, CallTable};
use base::clock::Clock;
use base::limits::{check_job, check_key, check_write};
use base::trace;
use journal::plugin_rows::{AttemptBytes, Jobs, PluginStore};
use lines::LogLines;
use telemetry::metrics::Metrics;

/// Largest number of writes in one request.
const MAX_WRITES: usize = 256;

/// The resources that all instances share.
#[derive(Clone)]
pub struct HostResources {
    pub rpc: Arc<RpcPools>,
    pub custody: Arc<Custody>,
    pub calls: Arc<CallTable>,
    pub attempts: Arc<dyn AttemptBytes>,
    pub store: Arc<dyn PluginStore>,
    pub jobs: Arc<dyn Jobs>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for HostResources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostResources").finish_non_exhaustive()
    }
}

/// JSON-RPC methods of one family of chains, as its driver's manifest lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FamilyMethods {
    pub reads: MethodList,
    pub sends: MethodList,
}

/// The identity of one instance, and what it may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceGrants {
    /// As in [`CallScope::instance`].
    pub instance: u64,
    /// The manifest's id.
    pub plugin: String,
    /// The services in its manifest: `rpc.v1` and so on.
    pub services: BTreeSet<String>,
    /// By family (the namespace of CAIP-2), for all families whose driver is loaded.
    pub methods: BTreeMap<String, FamilyMethods>,
    /// By key: the domain separators of typed data that its plans may sign with it.
    pub authorizers: BTreeMap<String, Vec<HexBytes>>,
}

/// Host services of one instance.
#[derive(Debug)]
pub struct InstanceHost {
    grants: InstanceGrants,
    host: HostResources,
    lines: LogLines,
}

impl InstanceHost {
    /// Must be called inside a runtime: log lines are limited by its clock.
    #[must_use]
    pub fn new(grants: InstanceGrants, host: HostResources) -> Self {
        Self {
            lines: LogLines::new(&grants.plugin),
            grants,
            host,
        }
    }

    fn granted(&self, service: &str) -> Result<(), Fault> {
        if self.grants.services.contains(service) {
            return Ok(());
        }
        Err(Fault::denied(format!(
            "the manifest of {} does not list {service}; add it to `services`",
            self.grants.plugin
        )))
    }

    /// The scope of the call, if the call has this right.
    fn scope(&self, call: u64, right: Right) -> Result<Arc<CallScope>, Fault> {
        let scope = self.host.calls.scope(self.grants.instance, call).ok_or_else(|| {
            Fault::denied(format!(
                "{} is possible only inside an open call, and {call} is none",
                rights::name(right)
            ))
        })?;
        if scope.operation.rights().contains(&right) {
            return Ok(scope);
        }
        Err(Fault::denied(format!(
            "{} is not possible inside {}",
            rights::name(right),
            scope.operation.name()
        )))
    }

    fn methods(&self, network: &str) -> Result<&FamilyMethods, Fault> {
        network
            .split_once(':')
            .and_then(|(family, _)| self.grants.methods.get(family))
            .ok_or_else(|| Fault::denied(format!("no loaded driver lists RPC methods for {network}")))
    }

    async fn rpc_checked(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        self.granted(RpcService::NAME)?;
        let results = match request {
            RpcRequest::Read { network, calls } => {
                let scope = self.scope(call, Right::Read)?;
                on_network(&scope, &network)?;
                let traffic = rights::traffic(scope.operation);
                let reads = &self.methods(&network)?.reads;
                let rpc = &self.host.rpc;
                let answered = rpc
                    .read_named(&network, scope.node, &calls, reads, traffic)
                    .await?;
                if let Some(node) = answered.node {
                    self.host.calls.record_node(call, node);
                }
                answered.results
            }
            RpcRequest::Compare { network, calls } => {
                let scope = self.scope(call, Right::Read)?;
                on_network(&scope, &network)?;
                let traffic = rights::traffic(scope.operation);
                let reads = &self.methods(&network)?.reads;
                self.host.rpc.compare(&network, &calls, reads, traffic).await?
            }
            RpcRequest::Send {
                network,
                attempt_id,
                method,
                params,
                encoding,
            } => {
                let scope = self.scope(call, Right::Send)?;
                on_network(&scope, &network)?;
                if scope.attempt.as_deref() != Some(attempt_id.as_str()) {
                    return Err(Fault::denied("only the attempt of this call can be sent"));
                }
                let sends = &self.methods(&network)?.sends;
                let bytes = self.host.attempts.bytes(&attempt_id).await?;
                let bytes = bytes.ok_or_else(|| {
                    Fault::denied(format!("the journal holds no bytes of attempt {attempt_id}"))
                })?;
                let request = SendRequest {
                    method: &method,
                    params: &params,
                    bytes: &bytes,
                    encoding,
                };
                self.host.rpc.send(&network, request, sends).await?
            }
        };
        Ok(RpcResponse { results })
    }

    async fn sign_checked(&self, call: u64, request: &SignRequest) -> Result<Signature, Fault> {
        self.granted(SignService::NAME)?;
        if let Some(typed) = &request.typed {
            return self.sign_typed(call, request, typed).await;
        }
        let scope = self.scope(call, Right::Sign)?;
        let Some(slot) = scope.signs.as_ref().filter(|slot| slot.key == request.key) else {
            return Err(Fault::denied("only the key of the slot that is built can sign"));
        };
        let signing = Signing {
            request,
            network: &scope.network,
            of: Signed::Transaction(slot),
        };
        self.signature(&signing).await
    }

    /// A signature for a contract. The digest is computed here: a key with which typed data is signed signs nothing else.
    async fn sign_typed(
        &self,
        call: u64,
        request: &SignRequest,
        typed: &TypedData,
    ) -> Result<Signature, Fault> {
        let scope = self.scope(call, Right::SignTyped)?;
        let domains = self.grants.authorizers.get(&request.key);
        if !domains.is_some_and(|domains| domains.contains(&typed.domain)) {
            return Err(Fault::denied(format!(
                "typed data of the domain {} is not granted to {} with this key; write it under `authorizers` of the plugin",
                typed.domain, self.grants.plugin
            )));
        }
        let is_its_digest = digest(typed).is_some_and(|digest| request.message.as_ref() == digest);
        if request.suite != Suite::Secp256k1 || !is_its_digest {
            return Err(Fault::invalid("the message is not the digest of the typed data"));
        }
        let signing = Signing {
            request,
            network: &scope.network,
            of: Signed::TypedData(typed),
        };
        self.signature(&signing).await
    }

    async fn signature(&self, signing: &Signing<'_>) -> Result<Signature, Fault> {
        let answer = self.host.custody.sign(signing).await;
        let outcome = match &answer {
            Ok(_) => "signed",
            Err(fault) if fault.kind == sdk_plugin::FaultKind::Overloaded => "limited",
            Err(_) => "failed",
        };
        let labels = [("key", signing.request.key.as_str()), ("outcome", outcome)];
        self.host.metrics.add("switchyard_signatures_total", &labels, 1);
        Ok(Signature { signature: answer? })
    }

    async fn store_checked(&self, call: u64, request: StoreRequest) -> Result<StoreResponse, Fault> {
        self.granted(StoreService::NAME)?;
        match &request {
            StoreRequest::Get { key } => {
                self.scope(call, Right::StoreRead)?;
                check_key("a store key", key)?;
            }
            StoreRequest::Scan { prefix, after, limit } => {
                self.scope(call, Right::StoreRead)?;
                check_key("a store prefix", prefix)?;
                check_key("a store key", after.as_deref().unwrap_or_default())?;
                if !(1..=1_000).contains(limit) {
                    return Err(Fault::invalid(format!(
                        "a scan's limit is 1 to 1000, not {limit}"
                    )));
                }
            }
            StoreRequest::Write { writes } => {
                self.scope(call, Right::StoreWrite)?;
                if writes.len() > MAX_WRITES {
                    return Err(Fault::invalid(format!("at most {MAX_WRITES} writes at once")));
                }
                for write in writes {
                    check_write(write)?;
                }
            }
        }
        self.host.store.store(&self.grants.plugin, request).await
    }

    async fn job_checked(&self, call: u64, request: JobRequest) -> Result<(), Fault> {
        self.granted(JobService::NAME)?;
        self.scope(call, Right::ScheduleJob)?;
        match &request {
            JobRequest::Schedule { job } => check_job(job)?,
            JobRequest::Cancel { id } => check_key("a job's id", id)?,
        }
        self.host.jobs.job(&self.grants.plugin, request).await
    }

    /// Counts and logs a denied request: it is a defect of the plugin, or an attack.
    fn record_denial<T>(&self, service: &str, answer: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &answer
            && fault.kind == sdk_plugin::FaultKind::Denied
        {
            let labels = [("plugin", self.grants.plugin.as_str()), ("service", service)];
            self.host.metrics.add("switchyard_host_denied_total", &labels, 1);
            self.lines.write(
                Level::Warn,
                "host",
                &format!("refused: {}", fault.message),
                &Value::Null,
            );
        }
        answer
    }
}

#[async_trait]
impl HostServices for InstanceHost {
    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        let trace = self.host.calls.trace(call);
        let answer = trace::within(trace, self.rpc_checked(call, request)).await;
        self.record_denial(RpcService::NAME, answer)
    }

    async fn sign(&self, call: u64, request: SignRequest) -> Result<Signature, Fault> {
        let answer = self.sign_checked(call, &request).await;
        self.record_denial(SignService::NAME, answer)
    }

    async fn store(&self, call: u64, request: StoreRequest) -> Result<StoreResponse, Fault> {
        let answer = self.store_checked(call, request).await;
        self.record_denial(StoreService::NAME, answer)
    }

    async fn job(&self, call: u64, request: JobRequest) -> Result<(), Fault> {
        let answer = self.job_checked(call, request).await;
        self.record_denial(JobService::NAME, answer)
    }

    async fn sleep(&self, _call: u64, millis: u64) -> Result<(), Fault> {
        self.record_denial(SleepService::NAME, self.granted(SleepService::NAME))?;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(())
    }

    fn now_unix_ns(&self) -> u64 {
        self.host.clock.now_unix_ns()
    }

    fn log(&self, _call: u64, level: Level, target: &str, message: &str, fields: &Value) {
        self.lines.write(level, target, message, fields);
    }

    fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &BTreeMap<String, String>) {
        self.host
            .metrics
            .plugin(&self.grants.plugin, kind, name, value, labels);
    }
}

/// EIP-712; `None`: a part has not 32 bytes.
fn digest(typed: &TypedData) -> Option<[u8; 32]> {
    let parts = [typed.domain.as_ref(), typed.struct_hash.as_ref()];
    if parts.iter().any(|part| part.len() != 32) {
        return None;
    }
    let mut hash = Keccak256::new();
    hash.update([0x19, 0x01]);
    parts.iter().for_each(|part| hash.update(part));
    Some(hash.finalize().into())
}

fn on_network(scope: &CallScope, network: &str) -> Result<(), Fault> {
    if scope.network == network && !network.is_empty() {
        return Ok(());
    }
    if scope.network.is_empty() {
        return Err(Fault::denied(
            "this call is about no network; it can't read from one",
        ));
    }
    Err(Fault::denied(format!(
        "this call is for {}; it can use no other network",
        scope.network
    )))
}
