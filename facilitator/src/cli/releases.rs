//! `switchyard releases`: what an old journal withholds, for whoever may write into the journal's directory.

use std::io::Write;

use super::{CliError, ReleasesCommand};
use crate::allowed;
use crate::config::Config;
use crate::journal::SettlementRow;
use crate::journal::sqlite::SqliteJournal;

pub(super) fn releases(command: &ReleasesCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let config = Config::load(&command.file.config).map_err(CliError::new)?;
    let directory = &config.data_directory;
    let withheld = SqliteJournal::withheld_in(directory).map_err(|error| CliError(error.0))?;
    let words = if command.allow_all {
        vec![allowed::ALL.to_owned()]
    } else {
        command.allow.clone()
    };
    if words.is_empty() {
        return list(&withheld, out);
    }
    let is_known = |word: &String| {
        word == allowed::ALL
            || withheld
                .iter()
                .any(|row| row.tx_id.as_deref() == Some(word.as_str()))
    };
    if let Some(unknown) = words.iter().find(|word| !is_known(word)) {
        return Err(CliError(format!(
            "no withheld release has the transaction {unknown:?}; `switchyard releases` shows those that there are"
        )));
    }
    allowed::add(directory, &words).map_err(|error| {
        CliError(format!(
            "{} can't be written ({error}); run this as the user that serves",
            directory.display()
        ))
    })?;
    writeln!(
        out,
        "allowed; the running process, or the next one, takes it over"
    )?;
    Ok(())
}

fn list(withheld: &[SettlementRow], out: &mut dyn Write) -> Result<(), CliError> {
    if withheld.is_empty() {
        writeln!(out, "no release is withheld")?;
    }
    for row in withheld {
        writeln!(
            out,
            "withheld: {} on {} ({}), payer {}, tenant {}, opened {} (ms since 1970)",
            row.tx_id.as_deref().unwrap_or("without a transaction"),
            row.network,
            row.scheme,
            row.payer,
            row.tenant.as_deref().unwrap_or("none"),
            row.opened_at_ms
        )?;
    }
    Ok(())
}
