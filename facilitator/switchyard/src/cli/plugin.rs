//! `switchyard plugin`: what a plugin's file says, and what plugins did to the process.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

use super::{CliError, ConfigFile, plugin_inspect, plugin_quarantine};

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
}

pub(super) fn run(command: PluginCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        PluginCommand::Inspect { file } => plugin_inspect::inspect(&file, out),
        PluginCommand::Quarantine(file) => plugin_quarantine::show(&file.config, out),
        PluginCommand::Release { name, file } => plugin_quarantine::release(&file.config, &name, out),
    }
}
