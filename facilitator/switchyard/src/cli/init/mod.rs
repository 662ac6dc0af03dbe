//! `switchyard init`: writes a first configuration, with keys of its own, that passes `switchyard check`.
//!
//! What is not given as a flag is typed on a terminal, and has a default elsewhere. Nothing that exists is overwritten.

mod networks;
mod secrets;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
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
    let networks = networks::networks(command, &known)?;
    let plugins = find_plugins(command, &folder)?;
    let families: BTreeMap<&str, ()> = networks.iter().map(|network| (family(&network.id), ())).collect();
    let mut plugin_lines = Vec::new();
    for name in families.keys() {
        plugin_lines.push(plugin(&known, name, &plugins)?);
    }
    let mut written = Vec::new();
    let keys = secrets::make_keys(command, &known, families.keys().copied(), &folder, &mut written)?;
    let api_key = match &command.tenant {
        Some(name) => Some((name.as_str(), secrets::make_api_key(name, &folder, &mut written)?)),
        None => None,
    };
    let text = text::configuration(&text::Parts {
        listen: &command.listen,
        plugins: &plugins,
        folder: &folder,
        networks: &networks,
        keys: &keys,
        plugin_lines: &plugin_lines,
        tenant: api_key.as_ref().map(|(name, hash)| (*name, hash.as_str())),
    });
    fs::write(file, text)
        .map_err(|error| CliError(format!("{} can't be written: {error}", file.display())))?;
    for path in &written {
        writeln!(out, "wrote {}", path.display())?;
    }
    writeln!(out, "wrote {}\n", file.display())?;
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

/// The plugin that drives a family.
fn plugin(known: &Known, family: &str, folder: &Path) -> Result<PluginLines, CliError> {
    let missing = || {
        let file = known.family(family).map_or("", |family| family.file.as_str());
        CliError(format!(
            "no file in {} drives {family} networks; copy {file} there, or write --plugins FOLDER",
            folder.display()
        ))
    };
    let wanted = known.family(family).ok_or_else(missing)?;
    let mut found: Vec<PathBuf> = files(folder).collect();
    found.sort();
    for path in found {
        let Ok(inspected) = plugin_host::inspect(&path) else {
            continue;
        };
        if inspected.manifest.id == wanted.plugin {
            return Ok(PluginLines {
                name: family_name(family),
                file: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                sha256: inspected.sha256.to_string(),
            });
        }
    }
    Err(missing())
}

/// The name of a plugin's section.
fn family_name(family: &str) -> String {
    match family {
        "eip155" => "evm".to_owned(),
        "solana" => "svm".to_owned(),
        other => other.to_owned(),
    }
}
