//! The life of one payment, from its claim to the day when its payload is dropped, and of one that failed.

use sdk_plugin::scheme::{Hold, Refusal};
use sdk_plugin::{HexBytes, StepIndex};

use super::*;

pub async fn a_payment_goes_its_way(name: &str, journal: Arc<dyn Journal>) {
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
    assert_eq!(journal.lane_next(NETWORK, "0xa").await, Ok(Some(6)), "{name}");
    let until = HeldRow {
        signer: "0xa".into(),
        until_s: 77,
    };
    assert_eq!(journal.held(NETWORK).await, Ok(vec![until]), "{name}");
    assert_eq!(
        journal.held("eip155").await,
        Ok(vec![]),
        "{name}: another network's"
    );
    assert_eq!(
        journal.bytes(attempt).await,
        Ok(Some(HexBytes(attempt.to_be_bytes().to_vec()))),
        "{name}"
    );
    let found = journal.unfinished_after(0, 9).await.unwrap();
    assert_eq!(found.len(), 1, "{name}");
    assert_eq!(found[0].1.as_deref(), Some("plan of c"), "{name}");
    assert_eq!(found[0].0.tx_id, Some(format!("0xt{attempt}")), "{name}");
    let slots = open_slots(&*journal).await.unwrap();
    assert_eq!(
        (slots.len(), slots[0].0.sequence, slots[0].1[0].id),
        (1, 5, attempt),
        "{name}"
    );
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
                step: StepIndex::FIRST,
            },
            Event::KeysFreed { settlement: id },
            Event::Finished {
                settlement: id,
                at_ms: 1_000,
            },
        ])
        .await
        .unwrap();
    assert_eq!(open_slots(&*journal).await.unwrap(), vec![], "{name}");
    assert_eq!(journal.unfinished_after(0, 9).await.unwrap(), vec![], "{name}");
    for (before_ms, kept) in [(1_000, true), (1_001, false)] {
        let due = journal.due_for(Stage::Payloads, before_ms, 9).await.unwrap();
        let drop = Event::Dropped {
            stage: Stage::Payloads,
            due,
        };
        journal.commit(vec![drop]).await.unwrap();
        let bytes = journal.bytes(attempt).await.unwrap();
        assert_eq!(bytes.is_some(), kept, "{name}");
    }
    assert!(
        settlement(&*journal, id).await.unwrap().release.is_some(),
        "{name}"
    );
}

/// The first step of settlement 1 reverted.
fn first_failed() -> Event {
    Event::Failed {
        settlement: 1,
        step: StepIndex::FIRST,
        refusal: Refusal::new("insufficient_funds", "0xb"),
        tx_id: "0xt".into(),
        proof: "reverted".into(),
    }
}

/// And that is final.
fn first_ended() -> [Event; 2] {
    [
        Event::StepFinal {
            settlement: 1,
            step: StepIndex::FIRST,
        },
        Event::Finished {
            settlement: 1,
            at_ms: 5,
        },
    ]
}

pub async fn a_claim_that_failed_for_good_opens_again(name: &str, journal: Arc<dyn Journal>) {
    journal
        .commit(vec![opened(1, "a"), prepared(2, 1, 0)])
        .await
        .unwrap();
    journal.commit(vec![first_failed()]).await.unwrap();
    let again = || opened_with(3, "a", |row, _, _| row.generation = 1);
    assert_eq!(
        journal.commit(vec![again()]).await,
        Err(CommitError::ClaimTaken),
        "{name}"
    );
    journal
        .commit(first_ended().into_iter().chain([again()]).collect())
        .await
        .unwrap();
    let row = journal.claim("a").await.unwrap().unwrap();
    assert_eq!((row.id, row.generation), (3, 1), "{name}");
}

pub async fn law5_a_payload_has_one_claim_until_that_has_failed_for_good(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    let opens = |id: u64, claim: &str, generation: u32| {
        opened_with(id, claim, |row, _, _| {
            row.payload = "hash".into();
            row.generation = generation;
        })
    };
    journal
        .commit(vec![opens(1, "a", 0), prepared(2, 1, 0)])
        .await
        .unwrap();
    let taken = |claim: &str| Err(CommitError::PayloadClaimed(claim.into()));
    assert_eq!(journal.commit(vec![opens(3, "b", 0)]).await, taken("a"), "{name}");
    // Not in one commit either.
    let other = |id, claim| opened_with(id, claim, |row, _, _| row.payload = "other".into());
    assert_eq!(
        journal.commit(vec![other(3, "c"), other(4, "d")]).await,
        taken("c"),
        "{name}"
    );
    journal.commit(vec![first_failed()]).await.unwrap();
    assert_eq!(journal.commit(vec![opens(3, "b", 0)]).await, taken("a"), "{name}");
    journal.commit(first_ended().into()).await.unwrap();
    journal.commit(vec![opens(3, "b", 0)]).await.unwrap();
    assert_eq!(journal.commit(vec![opens(4, "a", 1)]).await, taken("b"), "{name}");
    // Rows of an earlier version, and payloads that authorize nothing.
    let without = |id, claim| opened_with(id, claim, |row, _, _| row.payload = String::new());
    journal
        .commit(vec![without(5, "e"), without(6, "f")])
        .await
        .unwrap();
}

pub async fn law5_only_a_release_that_was_taken_can_be_given_back(name: &str, journal: Arc<dyn Journal>) {
    journal
        .commit(vec![opened(1, "a"), prepared(2, 1, 0), paid(1, "log 1")])
        .await
        .unwrap();
    let back = || vec![returned(1)];
    let refused = journal.commit(back()).await;
    assert!(
        matches!(refused, Err(CommitError::Stale(_))),
        "{name}: {refused:?}"
    );
    journal.commit(vec![released(1)]).await.unwrap();
    // For an answer that got lost before, while another caller has got the release since.
    let another = Event::ReleaseReturned {
        settlement: 1,
        number: 1,
    };
    let refused = journal.commit(vec![another]).await;
    assert!(
        matches!(refused, Err(CommitError::Stale(_))),
        "{name}: {refused:?}"
    );
    journal.commit(back()).await.unwrap();
    let again = journal.commit(back()).await;
    assert!(matches!(again, Err(CommitError::Stale(_))), "{name}: {again:?}");
    journal.commit(vec![released(1)]).await.unwrap();
}

async fn withheld(journal: &dyn Journal) -> Vec<u64> {
    let rows = journal.withheld().await.unwrap();
    rows.iter().map(|(row, _)| row.id).collect()
}

pub async fn law5_a_withheld_release_can_not_be_taken_before_it_is_allowed(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    // Paid; open; released; failed for good; started later.
    let failed = Event::Failed {
        settlement: 7,
        step: StepIndex::FIRST,
        refusal: Refusal::new("insufficient_funds", "0xb"),
        tx_id: "0xt".into(),
        proof: "reverted".into(),
    };
    let last = Event::StepFinal {
        settlement: 7,
        step: StepIndex::FIRST,
    };
    let finished = Event::Finished {
        settlement: 7,
        at_ms: 5,
    };
    journal
        .commit(vec![
            opened(1, "a"),
            prepared(2, 1, 0),
            paid(1, "log 1"),
            opened(3, "b"),
            prepared(4, 3, 1),
            opened(5, "c"),
            prepared(6, 5, 2),
            paid(5, "log 2"),
            released(5),
            opened(7, "d"),
            prepared(8, 7, 3),
            failed,
            last,
            finished,
            opened(9, "e"),
        ])
        .await
        .unwrap();
    let withhold = Event::ReleasesWithheld {
        up_to_id: 8,
        why: "an old copy".into(),
        at_ms: 77,
    };
    journal.commit(vec![withhold.clone()]).await.unwrap();
    assert_eq!(withheld(&*journal).await, [1, 3], "{name}");
    for events in [vec![released(1)], vec![paid(3, "log 3"), released(3)]] {
        let refused = journal.commit(events).await;
        assert!(
            matches!(&refused, Err(CommitError::Stale(why)) if why.contains("withheld")),
            "{name}: {refused:?}"
        );
    }
    journal.commit(vec![paid(3, "log 3")]).await.unwrap();
    let allow = |settlements| vec![Event::ReleasesAllowed { settlements }];
    journal.commit(allow(vec![3, 4_711])).await.unwrap();
    assert_eq!(withheld(&*journal).await, [1], "{name}");
    journal.commit(vec![released(3)]).await.unwrap();
    journal.commit(allow(vec![1])).await.unwrap();
    // The same reason again shows no other copy; another reason does.
    journal.commit(vec![withhold]).await.unwrap();
    assert!(withheld(&*journal).await.is_empty(), "{name}");
    let another = Event::ReleasesWithheld {
        up_to_id: 8,
        why: "another copy".into(),
        at_ms: 78,
    };
    journal.commit(vec![another]).await.unwrap();
    assert_eq!(withheld(&*journal).await, [1], "{name}");
    journal.commit(allow(vec![1])).await.unwrap();
    journal.commit(vec![released(1)]).await.unwrap();
}

pub async fn the_nonce_after_the_highest_closed_slot_is_known_for_each_lane(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    let closed_below = async |signer: &str| journal.closed_below(NETWORK, signer).await.unwrap();
    assert_eq!(closed_below("0xa").await, None, "{name}");
    for (settlement, sequence) in [(1, 3), (3, 4), (5, 6)] {
        let opened = opened(settlement, &settlement.to_string());
        let prepared = prepared(settlement + 1, settlement, sequence);
        journal.commit(vec![opened, prepared]).await.unwrap();
    }
    assert_eq!(closed_below("0xa").await, None, "{name}: all are open");
    journal
        .commit(vec![paid(3, "log 1"), closed(4, "0xt")])
        .await
        .unwrap();
    assert_eq!(closed_below("0xa").await, Some(5), "{name}");
    assert_eq!(closed_below("0xb").await, None, "{name}");
}

/// Slots of transactions that clients have signed are a signer's too, and use none of its sequences.
pub async fn a_client_s_transaction_has_a_slot_beside_the_sequences_of_its_lane(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    let beside = CLIENT_SIGNED_FROM + 7;
    for (settlement, sequence) in [(1, 3), (3, beside)] {
        let opened = opened(settlement, &settlement.to_string());
        let prepared = prepared(settlement + 1, settlement, sequence);
        journal.commit(vec![opened, prepared]).await.unwrap();
    }
    assert_eq!(journal.lane_next(NETWORK, "0xa").await, Ok(Some(4)), "{name}");
    let open = async || {
        let slots = open_slots_of(&*journal, NETWORK, "0xa").await.unwrap();
        slots.iter().map(|(slot, _)| slot.sequence).collect::<Vec<_>>()
    };
    assert_eq!(open().await, [3, beside], "{name}");
    journal
        .commit(vec![paid(3, "log 1"), closed(beside, "0xt")])
        .await
        .unwrap();
    assert_eq!(open().await, [3], "{name}");
    assert_eq!(journal.closed_below(NETWORK, "0xa").await, Ok(None), "{name}");
    assert_eq!(journal.lane_next(NETWORK, "0xa").await, Ok(Some(4)), "{name}");
}

pub async fn the_highest_final_block_is_known_for_each_network(name: &str, journal: Arc<dyn Journal>) {
    journal
        .commit(vec![opened(1, "a"), prepared(2, 1, 0), paid(1, "log 1")])
        .await
        .unwrap();
    assert_eq!(
        journal.final_height(NETWORK).await,
        Ok(None),
        "{name}: not final yet"
    );
    let last = Event::StepFinal {
        settlement: 1,
        step: StepIndex::FIRST,
    };
    journal.commit(vec![last]).await.unwrap();
    assert_eq!(journal.final_height(NETWORK).await, Ok(Some(50)), "{name}");
    assert_eq!(journal.final_height("eip155:1").await, Ok(None), "{name}");
}
