//! The text of a new configuration.

use std::path::{Path, PathBuf};

use sdk_plugin::host::Suite;

use crate::known::{Network, in_units};

/// All that goes into it.
pub(super) struct Parts<'a> {
    pub(super) listen: &'a str,
    /// Of the listener for operators.
    pub(super) admin: &'a str,
    pub(super) data: &'a Path,
    pub(super) plugins: &'a Path,
    /// Of the configuration file.
    pub(super) folder: &'a Path,
    pub(super) networks: &'a [NetworkLines],
    pub(super) keys: &'a [KeyLines],
    pub(super) plugin_lines: &'a [PluginLines],
    /// Name and hash of the API key.
    pub(super) tenant: Option<(&'a str, &'a str)>,
    pub(super) operators: &'a [OperatorLines],
}

pub(super) struct OperatorLines {
    pub(super) name: String,
    /// Of the token.
    pub(super) sha256: String,
    pub(super) role: &'static str,
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
    /// Whether it has the scheme `auth-capture`.
    pub(super) is_escrow: bool,
}

pub(super) fn configuration(parts: &Parts<'_>) -> String {
    let plugins = parts.plugins.strip_prefix(parts.folder).unwrap_or(parts.plugins);
    let mut text = format!(
        "# Switchyard. Every key with its default: `switchyard config reference`.\n\n\
         [server]\nlisten = {:?}          # without tenants, every caller that reaches it may settle\n\n\
         [data]\ndirectory = {:?}                   # the journal: signed payments. Back it up with `switchyard journal backup`\n\n\
         [plugins]\ndirectory = {:?}\n",
        parts.listen,
        parts.data.display().to_string(),
        plugins.display().to_string()
    );
    for key in parts.keys {
        text += &format!(
            "\n# {}: pays for transactions and for nothing else. Keep little on it.\n[keys.{}]\n{}",
            key.address, key.family, key.lines
        );
    }
    let has_escrow = parts.plugin_lines.iter().any(|plugin| plugin.is_escrow);
    for network in parts.networks {
        text += &network_section(network, has_escrow);
    }
    for plugin in parts.plugin_lines {
        text += &plugin_section(plugin, parts.tenant.map_or("shop", |(name, _)| name));
    }
    text += &tenant_section(parts.tenant);
    text += &admin_section(parts.admin, parts.operators);
    text
}

fn plugin_section(plugin: &PluginLines, tenant: &str) -> String {
    let PluginLines {
        name,
        file,
        sha256,
        is_escrow,
    } = plugin;
    let mut text = String::new();
    if *is_escrow {
        text += "\n# Escrow (auth-capture). A signer is the operator of the payments that it holds, and is needed until their last \
                 refund deadline.";
    }
    text += &format!(
        "\n[plugin.{name}]\nfile = {file:?}\nsha256 = {sha256:?}\nisolation = \"none\"                   # it came with this \
         program; without this line it runs in a process of its own\n"
    );
    if *is_escrow {
        text += &format!(
            "# networks = [\"eip155:…\"]           # without it: every EVM network above\n\
             # The payments of this address belong to this tenant, who sees them and orders with the API key:\n\
             # [[plugin.{name}.config.receivers]]\n# tenant = {tenant:?}\n# receiver = \"0x…\"\n\
             # Refunds after a capture are refused, unless you pay them for this tenant:\n\
             # [[plugin.{name}.config.refund_funding]]\n# tenant = {tenant:?}\n# receiver = \"0x…\"\n\
             # network = \"eip155:…\"\n# asset = \"0x…\"\n# max_per_day = \"100000000\"        # atomic units of the token\n\
             # Return to buyers what is not captured before the deadline:\n\
             # [[plugin.{name}.config.keepers]]\n# receiver = \"0x…\"\n# void_unused = true\n"
        );
    }
    text
}

fn tenant_section(tenant: Option<(&str, &str)>) -> String {
    match tenant {
        Some((name, hash)) => format!(
            "\n# Its API key is sent in the header Authorization: Bearer …\n[[tenants]]\nname = {name:?}\nkey_sha256 = {hash:?}\n"
        ),
        None => "\n# Without tenants every caller may settle, and spend your gas. `switchyard key hash` makes such a line:\n\
                 # [[tenants]]\n# name = \"shop\"\n# key_sha256 = \"…\"\n"
            .to_owned(),
    }
}

fn admin_section(listen: &str, operators: &[OperatorLines]) -> String {
    if operators.is_empty() {
        return format!(
            "\n# The dashboard, for operators only. A token: `openssl rand -hex 32`. Its hash: `switchyard key hash`.\n\
             # [admin]\n# listen = {listen:?}\n# [[operators]]\n# name = \"ann\"\n# token_sha256 = \"…\"\n\
             # role = \"operate\"                 # view, operate or money\n"
        );
    }
    let mut text = format!(
        "\n# The dashboard, for operators only. From another machine: ssh -L 4021:{listen} this-machine\n[admin]\nlisten = {listen:?}\n"
    );
    for OperatorLines { name, sha256, role } in operators {
        text += &format!(
            "\n[[operators]]\nname = {name:?}\ntoken_sha256 = {sha256:?}\n\
             role = {role:?}                   # view: read; operate: also pause and drain; money: also releases and tenants\n"
        );
    }
    text
}

fn network_section(network: &NetworkLines, has_escrow: bool) -> String {
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
        None => {
            text += &format!(
                "max_cost = {:?}          # the most that one transaction may cost\n\
                 # This network is not in the list that this program has. Compare these with what its operator publishes:\n\
                 # max_cost_per_day = …               # the most for all of a day, in the same units\n\
                 confirmations = 1                     # blocks until a seller is answered\n\
                 finality = 64                         # blocks until nothing can be undone\n\
                 # assets = [\"…\"]                     # the tokens to accept, by address; without it nothing can be paid\n",
                network.max_cost
            );
        }
    }
    if has_escrow && super::family(&network.id) == "eip155" {
        text +=
            "# max_cost is for escrow too, whose transactions may need 1000000 gas; others may need 400000\n";
    }
    text
}
