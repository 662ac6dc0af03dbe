//! Backups, restores and checks of a journal's files.

use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;

use super::super::conformance::{opened, paid, prepared, released, stored};
use super::tools::{backup, restore, stats, verify};
use super::*;
use crate::{CommitError, Table, open_slots};

const DATABASE: &str = "journal.sqlite";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// 1 is paid and released, 3 is paid, 5 is in an open slot.
async fn payments(journal: &SqliteJournal) {
    for events in [
        vec![opened(1, "a"), prepared(2, 1, 0)],
        vec![paid(1, "log 1"), released(1)],
        vec![opened(3, "b"), prepared(4, 3, 1)],
        vec![paid(3, "log 3")],
        vec![opened(5, "c"), prepared(6, 5, 2)],
    ] {
        journal.commit(events).await.unwrap();
    }
}

#[tokio::test]
async fn a_backup_of_a_running_journal_is_whole_private_and_complete() {
    let (here, there) = (folder(), folder());
    let journal = SqliteJournal::open(here.path()).unwrap();
    payments(&journal).await;
    let copy = there.path().join("backup.sqlite");
    let copied = backup(here.path(), &copy).unwrap();
    assert_eq!(copied.events, (1, 9));
    assert_eq!(
        std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // It can still be used, and what follows is not in the backup.
    journal.commit(vec![stored("k", 1.into())]).await.unwrap();
    assert_eq!(verify(here.path()).unwrap().events, (1, 10));
    let error = backup(here.path(), &copy).unwrap_err();
    assert!(error.0.contains("does not exist yet"), "{error}");
    let error = backup(there.path(), &there.path().join("x")).unwrap_err();
    assert!(error.0.contains("has no journal"), "{error}");
}

#[tokio::test]
async fn law5_a_restored_backup_withholds_what_may_have_been_released_since() {
    let (here, there) = (folder(), folder());
    let copy = there.path().join("backup.sqlite");
    let journal = SqliteJournal::open(here.path()).unwrap();
    payments(&journal).await;
    backup(here.path(), &copy).unwrap();
    journal.commit(vec![released(3)]).await.unwrap();
    let error = restore(here.path(), &copy, false).unwrap_err();
    assert!(error.0.contains("in use by another process"), "{error}");
    let reference = journal.reference(1);
    drop(journal);

    let restored = restore(here.path(), &copy, false).unwrap();
    assert_eq!((restored.last_event, restored.withheld), (9, 2), "3 and 5");
    let aside = restored.replaced.expect("the old files are kept");
    assert!(aside.join(DATABASE).exists() && aside.join("journal.mark").exists());
    let journal = SqliteJournal::open(here.path()).unwrap();
    let refused = journal.commit(vec![released(3)]).await;
    assert!(matches!(refused, Err(CommitError::Stale(_))), "{refused:?}");
    assert_eq!(
        journal.commit(vec![released(1)]).await,
        Err(CommitError::AlreadyReleased)
    );
    assert_eq!(journal.reference(1), reference, "callers find their payments");
    assert_eq!(open_slots(&journal).await.unwrap().len(), 3);
    assert!(journal.new_id() > 1 << 40, "no id that was used since the backup");
    drop(journal);
    assert!(verify(here.path()).is_ok());
    // A second restore keeps what the first one replaced.
    let again = restore(here.path(), &copy, false).unwrap();
    assert!(again.replaced.is_some_and(|folder| folder != aside));
}

#[tokio::test]
async fn a_backup_is_restored_where_nothing_is_and_after_an_interrupted_restore() {
    let (here, there) = (folder(), folder());
    let copy = there.path().join("backup.sqlite");
    let journal = SqliteJournal::open(here.path()).unwrap();
    payments(&journal).await;
    backup(here.path(), &copy).unwrap();
    let new = folder();
    std::fs::write(new.path().join("journal.sqlite.restoring"), "half").unwrap();
    let restored = restore(new.path(), &copy, false).unwrap();
    assert_eq!((restored.replaced, restored.withheld), (None, 2));
    assert!(SqliteJournal::open(new.path()).is_ok());
}

#[tokio::test]
async fn a_damaged_journal_is_replaced_and_its_files_are_kept() {
    let (here, there) = (folder(), folder());
    let copy = there.path().join("backup.sqlite");
    payments(&SqliteJournal::open(here.path()).unwrap()).await;
    backup(here.path(), &copy).unwrap();
    std::fs::write(here.path().join(DATABASE), "nothing of it can be read").unwrap();
    let restored = restore(here.path(), &copy, false).unwrap();
    let kept = std::fs::read(restored.replaced.unwrap().join(DATABASE)).unwrap();
    assert_eq!(kept, b"nothing of it can be read");
    assert!(SqliteJournal::open(here.path()).is_ok());
}

#[tokio::test]
async fn what_is_no_backup_of_this_journal_is_refused_and_changes_nothing() {
    let (here, there) = (folder(), folder());
    for folder in [&here, &there] {
        payments(&SqliteJournal::open(folder.path()).unwrap()).await;
    }
    let files = folder();
    let path = |name: &str| files.path().join(name);
    backup(there.path(), &path("strangers")).unwrap();
    std::fs::write(path("text"), "no database at all").unwrap();
    let other = Connection::open(path("program")).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    for (name, sql) in [
        (
            "damaged",
            "DROP TRIGGER events_are_never_changed; UPDATE events SET body = '' WHERE seq = 4",
        ),
        ("without bytes", "DELETE FROM payloads"),
        ("older", "PRAGMA user_version = 3"),
        ("newer", "PRAGMA user_version = 99"),
    ] {
        backup(here.path(), &path(name)).unwrap();
        Connection::open(path(name)).unwrap().execute_batch(sql).unwrap();
    }
    for (name, why) in [
        ("strangers", "--any-origin"),
        ("text", "not a database"),
        ("program", "no journal of switchyard"),
        ("missing", "can't be opened"),
        ("damaged", "damaged in events 3 to 4"),
        ("without bytes", "no signed bytes"),
        ("older", "brings it up to date"),
        ("newer", "a newer one"),
    ] {
        let error = restore(here.path(), &path(name), false).unwrap_err();
        assert!(error.0.contains(why), "{name}: {error}");
        assert_eq!(verify(here.path()).unwrap().events, (1, 9), "{name}");
    }
    assert!(restore(here.path(), &path("strangers"), true).is_ok());
}

#[tokio::test]
async fn rows_that_do_not_belong_together_are_found() {
    for (table, key, why) in [
        (Table::Plans, 5, "an unfinished settlement without a plan"),
        (Table::Settlements, 5, "an unfinished settlement without a row"),
        (Table::Settlements, 1, "an unfinished settlement without a row"),
        (Table::Attempts, 6, "an open slot whose transaction has no row"),
        (Table::Payloads, 6, "no signed bytes"),
    ] {
        let here = folder();
        payments(&SqliteJournal::open(here.path()).unwrap()).await;
        assert!(verify(here.path()).is_ok());
        let connection = Connection::open(here.path().join(DATABASE)).unwrap();
        let key = packed::pack(&crate::keys::id_key(key));
        let sql = format!("DELETE FROM {} WHERE key = ?1", table.name());
        assert_eq!(connection.execute(&sql, [key]).unwrap(), 1);
        let error = verify(here.path()).unwrap_err();
        assert!(error.0.contains(why), "{table:?}: {error}");
    }
}

#[tokio::test]
async fn a_value_that_is_damaged_is_an_error_that_names_its_table() {
    let here = folder();
    let journal = SqliteJournal::open(here.path()).unwrap();
    payments(&journal).await;
    let connection = Connection::open(here.path().join(DATABASE)).unwrap();
    // A frame that claims many gigabytes, and a key that is none.
    connection
        .execute("UPDATE plans SET value = x'e101ffffffffffffff7f00'", [])
        .unwrap();
    let error = journal.unfinished_after(0, 9).await.unwrap_err();
    assert!(
        error.0.contains("table plans: ") && error.0.contains("names a length"),
        "{error}"
    );
    connection
        .execute("UPDATE requests SET key = x'0000'", [])
        .unwrap();
    let error = read(here.path(), |rows| rows.scan(Table::Requests, "", None, 9)).unwrap_err();
    assert!(
        error.0.contains("table requests: ") && error.0.contains("key can't be read"),
        "{error}"
    );
    let still = journal.settlement(1).await.unwrap();
    assert!(still.is_some(), "other rows are read");
}

#[tokio::test]
async fn rows_are_edited_for_tests() {
    let here = folder();
    let journal = SqliteJournal::open(here.path()).unwrap();
    payments(&journal).await;
    let edited = edit(here.path(), Table::Settlements, |row| {
        row.contains("\"id\":3,").then(|| row.replace("0xb", "0xother"))
    });
    assert_eq!(edited, Ok(1));
    assert_eq!(journal.settlement(3).await.unwrap().unwrap().payer, "0xother");
    assert_eq!(journal.settlement(1).await.unwrap().unwrap().payer, "0xb");
}

#[tokio::test]
async fn an_earlier_journal_is_copied_before_its_schema_is_changed() {
    let here = folder();
    let path = here.path().join(DATABASE);
    Connection::open(&path)
        .unwrap()
        .execute_batch(include_str!("kept/schema_3.sql"))
        .unwrap();
    drop(SqliteJournal::open(here.path()).unwrap());
    let copy = files::before_schema(&path, 3);
    let version = |path: &Path| files::schema(&Connection::open(path).unwrap(), path).unwrap();
    assert_eq!((version(&copy), version(&path)), (3, files::SCHEMA));
    assert_eq!(
        std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // The next start has nothing to copy.
    std::fs::remove_file(&copy).unwrap();
    drop(SqliteJournal::open(here.path()).unwrap());
    assert!(!copy.exists());
}

#[tokio::test]
async fn what_a_journal_holds_is_counted() {
    let here = folder();
    let journal = SqliteJournal::open(here.path()).unwrap();
    payments(&journal).await;
    let stats = stats(here.path()).unwrap();
    let rows = |name| {
        stats
            .rows
            .iter()
            .find(|(table, _)| *table == name)
            .map(|(_, rows)| *rows)
    };
    assert_eq!(
        (rows("settlements"), rows("open_slots"), rows("store")),
        (Some(3), Some(3), Some(0))
    );
    assert_eq!((stats.schema, stats.events), (files::SCHEMA, (1, 9)));
    assert!(stats.bytes.0 > 0);
}
