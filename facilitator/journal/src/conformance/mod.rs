//! What every back end of the journal must do: the same cases, and random histories compared with each other.

mod commits;
mod history;
mod lifecycle;
mod store;

use std::sync::Arc;

use sdk_plugin::host::{StoreCondition, StoreRow, StoreWrite};
use serde_json::Value;

use super::memory::MemoryJournal;
use super::sqlite::SqliteJournal;
pub(crate) use super::testkit::*;
use super::*;

/// The number of every release here.
const RELEASE: u64 = 77;

pub(crate) fn returned(settlement: u64) -> Event {
    Event::ReleaseReturned {
        settlement,
        number: RELEASE,
    }
}

pub(crate) fn released(settlement: u64) -> Event {
    Event::Released {
        settlement,
        release: Release {
            number: RELEASE,
            tenant: None,
            idempotency_key: None,
            body: "{}".into(),
            at_ms: 4,
        },
    }
}

pub(crate) fn stored(key: &str, value: Value) -> Event {
    stored_if(key, value, StoreCondition::Always)
}

pub(super) fn stored_if(key: &str, value: Value, condition: StoreCondition) -> Event {
    Event::Stored {
        plugin: "evm".into(),
        write: StoreWrite {
            key: key.into(),
            value,
            condition,
            expires_at_ms: None,
        },
        now_ms: 10,
    }
}

pub(super) fn closed(sequence: u64, by: &str) -> Event {
    Event::SlotClosed {
        network: NETWORK.into(),
        signer: "0xa".into(),
        sequence,
        by: by.into(),
    }
}

pub(crate) async fn rows(journal: &dyn Journal, prefix: &str) -> Vec<StoreRow> {
    scan(journal, prefix, None, 1_000).await
}

pub(super) async fn scan(
    journal: &dyn Journal,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Vec<StoreRow> {
    let query = Query::StoreScan {
        plugin: "evm".into(),
        prefix: prefix.into(),
        after: after.map(Into::into),
        limit,
        now_ms: 100,
    };
    match journal.query(query).await {
        Ok(Answer::Rows(rows)) => rows,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn settlement(journal: &dyn Journal, id: u64) -> Option<SettlementRow> {
    match journal.query(Query::Settlement(id)).await {
        Ok(Answer::Settlement(row)) => row.map(|row| *row),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn number(journal: &dyn Journal, query: Query) -> Option<u64> {
    match journal.query(query).await {
        Ok(Answer::Number(number)) => number,
        other => panic!("{other:?}"),
    }
}

/// A new, empty journal of each kind. The folder lives as long as it is held.
pub(crate) fn journals() -> Vec<(&'static str, Arc<dyn Journal>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteJournal::open(folder.path()).unwrap();
    vec![
        ("memory", Arc::new(MemoryJournal::default()), None),
        ("sqlite", Arc::new(sqlite), Some(folder)),
    ]
}
