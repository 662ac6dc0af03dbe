use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rusqlite::ffi;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::super::conformance::{NETWORK, opened, paid, prepared, released, rows, settlement, stored};
use super::super::open_slots;
use super::fate::{Fate, fate};
use super::*;
use crate::{Ground, GroundAt, Table};

const DATABASE: &str = "journal.sqlite";
const FILES: [&str; 4] = [
    DATABASE,
    "journal.sqlite-wal",
    "journal.sqlite-shm",
    "journal.sqlite.lock",
];

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn error(directory: &Path) -> String {
    SqliteJournal::open(directory)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

/// What a crash leaves: the database and this much of its write-ahead log.
fn crashed(from: &Path, wal: &[u8]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(from.join(DATABASE), copy.path().join(DATABASE)).unwrap();
    std::fs::write(copy.path().join(format!("{DATABASE}-wal")), wal).unwrap();
    copy
}

fn wal_of(directory: &Path) -> Vec<u8> {
    std::fs::read(directory.join(format!("{DATABASE}-wal"))).unwrap()
}

#[tokio::test]
async fn all_files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("new/data");
    let journal = SqliteJournal::open(&directory).unwrap();
    journal.commit(vec![opened(1, "a")]).await.unwrap();
    assert_eq!(mode(&directory), 0o700);
    for name in FILES.into_iter().chain(["journal.mark"]) {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
    drop(journal);
    let database = directory.join(DATABASE);
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _journal = SqliteJournal::open(&directory).unwrap();
    assert_eq!(mode(&database), 0o600, "made private again");
}

#[tokio::test]
async fn every_commit_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let path = files::database(folder.path()).unwrap();
    files::prepare(&path).unwrap();
    let connection = files::connect(&path).unwrap();
    let pragma = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(pragma("synchronous"), 2, "FULL");
    let mode: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn a_second_process_is_kept_away() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let refused = error(folder.path());
    assert!(refused.contains("in use by another process"), "{refused}");
    assert!(
        refused.contains(&format!("pid {}", std::process::id())),
        "{refused}"
    );
    drop(journal);
    assert_eq!(error(folder.path()), "");
}

#[tokio::test]
async fn what_is_no_journal_of_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(DATABASE);
    std::fs::write(&path, "x".repeat(8_192)).unwrap();
    assert!(
        error(folder.path()).contains("not a database"),
        "{}",
        error(folder.path())
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "x".repeat(8_192));

    std::fs::remove_file(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    assert!(
        error(folder.path()).contains("another program"),
        "{}",
        error(folder.path())
    );

    std::fs::remove_file(&path).unwrap();
    drop(SqliteJournal::open(folder.path()).unwrap());
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(
        error(folder.path()).contains("run the version that wrote it or a newer one"),
        "{}",
        error(folder.path())
    );

    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(error(&file.path().join("data")).contains("can't be created"));
}

/// The events of the log, one a line.
fn logged(directory: &Path) -> Vec<(i64, String)> {
    let connection = Connection::open(directory.join(DATABASE)).unwrap();
    let mut statement = connection
        .prepare("SELECT seq, body FROM events ORDER BY seq")
        .unwrap();
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, values::decode(row.get_ref(1)?).unwrap().into_owned()))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_damaged_event_log_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    for n in 0..5 {
        journal.commit(vec![stored("k", json!(n))]).await.unwrap();
    }
    drop(journal);
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    connection
        .execute_batch("DROP TRIGGER events_are_never_changed")
        .unwrap();
    let (seq, body) = logged(folder.path()).swap_remove(2);
    let other = body.replace("\"value\":2", "\"value\":9");
    assert!(seq == 3 && other != body, "{body}");
    connection
        .execute("UPDATE events SET body = ?1 WHERE seq = 3", [other])
        .unwrap();
    drop(connection);
    assert!(
        error(folder.path()).contains("damaged at event 3"),
        "{}",
        error(folder.path())
    );
}

#[tokio::test]
async fn bearer_instruments_are_not_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    journal
        .commit(vec![opened(1, "a"), prepared(0x1122_3344, 1, 0)])
        .await
        .unwrap();
    drop(journal);
    let log: String = logged(folder.path()).into_iter().map(|(_, body)| body).collect();
    assert!(log.contains("Prepared") && log.contains(NETWORK), "{log}");
    assert!(!log.contains("11223344") && !log.contains("plan of a"), "{log}");
}

#[tokio::test]
async fn ids_go_on_where_the_journal_ends() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    assert_eq!(journal.new_id(), 1);
    journal
        .commit(vec![opened(7, "a"), prepared(12, 7, 0)])
        .await
        .unwrap();
    drop(journal);
    let journal = SqliteJournal::open(folder.path()).unwrap();
    assert_eq!((journal.new_id(), journal.new_id()), (13, 14));
}

#[tokio::test]
async fn marks_reach_the_disk_at_the_latest_when_the_journal_closes() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    journal
        .commit(vec![opened(1, "a"), prepared(2, 1, 0)])
        .await
        .unwrap();
    journal.note(Event::Sent { attempt: 2 });
    drop(journal);
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let slots = open_slots(&journal).await.unwrap();
    assert!(slots[0].1[0].sent);
}

#[tokio::test]
async fn marks_ride_with_the_next_commit_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    for n in 0..2_000 {
        journal.note(stored("k", json!(n)));
    }
    journal.commit(vec![stored("last", json!(1))]).await.unwrap();
    let found = rows(&journal, "k").await;
    assert_eq!(found[0].value, json!(1_999));
}

#[tokio::test]
async fn law3_a_crash_at_any_byte_keeps_every_acknowledged_commit_whole() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    // The length of the write-ahead log when each commit had been acknowledged.
    let mut acknowledged = vec![wal_of(folder.path()).len()];
    for n in 1..=12_u64 {
        let (settlement, attempt) = (2 * n, 2 * n + 1);
        let events = vec![
            opened(settlement, &n.to_string()),
            prepared(attempt, settlement, n),
            stored(&n.to_string(), json!(n)),
        ];
        journal.commit(events).await.unwrap();
        acknowledged.push(wal_of(folder.path()).len());
    }
    let wal = wal_of(folder.path());
    assert!(
        acknowledged.is_sorted_by(|a, b| a < b),
        "nothing was checkpointed meanwhile: {acknowledged:?}"
    );
    // Every boundary and its neighbours, and a step that reaches any position inside frames.
    let cuts = acknowledged
        .iter()
        .flat_map(|length| [length - 1, *length, length + 1]);
    for cut in cuts.chain((acknowledged[0]..wal.len()).step_by(20_011)) {
        let Some(left) = wal.get(..cut) else { continue };
        let torn: Vec<u8> = left.iter().copied().chain([0xa5; 100]).collect();
        let at_least = acknowledged
            .iter()
            .filter(|length| **length <= cut)
            .count()
            .saturating_sub(1);
        for wal in [left, &torn] {
            let copy = crashed(folder.path(), wal);
            let reopened = SqliteJournal::open(copy.path()).unwrap();
            let found = u64::try_from(rows(&reopened, "").await.len()).unwrap();
            assert!(
                found >= u64::try_from(at_least).unwrap(),
                "cut at {cut}: {found} < {at_least}"
            );
            for n in 1..=12 {
                let there = settlement(&reopened, 2 * n).await.is_some();
                let bytes = reopened.bytes(2 * n + 1).await.unwrap();
                assert_eq!(there, n <= found, "cut at {cut}: commit {n}");
                assert_eq!(bytes.is_some(), there, "cut at {cut}: commit {n} is half there");
            }
            reopened.commit(vec![stored("after", json!(1))]).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law3_a_crash_under_load_keeps_every_acknowledged_commit() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(SqliteJournal::open(folder.path()).unwrap());
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut load = tokio::task::JoinSet::new();
    let mut copies = Vec::new();
    for wave in 0..5 {
        for n in (wave * 60)..(wave * 60 + 60) {
            let (journal, acknowledged) = (Arc::clone(&journal), Arc::clone(&acknowledged));
            load.spawn(async move {
                let key = format!("{n:03}");
                journal.commit(vec![stored(&key, json!(n))]).await.unwrap();
                lock(&acknowledged).push(key);
            });
        }
        for _ in 0..30 {
            load.join_next().await.unwrap().unwrap();
        }
        // What was acknowledged before the copy began must be in it. The log only grows here, so a copy of it is what
        // a crash at some moment of the copying would have left.
        let before = lock(&acknowledged).clone();
        copies.push((before, crashed(folder.path(), &wal_of(folder.path()))));
    }
    while let Some(committed) = load.join_next().await {
        committed.unwrap();
    }
    for (before, copy) in copies {
        let reopened = SqliteJournal::open(copy.path()).unwrap();
        let found: Vec<String> = rows(&reopened, "").await.into_iter().map(|row| row.key).collect();
        for key in before {
            assert!(found.contains(&key), "{key} was acknowledged");
        }
    }
}

/// A journal whose disk holds this many pages.
fn small(directory: &Path, pages: i64) -> SqliteJournal {
    let path: PathBuf = files::database(directory).unwrap();
    let lock = files::lock(&path).unwrap();
    files::prepare(&path).unwrap();
    let mut connection = files::connect(&path).unwrap();
    files::migrate(&mut connection, &path).unwrap();
    let _: i64 = connection
        .pragma_update_and_check(None, "max_page_count", pages, |row| row.get(0))
        .unwrap();
    SqliteJournal::start(&path, connection, lock, Arc::new(SystemClock)).unwrap()
}

/// A text that can't be compressed to less than half.
fn noise(seed: u64, length: usize) -> String {
    let block = |number: usize| {
        let mut hash = Sha256::new();
        hash.update(seed.to_be_bytes());
        hash.update(number.to_be_bytes());
        hex::encode(hash.finalize())
    };
    (0..length / 64).map(block).collect()
}

#[tokio::test]
async fn a_full_disk_refuses_commits_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(small(folder.path(), 120));
    let mut load = tokio::task::JoinSet::new();
    for n in 0..60 {
        let journal = Arc::clone(&journal);
        load.spawn(async move {
            let key = format!("{n:03}");
            let result = journal.commit(vec![stored(&key, json!(noise(n, 20_000)))]).await;
            (key, result)
        });
    }
    let mut kept = Vec::new();
    let mut full = 0;
    for (key, result) in load.join_all().await {
        match result {
            Ok(()) => kept.push(key),
            Err(CommitError::Full) => full += 1,
            Err(error) => panic!("{error}"),
        }
    }
    kept.sort();
    assert!(full > 0);
    assert_eq!(keys(&journal).await, kept, "reads continue");
    let again = journal
        .commit(vec![stored("zzz", json!(noise(99, 800_000)))])
        .await;
    assert_eq!(again, Err(CommitError::Full), "the process lives");
    drop(journal);

    let journal = SqliteJournal::open(folder.path()).unwrap();
    assert_eq!(keys(&journal).await, kept);
    journal
        .commit(vec![stored("zzz", json!(noise(99, 800_000)))])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_row_that_cannot_be_written_costs_no_other_commit_of_its_group() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteJournal::open(folder.path()).unwrap());
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    connection
        .execute_batch(
            "CREATE TRIGGER broken BEFORE INSERT ON store WHEN NEW.key = 'evm|broken'
             BEGIN SELECT RAISE(ABORT, 'broken'); END",
        )
        .unwrap();
    drop(connection);
    let journal = Arc::new(SqliteJournal::open(folder.path()).unwrap());
    let mut commits = tokio::task::JoinSet::new();
    for n in 0..100 {
        let journal = Arc::clone(&journal);
        let key = if n == 50 {
            "broken".to_owned()
        } else {
            format!("{n:03}")
        };
        commits.spawn(async move { (n, journal.commit(vec![stored(&key, json!(1))]).await) });
    }
    for (n, result) in commits.join_all().await {
        assert_eq!(result.is_err(), n == 50, "{n}: {result:?}");
    }
    let found = keys(&journal).await;
    assert_eq!(found.len(), 99);
    assert!(!found.contains(&"broken".to_owned()));
    drop(journal);
    SqliteJournal::open(folder.path()).expect("the chain of events is whole");
}

/// A journal that was used, in a folder inside the returned one, so that it can be moved.
async fn used() -> (tempfile::TempDir, PathBuf, SqliteJournal) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let journal = SqliteJournal::open(&directory).unwrap();
    journal.commit(vec![stored("before", json!(1))]).await.unwrap();
    (folder, directory, journal)
}

/// Accepts nothing more, and still answers.
async fn refuses(journal: &SqliteJournal, what: &str) {
    for _ in 0..2 {
        let refused = journal
            .commit(vec![opened(1, "a"), prepared(2, 1, 0), stored("after", json!(1))])
            .await;
        assert!(
            matches!(&refused, Err(CommitError::Io(why)) if why.contains("not where they were opened")),
            "{what}: {refused:?}"
        );
        journal.note(stored("marked", json!(1)));
    }
    assert_eq!(keys(journal).await, ["before"], "{what}: reads continue");
    assert!(settlement(journal, 1).await.is_none(), "{what}");
}

async fn keys(journal: &SqliteJournal) -> Vec<String> {
    rows(journal, "").await.into_iter().map(|row| row.key).collect()
}

#[tokio::test]
async fn law3_nothing_is_acknowledged_in_a_file_that_was_deleted() {
    for name in FILES {
        let (_folder, directory, journal) = used().await;
        std::fs::remove_file(directory.join(name)).unwrap();
        refuses(&journal, name).await;
        drop(journal);
        if name != DATABASE {
            let journal = SqliteJournal::open(&directory).unwrap();
            assert_eq!(keys(&journal).await, ["before"], "{name}: a clean stop saves it");
            journal.commit(vec![stored("c", json!(1))]).await.unwrap();
        }
    }
    let (_folder, directory, journal) = used().await;
    std::fs::remove_dir_all(&directory).unwrap();
    refuses(&journal, "the whole directory").await;
}

#[tokio::test]
async fn law3_nothing_is_acknowledged_in_a_file_that_another_one_replaced() {
    for name in FILES {
        let (folder, directory, journal) = used().await;
        let other = folder.path().join("other");
        std::fs::write(&other, "").unwrap();
        std::fs::rename(&other, directory.join(name)).unwrap();
        refuses(&journal, name).await;
    }
}

#[tokio::test]
async fn a_second_journal_at_the_same_place_ends_the_first_and_is_left_alone_by_it() {
    let (folder, directory, first) = used().await;
    std::fs::rename(&directory, folder.path().join("away")).unwrap();
    let second = SqliteJournal::open(&directory).unwrap();
    second.commit(vec![stored("second", json!(1))]).await.unwrap();
    refuses(&first, "moved away").await;
    drop(first);
    second.commit(vec![stored("third", json!(1))]).await.unwrap();
    drop(second);
    let second = SqliteJournal::open(&directory).unwrap();
    assert_eq!(keys(&second).await, ["second", "third"]);
}

#[tokio::test]
async fn what_was_moved_and_put_back_is_used_again_after_a_restart_and_not_before() {
    for name in FILES.into_iter().chain([""]) {
        let (folder, directory, journal) = used().await;
        let (place, away) = (directory.join(name), folder.path().join("away"));
        // Without the separator that joining an empty path leaves.
        let place: PathBuf = place.components().collect();
        std::fs::rename(&place, &away).unwrap();
        refuses(&journal, name).await;
        std::fs::rename(&away, &place).unwrap();
        refuses(&journal, name).await;
        drop(journal);
        let journal = SqliteJournal::open(&directory).unwrap();
        assert_eq!(keys(&journal).await, ["before"], "{name}");
        journal.commit(vec![stored("c", json!(1))]).await.unwrap();
    }
}

#[tokio::test]
async fn other_programs_that_look_into_the_journal_do_not_disturb_it() {
    let (folder, directory, journal) = used().await;
    let shell = Connection::open(directory.join(DATABASE)).unwrap();
    let backup = folder.path().join("backup.sqlite");
    shell
        .execute("VACUUM INTO ?1", [backup.to_str().unwrap()])
        .unwrap();
    drop(shell);
    std::fs::write(directory.join("paused"), "").unwrap();
    journal.commit(vec![stored("c", json!(1))]).await.unwrap();
    assert_eq!(keys(&journal).await, ["before", "c"]);
}

#[test]
fn only_a_full_disk_or_a_lock_can_be_undone() {
    for (code, expected) in [
        (ffi::SQLITE_FULL, Some(CommitError::Full)),
        (ffi::SQLITE_BUSY, None),
        (ffi::SQLITE_LOCKED, None),
    ] {
        let Fate::Undo(error) = fate(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)) else {
            panic!("{code}")
        };
        assert!(expected.is_none_or(|expected| error == expected));
    }
    for code in [
        ffi::SQLITE_IOERR_FSYNC,
        ffi::SQLITE_IOERR_DIR_FSYNC,
        ffi::SQLITE_IOERR_WRITE,
        ffi::SQLITE_CORRUPT,
        ffi::SQLITE_READONLY,
    ] {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        assert_eq!(fate(&error), Fate::Unknown, "{code}");
    }
}

#[tokio::test]
async fn the_schema_has_every_table() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteJournal::open(folder.path()).unwrap());
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    for table in Table::ALL {
        let mut tables = Tables::new(&connection);
        assert_eq!(tables.last_key(table), Ok(None));
    }
}

#[tokio::test]
async fn jobs_of_a_journal_from_before_the_order_of_jobs_come_due() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteJournal::open(folder.path()).unwrap());
    let path = folder.path().join(DATABASE);
    std::fs::remove_file(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(include_str!("001.sql")).unwrap();
    connection
        .pragma_update(None, "application_id", 0x5377_5964)
        .unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    let row = r#"{"plugin":"evm","job":{"id":"a|b","scheme":"exact","network":"eip155:84532","kind":"k","payload":null,"runAtMs":70}}"#;
    connection
        .execute("INSERT INTO jobs (key, value) VALUES ('evm|a|b', ?1)", [row])
        .unwrap();
    drop(connection);
    let journal = SqliteJournal::open(folder.path()).unwrap();
    for (now_ms, expected) in [(69, vec![]), (70, vec!["a|b"])] {
        let rows = journal.due_jobs("eip155:84532", now_ms, None, 9).await.unwrap();
        let ids: Vec<&str> = rows.iter().map(|row| row.job.id.as_str()).collect();
        assert_eq!(ids, expected, "{now_ms}");
    }
    let done = Event::JobDone {
        plugin: "evm".into(),
        id: "a|b".into(),
        run_at_ms: 70,
    };
    journal.commit(vec![done]).await.unwrap();
    let connection = Connection::open(&path).unwrap();
    let mut tables = Tables::new(&connection);
    assert_eq!(tables.last_key(Table::DueJobs), Ok(None));
    assert_eq!(tables.last_key(Table::Jobs), Ok(None));
}

#[tokio::test]
async fn grounds_of_a_journal_from_before_their_type_are_read() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteJournal::open(folder.path()).unwrap());
    let path = folder.path().join(DATABASE);
    std::fs::remove_file(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(concat!(include_str!("001.sql"), include_str!("002.sql")))
        .unwrap();
    connection
        .pragma_update(None, "application_id", 0x5377_5964)
        .unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    let step = |ground: &str| {
        format!(
            r#"{{"state":{{"Done":{{"tx_id":"0xt","height":9}}}},"pays":false,"is_final":false,"ground":{ground}}}"#
        )
    };
    let steps = [
        step(r#"{"attempt":4,"block":"0xb10c","height":9,"foreign":null}"#),
        step(r#"{"attempt":5,"block":"gone:0xother","height":7,"foreign":"0xtheirs"}"#),
        step("null"),
    ];
    let row = format!(
        r#"{{"id":1,"claim":"c","generation":0,"plugin":"p","scheme":"s","version":"2","network":"n","tenant":null,"fingerprint":"f","digest":"d","request":"","replay_reason":"used","replayable_until_s":null,"payer":"a\"b","conflict_keys":[],"opened_at_ms":1,"second_source":false,"steps":[{}],"outcome":"Open","release":null,"tx_id":null,"finished":false}}"#,
        steps.join(",")
    );
    let key = "00000000000000000001";
    connection
        .execute(
            "INSERT INTO settlements (key, value) VALUES (?1, ?2)",
            [key, &row],
        )
        .unwrap();
    drop(connection);
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let row = journal.settlement(1).await.unwrap().unwrap();
    assert_eq!(row.payer, "a\"b");
    let grounds: Vec<Option<Ground>> = row.steps.iter().map(|step| step.ground.clone()).collect();
    let ground = |attempt, at, height, foreign: Option<&str>| {
        Some(Ground {
            attempt,
            at,
            height,
            foreign: foreign.map(str::to_owned),
            reverted: false,
        })
    };
    assert_eq!(
        grounds,
        [
            ground(4, GroundAt::Block("0xb10c".into()), 9, None),
            ground(5, GroundAt::Dead("0xother".into()), 7, Some("0xtheirs")),
            None
        ]
    );
}

/// Copies a journal's files as they are, even while a process writes them.
fn copy(from: &Path, to: &Path, names: &[&str]) {
    std::fs::create_dir_all(to).unwrap();
    for name in names {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

async fn withheld_in(journal: &SqliteJournal) -> Vec<u64> {
    let rows = journal.withheld().await.unwrap();
    rows.iter().map(|(row, _)| row.id).collect()
}

/// A journal that was stopped, with a released payment in it; and a copy that was made while it ran, before the release.
async fn released_after_a_copy() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let journal = SqliteJournal::open(&data).unwrap();
    let events = vec![opened(1, "a"), prepared(2, 1, 0), paid(1, "log 1")];
    journal.commit(events).await.unwrap();
    copy(&data, &backup, &COPIED);
    journal.commit(vec![released(1)]).await.unwrap();
    drop(journal);
    (folder, data, backup)
}

const COPIED: [&str; 4] = [
    DATABASE,
    "journal.sqlite-wal",
    "journal.sqlite-shm",
    "journal.mark",
];

/// What the next start finds after the process was killed: the same files, and a mark that says that it was running.
fn killed(directory: &Path) {
    let path = directory.join(DATABASE);
    let connection = files::connect_read_only(&path).unwrap();
    let seq = event_log::verify(&connection).unwrap().seq();
    drop(connection);
    let (mut mark, older) = Mark::open(&path, seq).unwrap();
    assert_eq!(older, None);
    mark.write(seq, false);
}

#[tokio::test]
async fn law5_a_restored_copy_of_a_running_journal_withholds_what_is_unreleased_in_it() {
    // The database's files put back over those that are there; the whole folder with its mark; the mark of a killed process.
    for (what, whole) in [("in place", false), ("elsewhere", true), ("after a kill", false)] {
        let (_folder, data, backup) = released_after_a_copy().await;
        let place = if whole {
            backup
        } else {
            if what == "after a kill" {
                killed(&data);
            }
            copy(&backup, &data, &COPIED[..3]);
            data
        };
        let journal = SqliteJournal::open(&place).unwrap();
        assert_eq!(withheld_in(&journal).await, [1], "{what}");
        assert!(journal.commit(vec![released(1)]).await.is_err(), "{what}");
        assert_eq!(withheld(&place).unwrap().len(), 1, "{what}: for a command");
        drop(journal);
        // Detected once: the next start has a mark of its own.
        let journal = SqliteJournal::open(&place).unwrap();
        assert_eq!(withheld_in(&journal).await, [1], "{what}");
        let allow = Event::ReleasesAllowed { settlements: vec![1] };
        journal.commit(vec![allow]).await.unwrap();
        drop(journal);
        killed(&place);
        let journal = SqliteJournal::open(&place).unwrap();
        assert!(withheld_in(&journal).await.is_empty(), "{what}");
        journal.commit(vec![released(1)]).await.unwrap();
    }
}

#[tokio::test]
async fn law5_a_journal_that_lost_its_write_ahead_log_withholds_what_is_left() {
    let (_folder, data, _) = released_after_a_copy().await;
    let journal = SqliteJournal::open(&data).unwrap();
    let events = vec![opened(3, "b"), prepared(4, 3, 1), paid(3, "log 2")];
    journal.commit(events).await.unwrap();
    drop(journal);
    // All of it is in the database now, and what comes next is in the log alone.
    let left = std::fs::read(data.join(DATABASE)).unwrap();
    let journal = SqliteJournal::open(&data).unwrap();
    journal.commit(vec![released(3)]).await.unwrap();
    drop(journal);
    killed(&data);
    std::fs::write(data.join(DATABASE), left).unwrap();
    let journal = SqliteJournal::open(&data).unwrap();
    assert_eq!(withheld_in(&journal).await, [3], "the release was in the log");
}

#[tokio::test]
async fn a_crash_a_missing_mark_and_a_move_after_a_clean_stop_are_no_alarm() {
    let (_folder, data, backup) = released_after_a_copy().await;
    killed(&data);
    let journal = SqliteJournal::open(&data).unwrap();
    let events = vec![opened(3, "b"), prepared(4, 3, 1), paid(3, "log 2")];
    journal.commit(events).await.unwrap();
    assert!(withheld_in(&journal).await.is_empty(), "a crash");
    drop(journal);
    std::fs::remove_file(backup.join("journal.mark")).unwrap();
    for place in [&data, &backup] {
        let journal = SqliteJournal::open(place).unwrap();
        assert!(withheld_in(&journal).await.is_empty(), "without a mark");
        drop(journal);
        let moved = tempfile::tempdir().unwrap();
        copy(place, moved.path(), &[DATABASE, "journal.mark"]);
        let journal = SqliteJournal::open(moved.path()).unwrap();
        assert!(withheld_in(&journal).await.is_empty(), "moved to another disk");
        drop(journal);
        // Half a mark, as a power cut may leave it.
        let mark = moved.path().join("journal.mark");
        std::fs::write(&mark, "switchyard-mark 1 000").unwrap();
        let journal = SqliteJournal::open(moved.path()).unwrap();
        assert!(withheld_in(&journal).await.is_empty(), "a damaged mark");
        drop(journal);
        let mark = std::fs::read_to_string(mark).unwrap();
        assert!(mark.contains(" clean "), "{mark}");
    }
}
