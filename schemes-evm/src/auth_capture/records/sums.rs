//! Sums over the lifetime of a payment or an agreement.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

/// Amounts that a merchant reported as used, and that are captured for it in one go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Atomic units since the payment was opened. Whatever was captured counts against it.
    pub total: U256,
    pub reports: u64,
}

/// What one funding agreement has paid, or may still pay, by the hour: at most 25 of them.
///
/// Counted when a refund is planned, and not given back when it fails: a limit errs on the operator's side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundLedger {
    /// Hours since the epoch and atomic units, in order.
    hours: Vec<(u64, U256)>,
}

const HOUR_S: u64 = 3_600;
/// A window of whole hours that is never shorter than a day.
const HOURS: u64 = 24;

impl RefundLedger {
    /// Atomic units within the last 24 to 25 hours. `None` on overflow.
    #[must_use]
    pub fn spent(&self, now_s: u64) -> Option<U256> {
        let oldest = (now_s / HOUR_S).saturating_sub(HOURS);
        self.hours
            .iter()
            .filter(|(hour, _)| *hour >= oldest)
            .try_fold(U256::ZERO, |sum, (_, units)| sum.checked_add(*units))
    }

    /// With one more refund, if the limit allows it.
    #[must_use]
    pub fn with(&self, amount: U256, max_per_day: U256, now_s: u64) -> Option<Self> {
        let total = self.spent(now_s)?.checked_add(amount)?;
        if total > max_per_day {
            return None;
        }
        let now = now_s / HOUR_S;
        let oldest = now.saturating_sub(HOURS);
        let mut hours: Vec<_> = self
            .hours
            .iter()
            .copied()
            .filter(|(hour, _)| *hour >= oldest)
            .collect();
        match hours.iter_mut().find(|(hour, _)| *hour == now) {
            Some((_, units)) => *units = units.checked_add(amount)?,
            None => hours.push((now, amount)),
        }
        Some(Self { hours })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t64_a_days_refunds_are_limited_and_yesterdays_forgotten() {
        let limit = U256::from(100);
        let at = |hour: u64| hour * HOUR_S;
        let ledger = RefundLedger::default()
            .with(U256::from(60), limit, at(1_000))
            .expect("within the limit");
        assert_eq!(ledger.with(U256::from(41), limit, at(1_001)), None);
        let ledger = ledger
            .with(U256::from(40), limit, at(1_001))
            .expect("within the limit");
        assert_eq!(ledger.spent(at(1_024) + 3_599), Some(U256::from(100)));
        assert_eq!(ledger.spent(at(1_025)), Some(U256::from(40)));
        let ledger = ledger
            .with(U256::from(60), limit, at(1_025))
            .expect("within the limit");
        assert_eq!(ledger.hours.len(), 2, "what is forgotten is not kept");
        assert_eq!(
            RefundLedger::default().with(U256::MAX, limit, at(1)),
            None,
            "no amount overflows the limit"
        );
    }
}
