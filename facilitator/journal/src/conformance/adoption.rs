//! A plugin that gets another id.

use base::allowed_releases::{self as allowed, AllowedRelease};
use sdk_plugin::host::{Job, StoreCondition, StoreWrite};
use serde_json::json;

use super::*;
use crate::keys::REPLAY_KEYS;

const OLD: &str = "evm";
const NEW: &str = "switchyard.evm";

fn adoption() -> Adoption {
    Adoption::new(OLD, NEW).unwrap()
}

fn opened_of(plugin: &str, id: u64, key: &str, held: &[&str]) -> Event {
    opened_with(id, &format!("{plugin}|{NETWORK}|{key}"), |row, _, _| {
        row.plugin = plugin.into();
        row.request = format!("request {id}");
        row.payload = format!("payload {id}");
        row.conflict_keys = held
            .iter()
            .map(|key| format!("{plugin}|{NETWORK}|{key}"))
            .collect();
    })
}

fn stored_of(plugin: &str, key: &str, value: Value, expires_at_ms: Option<u64>) -> Event {
    Event::Stored {
        plugin: plugin.into(),
        write: StoreWrite {
            key: key.into(),
            value,
            condition: StoreCondition::Always,
            expires_at_ms,
        },
        now_ms: 10,
    }
}

fn job_of(plugin: &str, id: &str, run_at_ms: u64) -> Event {
    Event::JobScheduled {
        plugin: plugin.into(),
        job: Job {
            id: id.into(),
            scheme: "exact".into(),
            network: NETWORK.into(),
            kind: "collect".into(),
            payload: json!({}),
            run_at_ms,
        },
    }
}

/// Every row of every table but leases, and plans, which are the plugin's own.
async fn all_rows(journal: &dyn Journal) -> Vec<(Table, String, String)> {
    let tables = Table::ALL
        .into_iter()
        .filter(|table| ![Table::Leases, Table::Plans].contains(table));
    let found = read(journal, move |rows| {
        let mut found = Vec::new();
        for table in tables {
            let of_table = rows.scan(table, "", None, usize::MAX)?;
            found.extend(of_table.into_iter().map(|(key, text)| (table, key, text)));
        }
        Ok(found)
    });
    found.await.unwrap()
}

/// A failed, an open and a paid settlement, one of another plugin with the same key, rows that end and do not, and jobs.
async fn filled(journal: &dyn Journal) {
    journal
        .commit(vec![
            opened_of(OLD, 1, "failed", &[]),
            opened_of(OLD, 2, "open", &["held"]),
            opened_of(OLD, 3, "paid", &[]),
            // An id that begins as the old one does.
            opened_of("evm2", 4, "paid", &["held"]),
            prepared(11, 2, 5),
            prepared(12, 3, 6),
            paid(3, "log"),
            released(3),
        ])
        .await
        .unwrap();
    journal
        .commit(vec![
            stored_of(OLD, "forever", json!(1), None),
            stored_of(OLD, "a|b", json!(2), Some(1_000)),
            stored_of("evm2", "forever", json!("another plugin's"), None),
            stored_of(
                REPLAY_KEYS,
                "n|one",
                json!(format!("{OLD}|{NETWORK}|paid#0")),
                None,
            ),
            stored_of(
                REPLAY_KEYS,
                "n|other",
                json!(format!("evm2|{NETWORK}|paid#0")),
                None,
            ),
            job_of(OLD, "j", 50),
            job_of("evm2", "j", 40),
        ])
        .await
        .unwrap();
}

pub async fn an_adopted_plugin_finds_everything_under_its_new_id(name: &str, journal: Arc<dyn Journal>) {
    filled(&*journal).await;
    let adopted = journal.adopt(&adoption()).await.unwrap();
    let expected = Adopted {
        settlements: 3,
        unfinished: 3,
        rows: 2,
        jobs: 1,
    };
    assert_eq!(adopted, expected, "{name}");

    for (id, key) in [(1, "failed"), (2, "open"), (3, "paid")] {
        let [old, new] = [OLD, NEW].map(|plugin| format!("{plugin}|{NETWORK}|{key}"));
        assert_eq!(journal.claim(&old).await.unwrap(), None, "{name}: {key}");
        let row = journal.claim(&new).await.unwrap().unwrap();
        assert_eq!(
            (row.id, row.plugin.as_str(), &row.claim),
            (id, NEW, &new),
            "{name}"
        );
        let found = |claim: &str| {
            let reference = Reference::Claim(claim.to_owned());
            let journal = &journal;
            async move { journal.find(&reference).await.unwrap().len() }
        };
        assert_eq!((found(&old).await, found(&new).await), (0, 1), "{name}: {key}");
        assert!(found(key).await >= 1, "{name}: the scheme's own key");
        let request = journal.request(&format!("request {id}")).await.unwrap();
        assert_eq!(request.map(|row| row.id), Some(id), "{name}");
    }
    let other = settlement(&*journal, 4).await.unwrap();
    assert_eq!(
        (other.plugin.as_str(), other.claim.as_str()),
        ("evm2", "evm2|eip155:84532|paid"),
        "{name}"
    );
    for (table, key, text) in all_rows(&*journal).await {
        // History says what was true then, and has no id.
        for part in [&key, &text] {
            assert!(
                !part.contains("evm|") || part.contains("switchyard.evm|"),
                "{name}: {table:?} {key} {text}"
            );
            assert!(
                !part.contains("\"plugin\":\"evm\""),
                "{name}: {table:?} {key} {text}"
            );
        }
    }

    let rows = |plugin: &'static str| {
        let journal = &journal;
        async move { journal.store_scan(plugin, "", None, 9, 100).await.unwrap() }
    };
    assert_eq!(rows(OLD).await, [], "{name}");
    let keys: Vec<String> = rows(NEW).await.into_iter().map(|row| row.key).collect();
    assert_eq!(keys, ["a|b", "forever"], "{name}");
    let due = journal.due_jobs(NETWORK, 100, None, 9).await.unwrap();
    let due: Vec<(&str, &str)> = due
        .iter()
        .map(|row| (row.plugin.as_str(), row.job.id.as_str()))
        .collect();
    assert_eq!(due, [("evm2", "j"), (NEW, "j")], "{name}");
    // Rows still end, and jobs are still replaced.
    let expired = journal.expired(2_000, 9).await.unwrap().unwrap();
    journal.commit(vec![expired, job_of(NEW, "j", 70)]).await.unwrap();
    assert_eq!(rows(NEW).await.len(), 1, "{name}");
    assert_eq!(
        journal.due_jobs(NETWORK, 60, None, 9).await.unwrap().len(),
        1,
        "{name}"
    );
}

pub async fn law5_an_adopted_authorization_is_taken_and_an_open_payment_goes_its_way(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    filled(&*journal).await;
    journal.adopt(&adoption()).await.unwrap();
    for key in ["failed", "open", "paid"] {
        let again = journal.commit(vec![opened_of(NEW, 20, key, &[])]).await;
        assert_eq!(again, Err(CommitError::ClaimTaken), "{name}: {key}");
    }
    let held = journal.commit(vec![opened_of(NEW, 20, "next", &["held"])]).await;
    let key = format!("{NEW}|{NETWORK}|held");
    assert_eq!(held, Err(CommitError::ConflictKeyTaken(key)), "{name}");
    let last = Event::StepFinal {
        settlement: 2,
        step: StepIndex::FIRST,
    };
    journal
        .commit(vec![
            Event::Sent { attempt: 11 },
            paid(2, "its log"),
            closed(5, "0xt11"),
            last,
            Event::KeysFreed { settlement: 2 },
            released(2),
            Event::Finished {
                settlement: 2,
                at_ms: 9,
            },
        ])
        .await
        .unwrap();
    journal
        .commit(vec![opened_of(NEW, 20, "next", &["held"])])
        .await
        .unwrap();
    let list = journal.list(&Filter::default(), None, 9).await.unwrap();
    assert_eq!(list.rows.len(), 5, "{name}");
}

pub async fn an_adoption_that_can_t_be_made_changes_nothing(name: &str, journal: Arc<dyn Journal>) {
    let nothing = journal.adopt(&adoption()).await.unwrap_err().to_string();
    assert_eq!(
        nothing, "no payment, row or job is kept under evm; known ids: none",
        "{name}"
    );
    filled(&*journal).await;
    let before = all_rows(&*journal).await;
    let unknown = Adoption::new("ev", NEW).unwrap();
    let nothing = journal.adopt(&unknown).await.unwrap_err().to_string();
    assert_eq!(
        nothing, "no payment, row or job is kept under ev; known ids: evm, evm2",
        "{name}"
    );
    assert_eq!(all_rows(&*journal).await, before, "{name}");

    journal
        .commit(vec![
            opened_of(NEW, 21, "open", &["held"]),
            opened_of(NEW, 22, "paid", &[]),
            stored_of(NEW, "forever", json!("another"), None),
            job_of(NEW, "j", 51),
        ])
        .await
        .unwrap();
    let before = all_rows(&*journal).await;
    let error = journal.adopt(&adoption()).await.unwrap_err().to_string();
    for part in [
        "2 claims (the first: \"eip155:84532|open\"), 1 conflict key (\"eip155:84532|held\"), 1 row (\"forever\"), 1 job (\"j\") are kept",
        "under evm and under switchyard.evm",
        "Nothing was changed",
    ] {
        assert!(error.contains(part), "{name}: {part} in {error}");
    }
    assert_eq!(all_rows(&*journal).await, before, "{name}");
    let in_group = journal.commit(vec![adoption().event(1)]).await;
    assert!(
        matches!(in_group, Err(CommitError::Stale(_))),
        "{name}: {in_group:?}"
    );
}

/// The new plugin has been started, and has done what contradicts nothing.
pub async fn what_both_ids_have_alike_is_kept_once(name: &str, journal: Arc<dyn Journal>) {
    filled(&*journal).await;
    journal
        .commit(vec![
            stored_of(OLD, "ended", json!("old"), None),
            stored_of(OLD, "new", json!("ended"), Some(0)),
            opened_of(NEW, 21, "its own", &[]),
            stored_of(NEW, "forever", json!(1), None),
            stored_of(NEW, "ended", json!("new"), Some(0)),
            stored_of(NEW, "new", json!("lives"), None),
            job_of(NEW, "j", 50),
        ])
        .await
        .unwrap();
    let adopted = journal.adopt(&adoption()).await.unwrap();
    assert_eq!(
        (adopted.settlements, adopted.rows, adopted.jobs),
        (3, 4, 1),
        "{name}"
    );
    let rows = journal.store_scan(NEW, "", None, 9, 100).await.unwrap();
    let rows: Vec<(&str, &Value)> = rows.iter().map(|row| (row.key.as_str(), &row.value)).collect();
    let (one, two, old, lives) = (json!(1), json!(2), json!("old"), json!("lives"));
    assert_eq!(
        rows,
        [("a|b", &two), ("ended", &old), ("forever", &one), ("new", &lives)],
        "{name}"
    );
    assert_eq!(
        journal.due_jobs(NETWORK, 100, None, 9).await.unwrap().len(),
        2,
        "{name}"
    );
    // Nothing is left of the rows that ended.
    let expired = journal.expired(900, 9).await.unwrap();
    assert_eq!(expired, None, "{name}");
}

/// On two nodes that have ended without giving their leases up.
pub async fn nodes_that_live_are_not_adopted_under(name: &str, [one, other]: [Arc<dyn Journal>; 2]) {
    let shared = one.shared().unwrap();
    shared.take("eip155:84532|0xa", None).await.unwrap().unwrap();
    filled(&*one).await;
    let list = [(2, OLD), (4, "evm2")].map(|(settlement, plugin)| AllowedRelease {
        settlement,
        claim: format!("{plugin}|n|k"),
    });
    let text = allowed::to_text(&list).unwrap();
    assert_eq!(
        shared.put_setting(settings::RELEASES_ALLOWED, None, &text).await,
        Ok(true)
    );
    shared.announce(&format!("{OLD}|{NETWORK}|open")).await.unwrap();
    let node = lease::node_unit(shared.node());
    shared.take(&node, None).await.unwrap().unwrap();
    let beats = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(700)).await;
            shared.renew().await.unwrap();
        }
    };
    let wanted = adoption();
    let refused = tokio::select! {
        refused = other.adopt(&wanted) => refused.unwrap_err(),
        () = beats => unreachable!("it never ends"),
    };
    assert_eq!(refused, AdoptError::InUse(shared.node().to_owned()), "{name}");
    assert_eq!(settlement(&*one, 2).await.unwrap().plugin, OLD, "{name}");

    // The node is gone.
    other.adopt(&adoption()).await.unwrap();
    assert_eq!(settlement(&*one, 2).await.unwrap().plugin, NEW, "{name}");
    let settings = shared.settings().await.unwrap();
    let list = allowed::from_text(&settings[settings::RELEASES_ALLOWED]).unwrap();
    let claims: Vec<&str> = list.iter().map(|one| one.claim.as_str()).collect();
    assert_eq!(claims, ["switchyard.evm|n|k", "evm2|n|k"], "{name}");
    let intents = all_rows(&*one)
        .await
        .into_iter()
        .filter(|(table, _, _)| *table == Table::Intents);
    assert_eq!(intents.count(), 0, "{name}");
    // If it wakes, it has lost its lease, and ends.
    assert_eq!(shared.renew().await.unwrap(), [node], "{name}");
}
