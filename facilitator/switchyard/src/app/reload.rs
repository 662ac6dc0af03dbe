//! Replaces plugins and tenants of a running process by those of the configuration file as it is now. Each plugin is replaced alone:
//! it is copied, loaded, created, started and checked before it serves, and a failure keeps the one that serves. What else has
//! changed in the file is listed: it takes effect at the next start.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use admin_api::view::Plugin;
use base::clock::Clock;
use http_api::Tenant;
use parking_lot::{Mutex, RwLock};
use plugin_host::{self as plugin, Isolation};
use telemetry::Metrics;
use tokio::sync::watch;

use super::aside::AsideRecord;
use super::plugins::{Serving, granted, isolation, request};
use super::quarantine::{Quarantine, Running};
use super::survey::{Survey, SurveyedPlugin, family};
use super::tenants::with_added;
use crate::config::{Config, PluginInstance};

/// Instances of reloads have ids above these of the start.
const FIRST_ID: u64 = 1 << 32;

/// What a reload did, one sentence each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub done: Vec<String>,
    /// What was not replaced, and why.
    pub failed: Vec<String>,
}

/// What can be reloaded.
#[derive(Debug)]
pub(super) struct Reloader {
    file: PathBuf,
    metrics: Arc<Metrics>,
    watch: Watch,
    tenants: watch::Sender<Vec<Tenant>>,
    /// What operators see of the plugins. A reload holds the state for long.
    shown: RwLock<Vec<Plugin>>,
    /// One reload at a time.
    state: tokio::sync::Mutex<State>,
}

/// What is recorded of plugins that end a process.
pub(super) struct Watch {
    pub(super) quarantine: Arc<Mutex<Option<Quarantine>>>,
    pub(super) aside: Option<Arc<AsideRecord>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    config: Config,
    /// The file's text at the start, where it could be read again.
    text: Option<toml::Table>,
    serving: Vec<Serving>,
    next_id: u64,
}

impl Reloader {
    pub(super) fn new(config: &Config, serving: Vec<Serving>, metrics: Arc<Metrics>, watch: Watch) -> Self {
        let file = PathBuf::from(&config.source.file);
        let (tenants, _) = tokio::sync::watch::channel(config.http().tenants);
        for one in &serving {
            measure(&metrics, one);
        }
        Self {
            metrics,
            watch,
            tenants,
            shown: RwLock::new(serving.iter().map(shown).collect()),
            state: tokio::sync::Mutex::new(State {
                config: config.clone(),
                text: table(&file),
                serving,
                next_id: FIRST_ID,
            }),
            file,
        }
    }

    /// The tenants, now and after each reload.
    pub(super) fn tenants(&self) -> watch::Receiver<Vec<Tenant>> {
        self.tenants.subscribe()
    }

    /// Reads the file again, and replaces what has changed.
    ///
    /// # Errors
    /// The file, or a plugin file that it names, has errors: nothing was replaced.
    pub(super) async fn reload(&self) -> Result<Report, String> {
        let mut state = self.state.lock().await;
        let config = self.read()?;
        let read = config.clone();
        let survey = tokio::task::spawn_blocking(move || Survey::make(&read)).await;
        let survey = survey
            .map_err(|error| error.to_string())?
            .map_err(|errors| errors.to_string())?;
        let mut report = Report::default();
        self.plugins(&mut state, &config, &survey, &mut report).await;
        *self.shown.write() = state.serving.iter().map(shown).collect();
        if let Some(aside) = &self.watch.aside {
            for one in &state.serving {
                let (name, sha256) = (&one.plugin.instance.name, one.plugin.sha256.to_string());
                aside.follow(one.instance.id, name, &sha256, self.watch.clock.now_ms());
            }
        }
        self.replace_tenants(&state, &config, &mut report);
        if let (Some(before), Some(now)) = (&state.text, table(&self.file)) {
            report.done.extend(later(before, &now));
        }
        state.config = config;
        Ok(report)
    }

    /// Reads the file again, and replaces tenants only.
    ///
    /// # Errors
    /// The file has errors, or what was added can't be read: nothing was replaced.
    pub(super) async fn reload_tenants(&self) -> Result<(), String> {
        let mut state = self.state.lock().await;
        let config = self.read()?;
        let mut report = Report::default();
        self.replace_tenants(&state, &config, &mut report);
        if let Some(why) = report.failed.pop() {
            return Err(why);
        }
        state.config.tenants = config.tenants;
        Ok(())
    }

    fn read(&self) -> Result<Config, String> {
        let config = Config::load(&self.file).map_err(|errors| errors.to_string())?;
        with_added(config)
    }

    /// What operators see of the plugins: as of the last change.
    pub(super) fn plugins_shown(&self) -> Vec<Plugin> {
        self.shown.read().clone()
    }

    async fn plugins(&self, state: &mut State, config: &Config, survey: &Survey, report: &mut Report) {
        let State { serving, next_id, .. } = state;
        for one in serving.iter_mut() {
            let name = one.plugin.instance.name.clone();
            let Some(new) = survey.instances.iter().find(|new| new.instance.name == name) else {
                report.done.push(format!(
                    "plugin.{name} is no longer in the file: it ends with this process"
                ));
                continue;
            };
            // One that does not run is tried again: a disk that was full at the start has room by now.
            if is_same(&one.plugin, new) && one.trouble.is_none() {
                continue;
            }
            *next_id = next_id.saturating_add(1);
            match self.replace(config, one, new, *next_id).await {
                Ok(()) => {
                    measure(&self.metrics, one);
                    let (manifest, generation) = (&new.manifest, one.generation);
                    tracing::info!(plugin = %manifest.id, version = %manifest.version, sha256 = %new.sha256, generation, "plugin_reloaded");
                    report.done.push(format!(
                        "plugin.{name} is now {} {}, generation {generation}",
                        manifest.id, manifest.version
                    ));
                }
                Err(why) => {
                    tracing::error!(plugin = %new.manifest.id, sha256 = %new.sha256, "plugin_not_reloaded: nothing was replaced: {why}");
                    report
                        .failed
                        .push(format!("plugin.{name} was not replaced: {why}"));
                }
            }
        }
        let known: BTreeSet<&str> = serving
            .iter()
            .map(|one| one.plugin.instance.name.as_str())
            .collect();
        let added = survey.instances.iter().map(|new| new.instance.name.as_str());
        for name in added.filter(|name| !known.contains(name)) {
            report
                .done
                .push(format!("plugin.{name} is new: it is loaded at the next start"));
        }
    }

    async fn replace(
        &self,
        config: &Config,
        one: &mut Serving,
        new: &SurveyedPlugin,
        id: u64,
    ) -> Result<(), String> {
        fits(&one.plugin, new)?;
        let blame = {
            let mut quarantine = self.watch.quarantine.lock();
            let quarantine = quarantine.as_mut();
            quarantine.and_then(|quarantine| {
                quarantine.add(Running {
                    id,
                    name: new.instance.name.clone(),
                    sha256: new.sha256.to_string(),
                    code: Vec::new(),
                });
                quarantine.why(&new.instance.name, &new.sha256.to_string())
            })
        };
        let isolation = isolation(new, blame.as_deref());
        let host = (Arc::clone(&one.host), Arc::clone(&one.calls));
        let request = request(config, new, id, host, isolation.clone());
        let loaded = plugin::load(request).await.map_err(|error| error.to_string())?;
        let health = loaded.health.check().await.map_err(|fault| fault.message)?;
        if !health.healthy {
            return Err(health.message.unwrap_or_else(|| "it is not healthy".to_owned()));
        }
        if let Some(quarantine) = self.watch.quarantine.lock().as_mut() {
            quarantine.record_code(id, loaded.code);
        }
        // The instance before ends with the last of its calls.
        drop(one.slot.replace(plugin::Handlers {
            schemes: loaded.schemes,
            drivers: loaded.drivers,
        }));
        one.plugin = new.clone();
        one.trouble = None;
        one.runs_apart = matches!(isolation, Isolation::Process(_));
        one.generation = one.generation.saturating_add(1);
        Ok(())
    }

    fn replace_tenants(&self, state: &State, config: &Config, report: &mut Report) {
        let (before, now) = (&state.config.tenants, &config.tenants);
        if before.is_empty() != now.is_empty() {
            report
                .failed
                .push("tenants were not replaced: the first and the last one need a start".to_owned());
            return;
        }
        let new = config.http().tenants;
        let mut lines = Vec::new();
        for tenant in now {
            let name = &tenant.access.name;
            let known = before.iter().find(|old| old.access.name == *name);
            match known {
                None => lines.push(format!("tenant {name} is new")),
                Some(old) if old.access != tenant.access => lines.push(format!("tenant {name} has changed")),
                Some(_) => {}
            }
            if known.map(|old| &old.max_cost_per_day) != Some(&tenant.max_cost_per_day)
                && !(known.is_none() && tenant.max_cost_per_day.is_empty())
            {
                lines.push(format!(
                    "max_cost_per_day of tenant {name} takes effect at the next start"
                ));
            }
        }
        for old in before {
            let is_gone = !now.iter().any(|tenant| tenant.access.name == old.access.name);
            if is_gone {
                lines.push(format!(
                    "tenant {} is gone: its keys are refused. The next start still needs its section while a payment of it is open \
                     or held",
                    old.access.name
                ));
            }
        }
        if !lines.is_empty() {
            tracing::info!(tenants = now.len(), "tenants_reloaded");
            self.tenants.send_replace(new);
        }
        report.done.extend(lines);
    }
}

fn shown(one: &Serving) -> Plugin {
    let (instance, manifest) = (&one.plugin.instance, &one.plugin.manifest);
    Plugin {
        name: instance.name.clone(),
        id: manifest.id.clone(),
        version: manifest.version.to_string(),
        sha256: one.plugin.sha256.to_string(),
        networks: one.plugin.networks.clone(),
        generation: one.generation,
        running: one.trouble.is_none(),
        trouble: one.trouble.clone(),
        isolated: one.runs_apart,
        quarantine: None,
    }
}

fn measure(metrics: &Metrics, one: &Serving) {
    let labels = [("plugin", one.plugin.instance.name.as_str())];
    metrics.set("switchyard_plugin_generation", &labels, f64::from(one.generation));
}

/// Whether an instance would be loaded as it is.
fn is_same(before: &SurveyedPlugin, now: &SurveyedPlugin) -> bool {
    let of = |one: &SurveyedPlugin| {
        let PluginInstance {
            name: _,
            file: _,
            sha256: _,
            libraries,
            networks: _,
            authorizers: _,
            config,
            is_isolated: _,
            runner,
        } = one.instance.clone();
        (one.sha256, libraries, config, one.is_isolated(), runner)
    };
    of(before) == of(now) && before.networks == now.networks
}

/// Refuses what the registry can't take over while it serves.
fn fits(before: &SurveyedPlugin, now: &SurveyedPlugin) -> Result<(), String> {
    let differs = |what: &str| Err(format!("{what}: that needs a start of the process"));
    let (old, new) = (&before.manifest, &now.manifest);
    if old.id != new.id {
        return differs("the file is of another plugin");
    }
    let as_set = |services: &[String]| services.iter().cloned().collect::<BTreeSet<_>>();
    if as_set(&old.services) != as_set(&new.services) {
        return differs("it wants other host services");
    }
    if before.instance.authorizers != now.instance.authorizers {
        return differs("it may sign with other keys or for other domains");
    }
    if before.networks != now.networks {
        return differs("it serves other networks");
    }
    let roles = |one: &SurveyedPlugin| {
        let mut roles = one.manifest.clone();
        for role in &mut roles.schemes {
            role.calls.clear();
        }
        (roles.drivers, roles.schemes)
    };
    if roles(before) != roles(now) {
        return differs("its drivers or schemes are declared differently");
    }
    for network in &now.networks {
        let grants = |one: &SurveyedPlugin| -> Vec<_> {
            let roles = one.schemes(family(network));
            roles.map(|role| granted(role, one, network)).collect()
        };
        if grants(before) != grants(now) {
            return differs(&format!("it may call other targets on {network}"));
        }
    }
    Ok(())
}

fn table(file: &std::path::Path) -> Option<toml::Table> {
    std::fs::read_to_string(file).ok()?.parse().ok()
}

/// What a reload does not replace.
fn later(before: &toml::Table, now: &toml::Table) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    names
        .into_iter()
        .filter(|name| !["plugin", "tenants"].contains(&name.as_str()))
        .filter(|name| before.get(*name) != now.get(*name))
        .map(|name| format!("[{name}] has changed: it takes effect at the next start"))
        .collect()
}
