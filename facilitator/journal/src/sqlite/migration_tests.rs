//! Journals of earlier versions are brought to the current schema, and ids stay unique whatever rows are removed.

use rusqlite::Connection;
use sdk_plugin::Amount;

use super::super::conformance::{NETWORK, opened, opened_with, paid, prepared, released};
use super::*;
use crate::{CommitError, Filter, Outcome, Reference, Stage, Table};

const DATABASE: &str = "journal.sqlite";

/// A journal as an earlier version left it: 1 is paid, released and finished, its payloads are dropped; 3 is paid and
/// finished; 5 is in a slot.
fn of_schema_3() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    connection
        .execute_batch(include_str!("kept/schema_3.sql"))
        .unwrap();
    folder
}

/// The same journal as the version with schema 4 left it, with 5 paid.
fn of_schema_4() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    connection
        .execute_batch(include_str!("kept/schema_4.sql"))
        .unwrap();
    folder
}

/// The same journal as the version with schema 5 left it, with 7 paid, released and finished, and 9 in a slot.
fn of_schema_5() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    connection
        .execute_batch(include_str!("kept/schema_5.sql"))
        .unwrap();
    folder
}

/// How many keys of the table are as schema 5 has them, and how many are packed.
fn forms(folder: &Path, table: &str) -> (i64, i64) {
    let sql = format!(
        "SELECT count(*) FILTER (WHERE typeof(key) = 'text'), count(*) FILTER (WHERE typeof(key) = 'blob') FROM {table}"
    );
    let connection = Connection::open(folder.join(DATABASE)).unwrap();
    connection
        .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
}

fn ids(rows: Vec<SettlementRow>) -> Vec<u64> {
    rows.iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn a_journal_of_schema_3_continues_and_can_be_searched() {
    let folder = of_schema_3();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let by_tx = journal.find(&Reference::Transaction("0xt4".into())).await;
    assert_eq!(ids(by_tx.unwrap()), [3]);
    let paying = journal.find(&Reference::Transaction("0xt".into())).await;
    assert_eq!(ids(paying.unwrap()), [1, 3]);
    let by_claim = journal.find(&Reference::Claim("0xc3".into())).await;
    assert_eq!(ids(by_claim.unwrap()), [3]);
    let page = journal.list(&Filter::default(), None, 9).await.unwrap();
    assert_eq!(ids(page.rows), [5, 3, 1]);
    assert_eq!(journal.final_height(NETWORK).await.unwrap(), Some(50));
    let spent: Vec<Amount> = journal
        .spent_since(NETWORK, 0)
        .await
        .unwrap()
        .iter()
        .map(|row| row.amount)
        .collect();
    assert_eq!(
        spent,
        [14u64.into(), 7u64.into()],
        "without a tenant, and of the shop"
    );
    assert_eq!(journal.spent_since(NETWORK, 3).await.unwrap(), []);
    let open = journal.unfinished_after(0, 9).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].0.id, open[0].1.is_some()), (5, true));
    let mut row = journal.settlement(1).await.unwrap().unwrap();
    assert_eq!(row.release.take().map(|release| release.number), Some(7));
    assert_eq!(
        journal.commit(vec![opened(1, "evm|eip155:84532|0xc1")]).await,
        Err(CommitError::ClaimTaken),
        "it is still paid"
    );
    assert!(journal.new_id() > 6);
}

/// Its keys are texts, and new ones are packed.
#[tokio::test]
async fn law5_a_plugin_of_an_earlier_journal_gets_another_id() {
    let folder = of_schema_5();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let adoption = Adoption::new("evm", "switchyard.evm").unwrap();
    let adopted = journal.adopt(&adoption).await.unwrap();
    assert_eq!((adopted.settlements, adopted.unfinished), (5, 2));
    assert_eq!((adopted.rows, adopted.jobs), (2, 0));
    assert_eq!(forms(folder.path(), "claims"), (0, 5));
    for id in [1, 3, 5, 7, 9] {
        let row = journal.settlement(id).await.unwrap().unwrap();
        assert_eq!(
            (row.plugin.as_str(), row.outcome == Outcome::Open),
            ("switchyard.evm", id == 9)
        );
        let old = row.claim.strip_prefix("switchyard.").unwrap();
        assert_eq!(journal.claim(old).await.unwrap(), None);
        let claimed = journal.claim(&row.claim).await.unwrap();
        assert_eq!(claimed.map(|row| row.id), Some(id));
        let found = journal.find(&Reference::Claim(row.claim)).await.unwrap();
        assert_eq!(ids(found), [id]);
    }
    drop(journal);
    tools::verify(folder.path()).unwrap();
}

#[tokio::test]
async fn a_journal_of_schema_4_continues_and_is_copied_before() {
    let folder = of_schema_4();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let page = journal.list(&Filter::default(), None, 9).await.unwrap();
    assert_eq!(ids(page.rows), [5, 3, 1]);
    assert!(journal.shared().is_none(), "one process has it");
    journal
        .commit(vec![opened(journal.new_id(), "evm|eip155:84532|0xc7")])
        .await
        .unwrap();
    drop(journal);
    let copy = folder.path().join("journal.sqlite.schema-4");
    let of_copy: i64 = Connection::open(copy)
        .unwrap()
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(of_copy, 4);
    assert!(SqliteJournal::open(folder.path()).is_ok());
}

#[tokio::test]
async fn rows_of_schema_5_and_new_ones_are_read_as_one_table() {
    let folder = of_schema_5();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let new = journal.new_id();
    let event = opened_with(new, "evm|eip155:84532|0xc11", |row, _, _| {
        // Among the old ones by time, and after them by its number.
        row.opened_at_ms = 1_600_000_000_000;
        row.reference = "a".repeat(32);
    });
    journal
        .commit(vec![event, prepared(new + 1, new, 9)])
        .await
        .unwrap();
    let page = journal.list(&Filter::default(), None, 9).await.unwrap();
    assert_eq!(ids(page.rows), [9, 7, new, 5, 3, 1]);
    let first = journal.list(&Filter::default(), None, 3).await.unwrap();
    let rest = journal.list(&Filter::default(), first.cursor.as_deref(), 3).await;
    assert_eq!(ids(rest.unwrap().rows), [5, 3, 1], "in pages");
    let oldest = journal.unfinished_after(0, 9).await.unwrap();
    assert_eq!(
        oldest.iter().map(|(row, _)| row.id).collect::<Vec<_>>(),
        [5, 9, new]
    );
    assert!(oldest.iter().all(|(_, plan)| plan.is_some()));
    for (claim, id) in [("0xc3", 3), ("0xc11", new)] {
        let found = journal.find(&Reference::Claim(claim.into())).await.unwrap();
        assert_eq!(ids(found), [id]);
    }
    let claim = journal.settlement(7).await.unwrap().unwrap().claim;
    for taken in [claim.as_str(), "evm|eip155:84532|0xc3", "evm|eip155:84532|0xc11"] {
        let again = journal.commit(vec![opened(journal.new_id(), taken)]).await;
        assert_eq!(again, Err(CommitError::ClaimTaken), "{taken}");
    }
    for (id, events) in [(7, 8), (9, 2), (new, 2)] {
        assert_eq!(journal.history(id).await.unwrap().len(), events, "{id}");
    }
}

/// Commands of this version read a journal that the version before still uses, and its backups.
#[tokio::test]
async fn a_journal_of_schema_5_is_read_and_restored_as_it_is() {
    let folder = of_schema_5();
    let unfinished = |folder: &Path| {
        read(folder, |rows| rows.scan(Table::Unfinished, "", None, 9)).map(|rows| rows.map(|rows| rows.len()))
    };
    assert_eq!(unfinished(folder.path()), Ok(Some(2)));
    assert!(tools::verify(folder.path()).is_ok());
    let elsewhere = tempfile::tempdir().unwrap();
    let backup = elsewhere.path().join("backup");
    tools::backup(folder.path(), &backup).unwrap();
    let restored = elsewhere.path().join("data");
    tools::restore(&restored, &backup, false).unwrap();
    let version = |path: &Path| files::schema(&Connection::open(path).unwrap(), path).unwrap();
    assert_eq!(
        (version(&backup), version(&restored.join(files::DATABASE))),
        (5, files::SCHEMA)
    );
    assert_eq!(unfinished(&restored), Ok(Some(2)));
    assert!(SqliteJournal::open(&restored).is_ok());

    let path = folder.path().join(files::DATABASE);
    let set = |schema: i64| {
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", schema)
            .unwrap();
    };
    set(files::SCHEMA + 1);
    assert!(unfinished(folder.path()).unwrap_err().0.contains("a newer one"));
    set(files::READABLE_FROM - 1);
    assert_eq!(unfinished(folder.path()), Ok(None));
}

#[tokio::test]
async fn a_row_of_schema_5_is_replaced_when_it_is_written_again() {
    let folder = of_schema_5();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    assert_eq!(forms(folder.path(), "settlements"), (5, 0));
    journal.commit(vec![released(5)]).await.unwrap();
    assert_eq!(forms(folder.path(), "settlements"), (4, 1), "one row, not two");
    assert_eq!(
        journal.commit(vec![released(5)]).await,
        Err(CommitError::AlreadyReleased)
    );
    let released = journal.settlement(5).await.unwrap().unwrap();
    assert!(released.release.is_some());
    // Its number is not the highest one, although its key sorts last.
    drop(journal);
    assert!(tools::verify(folder.path()).is_ok());
    let journal = SqliteJournal::open(folder.path()).unwrap();
    assert!(journal.new_id() > 10);
    let reopened = journal.settlement(5).await.unwrap().unwrap();
    assert_eq!(reopened, released);
}

#[tokio::test]
async fn rows_of_schema_5_are_removed_in_time() {
    let folder = of_schema_5();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let late_ms = 4_000_000_000_000;
    for (stage, due) in [
        (Stage::Payloads, vec![3, 7]),
        (Stage::Details, vec![1, 3, 7]),
        (Stage::Settlement, vec![1, 3, 7]),
    ] {
        let waiting = journal.due_for(stage, late_ms, 9).await.unwrap();
        assert_eq!(
            waiting.iter().map(|(_, id)| *id).collect::<Vec<_>>(),
            due,
            "{stage:?}"
        );
        let dropped = Event::Dropped { stage, due: waiting };
        journal.commit(vec![dropped]).await.unwrap();
    }
    assert!(journal.drop_events(late_ms, 10_000).await.unwrap() > 20);
    assert_eq!(journal.history(7).await.unwrap(), []);
    let again = journal
        .commit(vec![opened(journal.new_id(), "evm|eip155:84532|0xc3")])
        .await;
    assert_eq!(
        again,
        Err(CommitError::ClaimTaken),
        "what refuses a replay is kept"
    );
    drop(journal);
    for table in ["plans", "payloads", "history"] {
        let (old, new) = forms(folder.path(), table);
        // Of what is open: 5 and 9.
        assert_eq!((old, new), (if table == "history" { 3 } else { 2 }, 0), "{table}");
    }
    assert!(tools::verify(folder.path()).is_ok());
}

#[tokio::test]
async fn what_a_journal_of_schema_3_keeps_is_removed_in_time() {
    let folder = of_schema_3();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let due = journal.due_for(Stage::Payloads, 9_999, 9).await.unwrap();
    assert_eq!(due, [(2_000, 3)]);
    let due = journal.due_for(Stage::Details, 9_999, 9).await.unwrap();
    assert_eq!(due, [(1, 1)], "when it finished is not known");
    let expired = journal.expired(9_001, 9).await.unwrap().expect("a row ended");
    journal.commit(vec![expired]).await.unwrap();
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    let keys: Vec<String> = connection
        .prepare("SELECT key FROM store")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(keys, ["evm|kept"]);
    assert_eq!(
        journal.drop_events(u64::MAX / 2, 4).await,
        Ok(4),
        "the oldest first, some at a time"
    );
    assert_eq!(
        journal.drop_events(u64::MAX / 2, 1_000).await.map(|n| n > 9),
        Ok(true)
    );
    drop(journal);
    // The chain begins after the last event that is gone, and continues.
    let journal = SqliteJournal::open(folder.path()).unwrap();
    journal.commit(vec![paid(5, "log 5")]).await.unwrap();
    drop(journal);
    assert!(SqliteJournal::open(folder.path()).is_ok());
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
