//! The text of a new configuration.

use std::path::{Path, PathBuf};

use sdk_plugin::host::Suite;

use crate::known::{Network, in_units};

/// All that goes into it.
pub(super) struct Parts<'a> {
    pub(super) listen: &'a str,
    pub(super) plugins: &'a Path,
    /// Of the configuration file.
    pub(super) folder: &'a Path,
    pub(super) networks: &'a [NetworkLines],
    pub(super) keys: &'a [KeyLines],
    pub(super) plugin_lines: &'a [PluginLines],
    /// Name and hash of the API key.
    pub(super) tenant: Option<(&'a str, &'a str)>,
}

pub(super) struct NetworkLines {
    /// CAIP-2.
    pub(super) id: String,
    pub(super) title: String,
    /// Of the native currency.
    pub(super) symbol: String,
    urls: Vec<String>,
    max_cost: String,
    /// In units, and what is known of its blocks.
    known: Option<(String, u64, u64)>,
}

impl NetworkLines {
    pub(super) fn new(id: &str, known: Option<&Network>, urls: Vec<String>, max_cost: String) -> Self {
        Self {
            id: id.to_owned(),
            title: known.map_or_else(|| id.to_owned(), |network| network.title.clone()),
            symbol: known.map_or_else(
                || "native currency".to_owned(),
                |network| network.currency.symbol.clone(),
            ),
            urls,
            known: known.map(|network| {
                let units = in_units(&max_cost, network.currency.decimals);
                let units = format!("{units} {}", network.currency.symbol);
                (units, network.confirmations, network.finality)
            }),
            max_cost,
        }
    }
}

pub(super) struct KeyLines {
    pub(super) family: String,
    /// For people.
    pub(super) address: String,
    lines: String,
}

impl KeyLines {
    pub(super) fn file(family: &str, suite: Suite, file: PathBuf, address: String) -> Self {
        Self {
            family: family.to_owned(),
            address,
            lines: format!("file = {:?}\n{}", file.display().to_string(), suite_line(suite)),
        }
    }

    pub(super) fn keystore(
        family: &str,
        suite: Suite,
        keystore: &Path,
        password: &Path,
        folder: &Path,
        address: String,
    ) -> Self {
        let shown = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
        Self {
            family: family.to_owned(),
            address,
            lines: format!(
                "keystore = {:?}\npassword_file = {:?}\n{}",
                shown(keystore),
                shown(password),
                suite_line(suite)
            ),
        }
    }
}

fn suite_line(suite: Suite) -> &'static str {
    match suite {
        Suite::Secp256k1 => "",
        Suite::Ed25519 => "suite = \"ed25519\"\n",
    }
}

pub(super) struct PluginLines {
    /// Of the section.
    pub(super) name: String,
    pub(super) file: String,
    pub(super) sha256: String,
}

pub(super) fn configuration(parts: &Parts<'_>) -> String {
    let plugins = parts.plugins.strip_prefix(parts.folder).unwrap_or(parts.plugins);
    let mut text = format!(
        "# Switchyard. Every key with its default: `switchyard config reference`.\n\n\
         [server]\nlisten = {:?}          # without tenants, every caller that reaches it may settle\n\n\
         [data]\ndirectory = \"data\"                   # the journal: signed payments. Back it up with `switchyard journal backup`\n\n\
         [plugins]\ndirectory = {:?}\n",
        parts.listen,
        plugins.display().to_string()
    );
    for key in parts.keys {
        text += &format!(
            "\n# {}: pays for transactions and for nothing else. Keep little on it.\n[keys.{}]\n{}",
            key.address, key.family, key.lines
        );
    }
    for network in parts.networks {
        text += &network_section(network);
    }
    for plugin in parts.plugin_lines {
        text += &format!(
            "\n[plugin.{}]\nfile = {:?}\nsha256 = {:?}\nisolation = \"none\"                   # it came with this program; without \
             this line it runs in a process of its own\n",
            plugin.name, plugin.file, plugin.sha256
        );
    }
    match parts.tenant {
        Some((name, hash)) => {
            text += &format!(
                "\n# Its API key is sent in the header Authorization: Bearer …\n[[tenants]]\nname = {name:?}\nkey_sha256 = {hash:?}\n"
            );
        }
        None => {
            text += "\n# Without tenants every caller may settle, and spend your gas. `switchyard key hash` makes such a line:\n\
                     # [[tenants]]\n# name = \"shop\"\n# key_sha256 = \"…\"\n";
        }
    }
    text
}

fn network_section(network: &NetworkLines) -> String {
    let mut text = format!(
        "\n# {}\n[networks.{:?}]\nrpc = {:?}          # add a second node of another provider\nsigners = [{:?}]\n",
        network.title,
        network.id,
        network.urls,
        super::family(&network.id)
    );
    match &network.known {
        Some((units, confirmations, finality)) => {
            text += &format!(
                "max_cost = {:?}          # {units}: the most that one transaction may cost\n\
                 # max_cost_per_day = …               # the most for all of a day, in the same units\n\
                 confirmations = {confirmations}                     # blocks until a seller is answered\n\
                 finality = {finality}                          # blocks until nothing can be undone\n",
                network.max_cost
            );
        }
        None => text += &format!("max_cost = {:?}\n", network.max_cost),
    }
    text
}
