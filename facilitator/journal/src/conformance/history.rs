//! Random histories leave every back end in the same state.

use proptest::prelude::*;
use sdk_plugin::Amount;
use sdk_plugin::host::{Job, StoreCondition};
use sdk_plugin::scheme::Reserve;
use serde_json::{Value, json};

use super::*;

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
        id.clone().prop_map(returned),
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
        (0..6_u64).prop_map(|up_to_id| Event::ReleasesWithheld {
            up_to_id,
            why: format!("w{}", up_to_id % 3),
            at_ms: up_to_id
        }),
        prop::collection::vec(0..6_u64, 0..3).prop_map(|settlements| Event::ReleasesAllowed { settlements }),
        any_job_event(),
    ]
}

fn any_job_event() -> impl Strategy<Value = Event> {
    let (plugin, at) = (|| "evm".to_owned(), 0..6_u64);
    prop_oneof![
        ("[ab]", at.clone()).prop_map(move |(id, run_at_ms)| Event::JobScheduled {
            plugin: plugin(),
            job: Job {
                id,
                scheme: "exact".into(),
                network: NETWORK.into(),
                kind: "k".into(),
                payload: Value::Null,
                run_at_ms,
            },
        }),
        "[ab]".prop_map(move |id| Event::JobCancelled { plugin: plugin(), id }),
        ("[ab]", at.clone()).prop_map(move |(id, run_at_ms)| Event::JobDone {
            plugin: plugin(),
            id,
            run_at_ms
        }),
        ("[ab]", at.clone(), at).prop_map(move |(id, run_at_ms, again_at_ms)| Event::JobPutOff {
            plugin: plugin(),
            id,
            run_at_ms,
            again_at_ms
        }),
    ]
}

/// Everything that can be asked about what [`any_event`] can do.
async fn everything(journal: &dyn Journal) -> Vec<Result<Answer, JournalError>> {
    let (network, signer) = (NETWORK.to_owned(), "0xa".to_owned());
    let mut queries = vec![
        Query::Unfinished,
        Query::OpenSlots,
        Query::Withheld,
        Query::LaneNext { network, signer },
        Query::StoreScan {
            plugin: "evm".into(),
            prefix: String::new(),
            after: None,
            limit: 1_000,
            now_ms: 0,
        },
    ];
    queries.push(Query::DueJobs {
        network: NETWORK.into(),
        now_ms: 4,
        after: None,
        limit: 9,
    });
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
