//! What commits cost.

use std::time::{Duration, Instant};

use super::*;
use crate::conformance::{closed, paid, released};
use crate::testkit::{opened, prepared};

#[tokio::test]
async fn a_group_takes_two_round_trips_and_one_sync() {
    let journal = owner(&Settings::new(pg::server().database()));
    let cost = async |events: Vec<Event>| {
        let before = journal.counts();
        journal.commit(events).await.unwrap();
        let after = journal.counts();
        (
            after.round_trips - before.round_trips,
            after.statements - before.statements,
            after.syncs - before.syncs,
        )
    };
    assert_eq!(cost(vec![opened(1, "c1"), prepared(2, 1, 5)]).await, (2, 11, 1));
    // What the settlement's rows name is fetched in a second round.
    let (round_trips, _, syncs) = cost(vec![paid(1, "log"), released(1)]).await;
    assert_eq!((round_trips, syncs), (3, 1));
    assert_eq!(cost(vec![closed(5, "0xt2")]).await.0, 2);
    let before = journal.counts();
    let refused = journal.commit(vec![opened(3, "c1")]).await;
    assert_eq!(refused, Err(CommitError::ClaimTaken));
    assert_eq!(journal.counts().syncs, before.syncs, "a refusal needs none");
}

#[tokio::test]
async fn a_promise_takes_one_round_trip() {
    let journal = owner(&Settings::new(pg::server().database()));
    let promise = crate::reservations::Promise {
        claim: "k".into(),
        fingerprint: "f".into(),
        tenant: "t".into(),
        network: "n".into(),
        payer: "p".into(),
        reserves: Vec::new(),
        lasts: Duration::from_secs(60),
    };
    let before = journal.counts().round_trips;
    journal.reserve(&promise).await.unwrap();
    assert_eq!(journal.counts().round_trips - before, 1);
}

#[tokio::test]
async fn a_read_of_one_row_takes_one_round_trip() {
    let journal = owner(&Settings::new(pg::server().database()));
    journal
        .commit(vec![opened(1, "c1"), prepared(2, 1, 5)])
        .await
        .unwrap();
    let before = journal.counts();
    assert_eq!(journal.settlement(1).await.unwrap().unwrap().claim, "c1");
    assert!(journal.bytes(2).await.unwrap().is_some());
    assert_eq!(journal.claim("c1").await.unwrap().unwrap().id, 1);
    assert!(journal.settlement(3).await.unwrap().is_none());
    let after = journal.counts();
    assert_eq!(after.round_trips - before.round_trips, 4);
    assert_eq!(after.statements - before.statements, 4);
}

/// Prints commits per second with some committers at once, each with one payment after the other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of this machine"]
async fn commits_per_second() {
    let server = pg::server();
    for committers in [1_u64, 32, 256] {
        let database = server.new_database();
        let journal = Arc::new(PostgresJournal::open(&Settings::new(server.url(&database))).unwrap());
        let before = journal.counts();
        let wal = || -> u64 {
            server
                .psql("postgres", "SELECT wal_sync FROM pg_stat_wal")
                .parse()
                .unwrap()
        };
        let (syncs, begun) = (wal(), Instant::now());
        let one = |number: u64| {
            let journal = Arc::clone(&journal);
            async move {
                let mut done = 0_u64;
                while begun.elapsed() < Duration::from_secs(5) {
                    let id = journal.new_id();
                    let events = vec![opened(id, &format!("claim {number} {id}"))];
                    journal.commit(events).await.unwrap();
                    done += 1;
                }
                done
            }
        };
        let tasks: Vec<_> = (0..committers).map(|number| tokio::spawn(one(number))).collect();
        let mut done = 0;
        for task in tasks {
            done += task.await.unwrap();
        }
        let seconds = begun.elapsed().as_millis().max(1);
        let after = journal.counts();
        let groups = after.groups - before.groups;
        eprintln!(
            "{committers} committers: {} commits/s, {groups} groups of {} commits, per group {} statements, {} round \
             trips, {} commits with sync; {} syncs of the server's log in all",
            u128::from(done) * 1_000 / seconds,
            done / groups.max(1),
            (after.statements - before.statements) / groups.max(1),
            (after.round_trips - before.round_trips) / groups.max(1),
            (after.syncs - before.syncs) / groups.max(1),
            wal() - syncs,
        );
        assert!(done > committers);
    }
}
