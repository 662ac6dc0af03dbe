//! `switchyard init`: writes a first configuration, with keys of its own, that passes `switchyard check`.
//!
//! What is not given as a flag is typed on a terminal, and has a default elsewhere. Nothing that exists is overwritten.

mod answers;
mod networks;
mod secrets;
mod text;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{CheckCommand, CliError, ConfigFile, check, keys};
use crate::known::Known;
use text::{KeyLines, NetworkLines, PluginLines};

#[derive(Debug, Args)]
pub(super) struct InitCommand {
    /// A network to serve, by name or CAIP-2 id; may be repeated. Without it they are typed.
    #[arg(long = "network", value_name = "NAME")]
    networks: Vec<String>,
    /// A node of a network: `base=https://…`; may be repeated, the first is preferred.
    #[arg(long, value_name = "NETWORK=URL")]
    rpc: Vec<String>,
    /// The most that one transaction may cost on a network, in atomic units of its currency: `base=50000000000000`.
    #[arg(long, value_name = "NETWORK=AMOUNT")]
    max_cost: Vec<String>,
    /// A key that there is, instead of a new one: `eip155=hot.key`. The file has the private key, and only its owner may read it.
    #[arg(long, value_name = "FAMILY=FILE")]
    key: Vec<String>,
    /// Where the plugin files are. Without it: `plugins` beside the configuration, or beside this program.
    #[arg(long, value_name = "FOLDER")]
    plugins: Option<PathBuf>,
    /// The file with the password of the new keystores. Without it one is made.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A tenant with an API key. Without it every caller that reaches the port may settle.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Serve the scheme auth-capture too: payments that are held in escrow and captured later.
    #[arg(long)]
    escrow: bool,
    /// An operator who may use the dashboard: `ann` or `ann=ROLE`, with the role view, operate (the default) or money; may be
    /// repeated. The operator's token is printed once.
    #[arg(long = "operator", value_name = "NAME")]
    operators: Vec<String>,
    /// Address and port of the dashboard and its API, on this machine.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4021")]
    admin: String,
    /// Where the journal is. Without it: `data` beside the configuration.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Address and port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4020")]
    listen: String,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn init(command: &InitCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let file = &command.file.config;
    if file.exists() {
        return Err(CliError(format!(
            "{} exists already; nothing is overwritten: write another --config, or move that file away",
            file.display()
        )));
    }
    let folder = folder_of(file);
    let known = Known::load().map_err(CliError)?;
    let is_typed = command.networks.is_empty() && io::stdin().is_terminal();
    let networks = networks::networks(command, &known, is_typed)?;
    let families: BTreeSet<&str> = networks.iter().map(|network| family(&network.id)).collect();
    let has_escrow = |family: &&&str| known.family(family).is_some_and(|family| family.escrow.is_some());
    let can_hold = families.iter().any(|family| has_escrow(&family));
    let wanted = answers::wanted(command, is_typed.then_some(&mut answers::typed), can_hold)?;
    let plugins = find_plugins(command, &folder)?;
    let mut plugin_lines = Vec::new();
    for name in &families {
        plugin_lines.extend(plugins_of(&known, name, &plugins, wanted.escrow)?);
    }
    let mut written = Vec::new();
    let keys = secrets::make_keys(command, &known, families.iter().copied(), &folder, &mut written)?;
    let secrets::Tokens {
        lines: operators,
        tokens,
    } = secrets::make_tokens(&wanted.operators)?;
    let api_key = match &wanted.tenant {
        Some(name) => Some((name.as_str(), secrets::make_api_key(name, &folder, &mut written)?)),
        None => None,
    };
    let text = text::configuration(&text::Parts {
        listen: &command.listen,
        admin: &command.admin,
        data: command.data.as_deref().unwrap_or(Path::new("data")),
        plugins: &plugins,
        folder: &folder,
        networks: &networks,
        keys: &keys,
        plugin_lines: &plugin_lines,
        tenant: api_key.as_ref().map(|(name, hash)| (*name, hash.as_str())),
        operators: &operators,
    });
    fs::write(file, text)
        .map_err(|error| CliError(format!("{} can't be written: {error}", file.display())))?;
    for path in &written {
        writeln!(out, "wrote {}", path.display())?;
    }
    writeln!(out, "wrote {}\n", file.display())?;
    for (name, token) in &tokens {
        writeln!(out, "token of {name}, printed this once: {}", token.as_str())?;
    }
    let checked = check::check(
        &CheckCommand {
            ask: false,
            file: ConfigFile { config: file.clone() },
        },
        out,
    );
    if let Err(CliError(why)) = checked {
        return Err(CliError(format!(
            "{} was written, and does not pass yet:\n{why}",
            file.display()
        )));
    }
    next_steps(file, &networks, &keys, out)?;
    if !operators.is_empty() {
        writeln!(
            out,
            "  open http://{}/ on this machine: the dashboard",
            command.admin
        )?;
    }
    Ok(())
}

fn next_steps(
    file: &Path,
    networks: &[NetworkLines],
    keys: &[KeyLines],
    out: &mut dyn Write,
) -> Result<(), CliError> {
    writeln!(out, "\nNext:")?;
    for network in networks {
        let key = keys.iter().find(|key| key.family == family(&network.id));
        let address = key.map_or("the signer", |key| key.address.as_str());
        writeln!(
            out,
            "  send some {} on {} to {address}: it pays for transactions and for nothing else",
            network.symbol, network.title
        )?;
    }
    let file = file.display();
    writeln!(
        out,
        "  switchyard check --ask --config {file}    # are the nodes and signers ready?"
    )?;
    writeln!(out, "  switchyard serve --config {file}")?;
    Ok(())
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn family(network: &str) -> &str {
    network.split(':').next().unwrap_or_default()
}

/// `NAME=VALUE` of a flag.
fn pairs<'a>(flag: &str, values: &'a [String]) -> Result<Vec<(&'a str, &'a str)>, CliError> {
    let pair = |text: &'a String| {
        text.split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .ok_or_else(|| CliError(format!("--{flag} {text}: write NAME=VALUE")))
    };
    values.iter().map(pair).collect()
}

/// The folder with plugin files.
fn find_plugins(command: &InitCommand, folder: &Path) -> Result<PathBuf, CliError> {
    if let Some(plugins) = &command.plugins {
        return plugins
            .canonicalize()
            .map_err(|error| CliError(format!("{} can't be read: {error}", plugins.display())));
    }
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent);
    let candidates = [
        Some(folder.join("plugins")),
        beside.map(|bin| bin.join("../plugins")),
        beside.map(|bin| bin.join("plugins")),
        beside.map(Path::to_owned),
    ];
    let has_plugins = |path: &PathBuf| files(path).next().is_some();
    candidates
        .into_iter()
        .flatten()
        .find(has_plugins)
        .and_then(|path| path.canonicalize().ok())
        .ok_or_else(|| {
            CliError(format!(
                "no plugin files are in {} or beside this program; write --plugins FOLDER",
                folder.join("plugins").display()
            ))
        })
}

/// Shared libraries in a folder.
fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "so"))
}

/// The plugins for networks of a family: the one that drives them, and the one with escrow.
fn plugins_of(
    known: &Known,
    family: &str,
    folder: &Path,
    with_escrow: bool,
) -> Result<Vec<PluginLines>, CliError> {
    let Some(known) = known.family(family) else {
        return Err(CliError(format!("{family} is no known family of networks")));
    };
    let drives = plugin(&known.plugin, &known.file, folder).ok_or_else(|| {
        CliError(format!(
            "no file in {} drives {family} networks; copy {} there, or write --plugins FOLDER",
            folder.display(),
            known.file
        ))
    })?;
    let mut plugins = vec![PluginLines {
        name: family_name(family),
        is_escrow: false,
        ..drives
    }];
    if let Some(escrow) = known.escrow.as_ref().filter(|_| with_escrow) {
        let holds = plugin(&escrow.plugin, &escrow.file, folder).ok_or_else(|| {
            CliError(format!(
                "no file in {} has escrow for {family} networks; copy {} there, or leave out --escrow",
                folder.display(),
                escrow.file
            ))
        })?;
        plugins.push(PluginLines {
            name: format!("{}-auth-capture", family_name(family)),
            is_escrow: true,
            ..holds
        });
    }
    Ok(plugins)
}

/// The file in a folder whose manifest has this id: the one with the name that it is built with, or else any other.
fn plugin(id: &str, named: &str, folder: &Path) -> Option<PluginLines> {
    let mut found: Vec<PathBuf> = files(folder).collect();
    found.sort_by_key(|path| (path.file_name() != Some(named.as_ref()), path.clone()));
    found.iter().find_map(|path| {
        let inspected = plugin_host::inspect(path).ok()?;
        (inspected.manifest.id == id).then(|| PluginLines {
            name: id.to_owned(),
            file: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            sha256: inspected.sha256.to_string(),
            is_escrow: false,
        })
    })
}

/// The name of a plugin's section.
fn family_name(family: &str) -> String {
    match family {
        "eip155" => "evm".to_owned(),
        "solana" => "svm".to_owned(),
        other => other.to_owned(),
    }
}
