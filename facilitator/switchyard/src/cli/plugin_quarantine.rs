//! `switchyard plugin quarantine` and `plugin release`: plugins that ended the process.

use std::io::Write;
use std::path::Path;

use super::{CliError, harmless};
use crate::app::{aside, plugin_folder, quarantine};
use crate::config::Config;
use http_api::times;

pub(super) fn show(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let config = Config::load(file).map_err(CliError::new)?;
    list(&plugin_folder(&config), out)
}

/// What is recorded in the folder of plugins of a data directory.
pub(super) fn list(folder: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let entries = quarantine::read(folder).map_err(CliError::new)?;
    let payments = aside::read(folder).map_err(CliError::new)?;
    if entries.is_empty() && payments.is_empty() {
        writeln!(out, "no plugin has ended the process")?;
    }
    for entry in entries {
        let state = match entry.why() {
            Some(_) => "in quarantine",
            None => "suspected",
        };
        writeln!(out, "{} ({state}), file {}", entry.plugin, entry.sha256)?;
        for end in &entry.ends {
            let when = if end.served {
                "while it served"
            } else {
                "at its start"
            };
            writeln!(out, "  {}  {when}: {}", times::iso(end.at_ms), end.what)?;
        }
    }
    for payment in payments {
        let state = if payment.is_set_aside() {
            "set aside"
        } else {
            "ended its process once"
        };
        let shown = |text: &Option<String>| harmless::line(text.as_deref().unwrap_or("-"));
        let number = payment.settlement.map_or("-".to_owned(), |id| id.to_string());
        writeln!(
            out,
            "{}: a payment ({state}), file {}",
            payment.plugin, payment.sha256
        )?;
        writeln!(
            out,
            "  {}  {} times, the last time while it was {}",
            times::iso(payment.last_ms),
            payment.ends,
            payment.doing
        )?;
        writeln!(
            out,
            "  scheme {}, network {}, settlement {number}, claim {}, payload {}",
            shown(&payment.scheme),
            shown(&payment.network),
            shown(&payment.claim),
            payment.payment
        )?;
    }
    Ok(())
}

pub(super) fn release(file: &Path, name: &str, out: &mut dyn Write) -> Result<(), CliError> {
    let config = Config::load(file).map_err(CliError::new)?;
    if quarantine::release(&plugin_folder(&config), name).map_err(CliError::new)? {
        writeln!(
            out,
            "{name} is out of quarantine at the next start; its payments that are set aside are served again from then on, or from \
             `switchyard plugin reload` on"
        )?;
        return Ok(());
    }
    Err(CliError(format!(
        "{name} has not ended the process; `switchyard plugin quarantine` shows which plugins have"
    )))
}
