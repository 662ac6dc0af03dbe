//! Plugins' rows and jobs.

use sdk_plugin::host::{Job, StoreCondition, StoreWrite};
use serde_json::json;

use super::*;

pub async fn rows_are_found_by_prefix_in_the_order_of_their_bytes(name: &str, journal: Arc<dyn Journal>) {
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

fn job(id: &str, run_at_ms: u64) -> Event {
    job_on(NETWORK, id, run_at_ms)
}

fn job_on(network: &str, id: &str, run_at_ms: u64) -> Event {
    Event::JobScheduled {
        plugin: "evm".into(),
        job: Job {
            id: id.into(),
            scheme: "exact".into(),
            network: network.into(),
            kind: "collect".into(),
            payload: json!({"n": 1}),
            run_at_ms,
        },
    }
}

async fn due_rows(journal: &dyn Journal, now_ms: u64, after: Option<String>, limit: u32) -> Vec<JobRow> {
    journal
        .due_jobs(NETWORK, now_ms, after.as_deref(), limit)
        .await
        .unwrap()
}

async fn due(journal: &dyn Journal, now_ms: u64, after: Option<String>, limit: u32) -> Vec<String> {
    let rows = due_rows(journal, now_ms, after, limit).await;
    rows.into_iter().map(|row| row.job.id).collect()
}

pub async fn due_jobs_of_one_network_come_in_the_order_of_their_times_page_by_page(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    let mut events: Vec<Event> = (0..7).map(|n| job(&format!("j{n}"), 100 - n)).collect();
    events.push(job_on("eip155:8453", "elsewhere", 1));
    // An id of another length sorts wrongly as text. A network whose id is longer is another network.
    events.extend([job("later", 1_000), job_on("eip155:845321", "x", 1)]);
    journal.commit(events).await.unwrap();
    let first = due_rows(&*journal, 99, None, 3).await;
    let ids: Vec<&str> = first.iter().map(|row| row.job.id.as_str()).collect();
    assert_eq!(ids, ["j6", "j5", "j4"], "{name}");
    let after = first.last().map(jobs::due_key);
    assert_eq!(due(&*journal, 99, after, 9).await, ["j3", "j2", "j1"], "{name}");
}

pub async fn a_job_that_has_run_goes_unless_it_was_scheduled_anew_meanwhile(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    let done = |id: &str, run_at_ms| Event::JobDone {
        plugin: "evm".into(),
        id: id.into(),
        run_at_ms,
    };
    journal
        .commit(vec![job("once", 5), job("again", 5)])
        .await
        .unwrap();
    journal.commit(vec![job("again", 50)]).await.unwrap();
    let ended = vec![done("once", 5), done("again", 5), done("never", 5)];
    journal.commit(ended).await.unwrap();
    assert_eq!(due(&*journal, 100, None, 9).await, ["again"], "{name}");
    assert!(due(&*journal, 49, None, 9).await.is_empty(), "{name}");
}

pub async fn a_job_that_could_not_be_run_is_due_later_and_keeps_its_request(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    let rescheduled = |again_at_ms| Event::JobPutOff {
        plugin: "evm".into(),
        id: "a".into(),
        run_at_ms: 5,
        again_at_ms,
    };
    journal.commit(vec![job("a", 5)]).await.unwrap();
    journal.commit(vec![rescheduled(20)]).await.unwrap();
    journal.commit(vec![rescheduled(40)]).await.unwrap();
    assert!(due(&*journal, 39, None, 9).await.is_empty(), "{name}");
    let rows = due_rows(&*journal, 40, None, 9).await;
    let [row] = rows.as_slice() else {
        panic!("{name}: {rows:?}")
    };
    assert_eq!(
        (row.job.run_at_ms, row.faults, row.due_at_ms()),
        (5, 2, 40),
        "{name}"
    );
    // Scheduled again, the job starts afresh. What is recorded about the one before does not change it.
    journal.commit(vec![job("a", 6), rescheduled(90)]).await.unwrap();
    let rows = due_rows(&*journal, 6, None, 9).await;
    assert_eq!(rows.first().map(|row| row.faults), Some(0), "{name}");
    let cancel = Event::JobCancelled {
        plugin: "evm".into(),
        id: "a".into(),
    };
    journal.commit(vec![cancel]).await.unwrap();
    assert!(due(&*journal, 100, None, 9).await.is_empty(), "{name}");
}

pub async fn jobs_come_due_and_rows_expire(name: &str, journal: Arc<dyn Journal>) {
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
    assert_eq!(due(&*journal, 10, None, 9).await, ["d"], "{name}");
    assert_eq!(due(&*journal, 12, None, 9).await, ["d", "c", "a"], "{name}");

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

pub async fn expired_rows_do_not_use_up_the_limit_of_a_scan(name: &str, journal: Arc<dyn Journal>) {
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
