//! A network of two nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use sdk_plugin::host::{
    JobRequest, Level, MetricKind, RpcRequest, RpcResponse, SignRequest, Signature, StoreRequest,
    StoreResponse,
};
use sdk_plugin::testkit::ScriptHost;
use sdk_plugin::{Cx, Fault, HostServices, Value, async_trait};

/// Whose answers to a comparison stand one behind the other. A read goes to the first.
pub struct TwoNodes {
    pub one: Arc<ScriptHost>,
    pub other: Arc<ScriptHost>,
}

impl TwoNodes {
    /// The same call on a network with a second node.
    pub fn cx(one: &Arc<ScriptHost>, other: &Arc<ScriptHost>, call: &Cx) -> Cx {
        let both = Self {
            one: one.clone(),
            other: other.clone(),
        };
        Cx::new(Arc::new(both), 1, call.context().clone())
    }
}

#[async_trait]
impl HostServices for TwoNodes {
    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        let is_compared = matches!(request, RpcRequest::Compare { .. });
        let mut response = self.one.rpc(call, request.clone()).await?;
        if is_compared {
            let other = self.other.rpc(call, request).await?;
            response.results.extend(other.results);
        }
        Ok(response)
    }

    async fn sign(&self, call: u64, request: SignRequest) -> Result<Signature, Fault> {
        self.one.sign(call, request).await
    }

    async fn store(&self, call: u64, request: StoreRequest) -> Result<StoreResponse, Fault> {
        self.one.store(call, request).await
    }

    async fn job(&self, call: u64, request: JobRequest) -> Result<(), Fault> {
        self.one.job(call, request).await
    }

    async fn sleep(&self, call: u64, millis: u64) -> Result<(), Fault> {
        self.one.sleep(call, millis).await
    }

    fn now_unix_ns(&self) -> u64 {
        self.one.now_unix_ns()
    }

    fn log(&self, call: u64, level: Level, target: &str, message: &str, fields: &Value) {
        self.one.log(call, level, target, message, fields);
    }

    fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &BTreeMap<String, String>) {
        self.one.metric(kind, name, value, labels);
    }
}
