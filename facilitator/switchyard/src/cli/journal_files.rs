//! `switchyard journal verify`, `stats`, `backup` and `restore`: the files of the journal.

use std::io::Write;
use std::path::Path;

use super::{BackupCommand, CliError, JournalCommand, RestoreCommand, export};
use crate::config::CommandConfig;
use journal::sqlite::tools;

pub(super) fn run(command: &JournalCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        JournalCommand::Verify(file) => verify(&file.config, out),
        JournalCommand::Stats(file) => stats(&file.config, out),
        JournalCommand::Export(command) => export::export(command, out),
        JournalCommand::Backup(command) => backup(command, out),
        JournalCommand::Restore(command) => restore(command, out),
    }
}

fn directory(file: &Path) -> Result<std::path::PathBuf, CliError> {
    Ok(CommandConfig::load(file).map_err(CliError::new)?.data_directory)
}

fn verify(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let directory = directory(file)?;
    let verified = tools::verify(&directory).map_err(CliError::new)?;
    let (first, last) = verified.events;
    writeln!(
        out,
        "the journal in {} is whole: events {first} to {last}, {} rows",
        directory.display(),
        verified.rows
    )?;
    Ok(())
}

fn stats(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let directory = directory(file)?;
    let stats = tools::stats(&directory).map_err(CliError::new)?;
    let (database, log) = stats.bytes;
    writeln!(out, "{:<22} {:>14}", "schema", stats.schema)?;
    writeln!(out, "{:<22} {database:>14} bytes", "database")?;
    writeln!(out, "{:<22} {:>14} bytes", "  free, used again", stats.free_bytes)?;
    writeln!(out, "{:<22} {log:>14} bytes", "write-ahead log")?;
    let (first, last) = stats.events;
    let events = if last == 0 {
        0
    } else {
        last.saturating_sub(first).saturating_add(1)
    };
    writeln!(
        out,
        "{:<22} {events:>14} events, {first} to {last}",
        "log of events"
    )?;
    for (table, rows) in stats.rows {
        writeln!(out, "{:<22} {rows:>14} rows", table)?;
    }
    Ok(())
}

fn backup(command: &BackupCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let directory = directory(&command.file.config)?;
    let copied = tools::backup(&directory, &command.to).map_err(CliError::new)?;
    writeln!(
        out,
        "{} has events up to {} and {} rows. It holds signed payments: keep it as safe as a key",
        command.to.display(),
        copied.events.1,
        copied.rows
    )?;
    Ok(())
}

fn restore(command: &RestoreCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let directory = directory(&command.file.config)?;
    let restored = tools::restore(&directory, &command.from, command.any_origin).map_err(CliError::new)?;
    writeln!(
        out,
        "the journal in {} is now {} with events up to {}",
        directory.display(),
        command.from.display(),
        restored.last_event
    )?;
    if let Some(folder) = restored.replaced {
        writeln!(out, "what was there before is in {}", folder.display())?;
    }
    writeln!(
        out,
        "{} payments are withheld, because a caller may have got success since the backup: `switchyard releases` lists \
         them. Start `switchyard serve`: what was sent since the backup is searched on the chain before anything is sent",
        restored.withheld
    )?;
    Ok(())
}
