//! From a parsed document to a [`Config`]: section by section, all errors collected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::suggest::closest;
use host::custody::KeySource;
use host::rpc::SecretUrl;
use http_api::names::is_caip2;
use http_api::{AddressBlock, NetworkNames, Origins, Rate, Server};
use sdk_plugin::Amount;
use sdk_plugin::host::Suite;
use telemetry::log;
use toml::de::DeTable;

use super::error::ConfigErrors;
use super::node::Node;
use super::reader::{Reader, Section};
use super::substitute::Environment;
use super::syntax;
use super::tenants::{distinct_tenants, tenant};
use super::{Assets, Config, Key, Limits, Log, Network, Place, PluginInstance, Plugins, Source, Tenant};

/// Cheaper than a transaction on any chain: who writes less has written whole coins.
const LEAST_MAX_COST: u64 = 1_000;

const SECTIONS: [&str; 9] = [
    "server", "data", "plugins", "keys", "networks", "plugin", "tenants", "limits", "log",
];

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

/// Only what [`Place`] names.
pub(super) fn place(
    file: &str,
    folder: &Path,
    text: &str,
    environment: Environment<'_>,
) -> Result<Place, ConfigErrors> {
    let read_place = |reader: &Reader<'_>, root: &DeTable<'_>| {
        let data_directory = directory(reader, root, folder)?;
        let networks = Reader::names_below(root, "networks");
        Some(Place {
            data_directory,
            networks,
        })
    };
    Ok(read_file(file, text, environment, read_place)?.1)
}

/// Reads a file as far as `read` wants it; whatever is wrong with that is an error.
fn read_file<T>(
    file: &str,
    text: &str,
    environment: Environment<'_>,
    read: impl FnOnce(&Reader<'_>, &DeTable<'_>) -> Option<T>,
) -> Result<(Source, T), ConfigErrors> {
    let (root, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        let errors = syntax.iter().map(|error| syntax::told(file, text, error));
        return Err(ConfigErrors(errors.collect()));
    }
    let root = root.get_ref();
    let reader = Reader::new(file, text, environment, root);
    let found = read(&reader, root);
    let (source, errors) = reader.into_errors();
    match found {
        Some(found) if errors.is_empty() => Ok((source, found)),
        _ => Err(ConfigErrors(errors)),
    }
}

fn directory<'r>(reader: &'r Reader<'_>, root: &'r DeTable<'r>, folder: &Path) -> Option<PathBuf> {
    reader
        .section(root, "data")
        .get("directory", |node| path(node, folder))
}

fn read<'r>(reader: &'r Reader<'_>, root: &'r DeTable<'r>, folder: &Path) -> Option<Config> {
    reader.sections(root, &SECTIONS);
    let server = server(&reader.section(root, "server"));
    let data_directory = directory(reader, root, folder);
    let plugins = plugins(&reader.section(root, "plugins"), folder);
    let limits = reader.section(root, "limits");
    let address = rate(&limits, "address_requests_per_minute", "address_burst");
    let tenant_rate = rate(&limits, "tenant_requests_per_minute", "tenant_burst");
    let log = log_section(&reader.section(root, "log"));

    let keys = each(reader.named(root, "keys"), |_, section| key(section, folder));
    let key_names: Vec<String> = Reader::names_below(root, "keys");
    let networks = each(reader.named(root, "networks"), |id, section| {
        network(id, section, &key_names)
    });
    let network_ids: Vec<String> = Reader::names_below(root, "networks");
    let max_costs: BTreeMap<String, Amount> = networks
        .iter()
        .flatten()
        .map(|(id, network)| (id.clone(), network.max_cost))
        .collect();
    let plugin = each(reader.named(root, "plugin"), |name, section| {
        plugin_instance(name, section, plugins.as_ref()?, &network_ids)
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
            tenant(
                section,
                tenant_rate,
                server.as_ref().map(|server| server.settle_wait),
                &network_ids,
                &max_costs,
            )
        })
        .collect();
    let tenants = tenants?;
    distinct_tenants(reader, &tenants);
    let mut networks = networks?;
    let names = names(reader, &mut networks);
    Some(Config {
        server: server?,
        data_directory: data_directory?,
        plugins: plugins?,
        keys: keys?,
        networks,
        plugin: plugin?,
        tenants,
        limits: Limits { address: address? },
        log: log?,
        names,
        source: super::Source::default(),
    })
}

/// Every named section read; `None` when one failed, after all were tried.
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

fn server(section: &Section<'_, '_>) -> Option<Server> {
    let listen = section.get("listen", |node| {
        node.parsed(
            |text| text.parse().ok(),
            "an address and port; write e.g. \"127.0.0.1:4020\"",
        )
    });
    let base_path = section.get("base_path", |node| {
        node.parsed(
            base_path,
            "a path; write \"\" or e.g. \"/x402\" (letters, digits, - _ . ~ between slashes)",
        )
    });
    let settle_wait = section.get("settle_wait_seconds", |node| seconds(node, 1, 85));
    let verify_wait = section.get("verify_wait_seconds", |node| seconds(node, 1, 85));
    let body_limit_bytes = section.get("body_limit_bytes", |node| size(node, 1_024, 16 * 1_024 * 1_024));
    let body_read = section.get("body_read_seconds", |node| seconds(node, 1, 60));
    let max_concurrent_requests = section.get("max_concurrent_requests", |node| size(node, 1, 100_000));
    let max_connections = section.get("max_connections", |node| size(node, 1, 100_000));
    let drain = section.get("drain_seconds", |node| seconds(node, 0, 600));
    let legacy0 = section.get("legacy0", |node| node.boolean());
    let cors_origins = section.get("cors_origins", origins);
    let cors_payments = section.get("cors_payments", |node| node.boolean());
    let trusted_proxies = section.get("trusted_proxies", |node| {
        node.list(|node| {
            node.parsed(
                AddressBlock::parse,
                "an address; write e.g. \"10.0.0.0/8\" or \"::1\"",
            )
        })
    });
    Some(Server {
        listen: listen?,
        base_path: base_path?,
        settle_wait: settle_wait?,
        verify_wait: verify_wait?,
        body_limit_bytes: body_limit_bytes?,
        body_read: body_read?,
        max_concurrent_requests: max_concurrent_requests?,
        max_connections: max_connections?,
        drain: drain?,
        legacy0: legacy0?,
        cors_origins: cors_origins?,
        cors_payments: cors_payments?,
        trusted_proxies: trusted_proxies?,
    })
}

fn plugins(section: &Section<'_, '_>, folder: &Path) -> Option<Plugins> {
    let directory = section.get("directory", |node| path(node, folder));
    let dev = section.get("dev", |node| node.boolean());
    Some(Plugins {
        directory: directory?,
        dev: dev?,
    })
}

fn key(section: &Section<'_, '_>, folder: &Path) -> Option<Key> {
    let env = section.maybe("env", |node| {
        node.parsed_unseen(
            |text| (is_variable(text) && !is_like_a_key(text)).then(|| text.to_owned()),
            "the name of a variable; write e.g. \"SWITCHYARD_KEY\" and put the key into that variable, never here",
        )
    });
    let file = section.maybe("file", |node| {
        node.parsed_unseen(
            |text| (!text.is_empty() && !is_like_a_key(text)).then(|| folder.join(text)),
            "a path; write where the key's file is, never the key itself",
        )
    });
    let suite = section.get("suite", |node| {
        let suite = |text: &str| match text {
            "secp256k1" => Some(Suite::Secp256k1),
            "ed25519" => Some(Suite::Ed25519),
            _ => None,
        };
        node.parsed(suite, "a suite; write \"secp256k1\" or \"ed25519\"")
    });
    let source = match (env?, file?) {
        (Some(env), None) => KeySource::Env(env),
        (None, Some(file)) => KeySource::File(file),
        (Some(_), Some(_)) => {
            section.fail("file", "stands beside env; write only one of them");
            return None;
        }
        (None, None) => {
            section.fail(
                "env",
                "is missing; write env = \"NAME_OF_A_VARIABLE\" or file = \"PATH\"",
            );
            return None;
        }
    };
    Some(Key {
        source,
        suite: suite?,
    })
}

fn amount(node: &Node<'_, '_>, wanted: &str) -> Option<Amount> {
    let decimal = |text: &str| text.parse::<Amount>().ok().filter(|_| !text.starts_with("0x"));
    node.parsed(decimal, wanted)
}

pub(super) fn native_amount(node: &Node<'_, '_>) -> Option<Amount> {
    amount(
        node,
        "an amount; write atomic units of the native currency, e.g. \"1000000000000000\"",
    )
}

/// Refuses a budget that no payment fits into.
pub(super) fn below_max_cost<T>(node: &Node<'_, '_>, max_cost: Amount) -> Option<T> {
    node.fail(format!(
        "is below max_cost, which is {max_cost}: a payment that may cost that much never fits in; write at least that, or a \
         smaller max_cost"
    ))
}

/// Each node must have an address of its own: one that answers under two URLs would agree with itself.
fn two_sources(section: &Section<'_, '_>, rpc: &[SecretUrl]) {
    let mut addresses: Vec<&str> = rpc.iter().map(SecretUrl::address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.len() < 2 {
        section.fail(
            "second_source_above",
            "needs two nodes of different addresses; add another one to rpc, or take this line out",
        );
    } else if addresses.len() < rpc.len() {
        section.fail(
            "second_source_above",
            "needs nodes of different addresses, and rpc names one address twice: take one of them out",
        );
    }
}

fn network(id: &str, section: &Section<'_, '_>, key_names: &[String]) -> Option<Network> {
    if !is_caip2(id) {
        section.fail_here(format!(
            "{id:?} is not a CAIP-2 id; write e.g. [networks.\"eip155:8453\"]"
        ));
    }
    let rpc = section.get("rpc", |node| {
        let urls = node.list_or_one(|node| match SecretUrl::parse(&node.text()?) {
            Ok(url) => Some(url),
            Err(error) => node.fail(error.to_string()),
        })?;
        if urls.is_empty() {
            node.fail("is empty; name at least one node")
        } else {
            Some(urls)
        }
    });
    let signers = section.get("signers", |node| {
        let signers = node.list(|node| known(node, "key of [keys]", key_names))?;
        if signers.is_empty() {
            node.fail("is empty; name at least one key of [keys]")
        } else {
            Some(signers)
        }
    });
    let retained = section.get("retained_signers", |node| {
        node.list(|node| known(node, "key of [keys]", key_names))
    });
    let confirmations = section.get("confirmations", |node| node.integer(1..=10_000));
    let finality = section.get("finality", |node| node.integer(1..=100_000));
    let single_block = section.get("single_block_finality", |node| node.boolean());
    let poll_interval = section.get("poll_interval_ms", |node| millis(node, 50, 60_000));
    let stuck_after = section.get("stuck_after_seconds", |node| seconds(node, 1, 3_600));
    let max_in_flight = section.get("max_in_flight", |node| count(node, 1, 1_000));
    let lane_queue = section.get("lane_queue", |node| count(node, 1, 100_000));
    let max_cost = section.get("max_cost", |node| {
        let amount = native_amount(node)?;
        if amount < Amount::from(LEAST_MAX_COST) {
            node.fail(format!(
                "is below {LEAST_MAX_COST} atomic units, which pay for no transaction on any chain; write the most that one \
                 may cost in the smallest unit (10^18 to one ETH, 10^9 to one SOL), e.g. \"50000000000000\" on an EVM network \
                 or \"3000000\" on Solana"
            ))
        } else {
            Some(amount)
        }
    });
    let budget = |node: &Node<'_, '_>| {
        let amount = native_amount(node)?;
        match max_cost {
            Some(max_cost) if amount < max_cost => below_max_cost(node, max_cost),
            Some(_) | None => Some(amount),
        }
    };
    let max_cost_per_day = section.maybe("max_cost_per_day", budget);
    let max_cost_per_day_per_signer = section.maybe("max_cost_per_day_per_signer", budget);
    let second_source_above = section.get("second_source_above", |node| {
        node.table(|_, node| {
            amount(
                node,
                "an amount; write atomic units of the asset, e.g. \"1000000000\"",
            )
        })
    });
    let assets = section.get("assets", |node| node.list(|node| node.text()));
    let any = section.get("allow_any_asset", |node| node.boolean());
    let rpc_timeout = section.get("rpc_timeout_ms", |node| millis(node, 50, 60_000));
    let v1_name = section.maybe("v1_name", |node| {
        node.parsed(
            |text| is_name(text).then(|| text.to_owned()),
            "a plain name; write e.g. \"base-sepolia\"",
        )
    });
    let options = section.get("options", |node| node.json_object());

    let (signers, retained_signers) = (signers?, retained?);
    for (n, signer) in signers.iter().enumerate() {
        if signers.iter().take(n).any(|earlier| earlier == signer) {
            section.fail("signers", format!("names {signer:?} twice; each key is one lane"));
        }
        if retained_signers.contains(signer) {
            section.fail(
                "retained_signers",
                format!("names {signer:?}, which is in signers; write it in one of them"),
            );
        }
    }
    let (confirmations, finality) = (confirmations?, finality?);
    if finality < confirmations {
        section.fail(
            "finality",
            format!("must be at least confirmations, which is {confirmations}"),
        );
    }
    match (finality, single_block?) {
        (1, false) => section.fail(
            "finality",
            "is 1: a block that is replaced, or a node that lags, would be taken for the end; write the depth at which \
             this chain's blocks are irreversible (without the line it is 64), or for a chain that never replaces a block \
             single_block_finality = true beside it",
        ),
        (finality, true) if finality > 1 => section.fail(
            "single_block_finality",
            format!("has no effect beside finality = {finality}; take it out"),
        ),
        (_, _) => {}
    }
    let assets = match (assets?, any?) {
        (assets, true) if !assets.is_empty() => {
            section.fail(
                "assets",
                "has no effect beside allow_any_asset = true; write only one of them",
            );
            return None;
        }
        (_, true) => Assets::Any,
        (assets, false) => Assets::KnownAnd(assets),
    };
    let (rpc, second_source_above) = (rpc?, second_source_above?);
    if !second_source_above.is_empty() {
        two_sources(section, &rpc);
    }
    Some(Network {
        id: id.to_owned(),
        rpc,
        signers,
        retained_signers,
        confirmations,
        finality,
        poll_interval: poll_interval?,
        stuck_after: stuck_after?,
        max_in_flight: max_in_flight?,
        lane_queue: lane_queue?,
        max_cost: max_cost?,
        max_cost_per_day: max_cost_per_day?,
        max_cost_per_day_per_signer: max_cost_per_day_per_signer?,
        second_source_above,
        assets,
        rpc_timeout: rpc_timeout?,
        v1_name: v1_name?,
        options: options?,
    })
}

fn plugin_instance(
    name: &str,
    section: &Section<'_, '_>,
    plugins: &Plugins,
    network_ids: &[String],
) -> Option<PluginInstance> {
    if !is_name(name) {
        section.fail_here(format!(
            "{name:?} is not an instance name; write letters, digits, - and _ only"
        ));
    }
    let file = section.get("file", |node| path(node, &plugins.directory));
    let sha256 = section.maybe("sha256", digest);
    let networks = section.maybe("networks", |node| {
        let networks = node.list(|node| known(node, "network of [networks]", network_ids))?;
        if networks.is_empty() {
            node.fail("is empty; name networks, or leave the line out for all of its families")
        } else {
            Some(networks)
        }
    });
    let config = section.get("config", |node| node.json_object());
    let (file, sha256) = (file?, sha256?);
    if sha256.is_none() && !plugins.dev {
        section.fail(
            "sha256",
            format!(
                "is missing; write the line that `switchyard plugin inspect {}` prints, or dev = true under [plugins] \
                 while developing",
                file.display()
            ),
        );
    }
    Some(PluginInstance {
        name: name.to_owned(),
        file,
        sha256,
        networks: networks?,
        config: config?,
    })
}

/// v1 names of all networks; a name used twice is an error.
fn names(reader: &Reader<'_>, networks: &mut BTreeMap<String, Network>) -> NetworkNames {
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

fn rate(section: &Section<'_, '_>, per_minute: &str, burst: &str) -> Option<Rate> {
    let per_minute = section.get(per_minute, |node| count(node, 0, 10_000_000));
    let burst = section.get(burst, |node| count(node, 1, 1_000_000));
    Some(Rate {
        per_minute: per_minute?,
        burst: burst?,
    })
}

fn log_section(section: &Section<'_, '_>) -> Option<Log> {
    let format = section.get("format", |node| {
        let format = |text: &str| match text {
            "human" => Some(log::Format::Human),
            "json" => Some(log::Format::Json),
            _ => None,
        };
        node.parsed(format, "a format; write \"human\" or \"json\"")
    });
    let level = section.get("level", |node| {
        let text = node.text()?;
        match log::parse_filter(&text) {
            Ok(_) => Some(text),
            Err(error) => node.fail(error.to_string()),
        }
    });
    Some(Log {
        format: format?,
        level: level?,
    })
}

/// One of `names`, with a hint at the nearest.
pub(super) fn known(node: &Node<'_, '_>, what: &str, names: &[String]) -> Option<String> {
    let text = node.text()?;
    if names.contains(&text) {
        return Some(text);
    }
    let hint = match closest(&text, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None if names.is_empty() => "none is configured".to_owned(),
        None => format!("there are {}", names.join(", ")),
    };
    node.fail(format!("{:?} is not a {what}; {hint}", node.as_written()))
}

fn path(node: &Node<'_, '_>, folder: &Path) -> Option<std::path::PathBuf> {
    let text = node.text()?;
    if text.is_empty() {
        node.fail("is empty; write a path")
    } else {
        Some(folder.join(text))
    }
}

pub(super) fn digest(node: &Node<'_, '_>) -> Option<[u8; 32]> {
    let parse = |text: &str| {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
    };
    node.parsed_unseen(
        parse,
        "a SHA-256; write the 64 hex digits that are printed for it, nothing else",
    )
}

/// Whether a text may be a private key that somebody pasted where its place was asked for.
fn is_like_a_key(text: &str) -> bool {
    let longest = text.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    longest.is_some_and(|digits| digits >= 48)
}

pub(super) fn seconds(node: &Node<'_, '_>, least: u64, most: u64) -> Option<Duration> {
    node.integer(least..=most).map(Duration::from_secs)
}

fn millis(node: &Node<'_, '_>, least: u64, most: u64) -> Option<Duration> {
    node.integer(least..=most).map(Duration::from_millis)
}

pub(super) fn count(node: &Node<'_, '_>, least: u32, most: u32) -> Option<u32> {
    node.integer(u64::from(least)..=u64::from(most))
        .and_then(|number| u32::try_from(number).ok())
}

fn size(node: &Node<'_, '_>, least: u32, most: u32) -> Option<usize> {
    count(node, least, most).and_then(|number| usize::try_from(number).ok())
}

/// `/a/b` as it is, without a trailing slash; `None`: not a path.
fn base_path(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Some(String::new());
    }
    let parts = text.strip_prefix('/')?;
    let good = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
    };
    parts.split('/').all(good).then(|| text.to_owned())
}

/// `["*"]`, or origins as browsers write them: scheme, host and port, nothing behind.
fn origins(node: &Node<'_, '_>) -> Option<Origins> {
    let origin = |text: &str| {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))?;
        let good = |b: u8| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
        };
        (!host.is_empty() && host.bytes().all(good)).then(|| text.to_owned())
    };
    let listed = node.list(|node| {
        node.parsed(
            |text| if text == "*" { Some(text.to_owned()) } else { origin(text) },
            "an origin; write e.g. \"https://shop.example\" (lower case, no path), or \"*\" alone for every page",
        )
    })?;
    match listed.as_slice() {
        [only] if only == "*" => Some(Origins::Any),
        several if several.iter().any(|origin| origin == "*") => {
            node.fail("holds \"*\" beside other origins; write [\"*\"] alone, or only the others")
        }
        _ => Some(Origins::These(listed)),
    }
}

fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
