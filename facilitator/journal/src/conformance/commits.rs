//! A commit is all or nothing, one of several rivals wins, and a refusal names what is taken.

use std::collections::BTreeSet;
use std::sync::Arc;

use sdk_plugin::host::StoreCondition;
use sdk_plugin::scheme::Reserve;
use sdk_plugin::{Amount, StepIndex};
use serde_json::json;

use super::*;

pub async fn a_commit_is_all_or_nothing(name: &str, journal: Arc<dyn Journal>) {
    let refused = journal
        .commit(vec![stored("a", json!(1)), opened(1, "c"), released(1)])
        .await;
    assert!(
        matches!(refused, Err(CommitError::Stale(_))),
        "{name}: {refused:?}"
    );
    assert_eq!(rows(&*journal, "").await, [], "{name}");
    assert_eq!(settlement(&*journal, 1).await, None, "{name}");
    journal
        .commit(vec![stored("a", json!(1)), opened(1, "c")])
        .await
        .unwrap();
    assert_eq!(rows(&*journal, "").await.len(), 1, "{name}");
    assert_eq!(settlement(&*journal, 1).await.unwrap().claim, "c", "{name}");
}

pub async fn t01_one_of_fifty_simultaneous_settlements_opens_a_claim(name: &str, journal: Arc<dyn Journal>) {
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let journal = Arc::clone(&journal);
        racers.spawn(async move {
            let id = journal.new_id();
            (id, journal.commit(vec![opened(id, "c")]).await)
        });
    }
    let results = racers.join_all().await;
    let winners: Vec<u64> = results
        .iter()
        .filter(|(_, r)| r.is_ok())
        .map(|(id, _)| *id)
        .collect();
    let [winner] = winners.as_slice() else {
        panic!("{name}: {winners:?}")
    };
    for (id, result) in &results {
        if id != winner {
            assert_eq!(*result, Err(CommitError::ClaimTaken), "{name}");
            assert_eq!(settlement(&*journal, *id).await, None, "{name}");
        }
    }
    assert!(settlement(&*journal, *winner).await.is_some(), "{name}");
}

pub async fn a_refused_commit_leaves_the_other_commits_of_its_group(name: &str, journal: Arc<dyn Journal>) {
    let mut all = tokio::task::JoinSet::new();
    for n in 0..200_u32 {
        let journal = Arc::clone(&journal);
        all.spawn(async move {
            let key = format!("{n:03}");
            let mut events = vec![stored(&key, json!(n))];
            if n % 3 == 0 {
                events.push(stored_if(
                    "never",
                    json!(1),
                    StoreCondition::Equals { value: json!(2) },
                ));
            }
            (key, journal.commit(events).await)
        });
    }
    let mut kept = BTreeSet::new();
    for (key, result) in all.join_all().await {
        match result {
            Ok(()) => {
                kept.insert(key);
            }
            Err(error) => assert_eq!(error, CommitError::StoreCondition("never".into()), "{name}"),
        }
    }
    assert_eq!(kept.len(), 133, "{name}");
    let found: BTreeSet<String> = rows(&*journal, "").await.into_iter().map(|row| row.key).collect();
    assert_eq!(found, kept, "{name}");
}

pub async fn law5_a_refusal_says_what_is_taken(name: &str, journal: Arc<dyn Journal>) {
    let reserve = |amount: u64| Reserve {
        asset: "usd".into(),
        payer: "0xb".into(),
        amount: Amount::from(amount),
        available: Amount::from(100u64),
        as_of_height: 40,
        refusal_reason: "insufficient_funds".into(),
    };
    let first = opened_with(1, "a", |row, reserves, _| {
        row.conflict_keys = vec!["k".into()];
        reserves.push(reserve(60));
    });
    journal.commit(vec![first, prepared(2, 1, 0)]).await.unwrap();
    for (events, error) in [
        (vec![opened(3, "a")], CommitError::ClaimTaken),
        (
            vec![opened_with(3, "b", |row, _, _| {
                row.conflict_keys = vec!["j".into(), "k".into()]
            })],
            CommitError::ConflictKeyTaken("k".into()),
        ),
        (
            vec![opened_with(3, "b", |_, reserves, _| reserves.push(reserve(41)))],
            CommitError::ReserveShort {
                reason: "insufficient_funds".into(),
            },
        ),
        (
            vec![
                paid(1, "log 1"),
                opened(3, "b"),
                prepared(4, 3, 1),
                paid(3, "log 1"),
            ],
            CommitError::EvidenceUsed("log 1".into()),
        ),
        (
            vec![stored_if(
                "x",
                json!(1),
                StoreCondition::Equals { value: json!(0) },
            )],
            CommitError::StoreCondition("x".into()),
        ),
    ] {
        assert_eq!(journal.commit(events).await, Err(error), "{name}");
        assert_eq!(settlement(&*journal, 3).await, None, "{name}");
    }
    for events in [
        vec![prepared(5, 1, 1)],
        vec![prepared(5, 9, 1)],
        vec![closed(0, "0xt"), prepared(5, 1, 0)],
        vec![closed(7, "0xt")],
        vec![Event::StepFreed {
            settlement: 1,
            step: StepIndex::FIRST,
        }],
        vec![Event::StepDone {
            settlement: 1,
            step: StepIndex::new(1),
            tx_id: "0xt".into(),
            height: 1,
        }],
    ] {
        let result = journal.commit(events).await;
        assert!(matches!(result, Err(CommitError::Stale(_))), "{name}: {result:?}");
    }
    // What fits beside the first reserve, and the conflict key that a refused commit has not kept.
    let fits = opened_with(3, "b", |row, reserves, _| {
        row.conflict_keys = vec!["j".into()];
        reserves.push(reserve(40));
    });
    journal.commit(vec![fits]).await.unwrap();
}
