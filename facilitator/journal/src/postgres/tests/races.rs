//! Two nodes on one database: exactly one wins.

use std::time::{Duration, Instant};

use sdk_plugin::Amount;
use sdk_plugin::scheme::Reserve;

use super::*;
use crate::conformance::{paid, released, stored};
use crate::testkit::{opened, opened_with};

const ROUNDS: u64 = 25;

/// Commits of two nodes at once. Returns why the one that lost was refused; exactly one is.
async fn race(nodes: &[Arc<dyn Journal>; 2], a: Vec<Event>, b: Vec<Event>) -> CommitError {
    let (a, b) = tokio::join!(nodes[0].commit(a), nodes[1].commit(b));
    match (a, b) {
        (Ok(()), Err(error)) | (Err(error), Ok(())) => error,
        both => panic!("not exactly one won: {both:?}"),
    }
}

async fn each_is_won_once(isolation: Isolation) {
    let nodes = two_nodes_with(isolation);
    for round in 1..=ROUNDS {
        let id = |number: u64| round * 100 + number;
        let claim = format!("claim {round}");
        let lost = race(&nodes, vec![opened(id(1), &claim)], vec![opened(id(2), &claim)]).await;
        assert_eq!(lost, CommitError::ClaimTaken);

        let with_key = |number: u64| {
            opened_with(id(number), &format!("key {round} {number}"), |row, _, _| {
                row.conflict_keys = vec![format!("k{round}"), format!("own {round} {number}")];
            })
        };
        let lost = race(&nodes, vec![with_key(3)], vec![with_key(4)]).await;
        assert_eq!(lost, CommitError::ConflictKeyTaken(format!("k{round}")));

        let with_reserve = |number: u64| {
            opened_with(
                id(number),
                &format!("reserve {round} {number}"),
                |_, reserves, _| {
                    reserves.push(Reserve {
                        asset: "usd".into(),
                        payer: format!("payer {round}"),
                        amount: Amount::from(60_u64),
                        available: Amount::from(100_u64),
                        as_of_height: 1,
                        refusal_reason: "insufficient_funds".into(),
                    });
                },
            )
        };
        let lost = race(&nodes, vec![with_reserve(5)], vec![with_reserve(6)]).await;
        assert!(matches!(lost, CommitError::ReserveShort { .. }), "{lost:?}");

        for number in [7, 8] {
            let event = opened(id(number), &format!("paid {round} {number}"));
            nodes[0].commit(vec![event]).await.unwrap();
        }
        let item = format!("log {round}");
        let lost = race(&nodes, vec![paid(id(7), &item)], vec![paid(id(8), &item)]).await;
        assert_eq!(lost, CommitError::EvidenceUsed(item));

        let event = opened(id(9), &format!("release {round}"));
        nodes[1]
            .commit(vec![event, paid(id(9), &format!("own log {round}"))])
            .await
            .unwrap();
        let lost = race(&nodes, vec![released(id(9))], vec![released(id(9))]).await;
        assert_eq!(lost, CommitError::AlreadyReleased);

        let store = |value: u64| Event::Stored {
            plugin: "evm".into(),
            write: sdk_plugin::host::StoreWrite {
                key: format!("row {round}"),
                value: value.into(),
                condition: sdk_plugin::host::StoreCondition::Absent,
                expires_at_ms: None,
            },
            now_ms: 1,
        };
        let lost = race(&nodes, vec![store(1)], vec![store(2)]).await;
        assert_eq!(lost, CommitError::StoreCondition(format!("row {round}")));
    }
}

#[tokio::test]
async fn law5_of_two_nodes_exactly_one_wins() {
    each_is_won_once(Isolation::ReadCommitted).await;
}

#[tokio::test]
async fn law5_of_two_nodes_exactly_one_wins_at_serializable() {
    each_is_won_once(Isolation::Serializable).await;
}

/// Each commit locks a row of its own first and then one that the other has locked.
#[tokio::test]
async fn commits_that_wait_for_each_other_end_with_the_right_answers() {
    let url = pg::server().database();
    let open = || PostgresJournal::open(&Settings::new(&url)).unwrap();
    let (a, b) = (open(), open());
    for id in [1, 2] {
        let claim = format!("c{id}");
        let item = format!("log {id}");
        a.commit(vec![opened(id, &claim), paid(id, &item)]).await.unwrap();
    }
    let begun = Instant::now();
    for round in 0..40 {
        // The claim's row in the first round of fetches, its settlement in the second.
        let of_a = vec![stored("a", round.into()), released(1), opened(10 + round, "c2")];
        let of_b = vec![stored("b", round.into()), released(2), opened(60 + round, "c1")];
        let both = tokio::join!(a.commit(of_a), b.commit(of_b));
        assert_eq!(both, (Err(CommitError::ClaimTaken), Err(CommitError::ClaimTaken)));
    }
    let conflicts = a.counts().conflicts + b.counts().conflicts;
    assert!(conflicts > 0, "they never met");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(a.settlement(1).await.unwrap().unwrap().release.is_none());
}

#[tokio::test]
async fn many_nodes_open_an_empty_database_at_once() {
    let url = pg::server().database();
    let open = |_| {
        let settings = Settings::new(&url);
        std::thread::spawn(move || PostgresJournal::open(&settings).unwrap())
    };
    let starting: Vec<_> = (0..6).map(open).collect();
    let nodes: Vec<_> = starting
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    let mut ids: Vec<u64> = nodes
        .iter()
        .flat_map(|node| (0..100).map(|_| node.new_id()))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 600, "no two nodes have an id in common");
    let names: std::collections::BTreeSet<&str> = nodes.iter().map(Shared::node).collect();
    assert_eq!(names.len(), 6);
    assert!(nodes.iter().all(|node| node.secret() == nodes[0].secret()));
    assert_ne!(nodes[0].secret(), [0; 32]);
}

#[tokio::test]
async fn attempts_after_a_take_over_have_greater_ids_than_those_before() {
    let url = pg::server().database();
    let open = || PostgresJournal::open(&Settings::new(&url)).unwrap();
    let (a, b) = (open(), open());
    // The block of `b` is above the one of `a`.
    let lease = b.take("n|0xa", None).await.unwrap().unwrap();
    let of_b = b.new_id();
    assert!(a.new_id() < of_b);
    a.take("n|0xa", Some(&lease)).await.unwrap().unwrap();
    assert!(a.new_id() > of_b);
}

#[tokio::test]
async fn old_events_of_every_writer_go_and_the_rest_hangs_on_them() {
    let url = pg::server().database();
    let open = || PostgresJournal::open(&Settings::new(&url)).unwrap();
    let gone = open();
    for id in 1..=5 {
        gone.commit(vec![opened(id, &format!("c{id}"))]).await.unwrap();
    }
    drop(gone);
    let here = open();
    for id in 6..=9 {
        here.commit(vec![opened(id, &format!("c{id}"))]).await.unwrap();
    }
    assert_eq!(here.verify().await, Ok((2, 9)));
    assert_eq!(here.drop_events(0, 100).await, Ok(0));
    assert_eq!(here.drop_events(u64::MAX, 3).await, Ok(3));
    assert_eq!(here.verify().await, Ok((2, 6)));
    assert_eq!(here.drop_events(u64::MAX, 100).await, Ok(6));
    assert_eq!(here.verify().await, Ok((2, 0)));
    here.commit(vec![opened(10, "c10")]).await.unwrap();
    assert_eq!(here.verify().await, Ok((2, 1)));
}

#[tokio::test]
async fn a_hint_comes_from_another_node() {
    let url = pg::server().database();
    let open = || PostgresJournal::open(&Settings::new(&url)).unwrap();
    let (a, b) = (open(), open());
    let hinted = async {
        // The listening connection may not be there yet, and a hint may be lost: that is what others may rely on.
        for id in 1..100 {
            let commit = b.commit(vec![
                opened(id, &format!("c{id}")),
                paid(id, &format!("log {id}")),
            ]);
            commit.await.unwrap();
            if tokio::time::timeout(Duration::from_millis(200), a.hint())
                .await
                .is_ok()
            {
                return true;
            }
        }
        false
    };
    assert!(hinted.await);
}
