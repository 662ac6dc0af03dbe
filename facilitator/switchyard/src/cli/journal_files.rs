//! `switchyard journal verify`, `stats`, `backup` and `restore`: the journal as a whole.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::payments::{absent, journal_of};
use super::{CliError, ConfigFile, export};
use crate::app::JournalReader;
use journal::postgres::{Operator, Stats};
use journal::sqlite::tools;

#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    /// Check the whole journal: the database, the chain of events, and that no row is missing. A process may be using it.
    #[command(after_help = "\
Example:
  switchyard journal verify --config switchyard.toml

A start checks the newest events only. This checks all of them; it takes some seconds for each million. With [journal] postgres
it checks the events of every process that has written; the database checks its own pages.")]
    Verify(ConfigFile),
    /// Show the size of the journal and how many rows each table has.
    #[command(after_help = "\
Example:
  switchyard journal stats --config switchyard.toml

Rows are removed in time: [journal] keep_… in the configuration says when. Free bytes are used again. With [journal] postgres
every row is counted, which may take some seconds for each million.")]
    Stats(ConfigFile),
    /// Write payments and what transactions cost as JSON Lines or CSV, for accounting. Works while a process runs.
    #[command(after_help = "\
Examples:
  switchyard journal export --since 2026-11-01 --until 2026-12-01 --csv --out november.csv --config switchyard.toml
  switchyard journal export --since 24h | jq -r 'select(.kind == \"cost\") | .transaction'

A line of kind payment is one payment, by the time at which it was opened; its gasPaid is what its own transaction cost. A line
of kind cost is a transaction that cost gas and is not the payment's own: it filled a slot, had no effect, or was a further
step. So the sum of gasPaid is what the signers paid, as far as nodes have shown it. A transaction with several payments counts
in parts. Amounts are atomic units of the asset, gasPaid is in native atomic units, times are UTC. In CSV a cell that a
spreadsheet would read as a formula begins with '. Settlements that were removed in time ([journal] keep_settlement_days) are
not in it.")]
    Export(export::ExportCommand),
    /// Write a copy of the journal to a new file, also while a process uses the journal.
    #[command(after_help = "\
Example:
  switchyard journal backup /backups/switchyard-$(date +%F).sqlite --config switchyard.toml

The copy is checked after it was written. It holds signed payments: only its owner can read it. With [journal] postgres, use
pg_dump or continuous archiving instead.")]
    Backup(BackupCommand),
    /// Replace the journal with a backup. The process must be stopped.
    #[command(after_help = "\
Example:
  switchyard journal restore /backups/switchyard-2026-11-29.sqlite --config switchyard.toml
  switchyard releases --config switchyard.toml   # what is withheld now

The backup is checked first. The files that it replaces are moved into a folder beside it. A payment that is unreleased in
the backup may have been reported as success since: it is withheld until you allow it with `switchyard releases allow`.
Payments that were started after the backup are not in it; the next start compares each signer's nonce with the chain
and waits until it is known what was sent. With [journal] postgres, use the database's recovery instead: see the handbook's page
PostgreSQL.")]
    Restore(RestoreCommand),
}

#[derive(Debug, Args)]
pub(super) struct BackupCommand {
    /// The file to write. It must not exist yet.
    #[arg(value_name = "FILE")]
    pub(super) to: PathBuf,
    #[command(flatten)]
    pub(super) file: ConfigFile,
}

#[derive(Debug, Args)]
pub(super) struct RestoreCommand {
    /// The backup, as `switchyard journal backup` wrote it.
    #[arg(value_name = "FILE")]
    pub(super) from: PathBuf,
    /// Also restore a backup of another facilitator's journal.
    #[arg(long)]
    pub(super) any_origin: bool,
    #[command(flatten)]
    pub(super) file: ConfigFile,
}

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
    stats_of(&journal_of(file)?, out)
}

/// The same of a journal that is known already.
pub(super) fn stats_of(journal: &JournalReader, out: &mut dyn Write) -> Result<(), CliError> {
    let directory = match journal {
        JournalReader::Directory(directory) => directory,
        JournalReader::Database(operator) => {
            let stats = operator.stats().map_err(CliError::new)?;
            return print_stats(&stats.ok_or_else(|| absent(journal))?, out);
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
