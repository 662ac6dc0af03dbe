//! Remembers the price of gas that nodes report. Simulations have no gas price by default, and a wallet or a token can answer
//! such a call differently from a transaction. Forgetting a price only costs a read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::U256;
use sdk_plugin::host::{RpcCall, RpcResult};
use serde_json::json;

use crate::rpc::{self, Failure};

/// How long a price is used, in milliseconds. Simulations need a realistic price, not the newest. If a node rejects it as
/// too low, the simulation is repeated without a price, and the next one reads it again.
const TTL_MS: u64 = 300_000;

/// The call for the price.
pub(crate) fn gas_price_call() -> RpcCall {
    rpc::request("eth_gasPrice", json!([]))
}

/// Texts of nodes for a call at a price that its sender can't pay. Some cut the gas down to what the balance pays for, and
/// then report that it is too little. Lower case.
const LACKS_FUNDS: [&str; 4] = [
    "gas required exceeds",
    "insufficient funds",
    "insufficient balance",
    "out of gas",
];

/// Whether a simulation at a price may have failed because of the sender's balance, and not because of the payment.
pub(crate) fn may_lack_funds(failure: &Failure) -> bool {
    let text = failure.message.to_lowercase();
    failure.data.is_empty() && LACKS_FUNDS.iter().any(|part| text.contains(part))
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
