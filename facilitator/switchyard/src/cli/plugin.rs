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

A plugin's code runs in the process, and can end it. The next start finds out which one did. A plugin that did so while the
process started, or for the second time within an hour, is in quarantine: it is not loaded, what it serves is not ready, and its
recorded payments wait. Everything else is served. Another file of the plugin is loaded again.")]
    Quarantine(ConfigFile),
    /// Load a plugin again that is in quarantine, from the next start on.
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
