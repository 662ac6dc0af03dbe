//! What transactions cost.

use std::sync::Arc;

use sdk_plugin::{Amount, StepIndex};

use super::super::*;
use super::{NETWORK, opened, paid, prepared};

fn fee_paid(attempt: u64, fee: u64) -> Event {
    Event::FeePaid {
        attempt,
        fee: Amount::from(fee),
        node: Some("main".into()),
    }
}

fn attempt(id: u64, sequence: u64, kind: AttemptKind, covers: &[u64]) -> Event {
    let Event::Prepared(mut new) = prepared(id, 0, sequence) else {
        panic!("an attempt");
    };
    new.row.kind = kind;
    new.row.covers = covers.iter().map(|id| (*id, StepIndex::FIRST)).collect();
    Event::Prepared(new)
}

async fn fee(journal: &dyn Journal, settlement: u64) -> Option<Amount> {
    let row = journal.settlement(settlement).await.unwrap().unwrap();
    costs::fee(&row)
}

async fn events(journal: &dyn Journal, settlement: u64) -> Vec<Happened> {
    let history = journal.history(settlement).await.unwrap();
    let fees = history.into_iter().map(|row| row.what);
    fees.filter(|what| matches!(what, Happened::FeePaid { .. }))
        .collect()
}

pub async fn a_fee_counts_once_for_each_slot_and_in_parts_for_several_settlements(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    let opened_three = (1..=3).map(|id| opened(id, &format!("c{id}")));
    journal.commit(opened_three.collect()).await.unwrap();
    let all = [1, 2, 3];
    journal
        .commit(vec![
            attempt(11, 0, AttemptKind::Steps, &all),
            attempt(12, 0, AttemptKind::Fill, &all),
        ])
        .await
        .unwrap();
    assert_eq!(fee(&*journal, 1).await, None, "{name}");
    for fee in [100, 8, 8] {
        journal.commit(vec![fee_paid(11, fee)]).await.unwrap();
    }
    let parts = async || {
        let mut parts = Vec::new();
        for id in all {
            parts.push(fee(&*journal, id).await.unwrap());
        }
        parts
    };
    let amounts = |fees: [u64; 3]| fees.map(Amount::from);
    assert_eq!(
        parts().await,
        amounts([4, 2, 2]),
        "{name}: they add up to the fee"
    );
    assert_eq!(events(&*journal, 2).await.len(), 2, "{name}: no event twice");
    // It turns out that the fill used the slot: only one of them can.
    journal.commit(vec![fee_paid(12, 9)]).await.unwrap();
    assert_eq!(parts().await, amounts([3, 3, 3]), "{name}");
    let row = journal.settlement(3).await.unwrap().unwrap();
    let [cost] = row.costs.as_slice() else {
        panic!("{name}: {:?}", row.costs)
    };
    assert_eq!(
        (cost.tx_id.as_str(), cost.kind, cost.fee, cost.settlements),
        ("0xt12", AttemptKind::Fill, Amount::from(9_u64), 3),
        "{name}"
    );
    // Another slot adds to it.
    journal
        .commit(vec![attempt(13, 1, AttemptKind::Fill, &[])])
        .await
        .unwrap();
    journal
        .commit(vec![fee_paid(13, 5), fee_paid(99, 1)])
        .await
        .unwrap();
    let spare =
        |from_ms, after, limit| read(&*journal, move |rows| costs::spare(rows, from_ms, after, limit));
    let found = spare(0, None, 9).await.unwrap();
    let [only] = found.as_slice() else {
        panic!("{name}: {found:?}")
    };
    assert_eq!(
        (only.network.as_str(), only.at_ms, only.cost.fee),
        (NETWORK, 2, Amount::from(5_u64)),
        "{name}"
    );
    assert_eq!(spare(3, None, 9).await.unwrap(), [], "{name}");
    assert_eq!(spare(2, None, 9).await.unwrap().len(), 1, "{name}");
    assert_eq!(spare(0, Some((2, 13)), 9).await.unwrap(), [], "{name}");
}

pub async fn what_a_reorganised_transaction_cost_no_longer_counts(name: &str, journal: Arc<dyn Journal>) {
    journal
        .commit(vec![opened(1, "c"), prepared(2, 1, 0)])
        .await
        .unwrap();
    journal
        .commit(vec![paid(1, "log"), fee_paid(2, 7)])
        .await
        .unwrap();
    assert_eq!(fee(&*journal, 1).await, Some(Amount::from(7_u64)), "{name}");
    let step = StepIndex::FIRST;
    journal
        .commit(vec![Event::Reorged { settlement: 1, step }])
        .await
        .unwrap();
    assert_eq!(fee(&*journal, 1).await, None, "{name}");
    journal
        .commit(vec![paid(1, "log"), fee_paid(2, 6)])
        .await
        .unwrap();
    assert_eq!(fee(&*journal, 1).await, Some(Amount::from(6_u64)), "{name}");
    // A row of an earlier version has no costs, and is read.
    let row = journal.settlement(1).await.unwrap().unwrap();
    let mut older = serde_json::to_value(&row).unwrap();
    older.as_object_mut().unwrap().remove("costs");
    let older: SettlementRow = serde_json::from_value(older).unwrap();
    assert_eq!(costs::fee(&older), None, "{name}");
}
