//! What an operator does with the files of a journal: check them, back them up while a process uses them, restore a
//! backup, and see what they hold.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::super::keys::id_key;
use super::super::queries::decode;
use super::super::row::{SettlementRow, SlotRow};
use super::super::{JournalError, Rows as _, Table};
use super::tables::Tables;
use super::{event_log, files, meta};

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Number of the oldest event that is kept, and of the newest one.
    pub events: (i64, i64),
    /// Rows of all tables together.
    pub rows: u64,
}

/// What a journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The version of its schema.
    pub schema: i64,
    /// Length of the database and of its write-ahead log, in bytes.
    pub bytes: (u64, u64),
    /// Bytes of the database that are free and will be used again.
    pub free_bytes: u64,
    /// Number of the oldest event that is kept, and of the newest one.
    pub events: (i64, i64),
    /// Each table of rows with the number of its rows.
    pub rows: Vec<(&'static str, u64)>,
}

/// The journal of a directory, only for reading; a process may be using it.
fn open(directory: &Path) -> Result<Connection, JournalError> {
    let path = directory.join(files::DATABASE);
    if !path.exists() {
        return Err(JournalError(format!(
            "{} has no journal; write the data.directory of a facilitator that has run",
            directory.display()
        )));
    }
    let connection = files::connect_read_only(&path)?;
    readable(&connection, &path)?;
    Ok(connection)
}

/// Refuses what is no journal, or one of a version whose tables this one can't read as they are.
pub(super) fn readable(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    files::is_a_journal(connection, path)?;
    let schema = files::schema(connection, path)?;
    if (files::READABLE_FROM..=files::SCHEMA).contains(&schema) {
        return Ok(());
    }
    let what = if schema < files::SCHEMA {
        "use the version that wrote it, or let this version's `switchyard serve` start once with it, which brings it up to date"
    } else {
        "use the version that wrote it or a newer one"
    };
    Err(JournalError(format!(
        "{} has schema {schema} and this version of switchyard knows {}; {what}",
        path.display(),
        files::SCHEMA
    )))
}

fn failed(error: &rusqlite::Error) -> JournalError {
    JournalError(error.to_string())
}

/// Checks the pages of the database, the whole chain of events, that every row can be read, and that rows that belong
/// together are there.
pub fn verify(directory: &Path) -> Result<Verified, JournalError> {
    let connection = open(directory)?;
    let verified = check(&connection)?;
    let transaction = connection
        .unchecked_transaction()
        .map_err(|error| failed(&error))?;
    let mut tables = Tables::new(&transaction);
    for table in Table::ALL {
        let mut last: Option<String> = None;
        meta::each(&mut tables, table, |_, key, _| {
            if last.as_deref() == Some(key) {
                return Err(JournalError(format!(
                    "table {} has the key {key} twice; restore a backup, or get help before you continue",
                    table.name()
                )));
            }
            last = Some(key.to_owned());
            Ok(())
        })?;
    }
    Ok(verified)
}

fn check(connection: &Connection) -> Result<Verified, JournalError> {
    // One state for all that follows.
    let transaction = connection
        .unchecked_transaction()
        .map_err(|error| failed(&error))?;
    let found: String = transaction
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| failed(&error))?;
    if found != "ok" {
        return Err(JournalError(format!(
            "the database is damaged ({found}); restore a backup with `switchyard journal restore`"
        )));
    }
    let events = event_log::verify_all(&transaction)?;
    if let Some((what, key)) = missing(&mut Tables::new(&transaction))? {
        return Err(JournalError(format!(
            "the journal has {what} ({key}); restore a backup, or get help before you continue"
        )));
    }
    let mut rows: u64 = 0;
    for (_, number) in counts(&transaction)? {
        rows = rows.saturating_add(number);
    }
    Ok(Verified { events, rows })
}

/// A row without one that belongs to it, and its key.
fn missing(tables: &mut Tables<'_>) -> Result<Option<(&'static str, String)>, JournalError> {
    let mut found = None;
    meta::each(tables, Table::Unfinished, |tables, key, _| {
        let Some(text) = tables.get(Table::Settlements, key)? else {
            found.get_or_insert(("an unfinished settlement without a row", key.to_owned()));
            return Ok(());
        };
        let row: SettlementRow = decode(Table::Settlements, key, &text)?;
        if !row.steps.is_empty() && tables.get(Table::Plans, key)?.is_none() {
            found.get_or_insert(("an unfinished settlement without a plan", key.to_owned()));
        }
        Ok(())
    })?;
    meta::each(tables, Table::OpenSlots, |tables, key, text| {
        let slot: SlotRow = decode(Table::OpenSlots, key, text)?;
        for attempt in slot.attempts {
            let id = id_key(attempt);
            if tables.get(Table::Attempts, &id)?.is_none() || tables.get(Table::Payloads, &id)?.is_none() {
                let what = "an open slot whose transaction has no row or no signed bytes";
                found.get_or_insert((what, key.to_owned()));
            }
        }
        Ok(())
    })?;
    meta::each(tables, Table::Claims, |tables, key, text| {
        let id: u64 = decode(Table::Claims, key, text)?;
        if tables.get(Table::Settlements, &id_key(id))?.is_none() {
            found.get_or_insert(("a claim without its settlement", key.to_owned()));
        }
        Ok(())
    })?;
    Ok(found)
}

fn counts(connection: &Connection) -> Result<Vec<(&'static str, u64)>, JournalError> {
    let count = |table: Table| {
        let sql = format!("SELECT count(*) FROM {}", table.name());
        let number: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        Ok((table.name(), u64::try_from(number).unwrap_or(0)))
    };
    let counts: rusqlite::Result<Vec<_>> = Table::ALL.into_iter().map(count).collect();
    counts.map_err(|error| failed(&error))
}

/// What the journal of a directory holds.
pub fn stats(directory: &Path) -> Result<Stats, JournalError> {
    let connection = open(directory)?;
    let path = directory.join(files::DATABASE);
    let transaction = connection
        .unchecked_transaction()
        .map_err(|error| failed(&error))?;
    let number = |sql: &str| -> Result<i64, JournalError> {
        transaction
            .query_row(sql, [], |row| row.get(0))
            .map_err(|error| failed(&error))
    };
    let free = number("PRAGMA freelist_count")?.saturating_mul(number("PRAGMA page_size")?);
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    Ok(Stats {
        schema: files::schema(&transaction, &path)?,
        bytes: (length(&path), length(&files::wal(&path))),
        free_bytes: u64::try_from(free).unwrap_or(0),
        events: event_log::range(&transaction).map_err(|error| failed(&error))?,
        rows: counts(&transaction)?,
    })
}

/// Writes a copy of the journal to a new file, in one state, while a process may use it. The copy holds bearer instruments:
/// only its owner can read it.
pub fn backup(directory: &Path, to: &Path) -> Result<Verified, JournalError> {
    let connection = open(directory)?;
    copy(&connection, to)?;
    let copied = Connection::open_with_flags(to, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    let copied = copied.map_err(|error| failed(&error))?;
    check(&copied)
}

/// Copies the database that a connection reads to a new private file, durably.
pub(super) fn copy(connection: &Connection, to: &Path) -> Result<(), JournalError> {
    let cannot = |error: &dyn std::fmt::Display| {
        JournalError(format!(
            "{} can't be written: {error}; write a path that does not exist yet, on a disk with enough room",
            to.display()
        ))
    };
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to);
    let file = created.map_err(|error| cannot(&error))?;
    let name = to.to_str().ok_or_else(|| cannot(&"the path is not UTF-8"))?;
    // SQLite forbids to write an open file under a connection that only reads, and the copy is another file.
    let written = connection
        .pragma_update(None, "query_only", false)
        .and_then(|()| connection.execute("VACUUM INTO ?1", [name]).map(|_| ()));
    let synced = written
        .map_err(|error| cannot(&error))
        .and_then(|()| file.sync_all().map_err(|error| cannot(&error)));
    if let Err(error) = synced {
        // What is there is no backup.
        let _ = std::fs::remove_file(to);
        return Err(error);
    }
    sync_folder(to)
}

fn sync_folder(file: &Path) -> Result<(), JournalError> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| JournalError(format!("{} can't be synced: {error}", folder.display())))
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Number of the backup's newest event.
    pub last_event: i64,
    /// Where the files are that the backup replaced; `None`: there were none.
    pub replaced: Option<PathBuf>,
    /// Payments whose release is withheld now.
    pub withheld: usize,
}

/// Replaces a directory's journal, which no process may be using, with a backup. What was there is moved aside.
///
/// Everything that is unreleased in the backup is withheld: a caller may have got `success` since the backup was made.
/// `any_origin`: also a backup of another facilitator's journal.
pub fn restore(directory: &Path, from: &Path, any_origin: bool) -> Result<Restored, JournalError> {
    let path = files::database(directory)?;
    let _lock = files::lock(&path)?;
    let new = directory.join("journal.sqlite.restoring");
    // What an earlier restore left when it was interrupted.
    remove_database(&new)?;
    {
        let source = files::connect_read_only(from)?;
        readable(&source, from)?;
        if !any_origin {
            same_origin(&source, from, &path)?;
        }
        copy(&source, &new)?;
    }
    let last_event = {
        let mut connection = files::connect(&new)?;
        files::migrate_copy(&mut connection, &new)?;
        check(&connection)?;
        let head = event_log::verify(&connection)?;
        let last_id = meta::highest_id(&connection)?;
        let why = format!(
            "a backup was restored ({}, {} events)",
            from.display(),
            head.seq()
        );
        super::old_copy(&new, &connection, head, last_id.saturating_add(1), &why)?;
        meta::skip_ids(&connection)?;
        connection
            .pragma_update(None, "journal_mode", "DELETE")
            .map_err(|error| failed(&error))?;
        head.seq()
    };
    fold(&path);
    let replaced = move_aside(directory, &path)?;
    std::fs::rename(&new, &path)
        .map_err(|error| JournalError(format!("{} can't be moved: {error}", new.display())))?;
    sync_folder(&path)?;
    let withheld = super::withheld(directory)?.len();
    Ok(Restored {
        last_event,
        replaced,
        withheld,
    })
}

/// Refuses a backup of a journal with another secret than the one that it would replace.
fn same_origin(source: &Connection, from: &Path, path: &Path) -> Result<(), JournalError> {
    let is_there = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0);
    if !is_there {
        return Ok(());
    }
    // A damaged journal is what a backup is for.
    let Ok(present) = files::connect_read_only(path) else {
        return Ok(());
    };
    let secrets = (meta::secret(source)?, meta::secret(&present));
    match secrets {
        (backup, Ok(present)) if backup != present => Err(JournalError(format!(
            "{} is a backup of another journal than {}; write the right file, or --any-origin if you know that this \
             facilitator continues the other one's payments with the other one's keys",
            from.display(),
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn remove_database(path: &Path) -> Result<(), JournalError> {
    for file in [path.to_owned(), files::wal(path), files::index(path)] {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(JournalError(format!(
                    "{} can't be removed: {error}",
                    file.display()
                )));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Brings the write-ahead log into the database that is replaced, as far as it can be read: the two must not be parted.
fn fold(path: &Path) {
    if path.exists()
        && let Ok(connection) = files::connect(path)
    {
        // A damaged journal stays as it is.
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

/// Moves the journal's files into a new folder beside them. The lock stays, and so does the database under its name, until the
/// backup takes the name over: a start in between finds the old journal, never none.
fn move_aside(directory: &Path, path: &Path) -> Result<Option<PathBuf>, JournalError> {
    let old: Vec<PathBuf> = [
        path.to_owned(),
        files::wal(path),
        files::index(path),
        files::mark(path),
    ]
    .into_iter()
    .filter(|file| file.exists())
    .collect();
    if old.is_empty() {
        return Ok(None);
    }
    let mut folder = directory.join("replaced");
    let mut number: u32 = 1;
    while folder.exists() {
        number = number.saturating_add(1);
        folder = directory.join(format!("replaced-{number}"));
    }
    let cannot = |what: &Path, error: &std::io::Error| {
        JournalError(format!("{} can't be moved aside: {error}", what.display()))
    };
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(|error| cannot(&folder, &error))?;
    for file in &old {
        let to = folder.join(file.file_name().unwrap_or_default());
        let moved = if file == path {
            std::fs::hard_link(file, to)
        } else {
            std::fs::rename(file, to)
        };
        moved.map_err(|error| cannot(file, &error))?;
    }
    sync_folder(&folder)?;
    Ok(Some(folder))
}
