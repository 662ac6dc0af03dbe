//! Commands whose journal is in a database.

use base::allowed_releases as allowed;
use base::pause::{self, Paused};
use journal::settings::{PAUSED, RELEASES_ALLOWED};
use journal::testkit::paid;
use journal::{Event, Outcome};

use super::payments_tests::Operator;

impl Operator {
    async fn setting(&self, name: &str) -> Option<String> {
        let shared = self.journal.shared().unwrap();
        shared.settings().await.unwrap().remove(name)
    }

    async fn put(&self, name: &str, text: &str) {
        let seen = self.setting(name).await;
        let shared = self.journal.shared().unwrap();
        assert_eq!(shared.put_setting(name, seen.as_deref(), text).await, Ok(true));
    }
}

#[tokio::test]
async fn t107_a_pause_is_a_row_that_every_node_reads() {
    let operator = Operator::in_database().await;
    assert_eq!(operator.run(&["paused"]).unwrap(), "nothing is paused\n");
    let words = ["pause", "--network", "eip155:1", "--reason", "it is \"hacked\""];
    let output = operator.run(&words).unwrap();
    assert!(output.contains("every scheme on eip155:1"), "{output}");
    let output = operator
        .run(&["pause", "--scheme", "exact", "--reason", "x"])
        .unwrap();
    assert_eq!(output.lines().count(), 2, "{output}");
    let text = operator.setting(PAUSED).await.unwrap();
    let Paused::These(pauses) = pause::from_text(Some(&text), "row") else {
        panic!("{text}");
    };
    assert_eq!(pauses.len(), 2);
    assert!(
        !operator.folder.path().join("data").join(pause::FILE).exists(),
        "a file is of one machine"
    );

    let error = operator.run(&["resume", "--network", "eip155:2"]).unwrap_err();
    assert!(error.contains("no pause has exactly these values"), "{error}");
    let output = operator.run(&["resume", "--network", "eip155:1"]).unwrap();
    assert!(
        output.contains("exact on every network") && output.lines().count() == 1,
        "{output}"
    );

    operator.put(PAUSED, "[]").await;
    for words in [
        &["paused"][..],
        &["pause", "--reason", "more"],
        &["resume", "--scheme", "exact"],
    ] {
        let error = operator.run(words).unwrap_err();
        assert!(error.contains("EVERYTHING IS PAUSED"), "{words:?}: {error}");
    }
    assert_eq!(operator.run(&["resume"]).unwrap(), "nothing is paused\n");
    assert_eq!(operator.run(&["paused"]).unwrap(), "nothing is paused\n");
}

#[tokio::test]
async fn t107_two_pauses_at_once_are_both_kept() {
    let operator = Operator::in_database().await;
    std::thread::scope(|threads| {
        for number in 0..6 {
            let operator = &operator;
            threads.spawn(move || {
                let scheme = format!("scheme{number}");
                operator
                    .run(&["pause", "--scheme", &scheme, "--reason", "x"])
                    .unwrap()
            });
        }
    });
    assert_eq!(operator.run(&["paused"]).unwrap().lines().count(), 6);
}

#[tokio::test]
async fn withheld_releases_in_a_database_are_listed_and_allowed() {
    let operator = Operator::in_database().await;
    assert_eq!(operator.run(&["releases"]).unwrap(), "no release is withheld\n");
    for id in [1, 2] {
        operator
            .opened(id, |row| row.tx_id = Some(format!("0xAb{id}")))
            .await;
    }
    let withheld = Event::ReleasesWithheld {
        up_to_id: 2,
        why: "an old copy".into(),
        at_ms: 1_700_000_000_000,
    };
    operator.journal.commit(vec![withheld]).await.unwrap();
    let output = operator.run(&["releases"]).unwrap();
    assert!(
        output.contains("0xAb1  withheld") && output.contains("0xAb2  withheld"),
        "{output}"
    );
    let error = operator.run(&["releases", "allow", "0xcd"]).unwrap_err();
    assert!(error.contains("no release of 0xcd is withheld"), "{error}");
    assert_eq!(operator.setting(RELEASES_ALLOWED).await, None);

    operator.put(RELEASES_ALLOWED, "damaged").await;
    let error = operator.run(&["releases"]).unwrap_err();
    assert!(error.contains("is damaged and allows nothing"), "{error}");
    let output = operator.run(&["releases", "allow", "0xab2"]).unwrap();
    assert!(
        output.contains("0xAb1  withheld") && output.contains("0xAb2  allowed"),
        "{output}"
    );
    let text = operator.setting(RELEASES_ALLOWED).await.unwrap();
    let list = allowed::from_text(&text).unwrap();
    assert_eq!(list.iter().map(|one| one.settlement).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_database_is_verified_and_counted_and_copied_by_its_own_tools() {
    let operator = Operator::in_database().await;
    operator.opened(1, |_| {}).await;
    operator.journal.commit(vec![paid(1, "log")]).await.unwrap();
    assert!(matches!(
        operator.journal.settlement(1).await.unwrap().unwrap().outcome,
        Outcome::Paid(_)
    ));
    let output = operator.run(&["journal", "verify"]).unwrap();
    assert!(output.contains("is whole: 2 events of 1 processes"), "{output}");
    let output = operator.run(&["journal", "stats"]).unwrap();
    for (name, value) in [
        ("settlements", "1 rows"),
        ("leases", "1 rows"),
        ("log of events", "2 events of 1 processes"),
    ] {
        let line = output.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.ends_with(value), "{line}");
    }
    let copy = operator.folder.path().join("copy.sqlite");
    let copy = copy.to_str().unwrap();
    for words in [["journal", "backup", copy], ["journal", "restore", copy]] {
        let error = operator.run(&words).unwrap_err();
        for part in ["pg_dump", "point-in-time recovery", "before you start a node"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!error.contains(pg::PASSWORD), "{error}");
    }
}
