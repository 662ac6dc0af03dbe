//! Token buckets: one per tenant, one per caller address and one per settlement that is looked up, in bounded memory.
//!
//! `governor` implements the buckets (generic cell rate algorithm). Its store only forgets buckets that are full again, so
//! a flood of ever new keys would fill the memory. [`BoundedBuckets`] therefore bounds the number of keys: when the
//! table is full, the buckets that are nearest to full are forgotten first.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore as _};
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{NotUntil, Quota, RateLimiter};
use tokio::time::Instant;

use crate::settings::Rate;

/// Keys whose buckets are remembered.
pub(super) const MAX_BUCKETS: usize = 65_536;
const MINUTE: Duration = Duration::from_secs(60);
/// In how many steps the buckets nearest to full are forgotten.
const FORGET_STEPS: u32 = 16;

type Limiter<K, S> = RateLimiter<K, S, TokioClock, NoOpMiddleware<Nanos>>;

/// Tokio's time, which tests can stop, as nanoseconds since the process started to listen.
#[derive(Debug, Clone)]
struct TokioClock {
    start: Instant,
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.start.elapsed().into()
    }
}

/// The buckets of all keys, shared by the limiter that uses them and [`BoundedBuckets`], which bounds them.
#[derive(Debug)]
struct Store<K: Hash + Eq + Clone>(Arc<DashMapStateStore<K>>);

impl<K: Hash + Eq + Clone> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Hash + Eq + Clone> StateStore for Store<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, decide)
    }
}

/// One bucket for each key, at most [`MAX_BUCKETS`].
pub(super) struct BoundedBuckets<K: Hash + Eq + Clone> {
    clock: TokioClock,
    store: Store<K>,
    /// `None` stands for no limit.
    limiter: Option<Limiter<K, Store<K>>>,
    /// How long a bucket takes from empty to full.
    refill: Duration,
}

impl<K: Hash + Eq + Clone> BoundedBuckets<K> {
    pub(super) fn new(rate: Rate) -> Self {
        let clock = TokioClock {
            start: Instant::now(),
        };
        let store = Store(Arc::default());
        Self {
            limiter: quota(rate).map(|quota| Limiter::new(quota, store.clone(), clock.clone())),
            refill: quota(rate).map_or(Duration::ZERO, |quota| quota.burst_size_replenished_in()),
            clock,
            store,
        }
    }

    /// Takes one token from the bucket of a key. `Err`: seconds until there is a token, at least 1.
    pub(super) fn take(&self, key: &K) -> Result<(), u64> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        let buckets = &self.store.0;
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(key) {
            self.forget_fullest();
        }
        limiter
            .check_key(key)
            .map_err(|until| retry_after_s(&self.clock, &until))
    }

    /// Forgets the buckets that are full, then those nearest to full, until half of the table is free.
    fn forget_fullest(&self) {
        let now = self.clock.start.elapsed();
        for step in 0..=FORGET_STEPS {
            let full_by = now.saturating_add(self.refill.saturating_mul(step) / FORGET_STEPS);
            self.store.0.retain_recent(full_by.into());
            if self.store.0.len() <= MAX_BUCKETS / 2 {
                return;
            }
        }
    }
}

/// The buckets of callers without a tenant.
pub(super) struct AddressBuckets(BoundedBuckets<IpAddr>);

impl AddressBuckets {
    pub(super) fn new(rate: Rate) -> Self {
        Self(BoundedBuckets::new(rate))
    }

    /// Takes one token from the bucket of an address. `Err`: seconds until there is a token, at least 1.
    pub(super) fn take(&self, address: IpAddr) -> Result<(), u64> {
        self.0.take(&bucket_address(address))
    }
}

/// The bucket of one tenant.
pub(super) struct TenantBucket {
    clock: TokioClock,
    /// `None`: no limit.
    limiter: Option<Limiter<NotKeyed, InMemoryState>>,
}

impl TenantBucket {
    pub(super) fn new(rate: Rate) -> Self {
        let clock = TokioClock {
            start: Instant::now(),
        };
        let limiter = quota(rate).map(|quota| Limiter::new(quota, InMemoryState::default(), clock.clone()));
        Self { clock, limiter }
    }

    /// Takes one token. `Err`: seconds until there is a token, at least 1.
    pub(super) fn take(&self) -> Result<(), u64> {
        match &self.limiter {
            Some(limiter) => limiter
                .check()
                .map_err(|until| retry_after_s(&self.clock, &until)),
            None => Ok(()),
        }
    }
}

fn retry_after_s(clock: &TokioClock, until: &NotUntil<Nanos>) -> u64 {
    let wait = until.wait_time_from(clock.now());
    let rounded_up = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    rounded_up.max(1)
}

/// `None`: no limit.
fn quota(rate: Rate) -> Option<Quota> {
    let interval = MINUTE.checked_div(rate.per_minute)?;
    let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
    Some(Quota::with_period(interval)?.allow_burst(burst))
}

/// The address whose bucket a caller uses. IPv6 callers usually hold a /64, so they share a bucket.
fn bucket_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const RATE: Rate = Rate {
        per_minute: 30,
        burst: 3,
    };

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    fn buckets() -> AddressBuckets {
        AddressBuckets::new(RATE)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_then_the_rate_holds() {
        let buckets = buckets();
        for _ in 0..3 {
            assert_eq!(buckets.take(address(1)), Ok(()));
        }
        assert_eq!(buckets.take(address(1)), Err(2));
        assert_eq!(
            buckets.take(address(2)),
            Ok(()),
            "other addresses are not limited"
        );
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!(buckets.take(address(1)), Err(1));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(buckets.take(address(1)), Ok(()));
        assert_eq!(buckets.take(address(1)), Err(2));
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_have_their_own_rates_and_zero_is_no_limit() {
        let unlimited = Rate {
            per_minute: 0,
            burst: 1,
        };
        let buckets = AddressBuckets::new(unlimited);
        let [limited, free] = [RATE, unlimited].map(TenantBucket::new);
        for _ in 0..3 {
            assert_eq!(limited.take(), Ok(()));
        }
        assert_eq!(limited.take(), Err(2));
        for _ in 0..10 {
            assert_eq!(free.take(), Ok(()));
            assert_eq!(buckets.take(address(1)), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn t15_memory_is_bounded_and_the_emptiest_buckets_are_kept() {
        let buckets = buckets();
        for _ in 0..3 {
            assert_eq!(buckets.take(address(0)), Ok(()));
        }
        for n in 1..=100_000 {
            assert_eq!(buckets.take(address(n)), Ok(()));
        }
        assert!(buckets.0.store.0.len() <= MAX_BUCKETS);
        assert_eq!(
            buckets.take(address(0)),
            Err(2),
            "a flood of others does not refill a bucket"
        );
    }

    #[test]
    fn ipv6_callers_of_one_64_share_a_bucket() {
        let bucket = |text: &str| bucket_address(text.parse().unwrap());
        assert_eq!(bucket("2001:db8::1"), bucket("2001:db8::ffff:1"));
        assert_ne!(bucket("2001:db8::1"), bucket("2001:db8:0:1::1"));
        assert_eq!(bucket("::ffff:10.0.0.1"), bucket("10.0.0.1"));
    }
}
