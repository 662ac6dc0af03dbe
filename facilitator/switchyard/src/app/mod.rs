//! Builds a running facilitator from a configuration: keys, journal, nodes, plugins, registry, engine, in that order. The
//! caller opens the port last.

pub mod admin;
pub mod aside;
mod certificates;
mod chain;
pub mod desk;
mod journal_requirements;
mod journals;
mod network_checks;
pub mod otlp;
pub mod payments;
mod plugin_references;
mod plugins;
mod preflight;
pub mod quarantine;
mod reload;
mod survey;
mod tenants;

use std::collections::BTreeSet;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, ConfigError, ConfigErrors};
use aside::AsideRecord;
use base::calls::CallTable;
use base::clock::{Clock, SystemClock};
use base::key_digests::KeyDigests;
use base::nodes::{NodePools, NodeState};
use base::service::NetworkReadiness;
use engine::measure::SignerFigures;
use engine::registry::Network;
use engine::{Budgets, Engine, Ops, Parts};
use host::custody::{Custody, CustodyError, KeySource, KeySpec, ProcessEnvironment};
use host::rpc::{RpcNetwork, RpcPools};
use host::services::HostResources;
use journal::Journal;
use journal::memory::MemoryJournal;
use journal::plugin_rows::JournalRows;
use parking_lot::Mutex;
use quarantine::Quarantine;
use reload::{Reloader, Watch};
use telemetry::metrics::Metrics;
use tokio::sync::watch;

pub use certificates::Certificates;
pub use chain::Chains;
pub use journal_requirements::{missing_from_config, plugins_not_configured};
pub use journals::{JournalReader, open_for_command};
pub use preflight::{Preflight, cannot_listen, preflight};
pub use reload::Report;
pub use survey::{Survey, SurveyedPlugin, family};
pub use tenants::{random_text, with_added};

/// How long a reload waits for the checks of what it has replaced.
const CHECK_AFTER_RELOAD: Duration = Duration::from_secs(10);

/// Why the facilitator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has errors, also in what it refers to.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The journal, the plugins or the nodes can't be used.
    #[error("{0}")]
    Other(String),
}

/// A facilitator whose port is not open yet.
pub struct App {
    pub engine: Arc<Engine>,
    pub metrics: Arc<Metrics>,
    pub rpc: Arc<RpcPools>,
    /// Digests of the private keys, which no response may contain.
    pub keys: KeyDigests,
    /// Of the listeners.
    pub certificates: Certificates,
    journal: Arc<dyn Journal>,
    networks: Vec<Arc<Network>>,
    ops: Ops,
    reloader: Reloader,
    /// Dropped when the process ends in order.
    quarantine: Arc<Mutex<Option<Quarantine>>>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// Whether what plugins do to the process is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Yes,
    No,
}

/// What `switchyard check --ask` finds out about a network.
#[derive(Debug, Clone)]
pub struct NetworkReport {
    pub readiness: NetworkReadiness,
    /// The state of each node.
    pub nodes: Vec<NodeState>,
    /// Every signer, with its balance.
    pub signers: Vec<SignerFigures>,
    /// Addresses of signers whose balance is below `max_cost`.
    pub unfunded: Vec<String>,
}

/// Loads every key of the configuration.
///
/// # Errors
/// When a key can't be loaded, with the line of its source.
pub async fn load_keys(config: &Config) -> Result<Custody, ConfigErrors> {
    let specs: Vec<KeySpec> = config
        .keys
        .iter()
        .map(|(name, key)| KeySpec {
            name: name.clone(),
            suite: key.suite,
            source: key.source.clone(),
            max_signatures_per_minute: key.max_signatures_per_minute,
        })
        .collect();
    let custody = Custody::open(&specs, &ProcessEnvironment).await;
    custody.map_err(|error| ConfigErrors(vec![key_error(config, &error)]))
}

/// An error of a key, with the line of its source.
pub fn key_error(config: &Config, error: &CustodyError) -> ConfigError {
    let member = match config.keys.get(&error.key).map(|key| &key.source) {
        Some(KeySource::File(_)) => ".file",
        Some(KeySource::Env(_)) => ".env",
        Some(KeySource::Keystore(..)) => ".keystore",
        Some(KeySource::Remote(_)) => ".remote",
        None => "",
    };
    let key = format!("keys.{}{member}", error.key);
    config.source.error(&key, error.why.clone())
}

impl App {
    /// Builds everything and resumes the open settlements of the journal.
    ///
    /// # Errors
    /// When something of the configuration can't be used.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let certificates = Certificates::load(config)?;
        preflight::data_directory(config)?;
        let mut app = Self::build(config, Watched::Yes, || journals::open(config)).await?;
        app.certificates = certificates;
        let engine = &app.engine;
        engine.read_pauses(&config.data_directory).await;
        if config
            .tenants
            .iter()
            .any(|tenant| tenant.access.reserve_at_verify.is_some())
        {
            engine.expect_reservations();
        }
        if let Err(error) = engine.resume().await {
            engine.stop();
            return Err(StartError::Other(error.to_string()));
        }
        if let Err(why) = engine.take_allowed(&config.data_directory).await {
            tracing::error!(why, "allowed_releases_not_applied: they stay withheld");
        }
        if let Err(error) = engine.report_withheld().await {
            engine.stop();
            return Err(StartError::Other(error.to_string()));
        }
        engine.watch_operators(&config.data_directory);
        Ok(app)
    }

    /// Loads the plugins and checks nodes, drivers and schemes. Opens no journal and sends no transaction.
    ///
    /// # Errors
    /// When something of the configuration can't be used.
    pub async fn check_readiness(config: &Config) -> Result<Vec<NetworkReport>, StartError> {
        let app = Self::build(config, Watched::No, || {
            Ok(Arc::new(MemoryJournal::default()) as Arc<dyn Journal>)
        })
        .await?;
        app.engine.check_everything().await;
        let mut figures = app.engine.figures();
        let mut signers_on = |network: &str| {
            let found = figures.iter_mut().find(|figures| figures.network == network);
            found
                .map(|figures| mem::take(&mut figures.signers))
                .unwrap_or_default()
        };
        let reports = app.engine.readiness().into_iter().map(|readiness| NetworkReport {
            signers: signers_on(&readiness.network),
            nodes: app.rpc.nodes(&readiness.network),
            unfunded: app.unfunded(&readiness.network),
            readiness,
        });
        let reports = reports.collect();
        app.engine.stop();
        Ok(reports)
    }

    /// Active signers of a network whose balance is below `max_cost`.
    fn unfunded(&self, network: &str) -> Vec<String> {
        let Some(network) = self.networks.iter().find(|known| known.id() == network) else {
            return Vec::new();
        };
        let able: BTreeSet<String> = network.lanes().into_iter().map(|lane| lane.signer).collect();
        let signers = network.active_signers().into_iter();
        signers.filter(|signer| !able.contains(signer)).collect()
    }

    /// Records that the process serves from now on: a plugin that ends it later is loaded once more.
    pub fn serves(&self) {
        if let Some(quarantine) = &*self.quarantine.lock() {
            quarantine.serves();
        }
    }

    /// The tenants, now and after each reload.
    #[must_use]
    pub fn tenants(&self) -> watch::Receiver<Vec<http_api::Tenant>> {
        self.reloader.tenants()
    }

    /// Reads the file, and the tenants that were added, again, and replaces tenants only.
    ///
    /// # Errors
    /// The file has errors: nothing was replaced.
    async fn replace_tenants(&self) -> Result<(), String> {
        self.reloader.reload_tenants().await
    }

    /// Replaces plugins and tenants by those of the configuration file as it is now, and certificates by what their files have.
    ///
    /// # Errors
    /// The file has errors: nothing was replaced.
    pub async fn reload(&self) -> Result<Report, String> {
        let mut report = self.reloader.reload().await?;
        self.certificates.reload(&mut report);
        // A node that does not answer must not keep the operator waiting.
        let _ = tokio::time::timeout(CHECK_AFTER_RELOAD, self.engine.check_everything()).await;
        Ok(report)
    }

    /// Builds everything without resuming the journal. `journal` opens it.
    async fn build(
        config: &Config,
        watched: Watched,
        journal: impl FnOnce() -> Result<Arc<dyn Journal>, StartError>,
    ) -> Result<Self, StartError> {
        let survey = Survey::make(config)?;
        let custody = Arc::new(load_keys(config).await?);
        let metrics = Arc::new(Metrics::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let journal = journal()?;
        journal_requirements::check(&*journal, config, &survey, clock.now_s()).await?;
        let rpc = Arc::new(rpc_pools(config, &metrics)?);
        let calls = Arc::new(CallTable::default());
        let rows = Arc::new(JournalRows::new(Arc::clone(&journal), Arc::clone(&clock)));
        let resources = HostResources {
            rpc: Arc::clone(&rpc),
            custody: Arc::clone(&custody),
            calls: Arc::clone(&calls),
            attempts: Arc::clone(&rows) as _,
            store: Arc::clone(&rows) as _,
            jobs: rows,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        };
        // The journal is open: no other process has this directory.
        let mut quarantine = match watched {
            Watched::Yes => Some(Quarantine::begin(&plugin_folder(config), &*clock)),
            Watched::No => None,
        };
        let aside = match watched {
            Watched::Yes => Some(AsideRecord::begin(&plugin_folder(config), &calls)),
            Watched::No => None,
        };
        if let Some(aside) = &aside {
            for (number, one) in (1..).zip(&survey.instances) {
                aside.follow(
                    number,
                    &one.instance.name,
                    &one.sha256.to_string(),
                    clock.now_ms(),
                );
            }
        }
        let (registry, serving) =
            plugins::load(config, &survey, &custody, &resources, quarantine.as_mut()).await?;
        let quarantine = Arc::new(Mutex::new(quarantine));
        let watch = Watch {
            quarantine: Arc::clone(&quarantine),
            aside,
            clock: Arc::clone(&clock),
        };
        let reloader = Reloader::new(config, serving, Arc::clone(&metrics), watch);
        let networks = registry.networks().cloned().collect();
        let nodes: Arc<dyn NodePools> = Arc::<RpcPools>::clone(&rpc);
        let ops = Ops::new(calls, Arc::clone(&metrics), Budgets::default())
            .with_nodes(nodes)
            .with_signers(Arc::<Custody>::clone(&custody));
        let parts = Parts {
            registry,
            journal: Arc::clone(&journal),
            ops: ops.clone(),
            clock,
            metrics: Arc::clone(&metrics),
            retention: config.retention,
        };
        let engine = Engine::new(parts);
        Ok(Self {
            engine,
            journal,
            metrics,
            rpc,
            keys: custody.digests(),
            certificates: Certificates::default(),
            networks,
            ops,
            reloader,
            quarantine,
        })
    }
}

/// Where the files about plugins are, and the copies that are loaded.
pub fn plugin_folder(config: &Config) -> PathBuf {
    plugin_folder_in(&config.data_directory)
}

/// The same in a data directory.
pub fn plugin_folder_in(data_directory: &Path) -> PathBuf {
    data_directory.join("plugins")
}

fn rpc_pools(config: &Config, metrics: &Arc<Metrics>) -> Result<RpcPools, StartError> {
    let networks = config
        .networks
        .values()
        .filter(|network| network.has_chain)
        .map(|network| RpcNetwork {
            timeout: network.rpc_timeout,
            // Leaves time for a second node after the first has used its whole timeout.
            deadline: network.rpc_timeout.saturating_mul(2),
            traceparent: config.telemetry.traceparent_to_nodes,
            ..RpcNetwork::new(network.id.clone(), network.rpc.clone())
        })
        .collect();
    RpcPools::new(networks, Arc::clone(metrics) as _).map_err(|error| StartError::Other(error.to_string()))
}
