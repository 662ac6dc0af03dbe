//! Random histories leave every back end in the same state.

use proptest::prelude::*;
use sdk_plugin::host::{Job, StoreCondition};
use sdk_plugin::scheme::Reserve;
use sdk_plugin::{Amount, StepIndex};
use serde_json::{Value, json};

use super::super::group::Group;
use super::super::memory::{MemoryJournal, Tables};
use super::super::sqlite::SqliteJournal;
use super::*;

/// Small numbers, so that events of a history concern the same rows.
fn any_event() -> impl Strategy<Value = Event> {
    let (id, claim, step, seq) = (1..6_u64, "[ab]", (0..2_u32).prop_map(StepIndex::new), 0..3_u64);
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
        (6..12_u64, 0..3_u64).prop_map(|(attempt, fee)| Event::FeePaid {
            attempt,
            fee: Amount::from(fee),
            node: None,
        }),
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
        (0..4_usize, 0..9_u64, 1..6_u64).prop_map(|(stage, due_ms, settlement)| Event::Dropped {
            stage: Stage::ALL[stage],
            due: vec![(due_ms, settlement)],
        }),
        (0..3_u64, "[a-c]{0,2}").prop_map(|(at_ms, key)| Event::Expired {
            store: vec![keys::expiry_key(at_ms, &keys::store_key("evm", &key))],
            holds: vec![format!("{NETWORK}|0xa|{}", keys::id_key(at_ms))],
            now_ms: 5_000,
        }),
        (0..6_u64).prop_map(|up_to_id| Event::ReleasesWithheld {
            up_to_id,
            why: format!("w{}", up_to_id % 3),
            at_ms: up_to_id
        }),
        prop::collection::vec(0..6_u64, 0..3).prop_map(|settlements| Event::ReleasesAllowed { settlements }),
        prop::collection::vec(1..6_u64, 0..3).prop_map(|settlements| Event::Acted {
            by: "o".into(),
            act: "annotate".into(),
            details: format!("{settlements:?}"),
            settlements,
        }),
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

/// The time of a [`MemoryJournal`] without faults.
struct StoppedClock;

impl base::clock::Clock for StoppedClock {
    fn now_unix_ns(&self) -> u64 {
        0
    }
}

/// Every row that [`any_event`] can change, as text.
async fn everything(journal: &dyn Journal) -> Vec<String> {
    let mut rows = vec![
        format!("{:?}", journal.unfinished_after(0, 99).await),
        format!("{:?}", open_slots(journal).await),
        format!("{:?}", journal.withheld().await),
        format!("{:?}", journal.acts(999).await),
        format!("{:?}", journal.lane_next(NETWORK, "0xa").await),
        format!("{:?}", journal.store_scan("evm", "", None, 1_000, 0).await),
        format!("{:?}", journal.due_jobs(NETWORK, 4, None, 9).await),
    ];
    for id in 1..6 {
        rows.push(format!("{:?}", journal.settlement(id).await));
        rows.push(format!("{:?}", journal.history(id).await));
    }
    rows.push(format!("{:?}", journal.list(&Filter::default(), None, 9).await));
    rows.push(format!("{:?}", journal.spent_since(NETWORK, 0).await));
    rows.push(format!("{:?}", journal.final_height(NETWORK).await));
    for attempt in 6..12 {
        rows.push(format!("{:?}", journal.bytes(attempt).await));
    }
    for claim in ["a", "b"] {
        rows.push(format!("{:?}", journal.claim(claim).await));
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A back end over a network fetches what a commit reads in a few round trips only if it is named beforehand.
    #[test]
    fn every_event_names_the_rows_that_it_reads(history in prop::collection::vec(any_event(), 1..80)) {
        let mut tables = Tables::default();
        for event in history {
            let mut group = Group::fetch(&mut tables, std::iter::once(&event), None).unwrap();
            let result = group.apply(std::slice::from_ref(&event), Stamp::default());
            assert_eq!(group.rows().unnamed(), [], "{event:?}");
            if result.is_ok() {
                group.flush().unwrap();
            }
        }
    }

    /// Several commits in one group have the same results as one after the other.
    #[test]
    fn a_group_of_commits_has_the_results_of_its_commits_one_by_one(
        history in prop::collection::vec(prop::collection::vec(any_event(), 1..4), 1..40),
    ) {
        let (mut alone, mut grouped) = (Tables::default(), Tables::default());
        let one_by_one: Vec<_> = history
            .iter()
            .map(|events| {
                let mut group = Group::fetch(&mut alone, events.iter(), None).unwrap();
                let result = group.apply(events, Stamp::default());
                group.flush().unwrap();
                result
            })
            .collect();
        let mut group = Group::fetch(&mut grouped, history.iter().flatten(), None).unwrap();
        let together: Vec<_> = history.iter().map(|events| group.apply(events, Stamp::default())).collect();
        group.flush().unwrap();
        assert_eq!(together, one_by_one);
        assert_eq!(grouped, alone);
    }

    #[test]
    fn random_histories_leave_every_back_end_in_the_same_state(
        history in prop::collection::vec(prop::collection::vec(any_event(), 1..4), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let memory = MemoryJournal::default();
            let sqlite = SqliteJournal::open_with(folder.path(), Arc::new(StoppedClock)).unwrap();
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
