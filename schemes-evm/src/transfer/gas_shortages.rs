//! Assets whose transfers have run out of gas on chain: nodes estimated too little. Losing what is remembered costs a failed
//! transaction.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::Address;
use sdk_plugin::Cx;
use sdk_plugin::host::Level;
use serde_json::json;

use crate::text;

/// How long estimates for an asset are not relied on, in milliseconds.
const TTL_MS: u64 = 60 * 60 * 1_000;
/// Most assets remembered.
const CAPACITY: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct GasShortages {
    /// Chain id and asset, to the host's time in milliseconds of the last failure.
    seen: Mutex<HashMap<(u64, Address), u64>>,
}

impl GasShortages {
    /// Whether a transfer of the asset has run out of gas lately.
    pub(crate) fn is_known(&self, chain_id: u64, asset: Address, now_ms: u64) -> bool {
        self.lock()
            .get(&(chain_id, asset))
            .is_some_and(|seen_ms| is_fresh(*seen_ms, now_ms))
    }

    /// Remembers a failure on the call's network.
    pub(crate) fn learn(&self, cx: &Cx, asset: Address) {
        let Some(chain_id) = text::chain_id(&cx.network().id) else {
            return;
        };
        let now_ms = cx.now_ms();
        let is_new = {
            let mut seen = self.lock();
            let is_full = seen.len() >= CAPACITY && !seen.contains_key(&(chain_id, asset));
            if is_full {
                seen.retain(|_, seen_ms| is_fresh(*seen_ms, now_ms));
            }
            if seen.len() >= CAPACITY && !seen.contains_key(&(chain_id, asset)) {
                return;
            }
            let before = seen.insert((chain_id, asset), now_ms);
            before.is_none_or(|seen_ms| !is_fresh(seen_ms, now_ms))
        };
        if is_new {
            let fields = json!({ "network": cx.network().id, "asset": text::lower(asset) });
            cx.log(
                Level::Warn,
                "evm::gas",
                "a transfer may have run out of gas: transfers of this asset get max_gas for an hour",
                &fields,
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, Address), u64>> {
        // Each entry is written at once.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that was set back ends what was remembered.
fn is_fresh(seen_ms: u64, now_ms: u64) -> bool {
    now_ms.checked_sub(seen_ms).is_some_and(|age_ms| age_ms < TTL_MS)
}
