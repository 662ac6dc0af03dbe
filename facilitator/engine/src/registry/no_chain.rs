//! The driver of a network without a chain: there is nothing to send to and nothing to observe.
//!
//! Assumes that nothing is planned there: plans with steps are refused before a lane gets them.

use std::collections::BTreeMap;

use sdk_plugin::chain::{
    Attempt, Bid, Built, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::scheme::Step;
use sdk_plugin::{ChainDriver, Cx, Fault, async_trait};

/// Always ready, with no signers.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoChain;

fn unsupported<T>() -> Result<T, Fault> {
    Err(Fault::unsupported("this network has no chain"))
}

#[async_trait]
impl ChainDriver for NoChain {
    async fn check(&self, _cx: &Cx, _network: &Network) -> Result<Readiness, Fault> {
        Ok(Readiness {
            ready: true,
            why_not: None,
            addresses: BTreeMap::new(),
            ordered: false,
            head_height: 0,
            warnings: Vec::new(),
            node_fault: None,
        })
    }

    async fn lane(&self, _cx: &Cx, _lane: &Lane) -> Result<LaneState, Fault> {
        unsupported()
    }

    async fn quote(&self, _cx: &Cx, _lane: &Lane, _previous: Option<&Bid>) -> Result<Bid, Fault> {
        unsupported()
    }

    async fn build(&self, _cx: &Cx, _slot: &Slot, _bid: &Bid, _steps: &[Step]) -> Result<Built, Fault> {
        unsupported()
    }

    async fn fill(&self, _cx: &Cx, _slot: &Slot, _bid: &Bid) -> Result<Built, Fault> {
        unsupported()
    }

    async fn broadcast(&self, _cx: &Cx, _attempt: &Attempt) -> Result<Sent, Fault> {
        unsupported()
    }

    async fn observe(&self, _cx: &Cx, _watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        unsupported()
    }
}
