//! `switchyard plugin adopt`: a plugin that got another manifest id keeps its payments, rows and jobs. No process may use the
//! journal meanwhile.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use base::allowed_releases as allowed;
use base::clock::{Clock as _, SystemClock};
use clap::Args;
use journal::{AdoptError, Adopted, Adoption, Journal, adopt};
use tokio::runtime::Builder;

use super::payments::{absent, journal_of};
use super::progress::Progress;
use super::settings::write_error;
use super::{CliError, ConfigFile, harmless};
use crate::app::{Survey, open_for_command};
use crate::config::{CommandConfig, Config};

/// Pause between two reads of how far the work is.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct AdoptCommand {
    /// The id under which the journal keeps the plugin's payments now.
    #[arg(value_name = "OLD")]
    from: String,
    /// The `id` in the manifest of the plugin's new file.
    #[arg(value_name = "NEW")]
    to: String,
    /// Only print what would be changed. A process may be using the journal.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn adopt(command: &AdoptCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let adoption = Adoption::new(&command.from, &command.to).map_err(|error| refused(&error))?;
    let file = &command.file.config;
    if command.dry_run {
        let adopted = survey(file, &adoption)?;
        writeln!(
            out,
            "{} would be kept under {}; nothing was changed",
            listed(&adopted),
            adoption.to()
        )?;
        return Ok(());
    }
    let adopted = change(file, &adoption)?;
    writeln!(out, "{} are now kept under {}", listed(&adopted), adoption.to())?;
    if has_no_plugin(file, adoption.to()) {
        writeln!(
            out,
            "no plugin of {} has the id {} yet: write its section before you start `switchyard serve`",
            file.display(),
            adoption.to()
        )?;
    }
    Ok(())
}

fn refused(error: &AdoptError) -> CliError {
    // Keys and ids are what plugins wrote.
    CliError(harmless::line(&error.to_string()))
}

/// What would be changed.
fn survey(file: &Path, adoption: &Adoption) -> Result<Adopted, CliError> {
    let journal = journal_of(file)?;
    let now_ms = SystemClock.now_ms();
    let found = journal.read(|rows| Ok(adopt::survey(rows, adoption, now_ms)));
    let found = found.map_err(CliError::new)?.ok_or_else(|| absent(&journal))?;
    found.map_err(|error| refused(&error))
}

fn change(file: &Path, adoption: &Adoption) -> Result<Adopted, CliError> {
    // What is not there is not made.
    let reader = journal_of(file)?;
    let is_there = reader.read(|_| Ok(())).map_err(CliError::new)?;
    is_there.ok_or_else(|| absent(&reader))?;
    drop(reader);
    let config = CommandConfig::load(file).map_err(CliError::new)?;
    let journal = open_for_command(&config).map_err(CliError::new)?;
    let adopted = wait(&*journal, adoption)?.map_err(|error| refused(&error))?;
    if config.postgres.is_none() {
        change_allowed(&config.data_directory, adoption)?;
    }
    Ok(adopted)
}

/// Shows how far it is.
fn wait(journal: &dyn Journal, adoption: &Adoption) -> Result<Result<Adopted, AdoptError>, CliError> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| CliError(format!("no timers for this command: {error}")))?;
    let mut progress = Progress::new();
    Ok(runtime.block_on(async {
        let mut adopting = std::pin::pin!(journal.adopt(adoption));
        loop {
            tokio::select! {
                adopted = &mut adopting => return adopted,
                () = tokio::time::sleep(PAUSE) => {
                    progress.show(|| match adoption.rows_read() {
                        0 => "waiting: does any node use the journal?".to_owned(),
                        rows => format!("{} rows were read", grouped(rows)),
                    });
                }
            }
        }
    }))
}

/// Releases that an operator allowed, and that no process has applied yet, are in a file beside the journal: they name the claim.
fn change_allowed(directory: &Path, adoption: &Adoption) -> Result<(), CliError> {
    let done = |why: String| {
        CliError(format!(
            "{} is adopted, but the list of allowed releases is not changed: {why}. Run `switchyard releases allow` again for what \
             `switchyard releases` shows as withheld",
            adoption.from()
        ))
    };
    let failed = |error: std::io::Error| done(write_error(directory, &error).0);
    let _lock = allowed::lock(directory).map_err(failed)?;
    let mut list = allowed::read(directory).map_err(|error| done(error.to_string()))?;
    if adoption.move_claims(&mut list) {
        allowed::write(directory, &list).map_err(failed)?;
    }
    Ok(())
}

/// Whether the configuration certainly has no plugin with this id. If it, or a plugin file, can't be read, that is not known.
fn has_no_plugin(file: &Path, id: &str) -> bool {
    let survey = Config::load(file)
        .ok()
        .and_then(|config| Survey::make(&config).ok());
    survey.is_some_and(|survey| survey.instances.iter().all(|one| one.manifest.id != id))
}

fn listed(adopted: &Adopted) -> String {
    let Adopted {
        settlements,
        unfinished,
        rows,
        jobs,
    } = *adopted;
    let open = match unfinished {
        0 => String::new(),
        _ => format!(" ({} not finished)", grouped(unfinished)),
    };
    format!(
        "{}{open}, {}, {}",
        counted(settlements, "settlement"),
        counted(rows, "row"),
        counted(jobs, "job")
    )
}

fn counted(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", grouped(number)),
    }
}

/// The number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && digits.len().saturating_sub(at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let numbers = [0, 999, 1_000, 12_345, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
