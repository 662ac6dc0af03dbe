//! What payments add up to.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::settlement::SettlementStatus;
use sdk_plugin::Amount;

use super::buckets::upper;

pub(super) const MINUTE_MS: u64 = 60_000;
/// How far back payments count.
pub(super) const WINDOW_MS: u64 = 24 * 60 * MINUTE_MS;

/// The sums of each minute in which payments were opened, counted from the epoch.
pub(super) type Minutes = BTreeMap<u64, BTreeMap<Labels, Sums>>;

/// What payments are summed by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels {
    pub(super) network: Arc<str>,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) asset: Arc<str>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    counts: [u64; SettlementStatus::ALL.len()],
    pub(super) settled: Amount,
    /// By bucket of time: see `buckets.rs`.
    times: BTreeMap<u64, u64>,
}

/// What one payment adds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) minute: u64,
    pub(super) labels: Labels,
    pub(super) status: SettlementStatus,
    pub(super) amount: Amount,
    pub(super) time: Option<u64>,
}

impl Sums {
    pub(super) fn count(&mut self, part: &Part, adds: bool) {
        let change = |count: u64| match adds {
            true => count.saturating_add(1),
            false => count.saturating_sub(1),
        };
        let position = SettlementStatus::ALL
            .iter()
            .position(|status| *status == part.status);
        if let Some(count) = position.and_then(|position| self.counts.get_mut(position)) {
            *count = change(*count);
        }
        self.settled = Amount(match adds {
            true => self.settled.0.saturating_add(part.amount.0),
            false => self.settled.0.saturating_sub(part.amount.0),
        });
        if let Some(time) = part.time {
            let count = self.times.entry(time).or_default();
            *count = change(*count);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        self.settled = Amount(self.settled.0.saturating_add(other.settled.0));
        for (time, more) in &other.times {
            let count = self.times.entry(*time).or_default();
            *count = count.saturating_add(*more);
        }
    }

    pub(super) fn of(&self, wanted: SettlementStatus) -> u64 {
        let statuses = SettlementStatus::ALL.iter().zip(self.counts);
        statuses
            .filter(|(status, _)| **status == wanted)
            .map(|(_, count)| count)
            .sum()
    }

    /// The upper end of the bucket that holds this part of the times, in thousandths.
    pub(super) fn percentile(&self, thousandths: u64) -> Option<u64> {
        let all: u64 = self.times.values().sum();
        let wanted = all.saturating_mul(thousandths).div_ceil(1_000).max(1);
        let mut seen = 0_u64;
        for (bucket, count) in &self.times {
            seen = seen.saturating_add(*count);
            if *count > 0 && seen >= wanted {
                return Some(upper(*bucket));
            }
        }
        None
    }
}

/// The first minute whose payments count.
pub(super) fn first_minute(now_ms: u64) -> u64 {
    now_ms.saturating_sub(WINDOW_MS) / MINUTE_MS
}

#[cfg(test)]
mod tests {
    use super::super::buckets::bucket;
    use super::*;

    #[test]
    fn percentiles_are_of_the_counted_times() {
        let mut sums = Sums::default();
        assert_eq!(sums.percentile(500), None);
        for time in [1, 2, 3, 4, 1_000] {
            *sums.times.entry(bucket(time)).or_default() += 1;
        }
        assert_eq!(sums.percentile(500), Some(3));
        assert_eq!(sums.percentile(950), Some(upper(bucket(1_000))));
    }
}
