//! What a network may spend in a day (UTC), so that a hot key that is misused, or a price that runs away, has a limit.
//!
//! Counted is the most that journaled transactions can cost, not what they did cost: the limit holds even when all of
//! them cost their most. Only new settlements are refused by it; what is journaled already is carried on whatever it
//! costs, and counts too.

use std::sync::Mutex;

use sdk_plugin::Amount;

use super::lock;

const DAY_MS: u64 = 86_400_000;

/// Spending of one network.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: Mutex<Spent>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    day: u64,
    /// Native atomic units.
    amount: Amount,
}

/// When the day of this moment began, milliseconds since the epoch.
pub(super) fn day_began_ms(now_ms: u64) -> u64 {
    now_ms - now_ms % DAY_MS
}

impl Budget {
    /// Counts a journaled transaction, whatever the limit.
    pub(super) fn charge(&self, now_ms: u64, cost: Amount) {
        let mut spent = self.of_day(now_ms);
        spent.amount = spent.amount.checked_add(cost).unwrap_or(Amount::MAX);
    }

    /// Counts a transaction that is about to be journaled; `false`, and nothing is counted, when it would pass the
    /// day's limit.
    pub(super) fn take(&self, now_ms: u64, cost: Amount, limit: Option<Amount>) -> bool {
        let mut spent = self.of_day(now_ms);
        match spent.amount.checked_add(cost) {
            Some(after) if limit.is_none_or(|limit| after <= limit) => {
                spent.amount = after;
                true
            }
            // Without a limit there is nothing to pass.
            _ => limit.is_none(),
        }
    }

    /// What was taken was not journaled.
    pub(super) fn give_back(&self, now_ms: u64, cost: Amount) {
        let mut spent = self.of_day(now_ms);
        spent.amount = Amount(spent.amount.0.saturating_sub(cost.0));
    }

    fn of_day(&self, now_ms: u64) -> std::sync::MutexGuard<'_, Spent> {
        let mut spent = lock(&self.spent);
        let day = now_ms / DAY_MS;
        if day > spent.day {
            *spent = Spent {
                day,
                amount: Amount::ZERO,
            };
        }
        spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t107_a_day_has_a_limit_and_the_next_day_has_its_own() {
        let budget = Budget::default();
        let limit = Some(Amount::from(10u64));
        let (today, tomorrow) = (DAY_MS * 3 + 5, DAY_MS * 4);
        assert!(!budget.take(today, Amount::from(11u64), limit));
        assert!(budget.take(today, Amount::from(6u64), limit));
        assert!(!budget.take(today, Amount::from(5u64), limit));
        assert!(
            budget.take(today, Amount::from(4u64), limit),
            "a refusal counts nothing"
        );
        budget.give_back(today, Amount::from(4u64));
        assert!(budget.take(today, Amount::from(3u64), limit));
        budget.charge(today, Amount::from(50u64));
        assert!(
            !budget.take(today, Amount::from(1u64), limit),
            "what is carried on counts"
        );
        assert!(budget.take(today, Amount::MAX, None), "no limit is configured");
        assert!(budget.take(tomorrow, Amount::from(10u64), limit));
        budget.charge(tomorrow, Amount::MAX);
        assert!(!budget.take(tomorrow, Amount::MAX, limit), "no overflow");
        assert_eq!(day_began_ms(today), DAY_MS * 3);
    }
}
