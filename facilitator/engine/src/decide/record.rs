//! What callers and operators see of a settlement's row. Pure.

use base::settlement::{SettlementRecord, SettlementStatus};
use journal::{Outcome, SettlementRow, costs, lookups};
use sdk_plugin::scheme::Refusal;

/// After which time a caller polls again while a settlement is pending, in milliseconds.
const RETRY_AFTER_MS: u64 = 2_000;

/// The record of a settlement. `newest`: the newest settlement of the same claim. A claim that failed may have been opened
/// again, and then the payer may pay again only if the newest one failed too.
#[must_use]
pub fn record(row: &SettlementRow, newest: Option<&SettlementRow>) -> SettlementRecord {
    let status = lookups::status(row);
    let refusal = refusal(row);
    SettlementRecord {
        id: row.reference.clone(),
        status,
        may_pay_again: may_pay_again(row, newest),
        transaction: transaction(row).to_owned(),
        network: row.network.clone(),
        scheme: row.scheme.clone(),
        payer: row.payer.clone(),
        pay_to: row.pay_to.clone(),
        asset: row.asset.clone(),
        amount: lookups::amount(row),
        fee: costs::fee(row),
        error_reason: refusal.map(|refusal| refusal.reason.clone()),
        error_message: refusal.and_then(|refusal| refusal.message.clone()),
        released: row.release.is_some(),
        created_at_ms: row.opened_at_ms,
        // 0 in rows of an earlier version.
        updated_at_ms: row.updated_at_ms.max(row.opened_at_ms),
        expires_at_s: row.expires_at_s,
        retry_after_ms: (status == SettlementStatus::Pending).then_some(RETRY_AFTER_MS),
    }
}

fn may_pay_again(row: &SettlementRow, newest: Option<&SettlementRow>) -> bool {
    // Until it is final, a failure can be undone: a transaction that reverted may succeed in another block.
    let may = |row: &SettlementRow| lookups::status(row).may_pay_again() && row.paid_is_final();
    may(row) && newest.is_none_or(|newest| newest.id == row.id || may(newest))
}

/// The transaction that decided the settlement; until then, or without one, its newest. Empty: it has none.
fn transaction(row: &SettlementRow) -> &str {
    let decided = match &row.outcome {
        Outcome::Open => "",
        // A payment that needed no transaction has an empty one.
        Outcome::Paid(paid) => return &paid.tx_id,
        Outcome::Failed { tx_id, .. } | Outcome::Reversed { tx_id, .. } => tx_id,
    };
    if decided.is_empty() {
        row.tx_id.as_deref().unwrap_or_default()
    } else {
        decided
    }
}

fn refusal(row: &SettlementRow) -> Option<&Refusal> {
    match &row.outcome {
        Outcome::Open | Outcome::Paid(_) => None,
        Outcome::Failed { refusal, .. } => Some(refusal),
        Outcome::Reversed { refusal, .. } => refusal.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use journal::testkit::opened_with;
    use journal::{Event, GroundAt, PaidRow, Release, StepState};
    use sdk_plugin::Amount;
    use sdk_plugin::scheme::PaidReply;

    use super::*;

    fn row(change: impl FnOnce(&mut SettlementRow)) -> SettlementRow {
        let event = opened_with(7, "evm|eip155:84532|0xc", |row, _, _| {
            row.reference = "ref".into();
            row.amount = Some(Amount::from(500_u64));
            row.tx_id = Some("0xnewest".into());
            row.expires_at_s = Some(60);
            row.opened_at_ms = 5;
            row.updated_at_ms = 100_000;
            change(row);
        });
        match event {
            Event::Opened(new) => new.row,
            other => panic!("{other:?}"),
        }
    }

    fn failed(tx_id: &str) -> Outcome {
        Outcome::Failed {
            refusal: Refusal::new("used", "0xb").with_message("why"),
            tx_id: tx_id.into(),
            proof: "the nonce is used".into(),
        }
    }

    fn paid(tx_id: &str, amount: Option<Amount>) -> Outcome {
        Outcome::Paid(PaidRow {
            tx_id: tx_id.into(),
            height: 50,
            items: vec!["log".into()],
            reply: PaidReply {
                amount,
                ..PaidReply::default()
            },
            repeatable: false,
        })
    }

    #[test]
    fn a_record_follows_the_outcome() {
        let reversed = Outcome::Reversed {
            tx_id: "0xgone".into(),
            proof: "its nonce is used".into(),
            refusal: None,
        };
        for (outcome, status, again, transaction) in [
            (Outcome::Open, SettlementStatus::Pending, false, "0xnewest"),
            (paid("0xpaid", None), SettlementStatus::Settled, false, "0xpaid"),
            (paid("", None), SettlementStatus::Settled, false, ""),
            (failed("0xreverted"), SettlementStatus::Failed, true, "0xreverted"),
            // Nothing landed, after the end of the authorization.
            (failed(""), SettlementStatus::Expired, true, "0xnewest"),
            (reversed, SettlementStatus::Reversed, true, "0xgone"),
        ] {
            let mut row = row(|row| row.outcome = outcome);
            let not_final = record(&row, Some(&row));
            assert!(!not_final.may_pay_again, "{status:?}: it can still be undone");
            row.finished = true;
            let record = record(&row, Some(&row));
            assert_eq!(
                (record.status, record.may_pay_again, record.transaction.as_str()),
                (status, again, transaction)
            );
            let is_pending = status == SettlementStatus::Pending;
            assert_eq!(record.retry_after_ms.is_some(), is_pending, "{status:?}");
            assert_eq!(
                (record.created_at_ms, record.updated_at_ms, record.expires_at_s),
                (5, 100_000, Some(60))
            );
        }
        let record = record(&row(|row| row.outcome = failed("0xreverted")), None);
        assert_eq!(record.error_reason.as_deref(), Some("used"));
        assert_eq!(record.error_message.as_deref(), Some("why"));
    }

    #[test]
    fn t168_without_proof_a_settlement_is_never_failed() {
        // Past its end, reverted as one node says, or without any transaction that a node shows: the outcome is open.
        let mut open = row(|row| row.updated_at_ms = 10_000_000);
        open.steps[0].ground = Some(journal::Ground {
            attempt: 1,
            at: GroundAt::Block("0xblock".into()),
            height: 9,
            foreign: None,
            reverted: true,
        });
        let mut unexplained = row(|_| {});
        unexplained.steps[0].state = StepState::Unexplained { height: 9 };
        for (row, status) in [
            (&open, SettlementStatus::Pending),
            (&unexplained, SettlementStatus::Unknown),
        ] {
            let record = record(row, Some(row));
            assert_eq!((record.status, record.may_pay_again), (status, false));
            assert_eq!(record.error_reason, None);
        }
    }

    #[test]
    fn t168_the_payer_may_not_pay_again_while_the_claim_is_open_again() {
        let old = row(|row| {
            row.outcome = failed("0xreverted");
            row.finished = true;
        });
        for (outcome, is_final, again) in [
            (Outcome::Open, false, false),
            (paid("0xpaid", None), true, false),
            (failed("0xreverted"), false, false),
            (failed("0xreverted"), true, true),
        ] {
            let newest = row(|row| {
                row.id = 8;
                row.generation = 1;
                row.outcome = outcome;
                row.finished = is_final;
            });
            let record = record(&old, Some(&newest));
            assert_eq!(
                (record.status, record.may_pay_again),
                (SettlementStatus::Failed, again)
            );
        }
    }

    #[test]
    fn the_amount_is_what_was_paid_and_a_release_is_shown() {
        let paid = row(|row| {
            row.outcome = paid("0xpaid", Some(Amount::from(3_u64)));
            row.release = Some(Release {
                number: 1,
                tenant: None,
                idempotency_key: None,
                body: "{}".into(),
                at_ms: 9,
            });
        });
        let record = record(&paid, None);
        assert_eq!(
            (record.amount, record.released),
            (Some(Amount::from(3_u64)), true)
        );
        // A row of an earlier version has no time of change.
        let older = row(|row| row.updated_at_ms = 0);
        assert_eq!(super::record(&older, None).updated_at_ms, 5);
    }
}
