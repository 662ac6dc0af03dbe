//! `switchyard journal verify`, `stats`, `backup` and `restore`: the journal as a whole.

use std::io::Write;
use std::path::Path;

use super::payments::{absent, journal_of};
use super::{BackupCommand, CliError, JournalCommand, RestoreCommand, export};
use crate::app::JournalReader;
use journal::postgres::{Operator, Stats};
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

fn verify(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let journal = journal_of(file)?;
    match &journal {
        JournalReader::Directory(directory) => {
            let verified = tools::verify(directory).map_err(CliError::new)?;
            let (first, last) = verified.events;
            writeln!(
                out,
                "the journal in {} is whole: events {first} to {last}, {} rows",
                directory.display(),
                verified.rows
            )?;
        }
        JournalReader::Database(operator) => {
            let verified = operator.verify().map_err(CliError::new)?;
            let (writers, events) = verified.ok_or_else(|| absent(&journal))?;
            writeln!(
                out,
                "the event log in {} is whole: {events} events of {writers} processes. The database itself checks its pages: \
                 see data_checksums and pg_amcheck",
                operator.address()
            )?;
        }
    }
    Ok(())
}

fn stats(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let journal = journal_of(file)?;
    let directory = match &journal {
        JournalReader::Directory(directory) => directory,
        JournalReader::Database(operator) => {
            let stats = operator.stats().map_err(CliError::new)?;
            return print_stats(&stats.ok_or_else(|| absent(&journal))?, out);
        }
    };
    let stats = tools::stats(directory).map_err(CliError::new)?;
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

/// What a database holds.
fn print_stats(stats: &Stats, out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(out, "{:<22} {:>14}", "schema", stats.schema)?;
    match stats.bytes {
        Some((rows, events)) => {
            writeln!(out, "{:<22} {rows:>14} bytes", "rows and their index")?;
            writeln!(out, "{:<22} {events:>14} bytes", "events and their index")?;
        }
        None => writeln!(out, "{:<22} {:>14}", "size", "not shown by this database")?,
    }
    writeln!(
        out,
        "{:<22} {:>14} events of {} processes",
        "log of events", stats.events, stats.writers
    )?;
    for (table, rows) in &stats.rows {
        writeln!(out, "{table:<22} {rows:>14} rows")?;
    }
    Ok(())
}

/// A database is copied by its own tools: only they know its log, and they copy all of it in one state.
fn no_copies(operator: &Operator, what: &str) -> CliError {
    CliError(format!(
        "{} is the journal, and `switchyard journal {what}` is for a journal in a file: see `Back up and restore` in the \
         handbook's page PostgreSQL. Back up with pg_dump or continuous archiving; restore with pg_restore or point-in-time \
         recovery while every node is stopped. A database from a backup may lack payments and releases that callers know: \
         search the signers' transactions since the backup before you start a node",
        operator.address()
    ))
}

fn backup(command: &BackupCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let directory = match journal_of(&command.file.config)? {
        JournalReader::Directory(directory) => directory,
        JournalReader::Database(operator) => return Err(no_copies(&operator, "backup")),
    };
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
    let directory = match journal_of(&command.file.config)? {
        JournalReader::Directory(directory) => directory,
        JournalReader::Database(operator) => return Err(no_copies(&operator, "restore")),
    };
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
