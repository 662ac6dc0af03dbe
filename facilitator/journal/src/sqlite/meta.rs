//! What the journal keeps about itself: the secret of its references, and the ids that it hands out.
//!
//! Rows are removed in time, so the highest id of a row does not show which ids were used. The journal takes ids in
//! blocks: before one of a block is used, it is durable that the next start begins after the block.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::lookups;
use super::super::queries::decode;
use super::super::row::{AttemptRow, SettlementRow};
use super::super::{JournalError, RowKey, Rows, Storage, Table, Write};
use super::tables::Tables;

/// Ids in a block.
const BLOCK: u64 = 65_536;
/// More ids than any journal uses between a copy and its restore.
const SKIPPED: u64 = 1 << 40;
const SECRET: &str = "secret";
const IDS_BELOW: &str = "ids_below";
const LOOKUPS: &str = "lookups";
/// Rows that are read in one step.
const PAGE: usize = 1_000;

/// The ids that may be used.
#[derive(Debug)]
pub(super) struct Ids {
    next: AtomicU64,
    /// It is durable that ids below this are used.
    below: AtomicU64,
}

impl Ids {
    pub(super) fn new(next: u64, below: u64) -> Self {
        Self {
            next: AtomicU64::new(next),
            below: AtomicU64::new(below),
        }
    }

    pub(super) fn take(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The lowest id that was not taken.
    pub(super) fn unused(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// About how many ids were ever taken: those that a restore skipped do not count.
    pub(super) fn used(&self) -> u64 {
        self.unused() % SKIPPED
    }

    /// Where the next block ends, if half of the present one is used.
    pub(super) fn wanted(&self) -> Option<u64> {
        let (next, below) = (
            self.next.load(Ordering::Relaxed),
            self.below.load(Ordering::Relaxed),
        );
        (next.saturating_add(BLOCK / 2) > below).then(|| next.saturating_add(BLOCK))
    }

    /// It is durable that ids below this are used.
    pub(super) fn extend(&self, below: u64) {
        self.below.fetch_max(below, Ordering::Relaxed);
    }
}

fn failed(error: &rusqlite::Error) -> JournalError {
    JournalError(format!("table meta: {error}"))
}

fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        .optional()
}

fn put(connection: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value")?
        .execute(params![key, value])
        .map(|_| ())
}

/// The secret from which references are made.
pub(super) fn secret(connection: &Connection) -> Result<[u8; 32], JournalError> {
    let found = get(connection, SECRET).map_err(|error| failed(&error))?;
    found
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| JournalError("table meta: the secret of the references is missing".into()))
}

/// Takes the first block of ids, beyond every id that was ever used.
pub(super) fn first_ids(connection: &Connection) -> Result<Ids, JournalError> {
    let mut next = highest_id(connection)?.saturating_add(1);
    if let Some(bytes) = get(connection, IDS_BELOW).map_err(|error| failed(&error))? {
        let bytes: [u8; 8] = bytes
            .try_into()
            .map_err(|_| JournalError("table meta: ids_below is no number".into()))?;
        next = next.max(u64::from_be_bytes(bytes));
    }
    let below = next.saturating_add(BLOCK);
    // On a full disk the start continues: the first commit that succeeds takes the block.
    let taken = put_ids(connection, below).map_or(next, |()| below);
    Ok(Ids::new(next, taken))
}

/// Skips ids that may have been used after an older copy was made: the copy does not know them, and callers may have been
/// given references made from them.
pub(super) fn skip_ids(connection: &Connection) -> Result<(), JournalError> {
    let ids = first_ids(connection)?;
    let below = ids.unused().saturating_add(SKIPPED);
    put_ids(connection, below).map_err(|error| failed(&error))
}

/// Inside the connection's transaction, if it has one.
pub(super) fn put_ids(connection: &Connection, below: u64) -> rusqlite::Result<()> {
    put(connection, IDS_BELOW, &below.to_be_bytes())
}

/// The highest id of any settlement or attempt, 0 if there is none.
pub(super) fn highest_id(connection: &Connection) -> Result<u64, JournalError> {
    let mut tables = Tables::new(connection);
    let mut highest = 0;
    for table in [Table::Settlements, Table::Attempts] {
        if let Some(key) = tables.last_key(table)? {
            let id: u64 = key
                .parse()
                .map_err(|_| JournalError(format!("{} row {key:?} has no number for a key", table.name())))?;
            highest = highest.max(id);
        }
    }
    Ok(highest)
}

/// Gives the settlements of an earlier version the keys by which they are searched. Once, before the first commit.
pub(super) fn add_lookups(connection: &Connection) -> Result<(), JournalError> {
    if get(connection, LOOKUPS)
        .map_err(|error| failed(&error))?
        .is_some()
    {
        return Ok(());
    }
    let transaction = connection
        .unchecked_transaction()
        .map_err(|error| failed(&error))?;
    let mut tables = Tables::new(&transaction);
    each(&mut tables, Table::Settlements, |tables, key, text| {
        let row: SettlementRow = decode(Table::Settlements, key, text)?;
        let mut keys = lookups::keys_of(&row);
        keys.extend(
            row.tx_id
                .iter()
                .map(|tx_id| lookups::transaction_key(tx_id, row.id)),
        );
        add(tables, keys)
    })?;
    each(&mut tables, Table::Attempts, |tables, key, text| {
        let row: AttemptRow = decode(Table::Attempts, key, text)?;
        let of = |(settlement, _): &(u64, _)| lookups::transaction_key(&row.tx_id, *settlement);
        add(tables, row.covers.iter().map(of).collect())
    })?;
    put(&transaction, LOOKUPS, b"1").map_err(|error| failed(&error))?;
    transaction.commit().map_err(|error| failed(&error))
}

/// Every row of a table, some at a time.
pub(super) fn each(
    tables: &mut Tables<'_>,
    table: Table,
    mut with: impl FnMut(&mut Tables<'_>, &str, &str) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let mut after: Option<String> = None;
    loop {
        let page = tables.scan(table, "", after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = Some(last.clone());
        for (key, text) in &page {
            with(tables, key, text)?;
        }
    }
}

fn add(tables: &mut Tables<'_>, keys: Vec<String>) -> Result<(), JournalError> {
    let row = |key| -> (RowKey, Write) { ((Table::Lookups, key), Write::Put("null".into())) };
    let writes: Vec<(RowKey, Write)> = keys.into_iter().map(row).collect();
    tables.write_all(&writes)
}
