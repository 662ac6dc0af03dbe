//! Commands over a database that nodes use.

use super::*;
use crate::postgres::Operator;
use crate::postgres::transaction::Statement;
use crate::settings::PAUSED;
use crate::testkit::{opened, paid, prepared};
use crate::{lookups, settings};

#[tokio::test(flavor = "multi_thread")]
async fn commands_read_what_nodes_have_written_and_are_no_nodes() {
    let database = Settings::new(pg::server().database());
    let operator = Operator::new(&database).unwrap();
    assert_eq!(operator.read(|rows| settings::all(rows)).unwrap(), None);
    assert_eq!(
        (operator.verify().unwrap(), operator.stats().unwrap()),
        (None, None)
    );

    let journal = owner(&database);
    journal
        .commit(vec![opened(1, "c1"), prepared(2, 1, 5), paid(1, "log")])
        .await
        .unwrap();
    let found = operator.read(|rows| lookups::oldest_first(rows, 0, u64::MAX, None, 9));
    let ids: Vec<u64> = found.unwrap().unwrap().rows.iter().map(|row| row.id).collect();
    assert_eq!(ids, [1]);
    assert_eq!(operator.verify().unwrap(), Some((1, 3)));
    let stats = operator.stats().unwrap().unwrap();
    assert_eq!((stats.schema, stats.writers, stats.events), (2, 1, 3));
    let bytes = stats.bytes.unwrap();
    assert!(bytes.0 > 0 && bytes.1 > 0, "{bytes:?}");
    for (table, count) in [("settlements", 1), ("attempts", 1), ("leases", 1), ("intents", 0)] {
        assert!(stats.rows.contains(&(table, count)), "{table}: {:?}", stats.rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t107_a_pause_may_come_before_the_first_start() {
    let database = Settings::new(pg::server().database());
    let operator = Operator::new(&database).unwrap();
    assert_eq!(operator.put_setting(PAUSED, None, "all\n"), Ok(true));
    assert_eq!(operator.put_setting(PAUSED, None, "other\n"), Ok(false));
    let journal = PostgresJournal::open(&database).unwrap();
    let seen = Shared::settings(&journal).await.unwrap();
    assert_eq!(seen.get(PAUSED).map(String::as_str), Some("all\n"));
    assert_eq!(
        journal.put_setting(PAUSED, Some("all\n"), "none\n").await,
        Ok(true)
    );
    let seen = operator.read(|rows| settings::all(rows)).unwrap().unwrap();
    assert_eq!(seen.get(PAUSED).map(String::as_str), Some("none\n"));
    assert_eq!(journal.verify().await.unwrap().0, 1, "a command is no writer");
}

#[test]
fn a_database_of_a_later_version_is_refused_and_not_changed() {
    let database = Settings::new(pg::server().database());
    drop(PostgresJournal::open(&database).unwrap());
    let operator = Operator::new(&database).unwrap();
    let later = "UPDATE switchyard.meta SET value = '999' WHERE name = 'schema'";
    let runtime = operator.runtime.as_ref().unwrap();
    runtime
        .block_on(operator.link.query(Statement::new(later)))
        .unwrap();
    for error in [
        operator.read(|rows| settings::all(rows)).unwrap_err(),
        operator.put_setting(PAUSED, None, "all\n").unwrap_err(),
        operator.stats().unwrap_err(),
    ] {
        assert!(error.0.contains("later version of switchyard"), "{error}");
    }
}

#[test]
fn a_database_that_is_not_there_is_named_without_the_password() {
    let operator = Operator::new(&Settings::new(
        "postgres://u:hidden-word@127.0.0.1:1/d?sslmode=disable",
    ))
    .unwrap();
    let error = operator.read(|rows| settings::all(rows)).unwrap_err();
    assert!(
        error.0.contains("can't be reached") && !error.0.contains("hidden"),
        "{error}"
    );
}
