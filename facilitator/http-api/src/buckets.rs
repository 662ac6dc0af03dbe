//! Token buckets, one per caller, in bounded memory.
//!
//! Each bucket is one number, the time at which it will be full again (the generic cell rate algorithm), so a full
//! bucket needs no entry at all. When the table is full, the buckets that are nearest to full are forgotten first.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::settings::Rate;

/// Buckets remembered.
pub(super) const MAX_BUCKETS: usize = 65_536;
const MINUTE_NS: u64 = 60_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// Whose bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Address(IpAddr),
    /// Index into the tenants.
    Tenant(usize),
}

impl Who {
    /// IPv6 callers usually hold a /64, so they share a bucket.
    pub(super) fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        })
    }
}

#[derive(Debug)]
pub(super) struct Buckets {
    start: Instant,
    /// Nanoseconds after `start` at which each bucket is full again.
    full_at_ns: Mutex<HashMap<Who, u64>>,
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            full_at_ns: Mutex::default(),
        }
    }

    /// Takes one token. `Err`: seconds, at least 1, until there is one.
    pub(super) fn take(&self, who: Who, rate: Rate) -> Result<(), u64> {
        let Some(interval_ns) = MINUTE_NS.checked_div(u64::from(rate.per_minute)) else {
            return Ok(());
        };
        let capacity_ns = interval_ns.saturating_mul(u64::from(rate.burst));
        let now_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut full_at_ns = self.full_at_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let full = full_at_ns
            .get(&who)
            .copied()
            .unwrap_or(0)
            .max(now_ns)
            .saturating_add(interval_ns);
        let missing_ns = full.saturating_sub(now_ns).saturating_sub(capacity_ns);
        if missing_ns > 0 {
            return Err(missing_ns.div_ceil(SECOND_NS));
        }
        if full_at_ns.len() >= MAX_BUCKETS && !full_at_ns.contains_key(&who) {
            forget(&mut full_at_ns, now_ns);
        }
        full_at_ns.insert(who, full);
        Ok(())
    }
}

/// Makes room: drops what is full, and if that is too little, the half that is nearest to full.
fn forget(full_at_ns: &mut HashMap<Who, u64>, now_ns: u64) {
    full_at_ns.retain(|_, full| *full > now_ns);
    if full_at_ns.len() < MAX_BUCKETS / 2 {
        return;
    }
    let mut times: Vec<u64> = full_at_ns.values().copied().collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    full_at_ns.retain(|_, full| *full > median);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const RATE: Rate = Rate {
        per_minute: 30,
        burst: 3,
    };

    fn address(n: u32) -> Who {
        Who::address(IpAddr::V4(Ipv4Addr::from_bits(n)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_then_the_rate_holds() {
        let buckets = Buckets::new();
        for _ in 0..3 {
            assert_eq!(buckets.take(address(1), RATE), Ok(()));
        }
        assert_eq!(buckets.take(address(1), RATE), Err(2));
        assert_eq!(buckets.take(address(2), RATE), Ok(()), "others are not concerned");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(buckets.take(address(1), RATE), Ok(()));
        assert_eq!(buckets.take(address(1), RATE), Err(2));
        let unlimited = Rate {
            per_minute: 0,
            burst: 1,
        };
        assert_eq!(buckets.take(address(1), unlimited), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn t15_memory_is_bounded_and_the_emptiest_buckets_are_kept() {
        let buckets = Buckets::new();
        for _ in 0..3 {
            assert_eq!(buckets.take(address(0), RATE), Ok(()));
        }
        for n in 1..=100_000 {
            assert_eq!(buckets.take(address(n), RATE), Ok(()));
        }
        assert!(buckets.full_at_ns.lock().unwrap().len() <= MAX_BUCKETS);
        assert_eq!(
            buckets.take(address(0), RATE),
            Err(2),
            "a flood of others does not refill a bucket"
        );
    }

    #[test]
    fn ipv6_callers_of_one_64_share_a_bucket() {
        let who = |text: &str| Who::address(text.parse().unwrap());
        assert_eq!(who("2001:db8::1"), who("2001:db8::ffff:1"));
        assert_ne!(who("2001:db8::1"), who("2001:db8:0:1::1"));
        assert_eq!(who("::ffff:10.0.0.1"), who("10.0.0.1"));
    }
}
