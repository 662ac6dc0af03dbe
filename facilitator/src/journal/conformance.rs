//! What every back end of the journal must do: the same cases, and random histories compared with each other.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use sdk_plugin::chain::Lane;
use sdk_plugin::host::{Job, StoreCondition, StoreRow, StoreWrite};
use sdk_plugin::scheme::{Hold, PaidReply, Refusal, Reserve};
use sdk_plugin::{Amount, HexBytes, ProtocolVersion};
use serde_json::{Value, json};

use super::memory::MemoryJournal;
use super::sqlite::SqliteJournal;
use super::*;

pub(super) const NETWORK: &str = "eip155:84532";

pub(super) fn lane() -> Lane {
    Lane {
        network: NETWORK.into(),
        signer: "0xa".into(),
        key: "hot".into(),
        ordered: true,
    }
}

/// A settlement with one step, which pays.
pub(super) fn opened(id: u64, claim: &str) -> Event {
    opened_with(id, claim, |_, _, _| {})
}

pub(super) fn opened_with(
    id: u64,
    claim: &str,
    change: impl FnOnce(&mut SettlementRow, &mut Vec<Reserve>, &mut Vec<Hold>),
) -> Event {
    let mut row = SettlementRow {
        id,
        claim: claim.into(),
        generation: 0,
        plugin: "evm".into(),
        scheme: "exact".into(),
        version: ProtocolVersion::V2,
        network: NETWORK.into(),
        tenant: None,
        fingerprint: "f".into(),
        digest: "d".into(),
        request: "r".into(),
        replay_reason: "used".into(),
        replayable_until_s: Some(9),
        payer: "0xb".into(),
        conflict_keys: vec![],
        opened_at_ms: 1,
        second_source: false,
        steps: vec![StepRow {
            state: StepState::Waiting,
            pays: true,
            is_final: false,
            ground: None,
        }],
        outcome: Outcome::Open,
        release: None,
        tx_id: None,
        finished: false,
    };
    let (mut reserves, mut holds) = (vec![], vec![]);
    change(&mut row, &mut reserves, &mut holds);
    let plan = format!("plan of {claim}");
    Event::Opened(Box::new(NewSettlement::new(row, plan, reserves, holds)))
}

pub(super) fn prepared(id: u64, settlement: u64, sequence: u64) -> Event {
    let row = AttemptRow {
        id,
        lane: lane(),
        sequence,
        tx_id: format!("0xt{id}"),
        kind: AttemptKind::Steps,
        covers: vec![(settlement, 0)],
        max_cost: Amount::from(7u64),
        bid: json!({"fee": "1"}),
        since_height: 3,
        prepared_at_ms: 2,
        sent: false,
    };
    Event::Prepared(Box::new(NewAttempt::new(
        row,
        HexBytes(id.to_be_bytes().to_vec()),
    )))
}

fn paid(settlement: u64, item: &str) -> Event {
    Event::Paid {
        settlement,
        step: 0,
        tx_id: "0xt".into(),
        height: 50,
        items: vec![item.into()],
        reply: PaidReply {
            payer: "0xb".into(),
            ..PaidReply::default()
        },
        repeatable: false,
    }
}

fn released(settlement: u64) -> Event {
    Event::Released {
        settlement,
        release: Release {
            tenant: None,
            idempotency_key: None,
            body: "{}".into(),
            at_ms: 4,
        },
    }
}

pub(super) fn stored(key: &str, value: Value) -> Event {
    stored_if(key, value, StoreCondition::Always)
}

fn stored_if(key: &str, value: Value, condition: StoreCondition) -> Event {
    Event::Stored {
        plugin: "evm".into(),
        write: StoreWrite {
            key: key.into(),
            value,
            condition,
            expires_at_ms: None,
        },
        now_ms: 10,
    }
}

fn closed(sequence: u64, by: &str) -> Event {
    Event::SlotClosed {
        network: NETWORK.into(),
        signer: "0xa".into(),
        sequence,
        by: by.into(),
    }
}

pub(super) async fn rows(journal: &dyn Journal, prefix: &str) -> Vec<StoreRow> {
    scan(journal, prefix, None, 1_000).await
}

async fn scan(journal: &dyn Journal, prefix: &str, after: Option<&str>, limit: u32) -> Vec<StoreRow> {
    let query = Query::StoreScan {
        plugin: "evm".into(),
        prefix: prefix.into(),
        after: after.map(Into::into),
        limit,
        now_ms: 100,
    };
    match journal.query(query).await {
        Ok(Answer::Rows(rows)) => rows,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn settlement(journal: &dyn Journal, id: u64) -> Option<SettlementRow> {
    match journal.query(Query::Settlement(id)).await {
        Ok(Answer::Settlement(row)) => row.map(|row| *row),
        other => panic!("{other:?}"),
    }
}

async fn number(journal: &dyn Journal, query: Query) -> Option<u64> {
    match journal.query(query).await {
        Ok(Answer::Number(number)) => number,
        other => panic!("{other:?}"),
    }
}

/// A new, empty journal of each kind. The folder lives as long as it is held.
pub(super) fn journals() -> Vec<(&'static str, Arc<dyn Journal>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteJournal::open(folder.path()).unwrap();
    vec![
        ("memory", Arc::new(MemoryJournal::default()), None),
        ("sqlite", Arc::new(sqlite), Some(folder)),
    ]
}

#[tokio::test]
async fn a_commit_is_all_or_nothing() {
    for (name, journal, _folder) in journals() {
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
}

#[tokio::test]
async fn t01_one_of_fifty_simultaneous_settlements_opens_a_claim() {
    for (name, journal, _folder) in journals() {
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
}

#[tokio::test]
async fn a_refused_commit_takes_none_of_its_neighbours_along() {
    for (name, journal, _folder) in journals() {
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
}

#[tokio::test]
async fn a_payment_goes_its_way() {
    for (name, journal, _folder) in journals() {
        let (id, attempt) = (journal.new_id(), journal.new_id());
        journal
            .commit(vec![opened_with(id, "c", |row, _, holds| {
                row.conflict_keys = vec!["k".into()];
                holds.push(Hold {
                    signer: "0xa".into(),
                    until_s: 77,
                });
            })])
            .await
            .unwrap();
        journal.commit(vec![prepared(attempt, id, 5)]).await.unwrap();
        let lane_next = Query::LaneNext {
            network: NETWORK.into(),
            signer: "0xa".into(),
        };
        assert_eq!(number(&*journal, lane_next).await, Some(6), "{name}");
        let held = Query::Held {
            network: NETWORK.into(),
        };
        let until = HeldRow {
            signer: "0xa".into(),
            until_s: 77,
        };
        assert_eq!(journal.query(held).await, Ok(Answer::Held(vec![until])), "{name}");
        assert_eq!(
            journal
                .query(Query::Held {
                    network: "eip155".into()
                })
                .await,
            Ok(Answer::Held(vec![])),
            "{name}: another network's"
        );
        let bytes = journal.query(Query::Bytes { attempt }).await.unwrap();
        assert_eq!(
            bytes,
            Answer::Bytes(Some(HexBytes(attempt.to_be_bytes().to_vec()))),
            "{name}"
        );
        match journal.query(Query::Unfinished).await.unwrap() {
            Answer::Settlements(found) => {
                assert_eq!(found.len(), 1, "{name}");
                assert_eq!(found[0].1.as_deref(), Some("plan of c"), "{name}");
                assert_eq!(found[0].0.tx_id, Some(format!("0xt{attempt}")), "{name}");
            }
            other => panic!("{other:?}"),
        }
        match journal.query(Query::OpenSlots).await.unwrap() {
            Answer::Slots(slots) => {
                assert_eq!(
                    (slots.len(), slots[0].0.sequence, slots[0].1[0].id),
                    (1, 5, attempt),
                    "{name}"
                );
            }
            other => panic!("{other:?}"),
        }
        journal
            .commit(vec![paid(id, "log 1"), released(id)])
            .await
            .unwrap();
        assert_eq!(
            journal.commit(vec![released(id)]).await,
            Err(CommitError::AlreadyReleased),
            "{name}"
        );
        journal
            .commit(vec![
                closed(5, "0xt"),
                Event::StepFinal {
                    settlement: id,
                    step: 0,
                },
                Event::KeysFreed { settlement: id },
                Event::Finished {
                    settlement: id,
                    at_ms: 1_000,
                },
            ])
            .await
            .unwrap();
        assert_eq!(
            journal.query(Query::OpenSlots).await.unwrap(),
            Answer::Slots(vec![]),
            "{name}"
        );
        assert_eq!(
            journal.query(Query::Unfinished).await.unwrap(),
            Answer::Settlements(vec![]),
            "{name}"
        );
        for (before_ms, kept) in [(1_000, true), (1_001, false)] {
            let drop = Event::PayloadsDropped {
                finished_before_ms: before_ms,
            };
            journal.commit(vec![drop]).await.unwrap();
            let bytes = journal.query(Query::Bytes { attempt }).await.unwrap();
            assert_eq!(matches!(bytes, Answer::Bytes(Some(_))), kept, "{name}");
        }
        assert!(
            settlement(&*journal, id).await.unwrap().release.is_some(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn law5_what_is_taken_is_refused_by_its_name() {
    for (name, journal, _folder) in journals() {
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
                step: 0,
            }],
            vec![Event::StepDone {
                settlement: 1,
                step: 1,
                tx_id: "0xt".into(),
                height: 1,
            }],
        ] {
            let result = journal.commit(events).await;
            assert!(matches!(result, Err(CommitError::Stale(_))), "{name}: {result:?}");
        }
        // What fits beside the first reserve, and the conflict key that a refused commit did not leave behind.
        let fits = opened_with(3, "b", |row, reserves, _| {
            row.conflict_keys = vec!["j".into()];
            reserves.push(reserve(40));
        });
        journal.commit(vec![fits]).await.unwrap();
    }
}

#[tokio::test]
async fn a_claim_that_failed_for_good_opens_again() {
    for (name, journal, _folder) in journals() {
        journal
            .commit(vec![opened(1, "a"), prepared(2, 1, 0)])
            .await
            .unwrap();
        let failed = Event::Failed {
            settlement: 1,
            step: 0,
            refusal: Refusal::new("insufficient_funds", "0xb"),
            tx_id: "0xt".into(),
            proof: "reverted".into(),
        };
        journal.commit(vec![failed]).await.unwrap();
        let again = || opened_with(3, "a", |row, _, _| row.generation = 1);
        assert_eq!(
            journal.commit(vec![again()]).await,
            Err(CommitError::ClaimTaken),
            "{name}"
        );
        journal
            .commit(vec![
                Event::StepFinal {
                    settlement: 1,
                    step: 0,
                },
                Event::Finished {
                    settlement: 1,
                    at_ms: 5,
                },
                again(),
            ])
            .await
            .unwrap();
        match journal.query(Query::Claim("a".into())).await.unwrap() {
            Answer::Settlement(Some(row)) => assert_eq!((row.id, row.generation), (3, 1), "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

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

/// Small numbers, so that histories meet themselves.
fn any_event() -> impl Strategy<Value = Event> {
    let (id, claim, step, seq) = (1..6_u64, "[ab]", 0..2_u32, 0..3_u64);
    prop_oneof![
        (id.clone(), claim, 0..2_u32, any::<bool>(), 0..80_u64).prop_map(
            |(id, claim, generation, keyed, amount)| {
                opened_with(id, &claim, |row, reserves, _| {
                    row.generation = generation;
                    if keyed {
                        row.conflict_keys = vec![format!("k{generation}")];
                    }
                    reserves.push(Reserve {
                        asset: "usd".into(),
                        payer: "0xb".into(),
                        amount: Amount::from(amount),
                        available: Amount::from(100u64),
                        as_of_height: amount,
                        refusal_reason: "short".into(),
                    });
                })
            }
        ),
        (6..12_u64, id.clone(), seq.clone()).prop_map(|(id, settlement, seq)| prepared(id, settlement, seq)),
        (6..12_u64).prop_map(|attempt| Event::Sent { attempt }),
        (id.clone(), "[xy]").prop_map(|(id, item)| paid(id, &item)),
        id.clone().prop_map(released),
        id.clone()
            .prop_map(|settlement| Event::ReleaseReturned { settlement }),
        id.clone().prop_map(|settlement| Event::KeysFreed { settlement }),
        (id.clone(), step.clone()).prop_map(|(settlement, step)| Event::Reorged { settlement, step }),
        (id.clone(), step.clone()).prop_map(|(settlement, step)| Event::StepFreed { settlement, step }),
        (id.clone(), step).prop_map(|(settlement, step)| Event::StepFinal { settlement, step }),
        (id, 0..9_u64).prop_map(|(settlement, at_ms)| Event::Finished { settlement, at_ms }),
        seq.prop_map(|sequence| closed(sequence, "0xt")),
        (
            "[a-c]{0,2}",
            prop_oneof![Just(Value::Null), Just(json!(1)), Just(json!(2))],
            any::<bool>()
        )
            .prop_map(|(key, value, absent)| {
                let condition = if absent {
                    StoreCondition::Absent
                } else {
                    StoreCondition::Always
                };
                stored_if(&key, value, condition)
            }),
        (0..9_u64).prop_map(|finished_before_ms| Event::PayloadsDropped { finished_before_ms }),
    ]
}

/// Everything that can be asked about what [`any_event`] can do.
async fn everything(journal: &dyn Journal) -> Vec<Result<Answer, JournalError>> {
    let (network, signer) = (NETWORK.to_owned(), "0xa".to_owned());
    let mut queries = vec![
        Query::Unfinished,
        Query::OpenSlots,
        Query::LaneNext { network, signer },
        Query::StoreScan {
            plugin: "evm".into(),
            prefix: String::new(),
            after: None,
            limit: 1_000,
            now_ms: 0,
        },
    ];
    queries.extend((1..6).map(Query::Settlement));
    queries.extend((6..12).map(|attempt| Query::Bytes { attempt }));
    queries.extend(["a", "b"].map(|claim| Query::Claim(claim.into())));
    let mut answers = Vec::new();
    for query in queries {
        answers.push(journal.query(query).await);
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_histories_leave_every_back_end_in_the_same_state(
        history in prop::collection::vec(prop::collection::vec(any_event(), 1..4), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let memory = MemoryJournal::default();
            let sqlite = SqliteJournal::open(folder.path()).unwrap();
            for events in history {
                assert_eq!(memory.commit(events.clone()).await, sqlite.commit(events).await);
            }
            let expected = everything(&memory).await;
            assert_eq!(everything(&sqlite).await, expected);
            drop(sqlite);
            let reopened = SqliteJournal::open(folder.path()).unwrap();
            assert_eq!(everything(&reopened).await, expected);
        });
    }
}
