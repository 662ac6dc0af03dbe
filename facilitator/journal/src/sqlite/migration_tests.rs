//! Journals of earlier versions are brought to the current schema, and ids stay unique whatever rows are removed.

use rusqlite::Connection;
use sdk_plugin::Amount;

use super::super::conformance::{NETWORK, opened, paid, prepared};
use super::*;
use crate::{Filter, Reference};

const DATABASE: &str = "journal.sqlite";

/// A journal of schema 3 with two payments, one of which is final.
async fn of_schema_3() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let step = sdk_plugin::StepIndex::FIRST;
    for events in [
        vec![opened(1, "evm|n|a"), prepared(2, 1, 0)],
        vec![paid(1, "log")],
        vec![Event::StepFinal { settlement: 1, step }],
        vec![opened(3, "evm|n|b"), prepared(4, 3, 1)],
    ] {
        journal.commit(events).await.unwrap();
    }
    drop(journal);
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    connection
        .execute_batch(
            "DROP TABLE meta; DROP TABLE lookups; DROP TABLE history; DROP TABLE spending; DROP TABLE final_heights;
             PRAGMA user_version = 3;",
        )
        .unwrap();
    folder
}

#[tokio::test]
async fn a_journal_of_schema_3_can_be_searched_and_knows_what_was_spent() {
    let folder = of_schema_3().await;
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let ids = |rows: Vec<SettlementRow>| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    let by_tx = journal.find(&Reference::Transaction("0xt4".into())).await;
    assert_eq!(ids(by_tx.unwrap()), [3]);
    let paying = journal.find(&Reference::Transaction("0xt".into())).await;
    assert_eq!(ids(paying.unwrap()), [1]);
    let by_claim = journal.find(&Reference::Claim("b".into())).await;
    assert_eq!(ids(by_claim.unwrap()), [3]);
    let page = journal.list(&Filter::default(), None, 9).await.unwrap();
    assert_eq!(ids(page.rows), [3, 1]);
    assert_eq!(journal.final_height(NETWORK).await.unwrap(), Some(50));
    let spent = journal.spent_since(NETWORK, 0).await.unwrap();
    assert_eq!(spent.len(), 1);
    assert_eq!(spent[0].amount, Amount::from(14u64));
    assert_eq!(journal.spent_since(NETWORK, 3).await.unwrap(), []);
}

#[tokio::test]
async fn an_id_is_never_used_again_although_its_row_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let last = (0..200_000).fold(0, |_, _| journal.new_id());
    journal.commit(vec![opened(journal.new_id(), "c")]).await.unwrap();
    drop(journal);
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    connection.execute_batch("DELETE FROM settlements").unwrap();
    drop(connection);
    let journal = SqliteJournal::open(folder.path()).unwrap();
    assert!(journal.new_id() > last + 1);
}

#[tokio::test]
async fn a_reference_is_the_same_after_a_restart_and_another_in_another_journal() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let of = |folder: &Path| {
        let journal = SqliteJournal::open(folder).unwrap();
        [journal.reference(1), journal.reference(2)]
    };
    let first = of(folder.path());
    assert_eq!(of(folder.path()), first);
    assert_ne!(first[0], first[1]);
    assert!(first.iter().all(|reference| reference.len() == 32));
    assert_ne!(of(other.path()), first);
}
