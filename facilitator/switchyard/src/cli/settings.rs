//! What commands set for running processes: a row of the database that nodes share, or else a file in the data directory.

use std::path::Path;

use super::CliError;
use crate::app::JournalReader;
use crate::config::CommandConfig;
use journal::postgres::Operator;
use journal::settings;
use telemetry::disk::remedy;

/// How often a change is tried that other commands and nodes disturb.
const TRIES: u32 = 50;

/// Where the commands' settings are.
pub(super) fn place(config: &CommandConfig) -> Result<JournalReader, CliError> {
    JournalReader::new(&config.data_directory, config.postgres.as_ref()).map_err(CliError::new)
}

/// The text of a row; `None`: it was never set.
pub(super) fn text(operator: &Operator, name: &str) -> Result<Option<String>, CliError> {
    let read = operator.read(|rows| settings::all(rows)).map_err(CliError::new)?;
    // Before the first start there is no table.
    Ok(read.unwrap_or_default().remove(name))
}

/// Changes the text of a row. `change` gets the text and returns the new one; it is called again if another process was
/// faster.
pub(super) fn change(
    operator: &Operator,
    name: &str,
    mut change: impl FnMut(Option<&str>) -> Result<String, CliError>,
) -> Result<(), CliError> {
    for _ in 0..TRIES {
        let seen = text(operator, name)?;
        let new = change(seen.as_deref())?;
        let is_set = operator.put_setting(name, seen.as_deref(), &new);
        if is_set.map_err(CliError::new)? {
            return Ok(());
        }
    }
    Err(CliError(format!(
        "{}: other commands change it all the time; run the command again",
        operator.address()
    )))
}

pub(super) fn write_error(directory: &Path, error: &std::io::Error) -> CliError {
    CliError(format!(
        "{} can't be written ({error}); {}",
        directory.display(),
        remedy(error)
    ))
}
