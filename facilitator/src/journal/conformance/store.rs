//! Plugins' rows and jobs.

use sdk_plugin::host::{Job, StoreCondition, StoreWrite};
use serde_json::json;

use super::*;

#[tokio::test]
async fn rows_are_found_by_prefix_in_the_order_of_their_bytes() {
    for (name, journal, _folder) in journals() {
        let keys = [
            "",
            "%",
            "A",
            "B",
            "_",
            "a",
            "a\0",
            "a\0b",
            "a%",
            "a'--",
            "aa",
            "ab",
            "a|",
            "a\u{10ffff}",
            "b",
            "ä",
            "é",
            "日",
        ];
        let writes = keys.iter().rev().map(|key| stored(key, json!(*key))).collect();
        journal.commit(writes).await.unwrap();
        let other = Event::Stored {
            plugin: "evm2".into(),
            write: StoreWrite {
                key: "a".into(),
                value: json!("another plugin's"),
                condition: StoreCondition::Always,
                expires_at_ms: None,
            },
            now_ms: 10,
        };
        journal.commit(vec![other]).await.unwrap();
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        for prefix in ["", "a", "a\0", "ä", "b", "zz", "\u{10ffff}", "%"] {
            for after in [
                None,
                Some(""),
                Some("a"),
                Some("a\0b"),
                Some("aa"),
                Some("zz"),
                Some("A"),
            ] {
                for limit in [1, 2, 1_000] {
                    let expected: Vec<&str> = sorted
                        .iter()
                        .copied()
                        .filter(|key| key.starts_with(prefix) && after.is_none_or(|after| *key > after))
                        .take(usize::try_from(limit).unwrap())
                        .collect();
                    let found = scan(&*journal, prefix, after, limit).await;
                    let found: Vec<&str> = found.iter().map(|row| row.key.as_str()).collect();
                    assert_eq!(found, expected, "{name}: {prefix:?} {after:?} {limit}");
                }
            }
        }
    }
}

#[tokio::test]
async fn jobs_come_due_and_rows_expire() {
    for (name, journal, _folder) in journals() {
        let job = |id: &str, run_at_ms| Event::JobScheduled {
            plugin: "evm".into(),
            job: Job {
                id: id.into(),
                scheme: "exact".into(),
                network: NETWORK.into(),
                kind: "collect".into(),
                payload: json!({"n": 1}),
                run_at_ms,
            },
        };
        let cancel = Event::JobCancelled {
            plugin: "evm".into(),
            id: "b".into(),
        };
        journal
            .commit(vec![
                job("a", 10),
                job("b", 10),
                job("c", 11),
                job("a", 12),
                job("d", 1),
                cancel,
            ])
            .await
            .unwrap();
        let due = async |now_ms| match journal.query(Query::DueJobs { now_ms }).await.unwrap() {
            Answer::Jobs(jobs) => jobs.into_iter().map(|row| row.job.id).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(due(10).await, ["d"], "{name}");
        assert_eq!(due(12).await, ["a", "c", "d"], "{name}");

        let write = StoreWrite {
            key: "k".into(),
            value: json!(1),
            condition: StoreCondition::Absent,
            expires_at_ms: Some(50),
        };
        let at = |now_ms| Event::Stored {
            plugin: "evm".into(),
            write: write.clone(),
            now_ms,
        };
        journal.commit(vec![at(1)]).await.unwrap();
        assert_eq!(
            journal.commit(vec![at(49)]).await,
            Err(CommitError::StoreCondition("k".into())),
            "{name}"
        );
        assert_eq!(rows(&*journal, "").await, [], "{name}: expired at 100");
        journal.commit(vec![at(50)]).await.unwrap();
    }
}

#[tokio::test]
async fn expired_rows_do_not_use_up_the_limit_of_a_scan() {
    for (name, journal, _folder) in journals() {
        let write = |key: &str, expires_at_ms| Event::Stored {
            plugin: "evm".into(),
            write: StoreWrite {
                key: key.into(),
                value: json!(1),
                condition: StoreCondition::Always,
                expires_at_ms,
            },
            now_ms: 1,
        };
        let dead = |key| write(key, Some(50));
        let live = |key| write(key, None);
        let all = ["a", "b", "c"].map(dead).into_iter();
        let all = all.chain([live("d"), dead("e"), live("f"), live("g"), dead("h")]);
        journal.commit(all.collect()).await.unwrap();
        for (limit, expected) in [(1, vec!["d"]), (2, vec!["d", "f"]), (9, vec!["d", "f", "g"])] {
            let found = scan(&*journal, "", None, limit).await;
            let found: Vec<&str> = found.iter().map(|row| row.key.as_str()).collect();
            assert_eq!(found, expected, "{name}: {limit}");
        }
        assert_eq!(scan(&*journal, "", Some("d"), 1).await[0].key, "f", "{name}");
    }
}
