//! What settlements cost, in native atomic units.

use sdk_plugin::Amount;

use crate::keys::id_key;
use crate::queries::decode;
use crate::row::{SettlementRow, SpareCostRow};
use crate::{JournalError, Rows, Table};

/// Transactions that carry no settlement stand here, in the order of their times.
const SPARE: &str = "spare|";

pub(crate) fn spare_key(at_ms: u64, attempt: u64) -> String {
    format!("{SPARE}{at_ms:020}|{}", id_key(attempt))
}

/// What the settlement's transactions cost together, as far as blocks have shown it: its part of those that carry several.
/// `None`: nothing is known.
#[must_use]
pub fn fee(row: &SettlementRow) -> Option<Amount> {
    let (first, others) = row.costs.split_first()?;
    others
        .iter()
        .try_fold(first.part(), |sum, cost| sum.checked_add(cost.part()))
}

/// What transactions cost that carry no settlement, the oldest first, at most `limit`. `from_ms`: only those prepared at or
/// after this. `after`: the time and attempt of the last one that was read.
///
/// # Errors
/// The journal can't be read.
pub fn spare(
    rows: &mut dyn Rows,
    from_ms: u64,
    after: Option<(u64, u64)>,
    limit: usize,
) -> Result<Vec<SpareCostRow>, JournalError> {
    let after = match after {
        Some((at_ms, attempt)) => spare_key(at_ms, attempt),
        None => format!("{SPARE}{from_ms:020}"),
    };
    rows.scan(Table::Lookups, SPARE, Some(&after), limit)?
        .into_iter()
        .map(|(key, text)| decode(Table::Lookups, &key, &text))
        .collect()
}
