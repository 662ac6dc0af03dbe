//! Which assets have code. Only the positive answer is kept: an address without code may get some at any moment.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::Address;

/// How long an answer is valid, in milliseconds: code can be removed (a selfdestruct on old chains).
pub(crate) const TTL_MS: u64 = 15 * 60 * 1000;
/// Most answers kept.
pub(crate) const CAPACITY: usize = 4096;

/// One lock over a small map. A sharded map (`dashmap`) can't keep [`CAPACITY`] and remove the oldest answer without a
/// lock over all shards, and each plugin file would carry it. A payment holds the lock for one look-up.
#[derive(Debug, Default)]
pub(crate) struct CodeCache {
    /// Chain id and asset, to the host's time in milliseconds when the code was seen.
    seen: Mutex<HashMap<(u64, Address), u64>>,
}

impl CodeCache {
    pub(crate) fn has_code(&self, chain_id: u64, asset: Address, now_ms: u64) -> bool {
        self.lock()
            .get(&(chain_id, asset))
            .is_some_and(|seen_ms| fresh(*seen_ms, now_ms))
    }

    pub(crate) fn record_code(&self, chain_id: u64, asset: Address, now_ms: u64) {
        let mut seen = self.lock();
        if seen.len() >= CAPACITY && !seen.contains_key(&(chain_id, asset)) {
            seen.retain(|_, seen_ms| fresh(*seen_ms, now_ms));
            let oldest = seen
                .iter()
                .min_by_key(|(_, seen_ms)| **seen_ms)
                .map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| seen.len() >= CAPACITY) {
                seen.remove(&oldest);
            }
        }
        seen.insert((chain_id, asset), now_ms);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, Address), u64>> {
        // No invariant spans two statements, so a map left by a panicking thread is as good as any.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that was set back makes everything stale rather than eternal.
fn fresh(seen_ms: u64, now_ms: u64) -> bool {
    now_ms.checked_sub(seen_ms).is_some_and(|age_ms| age_ms < TTL_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_age_and_the_oldest_make_room() {
        let cache = CodeCache::default();
        let asset = |n: usize| Address::left_padding_from(&n.to_be_bytes());
        cache.record_code(1, asset(0), 1_000);
        assert!(cache.has_code(1, asset(0), 1_000 + TTL_MS - 1));
        assert!(!cache.has_code(1, asset(0), 1_000 + TTL_MS));
        assert!(!cache.has_code(1, asset(0), 999), "the clock was set back");
        assert!(!cache.has_code(2, asset(0), 1_000), "another chain");

        for n in 1..=CAPACITY {
            cache.record_code(1, asset(n), 1_000 + n as u64);
        }
        assert_eq!(cache.lock().len(), CAPACITY);
        assert!(!cache.has_code(1, asset(0), 6_000), "the oldest went");
        assert!(cache.has_code(1, asset(CAPACITY), 6_000));
    }
}
