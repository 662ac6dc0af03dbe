//! Rows in SQL: what the projection and queries work on.

use std::cell::Cell;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use super::super::{JournalError, Rows, Storage, Table, Write};

/// The tables as one connection sees them inside its transaction.
pub(super) struct Tables<'c> {
    connection: &'c Connection,
    disk_full: Cell<bool>,
}

impl<'c> Tables<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            disk_full: Cell::new(false),
        }
    }

    /// Whether any statement failed because the disk was full.
    pub(super) fn disk_full(&self) -> bool {
        self.disk_full.get()
    }

    /// The greatest key of the table.
    pub(super) fn last_key(&mut self, table: Table) -> Result<Option<String>, JournalError> {
        let sql = format!("SELECT max(key) FROM {}", table.name());
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(|error| self.failed(table, &error))
    }

    fn failed(&self, table: Table, error: &rusqlite::Error) -> JournalError {
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            self.disk_full.set(true);
        }
        JournalError(format!("table {}: {error}", table.name()))
    }
}

impl Rows for Tables<'_> {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<String>, JournalError> {
        let sql = format!("SELECT value FROM {} WHERE key = ?1", table.name());
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
            .map_err(|error| self.failed(table, &error))
    }

    fn scan(
        &mut self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        // Keys compare as bytes, as Rust's strings do. After the last key with the prefix the loop ends, and with it
        // the statement. An `after` below the prefix changes nothing.
        let sql = format!(
            "SELECT key, value FROM {} WHERE key >= ?1 AND (?2 IS NULL OR key > ?2) ORDER BY key",
            table.name()
        );
        // One bound where one is enough: SQLite starts at it, instead of filtering from the prefix on.
        let from = after.filter(|after| *after > prefix).unwrap_or(prefix);
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![from, after])?;
            let mut found: Vec<(String, String)> = Vec::new();
            while found.len() < limit {
                let Some(row) = rows.next()? else { break };
                let key: String = row.get(0)?;
                if !key.starts_with(prefix) {
                    break;
                }
                found.push((key, row.get(1)?));
            }
            Ok(found)
        };
        read().map_err(|error| self.failed(table, &error))
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
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![from, prefix])?;
            let mut found: Vec<(String, String)> = Vec::new();
            while found.len() < limit {
                let Some(row) = rows.next()? else { break };
                found.push((row.get(0)?, row.get(1)?));
            }
            Ok(found)
        };
        read().map_err(|error| self.failed(table, &error))
    }
}

impl Storage for Tables<'_> {
    fn write(&mut self, table: Table, key: &str, write: &Write) -> Result<(), JournalError> {
        let name = table.name();
        let (sql, value) = match write {
            Write::Insert(value) => (
                format!("INSERT INTO {name} (key, value) VALUES (?1, ?2)"),
                Some(value),
            ),
            Write::Put(value) => (
                format!(
                    "INSERT INTO {name} (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
                ),
                Some(value),
            ),
            Write::Delete => (format!("DELETE FROM {name} WHERE key = ?1"), None),
        };
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| match value {
                Some(value) => statement.execute([key, value]),
                None => statement.execute([key]),
            })
            .map(|_| ())
            .map_err(|error| self.failed(table, &error))
    }
}
