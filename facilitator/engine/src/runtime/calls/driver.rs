//! Calls into a network's driver.

use super::{Ops, Rights};
use crate::registry::Network;
use base::calls::Operation;
use sdk_plugin::Fault;
use sdk_plugin::chain::{
    Attempt, Bid, Built, Lane, LaneState, Network as ChainNetwork, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::scheme::Step;

/// How much the check of a network reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only whether the nodes are this network's, and their head.
    Brief,
    Complete {
        /// Since the last check, other calls to the network's nodes have failed.
        calls_failed: bool,
    },
}

impl Ops {
    pub async fn check(&self, network: &Network, depth: Depth) -> Result<Readiness, Fault> {
        self.check_as(network, depth, Rights::default()).await
    }

    /// The check as one node answers it: `node` counts the network's nodes as configured, from 0.
    pub async fn check_through(&self, network: &Network, node: usize) -> Result<Readiness, Fault> {
        // Not `calls_failed`: what a driver reads only rarely is left to the check of the whole network, which may take longer.
        let depth = Depth::Complete { calls_failed: false };
        self.check_as(network, depth, Rights::through(node)).await
    }

    pub(super) async fn check_as(
        &self,
        network: &Network,
        depth: Depth,
        rights: Rights<'_>,
    ) -> Result<Readiness, Fault> {
        let (open, cx) = self.driver(network, Operation::Check, rights);
        let keys = network
            .settings
            .keys
            .iter()
            .chain(&network.settings.retained_keys)
            .cloned()
            .collect();
        let chain_network = ChainNetwork {
            id: network.id().to_owned(),
            keys,
            options: network.settings.options.clone(),
            calls_failed: depth == Depth::Complete { calls_failed: true },
            brief: depth == Depth::Brief,
        };
        self.run(open, network.driver.check(&cx, &chain_network)).await
    }

    pub async fn lane(&self, network: &Network, lane: &Lane) -> Result<LaneState, Fault> {
        self.lane_as(network, lane, Rights::default()).await
    }

    /// The lane as one node shows it: `node` counts the network's nodes as configured, from 0.
    pub async fn lane_through(
        &self,
        network: &Network,
        lane: &Lane,
        node: usize,
    ) -> Result<LaneState, Fault> {
        self.lane_as(network, lane, Rights::through(node)).await
    }

    pub(super) async fn lane_as(
        &self,
        network: &Network,
        lane: &Lane,
        rights: Rights<'_>,
    ) -> Result<LaneState, Fault> {
        let (open, cx) = self.driver(network, Operation::Lane, rights);
        self.run(open, network.driver.lane(&cx, lane)).await
    }

    pub async fn quote(&self, network: &Network, lane: &Lane, previous: Option<&Bid>) -> Result<Bid, Fault> {
        let (open, cx) = self.driver(network, Operation::Quote, Rights::default());
        self.run(open, network.driver.quote(&cx, lane, previous)).await
    }

    pub async fn build(
        &self,
        network: &Network,
        slot: &Slot,
        bid: &Bid,
        steps: &[Step],
    ) -> Result<Built, Fault> {
        let rights = Rights {
            signs: Some(slot),
            ..Rights::default()
        };
        let (open, cx) = self.driver(network, Operation::Build, rights);
        self.run(open, network.driver.build(&cx, slot, bid, steps)).await
    }

    pub async fn fill(&self, network: &Network, slot: &Slot, bid: &Bid) -> Result<Built, Fault> {
        let rights = Rights {
            signs: Some(slot),
            ..Rights::default()
        };
        let (open, cx) = self.driver(network, Operation::Fill, rights);
        self.run(open, network.driver.fill(&cx, slot, bid)).await
    }

    pub async fn broadcast(&self, network: &Network, attempt: &Attempt) -> Result<Sent, Fault> {
        let rights = Rights {
            attempt: Some(&attempt.id),
            ..Rights::default()
        };
        let (mut open, cx) = self.driver(network, Operation::Broadcast, rights);
        open.span.text("switchyard.transaction.id", &attempt.tx_id);
        self.run(open, network.driver.broadcast(&cx, attempt)).await
    }

    pub async fn observe(&self, network: &Network, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        self.observe_as(network, watches, Rights::default()).await
    }

    /// What one node shows, regardless of the others: `node` counts the network's nodes as configured, from 0.
    pub async fn observe_through(
        &self,
        network: &Network,
        watches: &[Watch],
        node: usize,
    ) -> Result<Vec<Observation>, Fault> {
        self.observe_as(network, watches, Rights::through(node)).await
    }

    pub(super) async fn observe_as(
        &self,
        network: &Network,
        watches: &[Watch],
        rights: Rights<'_>,
    ) -> Result<Vec<Observation>, Fault> {
        let (open, cx) = self.driver(network, Operation::Observe, rights);
        let call = open.guard.id();
        let observed = async {
            let mut seen = network.driver.observe(&cx, watches).await?;
            for observation in &mut seen {
                observation.node = observation.fee.and_then(|_| self.calls.node(call));
            }
            Ok(seen)
        };
        self.run(open, observed).await
    }
}
