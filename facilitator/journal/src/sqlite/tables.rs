//! Rows in SQL: what the projection and queries work on.
//!
//! Values are compressed ([`values`]), and the keys of the tables that grow with every settlement are packed
//! ([`packed`]). Rows of an earlier version have a text as key and as value and stay as they are until they are written again. SQLite
//! sorts all texts ahead of all bytes, so a table that has both is read in two parts.

use std::collections::BTreeMap;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, ToSql};

use super::super::{JournalError, Rows, Storage, Table, Write};
use super::known_claims::KnownClaims;
use super::{packed, values};

/// The tables as one connection sees them inside its transaction.
pub(super) struct Tables<'c> {
    connection: &'c Connection,
    disk_full: bool,
    statements: u64,
    /// Whether each table with packed keys has rows of an earlier version.
    earlier: BTreeMap<Table, bool>,
    /// Receives every claim that is written.
    known_claims: Option<&'c KnownClaims>,
}

/// A key as SQLite has it.
enum Key {
    Text(String),
    Packed(Vec<u8>),
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Packed(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Which of a table's rows: those with these keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Packed,
}

impl Form {
    /// In which new rows of the table are written. Tables whose rows are few, or soon gone, can be read with any tool.
    fn of(table: Table) -> Self {
        match table {
            Table::Claims
            | Table::Requests
            | Table::Settlements
            | Table::Finished
            | Table::Plans
            | Table::Attempts
            | Table::AttemptSteps
            | Table::Payloads
            | Table::ClosedSlots
            | Table::Evidence
            | Table::Lookups
            | Table::History
            | Table::Spending => Self::Packed,
            Table::Unfinished
            | Table::OpenSlots
            | Table::Lanes
            | Table::ConflictKeys
            | Table::Reserves
            | Table::Holds
            | Table::Store
            | Table::Jobs
            | Table::DueJobs
            | Table::Withheld
            | Table::FinalHeights
            | Table::StoreExpiry
            | Table::Leases
            | Table::Handovers
            | Table::Grants
            | Table::Intents
            | Table::Settings => Self::Text,
        }
    }

    fn key(self, key: &str) -> Key {
        match self {
            Self::Text => Key::Text(key.to_owned()),
            Self::Packed => Key::Packed(packed::pack(key)),
        }
    }
}

impl<'c> Tables<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            disk_full: false,
            statements: 0,
            earlier: BTreeMap::new(),
            known_claims: None,
        }
    }

    /// The same for the journal's writer.
    pub(super) fn of_writer(connection: &'c Connection, known_claims: &'c KnownClaims) -> Self {
        Self {
            known_claims: Some(known_claims),
            ..Self::new(connection)
        }
    }

    /// Whether any statement failed because the disk was full.
    pub(super) fn disk_full(&self) -> bool {
        self.disk_full
    }

    /// How many statements were run.
    pub(super) fn statements(&self) -> u64 {
        self.statements
    }

    /// The greatest key of the table.
    pub(super) fn last_key(&mut self, table: Table) -> Result<Option<String>, JournalError> {
        let mut last = None;
        for form in self.forms(table)? {
            let sql = match form {
                Form::Text => format!("SELECT max(key) FROM {} WHERE key < x''", table.name()),
                Form::Packed => format!("SELECT max(key) FROM {} WHERE key >= x''", table.name()),
            };
            let key = self.run(table, |connection| {
                let mut statement = connection.prepare_cached(&sql)?;
                statement.query_row([], |row| match row.get_ref(0)? {
                    ValueRef::Null => Ok(None),
                    key => key_of(key).map(Some),
                })
            })?;
            last = last.max(key);
        }
        Ok(last)
    }

    /// The forms in which the table has rows, or may have.
    fn forms(&mut self, table: Table) -> Result<Vec<Form>, JournalError> {
        Ok(match Form::of(table) {
            Form::Text => vec![Form::Text],
            Form::Packed if self.has_earlier(table)? => vec![Form::Text, Form::Packed],
            Form::Packed => vec![Form::Packed],
        })
    }

    /// Whether a table with packed keys has rows of an earlier version. No such row is ever added.
    fn has_earlier(&mut self, table: Table) -> Result<bool, JournalError> {
        if let Some(known) = self.earlier.get(&table) {
            return Ok(*known);
        }
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE key < x'')", table.name());
        let found = self.run(table, |connection| {
            connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))
        })?;
        self.earlier.insert(table, found);
        Ok(found)
    }

    fn run<T>(
        &mut self,
        table: Table,
        with: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        self.statements = self.statements.saturating_add(1);
        with(self.connection).map_err(|error| {
            if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
                self.disk_full = true;
            }
            match error {
                rusqlite::Error::FromSqlConversionFailure(_, _, why) if why.is::<JournalError>() => {
                    JournalError(format!("table {}: {why}", table.name()))
                }
                error => JournalError(format!("table {}: {error}", table.name())),
            }
        })
    }

    /// Rows from a statement on, as long as their keys begin with `prefix`, at most `limit`.
    fn rows_of(
        &mut self,
        table: Table,
        sql: &str,
        bounds: &[Key],
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        self.run(table, |connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(rusqlite::params_from_iter(bounds))?;
            let mut found = Vec::new();
            while found.len() < limit {
                let Some(row) = rows.next()? else { break };
                let key = key_of(row.get_ref(0)?)?;
                if !key.starts_with(prefix) {
                    break;
                }
                found.push((key, value_of(row, 1)?));
            }
            Ok(found)
        })
    }

    /// One row at this key, as SQLite has it.
    fn find(&mut self, table: Table, key: &Key) -> Result<Option<String>, JournalError> {
        let sql = format!("SELECT value FROM {} WHERE key = ?1", table.name());
        self.run(table, |connection| {
            connection
                .prepare_cached(&sql)?
                .query_row([key], |row| value_of(row, 0))
                .optional()
        })
    }

    fn execute(&mut self, table: Table, sql: &str, parameters: &[&dyn ToSql]) -> Result<(), JournalError> {
        self.run(table, |connection| {
            connection.prepare_cached(sql)?.execute(parameters).map(|_| ())
        })
    }

    /// A row of an earlier version at this key is removed, because it is written again or goes.
    fn replace_earlier(&mut self, table: Table, key: &str, write: &Write) -> Result<(), JournalError> {
        let (name, key) = (table.name(), Form::Text.key(key));
        match write {
            Write::Insert(_) if self.find(table, &key)?.is_some() => {
                Err(JournalError(format!("table {name}: there is such a row already")))
            }
            Write::Insert(_) => Ok(()),
            Write::Put(_) | Write::Delete => {
                self.execute(table, &format!("DELETE FROM {name} WHERE key = ?1"), &[&key])
            }
        }
    }
}

/// An error of our own on its way through SQLite's.
fn unreadable(error: JournalError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error))
}

fn key_of(key: ValueRef<'_>) -> rusqlite::Result<String> {
    match key {
        ValueRef::Blob(bytes) => packed::unpack(bytes).ok_or_else(|| {
            unreadable(JournalError(
                "a key can't be read: restore a backup with `switchyard journal restore`, or get help before you continue".into(),
            ))
        }),
        key => Ok(key.as_str()?.to_owned()),
    }
}

fn value_of(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let text = values::decode(row.get_ref(column)?).map_err(unreadable)?;
    Ok(text.into_owned())
}

impl Rows for Tables<'_> {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<String>, JournalError> {
        let form = Form::of(table);
        let found = self.find(table, &form.key(key))?;
        if found.is_none() && form == Form::Packed && self.has_earlier(table)? {
            return self.find(table, &Form::Text.key(key));
        }
        Ok(found)
    }

    fn scan(
        &mut self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let name = table.name();
        // Keys compare as bytes, as Rust's strings do. After the last key with the prefix the loop ends, and with it
        // the statement. An `after` below the prefix changes nothing.
        let (follows, from) = match after.filter(|after| *after >= prefix) {
            Some(after) => (">", after),
            None => (">=", prefix),
        };
        let mut found = Vec::new();
        for form in self.forms(table)? {
            let sql = match form {
                Form::Text => {
                    format!("SELECT key, value FROM {name} WHERE key {follows} ?1 AND key < x'' ORDER BY key")
                }
                Form::Packed => {
                    format!("SELECT key, value FROM {name} WHERE key {follows} ?1 ORDER BY key")
                }
            };
            found.extend(self.rows_of(table, &sql, &[form.key(from)], prefix, limit)?);
        }
        if self.earlier.get(&table) == Some(&true) {
            found.sort_unstable();
            found.truncate(limit);
        }
        Ok(found)
    }

    fn scan_back(
        &mut self,
        table: Table,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let sql = format!(
            "SELECT key, value FROM {} WHERE key < ?1 AND key >= ?2 ORDER BY key DESC",
            table.name()
        );
        // After the prefix, no key has the last of all characters.
        let end = format!("{prefix}{}", char::MAX);
        let from = before.filter(|before| **before < *end).unwrap_or(&end);
        let mut found = Vec::new();
        for form in self.forms(table)? {
            let bounds = [form.key(from), form.key(prefix)];
            found.extend(self.rows_of(table, &sql, &bounds, prefix, limit)?);
        }
        if self.earlier.get(&table) == Some(&true) {
            found.sort_unstable_by(|one, other| other.cmp(one));
            found.truncate(limit);
        }
        Ok(found)
    }
}

impl Storage for Tables<'_> {
    fn write(&mut self, table: Table, key: &str, write: &Write) -> Result<(), JournalError> {
        if let (Table::Claims, Some(known)) = (table, self.known_claims) {
            known.add(key);
        }
        let form = Form::of(table);
        if form == Form::Packed && self.has_earlier(table)? {
            self.replace_earlier(table, key, write)?;
        }
        let (name, key) = (table.name(), form.key(key));
        match write {
            Write::Insert(value) => {
                let sql = format!("INSERT INTO {name} (key, value) VALUES (?1, ?2)");
                self.execute(table, &sql, &[&key, &values::encode(value)])
            }
            Write::Put(value) => {
                let sql = format!(
                    "INSERT INTO {name} (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
                );
                self.execute(table, &sql, &[&key, &values::encode(value)])
            }
            Write::Delete => self.execute(table, &format!("DELETE FROM {name} WHERE key = ?1"), &[&key]),
        }
    }
}
