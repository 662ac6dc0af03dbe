//! Releases that no caller gets: the journal may be older than the answers that callers got.

use super::change::put;
use super::keys::id_key;
use super::overlay::Overlay;
use super::queries::{decode, get};
use super::row::{Outcome, SettlementRow, WithheldRow};
use super::{CommitError, JournalError, Rows, Table};

/// Settlements read at once.
const PAGE: usize = 1_000;
/// Keys of withheld releases begin with this; the settlement's id follows.
const RELEASE: &str = "release|";
/// Keys of reasons begin with this; the reason follows.
const REASON: &str = "reason|";

/// Withholds the release of every settlement up to this id that is unreleased and not failed for good. Only once for
/// each reason: the same reason again shows no new copy, and what the operator has allowed stays allowed.
pub(super) fn withhold(
    rows: &mut Overlay<'_>,
    up_to_id: u64,
    why: &str,
    at_ms: u64,
) -> Result<(), CommitError> {
    let reason = reason_key(why);
    if rows.get(Table::Withheld, &reason)?.is_some() {
        return Ok(());
    }
    put(rows, Table::Withheld, &reason, &at_ms)?;
    let last = id_key(up_to_id);
    let withheld = WithheldRow {
        why: why.to_owned(),
        at_ms,
    };
    let mut after: Option<String> = None;
    loop {
        let page = rows.scan(Table::Settlements, "", after.as_deref(), PAGE)?;
        let Some((newest, _)) = page.last() else {
            return Ok(());
        };
        after = Some(newest.clone());
        for (key, text) in page {
            if key > last {
                return Ok(());
            }
            let mut row: SettlementRow = decode(Table::Settlements, &key, &text)?;
            if row.withheld || row.release.is_some() || failed_for_good(&row) {
                continue;
            }
            row.withheld = true;
            put(rows, Table::Settlements, &key, &row)?;
            put(rows, Table::Withheld, &format!("{RELEASE}{key}"), &withheld)?;
        }
    }
}

/// The row that says that this reason was recorded.
pub(super) fn reason_key(why: &str) -> String {
    format!("{REASON}{why}")
}

fn failed_for_good(row: &SettlementRow) -> bool {
    match row.outcome {
        Outcome::Failed { .. } => row.finished,
        Outcome::Open | Outcome::Paid(_) | Outcome::Reversed { .. } => false,
    }
}

/// Allows the release of these. What is not withheld stays as it is.
pub(super) fn allow(rows: &mut Overlay<'_>, settlements: &[u64]) -> Result<(), CommitError> {
    for id in settlements {
        let key = id_key(*id);
        if let Some(mut row) = get::<SettlementRow>(rows, Table::Settlements, &key)?
            && row.withheld
        {
            row.withheld = false;
            put(rows, Table::Settlements, &key, &row)?;
        }
        rows.delete(Table::Withheld, &format!("{RELEASE}{key}"));
    }
    Ok(())
}

/// The settlement with this key is removed.
pub(super) fn forget(rows: &mut Overlay<'_>, key: &str) {
    rows.delete(Table::Withheld, &format!("{RELEASE}{key}"));
}

/// A finished settlement that failed has no release to withhold.
pub(super) fn finished(rows: &mut Overlay<'_>, row: &mut SettlementRow) -> Result<(), CommitError> {
    if row.withheld && failed_for_good(row) {
        row.withheld = false;
        rows.delete(Table::Withheld, &format!("{RELEASE}{}", id_key(row.id)));
    }
    Ok(())
}

/// Every settlement whose release is withheld, the oldest first.
pub fn all(rows: &mut dyn Rows) -> Result<Vec<(SettlementRow, WithheldRow)>, JournalError> {
    let mut found = Vec::new();
    for (key, text) in rows.scan(Table::Withheld, RELEASE, None, usize::MAX)? {
        let id = key.strip_prefix(RELEASE).unwrap_or_default();
        let row: SettlementRow = get(rows, Table::Settlements, id)?
            .ok_or_else(|| JournalError(format!("withheld settlement {id} has no row")))?;
        found.push((row, decode(Table::Withheld, &key, &text)?));
    }
    Ok(found)
}
