//! Remembers the price of gas that nodes report. Simulations have no gas price by default, and a wallet or a token can answer
//! such a call differently from a transaction. Forgetting a price only costs a read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::U256;
use sdk_plugin::host::{RpcCall, RpcResult};
use serde_json::json;

use crate::rpc;

/// How long a price is used, in milliseconds. Simulations need a realistic price, not the newest. If a node rejects it as
/// too low, the simulation is repeated without a price, and the next one reads it again.
const TTL_MS: u64 = 300_000;

/// The call for the price.
pub(crate) fn gas_price_call() -> RpcCall {
    rpc::request("eth_gasPrice", json!([]))
}

#[derive(Debug, Default)]
pub(crate) struct Prices {
    /// By chain id: wei per unit of gas, and the host's time in milliseconds when it was read.
    known: Mutex<HashMap<u64, (U256, u64)>>,
}

impl Prices {
    pub(crate) fn of(&self, chain_id: u64, now_ms: u64) -> Option<U256> {
        let (wei, read_ms) = self.lock().get(&chain_id).copied()?;
        let age_ms = now_ms.checked_sub(read_ms)?;
        (age_ms < TTL_MS).then_some(wei)
    }

    /// Records the price in the answer to [`gas_price_call`], and returns it. `None`: the answer has no usable price.
    pub(crate) fn learn(&self, chain_id: u64, now_ms: u64, answer: RpcResult) -> Option<U256> {
        let wei = rpc::big_quantity(answer, "eth_gasPrice")
            .ok()
            .filter(|wei| !wei.is_zero())?;
        self.lock().insert(chain_id, (wei, now_ms));
        Some(wei)
    }

    /// Drops a price that may be what a node rejected.
    pub(crate) fn forget(&self, chain_id: u64) {
        self.lock().remove(&chain_id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (U256, u64)>> {
        // No panic can leave an entry half written.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
