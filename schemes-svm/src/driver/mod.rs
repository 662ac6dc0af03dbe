//! The driver of every `solana` network.
//!
//! | function | module | round trips |
//! |---|---|---|
//! | check | `check` | 1 |
//! | lane, quote | here | 1; a quote 0 when the head was seen within two seconds |
//! | build | `build` | 0 and one signature by the host; 1 when the mint comes from an address lookup table |
//! | fill | here | none: there is nothing to fill |
//! | broadcast | `send` | 1 |
//! | observe | `observe` | 1; a second one for what landed; some more, seconds apart, for what can't land any more (`expiry`) or is not shown (`elsewhere`) |
//!
//! Transactions of a fee payer are not numbered, so lanes are unordered: nothing is replaced or filled, and the same
//! bytes are sent again until they land or can't any more.
//!
//! Heights are **slots**. A transaction that only some nodes have seen (`processed`) is pending. One that a
//! supermajority has voted for (`confirmed`) has landed, as deep as slots have passed, but never as deep as the network's
//! `finality`. One that can't be undone (`finalized`) is that deep, whatever the numbers. So `confirmations = 1` answers at
//! `confirmed`, and `confirmations = finality` at `finalized`.

mod build;
mod check;
mod elsewhere;
mod evidence;
mod expiry;
mod heights;
pub(crate) mod lifetime;
mod observe;
pub mod options;
mod send;
mod tries;
mod unproven;
mod window;

pub(crate) use build::is_assertion;
pub use build::{CREATE_AND_TRANSFER, OPERATIONS, TRANSFER, WALLET_TRANSFER};
pub(crate) use check::chain_time;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sdk_plugin::chain::{
    Attempt, Bid, Built, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::host::RpcResult;
use sdk_plugin::scheme::Step;
use sdk_plugin::{Amount, ChainDriver, Cx, Fault, async_trait};
use serde_json::json;

use crate::Blockhashes;
use crate::slots::{Newest, Seen, is_near};
use crate::{rpc, text};
use heights::Heights;

/// CAIP-2 namespace.
pub const FAMILY: &str = "solana";

/// JSON-RPC methods that this driver and the schemes of this crate read with.
pub const RPC_READS: &[&str] = &[
    "getBlock",
    "getBlockHeight",
    "getBlocks",
    "getFirstAvailableBlock",
    "getGenesisHash",
    "getHealth",
    "getMultipleAccounts",
    "getSignatureStatuses",
    "getSlot",
    "getTransaction",
    "getVersion",
    "isBlockhashValid",
    "simulateTransaction",
];

/// JSON-RPC methods that send an attempt.
pub const RPC_SENDS: &[&str] = &["sendTransaction"];

/// How long a slot that was seen is good enough for a quote.
const HEAD_GOOD_FOR_MS: u64 = 2_000;

/// The Solana driver. What it remembers is a cache: losing it costs a read or some waiting, never a wrong answer.
#[derive(Debug, Default)]
pub struct SvmDriver {
    networks: Mutex<HashMap<String, Remembered>>,
    blockhashes: Arc<Blockhashes>,
}

/// What is remembered of one network.
#[derive(Debug, Default)]
struct Remembered {
    heights: Heights,
    newest: Newest,
    /// When the newest confirmed slot was seen, milliseconds since the epoch.
    newest_ms: u64,
    expiries: tries::Expiries,
    elsewhere: elsewhere::Elsewhere,
}

impl SvmDriver {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows the scheme what its checks read of recent blockhashes.
    #[must_use]
    pub fn sharing(self, blockhashes: Arc<Blockhashes>) -> Self {
        Self { blockhashes, ..self }
    }

    fn networks(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        // Caches only, each written in one statement.
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records how far the chain is: `height` is the number of blocks that `slot` or a later one has.
    fn record(&self, cx: &Cx, slot: u64, height: u64) {
        let mut networks = self.networks();
        let remembered = networks.entry(cx.network().id.clone()).or_default();
        match remembered.newest.record(slot) {
            Seen::Outlier => return,
            Seen::Anew => remembered.heights = Heights::default(),
            Seen::Near => {}
        }
        // There are no more blocks than slots; the height is read a little later than the slot.
        if height <= slot || is_near(height, slot) {
            remembered.heights.record(slot, height);
        }
        if remembered.newest.slot() == Some(slot) {
            remembered.newest_ms = cx.now_ms();
        }
    }

    /// The newest confirmed slot that is believed, and when it was seen, milliseconds since the epoch.
    fn head(&self, cx: &Cx) -> Option<(u64, u64)> {
        let networks = self.networks();
        let remembered = networks.get(&cx.network().id)?;
        Some((remembered.newest.slot()?, remembered.newest_ms))
    }

    /// Whether a node's slot is far from what is known.
    fn is_outlier(&self, cx: &Cx, slot: &RpcResult) -> bool {
        let RpcResult::Ok(slot) = slot else { return false };
        let known = self.head(cx);
        slot.as_u64()
            .is_some_and(|slot| known.is_some_and(|(known, _)| !is_near(known, slot)))
    }
}

#[async_trait]
impl ChainDriver for SvmDriver {
    async fn check(&self, cx: &Cx, network: &Network) -> Result<Readiness, Fault> {
        let checked = check::check(cx, network, &self.blockhashes).await?;
        self.record(cx, checked.readiness.head_height, checked.block_height);
        Ok(checked.readiness)
    }

    async fn lane(&self, cx: &Cx, lane: &Lane) -> Result<LaneState, Fault> {
        let signer = text::address(&lane.signer).ok_or_else(|| {
            Fault::invalid(format!("the lane's signer {:?} is not an address", lane.signer))
        })?;
        let calls = vec![rpc::accounts(&[signer])];
        let mut answers = rpc::NODES.read_all(cx, calls).await?;
        let (slot, accounts) = rpc::account_list(answers.take()?, 1)?;
        let lamports = accounts
            .into_iter()
            .flatten()
            .map(|account| account.lamports)
            .sum::<u64>();
        Ok(LaneState {
            next_sequence: 0,
            balance: Amount::from(lamports),
            head_height: slot,
        })
    }

    /// The price is the client's, who signed it: a bid only records how far the chain was.
    async fn quote(&self, cx: &Cx, _lane: &Lane, _previous: Option<&Bid>) -> Result<Bid, Fault> {
        let fresh = |(_, seen_ms): &(u64, u64)| cx.now_ms().saturating_sub(*seen_ms) < HEAD_GOOD_FOR_MS;
        let head_height = match self.head(cx).filter(fresh) {
            Some((slot, _)) => slot,
            None => {
                // The height is read after the slot: it is that of this slot or more.
                let calls = vec![rpc::slot(rpc::CONFIRMED), rpc::block_height(rpc::CONFIRMED)];
                let mut answers = rpc::NODES.read_well_formed(cx, calls).await?;
                let slot = rpc::number(answers.take()?, "getSlot")?;
                self.record(cx, slot, rpc::number(answers.take()?, "getBlockHeight")?);
                // A slot far from everything known is no head to start from.
                let known = self.head(cx).map(|(known, _)| known);
                known.filter(|known| !is_near(*known, slot)).unwrap_or(slot)
            }
        };
        Ok(Bid {
            terms: json!({}),
            head_height,
        })
    }

    async fn build(&self, cx: &Cx, slot: &Slot, _bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
        build::steps(cx, slot, steps).await
    }

    async fn fill(&self, _cx: &Cx, _slot: &Slot, _bid: &Bid) -> Result<Built, Fault> {
        Err(Fault::unsupported(
            "transactions are not numbered here: there is nothing to fill",
        ))
    }

    async fn broadcast(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
        send::broadcast(cx, attempt).await
    }

    async fn observe(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        self.observe_all(cx, watches).await
    }
}
