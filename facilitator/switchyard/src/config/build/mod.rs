//! Builds a [`Config`] from a parsed document, section by section. All errors are collected.

mod admin;
mod keys;
mod network;
mod sections;
mod telemetry;
mod tenants;
mod tls;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http_api::NetworkNames;
use sdk_plugin::Amount;
use toml::de::DeTable;

use super::error::ConfigErrors;
use super::reader::{Reader, Section};
use super::substitute::Environment;
use super::syntax;
use super::{CommandConfig, Config, Limits, Network, Source, Tenant};

const SECTIONS: [&str; 13] = [
    "server",
    "data",
    "journal",
    "plugins",
    "keys",
    "networks",
    "plugin",
    "tenants",
    "limits",
    "log",
    "admin",
    "operators",
    "telemetry",
];

/// Reads and checks everything.
pub(super) fn build(
    file: &str,
    folder: &Path,
    text: &str,
    environment: Environment<'_>,
) -> Result<Config, ConfigErrors> {
    let read_all = |reader: &Reader<'_>, root: &DeTable<'_>| read(reader, root, folder);
    let (source, config) = read_file(file, text, environment, read_all)?;
    Ok(Config { source, ..config })
}

/// Reads and checks only the parts of [`CommandConfig`].
pub(super) fn build_for_commands(
    file: &str,
    folder: &Path,
    text: &str,
    environment: Environment<'_>,
) -> Result<CommandConfig, ConfigErrors> {
    let read_parts = |reader: &Reader<'_>, root: &DeTable<'_>| {
        let data_directory = data_directory(reader, root, folder);
        let postgres = sections::postgres(&reader.section(root, "journal"), folder);
        let (data_directory, postgres) = (data_directory?, postgres?);
        let networks = Reader::names_below(root, "networks");
        Some(CommandConfig {
            data_directory,
            postgres,
            networks,
        })
    };
    Ok(read_file(file, text, environment, read_parts)?.1)
}

/// Parses a file and reads it with `read`. Errors are those of the syntax and of what `read` read.
fn read_file<T>(
    file: &str,
    text: &str,
    environment: Environment<'_>,
    read: impl FnOnce(&Reader<'_>, &DeTable<'_>) -> Option<T>,
) -> Result<(Source, T), ConfigErrors> {
    let (root, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        let errors = syntax.iter().map(|error| syntax::config_error(file, text, error));
        return Err(ConfigErrors(errors.collect()));
    }
    let root = root.get_ref();
    let reader = Reader::new(file, text, environment, root);
    let result = read(&reader, root);
    let (source, errors) = reader.into_errors();
    match result {
        Some(value) if errors.is_empty() => Ok((source, value)),
        _ => Err(ConfigErrors(errors)),
    }
}

fn data_directory<'r>(reader: &'r Reader<'_>, root: &'r DeTable<'r>, folder: &Path) -> Option<PathBuf> {
    reader
        .section(root, "data")
        .get("directory", |node| values::path(node, folder))
}

fn read<'r>(reader: &'r Reader<'_>, root: &'r DeTable<'r>, folder: &Path) -> Option<Config> {
    reader.sections(root, &SECTIONS);
    let server = sections::server(&reader.section(root, "server"), folder);
    let data_directory = data_directory(reader, root, folder);
    let journal = reader.section(root, "journal");
    let retention = sections::journal(&journal);
    let postgres = sections::postgres(&journal, folder);
    let plugins = sections::plugins(&reader.section(root, "plugins"), folder);
    let limits = reader.section(root, "limits");
    let address = sections::rate(&limits, "address_requests_per_minute", "address_burst");
    let tenant_rate = sections::rate(&limits, "tenant_requests_per_minute", "tenant_burst");
    let log = sections::log_section(&reader.section(root, "log"));
    let telemetry = telemetry::telemetry(&reader.section(root, "telemetry"), folder);

    let keys = each(reader.named(root, "keys"), |name, section| {
        keys::key(name, section, folder)
    });
    let key_names: Vec<String> = Reader::names_below(root, "keys");
    let networks = each(reader.named(root, "networks"), |id, section| {
        network::network(id, section, &key_names)
    });
    let network_ids: Vec<String> = Reader::names_below(root, "networks");
    let max_costs: BTreeMap<String, Amount> = networks
        .iter()
        .flatten()
        .map(|(id, network)| (id.clone(), network.max_cost))
        .collect();
    let plugin = each(reader.named(root, "plugin"), |name, section| {
        sections::plugin_instance(name, section, plugins.as_ref()?, &network_ids, &key_names)
    });
    if network_ids.is_empty() {
        reader.fail(
            0,
            "networks",
            "none is configured; write [networks.\"eip155:84532\"] with rpc, signers and max_cost",
        );
    }
    if Reader::names_below(root, "plugin").is_empty() {
        reader.fail(
            0,
            "plugin",
            "none is configured; write [plugin.evm] with file and sha256",
        );
    }
    let tenants: Option<Vec<Tenant>> = reader
        .repeated(root, "tenants")
        .iter()
        .map(|section| {
            tenants::tenant(
                section,
                tenant_rate,
                server.as_ref().map(|server| server.settle_wait),
                &network_ids,
                &max_costs,
            )
        })
        .collect();
    let tenants = tenants?;
    tenants::require_distinct(reader, &tenants);
    let mut networks = networks?;
    tenants::require_finality_in_time(reader, &tenants, &networks);
    let admin = admin::admin(
        &reader.section(root, "admin"),
        &reader.repeated(root, "operators"),
        server.as_ref().map(|server| server.listen),
        &tenants,
        folder,
    );
    let names = network_names(reader, &mut networks);
    Some(Config {
        server: server?,
        data_directory: data_directory?,
        postgres: postgres?,
        retention: retention?,
        plugins: plugins?,
        keys: keys?,
        networks,
        plugin: plugin?,
        tenants,
        limits: Limits {
            address: address?,
            tenant: tenant_rate?,
        },
        log: log?,
        admin: admin?,
        telemetry: telemetry?,
        names,
        source: Source::default(),
    })
}

/// Reads every named section. `None` when one failed, after all were tried.
fn each<'r, 'd, T>(
    sections: Vec<(String, Section<'r, 'd>)>,
    read: impl Fn(&str, &Section<'r, 'd>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let read: Vec<Option<(String, T)>> = sections
        .into_iter()
        .map(|(name, section)| read(&name, &section).map(|value| (name, value)))
        .collect();
    read.into_iter().collect()
}

/// The v1 names of all networks. A name used twice is an error.
fn network_names(reader: &Reader<'_>, networks: &mut BTreeMap<String, Network>) -> NetworkNames {
    let mut configured: BTreeMap<String, String> = BTreeMap::new();
    for network in networks.values() {
        let Some(name) = &network.v1_name else { continue };
        if let Some(other) = NetworkNames::default().caip2(name).filter(|id| *id != network.id) {
            let key = format!("networks.{:?}.v1_name", network.id);
            let line = reader.source.error(&key, "").line;
            let why = format!(
                "{name:?} is the name of {other} in protocol v1; write another name, or leave the line out"
            );
            reader.fail(line, &key, why);
        }
        if let Some((other, _)) = configured.iter().find(|(_, taken)| *taken == name) {
            let key = format!("networks.{:?}.v1_name", network.id);
            let line = reader.source.error(&key, "").line;
            reader.fail(
                line,
                &key,
                format!("{name:?} is the name of {other} too; give each network its own"),
            );
        }
        configured.insert(network.id.clone(), name.clone());
    }
    let names = NetworkNames::with(&configured);
    for network in networks.values_mut() {
        network.v1_name = names.v1(&network.id).map(str::to_owned);
    }
    names
}
