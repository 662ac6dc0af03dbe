//! What a node reads that takes a lane, and what it removes of nodes that are gone.

use sdk_plugin::Amount;

use super::*;
use crate::keys::lane_key;
use crate::testkit::{NETWORK, opened_with, prepared};

/// Settlements of other lanes.
const OTHERS: u64 = 600;

fn opened_in(id: u64, signer: &str) -> Event {
    opened_with(id, &format!("c{id}"), |row, _, _| {
        row.home = Some(signer.to_owned());
        row.request = format!("r{id}");
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_reads_the_settlements_of_its_lane_and_no_others() {
    let (server, name) = (pg::server(), pg::server().new_database());
    let settings = Settings::new(server.url(&name));
    let journal = owner(&settings);
    let unit = lane_key(NETWORK, "0xa");
    let others: Vec<Event> = (1..=OTHERS).map(|id| opened_in(id, "0xother")).collect();
    for events in others.chunks(100) {
        journal.commit(events.to_vec()).await.unwrap();
    }
    let own = |id: u64| vec![opened_in(id, "0xa"), prepared(id + 1, id, id)];
    for id in [901, 903, 905] {
        journal.commit(own(id)).await.unwrap();
    }
    let read = async || {
        let before = journal.counts().round_trips;
        let (mut ids, mut after) = (Vec::new(), Some(0));
        while let Some(id) = after {
            let part = journal.unfinished_of(&unit, id, 256).await.unwrap();
            ids.extend(part.found.iter().map(|(row, _)| row.id));
            after = part.more_after;
        }
        assert_eq!(ids, [901, 903, 905]);
        journal.counts().round_trips - before
    };
    let indexed = read().await;
    assert!(indexed <= 5, "{indexed} round trips");

    // A lease and an order of an earlier version.
    let of_earlier_version = "UPDATE switchyard.rows SET value = convert_to(replace(convert_from(value, 'UTF8'), \
                              ',\"is_indexed\":true', ''), 'UTF8') WHERE tab = 26; DELETE FROM switchyard.rows WHERE tab = 27";
    server.psql(&name, of_earlier_version);
    let all = read().await;
    assert!(all > 5, "{all} round trips");
    let search = async |signers: &[&str]| {
        let before = journal.counts().round_trips;
        let units: Vec<String> = signers.iter().map(|signer| lane_key(NETWORK, signer)).collect();
        let open = journal.with_open(&units).await.unwrap();
        (open, journal.counts().round_trips - before)
    };
    assert_eq!(search(&["0xa"]).await.0, std::slice::from_ref(&unit));
    let (open, one) = search(&["0xnobody"]).await;
    assert!(open.is_empty() && one > 5, "{one} round trips");
    let (open, many) = search(&["0xnobody", "0xgone", "0xa", "0xother"]).await;
    assert_eq!(open, [unit.clone(), lane_key(NETWORK, "0xother")]);
    assert!(many < 2 * one, "{many} round trips for four units, {one} for one");
    Shared::index(&journal, &unit, &[901, 903, 905]).await.unwrap();
    let again = read().await;
    assert!(again <= 5, "{again} round trips");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_past_days_and_killed_nodes_are_removed() {
    let (server, name) = (pg::server(), pg::server().new_database());
    let nodes = [0, 1].map(|_| PostgresJournal::open(&Settings::new(server.url(&name))).unwrap());
    let [a, b] = &nodes;
    let now_ms: u64 = server
        .psql(
            &name,
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8",
        )
        .parse()
        .unwrap();
    let day_ms = 24 * 3_600 * 1_000;
    let today_ms = now_ms - now_ms % day_ms;
    let (one, limit) = (Amount::from(1_u64), Amount::from(1_u64));
    for days in 0..6 {
        let key = format!("{:020}|eip155:1|network", today_ms - days * day_ms);
        assert_eq!(a.take_grant(&key, one, limit).await, Ok(true));
    }
    for claim in ["killed", "alive"] {
        a.announce(claim).await.unwrap();
    }
    let long_ago = "UPDATE switchyard.rows SET value = convert_to((convert_from(value, 'UTF8')::int8 - 3600000)::text, 'UTF8') \
                    WHERE tab = 29 AND convert_from(key, 'UTF8') LIKE 'killed|%'";
    server.psql(&name, long_ago);
    assert_eq!(b.remove_dead(2).await, Ok(3), "two days and an announcement");
    assert_eq!(b.remove_dead(2).await, Ok(1));
    assert_eq!(b.remove_dead(2).await, Ok(0));
    assert_eq!(b.is_announced("alive").await, Ok(true));
    let kept = server.psql(&name, "SELECT count(*) FROM switchyard.rows WHERE tab = 28");
    assert_eq!(kept, "3", "today and two days before");
    let today = format!("{today_ms:020}|eip155:1|network");
    assert_eq!(b.take_grant(&today, one, limit).await, Ok(false));
}
