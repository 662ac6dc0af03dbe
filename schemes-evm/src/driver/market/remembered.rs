//! A market that was read before, and what of it still counts.

use sdk_plugin::host::RpcResult;
use sdk_plugin::{Cx, Fault};
use serde_json::json;

use super::{Market, Shown, fee_history, wei};
use crate::rpc;

/// For how long an earlier market is compared with what a node shows, in milliseconds.
const KNOWN_FOR_MS: u64 = 60_000;
/// For how long the node's price of gas and the L1 data fee are remembered, in milliseconds. The price gives the tip where
/// blocks are empty, and the L1 data fee makes budgets exact: neither needs the newest value, and each costs a call.
const SLOW_TTL_MS: u64 = 300_000;

#[derive(Debug, Clone, Copy)]
pub(in crate::driver) struct Remembered {
    pub(super) market: Market,
    pub(super) read_ms: u64,
    /// What the node's price of gas added to the base fee, in wei, and when it was read.
    pub(super) price_tip: Option<(u128, u64)>,
    /// When the L1 data fee was read.
    pub(super) l1_fee_ms: Option<u64>,
}

impl Remembered {
    pub(super) fn is_young(read_ms: u64, now_ms: u64) -> bool {
        now_ms
            .checked_sub(read_ms)
            .is_some_and(|age_ms| age_ms < SLOW_TTL_MS)
    }

    /// The tip in the node's price of gas, while the price need not be read again.
    pub(super) fn price_tip(&self, now_ms: u64) -> Option<u128> {
        let (tip, read_ms) = self.price_tip?;
        (self.market.base_fee.is_some() && Self::is_young(read_ms, now_ms)).then_some(tip)
    }

    /// The market now, by two calls; `None`: something does not fit, and all of it must be read.
    pub(super) async fn moved_on(&self, cx: &Cx, now_ms: u64) -> Result<Option<Market>, Fault> {
        let Some(tip) = self.price_tip(now_ms) else {
            return Ok(None);
        };
        let calls = vec![rpc::newest_block(), fee_history()];
        let mut answers = rpc::NODES.read_well_formed(cx, calls).await?;
        let (head, history) = (answers.take()?, answers.take()?);
        let (RpcResult::Ok(block), RpcResult::Ok(_)) = (&head, &history) else {
            return Ok(None);
        };
        let Some(base_fee) = block.get("baseFeePerGas").and_then(|fee| wei(fee).ok()) else {
            return Ok(None);
        };
        let price = RpcResult::Ok(json!(format!("{:#x}", base_fee.saturating_add(tip))));
        let mut shown = Shown::read(head, history, price)?;
        shown.market.l1_fee_per_unit = self.market.l1_fee_per_unit;
        let fits = shown.doubt(self.known(now_ms).as_ref()).is_none();
        Ok(fits.then_some(shown.market))
    }

    pub(super) fn has_l1_fee(&self, now_ms: u64) -> bool {
        self.l1_fee_ms
            .is_some_and(|read_ms| Self::is_young(read_ms, now_ms))
    }

    /// The market while it is compared with what nodes show.
    pub(super) fn known(self, now_ms: u64) -> Option<Market> {
        let age_ms = now_ms.checked_sub(self.read_ms)?;
        (age_ms < KNOWN_FOR_MS).then_some(self.market)
    }
}
