//! Builds a running facilitator from a configuration: keys, journal, nodes, plugins, registry, engine, in that order. The
//! caller opens the port last.

mod chain;
mod journal_requirements;
mod journals;
mod network_checks;
mod plugin_references;
mod preflight;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{Config, ConfigErrors, Network as NetworkConfig};
use base::calls::CallTable;
use base::clock::{Clock, SystemClock};
use base::key_digests::KeyDigests;
use base::nodes::{NodePools, NodeState};
use base::service::NetworkReadiness;
use engine::registry::{Checked, Granted, Instance, Kind, Network, NetworkSettings, Registry, spelled};
use engine::{Budgets, Engine, Ops, Parts};
use host::custody::{Custody, KeySource, KeySpec, ProcessEnvironment};
use host::rpc::{MethodList, RpcNetwork, RpcPools};
use host::services::{FamilyMethods, HostResources, InstanceGrants, InstanceHost};
use journal::Journal;
use journal::memory::MemoryJournal;
use journal::plugin_rows::JournalRows;
use plugin_host::{self as plugin, InstanceRequest, LoadRequest, Loaded};
use telemetry::metrics::Metrics;

pub use chain::Chains;
pub use journal_requirements::missing_from_config;
pub use journals::JournalReader;
pub use preflight::{Preflight, cannot_listen, preflight};
pub use survey::{Survey, SurveyedPlugin, family};

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
#[derive(Debug)]
pub struct App {
    pub engine: Arc<Engine>,
    pub metrics: Arc<Metrics>,
    pub rpc: Arc<RpcPools>,
    /// Digests of the private keys, which no response may contain.
    pub keys: KeyDigests,
    networks: Vec<Arc<Network>>,
    ops: Ops,
}

/// What `switchyard check --ask` finds out about a network.
#[derive(Debug, Clone)]
pub struct NetworkReport {
    pub readiness: NetworkReadiness,
    /// The state of each node.
    pub nodes: Vec<NodeState>,
    /// Addresses of signers whose balance is below `max_cost`.
    pub unfunded: Vec<String>,
}

/// Loads every key of the configuration.
///
/// # Errors
/// When a key can't be loaded, with the line of its source.
pub fn load_keys(config: &Config) -> Result<Custody, ConfigErrors> {
    let specs: Vec<KeySpec> = config
        .keys
        .iter()
        .map(|(name, key)| KeySpec {
            name: name.clone(),
            suite: key.suite,
            source: key.source.clone(),
        })
        .collect();
    Custody::load(&specs, &ProcessEnvironment).map_err(|error| {
        let member = match config.keys.get(&error.key).map(|key| &key.source) {
            Some(KeySource::File(_)) => ".file",
            Some(KeySource::Env(_)) => ".env",
            None => "",
        };
        let key = format!("keys.{}{member}", error.key);
        ConfigErrors(vec![config.source.error(&key, error.why.clone())])
    })
}

impl App {
    /// Builds everything and resumes the open settlements of the journal.
    ///
    /// # Errors
    /// When something of the configuration can't be used.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        preflight::data_directory(config)?;
        let app = Self::build(config, || journals::open(config)).await?;
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
        let app = Self::build(config, || {
            Ok(Arc::new(MemoryJournal::default()) as Arc<dyn Journal>)
        })
        .await?;
        app.engine.check_everything().await;
        let reports = app.engine.readiness().into_iter().map(|readiness| NetworkReport {
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

    /// Builds everything without resuming the journal. `journal` opens it.
    async fn build(
        config: &Config,
        journal: impl FnOnce() -> Result<Arc<dyn Journal>, StartError>,
    ) -> Result<Self, StartError> {
        let survey = Survey::make(config)?;
        let custody = Arc::new(load_keys(config)?);
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
        let registry = load_plugins(config, &survey, &custody, &resources).await?;
        let networks = registry.networks().cloned().collect();
        let nodes: Arc<dyn NodePools> = Arc::<RpcPools>::clone(&rpc);
        let ops = Ops::new(calls, Arc::clone(&metrics), Budgets::default()).with_nodes(nodes);
        let parts = Parts {
            registry,
            journal,
            ops: ops.clone(),
            clock,
            metrics: Arc::clone(&metrics),
            retention: config.retention,
        };
        let engine = Engine::new(parts);
        Ok(Self {
            engine,
            metrics,
            rpc,
            keys: custody.digests(),
            networks,
            ops,
        })
    }
}

fn rpc_pools(config: &Config, metrics: &Arc<Metrics>) -> Result<RpcPools, StartError> {
    let networks = config
        .networks
        .values()
        .map(|network| RpcNetwork {
            timeout: network.rpc_timeout,
            // Leaves time for a second node after the first has used its whole timeout.
            deadline: network.rpc_timeout.saturating_mul(2),
            ..RpcNetwork::new(network.id.clone(), network.rpc.clone())
        })
        .collect();
    RpcPools::new(networks, Arc::clone(metrics) as _).map_err(|error| StartError::Other(error.to_string()))
}

async fn load_plugins(
    config: &Config,
    survey: &Survey,
    custody: &Custody,
    resources: &HostResources,
) -> Result<Registry, StartError> {
    let methods = methods(survey);
    let mut loaded: BTreeMap<String, (Arc<Instance>, Loaded)> = BTreeMap::new();
    for (number, one) in (1..).zip(&survey.instances) {
        let grants = InstanceGrants {
            instance: number,
            plugin: one.manifest.id.clone(),
            services: one.manifest.services.iter().cloned().collect(),
            methods: methods.clone(),
        };
        let host = Arc::new(InstanceHost::new(grants, resources.clone()));
        let request = LoadRequest {
            path: one.instance.file.clone(),
            pin: one.pin,
            copies: config.data_directory.join("plugins"),
            instance: InstanceRequest {
                instance_id: number,
                config: one.instance.config.clone(),
                host: Arc::clone(&host) as _,
                limits: plugin::Limits::default(),
            },
        };
        let plugin = plugin::load(request).await.map_err(|error| {
            let key = format!("plugin.{}", one.instance.name);
            StartError::Config(ConfigErrors(vec![config.source.error(&key, error.to_string())]))
        })?;
        tracing::info!(plugin = %one.manifest.id, version = %one.manifest.version, sha256 = %one.sha256, "plugin_loaded");
        let instance = Arc::new(Instance {
            id: number,
            name: one.instance.name.clone(),
            plugin: one.manifest.id.clone(),
            services: one.manifest.services.iter().cloned().collect(),
            host,
        });
        loaded.insert(one.instance.name.clone(), (instance, plugin));
    }
    register(config, survey, custody, &loaded).map_err(StartError::Other)
}

/// JSON-RPC methods by family, as the drivers' manifests list them.
fn methods(survey: &Survey) -> BTreeMap<String, FamilyMethods> {
    let mut methods = BTreeMap::new();
    for role in survey.instances.iter().flat_map(|one| &one.manifest.drivers) {
        let of = |names: &[String]| -> MethodList { names.iter().cloned().collect() };
        let family = FamilyMethods {
            reads: of(&role.rpc_reads),
            sends: of(&role.rpc_sends),
        };
        methods.insert(role.family.clone(), family);
    }
    methods
}

fn register(
    config: &Config,
    survey: &Survey,
    custody: &Custody,
    loaded: &BTreeMap<String, (Arc<Instance>, Loaded)>,
) -> Result<Registry, String> {
    let mut registry = Registry::default();
    let mut networks: BTreeMap<&str, Arc<Network>> = BTreeMap::new();
    for (id, network) in &config.networks {
        let Some(one) = survey.driver_of(id) else { continue };
        let Some((instance, plugin)) = loaded.get(&one.instance.name) else {
            continue;
        };
        let Some(driver) = plugin.drivers.get(survey::family(id)) else {
            return Err(format!(
                "{} does not export the driver that its manifest declares",
                one.manifest.id
            ));
        };
        let settings = settings(config, network, survey, custody);
        let built = Arc::new(Network::new(settings, Arc::clone(driver), Arc::clone(instance)));
        registry
            .add_network(Arc::clone(&built))
            .map_err(|error| error.to_string())?;
        networks.insert(id, built);
    }
    for one in &survey.instances {
        let Some((instance, plugin)) = loaded.get(&one.instance.name) else {
            continue;
        };
        for id in &one.networks {
            let Some(network) = networks.get(id.as_str()) else {
                continue;
            };
            for role in one.schemes(survey::family(id)) {
                let Some(handler) = plugin.schemes.get(&role.scheme) else {
                    return Err(format!(
                        "{} does not export the scheme {}",
                        one.manifest.id, role.scheme
                    ));
                };
                for version in &role.versions {
                    let kind = Kind {
                        version: *version,
                        scheme: role.scheme.clone(),
                        network: Arc::clone(network),
                        handler: Arc::clone(handler),
                        instance: Arc::clone(instance),
                        grants: role
                            .calls
                            .iter()
                            .map(|grant| Granted::of(grant, &one.instance.config, id))
                            .collect(),
                        routes: role.routes,
                        checked: Checked::default(),
                    };
                    registry
                        .add_kind(Arc::new(kind))
                        .map_err(|error| error.to_string())?;
                }
            }
        }
    }
    Ok(registry)
}

/// Time between two polls, in milliseconds, until the block time is known.
const POLL_INTERVAL_MS: u64 = 1_000;

fn settings(config: &Config, network: &NetworkConfig, survey: &Survey, custody: &Custody) -> NetworkSettings {
    let keys = |names: &[String]| {
        names
            .iter()
            .filter_map(|name| custody.public_key(name))
            .cloned()
            .collect()
    };
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let assets: Option<BTreeSet<String>> = survey.assets_of(network);
    NetworkSettings {
        id: network.id.clone(),
        confirmations: network.confirmations,
        finality: network.finality,
        poll_interval_ms: network.poll_interval.map_or(POLL_INTERVAL_MS, millis),
        follow_blocks: network.poll_interval.is_none(),
        stuck_after_ms: millis(network.stuck_after),
        max_in_flight: network.max_in_flight.map(count),
        max_batch: count(network.max_batch),
        lane_queue: count(network.lane_queue),
        max_cost: network.max_cost,
        max_cost_per_day: network.max_cost_per_day,
        max_cost_per_day_per_signer: network.max_cost_per_day_per_signer,
        tenant_max_cost_per_day: config
            .tenants
            .iter()
            .filter_map(|tenant| {
                let most = tenant.max_cost_per_day.get(&network.id)?;
                Some((tenant.access.name.clone(), *most))
            })
            .collect(),
        nodes: network.rpc.len(),
        second_source_above: network
            .second_source_above
            .iter()
            .map(|(asset, amount)| (spelled(asset), *amount))
            .collect(),
        assets,
        keys: keys(&network.signers),
        retained_keys: keys(&network.retained_signers),
        options: network.options.clone(),
    }
}
