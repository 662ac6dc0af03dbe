//! A host with a second node.

use std::sync::{Arc, Mutex};

use sdk_plugin::chain::{Observation, Watch};
use sdk_plugin::host::{RpcRequest, RpcResponse};
use sdk_plugin::testkit::{HostLayer, ScriptHost, block_on};
use sdk_plugin::{ChainDriver, Cx, Fault, HostServices, async_trait};

use crate::node::{Chain, NETWORK, World};

/// The network's second node.
#[derive(Debug, Default)]
pub enum Second {
    /// There is none.
    #[default]
    Missing,
    /// It is configured and does not answer.
    Away,
    Shows(Box<Chain>),
}

/// Two nodes: the world's own is the first, and answers all plain reads.
#[derive(Clone)]
pub struct Nodes {
    first: Arc<ScriptHost>,
    pub second: Arc<Mutex<Second>>,
}

impl Nodes {
    pub fn of(world: &World, second: Second) -> Self {
        Self {
            first: world.host.clone(),
            second: Arc::new(Mutex::new(second)),
        }
    }

    pub fn set(&self, second: Second) {
        *self.second.lock().unwrap() = second;
    }

    /// Polls attempts with these nodes.
    pub fn try_observe(&self, world: &World, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        let mut context = self.first.context(NETWORK);
        context.network.options = world.options.clone();
        context.network.finality = world.finality;
        let cx = Cx::new(Arc::new(self.clone()), 1, context);
        block_on(world.driver.observe(&cx, watches))
    }

    pub fn observe(&self, world: &World, watch: &Watch) -> Observation {
        let seen = self.try_observe(world, std::slice::from_ref(watch));
        seen.expect("no fault").remove(0)
    }
}

#[async_trait]
impl HostLayer for Nodes {
    fn inner(&self) -> &dyn HostServices {
        &*self.first
    }

    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        let RpcRequest::Compare { calls, .. } = &request else {
            return self.first.rpc(call, request).await;
        };
        let calls = calls.clone();
        let mut response = self.first.rpc(call, request).await?;
        match &mut *self.second.lock().unwrap() {
            Second::Missing => {}
            Second::Away => return Err(Fault::unavailable("only 1 of 2 nodes answered")),
            Second::Shows(chain) => {
                let answers = calls.iter().map(|call| chain.answer(&call.method, &call.params));
                response.results.extend(answers);
            }
        }
        Ok(response)
    }
}
