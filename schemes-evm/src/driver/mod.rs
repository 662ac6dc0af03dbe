//! The driver of every `eip155` network.
//!
//! | function | module | round trips |
//! |---|---|---|
//! | check | `check`, `allowances`, `gas`, `tokens` | 1; two or three more after the start, one more when calls have failed |
//! | lane | here | 1 |
//! | quote | `fees`, `market` | 0 or 1: the market is remembered for two seconds |
//! | build, fill | `build`, `shared` | 0, and one signature by the host; 1 for several steps, and for one that lost a slot |
//! | broadcast | `send` | 1 |
//! | observe | `observe` | 1; more for what has reads, reverted, has a used slot, or is searched for |
//!
//! Transactions of a signer are numbered, so lanes are ordered and a slot's sequence is the nonce. Nonces are read at
//! `latest` only: what waits in a node's pool is the host's own business, and the host knows it better.

mod allowances;
mod build;
mod check;
mod depths;
mod fees;
mod foreign;
mod gas;
mod market;
mod observe;
#[cfg(test)]
mod official_types_tests;
mod receipt;
mod send;
mod shared;
mod tokens;
mod wording;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::Address;
use sdk_plugin::chain::{
    Attempt, Bid, Built, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::scheme::Step;
use sdk_plugin::{Amount, ChainDriver, Cx, Fault, async_trait};
use serde_json::json;

use crate::step::DEFAULT_MAX_GAS;
use crate::{rpc, text};

/// CAIP-2 namespace.
pub const FAMILY: &str = "eip155";

/// JSON-RPC methods that this driver and the schemes of this crate read with.
pub const RPC_READS: &[&str] = &[
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_getBalance",
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getCode",
    "eth_getLogs",
    "eth_getTransactionByHash",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_simulateV1",
];

/// JSON-RPC methods that send an attempt.
pub const RPC_SENDS: &[&str] = &["eth_sendRawTransaction"];

/// The EVM driver. What it remembers is a cache: losing it costs a read or some waiting, never a wrong answer.
#[derive(Debug)]
pub struct EvmDriver {
    /// CAIP-2 id and token: what is audited on networks that take any asset.
    known_assets: Vec<(String, Address)>,
    /// What the scheme `exact` of the same file allows a payment, in gas.
    max_gas: u64,
    networks: Mutex<HashMap<String, Remembered>>,
}

/// What is remembered of one network.
#[derive(Debug, Default)]
struct Remembered {
    market: Option<market::Remembered>,
    /// The least price that a node has named when it refused a bid.
    named_price: Option<fees::NamedPrice>,
    /// Until when the L1 data fee is not read, milliseconds since the epoch: the chain has none.
    no_l1_fee_until_ms: Option<u64>,
    /// A node did not understand a block that was named by its hash (EIP-1898).
    blocks_by_number_only: bool,
    /// What nodes have reported about searches of logs.
    log_limits: foreign::LogLimits,
    /// Whose allowances were found to be in order, on nodes that run calls.
    audited: Option<allowances::Subject>,
    /// Warnings for the operator at each check about assets: the gas of their transfers, and how they are described.
    asset_warnings: Vec<String>,
}

impl Default for EvmDriver {
    fn default() -> Self {
        Self {
            known_assets: Vec::new(),
            max_gas: DEFAULT_MAX_GAS,
            networks: Mutex::default(),
        }
    }
}

impl EvmDriver {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the limit of gas that `exact` is configured with: its checks warn of tokens that need more.
    #[must_use]
    pub fn with_max_gas(self, max_gas: u64) -> Self {
        Self { max_gas, ..self }
    }

    /// With tokens, by CAIP-2 id, whose allowances are audited on networks that take any asset.
    #[must_use]
    pub fn with_known_assets(known_assets: Vec<(String, String)>) -> Self {
        let address = |(network, asset): (String, String)| Some((network, text::address(&asset)?));
        Self {
            known_assets: known_assets.into_iter().filter_map(address).collect(),
            ..Self::default()
        }
    }

    fn networks(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        // Caches only, each written in one statement.
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ChainDriver for EvmDriver {
    async fn check(&self, cx: &Cx, network: &Network) -> Result<Readiness, Fault> {
        let checked = self.checked(cx, network).await;
        if checked.is_err() {
            // Whatever comes back may be another node.
            self.networks().entry(network.id.clone()).or_default().audited = None;
        }
        checked
    }

    async fn lane(&self, cx: &Cx, lane: &Lane) -> Result<LaneState, Fault> {
        let calls = vec![
            rpc::chain_id(),
            rpc::newest_block(),
            rpc::transaction_count(&lane.signer, json!("latest")),
            rpc::request("eth_getBalance", json!([lane.signer, "latest"])),
        ];
        let mut answers = rpc::NODES.read_all(cx, calls).await?;
        rpc::check_chain(answers.take()?, &lane.network)?;
        Ok(LaneState {
            head_height: rpc::head(answers.take()?)?.0,
            next_sequence: rpc::count(answers.take()?, "eth_getTransactionCount")?,
            balance: Amount(rpc::big_quantity(answers.take()?, "eth_getBalance")?),
        })
    }

    async fn quote(&self, cx: &Cx, _lane: &Lane, previous: Option<&Bid>) -> Result<Bid, Fault> {
        self.bid(cx, previous).await
    }

    async fn build(&self, cx: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
        build::steps(cx, slot, bid, steps).await
    }

    async fn fill(&self, cx: &Cx, slot: &Slot, bid: &Bid) -> Result<Built, Fault> {
        build::fill(cx, slot, bid).await
    }

    async fn broadcast(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
        self.send(cx, attempt).await
    }

    async fn observe(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        self.observe_all(cx, watches).await
    }
}
