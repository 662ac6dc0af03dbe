//! From the configuration's plugin sections to the registry of what is served. A plugin that is in quarantine runs in a process of
//! its own. One that does not load or does not start has handlers all the same, each of which says why it does not run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::calls::CallTable;
use base::service::RouteTerms;
use engine::registry::{Checked, Granted, Instance, Kind, Network, NetworkSettings, Registry, spelled};
use futures_util::future::join_all;
use host::custody::Custody;
use host::rpc::MethodList;
use host::services::{FamilyMethods, HostResources, InstanceGrants, InstanceHost};
use plugin_host::{
    self as plugin, InstanceRequest, Isolation, LoadRequest, Loaded, RunnerSettings, Sandbox, Slot,
};
use sdk_plugin::host::Authorizer;
use sdk_plugin::manifest::{SchemeRole, Uniqueness};

use super::quarantine::{Quarantine, Running};
use super::survey::{Survey, SurveyedPlugin, family};
use super::{StartError, plugin_folder};
use crate::config::{Config, ConfigErrors, Network as NetworkConfig};

/// An instance that serves, whether its plugin runs or not.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) plugin: SurveyedPlugin,
    pub(super) host: Arc<InstanceHost>,
    /// What the registry calls.
    pub(super) slot: Arc<Slot>,
    /// Counts its reloads, from 1.
    pub(super) generation: u32,
    pub(super) instance: Arc<Instance>,
    /// Why it does not run, for those who may not read the log.
    pub(super) trouble: Option<String>,
    /// It runs in a process of its own.
    pub(super) runs_apart: bool,
    pub(super) calls: Arc<CallTable>,
}

pub(super) async fn load(
    config: &Config,
    survey: &Survey,
    custody: &Custody,
    resources: &HostResources,
    mut quarantine: Option<&mut Quarantine>,
) -> Result<(Registry, Vec<Serving>), StartError> {
    let methods = methods(survey);
    let mut loaded: Vec<Serving> = Vec::new();
    if let Some(quarantine) = quarantine.as_deref_mut() {
        let running = (1..).zip(&survey.instances).map(|(id, one)| Running {
            id,
            name: one.instance.name.clone(),
            sha256: one.sha256.to_string(),
            code: Vec::new(),
        });
        quarantine.record(running.collect());
    }
    let prepared: Vec<Prepared<'_>> = (1..)
        .zip(&survey.instances)
        .map(|(number, one)| {
            let grants = InstanceGrants {
                instance: number,
                plugin: one.manifest.id.clone(),
                services: one.manifest.services.iter().cloned().collect(),
                methods: methods.clone(),
                authorizers: one.instance.authorizers.clone(),
            };
            let blame = quarantine
                .as_deref()
                .and_then(|quarantine| quarantine.why(&one.instance.name, &one.sha256.to_string()));
            Prepared {
                number,
                one,
                host: Arc::new(InstanceHost::new(grants, resources.clone())),
                isolation: isolation(one, blame.as_deref()),
                blame,
            }
        })
        .collect();
    let mut plugins = load_all(config, &prepared, resources).await?;
    for Prepared {
        number,
        one,
        host,
        blame,
        isolation,
    } in prepared
    {
        let plugin = plugins.remove(&number);
        let plugin = plugin.unwrap_or_else(|| Err("it was not loaded".to_owned()));
        let plugin = plugin.map_err(|why| match &blame {
            Some(blame) => format!("{blame}; in a process of its own it does not run either: {why}"),
            None => why,
        });
        let instance = Arc::new(Instance {
            id: number,
            name: one.instance.name.clone(),
            plugin: one.manifest.id.clone(),
            services: one.manifest.services.iter().cloned().collect(),
            host: Arc::<InstanceHost>::clone(&host),
            authorizers: authorizers(one, custody),
        });
        let (mut trouble, runs_apart) = (None, matches!(isolation, Isolation::Process(_)));
        let handlers = match plugin {
            Ok(plugin) => {
                if let Some(quarantine) = quarantine.as_deref_mut() {
                    quarantine.record_code(number, plugin.code);
                }
                tracing::info!(plugin = %one.manifest.id, instance = one.instance.name, version = %one.manifest.version, sha256 = %one.sha256, "plugin_loaded");
                plugin::Handlers {
                    schemes: plugin.schemes,
                    drivers: plugin.drivers,
                }
            }
            Err(why) => {
                tracing::error!(plugin = %one.manifest.id, instance = one.instance.name, sha256 = %one.sha256,
                    "plugin_not_loaded: nothing of it is served, and its recorded payments wait: {why}");
                // Its reason has paths and texts of the plugin: those who read a fault or /ready may not read the log.
                let sentence = does_not_run(&one.instance.name);
                trouble = Some(sentence.clone());
                plugin::absent(&one.manifest, &sentence)
            }
        };
        loaded.push(Serving {
            plugin: one.clone(),
            host,
            slot: Slot::new(handlers),
            generation: 1,
            instance,
            trouble,
            runs_apart,
            calls: Arc::clone(&resources.calls),
        });
    }
    let registry = register(config, survey, custody, &loaded).map_err(StartError::Other)?;
    Ok((registry, loaded))
}

fn does_not_run(name: &str) -> String {
    format!("plugin.{name} does not run: the log says why at plugin_not_loaded")
}

/// An instance before its file is loaded.
struct Prepared<'a> {
    number: u64,
    one: &'a SurveyedPlugin,
    host: Arc<InstanceHost>,
    isolation: Isolation,
    blame: Option<String>,
}

/// Loads the files, those with processes of their own all at once: one that hangs there keeps no other waiting. In this process
/// they are loaded one after the other, so that what one of them changes is put back before the next.
async fn load_all(
    config: &Config,
    prepared: &[Prepared<'_>],
    resources: &HostResources,
) -> Result<BTreeMap<u64, Result<Loaded, String>>, StartError> {
    let load = |one: &Prepared<'_>| {
        let host = (Arc::clone(&one.host), Arc::clone(&resources.calls));
        let (number, isolation) = (one.number, one.isolation.clone());
        let surveyed = one.one.clone();
        async move {
            let loaded = load_one(config, &surveyed, number, host, isolation).await;
            loaded.map(|loaded| (number, loaded))
        }
    };
    let (isolated, others): (Vec<_>, Vec<_>) = prepared
        .iter()
        .partition(|one| matches!(one.isolation, Isolation::Process(_)));
    let in_order = async {
        let mut loaded = Vec::new();
        for one in others {
            loaded.push(load(one).await);
        }
        loaded
    };
    let (isolated, others) = tokio::join!(join_all(isolated.into_iter().map(load)), in_order);
    isolated.into_iter().chain(others).collect()
}

fn authorizers(one: &SurveyedPlugin, custody: &Custody) -> Vec<Authorizer> {
    let granted = one.instance.authorizers.iter();
    let known = granted.filter_map(|(key, domains)| {
        Some(Authorizer {
            key: key.clone(),
            public_key: custody.public_key(key)?.public_key.clone(),
            domains: domains.clone(),
        })
    });
    known.collect()
}

/// Where an instance's code runs. Not in this process, where it has ended the last one.
pub(super) fn isolation(one: &SurveyedPlugin, blame: Option<&str>) -> Isolation {
    let runner = one.instance.runner.clone();
    match blame {
        Some(blame) if !one.is_isolated() => {
            tracing::warn!(plugin = %one.manifest.id, "plugin_isolated: {blame}");
            // Without a part of the sandbox it still ends only its own process.
            Isolation::Process(RunnerSettings {
                sandbox: Sandbox::Partial,
                ..runner
            })
        }
        Some(_) | None if one.is_isolated() => Isolation::Process(runner),
        Some(_) | None => Isolation::None,
    }
}

/// Loads an instance's file. The inner error says why its kinds are not served; with `strict` nothing is.
async fn load_one(
    config: &Config,
    one: &SurveyedPlugin,
    number: u64,
    host: (Arc<InstanceHost>, Arc<CallTable>),
    isolation: Isolation,
) -> Result<Result<Loaded, String>, StartError> {
    match plugin::load(request(config, one, number, host, isolation)).await {
        Ok(loaded) => Ok(Ok(loaded)),
        Err(error) if config.plugins.strict => {
            let key = format!("plugin.{}", one.instance.name);
            Err(ConfigErrors(vec![config.source.error(&key, error.to_string())]).into())
        }
        Err(error) => Ok(Err(error.to_string())),
    }
}

pub(super) fn request(
    config: &Config,
    one: &SurveyedPlugin,
    instance_id: u64,
    (host, calls): (Arc<InstanceHost>, Arc<CallTable>),
    isolation: Isolation,
) -> LoadRequest {
    LoadRequest {
        path: one.instance.file.clone(),
        pin: one.pin,
        libraries: one.instance.libraries.clone(),
        copies: plugin_folder(config),
        isolation,
        instance: InstanceRequest {
            instance_id,
            config: one.instance.config.clone(),
            host,
            limits: plugin::Limits::default(),
            calls,
        },
    }
}

/// What a scheme of an instance may call on a network.
pub(super) fn granted(role: &SchemeRole, one: &SurveyedPlugin, network: &str) -> Vec<Granted> {
    let config = &one.instance.config;
    let grants = role.calls.iter();
    grants.map(|grant| Granted::of(grant, config, network)).collect()
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
    loaded: &[Serving],
) -> Result<Registry, String> {
    let named = |name: &str| loaded.iter().find(|serving| serving.plugin.instance.name == name);
    let mut registry = Registry::default();
    let mut networks: BTreeMap<&str, Arc<Network>> = BTreeMap::new();
    for (id, network) in &config.networks {
        let Some(one) = survey.driver_of(id).or_else(|| survey.scheme_of(id)) else {
            continue;
        };
        let Some(plugin) = named(&one.instance.name) else {
            continue;
        };
        let instance = &plugin.instance;
        let settings = settings(config, network, survey, custody);
        let built = if network.has_chain {
            let handlers = plugin.slot.handlers();
            let Some(driver) = handlers.drivers.get(family(id)) else {
                return Err(format!(
                    "{} does not export the driver that its manifest declares",
                    one.manifest.id
                ));
            };
            Network::new(settings, Arc::clone(driver), Arc::clone(instance))
        } else {
            Network::without_chain(settings, Arc::clone(instance))
        };
        let built = Arc::new(built);
        registry
            .add_network(Arc::clone(&built))
            .map_err(|error| error.to_string())?;
        networks.insert(id, built);
    }
    for one in &survey.instances {
        let Some(plugin) = named(&one.instance.name) else {
            continue;
        };
        let instance = &plugin.instance;
        let handlers = plugin.slot.handlers();
        for id in &one.networks {
            let Some(network) = networks.get(id.as_str()) else {
                continue;
            };
            for role in one.schemes(family(id)) {
                let Some(handler) = handlers.schemes.get(&role.scheme) else {
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
                        grants: granted(role, one, id),
                        routes: role.routes.then(|| RouteTerms {
                            without_network: role.routes_without_network.clone(),
                            headers: role.route_headers.clone(),
                        }),
                        payload_authorizes: role.payload_authorizes,
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
        replay_keys: survey.uniqueness_on(&network.id) == Uniqueness::ReplayKeys,
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
