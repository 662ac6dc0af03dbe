//! What the journal says was spent, with every back end.

use sdk_plugin::Amount;

use super::conformance::{NETWORK, journals, opened_with, prepared};
use super::{Answer, Query, SpentRow};

#[tokio::test]
async fn t107_what_was_spent_is_counted_by_signer_and_tenants_each_place_once() {
    for (name, journal, _folder) in journals() {
        let settlements = [
            (1, 5, Some("shop")),
            (2, 6, Some("shop")),
            (3, 7, Some("cafe")),
            (4, 8, None),
        ];
        for (id, sequence, tenant) in settlements {
            let claim = format!("c{id}");
            let tenant = tenant.map(str::to_owned);
            let opened = opened_with(id, &claim, |row, _, _| row.tenant = tenant);
            journal
                .commit(vec![opened, prepared(100 + id, id, sequence)])
                .await
                .unwrap();
        }
        // A replacement in a place that is counted already.
        journal.commit(vec![prepared(200, 1, 5)]).await.unwrap();
        let spent = |network: &str, since_ms| Query::SpentSince {
            network: network.into(),
            since_ms,
        };
        let row = |tenants: &[&str], amount: u64| SpentRow {
            signer: "0xa".into(),
            tenants: tenants.iter().map(|tenant| (*tenant).to_owned()).collect(),
            amount: Amount::from(amount),
        };
        let all = Answer::Spent(vec![row(&[], 7), row(&["cafe"], 7), row(&["shop"], 14)]);
        assert_eq!(journal.query(spent(NETWORK, 0)).await, Ok(all), "{name}");
        for nothing in [spent(NETWORK, u64::MAX), spent("eip155:0", 0)] {
            assert_eq!(journal.query(nothing).await, Ok(Answer::Spent(vec![])), "{name}");
        }
    }
}
