//! The journal's files: who may open them, in which mode, and which schema they have.
//!
//! Next to the database are SQLite's `-wal` and `-shm`, our own `.lock`, and `journal.mark`. All belong together and
//! are private: any reader of the signed transactions in them can send these. While they are open they must stay where
//! they are: an open file that has lost its name accepts every write, and the next start finds none of them.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::super::JournalError;
use super::advice::Advice;

/// In the database's header: `SwYd`.
const APPLICATION_ID: i64 = 0x5377_5964;
/// Schemas in order; the database's `user_version` counts how many it has.
pub(super) const MIGRATIONS: [&str; 6] = [
    include_str!("001.sql"),
    include_str!("002.sql"),
    include_str!("003.sql"),
    include_str!("004.sql"),
    include_str!("005.sql"),
    include_str!("006.sql"),
];
/// The newest schema.
pub(super) const SCHEMA: i64 = MIGRATIONS.len() as i64;
/// The oldest schema whose tables this version reads as they are: schema 6 only allows other forms of values and keys.
pub(super) const READABLE_FROM: i64 = 5;
/// The database's name in the journal's directory.
pub(super) const DATABASE: &str = "journal.sqlite";
/// How long to wait for another program that reads the file (a backup, an operator's shell).
const BUSY: Duration = Duration::from_secs(5);
/// Memory in which the writer keeps pages: the pages that a second's payments change. With SQLite's own 2 MB most of them
/// are read again for each group of commits, and a large group is written twice.
const CACHE_KIB: i64 = 32 << 10;
/// Length of the write-ahead log, in pages of 4 KiB, from which a commit also checkpoints it. A page that is changed again
/// before is written to the database once. A start after a crash reads the whole log, in less than 0.1 s.
const CHECKPOINT_PAGES: i64 = 4_096;
/// Readable and writable for the owner alone.
const PRIVATE: u32 = 0o600;

/// The database's path in a directory, which is created (private) where it is missing.
pub(super) fn database(directory: &Path) -> Result<PathBuf, JournalError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| cannot(directory, "created", &error))?;
    Ok(directory.join(DATABASE))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// SQLite's write-ahead log.
pub(super) fn wal(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// SQLite's index of the write-ahead log, in which its locks are.
pub(super) fn index(path: &Path) -> PathBuf {
    beside(path, "-shm")
}

/// How far the event log had come.
pub(super) fn mark(path: &Path) -> PathBuf {
    path.with_file_name("journal.mark")
}

pub(super) fn lock_file(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

fn cannot(path: &Path, what: &str, error: &impl Advice) -> JournalError {
    JournalError(format!(
        "{} can't be {what}: {error}; {}",
        path.display(),
        error.advice()
    ))
}

/// Keeps every other process away until it is dropped, or this process ends in any way.
#[derive(Debug)]
pub(super) struct Lock(File);

/// A program that is being started has this process's open files for a moment, and closing ours alone would leave them the lock.
impl Drop for Lock {
    fn drop(&mut self) {
        // It ends with the last of those files in any case.
        let _ = self.0.unlock();
    }
}

pub(super) fn lock(path: &Path) -> Result<Lock, JournalError> {
    let lock = lock_file(path);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(PRIVATE)
        .open(&lock)
        .map_err(|error| cannot(&lock, "opened", &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&lock).unwrap_or_default();
            return Err(JournalError(format!(
                "{} is in use by another process ({}); stop it first, or write another folder for this one",
                path.display(),
                holder.trim()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(cannot(&lock, "locked", &error)),
    }
    // For the message above; whether it can be written does not matter.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "pid {}", std::process::id()));
    Ok(Lock(file))
}

/// Creates the database file where there is none, and makes all files private.
pub(super) fn prepare(path: &Path) -> Result<(), JournalError> {
    match OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(PRIVATE)
        .open(path)
    {
        Ok(file) => {
            file.sync_all().map_err(|error| cannot(path, "created", &error))?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| cannot(folder, "synced", &error))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(cannot(path, "created", &error)),
    }
    for file in [path.to_owned(), wal(path), index(path)] {
        match std::fs::metadata(&file) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                std::fs::set_permissions(&file, Permissions::from_mode(PRIVATE))
                    .map_err(|error| cannot(&file, "made private (mode 0600)", &error))?;
            }
            // Private already, or not there yet: SQLite gives its files the database's mode.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Identifies a file, whatever its name. Its number is not given to another file as long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// The files that are open, and the paths where the next start expects them.
pub(super) struct InUse(Vec<(PathBuf, Identity)>);

impl InUse {
    /// Must be called when the database has been opened and read, and before anything relies on its content.
    ///
    /// The database's files are read by their names: opening them a second time would release SQLite's locks when the
    /// file is closed.
    pub(super) fn note(path: &Path, lock: &Lock) -> Result<Self, JournalError> {
        let held = lock_file(path);
        let found = lock.0.metadata().map_err(|error| cannot(&held, "read", &error))?;
        let mut files = vec![(held, Identity::from(&found))];
        for file in [path.to_owned(), wal(path), index(path)] {
            let found = std::fs::metadata(&file).map_err(|error| cannot(&file, "found", &error))?;
            files.push((file, Identity::from(&found)));
        }
        Ok(Self(files))
    }

    /// Whether each file still has its name; the error says which one does not, and why.
    pub(super) fn check(&self) -> Result<(), String> {
        for (file, opened) in &self.0 {
            let why = match std::fs::metadata(file) {
                Ok(found) if Identity::from(&found) == *opened => continue,
                Ok(_) => "is another file than the one that is in use".to_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is gone".to_owned(),
                Err(error) => format!("can't be found ({error})"),
            };
            return Err(format!("{} {why}", file.display()));
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|error| cannot(path, "opened", &error))?;
    let set = || {
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "temp_store", "MEMORY")
    };
    set().map_err(|error| cannot(path, "opened", &error))?;
    Ok(connection)
}

/// The writer's connection: write-ahead log, every commit synced.
pub(super) fn connect(path: &Path) -> Result<Connection, JournalError> {
    let connection = open(path)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(|error| cannot(path, "used as a journal", &error))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(JournalError(format!(
            "{} lies on a file system without shared memory (write-ahead log refused); use a local disk",
            path.display()
        )));
    }
    connection
        .pragma_update(None, "synchronous", "FULL")
        .and_then(|()| connection.pragma_update(None, "fullfsync", true))
        .and_then(|()| connection.pragma_update(None, "checkpoint_fullfsync", true))
        .and_then(|()| connection.pragma_update(None, "cache_size", -CACHE_KIB))
        .and_then(|()| connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES))
        .map_err(|error| cannot(path, "used as a journal", &error))?;
    Ok(connection)
}

/// A connection that can't change anything.
pub(super) fn connect_read_only(path: &Path) -> Result<Connection, JournalError> {
    let connection = open(path)?;
    connection
        .pragma_update(None, "query_only", true)
        .map_err(|error| cannot(path, "opened", &error))?;
    // SQLite opens the write-ahead log by its name with the first read. Done now, it is certainly the writer's log,
    // and not a file that another program puts there later.
    connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map_err(|error| cannot(path, "read", &error))?;
    Ok(connection)
}

/// The schema version of the database.
pub(super) fn schema(connection: &Connection, path: &Path) -> Result<i64, JournalError> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| cannot(path, "read", &error))
}

/// Refuses a database of another program.
pub(super) fn is_a_journal(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let application: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|error| cannot(path, "read", &error))?;
    if application == APPLICATION_ID {
        return Ok(());
    }
    Err(JournalError(format!(
        "{} is no journal of switchyard",
        path.display()
    )))
}

/// Where the journal is backed up before its schema is changed.
pub(super) fn before_schema(path: &Path, schema: i64) -> PathBuf {
    beside(path, &format!(".schema-{schema}"))
}

/// Brings the schema up to date, all or nothing. An earlier journal is copied first, so that the version that wrote it can
/// use the copy.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), JournalError> {
    let read = |pragma: &str| -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, pragma, |row| row.get(0))
    };
    let values =
        read("application_id").and_then(|id| Ok((id, read("user_version")?, read("schema_version")?)));
    let (application, version, changes) = values.map_err(|error| cannot(path, "read", &error))?;
    let is_new = application == 0 && version == 0 && changes == 0;
    if application != APPLICATION_ID && !is_new {
        return Err(JournalError(format!(
            "{} is a database of another program; write another folder",
            path.display()
        )));
    }
    let Some(missing) = missing_from(version) else {
        return Err(JournalError(format!(
            "{} has schema {version} and this version of switchyard knows {} at most; run the version that wrote it or a \
             newer one, or write another folder",
            path.display(),
            SCHEMA
        )));
    };
    if missing.is_empty() {
        return Ok(());
    }
    if !is_new {
        back_up(connection, path, version)?;
    }
    run(connection, missing).map_err(|error| cannot(path, "brought to the current schema", &error))
}

/// The migrations that a schema lacks; `None`: it is a later version's.
fn missing_from(schema: i64) -> Option<&'static [&'static str]> {
    MIGRATIONS.get(usize::try_from(schema).unwrap_or(usize::MAX)..)
}

fn run(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in migrations {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

/// Brings the copy of a backup up to date, which needs no backup itself.
pub(super) fn migrate_copy(connection: &mut Connection, path: &Path) -> Result<(), JournalError> {
    let missing = missing_from(schema(connection, path)?).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    run(connection, missing).map_err(|error| cannot(path, "brought to the current schema", &error))
}

fn back_up(connection: &Connection, path: &Path, schema: i64) -> Result<(), JournalError> {
    let copy = before_schema(path, schema);
    if copy.exists() {
        // An earlier start made it, and could not change the schema: nothing was recorded since.
        std::fs::remove_file(&copy).map_err(|error| cannot(&copy, "replaced", &error))?;
    }
    tracing::info!(
        bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        "journal_backup_started: the journal of schema {schema} is copied to {} before its schema is changed, which needs as much \
         room again and may take minutes",
        copy.display()
    );
    super::tools::copy(connection, &copy)?;
    tracing::info!(
        "journal_backed_up: the journal of schema {schema} was copied to {} and is brought to schema {SCHEMA} now. To return to the \
         earlier version: stop, replace journal.sqlite with the copy, remove journal.sqlite-wal and journal.sqlite-shm, \
         and leave journal.mark, so that what may have been released since is withheld",
        copy.display()
    );
    Ok(())
}
