//! Hosts that change some services of another host.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use crate::host::{
    JobRequest, Level, MetricKind, RpcRequest, RpcResponse, SignRequest, Signature, StoreRequest,
    StoreResponse,
};
use crate::{Fault, HostServices};

/// A host on top of another one, for example one whose second round trip fails. What is not overridden is passed on.
#[async_trait]
pub trait HostLayer: Send + Sync + 'static {
    /// The host below.
    fn inner(&self) -> &dyn HostServices;

    /// See [`HostServices::rpc`].
    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        self.inner().rpc(call, request).await
    }

    /// See [`HostServices::store`].
    async fn store(&self, call: u64, request: StoreRequest) -> Result<StoreResponse, Fault> {
        self.inner().store(call, request).await
    }
}

#[async_trait]
impl<L: HostLayer> HostServices for L {
    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        HostLayer::rpc(self, call, request).await
    }

    async fn sign(&self, call: u64, request: SignRequest) -> Result<Signature, Fault> {
        self.inner().sign(call, request).await
    }

    async fn store(&self, call: u64, request: StoreRequest) -> Result<StoreResponse, Fault> {
        HostLayer::store(self, call, request).await
    }

    async fn job(&self, call: u64, request: JobRequest) -> Result<(), Fault> {
        self.inner().job(call, request).await
    }

    async fn sleep(&self, call: u64, millis: u64) -> Result<(), Fault> {
        self.inner().sleep(call, millis).await
    }

    fn now_unix_ns(&self) -> u64 {
        self.inner().now_unix_ns()
    }

    fn log(&self, call: u64, level: Level, target: &str, message: &str, fields: &Value) {
        self.inner().log(call, level, target, message, fields);
    }

    fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &BTreeMap<String, String>) {
        self.inner().metric(kind, name, value, labels);
    }
}
