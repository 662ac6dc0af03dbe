//! What settlements are found by, and what is known of each.

use std::sync::Arc;

use sdk_plugin::{Amount, StepIndex};

use super::super::*;
use super::{NETWORK, opened_with, paid, prepared, released};

fn named(id: u64, change: impl FnOnce(&mut SettlementRow)) -> Event {
    opened_with(id, &format!("evm|{NETWORK}|0xC{id}"), |row, _, _| {
        row.reference = format!("ref{id}");
        row.pay_to = "0xAbCd".into();
        row.asset = "0xu5d".into();
        row.amount = Some(Amount::from(500u64));
        row.opened_at_ms = 100 + id;
        change(row);
    })
}

fn ids(rows: &[SettlementRow]) -> Vec<u64> {
    rows.iter().map(|row| row.id).collect()
}

pub async fn a_settlement_is_found_by_everything_that_names_it(name: &str, journal: Arc<dyn Journal>) {
    let keyed = |row: &mut SettlementRow| {
        row.tenant = Some("shop".into());
        row.idempotency_key = Some("order|7".into());
    };
    journal
        .commit(vec![named(1, keyed), named(2, |_| {})])
        .await
        .unwrap();
    journal.commit(vec![prepared(3, 1, 0)]).await.unwrap();
    journal.commit(vec![paid(1, "log")]).await.unwrap();
    let by = |tenant: Option<&str>, key: &str| Reference::IdempotencyKey {
        tenant: tenant.map(str::to_owned),
        key: key.into(),
    };
    for (reference, expected) in [
        (Reference::Id("ref1".into()), vec![1]),
        (Reference::Id("ref".into()), vec![]),
        (Reference::Claim(format!("evm|{NETWORK}|0xc1")), vec![]),
        (Reference::Claim(format!("evm|{NETWORK}|0xC1")), vec![1]),
        // The scheme's own key; hex has no case.
        (Reference::Claim("0xc1".into()), vec![1]),
        (Reference::Transaction("0xt3".into()), vec![1]),
        (Reference::Transaction("0xt".into()), vec![1]),
        (Reference::Transaction("0x".into()), vec![]),
        (by(Some("shop"), "order|7"), vec![1]),
        (by(Some("shop"), "order"), vec![]),
        (by(None, "order|7"), vec![]),
    ] {
        let found = journal.find(&reference).await.unwrap();
        assert_eq!(ids(&found), expected, "{name}: {reference:?}");
    }
    let row = journal.settlement(1).await.unwrap().unwrap();
    assert_eq!(
        super::super::lookups::status(&row),
        base::settlement::SettlementStatus::Settled,
        "{name}"
    );
    assert_eq!(lookups::amount(&row), Some(Amount::from(500u64)), "{name}");
}

pub async fn a_list_has_the_newest_first_and_continues_after_its_cursor(
    name: &str,
    journal: Arc<dyn Journal>,
) {
    for id in 1..=600 {
        let opened = named(id, |row| {
            row.tenant = id.is_multiple_of(2).then(|| "shop".into());
            row.payer = if id.is_multiple_of(3) { "0xEE" } else { "0xF" }.into();
        });
        journal.commit(vec![opened]).await.unwrap();
    }
    journal
        .commit(vec![prepared(700, 4, 0), paid(4, "log")])
        .await
        .unwrap();
    let shop = Filter {
        tenant: Some(Some("shop".into())),
        ..Filter::default()
    };
    let of_payer = Filter {
        payer: Some("0xee".into()),
        ..shop.clone()
    };
    let settled = Filter {
        status: Some(base::settlement::SettlementStatus::Settled),
        ..shop.clone()
    };
    let between = Filter {
        from_ms: Some(110),
        to_ms: Some(116),
        pay_to: Some("0xabcd".into()),
        ..Filter::default()
    };
    let all = |step: u64| {
        (1..=600)
            .rev()
            .filter(|id: &u64| id.is_multiple_of(step))
            .collect()
    };
    for (filter, limit, expected) in [
        (&Filter::default(), 7, all(1)),
        (&shop, 300, all(2)),
        (&of_payer, 11, all(6)),
        (&settled, 5, vec![4]),
        (&between, 2, vec![15, 14, 13, 12, 11, 10]),
    ] {
        let (mut found, mut cursor): (Vec<u64>, Option<String>) = (Vec::new(), None);
        loop {
            let page = journal.list(filter, cursor.as_deref(), limit).await.unwrap();
            assert!(page.rows.len() <= limit, "{name}");
            found.extend(ids(&page.rows));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{name}: {filter:?}");
    }
    for hostile in ["", "|", "1|2", "00000000000000000001|0000000000000000000x"] {
        assert!(
            journal.list(&shop, Some(hostile), 9).await.is_err(),
            "{name}: {hostile:?}"
        );
    }
}

pub async fn the_history_of_a_payment_has_every_event_in_order(name: &str, journal: Arc<dyn Journal>) {
    let step = StepIndex::FIRST;
    for events in [
        vec![named(1, |_| {}), prepared(2, 1, 0)],
        vec![Event::Sent { attempt: 2 }],
        vec![paid(1, "log"), released(1)],
        vec![Event::StepFinal { settlement: 1, step }],
        vec![
            Event::KeysFreed { settlement: 1 },
            Event::Finished {
                settlement: 1,
                at_ms: 9,
            },
        ],
        // It is refused, and leaves nothing.
        vec![Event::StepFinal { settlement: 1, step }, paid(1, "log")],
    ] {
        let _ = journal.commit(events).await;
    }
    let history = journal.history(1).await.unwrap();
    let events: Vec<String> = history
        .iter()
        .map(|row| {
            serde_json::to_value(row).unwrap()["event"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let expected = [
        "opened",
        "prepared",
        "sent",
        "paid",
        "released",
        "stepFinal",
        "finished",
    ];
    assert_eq!(events, expected, "{name}");
    let Some(Happened::Prepared {
        transaction,
        sequence,
        ..
    }) = history.get(1).map(|row| row.what.clone())
    else {
        panic!("{name}: {history:?}")
    };
    assert_eq!((transaction.as_str(), sequence), ("0xt2", 0), "{name}");
    assert_eq!(journal.history(2).await.unwrap(), [], "{name}");
}
