//! What a back end that several nodes share must do besides, as cases over two handles on one journal.

use std::collections::BTreeSet;

use super::*;
use crate::lease::{Lease, Shared, node_unit};

/// The lane of the transactions in these cases.
const UNIT: &str = "eip155:84532|0xa";

fn shared(journal: &Arc<dyn Journal>) -> &dyn Shared {
    journal.shared().expect("the journal is shared")
}

fn homed(id: u64, claim: &str, is_handed_over: bool) -> Event {
    opened_with(id, claim, |row, _, _| {
        row.home = Some("0xa".into());
        row.handed_over = is_handed_over;
        row.request = format!("r{id}");
    })
}

async fn take(node: &Arc<dyn Journal>, seen: Option<&Lease>) -> Option<Lease> {
    shared(node).take(UNIT, seen).await.unwrap()
}

fn fenced(result: Result<(), CommitError>) -> bool {
    result == Err(CommitError::Fenced(UNIT.into()))
}

/// One of two nodes that take a unit gets it, and another one only after the first gave it up or was seen without a beat.
pub async fn one_node_gets_a_unit(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    let first = take(&a, None).await.unwrap();
    assert_eq!(
        (first.epoch, first.node.as_str()),
        (1, shared(&a).node()),
        "{name}"
    );
    assert_eq!(take(&b, None).await, None, "{name}");
    assert_eq!(shared(&a).renew().await, Ok(vec![]), "{name}");
    assert_eq!(take(&b, Some(&first)).await, None, "its owner lives; {name}");
    let seen = shared(&b).leases().await.unwrap();
    let second = take(&b, seen.first()).await.unwrap();
    assert_eq!(
        (second.epoch, second.node.as_str()),
        (2, shared(&b).node()),
        "{name}"
    );
    assert_eq!(shared(&a).renew().await, Ok(vec![UNIT.to_owned()]), "{name}");
    assert_eq!(shared(&a).renew().await, Ok(vec![]), "it is lost once; {name}");
    assert!(!second.is_compared, "{name}");
    shared(&a).record_compared(UNIT).await.unwrap();
    assert!(
        !shared(&a).leases().await.unwrap()[0].is_compared,
        "not by another node; {name}"
    );
    shared(&b).record_compared(UNIT).await.unwrap();
    assert_eq!(shared(&b).renew().await, Ok(vec![]), "{name}");
    assert!(shared(&a).leases().await.unwrap()[0].is_compared, "{name}");
    shared(&b).give_up(UNIT).await.unwrap();
    let seen = shared(&a).leases().await.unwrap();
    assert_eq!(
        (seen[0].node.as_str(), seen[0].is_compared),
        ("", false),
        "{name}"
    );
    assert_eq!(take(&a, seen.first()).await.unwrap().epoch, 3, "{name}");
}

/// A node that lost its unit records nothing about it, and any node may take a release.
pub async fn law5_a_node_that_lost_its_unit_records_nothing(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    let lease = take(&a, None).await.unwrap();
    a.commit(vec![homed(1, "c1", false), prepared(2, 1, 5)])
        .await
        .unwrap();
    assert!(fenced(b.commit(vec![paid(1, "log")]).await), "{name}");
    let lease = take(&b, Some(&lease)).await.unwrap();
    let refused = [
        vec![homed(3, "c3", false), prepared(4, 3, 6)],
        vec![paid(1, "log")],
        vec![Event::Reorged {
            settlement: 1,
            step: StepIndex::FIRST,
        }],
        vec![Event::StepFinal {
            settlement: 1,
            step: StepIndex::FIRST,
        }],
        vec![Event::KeysFreed { settlement: 1 }],
        vec![Event::Finished {
            settlement: 1,
            at_ms: 1,
        }],
        vec![closed(5, "0xt")],
    ];
    for events in refused {
        assert!(fenced(a.commit(events.clone()).await), "{events:?}; {name}");
    }
    assert_eq!(a.settlement(3).await.unwrap(), None, "{name}");
    b.commit(vec![paid(1, "log")]).await.unwrap();
    a.commit(vec![released(1)]).await.unwrap();
    assert_eq!(
        b.commit(vec![released(1)]).await,
        Err(CommitError::AlreadyReleased),
        "{name}"
    );
    // The same node in its next life as the owner: what it began before is refused.
    shared(&a).take(UNIT, Some(&lease)).await.unwrap();
    assert!(fenced(b.commit(vec![closed(5, "0xt")]).await), "{name}");
    a.commit(vec![closed(5, "0xt")]).await.unwrap();
}

/// A settlement that one node opens for another one is found by that one until it is in a slot.
pub async fn what_is_handed_over_is_found_by_the_owner(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    take(&a, None).await.unwrap();
    let units = [UNIT.to_owned(), "eip155:84532|0xother".to_owned()];
    let none = BTreeSet::new();
    b.commit(vec![homed(1, "c1", true)]).await.unwrap();
    b.commit(vec![homed(2, "c2", true)]).await.unwrap();
    assert_eq!(
        shared(&a).handed_over(&units, &none, 9).await,
        Ok(vec![1, 2]),
        "{name}"
    );
    assert_eq!(
        shared(&a).handed_over(&units[1..], &none, 9).await,
        Ok(vec![]),
        "{name}"
    );
    assert!(fenced(b.commit(vec![prepared(3, 1, 5)]).await), "{name}");
    a.commit(vec![prepared(3, 1, 5)]).await.unwrap();
    assert_eq!(
        shared(&a).handed_over(&units, &none, 9).await,
        Ok(vec![2]),
        "{name}"
    );
    let known = BTreeSet::from([2]);
    assert_eq!(
        shared(&a).handed_over(&units, &known, 1).await,
        Ok(vec![]),
        "{name}"
    );
    let rows = a.with_plans(&[1, 2, 9]).await.unwrap();
    assert_eq!(rows.len(), 2, "{name}");
    assert!(!rows[0].0.handed_over && rows[1].0.handed_over, "{name}");
    assert!(rows.iter().all(|(_, plan)| plan.is_some()), "{name}");
    assert_eq!(b.settlements(&[2, 9]).await.unwrap().len(), 1, "{name}");
    let slots = open_slots_of(&*a, "eip155:84532", "0xa").await.unwrap();
    assert_eq!(slots.len(), 1, "{name}");
    assert_eq!(
        open_slots_of(&*a, "eip155:84532", "0x").await.unwrap(),
        vec![],
        "{name}"
    );
}

/// A node that takes a unit reads what is open in it, in parts, and nothing of other units.
pub async fn what_is_open_in_a_unit_is_read_by_its_next_owner(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    let other = "eip155:84532|0xother".to_owned();
    let first = take(&a, None).await.unwrap();
    shared(&b).take(&other, None).await.unwrap();
    assert_eq!(a.with_open(&[UNIT.to_owned()]).await, Ok(vec![]), "{name}");
    a.commit(vec![homed(1, "c1", false), prepared(11, 1, 5)])
        .await
        .unwrap();
    b.commit(vec![homed(2, "c2", true)]).await.unwrap();
    let elsewhere = opened_with(3, "c3", |row, _, _| {
        row.home = Some("0xother".into());
        row.request = "r3".into();
    });
    b.commit(vec![elsewhere]).await.unwrap();
    b.commit(vec![homed(4, "c4", true)]).await.unwrap();
    a.commit(vec![prepared(14, 4, 6)]).await.unwrap();
    take(&b, Some(&first)).await.unwrap();
    let found = async |after: u64, limit: usize| {
        let part = b.unfinished_of(UNIT, after, limit).await.unwrap();
        let ids: Vec<u64> = part.found.iter().map(|(row, _)| row.id).collect();
        assert!(part.found.iter().all(|(_, plan)| plan.is_some()), "{name}");
        (ids, part.more_after)
    };
    assert_eq!(found(0, 9).await, (vec![1, 4], None), "{name}");
    assert_eq!(found(0, 1).await, (vec![1], Some(1)), "{name}");
    assert_eq!(found(1, 9).await, (vec![4], None), "{name}");
    let units = [UNIT.to_owned(), "eip155:84532|0xnobody".to_owned(), other];
    let open = [units[0].clone(), units[2].clone()];
    assert_eq!(b.with_open(&units).await.as_deref(), Ok(&open[..]), "{name}");
    // More than one transaction takes, most of them finished by then, and some again.
    let all: Vec<u64> = [1, 4].into_iter().chain(5..=600).collect();
    for ids in [&all[..], &[1, 4]] {
        shared(&b).index(UNIT, ids).await.unwrap();
        let of_unit = shared(&b).leases().await.unwrap();
        let of_unit = of_unit.iter().find(|lease| lease.unit == UNIT);
        assert!(of_unit.is_some_and(|lease| lease.is_indexed), "{name}");
        assert_eq!(found(0, 9).await, (vec![1, 4], None), "{name}");
    }
}

/// Nodes read from each other's leases what they serve. The lease of a node that is gone can be removed, and a node that comes
/// back has lost it.
pub async fn a_node_that_is_gone_leaves_no_lease(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    let own = node_unit(shared(&a).node());
    shared(&a).take(&own, None).await.unwrap();
    let lane = take(&a, None).await.unwrap();
    let serves = BTreeSet::from(["eip155:84532".to_owned()]);
    shared(&a).record_serves(&serves).await.unwrap();
    shared(&b).record_serves(&serves).await.unwrap();
    let lease_of = async |unit: &str| {
        let leases = shared(&b).leases().await.unwrap();
        leases.into_iter().find(|lease| lease.unit == unit)
    };
    let seen = lease_of(&own).await.unwrap();
    assert_eq!(seen.serves.as_ref(), Some(&serves), "{name}");
    shared(&a).renew().await.unwrap();
    assert_eq!(shared(&b).remove_node(&seen).await, Ok(false), "it lives; {name}");
    let seen = lease_of(&own).await.unwrap();
    assert_eq!(seen.serves.as_ref(), Some(&serves), "{name}");
    assert_eq!(shared(&b).remove_node(&lane).await, Ok(false), "a lane; {name}");
    assert_eq!(shared(&b).remove_node(&seen).await, Ok(true), "{name}");
    assert_eq!(lease_of(&own).await, None, "{name}");
    assert_eq!(shared(&a).renew().await, Ok(vec![own]), "{name}");
    assert!(lease_of(UNIT).await.is_some(), "{name}");
}

/// Two nodes open the same claim: one of them does, also the one that does not own the unit.
pub async fn t01_two_nodes_open_a_claim_once(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    for round in 0..20_u64 {
        let claim = format!("claim {round}");
        let both = tokio::join!(
            a.commit(vec![homed(round * 2 + 1, &claim, true)]),
            b.commit(vec![homed(round * 2 + 2, &claim, true)]),
        );
        let results = [both.0, both.1];
        let opened = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(opened, 1, "{results:?}; {name}");
        assert!(
            results.contains(&Err(CommitError::ClaimTaken)),
            "{results:?}; {name}"
        );
    }
}

/// A node knows that another one plans a settlement of the same claim.
pub async fn a_node_learns_that_another_one_plans_the_same_claim(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    let is_announced = async |node: &Arc<dyn Journal>| shared(node).is_announced("claim|1").await.unwrap();
    assert!(!is_announced(&a).await, "{name}");
    shared(&a).announce("claim|1").await.unwrap();
    shared(&a).announce("claim|1").await.unwrap();
    shared(&a).announce("claim|10").await.unwrap();
    assert!(!is_announced(&a).await, "its own does not count; {name}");
    assert!(is_announced(&b).await, "{name}");
    shared(&b).announce("claim|1").await.unwrap();
    shared(&a).withdraw("claim|1").await.unwrap();
    assert!(is_announced(&a).await && !is_announced(&b).await, "{name}");
}

/// Nodes together take no more than the limit of a sum.
pub async fn t107_nodes_together_keep_a_limit(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    let (slice, limit) = (Amount::from(3_u64), Amount::from(10_u64));
    let mut taken = 0;
    for _ in 0..3 {
        let both = tokio::join!(
            shared(&a).take_grant("day 1", slice, limit),
            shared(&b).take_grant("day 1", slice, limit),
        );
        taken += u64::from(both.0.unwrap()) + u64::from(both.1.unwrap());
    }
    assert_eq!(taken, 3, "{name}");
    assert_eq!(
        shared(&b).take_grant("day 1", Amount::from(1_u64), limit).await,
        Ok(true),
        "{name}"
    );
    assert_eq!(
        shared(&b).take_grant("day 1", Amount::from(1_u64), limit).await,
        Ok(false),
        "{name}"
    );
    assert_eq!(
        shared(&b).take_grant("day 2", slice, limit).await,
        Ok(true),
        "{name}"
    );
    assert_eq!(shared(&a).remove_dead(9).await, Ok(0), "{name}");
    assert_eq!(
        shared(&b).take_grant("day 1", slice, limit).await,
        Ok(false),
        "{name}"
    );
}

/// What an operator sets is read by every node, and of two that change the same setting one does.
pub async fn t107_what_an_operator_sets_reaches_every_node(name: &str, [a, b]: [Arc<dyn Journal>; 2]) {
    assert_eq!(shared(&a).settings().await, Ok(BTreeMap::new()), "{name}");
    let put = async |node: &Arc<dyn Journal>, seen: Option<&str>, text: &str| {
        shared(node).put_setting("paused", seen, text).await
    };
    let both = tokio::join!(put(&a, None, "\u{e9} 1\n"), put(&b, None, "\u{e9} 1\n"));
    assert_eq!(u8::from(both.0.unwrap()) + u8::from(both.1.unwrap()), 1, "{name}");
    assert_eq!(put(&b, None, "2").await, Ok(false), "it is there; {name}");
    assert_eq!(put(&b, Some("0"), "2").await, Ok(false), "{name}");
    assert_eq!(put(&b, Some("\u{e9} 1\n"), "2").await, Ok(true), "{name}");
    assert_eq!(
        shared(&b).put_setting("other", None, "3").await,
        Ok(true),
        "{name}"
    );
    let settings = [("other", "3"), ("paused", "2")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    for node in [&a, &b] {
        assert_eq!(
            shared(node).settings().await,
            Ok(BTreeMap::from(settings.clone())),
            "{name}"
        );
    }
}

/// A plan that was made before another settlement used a conflict key is refused.
pub async fn a_plan_from_before_a_conflict_key_was_used_is_refused(
    name: &str,
    [a, b]: [Arc<dyn Journal>; 2],
) {
    let with_key = |id: u64, seen: BTreeMap<String, u64>| {
        let event = opened_with(id, &format!("c{id}"), |row, _, _| {
            row.home = Some("0xa".into());
            row.conflict_keys = vec!["payment".into()];
        });
        let Event::Opened(mut new) = event else {
            unreachable!()
        };
        new.keys_seen = Some(seen);
        Event::Opened(new)
    };
    let keys = ["payment".to_owned()];
    take(&a, None).await.unwrap();
    let before = b.freed_keys(&keys).await.unwrap();
    assert!(before.is_empty(), "{name}");
    a.commit(vec![
        with_key(1, before.clone()),
        prepared(2, 1, 5),
        paid(1, "log"),
        Event::KeysFreed { settlement: 1 },
    ])
    .await
    .unwrap();
    let taken = Err(CommitError::ConflictKeyTaken("payment".into()));
    assert_eq!(b.commit(vec![with_key(3, before)]).await, taken, "{name}");
    let now = b.freed_keys(&keys).await.unwrap();
    assert_eq!(now.get("payment"), Some(&1), "{name}");
    b.commit(vec![with_key(3, now.clone())]).await.unwrap();
    assert_eq!(a.commit(vec![with_key(4, now)]).await, taken, "{name}");
}

/// A release that another node has answered again can't be given back by the node that took it.
pub async fn law5_a_release_that_was_answered_again_is_not_given_back(
    name: &str,
    [a, b]: [Arc<dyn Journal>; 2],
) {
    take(&a, None).await.unwrap();
    a.commit(vec![
        homed(1, "c1", false),
        prepared(2, 1, 5),
        paid(1, "log"),
        released(1),
    ])
    .await
    .unwrap();
    let kept = |from, to| Event::ReleaseKept {
        settlement: 1,
        from,
        to,
    };
    let stale = |result| matches!(result, Err(CommitError::Stale(_)));
    assert!(stale(b.commit(vec![kept(RELEASE + 1, 9)]).await), "{name}");
    b.commit(vec![kept(RELEASE, 9)]).await.unwrap();
    assert!(stale(a.commit(vec![returned(1)]).await), "{name}");
    let row = a.settlement(1).await.unwrap().unwrap();
    assert_eq!(row.release.map(|release| release.number), Some(9), "{name}");
}
