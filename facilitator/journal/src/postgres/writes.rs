//! How rows are written: all at once, with the COMMIT.

use tokio_postgres::types::Type;

use super::super::{RowKey, Table, Write};
use super::transaction::Statement;

const INSERT: &str = "INSERT INTO switchyard.rows (tab, key, value) SELECT * FROM unnest($1::int2[], $2::bytea[], $3::bytea[])";
const PUT: &str = "INSERT INTO switchyard.rows (tab, key, value) SELECT * FROM unnest($1::int2[], $2::bytea[], $3::bytea[]) ON \
                   CONFLICT (tab, key) DO UPDATE SET value = excluded.value";
const RAISE: &str = "INSERT INTO switchyard.rows AS r (tab, key, value) SELECT * FROM unnest($1::int2[], $2::bytea[], $3::bytea[]) \
                     ON CONFLICT (tab, key) DO UPDATE SET value = excluded.value WHERE convert_from(r.value, 'UTF8')::numeric < \
                     convert_from(excluded.value, 'UTF8')::numeric";
const DELETE: &str = "DELETE FROM switchyard.rows r USING unnest($1::int2[], $2::bytea[]) AS w(tab, key) WHERE r.tab = w.tab AND \
                      r.key = w.key";

/// A table's number in the database. Never changed.
pub(super) fn code(table: Table) -> i16 {
    match table {
        Table::Claims => 1,
        Table::Requests => 2,
        Table::Settlements => 3,
        Table::Unfinished => 4,
        Table::Finished => 5,
        Table::Plans => 6,
        Table::Attempts => 7,
        Table::AttemptSteps => 8,
        Table::Payloads => 9,
        Table::OpenSlots => 10,
        Table::ClosedSlots => 11,
        Table::Lanes => 12,
        Table::Evidence => 13,
        Table::ConflictKeys => 14,
        Table::Reserves => 15,
        Table::Holds => 16,
        Table::Store => 17,
        Table::Jobs => 18,
        Table::DueJobs => 19,
        Table::Withheld => 20,
        Table::Lookups => 21,
        Table::History => 22,
        Table::Spending => 23,
        Table::FinalHeights => 24,
        Table::StoreExpiry => 25,
        Table::Leases => 26,
        Table::Handovers => 27,
        Table::Grants => 28,
        Table::Intents => 29,
        Table::Settings => 30,
    }
}

/// Tables whose rows are numbers that only grow. They are read without a lock, because every node writes the same few:
/// a commit raises the number and never lowers it, so a number that was read too early changes nothing.
pub(super) fn only_grows(table: Table) -> bool {
    table == Table::FinalHeights
}

pub(super) fn with_keys<'k>(sql: &'static str, keys: impl Iterator<Item = &'k RowKey>) -> Statement {
    let (tables, keys): (Vec<i16>, Vec<Vec<u8>>) = keys
        .map(|(table, key)| (code(*table), key.as_bytes().to_vec()))
        .unzip();
    Statement::new(sql)
        .with(tables, Type::INT2_ARRAY)
        .with(keys, Type::BYTEA_ARRAY)
}

/// The statements that write rows, at most one for each way of writing.
pub(super) fn statements(rows: Vec<(RowKey, Write)>) -> Vec<Statement> {
    let (mut inserts, mut puts, mut raises, mut deletes) = (
        Values::default(),
        Values::default(),
        Values::default(),
        Vec::new(),
    );
    for ((table, key), write) in rows {
        match write {
            Write::Insert(value) | Write::Put(value) if only_grows(table) => raises.push(table, key, value),
            Write::Insert(value) => inserts.push(table, key, value),
            Write::Put(value) => puts.push(table, key, value),
            Write::Delete => deletes.push((table, key)),
        }
    }
    let mut statements = Vec::new();
    statements.extend(inserts.statement(INSERT));
    statements.extend(puts.statement(PUT));
    if !deletes.is_empty() {
        statements.push(with_keys(DELETE, deletes.iter()));
    }
    // Last, because all nodes write these: the less time another one waits.
    statements.extend(raises.statement(RAISE));
    statements
}

#[derive(Default)]
struct Values {
    tables: Vec<i16>,
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

impl Values {
    fn push(&mut self, table: Table, key: String, value: String) {
        self.tables.push(code(table));
        self.keys.push(key.into_bytes());
        self.values.push(value.into_bytes());
    }

    fn statement(self, sql: &'static str) -> Option<Statement> {
        (!self.keys.is_empty()).then(|| {
            Statement::new(sql)
                .with(self.tables, Type::INT2_ARRAY)
                .with(self.keys, Type::BYTEA_ARRAY)
                .with(self.values, Type::BYTEA_ARRAY)
        })
    }
}
