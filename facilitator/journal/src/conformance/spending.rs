//! What the journal reports as spent: the worst-case cost of recorded transactions.

use sdk_plugin::Amount;

use super::*;

/// Replacements in one slot count once.
pub async fn t107_what_was_spent_is_counted_by_signer_and_tenants_each_place_once(
    name: &str,
    journal: Arc<dyn Journal>,
) {
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
    // A replacement in a slot that is counted already.
    journal.commit(vec![prepared(200, 1, 5)]).await.unwrap();
    let row = |tenants: &[&str], amount: u64| SpentRow {
        signer: "0xa".into(),
        tenants: tenants.iter().map(|tenant| ((*tenant).to_owned(), 1)).collect(),
        steps: 1,
        amount: Amount::from(amount),
    };
    let all = vec![row(&[], 7), row(&["cafe"], 7), row(&["shop"], 14)];
    assert_eq!(journal.spent_since(NETWORK, 0).await, Ok(all), "{name}");
    for (network, since_ms) in [(NETWORK, u64::MAX), ("eip155:0", 0)] {
        assert_eq!(journal.spent_since(network, since_ms).await, Ok(vec![]), "{name}");
    }
}
