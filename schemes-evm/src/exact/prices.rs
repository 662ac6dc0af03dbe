//! The price of gas, as nodes report it: a wallet can answer a call without a price, as simulations are by default, differently
//! from a transaction. Losing what is remembered costs a read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::U256;
use sdk_plugin::host::{RpcCall, RpcResult};
use serde_json::json;

use crate::rpc;

/// How long a price is used, in milliseconds: simulations need one that could be real, not the newest. A node that calls it
/// too low by then is repeated without a price.
const TTL_MS: u64 = 60_000;

/// The call for the price.
pub(super) fn gas_price_call() -> RpcCall {
    rpc::request("eth_gasPrice", json!([]))
}

#[derive(Debug, Default)]
pub(super) struct Prices {
    /// By chain id: wei per unit of gas, and the host's time in milliseconds when it was read.
    known: Mutex<HashMap<u64, (U256, u64)>>,
}

impl Prices {
    pub(super) fn of(&self, chain_id: u64, now_ms: u64) -> Option<U256> {
        let (wei, read_ms) = self.lock().get(&chain_id).copied()?;
        let age_ms = now_ms.checked_sub(read_ms)?;
        (age_ms < TTL_MS).then_some(wei)
    }

    /// Reads the answer to [`gas_price_call`]; without a usable one there is no price.
    pub(super) fn learn(&self, chain_id: u64, now_ms: u64, answer: RpcResult) -> Option<U256> {
        let wei = rpc::big_quantity(answer, "eth_gasPrice")
            .ok()
            .filter(|wei| !wei.is_zero())?;
        self.lock().insert(chain_id, (wei, now_ms));
        Some(wei)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (U256, u64)>> {
        // Each entry is written at once.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
