//! Determines what a configuration serves, without running plugin code: each file's manifest and pin, its configuration
//! checked against the manifest's schema, and which instance serves which network and kind.

use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::host::Suite;
use sdk_plugin::manifest::{DriverRole, KnownAsset, Manifest, SchemeRole, Uniqueness};

use super::{network_checks, plugin_references};
use crate::config::{Assets, Config, ConfigError, ConfigErrors, Network, PluginInstance};
use engine::registry::spelled;
use plugin_host::{self as plugin, Pin, Sha256Digest, TrustedKey};

/// One `[plugin.NAME]` with its file's manifest.
#[derive(Debug, Clone)]
pub struct SurveyedPlugin {
    /// The section as configured.
    pub instance: PluginInstance,
    pub manifest: Manifest,
    pub sha256: Sha256Digest,
    /// With which it is loaded.
    pub pin: Pin,
    /// The trusted key that signed the file.
    pub signed_by: Option<TrustedKey>,
    /// Configured networks that it serves, with a driver or a scheme.
    pub networks: Vec<String>,
}

impl SurveyedPlugin {
    /// Whether it runs in a process of its own: as configured, and else where no trusted key signed its file.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.instance.is_isolated.unwrap_or(self.signed_by.is_none())
    }

    /// Its driver for networks of this family.
    #[must_use]
    pub fn driver(&self, family: &str) -> Option<&DriverRole> {
        self.manifest.drivers.iter().find(|role| role.family == family)
    }

    /// Its schemes on networks of this family.
    pub fn schemes<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a SchemeRole> {
        self.manifest
            .schemes
            .iter()
            .filter(move |role| role.family == family)
    }
}

/// All instances, in the order of their names.
#[derive(Debug, Clone)]
pub struct Survey {
    pub instances: Vec<SurveyedPlugin>,
}

/// The namespace of a CAIP-2 id.
#[must_use]
pub fn family(network: &str) -> &str {
    network.split(':').next().unwrap_or_default()
}

impl Survey {
    /// Reads every plugin file. Blocks the thread.
    ///
    /// # Errors
    /// All errors of plugin files and their configuration.
    pub fn make(config: &Config) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut instances = Vec::new();
        for instance in config.plugin.values() {
            match survey_one(config, instance) {
                Ok(surveyed) => instances.push(surveyed),
                Err(found) => errors.extend(found),
            }
        }
        let survey = Self { instances };
        if errors.is_empty() {
            errors.extend(survey.conflicts(config));
            errors.extend(network_checks::network_errors(config, &survey));
            errors.extend(network_checks::untrusted_schemes(config, &survey));
            errors.extend(plugin_references::reference_errors(config, &survey));
        }
        if errors.is_empty() {
            Ok(survey)
        } else {
            Err(ConfigErrors(errors))
        }
    }

    /// The instance whose driver serves the network.
    #[must_use]
    pub fn driver_of(&self, network: &str) -> Option<&SurveyedPlugin> {
        self.instances
            .iter()
            .find(|one| one.networks.iter().any(|id| id == network) && one.driver(family(network)).is_some())
    }

    /// The first instance with a scheme for the network.
    #[must_use]
    pub fn scheme_of(&self, network: &str) -> Option<&SurveyedPlugin> {
        self.instances.iter().find(|one| {
            one.networks.iter().any(|id| id == network) && one.schemes(family(network)).next().is_some()
        })
    }

    /// Assets accepted on a network, or `None` for any.
    #[must_use]
    pub fn assets_of(&self, network: &Network) -> Option<BTreeSet<String>> {
        let Assets::KnownAnd(more) = &network.assets else {
            return None;
        };
        let known = self.known_assets(&network.id).map(|known| spelled(&known.asset));
        Some(known.chain(more.iter().map(|asset| spelled(asset))).collect())
    }

    /// What keeps one authorization from being used by two transactions on a network.
    #[must_use]
    pub fn uniqueness_on(&self, network: &str) -> Uniqueness {
        self.driver_of(network)
            .and_then(|one| one.driver(family(network)))
            .map(|role| role.uniqueness)
            .unwrap_or_default()
    }

    /// Assets that the network's driver knows.
    pub fn known_assets<'a>(&'a self, network: &'a str) -> impl Iterator<Item = &'a KnownAsset> {
        self.driver_of(network)
            .and_then(|one| one.driver(family(network)))
            .into_iter()
            .flat_map(|role| &role.known_assets)
            .filter(move |known| known.network == network)
    }

    /// Errors that concern more than one section.
    fn conflicts(&self, config: &Config) -> Vec<ConfigError> {
        let mut errors = self.driver_conflicts(config);
        errors.extend(self.unknown_assets(config));
        errors.extend(self.wrong_suites(config));
        errors.extend(self.wrong_authorizers(config));
        errors.extend(self.kind_conflicts(config));
        errors.extend(self.id_conflicts(config));
        errors
    }

    /// Two files of one plugin on one network: each would read and write the other's rows.
    fn id_conflicts(&self, config: &Config) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (number, one) in self.instances.iter().enumerate() {
            let others = self.instances.iter().take(number);
            let mut same = others.filter(|other| other.manifest.id == one.manifest.id);
            let shared = same.find_map(|other| {
                let network = one.networks.iter().find(|id| other.networks.contains(id))?;
                Some((other, network))
            });
            if let Some((other, network)) = shared {
                errors.push(config.source.error(
                    &format!("plugin.{}", one.instance.name),
                    format!(
                        "is {} on {network}, and so is plugin.{}: both would use the same recorded rows; list the network under \
                         `networks` of one of them only",
                        one.manifest.id, other.instance.name
                    ),
                ));
            }
        }
        errors
    }

    /// Networks that no driver serves, or more than one.
    fn driver_conflicts(&self, config: &Config) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (id, network) in &config.networks {
            let drivers: Vec<&str> = self
                .instances
                .iter()
                .filter(|one| one.networks.contains(id) && one.driver(family(id)).is_some())
                .map(|one| one.instance.name.as_str())
                .collect();
            match drivers.as_slice() {
                [] if !network.has_chain && self.scheme_of(id).is_some() => {}
                [] if !network.has_chain => errors.push(config.source.error(
                    &format!("networks.\"{id}\""),
                    format!(
                        "no configured plugin has a scheme for {} networks; add a [plugin.NAME] whose file has, or take this \
                         network out",
                        family(id)
                    ),
                )),
                [driver, ..] if !network.has_chain => errors.push(config.source.error(
                    &format!("networks.\"{id}\".chain"),
                    format!(
                        "is false, and plugin.{driver} has a driver for this chain; take the line out, or write another \
                         namespace before the colon"
                    ),
                )),
                [_] => {}
                [] => errors.push(config.source.error(
                    &format!("networks.\"{id}\""),
                    format!(
                        "no configured plugin drives {} networks; add a [plugin.NAME] whose file does, or take this \
                         network out; where its schemes need no chain, write chain = false",
                        family(id)
                    ),
                )),
                [first, second, ..] => errors.push(config.source.error(
                    &format!("plugin.{second}"),
                    format!(
                        "plugin.{first} drives {id} too; list the network under `networks` of one of them only"
                    ),
                )),
            }
        }
        errors
    }

    /// Assets in `second_source_above` that their network does not accept.
    fn unknown_assets(&self, config: &Config) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (id, network) in &config.networks {
            let Some(assets) = self.assets_of(network) else {
                continue;
            };
            for asset in network.second_source_above.keys() {
                if !assets.contains(&spelled(asset)) {
                    errors.push(config.source.error(
                        &format!("networks.\"{id}\".second_source_above.{asset}"),
                        "is not an asset of this network; write one that `switchyard check` lists, or add it to assets",
                    ));
                }
            }
        }
        errors
    }

    /// Signers whose suite is not that of their network's driver.
    fn wrong_suites(&self, config: &Config) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (id, network) in &config.networks {
            let Some(role) = self.driver_of(id).and_then(|one| one.driver(family(id))) else {
                continue;
            };
            for name in network.signers.iter().chain(&network.retained_signers) {
                if config.keys.get(name).is_some_and(|key| key.suite != role.suite) {
                    let suite = serde_json::to_string(&role.suite).unwrap_or_default();
                    errors.push(config.source.error(
                        &format!("keys.{name}.suite"),
                        format!("{id} signs with {suite}; write suite = {suite}, or name another key there"),
                    ));
                }
            }
        }
        errors
    }

    /// Keys for typed data that are used for something else too.
    fn wrong_authorizers(&self, config: &Config) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut granted: BTreeMap<&str, &str> = BTreeMap::new();
        for one in &self.instances {
            let name = &one.instance.name;
            for key in one.instance.authorizers.keys() {
                let mut networks = config.networks.values();
                let signs = networks.find(|network| {
                    let mut signers = network.signers.iter().chain(&network.retained_signers);
                    signers.any(|signer| signer == key)
                });
                let is_other_suite = config
                    .keys
                    .get(key)
                    .is_some_and(|key| key.suite != Suite::Secp256k1);
                let before = granted.insert(key, name);
                let why = match (signs, before, is_other_suite) {
                    (Some(network), _, _) => {
                        format!(
                            "is a signer of {} too; give each use a key of its own",
                            network.id
                        )
                    }
                    (None, Some(other), _) => {
                        format!("is granted to plugin.{other} too; give each plugin a key of its own")
                    }
                    (None, None, true) => {
                        "is no secp256k1 key, which typed data is signed with; name another key".to_owned()
                    }
                    (None, None, false) => continue,
                };
                errors.push(
                    config
                        .source
                        .error(&format!("plugin.{name}.authorizers.{key}"), why),
                );
            }
        }
        errors
    }

    /// Kinds that more than one instance serves.
    fn kind_conflicts(&self, config: &Config) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut claimed: BTreeMap<(u8, &str, &str), &str> = BTreeMap::new();
        for one in &self.instances {
            for network in &one.networks {
                for role in one.schemes(family(network)) {
                    for version in &role.versions {
                        let kind = (*version, role.scheme.as_str(), network.as_str());
                        if let Some(first) = claimed.insert(kind, &one.instance.name) {
                            errors.push(config.source.error(
                                &format!("plugin.{}", one.instance.name),
                                format!(
                                    "serves {} (version {version}) on {network}, which plugin.{first} serves too; \
                                     take the network out of the `networks` of one of them",
                                    role.scheme
                                ),
                            ));
                        }
                    }
                }
            }
        }
        errors
    }
}

fn survey_one(config: &Config, instance: &PluginInstance) -> Result<SurveyedPlugin, Vec<ConfigError>> {
    let at = |key: &str, message: String| {
        config
            .source
            .error(&format!("plugin.{}{key}", instance.name), message)
    };
    let pin = match instance.sha256 {
        Some(digest) => Pin::Sha256(digest.into()),
        None if config.plugins.dev => Pin::DevMode,
        None => Pin::Unpinned,
    };
    let keys = &config.plugins.trusted_keys;
    let inspected = plugin::inspect_trusted(&instance.file, pin, keys, &instance.libraries);
    let (inspected, signed_by) = inspected.map_err(|error| {
        let key = match error.kind {
            plugin::ErrorKind::Pin => ".sha256",
            plugin::ErrorKind::Libraries => ".libraries",
            _ => ".file",
        };
        vec![at(key, error.to_string())]
    })?;
    let manifest = inspected.manifest;
    let key = format!("plugin.{}.config", instance.name);
    let errors = network_checks::schema_errors(config, &key, &manifest.config_schema, &instance.config);
    if !errors.is_empty() {
        return Err(errors);
    }
    let serves = |id: &str| {
        let family = family(id);
        manifest.drivers.iter().any(|role| role.family == family)
            || manifest.schemes.iter().any(|role| role.family == family)
    };
    let networks = match &instance.networks {
        Some(listed) => {
            for id in listed {
                if !serves(id) {
                    return Err(vec![at(
                        ".networks",
                        format!(
                            "{} has nothing for {id}; it serves {}",
                            manifest.id,
                            families(&manifest)
                        ),
                    )]);
                }
            }
            listed.clone()
        }
        None => config.networks.keys().filter(|id| serves(id)).cloned().collect(),
    };
    Ok(SurveyedPlugin {
        instance: instance.clone(),
        manifest,
        sha256: inspected.sha256,
        // What was signed is what is loaded.
        pin: match signed_by {
            Some(_) => Pin::Sha256(inspected.sha256),
            None => pin,
        },
        signed_by,
        networks,
    })
}

fn families(manifest: &Manifest) -> String {
    let of_drivers = manifest.drivers.iter().map(|role| role.family.as_str());
    let of_schemes = manifest.schemes.iter().map(|role| role.family.as_str());
    let all: BTreeSet<&str> = of_drivers.chain(of_schemes).collect();
    all.into_iter()
        .map(|family| format!("{family}:*"))
        .collect::<Vec<_>>()
        .join(", ")
}
