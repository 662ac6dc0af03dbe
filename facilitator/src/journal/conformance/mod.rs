//! What every back end of the journal must do: the same cases, and random histories compared with each other.

mod commits;
mod history;
mod lifecycle;
mod store;

use std::sync::Arc;

use sdk_plugin::chain::Lane;
use sdk_plugin::host::{StoreCondition, StoreRow, StoreWrite};
use sdk_plugin::scheme::{Hold, PaidReply, Reserve};
use sdk_plugin::{Amount, HexBytes, ProtocolVersion};
use serde_json::{Value, json};

use super::memory::MemoryJournal;
use super::sqlite::SqliteJournal;
use super::*;

pub(in crate::journal) const NETWORK: &str = "eip155:84532";

pub(in crate::journal) fn lane() -> Lane {
    Lane {
        network: NETWORK.into(),
        signer: "0xa".into(),
        key: "hot".into(),
        ordered: true,
    }
}

/// A settlement with one step, which pays.
pub(in crate::journal) fn opened(id: u64, claim: &str) -> Event {
    opened_with(id, claim, |_, _, _| {})
}

pub(crate) fn opened_with(
    id: u64,
    claim: &str,
    change: impl FnOnce(&mut SettlementRow, &mut Vec<Reserve>, &mut Vec<Hold>),
) -> Event {
    let mut row = SettlementRow {
        id,
        claim: claim.into(),
        generation: 0,
        plugin: "evm".into(),
        scheme: "exact".into(),
        version: ProtocolVersion::V2,
        network: NETWORK.into(),
        tenant: None,
        fingerprint: "f".into(),
        digest: "d".into(),
        request: "r".into(),
        replay_reason: "used".into(),
        replayable_until_s: Some(9),
        payer: "0xb".into(),
        conflict_keys: vec![],
        opened_at_ms: 1,
        second_source: false,
        steps: vec![StepRow {
            state: StepState::Waiting,
            pays: true,
            is_final: false,
            ground: None,
        }],
        outcome: Outcome::Open,
        release: None,
        tx_id: None,
        finished: false,
        withheld: false,
    };
    let (mut reserves, mut holds) = (vec![], vec![]);
    change(&mut row, &mut reserves, &mut holds);
    let plan = format!("plan of {claim}");
    Event::Opened(Box::new(NewSettlement::new(row, plan, reserves, holds)))
}

pub(in crate::journal) fn prepared(id: u64, settlement: u64, sequence: u64) -> Event {
    let row = AttemptRow {
        id,
        lane: lane(),
        sequence,
        tx_id: format!("0xt{id}"),
        kind: AttemptKind::Steps,
        covers: vec![(settlement, 0)],
        max_cost: Amount::from(7u64),
        bid: json!({"fee": "1"}),
        since_height: 3,
        prepared_at_ms: 2,
        sent: false,
    };
    Event::Prepared(Box::new(NewAttempt::new(
        row,
        HexBytes(id.to_be_bytes().to_vec()),
    )))
}

pub(crate) fn paid(settlement: u64, item: &str) -> Event {
    Event::Paid {
        settlement,
        step: 0,
        tx_id: "0xt".into(),
        height: 50,
        items: vec![item.into()],
        reply: PaidReply {
            payer: "0xb".into(),
            ..PaidReply::default()
        },
        repeatable: false,
    }
}

/// The number of every release here.
const RELEASE: u64 = 77;

pub(in crate::journal) fn returned(settlement: u64) -> Event {
    Event::ReleaseReturned {
        settlement,
        number: RELEASE,
    }
}

pub(in crate::journal) fn released(settlement: u64) -> Event {
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

pub(in crate::journal) fn stored(key: &str, value: Value) -> Event {
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

pub(in crate::journal) async fn rows(journal: &dyn Journal, prefix: &str) -> Vec<StoreRow> {
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

pub(in crate::journal) async fn settlement(journal: &dyn Journal, id: u64) -> Option<SettlementRow> {
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
pub(in crate::journal) fn journals() -> Vec<(&'static str, Arc<dyn Journal>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteJournal::open(folder.path()).unwrap();
    vec![
        ("memory", Arc::new(MemoryJournal::default()), None),
        ("sqlite", Arc::new(sqlite), Some(folder)),
    ]
}
