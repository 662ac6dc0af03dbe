//! What the chains show now, through the plugins' drivers. Opens no journal and sends no transaction.

use std::sync::Arc;

use engine::Ops;
use engine::registry::Network;
use journal::Journal;
use journal::memory::MemoryJournal;
use sdk_plugin::Fault;
use sdk_plugin::chain::{Lane, LaneState, Observation, Watch};

use super::{App, StartError};
use crate::config::Config;

/// The configured networks, with their nodes checked.
#[derive(Debug)]
pub struct Chains {
    app: App,
    ops: Ops,
}

impl Chains {
    /// Loads the plugins and checks the nodes, as the running process does.
    ///
    /// # Errors
    /// When something of the configuration can't be used.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        let app = App::build(config, super::Watched::No, || {
            Ok(Arc::new(MemoryJournal::default()) as Arc<dyn Journal>)
        })
        .await?;
        app.engine.check_everything().await;
        let ops = app.ops.clone();
        Ok(Self { app, ops })
    }

    /// Every network of the configuration.
    pub fn networks(&self) -> &[Arc<Network>] {
        &self.app.networks
    }

    /// The network with this CAIP-2 id.
    #[must_use]
    pub fn network(&self, id: &str) -> Option<&Arc<Network>> {
        self.app.networks.iter().find(|network| network.id() == id)
    }

    /// Where these transactions are.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn observe(&self, network: &Network, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        self.ops.observe(network, watches).await
    }

    /// A signer's next sequence.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn lane(&self, network: &Network, lane: &Lane) -> Result<LaneState, Fault> {
        self.ops.lane(network, lane).await
    }

    /// Ends what runs in the background.
    pub fn close(&self) {
        self.app.engine.stop();
    }
}
