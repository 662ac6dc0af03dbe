//! The command line. Results go to standard output, logs and errors to standard error; exit status 0 means done, 1 that
//! something has to be corrected (each error says what), 2 a wrong command line.

mod check;
mod inspect;
mod key;
mod open_files;
mod pause;
mod releases;
mod serve;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::keys;

#[derive(Debug, Parser)]
#[command(
    name = "switchyard",
    version,
    about = "An x402 payment facilitator whose schemes and chains are plugins",
    after_help = "\
From a plugin file to a running facilitator:
  switchyard plugin inspect plugins/libswitchyard_evm.so   # prints the lines that load it
  switchyard check --config switchyard.toml                # is everything as it should be?
  switchyard serve --config switchyard.toml                # opens the port; SIGTERM drains and ends it"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve payments until SIGTERM, SIGINT or SIGHUP.
    #[command(after_help = "\
Example:
  SWITCHYARD_KEY=0x… switchyard serve --config switchyard.toml

What the journal holds unfinished is taken up before the port opens. On any of these signals new payments get 503,
requests that were begun may finish for [server] drain_seconds, and the process exits with status 0.
The variable SWITCHYARD_LOG overrides [log] level, for instance SWITCHYARD_LOG=info,engine=debug.")]
    Serve(ConfigFile),
    /// Check a configuration, its keys and its plugin files, and print what would be served. Tries the port and the data
    /// directory, reads the journal, and sends nothing.
    #[command(after_help = "\
Examples:
  switchyard check --config switchyard.toml
  switchyard check --ask --config switchyard.toml   # also: do nodes answer, can signers pay, is each scheme ready?

All mistakes of the file itself are told at once, each with file, line, key and what to write instead. Once the file can be
read, everything that is wrong with keys, plugin files and their configuration, port, data directory and journal is told at
once in the same way.")]
    Check(CheckCommand),
    /// Take nothing new: everything, a network, a scheme, or a scheme on a network. Takes effect within a second.
    #[command(after_help = "\
Example:
  switchyard pause --network eip155:8453 --reason \"the token's issuer was hacked\" --config switchyard.toml

The running process reads what is paused from a file in data.directory, and so does the next one. New settlements get
503, /verify says that the payment can't be taken, and /supported leaves the kind out. What is recorded already is
watched and carried on, and its callers get their answers.")]
    Pause(PauseCommand),
    /// Lift pauses: all of them, or those of a network or scheme.
    #[command(after_help = "\
Example:
  switchyard resume --network eip155:8453 --config switchyard.toml

A pause is lifted when what was given to `switchyard pause` matches: `resume --network X` lifts pauses of that network,
not one of everything. Without --network and --scheme every pause is lifted.")]
    Resume(ResumeCommand),
    /// Show what is paused, since when and why.
    #[command(after_help = "\
Example:
  switchyard paused --config switchyard.toml")]
    Paused(ConfigFile),
    /// Show payments that are not released because the journal may be an old copy, and allow releases.
    #[command(after_help = "\
Examples:
  switchyard releases --config switchyard.toml
  switchyard releases allow 0x88df… --config switchyard.toml
  switchyard releases allow --all --config switchyard.toml

After a restored backup a payment that is unreleased in the journal may have been told as success already. Its callers
get duplicate_settlement with the hash. Allow a release when the seller did not deliver: the next equal request then gets
success, once. The running process carries it out within a second, a stopped one at its next start.")]
    Releases(ReleasesCommand),
    /// Look at plugin files.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Make the hashes that the configuration wants instead of API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show what can be configured.
    #[command(subcommand, name = "config")]
    Reference(ReferenceCommand),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "switchyard.toml",
        env = "SWITCHYARD_CONFIG"
    )]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct CheckCommand {
    /// Also load the plugins, and ask nodes, drivers and schemes whether they are ready. Reads only.
    #[arg(long)]
    ask: bool,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Args)]
struct Kinds {
    /// Only this network, by its CAIP-2 id.
    #[arg(long, value_name = "CAIP2")]
    network: Option<String>,
    /// Only this scheme.
    #[arg(long, value_name = "NAME")]
    scheme: Option<String>,
}

#[derive(Debug, Args)]
struct PauseCommand {
    #[command(flatten)]
    kinds: Kinds,
    /// Why; shown by `switchyard paused` and in the log, not to callers.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Args)]
struct ResumeCommand {
    #[command(flatten)]
    kinds: Kinds,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
struct ReleasesCommand {
    #[command(subcommand)]
    command: Option<ReleasesSubcommand>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum ReleasesSubcommand {
    /// Let payments be released: the next equal request of each gets success.
    Allow(AllowCommand),
}

#[derive(Debug, Args)]
struct AllowCommand {
    /// Transactions of the payments, as `switchyard releases` shows them.
    #[arg(value_name = "HASH", required_unless_present = "all", conflicts_with = "all")]
    hashes: Vec<String>,
    /// Everything that is withheld now.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Print a plugin's manifest, its SHA-256, and the configuration lines to paste. Runs none of its code.
    #[command(after_help = "\
Example:
  switchyard plugin inspect plugins/libswitchyard_evm.so")]
    Inspect {
        /// The plugin's .so file.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Read a tenant's API key from standard input and print the key_sha256 line for `[[tenants]]`.
    #[command(after_help = "\
Example: make a key, keep it for the tenant, and write its hash into the configuration:
  openssl rand -hex 32 | tee shop.key | switchyard key hash")]
    Hash,
}

#[derive(Debug, Subcommand)]
enum ReferenceCommand {
    /// Print every key with type, default and meaning, as Markdown.
    Reference,
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
struct CliError(String);

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CliError {
    fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self(format!("the result can't be written: {error}"))
    }
}

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    match execute(Cli::parse().command, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError(message)) => {
            // Where nobody reads it, the exit status still says that it failed.
            let _ = writeln!(io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        Command::Serve(file) => serve::serve(&file.config),
        Command::Check(check) => check::check(&check, out),
        Command::Pause(pause) => pause::pause(&pause, out),
        Command::Resume(resume) => pause::resume(&resume, out),
        Command::Paused(file) => pause::paused(&file.config, out),
        Command::Releases(ReleasesCommand {
            command: Some(ReleasesSubcommand::Allow(allow)),
            ..
        }) => releases::allow(&allow, out),
        Command::Releases(ReleasesCommand { command: None, file }) => releases::list(&file.config, out),
        Command::Plugin(PluginCommand::Inspect { file }) => inspect::inspect(&file, out),
        Command::Key(KeyCommand::Hash) => key::hash(io::stdin().lock(), out),
        Command::Reference(ReferenceCommand::Reference) => Ok(out.write_all(keys::markdown().as_bytes())?),
    }
}
