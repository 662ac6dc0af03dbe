//! SQLite without the journal: the same rows and events, decided in advance, on one thread.

use std::collections::BTreeMap;
use std::path::Path;

use journal::group::Group;
use journal::sqlite::{SqliteJournal, read};
use journal::{Event, JournalError, RowKey, Rows, Stamp, Storage, Table, Write};
use rusqlite::{Connection, params};

use super::Stages;

/// One statement of a transaction.
enum Statement {
    Row {
        sql: String,
        key: String,
        value: Option<String>,
    },
    Event(String),
}

/// What is written between BEGIN and COMMIT.
pub(super) struct Transaction(Vec<Statement>);

/// A back end that records what the projection writes.
#[derive(Default)]
pub(super) struct Recorder {
    rows: BTreeMap<RowKey, String>,
    written: Vec<Statement>,
    next_event: u64,
}

impl Recorder {
    /// One transaction for each stage.
    pub(super) fn record(&mut self, stages: &Stages) -> Vec<Transaction> {
        stages
            .iter()
            .map(|stage| {
                let marks = stage.iter().filter_map(|commit| commit.mark.as_ref());
                let marks: Vec<&[Event]> = marks.map(std::slice::from_ref).collect();
                let commits = stage.iter().map(|commit| commit.events.as_slice());
                let all: Vec<&[Event]> = marks.into_iter().chain(commits).collect();
                self.transaction(&all)
            })
            .collect()
    }

    fn transaction(&mut self, commits: &[&[Event]]) -> Transaction {
        let events = || commits.iter().copied().flatten();
        let mut seq = self.next_event;
        let mut group = Group::fetch(self, events(), None).expect("it can be read");
        for commit in commits {
            let stamp = Stamp { at_ms: 0, seq };
            group.apply(commit, stamp).expect("nothing is refused");
            seq += commit.len() as u64;
        }
        group.flush().expect("it can be written");
        self.next_event = seq;
        let mut statements = std::mem::take(&mut self.written);
        let text = |event| serde_json::to_string(event).expect("an event can be written");
        statements.extend(events().map(text).map(Statement::Event));
        Transaction(statements)
    }
}

impl Rows for Recorder {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<String>, JournalError> {
        Ok(self.rows.get(&(table, key.to_owned())).cloned())
    }

    fn scan(
        &mut self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let from = (table, prefix.to_owned());
        let rows = self
            .rows
            .range(from..)
            .map(|((of, key), value)| (*of, key, value));
        Ok(rows
            .take_while(|(of, key, _)| *of == table && key.starts_with(prefix))
            .filter(|(_, key, _)| after.is_none_or(|after| key.as_str() > after))
            .take(limit)
            .map(|(_, key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

impl Storage for Recorder {
    fn write(&mut self, table: Table, key: &str, write: &Write) -> Result<(), JournalError> {
        let (row, name) = ((table, key.to_owned()), table.name());
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
        match value {
            Some(value) => self.rows.insert(row, value.clone()),
            None => self.rows.remove(&row),
        };
        self.written.push(Statement::Row {
            sql,
            key: key.to_owned(),
            value: value.cloned(),
        });
        Ok(())
    }
}

/// A database with the journal's schema and settings. Values are not compressed, and each event has a row.
pub(super) struct BareSqlite {
    connection: Connection,
    next_event: i64,
}

impl BareSqlite {
    pub(super) fn open(folder: &Path) -> Self {
        // It makes the schema.
        drop(SqliteJournal::open(folder).expect("a journal"));
        let connection = connect(folder);
        // As `journal::sqlite` sets them.
        let set = connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = true; \
             PRAGMA checkpoint_fullfsync = true; PRAGMA trusted_schema = false; PRAGMA cell_size_check = true; \
             PRAGMA temp_store = MEMORY",
        );
        set.expect("settings");
        connection.set_prepared_statement_cache_capacity(128);
        Self {
            connection,
            next_event: 1,
        }
    }

    pub(super) fn write(&mut self, transactions: &[Transaction]) {
        for transaction in transactions {
            self.transact(transaction).expect("written");
        }
    }

    fn transact(&mut self, transaction: &Transaction) -> rusqlite::Result<()> {
        /// As long as a checksum.
        const CHECKSUM: [u8; 32] = [1; 32];
        let connection = &self.connection;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for statement in &transaction.0 {
            match statement {
                Statement::Row { sql, key, value } => {
                    let mut prepared = connection.prepare_cached(sql)?;
                    match value {
                        Some(value) => prepared.execute([key, value])?,
                        None => prepared.execute([key])?,
                    };
                }
                Statement::Event(body) => {
                    connection
                        .prepare_cached("INSERT INTO events (seq, body, checksum) VALUES (?1, ?2, ?3)")?
                        .execute(params![self.next_event, body, CHECKSUM])?;
                    self.next_event += 1;
                }
            }
        }
        connection.execute_batch("COMMIT")
    }
}

fn connect(folder: &Path) -> Connection {
    Connection::open(folder.join("journal.sqlite")).expect("the journal's database")
}

/// Every row in the order of the keys, and how many events there are.
pub(super) fn content(folder: &Path) -> Vec<(&'static str, String, String)> {
    let mut content = Vec::new();
    for table in Table::ALL {
        let rows = read(folder, |rows| rows.scan(table, "", None, usize::MAX)).expect("rows");
        let rows = rows.expect("a journal").into_iter();
        content.extend(rows.map(|(key, value)| (table.name(), key, value)));
    }
    let last: i64 = connect(folder)
        .query_row("SELECT max(seq) FROM events", [], |row| row.get(0))
        .expect("events");
    content.push(("events", last.to_string(), String::new()));
    content
}
