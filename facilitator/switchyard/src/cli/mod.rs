//! The command line. Results go to standard output, logs and errors to standard error. Exit status 0: done; 1: something has
//! to be corrected, as each error says; 2: invalid command line.

#[cfg(test)]
mod adopt_tests;
mod check;
mod core_files;
#[cfg(test)]
mod database_tests;
mod explain;
mod export;
#[cfg(test)]
mod export_tests;
mod harmless;
mod init;
mod journal_files;
mod key_hash;
mod keys;
mod open_files;
mod pause;
mod payments;
#[cfg(test)]
mod payments_tests;
mod plugin;
mod plugin_adopt;
mod plugin_inspect;
mod plugin_quarantine;
mod progress;
mod reconcile;
mod releases;
mod serve;
mod settings;
mod shell;
mod support;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::keys as reference;

#[derive(Debug, Parser)]
#[command(
    name = "switchyard",
    version,
    about = "An x402 payment facilitator whose schemes and chains are plugins",
    after_help = "\
From nothing to a running facilitator:
  switchyard init --network base-sepolia                   # writes switchyard.toml with a new key
  switchyard check --config switchyard.toml                # finds errors before the start
  switchyard serve --config switchyard.toml                # opens the port; SIGTERM drains and stops it"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The process of an isolated plugin.
    #[command(name = plugin_host::runner::SUBCOMMAND, hide = true)]
    PluginRunner {
        /// For lists of processes.
        name: Option<String>,
    },
    /// Write a first configuration with new keys that passes `check`. What is not given is typed.
    #[command(after_help = "\
Examples:
  switchyard init                                               # questions on a terminal
  switchyard init --network base-sepolia --network solana-devnet
  switchyard init --network base --rpc base=https://node.example/KEY --tenant shop
  switchyard init --network eip155:8217 --rpc eip155:8217=https://node.example --max-cost eip155:8217=50000000000000000

It writes the configuration, and in the folder keys beside it an encrypted keystore for each family of networks, its password, and a
tenant's API key. Keep the password elsewhere when others can read backups of that folder.")]
    Init(init::InitCommand),
    /// Serve payments until SIGTERM or SIGINT.
    #[command(after_help = "\
Example:
  SWITCHYARD_KEY=0x… switchyard serve --config switchyard.toml

Unfinished payments in the journal are resumed before the port opens. On any of these signals new payments get 503,
requests in flight have [server] drain_seconds to finish, and the process exits with status 0. SIGHUP reloads plugins and tenants
(`switchyard plugin reload`); where standard input is a terminal, it means that the terminal was closed, and drains, too.
The variable SWITCHYARD_LOG overrides [log] level, for instance SWITCHYARD_LOG=info,engine=debug.")]
    Serve(ConfigFile),
    /// Check a configuration, its keys and its plugin files, and print what would be served. Also checks the port, the data
    /// directory and the journal. Sends no transaction.
    #[command(after_help = "\
Examples:
  switchyard check --config switchyard.toml
  switchyard check --ask --config switchyard.toml   # also: do nodes reply, can signers pay, is each scheme ready?

All errors of the file itself are reported at once, each with file, line, key and what to write instead. Once the file is
valid, all errors of keys, plugin files and their configuration, port, data directory and journal are reported at once in
the same way.")]
    Check(CheckCommand),
    /// Stop new settlements: all, or those of a network, a scheme, or a scheme on a network. Takes effect within a second.
    #[command(after_help = "\
Example:
  switchyard pause --network eip155:8453 --reason \"the token's issuer was hacked\" --config switchyard.toml

The running process reads the pauses from a file in data.directory, and so does the next one. With [journal] postgres, every
node reads them from the database. New settlements get 503,
/verify replies that the payment can't be settled now, and /supported omits the kind. Recorded payments continue, and
their callers get their replies.")]
    Pause(PauseCommand),
    /// Lift pauses: all of them, or those of a network or scheme.
    #[command(after_help = "\
Example:
  switchyard resume --network eip155:8453 --config switchyard.toml

A pause is lifted when the values given to `switchyard pause` match: `resume --network X` lifts pauses of that network,
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

After a backup was restored, a payment that is unreleased in the journal may have been reported as success already. Its
callers get duplicate_settlement with the hash. Allow a release when the seller did not deliver: the next equal request
then gets success, once. A running process applies this within a second, a stopped one at its next start. With [journal] postgres,
all nodes do.")]
    Releases(ReleasesCommand),
    /// Check, back up, restore and export the journal, and show what it holds.
    #[command(subcommand)]
    Journal(journal_files::JournalCommand),
    /// List payments from the journal, the newest first. Works while a process runs, and after it.
    #[command(after_help = "\
Examples:
  switchyard payments --config switchyard.toml                  # the newest 50
  switchyard payments --open                                    # what has no outcome yet
  switchyard payments --payer 0x857b… --since 24h --json        # one object a line
  switchyard payments --since 2026-01-01 --limit 0 --csv > payments.csv
  switchyard payments --tx 0x88df…                              # every payment that a transaction carries

The members of --json are those of GET /settlements, with tenant and claim. Times are UTC, amounts are atomic units of the
asset. In CSV a cell that a spreadsheet would read as a formula begins with '.")]
    Payments(payments::PaymentsCommand),
    /// Show everything that is recorded of one payment: its state, and each event with its time.
    #[command(after_help = "\
Examples:
  switchyard explain 0x88df… --config switchyard.toml           # by transaction
  switchyard explain 3f0c9a… --json                             # by the id of a settle reply, for programs

A payment is named by its id, by any of its transactions, or by its claim. Several are shown where a transaction carries
several payments, or where an authorization that failed was used again. Times are UTC.")]
    Explain(explain::ExplainCommand),
    /// Compare the journal with the chains for a day, and print differences. Only reads. Works while a process runs.
    #[command(after_help = "\
Examples:
  switchyard reconcile --config switchyard.toml                 # the payments of yesterday, UTC
  switchyard reconcile --day 2026-11-28 --json
  switchyard reconcile --since 48h --network eip155:8453

Loads plugins and keys as `check --ask` does, and has the configured nodes show each transaction of the payments that were
opened in that time. A difference is: a payment that is settled in the journal and absent or reverted on the chain; one that
is failed in the journal and a success on the chain; a transaction of a signer that the journal does not know (by nonces);
another fee. What no node could show is listed as `could not be read`, and is no difference.
Exit status 0: no difference; 1: differences; 2: no difference was found, and something could not be read.")]
    Reconcile(reconcile::ReconcileCommand),
    /// Write one archive with what a person needs to help you: versions, configuration, checks, state. Secrets are removed.
    #[command(after_help = "\
Examples:
  switchyard support --config switchyard.toml
  switchyard support --log /var/log/switchyard.log --output support.tar.gz
  journalctl -u switchyard -n 5000 -o cat > log && switchyard support --log log --payment 0x88df…

Works while a process runs, when none does, and when the configuration or the journal is broken: the archive then says what could
not be read. It sends nothing. Private keys, passwords, API keys and their hashes, paths of RPC URLs and payloads are
removed. Names, addresses, amounts of one payment (--payment) and hosts of nodes stay: read the files before you send them.")]
    Support(support::SupportCommand),
    /// Inspect plugin files, reload plugins, give one another id, and see which of them ended the process.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Make and show the keys that sign transactions, and the hashes of API keys.
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Show what can be configured.
    #[command(subcommand, name = "config")]
    Reference(ReferenceCommand),
    /// Print the version, the commit that it was built from, and the plugin ABI.
    Version,
    /// Print a script that completes commands in a shell.
    #[command(after_help = "\
Examples:
  switchyard completions bash > /etc/bash_completion.d/switchyard
  switchyard completions zsh > ~/.zfunc/_switchyard
  switchyard completions fish > ~/.config/fish/completions/switchyard.fish")]
    Completions { shell: clap_complete::Shell },
    /// Write a manual page for each command into a folder.
    #[command(after_help = "\
Example:
  switchyard man --out /usr/local/share/man/man1")]
    Man {
        /// The folder. It must exist.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
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
    /// Also load the plugins, and check whether nodes, drivers and schemes are ready. Only reads.
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
    /// Only this signer of the network, by its address: it is drained. It gets nothing new and finishes what it has; the other
    /// signers continue.
    #[arg(long, value_name = "ADDRESS", requires = "network", conflicts_with = "scheme")]
    signer: Option<String>,
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
enum ReferenceCommand {
    /// Print every key with type, default and meaning, as Markdown.
    Reference,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct CliError(String);

impl CliError {
    fn new(error: impl Display) -> Self {
        Self(error.to_string())
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self(format!("the result can't be written: {error}"))
    }
}

/// Runs the command of the command line.
#[must_use]
pub fn run() -> ExitCode {
    core_files::forbid();
    let command = Cli::parse().command;
    let failure = match command {
        Command::Reconcile(_) => reconcile::unreadable(),
        _ => ExitCode::FAILURE,
    };
    match execute(command, &mut io::stdout()) {
        Ok(status) => status,
        Err(CliError(message)) => {
            // If standard error is closed, the exit status still reports the failure.
            let _ = writeln!(io::stderr(), "{message}");
            failure
        }
    }
}

fn execute(command: Command, out: &mut dyn Write) -> Result<ExitCode, CliError> {
    let done = match command {
        Command::Reconcile(command) => return reconcile::reconcile(&command, out),
        Command::PluginRunner { name: _ } => plugin_host::runner::run().map_err(CliError),
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
        Command::Journal(command) => journal_files::run(&command, out),
        Command::Payments(command) => payments::payments(&command, out),
        Command::Explain(command) => explain::explain(&command, out),
        Command::Support(command) => support::support(&command, out),
        Command::Plugin(command) => plugin::run(command, out),
        Command::Init(command) => init::init(&command, out),
        Command::Key(command) => keys::run(&command, out),
        Command::Version => shell::version(out),
        Command::Completions { shell } => shell::completions(shell, out),
        Command::Man { out: folder } => shell::man(&folder, out),
        Command::Reference(ReferenceCommand::Reference) => {
            Ok(out.write_all(reference::markdown().as_bytes())?)
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}
