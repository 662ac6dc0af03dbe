//! The sections other than networks and tenants, each read into its part of the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::Retention;
use http_api::{AddressBlock, Rate, Server};
use journal::postgres::Settings as Database;
use plugin_host::{RunnerSettings, Sandbox};
use sdk_plugin::HexBytes;
use telemetry::log;

use super::tls;
use super::values::{base_path, count, digest, is_name, known_name, origins, path, seconds, size};
use crate::config::node::Node;
use crate::config::reader::Section;
use crate::config::{Log, PluginInstance, Plugins};

pub(super) fn server(section: &Section<'_, '_>, folder: &Path) -> Option<Server> {
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
    let tls = tls::files(section, folder);
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
        tls: tls?,
    })
}

pub(super) fn journal(section: &Section<'_, '_>) -> Option<Retention> {
    let days = |name, least| section.get(name, |node| count(node, least, 36_500));
    let payloads = days("keep_payload_days", 1);
    let events = days("keep_event_days", 1);
    let details = days("keep_detail_days", 1);
    let settlements = days("keep_settlement_days", 30);
    let (payloads, events, details, settlements) = (
        u64::from(payloads?),
        u64::from(events?),
        u64::from(details?),
        u64::from(settlements?),
    );
    for (name, value, least, other) in [
        ("keep_detail_days", details, payloads, "keep_payload_days"),
        ("keep_settlement_days", settlements, details, "keep_detail_days"),
    ] {
        if value < least {
            section.fail(name, format!("is less than {other}; write {least} or more"));
            return None;
        }
    }
    Some(Retention::days(payloads, events, details, settlements))
}

/// The database of the journal, if there is one.
pub(super) fn postgres(section: &Section<'_, '_>, folder: &Path) -> Option<Option<Database>> {
    let url = section.maybe("postgres", |node| node.text());
    let root_certificate = section.maybe("root_certificate", |node| path(node, folder));
    let pool_size = section.get("pool_size", |node| count(node, 3, 1_000));
    let statement_limit = section.get("statement_limit_seconds", |node| count(node, 1, 300));
    let node = section.maybe("node", |node| {
        node.parsed(
            |text| Database::is_node_name(text).then(|| text.to_owned()),
            "a name of 1 to 64 letters, digits, `.`, `_` and `-`",
        )
    });
    let (url, root_certificate, node) = (url?, root_certificate?, node?);
    let (pool_size, statement_limit) = (pool_size?, statement_limit?);
    let Some(url) = url else {
        if root_certificate.is_some() {
            section.fail(
                "root_certificate",
                "is for a database, and journal.postgres is not set; set it, or remove this",
            );
            return None;
        }
        if node.is_some() {
            section.fail(
                "node",
                "names one of several nodes, and journal.postgres is not set; set it, or remove this",
            );
            return None;
        }
        return Some(None);
    };
    let defaults = Database::new(url);
    let database = Database {
        root_certificate,
        pool_size: usize::try_from(pool_size).unwrap_or(usize::MAX),
        statement_limit: Duration::from_secs(u64::from(statement_limit)),
        node: node.unwrap_or_else(|| defaults.node.clone()),
        ..defaults
    };
    if let Err(error) = database.check_url() {
        section.fail("postgres", error.0);
        return None;
    }
    Some(Some(database))
}

pub(super) fn plugins(section: &Section<'_, '_>, folder: &Path) -> Option<Plugins> {
    let directory = section.get("directory", |node| path(node, folder));
    let dev = section.get("dev", |node| node.boolean());
    let strict = section.get("strict", |node| node.boolean());
    let trusted_keys = section.get("trusted_keys", |node| {
        node.list(|node| {
            node.parsed(
                |text| text.parse().ok(),
                "a public key of minisign; write the second line of its .pub file, which begins with RW",
            )
        })
    });
    Some(Plugins {
        directory: directory?,
        dev: dev?,
        strict: strict?,
        trusted_keys: trusted_keys?,
    })
}

pub(super) fn plugin_instance(
    name: &str,
    section: &Section<'_, '_>,
    plugins: &Plugins,
    network_ids: &[String],
    key_names: &[String],
) -> Option<PluginInstance> {
    if !is_name(name) {
        section.fail_here(format!(
            "{name:?} is not an instance name; write letters, digits, - and _ only"
        ));
    }
    let file = section.get("file", |node| path(node, &plugins.directory));
    let sha256 = section.maybe("sha256", digest);
    let libraries = section.get("libraries", |node| node.list(library));
    let networks = section.maybe("networks", |node| {
        let networks = node.list(|node| known_name(node, "network of [networks]", network_ids))?;
        if networks.is_empty() {
            node.fail("is empty; name networks, or leave the line out for all of its families")
        } else {
            Some(networks)
        }
    });
    let authorizers = section.get("authorizers", |node| {
        node.table(|name, domains| {
            if !key_names.iter().any(|key| key == name) {
                return domains.fail(format!(
                    "{name:?} is not a key of [keys]; there are {}",
                    key_names.join(", ")
                ));
            }
            domains.list(domain)
        })
    });
    let config = section.get("config", |node| node.json_object());
    let isolation = section.maybe("isolation", |node| {
        let isolation = |text: &str| match text {
            "none" => Some(false),
            "process" => Some(true),
            _ => None,
        };
        node.parsed(isolation, "a kind of isolation; write \"process\" or \"none\"")
    });
    let sandbox = section.get("sandbox", |node| {
        let sandbox = |text: &str| match text {
            "full" => Some(Sandbox::Full),
            "partial" => Some(Sandbox::Partial),
            _ => None,
        };
        node.parsed(sandbox, "a kind of sandbox; write \"full\" or \"partial\"")
    });
    let memory = section.get("max_memory_mib", |node| count(node, 64, 65_536));
    let (file, sha256) = (file?, sha256?);
    if sha256.is_none() && !plugins.dev && plugins.trusted_keys.is_empty() {
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
        libraries: libraries?,
        networks: networks?,
        authorizers: authorizers?,
        config: config?,
        is_isolated: isolation?,
        runner: RunnerSettings {
            program: PathBuf::from("/proc/self/exe"),
            sandbox: sandbox?,
            memory_bytes: u64::from(memory?) << 20,
        },
    })
}

/// A domain separator of EIP-712.
fn domain(node: &Node<'_, '_>) -> Option<HexBytes> {
    node.parsed(
        |text| text.parse::<HexBytes>().ok().filter(|domain| domain.len() == 32),
        "a domain separator; write 0x and its 64 hex digits",
    )
}

/// The name by which a plugin file needs a library, its soname.
fn library(node: &Node<'_, '_>) -> Option<String> {
    let name = node.text()?;
    if name.contains(".so") && !name.contains('/') {
        return Some(name);
    }
    node.fail(format!(
        "{name:?} is not the name of a library; write it as `switchyard plugin inspect` prints it, without a folder: libfoo.so.1"
    ))
}

pub(super) fn rate(section: &Section<'_, '_>, per_minute: &str, burst: &str) -> Option<Rate> {
    let per_minute = section.get(per_minute, |node| count(node, 0, 10_000_000));
    let burst = section.get(burst, |node| count(node, 1, 1_000_000));
    Some(Rate {
        per_minute: per_minute?,
        burst: burst?,
    })
}

pub(super) fn log_section(section: &Section<'_, '_>) -> Option<Log> {
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
