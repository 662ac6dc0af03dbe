//! A network of two nodes.

use std::sync::Arc;

use sdk_plugin::host::{RpcRequest, RpcResponse};
use sdk_plugin::testkit::{HostLayer, ScriptHost};
use sdk_plugin::{Cx, Fault, HostServices, async_trait};

/// A comparison returns the results of both, one set after the other. A read goes to the first.
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
impl HostLayer for TwoNodes {
    fn inner(&self) -> &dyn HostServices {
        &*self.one
    }

    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        let is_compared = matches!(request, RpcRequest::Compare { .. });
        let mut response = self.one.rpc(call, request.clone()).await?;
        if is_compared {
            let other = self.other.rpc(call, request).await?;
            response.results.extend(other.results);
        }
        Ok(response)
    }
}
