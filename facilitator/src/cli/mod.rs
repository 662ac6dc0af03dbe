//! The command line: `serve`, `check`, `plugin inspect`, `key hash`, `config reference`.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod inspect;
mod serve;

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sha2::{Digest, Sha256};

use crate::config::{Config, keys};

/// Longest API key that is hashed, bytes.
const MAX_API_KEY_BYTES: u64 = 4_096;

const EXAMPLES: &str = "\
Examples:
  switchyard plugin inspect plugins/libswitchyard_evm.so   what a plugin is, and the lines that load it
  switchyard check --config switchyard.toml                what would be served, or everything that is wrong
  switchyard serve --config switchyard.toml                serve until SIGTERM";

/// An x402 facilitator: checks and settles signed payments on many networks.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve payments until SIGTERM or Ctrl-C, then drain.
    ///
    /// Open settlements are resumed from the journal before the port opens. A chain that is down is reported by /ready
    /// and does not keep the others from being served.
    Serve(ConfigFile),
    /// Check configuration, keys and plugin files without serving anything.
    ///
    /// Reads keys and plugin manifests, runs no plugin code, asks no node. Prints what would be served.
    Check(ConfigFile),
    /// Look at plugin files.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Work with tenants' API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show what can be configured.
    #[command(subcommand, name = "config")]
    Reference(ConfigCommand),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "switchyard.toml", env = "SWITCHYARD_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Print a plugin's manifest and digest, and the configuration lines that load it. Runs none of its code.
    Inspect {
        /// The plugin's .so file.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Read an API key from standard input and print its `key_sha256` line for `[[tenants]]`.
    ///
    /// Example: openssl rand -hex 32 | tee api-key | switchyard key hash
    Hash,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every key with type, default and meaning, as Markdown.
    Reference,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(ConfigFile { config }) => serve::serve(&config),
        Command::Check(ConfigFile { config }) => serve::check(&config),
        Command::Plugin(PluginCommand::Inspect { file }) => inspect::inspect(&file),
        Command::Key(KeyCommand::Hash) => hash(std::io::stdin()),
        Command::Reference(ConfigCommand::Reference) => {
            print!("{}", keys::markdown());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn hash(input: impl Read) -> Result<(), String> {
    let mut text = String::new();
    let mut input = input.take(MAX_API_KEY_BYTES);
    input.read_to_string(&mut text).map_err(|error| format!("the API key can't be read: {error}"))?;
    let key = text.trim();
    if key.len() < 16 {
        return Err("write the API key to standard input; at least 16 characters, so that nobody guesses it".into());
    }
    println!("key_sha256 = \"{}\"", hex::encode(Sha256::digest(key.as_bytes())));
    Ok(())
}

fn load(path: &std::path::Path) -> Result<Config, String> {
    Config::load(path).map_err(|errors| errors.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_short_api_key_is_refused() {
        assert!(hash(&b"short"[..]).is_err());
        assert!(hash(&b"0123456789abcdef\n"[..]).is_ok());
    }
}
