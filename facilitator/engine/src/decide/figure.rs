//! Numbers for metrics.

use sdk_plugin::Amount;

/// Counts what final transactions have cost.
pub(crate) const FEES: &str = "switchyard_fees_spent_total";

/// An amount as a metric, where the nearest floating-point number is precise enough.
pub(crate) fn of_amount(amount: Amount) -> f64 {
    amount.to_string().parse().unwrap_or(f64::MAX)
}

/// A count as a metric.
pub(crate) fn of_count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A block's height, a number of seconds or another large count: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(crate) fn of_large(number: u64) -> f64 {
    number as f64
}
