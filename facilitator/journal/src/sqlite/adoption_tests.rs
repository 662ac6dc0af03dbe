//! A plugin that gets another id, in a file.

use super::super::conformance::{NETWORK, opened_with, prepared};
use super::tools::{backup, restore, verify};
use super::*;
use crate::CommitError;

const OLD: &str = "evm";
const NEW: &str = "switchyard.evm";
/// More than two pages.
const SETTLEMENTS: u64 = 1_100;

fn adoption() -> Adoption {
    Adoption::new(OLD, NEW).unwrap()
}

fn claim(plugin: &str, id: u64) -> String {
    format!("{plugin}|{NETWORK}|0xc{id}")
}

fn opened_of(plugin: &str, id: u64, claimed: u64) -> Event {
    opened_with(id, &claim(plugin, claimed), |row, _, _| {
        row.plugin = plugin.into()
    })
}

async fn filled(folder: &Path) -> SqliteJournal {
    let journal = SqliteJournal::open(folder).unwrap();
    let events = (1..=SETTLEMENTS).map(|id| opened_of(OLD, id, id));
    journal.commit(events.collect()).await.unwrap();
    journal.commit(vec![prepared(9_000, 7, 0)]).await.unwrap();
    journal
}

#[tokio::test]
async fn an_adoption_is_one_event_that_stays_and_the_journal_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let journal = filled(folder.path()).await;
    let before = verify(folder.path()).unwrap();
    let adoption = adoption();
    let adopted = journal.adopt(&adoption).await.unwrap();
    assert_eq!(
        (adopted.settlements, adopted.unfinished),
        (SETTLEMENTS, SETTLEMENTS)
    );
    // Settlements are read twice, and claims.
    assert_eq!(adoption.rows_read(), 4 * SETTLEMENTS);
    let after = verify(folder.path()).unwrap();
    assert_eq!(after.events.1, before.events.1 + 1);
    assert_eq!(after.rows, before.rows);
    // At once, and after a start.
    assert!(journal.claim(&claim(NEW, 1_050)).await.unwrap().is_some());
    drop(journal);
    let journal = SqliteJournal::open(folder.path()).unwrap();
    for id in [1, 500, 501, SETTLEMENTS] {
        let row = journal.claim(&claim(NEW, id)).await.unwrap().unwrap();
        assert_eq!((row.id, row.plugin.as_str()), (id, NEW));
        let again = journal.commit(vec![opened_of(NEW, 9_001, id)]).await;
        assert_eq!(again, Err(CommitError::ClaimTaken));
    }
    assert_eq!(journal.claim(&claim(OLD, 1)).await.unwrap(), None);
    // The chain of events continues.
    journal.commit(vec![opened_of(NEW, 9_002, 9_002)]).await.unwrap();
    assert_eq!(verify(folder.path()).unwrap().events.1, after.events.1 + 1);
}

#[tokio::test]
async fn a_backup_of_before_has_the_old_id_and_is_adopted_again() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let copies = ["before", "after"].map(|name| elsewhere.path().join(name));
    let journal = filled(folder.path()).await;
    backup(folder.path(), &copies[0]).unwrap();
    journal.adopt(&adoption()).await.unwrap();
    backup(folder.path(), &copies[1]).unwrap();
    drop(journal);
    for (copy, has) in copies.iter().zip([OLD, NEW]) {
        restore(folder.path(), copy, false).unwrap();
        let journal = SqliteJournal::open(folder.path()).unwrap();
        let row = journal.claim(&claim(has, 3)).await.unwrap().unwrap();
        assert_eq!((row.plugin.as_str(), row.withheld), (has, true));
        let again = journal.adopt(&adoption()).await;
        assert_eq!(again.is_ok(), has == OLD, "{again:?}");
        let row = journal.claim(&claim(NEW, 3)).await.unwrap().unwrap();
        assert!(row.withheld, "an adoption allows no release");
        drop(journal);
        verify(folder.path()).unwrap();
    }
}

#[tokio::test]
async fn law5_a_disk_that_fills_up_leaves_the_old_id_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()).await);
    let before = verify(folder.path()).unwrap();
    let path = folder.path().join(FILE);
    let lock = files::lock(&path).unwrap();
    let connection = files::connect(&path).unwrap();
    // SQLite reports a full disk beyond this many pages: rows were changed by then, and most are not.
    let pages: i64 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    connection
        .pragma_update(None, "max_page_count", pages + 2)
        .unwrap();
    let journal = SqliteJournal::start(&path, connection, lock, Arc::new(SystemClock)).unwrap();
    let refused = journal.adopt(&adoption()).await;
    assert_eq!(refused, Err(CommitError::Full.into()));
    assert!(journal.claim(&claim(OLD, 3)).await.unwrap().is_some());
    assert_eq!(journal.claim(&claim(NEW, 3)).await.unwrap(), None);
    drop(journal);
    let after = verify(folder.path()).unwrap();
    assert_eq!((after.events, after.rows), (before.events, before.rows));
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let adopted = journal.adopt(&adoption()).await.unwrap();
    assert_eq!(adopted.settlements, SETTLEMENTS);
}
