//! A database that refuses, is slow, goes away, or is not what it was.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::testkit::opened;

fn refused(settings: &Settings) -> String {
    let error = PostgresJournal::open(settings).unwrap_err().0;
    assert!(!error.contains(pg::PASSWORD), "{error}");
    error
}

fn contains(error: &str, what: &str) {
    assert!(error.contains(what), "{error}");
}

#[tokio::test]
async fn what_can_not_be_used_is_refused_with_a_sentence() {
    let server = pg::server();
    server.psql(
        "postgres",
        "CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0",
    );
    contains(
        &refused(&Settings::new(server.url("bytes"))),
        "encoding SQL_ASCII",
    );
    contains(&refused(&Settings::new(server.url("no_such"))), "no_such");
    let wrong = server.database().replace(pg::PASSWORD, "wrong-word");
    let error = refused(&Settings::new(wrong));
    contains(&error, "password authentication failed");
    assert!(!error.contains("wrong-word"), "{error}");

    let later = server.new_database();
    drop(PostgresJournal::open(&Settings::new(server.url(&later))).unwrap());
    server.psql(
        &later,
        "UPDATE switchyard.meta SET value = '99' WHERE name = 'schema'",
    );
    contains(&refused(&Settings::new(server.url(&later))), "later version");
    let error = PostgresJournal::check(&Settings::new(server.url(&later)))
        .unwrap_err()
        .0;
    contains(&error, "later version");
    assert_eq!(PostgresJournal::check(&Settings::new(server.database())), Ok(()));

    let foreign = server.new_database();
    server.psql(
        &foreign,
        "CREATE SCHEMA switchyard; CREATE TABLE switchyard.meta (x int)",
    );
    contains(&refused(&Settings::new(server.url(&foreign))), "another program");

    let lossy = server.new_database();
    server.psql(
        "postgres",
        &format!("ALTER DATABASE {lossy} SET synchronous_commit = off"),
    );
    contains(
        &refused(&Settings::new(server.url(&lossy))),
        "synchronous_commit = on",
    );

    let read_only = server.new_database();
    server.psql(
        "postgres",
        &format!("ALTER DATABASE {read_only} SET default_transaction_read_only = on"),
    );
    contains(
        &refused(&Settings::new(server.url(&read_only))),
        "does not allow writes",
    );
}

#[tokio::test]
async fn a_database_that_is_full_or_read_only_or_slow_is_named() {
    let server = pg::server();
    let database = server.new_database();
    let mut settings = Settings::new(server.url(&database));
    settings.statement_limit = Duration::from_millis(200);
    let journal = PostgresJournal::open(&settings).unwrap();
    journal.commit(vec![opened(1, "c1")]).await.unwrap();
    let raise = |code: &str| {
        server.psql(
            &database,
            &format!(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'so' \
                 USING ERRCODE = '{code}'; END $$; CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON switchyard.events \
                 EXECUTE FUNCTION refuse()"
            ),
        );
    };
    raise("53100");
    assert_eq!(
        journal.commit(vec![opened(2, "c2")]).await,
        Err(CommitError::Full)
    );
    raise("25006");
    let error = journal
        .commit(vec![opened(2, "c2")])
        .await
        .unwrap_err()
        .to_string();
    contains(&error, "read-only");
    server.psql(&database, "DROP TRIGGER refuse ON switchyard.events");
    assert!(
        journal.settlement(2).await.unwrap().is_none(),
        "nothing of it is there"
    );

    let sql = "BEGIN; LOCK TABLE switchyard.rows IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(1.5); COMMIT";
    let name = database.clone();
    let holder = std::thread::spawn(move || pg::server().psql(&name, sql));
    tokio::time::sleep(Duration::from_millis(400)).await;
    let error = journal
        .commit(vec![opened(2, "c2")])
        .await
        .unwrap_err()
        .to_string();
    contains(&error, "statement time limit");
    holder.join().unwrap();
    journal.commit(vec![opened(2, "c2")]).await.unwrap();
    assert_eq!(journal.verify().await, Ok((1, 2)));
}

#[tokio::test]
async fn an_older_database_is_noticed_and_nothing_is_committed_into_it() {
    let server = pg::server();
    let database = server.new_database();
    let journal = PostgresJournal::open(&Settings::new(server.url(&database))).unwrap();
    for id in [1, 2] {
        journal.commit(vec![opened(id, &format!("c{id}"))]).await.unwrap();
    }
    server.psql(
        &database,
        "UPDATE switchyard.writers w SET seq = 1, checksum = e.checksum FROM switchyard.events e WHERE e.writer = w.id AND \
         e.seq = 1",
    );
    for id in [3, 4] {
        let error = journal
            .commit(vec![opened(id, "c")])
            .await
            .unwrap_err()
            .to_string();
        contains(&error, "older than what this process committed");
    }
}

#[tokio::test]
async fn what_is_committed_survives_a_crash_of_the_server() {
    let mut server = pg::Server::start(&[]).unwrap();
    let database = server.new_database();
    let journal = PostgresJournal::open(&Settings::new(server.url(&database))).unwrap();
    journal.commit(vec![opened(1, "c1")]).await.unwrap();
    for (id, signal) in [(2, "QUIT"), (3, "INT")] {
        server.restart(signal, &[]).unwrap();
        journal.commit(vec![opened(id, &format!("c{id}"))]).await.unwrap();
    }
    assert_eq!(journal.verify().await, Ok((1, 3)));
}

#[tokio::test]
async fn a_server_is_only_used_with_a_certificate_that_the_root_signed() {
    let cert = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let server = pg::Server::start_with(&["ssl=on"], |data| {
        fs::write(data.join("server.crt"), cert.cert.pem())?;
        fs::write(data.join("server.key"), cert.signing_key.serialize_pem())?;
        fs::set_permissions(data.join("server.key"), fs::Permissions::from_mode(0o600))
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (root, stranger) = (folder.path().join("root.pem"), folder.path().join("other.pem"));
    fs::write(&root, cert.cert.pem()).unwrap();
    fs::write(&stranger, other.cert.pem()).unwrap();
    let url = server
        .database()
        .replace("sslmode=disable", "sslmode=verify-full");
    let by_name = url.replace("127.0.0.1", "localhost");
    let with = |url: &str, root: Option<&std::path::Path>| {
        let mut settings = Settings::new(url);
        settings.root_certificate = root.map(Into::into);
        settings
    };
    let journal = PostgresJournal::open(&with(&by_name, Some(&root))).unwrap();
    journal.commit(vec![opened(1, "c1")]).await.unwrap();
    contains(&refused(&with(&by_name, None)), "certificate");
    contains(&refused(&with(&by_name, Some(&stranger))), "certificate");
    contains(&refused(&with(&url, Some(&root))), "certificate");
    let absent = folder.path().join("absent.pem");
    contains(&with(&url, Some(&absent)).check().unwrap_err().0, "absent.pem");
    drop(journal);
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_the_url_says_so() {
    let url = pg::server()
        .database()
        .replace("sslmode=disable", "sslmode=verify-full");
    contains(&refused(&Settings::new(url)), "TLS");
}

#[tokio::test]
async fn keys_and_values_hold_any_text() {
    let journal = PostgresJournal::open(&Settings::new(pg::server().database())).unwrap();
    let claim = "evm|\0|\u{10ffff}|'; DROP SCHEMA switchyard; --|%_\\";
    journal.commit(vec![opened(1, claim)]).await.unwrap();
    assert_eq!(journal.claim(claim).await.unwrap().unwrap().claim, claim);
    let counts = journal.counts();
    journal.claim(claim).await.unwrap();
    let after = journal.counts();
    assert_eq!(after.round_trips - counts.round_trips, 1);
    assert_eq!(after.statements - counts.statements, 1);
}
