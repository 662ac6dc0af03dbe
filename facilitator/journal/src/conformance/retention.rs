//! What is removed in time, and what stays.

use std::sync::Arc;

use sdk_plugin::StepIndex;

use super::super::*;
use super::{closed, opened, opened_with, paid, prepared, released};

const DAY_MS: u64 = 86_400_000;

fn end(settlement: u64, at_ms: u64) -> Vec<Event> {
    let step = StepIndex::FIRST;
    vec![
        Event::StepFinal { settlement, step },
        Event::KeysFreed { settlement },
        Event::Finished { settlement, at_ms },
    ]
}

/// Settlement 1 of the claim `evm|n|c`, with attempt 2 in slot 0: paid, released and finished at 1,000.
async fn finished(journal: &dyn Journal, replayable_until_s: Option<u64>) {
    let opened = opened_with(1, "evm|n|c", |row, _, _| {
        row.replayable_until_s = replayable_until_s;
        row.payload = "payload".into();
    });
    for events in [
        vec![opened, prepared(2, 1, 0)],
        vec![paid(1, "log"), released(1), closed(0, "0xt2")],
        end(1, 1_000),
    ] {
        journal.commit(events).await.unwrap();
    }
}

/// Carries out one stage for whatever is due.
async fn carry_out(journal: &dyn Journal, stage: Stage, before_ms: u64) -> usize {
    let due = journal.due_for(stage, before_ms, 9).await.unwrap();
    let number = due.len();
    journal.commit(vec![Event::Dropped { stage, due }]).await.unwrap();
    number
}

pub async fn what_is_old_is_removed_and_a_replay_is_refused_to_the_end(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    finished(&*journal, Some(5_000)).await;
    let step = StepIndex::FIRST;
    assert_eq!(carry_out(&*journal, Stage::Payloads, 1_001).await, 1, "{name}");
    assert_eq!(journal.bytes(2).await, Ok(None), "{name}");
    assert_eq!(journal.attempts_of(1, step).await.unwrap().len(), 1, "{name}");
    assert!(!journal.history(1).await.unwrap().is_empty(), "{name}");

    assert_eq!(carry_out(&*journal, Stage::Details, 1_001).await, 1, "{name}");
    assert_eq!(journal.attempts_of(1, step).await, Ok(vec![]), "{name}");
    assert_eq!(journal.history(1).await, Ok(vec![]), "{name}");
    let equal = journal.request("r").await.unwrap();
    assert!(
        equal.is_some(),
        "{name}: a plugin that fails may not know the claim"
    );
    assert_eq!(journal.spent_since(super::NETWORK, 0).await, Ok(vec![]), "{name}");
    let found = journal.find(&Reference::Transaction("0xt".into())).await.unwrap();
    assert_eq!(found.len(), 1, "{name}: it is still found");
    assert_eq!(
        journal
            .list(&Filter::default(), None, 9)
            .await
            .unwrap()
            .rows
            .len(),
        1,
        "{name}"
    );

    assert_eq!(carry_out(&*journal, Stage::Settlement, 1_001).await, 1, "{name}");
    let row = journal.claim("evm|n|c").await.unwrap().expect("the claim stays");
    assert_eq!(
        super::super::lookups::status(&row),
        base::settlement::SettlementStatus::Settled,
        "{name}"
    );
    assert!(
        row.release.is_some_and(|release| release.body.is_empty()),
        "{name}"
    );
    assert_eq!(
        journal.commit(vec![opened(3, "evm|n|c")]).await,
        Err(CommitError::ClaimTaken),
        "{name}: a replay"
    );
    assert_eq!(
        journal.find(&Reference::Claim("c".into())).await.unwrap().len(),
        1,
        "{name}"
    );
    assert_eq!(
        journal.list(&Filter::default(), None, 9).await.unwrap().rows,
        [],
        "{name}"
    );

    let with_its_payload = |id| opened_with(id, "evm|n|other", |row, _, _| row.payload = "payload".into());
    assert_eq!(
        journal.commit(vec![with_its_payload(7)]).await,
        Err(CommitError::PayloadClaimed("evm|n|c".into())),
        "{name}"
    );

    // A day later than the authorization could be presented again.
    let over_ms = 5_000_000 + DAY_MS;
    assert_eq!(carry_out(&*journal, Stage::Claim, over_ms).await, 0, "{name}");
    assert_eq!(carry_out(&*journal, Stage::Claim, over_ms + 1).await, 1, "{name}");
    assert_eq!(journal.claim("evm|n|c").await, Ok(None), "{name}");
    assert_eq!(journal.request("r").await, Ok(None), "{name}");
    journal.commit(vec![with_its_payload(7)]).await.unwrap();
    assert_eq!(
        journal.find(&Reference::Claim("c".into())).await,
        Ok(vec![]),
        "{name}"
    );
    assert_eq!(
        journal.find(&Reference::Transaction("0xt".into())).await,
        Ok(vec![]),
        "{name}"
    );
    assert_eq!(
        journal.lane_next(super::NETWORK, "0xa").await,
        Ok(Some(1)),
        "{name}"
    );
}

pub async fn nothing_is_removed_of_a_settlement_that_is_not_due(name: &str, journal: Arc<dyn Journal>) {
    finished(&*journal, None).await;
    journal
        .commit(vec![opened(5, "evm|n|open"), prepared(6, 5, 1)])
        .await
        .unwrap();
    let before = (
        journal.settlement(1).await,
        journal.history(1).await,
        journal.bytes(2).await,
    );
    for stage in Stage::ALL {
        // Not in the queue of this stage at this time, or not finished at all.
        let due = vec![(999, 1), (1_000, 5), (1_000, 77)];
        journal.commit(vec![Event::Dropped { stage, due }]).await.unwrap();
    }
    let after = (
        journal.settlement(1).await,
        journal.history(1).await,
        journal.bytes(2).await,
    );
    assert_eq!(after, before, "{name}");
    for (stage, number) in [
        (Stage::Settlement, 0),
        (Stage::Details, 0),
        (Stage::Payloads, 1),
        (Stage::Payloads, 0),
        (Stage::Details, 1),
        (Stage::Settlement, 1),
        // Its scheme names no time: the claim refuses a replay for ever.
        (Stage::Claim, 0),
    ] {
        let found = carry_out(&*journal, stage, u64::MAX).await;
        assert_eq!(found, number, "{name}: {stage:?}");
    }
    assert!(journal.claim("evm|n|c").await.unwrap().is_some(), "{name}");
    assert!(
        journal.bytes(6).await.unwrap().is_some(),
        "{name}: of the open one"
    );
}

pub async fn bytes_that_another_settlement_needs_stay(name: &str, journal: Arc<dyn Journal>) {
    let step = StepIndex::FIRST;
    let Event::Prepared(mut batch) = prepared(3, 1, 0) else {
        return;
    };
    batch.row.covers.push((2, step));
    journal
        .commit(vec![
            opened(1, "evm|n|a"),
            opened_with(2, "evm|n|b", |row, _, _| row.request = "r2".into()),
            Event::Prepared(batch),
        ])
        .await
        .unwrap();
    journal
        .commit(vec![paid(1, "log 1"), paid(2, "log 2")])
        .await
        .unwrap();
    journal.commit(end(1, 1_000)).await.unwrap();
    for stage in [Stage::Payloads, Stage::Details] {
        assert_eq!(carry_out(&*journal, stage, 1_001).await, 1, "{name}");
    }
    assert!(journal.bytes(3).await.unwrap().is_some(), "{name}");
    assert_eq!(journal.attempts_of(2, step).await.unwrap().len(), 1, "{name}");
    assert_eq!(open_slots(&*journal).await.unwrap().len(), 1, "{name}");
    journal
        .commit([vec![closed(0, "0xt3")], end(2, 1_000)].concat())
        .await
        .unwrap();
    for stage in [Stage::Payloads, Stage::Details] {
        assert_eq!(carry_out(&*journal, stage, 1_001).await, 1, "{name}");
    }
    assert_eq!(journal.bytes(3).await, Ok(None), "{name}");
    assert_eq!(journal.attempts_of(2, step).await, Ok(vec![]), "{name}");
}
