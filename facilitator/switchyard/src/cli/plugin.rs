//! `switchyard plugin`: what a plugin's file says, what plugins did to the process, and what the journal keeps of one.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::plugin_adopt::{self, AdoptCommand};
use super::{CliError, ConfigFile, plugin_inspect, plugin_quarantine};
use crate::app::admin;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Print a plugin's manifest, its SHA-256, and the configuration lines to paste. Runs none of its code.
    #[command(after_help = "\
Example:
  switchyard plugin inspect plugins/libswitchyard_evm.so")]
    Inspect {
        /// The plugin's .so file.
        file: PathBuf,
    },
    /// Have the running process read its configuration again, and replace plugins and tenants that have changed.
    #[command(after_help = "\
Example:
  switchyard plugin reload --config switchyard.toml

SIGHUP does the same where the process has no terminal. A plugin whose file, configuration or isolation has changed is loaded, started
and checked beside the one that serves; then it takes over, and the other one ends with the last of its calls. A failure keeps the
one that serves, and the exit status is 1. Tenants and their keys are replaced. Everything else in the file takes effect at the
next start, and so does a plugin that wants other services, networks or call targets; the reply lists it.")]
    Reload(ConfigFile),
    /// Show the plugins that ended the process, and which of them are in quarantine.
    #[command(after_help = "\
Example:
  switchyard plugin quarantine --config switchyard.toml

A plugin's code can end the process, unless its entry says isolation = \"process\". The next start finds out which one did, and runs
it in a process of its own from then on: it is in quarantine. So is one that was at work twice within an hour when the process
was killed. Another file of the plugin runs in the facilitator's process again.")]
    Quarantine(ConfigFile),
    /// Take a plugin out of quarantine, from the next start on.
    #[command(after_help = "\
Example:
  switchyard plugin release mytoken --config switchyard.toml")]
    Release {
        /// Its name in the configuration, after `plugin.`.
        name: String,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Keep a plugin's payments, rows and jobs under another manifest id. Every process must be stopped.
    #[command(after_help = "\
Examples:
  switchyard plugin adopt acme.exact acme.exact2 --dry-run --config switchyard.toml   # counts, and changes nothing
  switchyard plugin adopt acme.exact acme.exact2 --config switchyard.toml

The journal keeps claims, conflict keys, rows of stores and jobs under the `id` in a plugin's manifest. A plugin with another
id finds none of them: its open payments have no plugin, and authorizations that it has settled count as new. Run this after
the last process with the old id has stopped and before the first one with the new id starts. It is one commit: all of it or
nothing. It is refused where the new id has a claim, conflict key, row or job of its own with the same key. To undo it, adopt
in the other direction. With [journal] postgres it waits some seconds for nodes that have not given their leases up, and is
refused while one lives.")]
    Adopt(AdoptCommand),
}

pub(super) fn run(command: PluginCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        PluginCommand::Inspect { file } => plugin_inspect::inspect(&file, out),
        PluginCommand::Reload(file) => reload(&file.config, out),
        PluginCommand::Quarantine(file) => plugin_quarantine::show(&file.config, out),
        PluginCommand::Adopt(command) => plugin_adopt::adopt(&command, out),
        PluginCommand::Release { name, file } => plugin_quarantine::release(&file.config, &name, out),
    }
}

fn reload(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let config = Config::load(file).map_err(CliError::new)?;
    let (is_done, lines) = admin::send(&config.data_directory, admin::RELOAD).map_err(CliError)?;
    if !is_done {
        return Err(CliError(lines.join("\n")));
    }
    if lines.is_empty() {
        writeln!(out, "nothing has changed")?;
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
