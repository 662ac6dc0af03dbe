//! `switchyard plugin adopt`.

use base::allowed_releases::{self as allowed, AllowedRelease};
use journal::Event;
use journal::testkit::paid;

use super::payments_tests::Operator;

const OLD: &str = "evm";
const NEW: &str = "switchyard.evm";

/// Runs a command outside of the test's runtime.
fn run(operator: &Operator, words: &[&str]) -> Result<String, String> {
    std::thread::scope(|threads| threads.spawn(|| operator.run(words)).join().unwrap())
}

async fn filled(operator: &Operator) {
    for id in 1..=3 {
        operator.opened(id, |_| {}).await;
    }
    let stored = Event::Stored {
        plugin: OLD.into(),
        write: sdk_plugin::host::StoreWrite {
            key: "k".into(),
            value: 1.into(),
            condition: sdk_plugin::host::StoreCondition::Always,
            expires_at_ms: None,
        },
        now_ms: 1,
    };
    operator
        .journal
        .commit(vec![paid(1, "log"), stored])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_plugin_is_adopted_once_while_no_process_runs() {
    let mut operator = Operator::new();
    filled(&operator).await;
    let directory = operator.folder.path().join("data");
    let release = AllowedRelease {
        settlement: 1,
        claim: "evm|eip155:1|0xC1".into(),
    };
    allowed::write(&directory, &[release]).unwrap();
    let adopt = ["plugin", "adopt", OLD, NEW];
    let changes = "3 settlements (3 not finished), 1 row, 0 jobs";

    let error = run(&operator, &adopt).unwrap_err();
    assert!(error.contains("in use by another process"), "{error}");
    let dry = [&adopt[..], &["--dry-run"]].concat();
    let output = run(&operator, &dry).unwrap();
    assert_eq!(
        output,
        format!("{changes} would be kept under {NEW}; nothing was changed\n")
    );
    for (words, why) in [
        (
            ["plugin", "adopt", "ev", NEW],
            "no payment, row or job is kept under ev; known ids: evm",
        ),
        (
            ["plugin", "adopt", OLD, OLD],
            "evm is both the old and the new id",
        ),
        (
            ["plugin", "adopt", OLD, "Evm"],
            "\"Evm\" is no plugin's id: write the `id` of its manifest",
        ),
        (["plugin", "adopt", "evm|x", NEW], "\"evm|x\" is no plugin's id"),
    ] {
        let error = run(&operator, &[&words[..], &["--dry-run"]].concat()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    operator.close();
    let output = run(&operator, &adopt).unwrap();
    assert_eq!(output, format!("{changes} are now kept under {NEW}\n"));
    let claims: Vec<String> = allowed::read(&directory)
        .unwrap()
        .into_iter()
        .map(|one| one.claim)
        .collect();
    assert_eq!(claims, ["switchyard.evm|eip155:1|0xC1"]);
    let shown = run(&operator, &["payments", "--json"]).unwrap();
    assert!(
        shown.contains("switchyard.evm|eip155:1|0xC2") && !shown.contains("\"evm|"),
        "{shown}"
    );
    let error = run(&operator, &adopt).unwrap_err();
    assert_eq!(
        error,
        "no payment, row or job is kept under evm; known ids: switchyard.evm"
    );
    let output = run(&operator, &["journal", "verify"]).unwrap();
    assert!(output.contains("is whole"), "{output}");
}

#[tokio::test]
async fn a_plugin_is_adopted_in_a_database() {
    let operator = Operator::in_database().await;
    filled(&operator).await;
    let output = run(&operator, &["plugin", "adopt", OLD, NEW]).unwrap();
    assert_eq!(
        output,
        format!("3 settlements (3 not finished), 1 row, 0 jobs are now kept under {NEW}\n")
    );
    let row = operator.journal.settlement(2).await.unwrap().unwrap();
    assert_eq!(
        (row.plugin.as_str(), row.claim.as_str()),
        (NEW, "switchyard.evm|eip155:1|0xC2")
    );
    let output = run(&operator, &["journal", "verify"]).unwrap();
    assert!(output.contains("is whole: 6 events of 3 processes"), "{output}");
}

#[test]
fn a_journal_that_is_not_there_is_not_made() {
    let operator = Operator::new_without_journal();
    for words in [
        &["plugin", "adopt", OLD, NEW][..],
        &["plugin", "adopt", OLD, NEW, "--dry-run"],
    ] {
        let error = operator.run(words).unwrap_err();
        assert!(error.contains("there is no journal"), "{error}");
    }
    assert!(
        !operator
            .folder
            .path()
            .join("data")
            .join(journal::sqlite::FILE)
            .exists()
    );
}
