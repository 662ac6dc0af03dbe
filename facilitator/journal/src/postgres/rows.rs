//! Rows in SQL: what the projection and queries work on. A fetch is one round trip.

use std::cell::Cell;

use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::super::table::Fetched;
use super::super::{JournalError, RowKey, Rows, Storage, Table, Write};
use super::chain::Head;
use super::transaction::{Statement, Transaction};
use super::trouble::Trouble;
use super::writes::{code, only_grows, statements, with_keys};

/// Rows to lock prefixes by. Two prefixes with the same number wait for each other without need, which is rare.
const LOCKS: u32 = 1 << 20;

const LOCK_ROWS: &str = "SELECT 1 FROM switchyard.rows r JOIN unnest($1::int2[], $2::bytea[]) AS w(tab, key) ON r.tab = w.tab \
                         AND r.key = w.key ORDER BY r.tab, r.key FOR UPDATE OF r";
const SHARE_ROWS: &str = "SELECT 1 FROM switchyard.rows r JOIN unnest($1::int2[], $2::bytea[]) AS w(tab, key) ON r.tab = w.tab \
                          AND r.key = w.key ORDER BY r.tab, r.key FOR SHARE OF r";
const READ_ROWS: &str = "SELECT w.n, r.value FROM unnest($1::int2[], $2::bytea[]) WITH ORDINALITY AS w(tab, key, n) JOIN \
                         switchyard.rows r ON r.tab = w.tab AND r.key = w.key";
const READ_PREFIXES: &str = "SELECT w.n, r.key, r.value FROM unnest($1::int2[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS \
                             w(tab, low, high, n) CROSS JOIN LATERAL (SELECT key, value FROM switchyard.rows WHERE tab = \
                             w.tab AND key >= w.low AND key < w.high ORDER BY key) AS r ORDER BY w.n, r.key";
const SCAN: &str =
    "SELECT key, value FROM switchyard.rows WHERE tab = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4";
const LOCK_SCAN: &str = "SELECT 1 FROM switchyard.rows WHERE tab = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4 FOR UPDATE";
const SCAN_BACK: &str = "SELECT key, value FROM switchyard.rows WHERE tab = $1 AND key >= $2 AND key < $3 ORDER BY key DESC LIMIT $4";
pub(super) const MAKE_LOCKS: &str =
    "INSERT INTO switchyard.locks (id) SELECT unnest($1::int4[]) ON CONFLICT (id) DO NOTHING";
pub(super) const TAKE_LOCKS: &str =
    "SELECT 1 FROM switchyard.locks WHERE id = ANY ($1::int4[]) ORDER BY id FOR UPDATE";
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";

/// The rows as one transaction sees them.
pub(super) struct Tables<'c> {
    runtime: &'c Handle,
    transaction: &'c mut Transaction,
    commit: Option<Commit<'c>>,
    /// Nothing else writes while the transaction lasts: nothing is locked, and what is written goes to the database at once.
    is_alone: bool,
    trouble: Option<Trouble>,
}

/// What a transaction that changes rows has in addition.
pub(super) struct Commit<'c> {
    /// `None`: a change of leases or grants, which is no commit of events.
    pub(super) writer: Option<i64>,
    /// The database's time after the last fetch, in microseconds since the epoch; 0: nothing was fetched.
    pub(super) clock_us: &'c Cell<i64>,
    /// What the database has as the end of the writer's chain.
    pub(super) found: &'c Cell<Option<Head>>,
    pub(super) writes: Vec<(RowKey, Write)>,
}

impl<'c> Tables<'c> {
    pub(super) fn view(runtime: &'c Handle, transaction: &'c mut Transaction) -> Self {
        Self {
            runtime,
            transaction,
            commit: None,
            is_alone: false,
            trouble: None,
        }
    }

    /// In a transaction that keeps every writer away. More may be written than fits into memory.
    pub(super) fn alone(runtime: &'c Handle, transaction: &'c mut Transaction) -> Self {
        Self {
            is_alone: true,
            ..Self::view(runtime, transaction)
        }
    }

    pub(super) fn commit(runtime: &'c Handle, transaction: &'c mut Transaction, commit: Commit<'c>) -> Self {
        Self {
            runtime,
            transaction,
            commit: Some(commit),
            is_alone: false,
            trouble: None,
        }
    }

    /// Begins the transaction if nothing has been read.
    pub(super) fn touch(&mut self) -> Result<(), JournalError> {
        self.fetch(&[], &[]).map(|_| ())
    }

    /// What is to be written, and the trouble that a read had.
    pub(super) fn end(self) -> (Vec<(RowKey, Write)>, Option<Trouble>) {
        (
            self.commit.map(|commit| commit.writes).unwrap_or_default(),
            self.trouble,
        )
    }

    /// Sends statements of the caller's in one round trip.
    pub(super) fn run(&mut self, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>, JournalError> {
        let result = self.runtime.block_on(self.transaction.run(statements));
        result.map_err(|trouble| self.failed(trouble))
    }

    fn failed(&mut self, trouble: Trouble) -> JournalError {
        let error = JournalError(trouble.to_string());
        self.trouble = Some(trouble);
        error
    }

    /// What comes before the reads of a round: locks, so that the reads see rows that stay as they are.
    fn locks(&self, keys: &[RowKey], prefixes: &[RowKey]) -> Vec<Statement> {
        let Some(commit) = &self.commit else {
            return Vec::new();
        };
        let mut statements = Vec::new();
        if let (false, Some(writer)) = (self.transaction.is_open(), commit.writer) {
            statements.push(super::chain::lock_head(writer));
        }
        // A commit keeps its leases from being taken. It does not change them.
        let is_shared = |table: Table| table == Table::Leases && commit.writer.is_some();
        let leases: Vec<&RowKey> = keys.iter().filter(|(table, _)| is_shared(*table)).collect();
        if !leases.is_empty() {
            statements.push(with_keys(SHARE_ROWS, leases.into_iter()));
        }
        let mut numbers: Vec<i32> = prefixes
            .iter()
            .filter(|(table, _)| *table == Table::Reserves)
            .map(|(_, prefix)| lock_number(prefix.as_bytes()))
            .collect();
        if !numbers.is_empty() {
            numbers.sort_unstable();
            numbers.dedup();
            statements.push(Statement::new(MAKE_LOCKS).with(numbers.clone(), Type::INT4_ARRAY));
            statements.push(Statement::new(TAKE_LOCKS).with(numbers, Type::INT4_ARRAY));
        }
        let is_exclusive = |table: Table| !only_grows(table) && !is_shared(table);
        let keys: Vec<&RowKey> = keys.iter().filter(|(table, _)| is_exclusive(*table)).collect();
        if !keys.is_empty() {
            statements.push(with_keys(LOCK_ROWS, keys.into_iter()));
        }
        statements
    }

    fn range(
        &mut self,
        sql: &'static str,
        table: Table,
        low: Vec<u8>,
        high: Vec<u8>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let statement = |sql| {
            Statement::new(sql)
                .with(code(table), Type::INT2)
                .with(low.clone(), Type::BYTEA)
                .with(high.clone(), Type::BYTEA)
                .with(limit, Type::INT8)
        };
        let mut statements = self.locks(&[], &[]);
        if self.commit.is_some() {
            statements.push(statement(LOCK_SCAN));
        }
        statements.push(statement(sql));
        let rows = self.run(statements)?.pop().unwrap_or_default();
        rows.iter()
            .map(|row| pair(row, 0))
            .collect::<Result<_, _>>()
            .map_err(|trouble| self.failed(trouble))
    }
}

/// The number of the row by which a prefix is locked.
pub(super) fn lock_number(prefix: &[u8]) -> i32 {
    let digest: [u8; 32] = Sha256::digest(prefix).into();
    let [a, b, c, d, ..] = digest;
    i32::try_from(u32::from_be_bytes([a, b, c, d]) % LOCKS).unwrap_or(0)
}

/// The first bytes after every key with this prefix. No text begins with the byte 0xff.
pub(super) fn after_prefix(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    match bytes.last_mut() {
        // Bytes of a text are at most 0xf4.
        Some(last) => *last = last.saturating_add(1),
        None => bytes.push(0xff),
    }
    bytes
}

fn answer(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::Answer(error.to_string())
}

/// A text of any characters, which a column of texts could not hold.
fn text(row: &Row, column: usize) -> Result<String, Trouble> {
    let bytes: Vec<u8> = row.try_get(column).map_err(|error| answer(&error))?;
    String::from_utf8(bytes).map_err(|_| answer(&"a row of switchyard.rows is no text"))
}

/// A key and its value, in this column and the next one.
fn pair(row: &Row, column: usize) -> Result<(String, String), Trouble> {
    Ok((text(row, column)?, text(row, column.saturating_add(1))?))
}

/// The index of the wanted row that this one answers.
fn index(row: &Row) -> Result<usize, Trouble> {
    let number: i64 = row.try_get(0).map_err(|error| answer(&error))?;
    usize::try_from(number)
        .ok()
        .and_then(|number| number.checked_sub(1))
        .ok_or_else(|| answer(&"a row has no number"))
}

fn collect(keys: &[RowKey], prefixes: &[RowKey], rows: &[Row], scanned: &[Row]) -> Result<Fetched, Trouble> {
    let mut values: Vec<Option<String>> = vec![None; keys.len()];
    for row in rows {
        let value = text(row, 1)?;
        if let Some(slot) = values.get_mut(index(row)?) {
            *slot = Some(value);
        }
    }
    let mut scans: Vec<Vec<(String, String)>> = vec![Vec::new(); prefixes.len()];
    for row in scanned {
        let pair = pair(row, 1)?;
        if let Some(scan) = scans.get_mut(index(row)?) {
            scan.push(pair);
        }
    }
    Ok(Fetched { rows: values, scans })
}

impl Rows for Tables<'_> {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<String>, JournalError> {
        let fetched = self.fetch(&[(table, key.to_owned())], &[])?;
        Ok(fetched.rows.into_iter().next().flatten())
    }

    fn get_all(&mut self, keys: &[RowKey]) -> Result<Vec<Option<String>>, JournalError> {
        Ok(self.fetch(keys, &[])?.rows)
    }

    fn scan(
        &mut self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let mut low = prefix.as_bytes().to_vec();
        if let Some(after) = after.filter(|after| *after >= prefix) {
            low = after.as_bytes().to_vec();
            low.push(0);
        }
        self.range(SCAN, table, low, after_prefix(prefix), limit)
    }

    fn scan_back(
        &mut self,
        table: Table,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let mut high = after_prefix(prefix);
        if let Some(before) = before.filter(|before| before.as_bytes() < high.as_slice()) {
            high = before.as_bytes().to_vec();
        }
        self.range(SCAN_BACK, table, prefix.as_bytes().to_vec(), high, limit)
    }
}

impl Storage for Tables<'_> {
    fn fetch(&mut self, keys: &[RowKey], prefixes: &[RowKey]) -> Result<Fetched, JournalError> {
        let is_first = !self.transaction.is_open();
        let mut statements = self.locks(keys, prefixes);
        let locks = statements.len();
        // Statements after the locks: each sees what was committed until the locks were there.
        statements.push(with_keys(READ_ROWS, keys.iter()));
        if !prefixes.is_empty() {
            let tables: Vec<i16> = prefixes.iter().map(|(table, _)| code(*table)).collect();
            let low: Vec<Vec<u8>> = prefixes
                .iter()
                .map(|(_, prefix)| prefix.as_bytes().to_vec())
                .collect();
            let high: Vec<Vec<u8>> = prefixes.iter().map(|(_, prefix)| after_prefix(prefix)).collect();
            let scan = Statement::new(READ_PREFIXES)
                .with(tables, Type::INT2_ARRAY)
                .with(low, Type::BYTEA_ARRAY)
                .with(high, Type::BYTEA_ARRAY);
            statements.push(scan);
        }
        if self.commit.is_some() {
            statements.push(Statement::new(CLOCK));
        }
        let mut results = self.run(statements)?;
        if let Some(commit) = &self.commit {
            let clock = results
                .pop()
                .and_then(|rows| rows.first().and_then(|row| row.try_get::<_, i64>(0).ok()));
            commit.clock_us.set(clock.unwrap_or(0));
            if is_first && commit.writer.is_some() {
                let head = results
                    .first()
                    .and_then(|rows| rows.first())
                    .and_then(super::chain::head_of);
                commit.found.set(head);
            }
        }
        let rows = results.get(locks).map(Vec::as_slice).unwrap_or_default();
        let scanned = results
            .get(locks.saturating_add(1))
            .map(Vec::as_slice)
            .unwrap_or_default();
        collect(keys, prefixes, rows, scanned).map_err(|trouble| self.failed(trouble))
    }

    fn write(&mut self, table: Table, key: &str, write: &Write) -> Result<(), JournalError> {
        self.write_all(&[((table, key.to_owned()), write.clone())])
    }

    /// Writes of a commit wait for the round trip of the COMMIT.
    fn write_all(&mut self, writes: &[(RowKey, Write)]) -> Result<(), JournalError> {
        match &mut self.commit {
            Some(commit) => commit.writes.extend_from_slice(writes),
            None if self.is_alone && !writes.is_empty() => {
                self.run(statements(writes.to_vec()))?;
            }
            None if self.is_alone => {}
            None => return Err(JournalError("a view can't be written".into())),
        }
        Ok(())
    }
}
