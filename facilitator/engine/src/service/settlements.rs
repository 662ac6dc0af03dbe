//! What became of payments: look-ups in the journal, without RPC calls.

use std::collections::BTreeMap;

use base::settlement::{
    FoundSettlement, LookUpError, SettlementName, SettlementPage, SettlementQuery, SettlementRecord,
};
use journal::{Filter, Journal, JournalError, Reference, SettlementRow, lookups};

use crate::decide::record::record;

/// The tenant's settlements that the name finds.
pub(super) async fn find(
    journal: &dyn Journal,
    tenant: Option<&str>,
    name: &SettlementName,
) -> Result<Vec<FoundSettlement>, LookUpError> {
    let mut own: BTreeMap<u64, (SettlementRow, bool)> = BTreeMap::new();
    for (reference, by_transaction) in references(tenant, name) {
        let mut rows = journal.find(&reference).await.map_err(unreadable)?;
        rows.retain(|row| row.tenant.as_deref() == tenant);
        for row in named_by(&reference, rows) {
            // What only its callers know comes first.
            own.entry(row.id).or_insert((row, by_transaction));
        }
    }
    let mut found = Vec::new();
    for (row, by_transaction) in own.into_values() {
        found.push(FoundSettlement {
            record: record_of(journal, &row).await?,
            by_transaction,
        });
    }
    Ok(found)
}

/// An id and a transaction name a settlement, a claim and a key name an authorization: of one that was opened again after a
/// failure, the newest settlement counts.
fn named_by(reference: &Reference, rows: Vec<SettlementRow>) -> Vec<SettlementRow> {
    match reference {
        Reference::Id(_) | Reference::Transaction(_) => rows,
        Reference::Claim(_) | Reference::IdempotencyKey { .. } => {
            let mut newest: BTreeMap<String, SettlementRow> = BTreeMap::new();
            for row in rows {
                let known = newest.get(&row.claim);
                if known.is_none_or(|known| known.generation < row.generation) {
                    newest.insert(row.claim.clone(), row);
                }
            }
            newest.into_values().collect()
        }
    }
}

/// Everything that a name can be, and whether that is a transaction.
fn references(tenant: Option<&str>, name: &SettlementName) -> Vec<(Reference, bool)> {
    match name {
        SettlementName::Any(name) => vec![
            (Reference::Id(name.clone()), false),
            (Reference::Claim(name.clone()), false),
            (Reference::Transaction(name.clone()), true),
        ],
        SettlementName::IdempotencyKey(key) => {
            let (tenant, key) = (tenant.map(str::to_owned), key.clone());
            vec![(Reference::IdempotencyKey { tenant, key }, false)]
        }
    }
}

async fn record_of(journal: &dyn Journal, row: &SettlementRow) -> Result<SettlementRecord, LookUpError> {
    let newest = if lookups::status(row).may_pay_again() {
        journal.claim(&row.claim).await.map_err(unreadable)?
    } else {
        None
    };
    Ok(record(row, newest.as_ref()))
}

/// One page of a tenant's settlements.
pub(super) async fn list(
    journal: &dyn Journal,
    query: &SettlementQuery,
) -> Result<SettlementPage, LookUpError> {
    let filter = Filter {
        tenant: Some(Some(query.tenant.clone())),
        payer: query.payer.clone(),
        pay_to: query.pay_to.clone(),
        from_ms: query.from_ms,
        to_ms: query.to_ms,
        status: query.status,
    };
    let cursor = match &query.cursor {
        Some(cursor) => Some(cursor_of(journal, &query.tenant, cursor).await?),
        None => None,
    };
    let page = journal
        .list(&filter, cursor.as_deref(), query.limit)
        .await
        .map_err(unreadable)?;
    let mut records = Vec::new();
    for row in &page.rows {
        records.push(record_of(journal, row).await?);
    }
    let cursor = match page.cursor {
        Some(cursor) => Some(public_cursor(journal, cursor).await?),
        None => None,
    };
    Ok(SettlementPage { records, cursor })
}

/// A cursor for callers: the id of the last settlement that was read. The journal's own cursor shows how many settlements
/// all tenants have together; it is used where that settlement is of an earlier version and has no id.
async fn public_cursor(journal: &dyn Journal, cursor: String) -> Result<String, LookUpError> {
    let Some(id) = cursor.split_once('|').and_then(|(_, id)| id.parse().ok()) else {
        return Ok(cursor);
    };
    let row = journal.settlement(id).await.map_err(unreadable)?;
    Ok(match row {
        Some(row) if !row.reference.is_empty() => row.reference,
        Some(_) | None => cursor,
    })
}

/// The journal's cursor.
async fn cursor_of(journal: &dyn Journal, tenant: &str, cursor: &str) -> Result<String, LookUpError> {
    if lookups::is_cursor(cursor) {
        return Ok(cursor.to_owned());
    }
    let reference = Reference::Id(cursor.to_owned());
    let rows = journal.find(&reference).await.map_err(unreadable)?;
    let own = rows.iter().find(|row| row.tenant.as_deref() == Some(tenant));
    own.map(lookups::cursor_at).ok_or(LookUpError::UnknownCursor)
}

fn unreadable(error: JournalError) -> LookUpError {
    tracing::error!(%error, "look_up_failed");
    LookUpError::Unavailable
}

#[cfg(test)]
mod tests {
    use base::settlement::SettlementStatus;
    use journal::memory::MemoryJournal;
    use journal::testkit::{opened_with, paid, prepared};

    use super::*;

    /// Settlements 1, 3, 5 of the shop and 2, 4 of another tenant, all of one payer. Settlement 1 has paid.
    async fn journal() -> MemoryJournal {
        let journal = MemoryJournal::default();
        for id in 1..=5 {
            let opened = opened_with(id, &format!("evm|eip155:84532|0xC{id}"), |row, _, _| {
                row.tenant = Some(if id % 2 == 1 { "shop" } else { "other" }.to_owned());
                row.idempotency_key = Some(format!("order {id}"));
                row.reference = journal.reference(id);
                row.opened_at_ms = 100 + id;
            });
            journal.commit(vec![opened]).await.unwrap();
            journal.commit(vec![prepared(10 + id, id, id)]).await.unwrap();
        }
        journal.commit(vec![paid(1, "log")]).await.unwrap();
        journal
    }

    fn any(name: &str) -> SettlementName {
        SettlementName::Any(name.to_owned())
    }

    fn query(cursor: Option<String>) -> SettlementQuery {
        SettlementQuery {
            tenant: "shop".into(),
            status: None,
            payer: Some("0xB".into()),
            pay_to: None,
            from_ms: None,
            to_ms: None,
            limit: 2,
            cursor,
        }
    }

    #[tokio::test]
    async fn t167_only_its_own_tenant_finds_a_settlement() {
        let journal = journal().await;
        let id = journal.reference(1);
        for (name, by_transaction) in [
            (any(&id), false),
            (any("0xC1"), false),
            (any("0xc1"), false),
            (any("evm|eip155:84532|0xC1"), false),
            (any("0xt11"), true),
            (SettlementName::IdempotencyKey("order 1".into()), false),
        ] {
            let found = find(&journal, Some("shop"), &name).await.unwrap();
            let [found] = found.as_slice() else {
                panic!("{name:?}: {found:?}");
            };
            assert_eq!(
                (&found.record.id, found.by_transaction),
                (&id, by_transaction),
                "{name:?}"
            );
            assert_eq!(found.record.status, SettlementStatus::Settled);
            for tenant in [Some("other"), Some("sho"), Some(""), None] {
                assert_eq!(
                    find(&journal, tenant, &name).await,
                    Ok(vec![]),
                    "{tenant:?} {name:?}"
                );
            }
        }
        for unknown in ["", "0x", "0xC9", "evm", "order 1"] {
            assert_eq!(
                find(&journal, Some("shop"), &any(unknown)).await,
                Ok(vec![]),
                "{unknown}"
            );
        }
    }

    #[tokio::test]
    async fn t167_a_list_and_its_cursor_show_nothing_of_other_tenants() {
        let journal = journal().await;
        let first = list(&journal, &query(None)).await.unwrap();
        let ids = |page: &SettlementPage| -> Vec<String> {
            page.records.iter().map(|record| record.id.clone()).collect()
        };
        assert_eq!(ids(&first), [journal.reference(5), journal.reference(3)]);
        // The cursor is the id of a settlement of this tenant, not a number that counts those of all tenants.
        assert_eq!(first.cursor, Some(journal.reference(3)));
        let second = list(&journal, &query(first.cursor)).await.unwrap();
        assert_eq!((ids(&second), second.cursor), (vec![journal.reference(1)], None));
        for foreign in [
            journal.reference(2),
            journal.reference(9),
            "x".into(),
            String::new(),
        ] {
            let refused = list(&journal, &query(Some(foreign))).await;
            assert_eq!(refused, Err(LookUpError::UnknownCursor));
        }
        let pending = SettlementQuery {
            status: Some(SettlementStatus::Settled),
            ..query(None)
        };
        assert_eq!(
            ids(&list(&journal, &pending).await.unwrap()),
            [journal.reference(1)]
        );
    }

    #[test]
    fn a_claim_and_a_key_name_the_newest_settlement_of_an_authorization() {
        let row = |id: u64, claim: &str, generation: u32| {
            let change = |row: &mut SettlementRow| row.generation = generation;
            match opened_with(id, claim, |row, _, _| change(row)) {
                journal::Event::Opened(new) => new.row,
                other => panic!("{other:?}"),
            }
        };
        let rows = || vec![row(1, "a", 0), row(2, "b", 0), row(3, "a", 1)];
        let ids = |reference: &Reference| -> Vec<u64> {
            named_by(reference, rows()).iter().map(|row| row.id).collect()
        };
        let key = Reference::IdempotencyKey {
            tenant: None,
            key: "k".into(),
        };
        for (reference, expected) in [
            (Reference::Claim("a".into()), &[3, 2][..]),
            (key, &[3, 2]),
            (Reference::Transaction("0xt".into()), &[1, 2, 3]),
            (Reference::Id("i".into()), &[1, 2, 3]),
        ] {
            assert_eq!(ids(&reference), expected, "{reference:?}");
        }
    }

    #[tokio::test]
    async fn one_transaction_of_several_payments_shows_those_of_the_caller() {
        let journal = MemoryJournal::default();
        for (id, tenant) in [(1, "shop"), (2, "other"), (3, "shop")] {
            let opened = opened_with(id, &format!("c{id}"), |row, _, _| {
                row.tenant = Some(tenant.to_owned());
                row.tx_id = None;
            });
            journal.commit(vec![opened]).await.unwrap();
            let mut paid = paid(id, &format!("log{id}"));
            if let journal::Event::Paid { tx_id, .. } = &mut paid {
                *tx_id = "0xbatch".into();
            }
            journal
                .commit(vec![prepared(10 + id, id, id), paid])
                .await
                .unwrap();
        }
        for (tenant, count) in [("shop", 2), ("other", 1), ("none", 0)] {
            let found = find(&journal, Some(tenant), &any("0xbatch")).await.unwrap();
            assert_eq!(found.len(), count, "{tenant}");
            assert!(found.iter().all(|found| found.record.transaction == "0xbatch"));
        }
    }
}
