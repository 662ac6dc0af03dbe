//! The price of a unit of gas, as nodes show it, and whether it is plausible.
//!
//! A base fee changes by an eighth with a block at most (EIP-1559). One that the node's own history and price, or what was read
//! a moment ago, contradict several times over decides nothing: two nodes are read, and the answer that fits counts. Where
//! none does, what was known counts for a minute. Whatever counts, no bid goes above the configured ceiling.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use sdk_plugin::host::{Level, RpcCall, RpcResult};
use sdk_plugin::{Cx, Fault, Value};
use serde_json::json;

mod remembered;

use super::EvmDriver;
use crate::abi::{GAS_PRICE_ORACLE, GasPriceOracle};
use crate::rpc::{self, Answers, EthCall, Executed};

pub(super) use remembered::Remembered;

/// How long a market is remembered, in milliseconds: about a block of a fast chain.
const MARKET_TTL_MS: u64 = 2_000;
/// For how long the L1 data fee of a chain without one is not read, in milliseconds: fees come with upgrades of a chain.
const NO_L1_FEE_TTL_MS: u64 = 3_600_000;
/// Blocks of history that the tip is taken from.
const HISTORY_BLOCKS: u64 = 5;
/// Percentile of the tips in each of them.
const TIP_PERCENTILE: u64 = 50;
/// Bytes of transaction that one L1 data fee is quoted for.
pub(super) const L1_FEE_UNIT_BYTES: u64 = 512;
/// No L1 data fee of that many bytes reaches this amount, in wei: one coin.
const MOST_L1_FEE_WEI: u64 = 1_000_000_000_000_000_000;

/// A base fee is at most this many times another one that was read a few blocks apart.
const MOST_TIMES_NEXT: u128 = 4;
/// So few blocks: a rise by an eighth with each of them is less than [`MOST_TIMES_NEXT`].
const FEW_BLOCKS: u64 = 11;
/// Prices below this are accepted whatever else a node reports, in wei per gas.
const LEAST_CLAMP_WEI: u128 = 1_000_000_000;
/// The tips of past blocks are at most this many times what the node itself calls the price: who pays for a few transactions
/// must not set ours.
const MOST_TIMES_PRICE: u128 = 10;
/// What the node calls the price is at most this many times the base fee.
const MOST_TIMES_BASE_FEE: u128 = 100;

/// The current price, in wei per unit of gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Market {
    /// `None`: blocks have no base fee.
    pub(super) base_fee: Option<u128>,
    /// With a base fee, the tip; without, the whole price.
    pub(super) tip: u128,
    pub(super) l1_fee_per_unit: U256,
    pub(super) head_height: u64,
}

impl EvmDriver {
    /// What was read of a network's prices in the last minute.
    pub(super) fn known_market(&self, network: &str, now_ms: u64) -> Option<Market> {
        let remembered = self.networks().get(network)?.market?;
        remembered.known(now_ms)
    }

    pub(super) async fn market(&self, cx: &Cx) -> Result<Market, Fault> {
        let network = &cx.network().id;
        let now_ms = cx.now_ms();
        let remembered = self.networks().get(network).and_then(|known| known.market);
        if let Some(known) = remembered
            && now_ms
                .checked_sub(known.read_ms)
                .is_some_and(|age_ms| age_ms < MARKET_TTL_MS)
        {
            return Ok(known.market);
        }
        let has_l1_fee = self
            .networks()
            .get(network)
            .and_then(|known| known.no_l1_fee_until_ms)
            .is_none_or(|until_ms| now_ms >= until_ms);
        if let Some(before) = remembered.filter(|before| !has_l1_fee || before.has_l1_fee(now_ms))
            && let Some(market) = before.moved_on(cx, now_ms).await?
        {
            let read = Remembered {
                market,
                read_ms: now_ms,
                ..before
            };
            self.networks().entry(network.clone()).or_default().market = Some(read);
            return Ok(market);
        }
        let mut calls = vec![
            rpc::newest_block(),
            fee_history(),
            rpc::request("eth_gasPrice", json!([])),
        ];
        if has_l1_fee {
            calls.push(l1_fee_question().call());
        }
        let mut answers = rpc::NODES.read_well_formed(cx, calls.clone()).await?;
        let first = Shown::take(&mut answers, has_l1_fee)?;
        let known = remembered.and_then(|remembered| remembered.known(now_ms));
        let shown = match first.doubt(known.as_ref()) {
            None => Some(first),
            Some(why) => settled(cx, calls, first, known.as_ref(), &why).await,
        };
        let Some(Shown {
            mut market,
            l1_fee,
            price_tip,
            ..
        }) = shown
        else {
            return known.ok_or_else(|| Fault::unavailable("no node shows prices that can be"));
        };
        market.l1_fee_per_unit = match &l1_fee {
            Ok(fee) => fee.unwrap_or(U256::ZERO),
            Err(fault) => {
                // It only makes budgets exact: a node that does not return it must not stop the network.
                let fields = json!({ "why": fault.message });
                cx.log(
                    Level::Warn,
                    "evm::fees",
                    "the L1 data fee could not be read: the last known one counts",
                    &fields,
                );
                remembered.map_or(U256::ZERO, |known| known.market.l1_fee_per_unit)
            }
        };
        let mut networks = self.networks();
        let known = networks.entry(network.clone()).or_default();
        known.market = Some(Remembered {
            market,
            read_ms: now_ms,
            price_tip: price_tip.map(|tip| (tip, now_ms)),
            l1_fee_ms: l1_fee.is_ok().then_some(now_ms),
        });
        if has_l1_fee && l1_fee == Ok(None) {
            known.no_l1_fee_until_ms = Some(now_ms.saturating_add(NO_L1_FEE_TTL_MS));
        }
        Ok(market)
    }
}

/// Of what two nodes and the first one show, what fits best; `None`: nothing does, and what was known is better.
async fn settled(
    cx: &Cx,
    calls: Vec<RpcCall>,
    first: Shown,
    known: Option<&Market>,
    why: &str,
) -> Option<Shown> {
    let has_l1_fee = calls.len() > 3;
    let fields = json!({ "network": cx.network().id, "why": why });
    cx.log(
        Level::Warn,
        "evm::fees",
        "a node shows impossible prices: other nodes are queried",
        &fields,
    );
    let others = match rpc::compare_or_read(cx, calls).await {
        Ok(nodes) => nodes.sets,
        Err(_) => Vec::new(),
    };
    let others = others
        .into_iter()
        .filter_map(|mut answers| Shown::take(&mut answers, has_l1_fee).ok());
    let best = std::iter::once(first)
        .chain(others)
        .min_by_key(|shown| (shown.contradiction.is_some(), shown.doubt(known).is_some()))?;
    // A node that contradicts itself is worth less than what was known a moment ago.
    (best.contradiction.is_none() || known.is_none()).then_some(best)
}

/// What one node shows.
#[derive(Debug)]
struct Shown {
    /// Without the L1 data fee.
    market: Market,
    /// `None`: this chain has none.
    l1_fee: Result<Option<U256>, Fault>,
    /// What its price of gas adds to the base fee, in wei; `None`: it shows no price.
    price_tip: Option<u128>,
    /// What in the node's answers contradicts the rest of them.
    contradiction: Option<String>,
}

impl Shown {
    fn take(answers: &mut Answers, has_l1_fee: bool) -> Result<Self, Fault> {
        let (head, history, price) = (answers.take()?, answers.take()?, answers.take()?);
        let l1_fee = if has_l1_fee {
            l1_fee_of(answers.take()?)
        } else {
            Ok(None)
        };
        Ok(Self {
            l1_fee,
            ..Self::read(head, history, price)?
        })
    }

    /// Without the L1 data fee.
    fn read(head: RpcResult, history: RpcResult, price: RpcResult) -> Result<Self, Fault> {
        let gas_price = match &price {
            RpcResult::Ok(price) => wei(price).ok(),
            RpcResult::Error(_) => None,
        };
        let (market, contradiction) = Market::read(head, history, price)?;
        let base_fee = market.base_fee.unwrap_or(0);
        Ok(Self {
            market,
            l1_fee: Ok(None),
            price_tip: gas_price.map(|price| price.saturating_sub(base_fee)),
            contradiction,
        })
    }

    /// Why this can't be so.
    fn doubt(&self, known: Option<&Market>) -> Option<String> {
        self.contradiction.clone().or_else(|| {
            let known = known?;
            let is_near = self.market.head_height.abs_diff(known.head_height) <= FEW_BLOCKS;
            match (self.market.base_fee, known.base_fee) {
                (None, Some(before)) => Some(format!("no base fee, and it was {before} wei")),
                (Some(now), Some(before)) if is_near && are_apart(now, before, before) => {
                    Some(format!("a base fee of {now} wei, and it was {before}"))
                }
                (Some(_), Some(_) | None) | (None, None) => None,
            }
        })
    }
}

/// Whether a fee is several times outside of the range of others. Small ones are accepted.
fn are_apart(fee: u128, least: u128, most: u128) -> bool {
    let above = most.saturating_mul(MOST_TIMES_NEXT).max(LEAST_CLAMP_WEI);
    let below = fee.saturating_mul(MOST_TIMES_NEXT).max(LEAST_CLAMP_WEI);
    fee > above || least > below
}

impl Market {
    /// The market by one node's answers, and what in them contradicts the rest.
    pub(super) fn read(
        head: RpcResult,
        history: RpcResult,
        price: RpcResult,
    ) -> Result<(Self, Option<String>), Fault> {
        let head = rpc::value(head, "eth_getBlockByNumber")?;
        let head_height = head
            .get("number")
            .and_then(rpc::as_count)
            .ok_or_else(|| rpc::malformed_block(&head, &["number"]))?;
        let gas_price = rpc::value(price, "eth_gasPrice").and_then(|price| wei(&price));
        let of = |base_fee, tip| Self {
            base_fee,
            tip,
            l1_fee_per_unit: U256::ZERO,
            head_height,
        };
        // Only the head block distinguishes a chain before London from one whose base fee is 0: fee histories contain 0 for
        // both.
        let Some(own_base_fee) = head.get("baseFeePerGas").filter(|fee| !fee.is_null()) else {
            return Ok((of(None, gas_price?), None));
        };
        let read_base_fee = wei(own_base_fee);
        let history = match (rpc::value(history, "eth_feeHistory"), &gas_price) {
            (Ok(history), _) => history,
            // Many nodes lack it: the head's own base fee and the node's price are enough.
            (Err(_), Ok(_)) => Value::Null,
            (Err(history), Err(price)) => {
                let (history, price) = (history.message, &price.message);
                return Err(Fault::unavailable(format!("{history}; {price}")));
            }
        };
        let fees = history.get("baseFeePerGas").and_then(Value::as_array);
        // Nodes without a history answer 0 for every block of it.
        let past: Vec<u128> = fees
            .into_iter()
            .flatten()
            .filter_map(|fee| wei(fee).ok())
            .filter(|fee| *fee > 0)
            .collect();
        let own_base_fee = match (&read_base_fee, past.last(), &gas_price) {
            (Ok(fee), _, _) | (Err(_), Some(fee), _) | (Err(_), None, Ok(fee)) => *fee,
            (Err(fault), None, Err(_)) => return Err(fault.clone()),
        };
        let next_base_fee = match fees.and_then(|fees| fees.last()) {
            // One answer with an absurd number must not make every payment too expensive: a base fee rises by an eighth with
            // a block.
            Some(fee) => wei(fee).map_or(own_base_fee, |fee| {
                fee.min(own_base_fee.saturating_mul(MOST_TIMES_NEXT).max(LEAST_CLAMP_WEI))
            }),
            None => own_base_fee,
        };
        let base_fee = next_base_fee.max(own_base_fee);
        // Where most blocks are empty, or their tips are far above the node's own price, its price is used.
        let of_price = || {
            gas_price
                .as_ref()
                .map_or(0, |price| price.saturating_sub(base_fee))
        };
        let most_tip = match &gas_price {
            Ok(price) if *price > 0 => price.saturating_mul(MOST_TIMES_PRICE).max(LEAST_CLAMP_WEI),
            Ok(_) | Err(_) => u128::MAX,
        };
        let (tip, is_of_price) = match median_tip(&history) {
            tip if tip == 0 || tip > most_tip => (of_price(), true),
            tip => (tip, false),
        };
        let contradiction = if read_base_fee.is_err() {
            Some("the head's base fee is no price".into())
        } else {
            let price = gas_price.as_ref().ok().copied();
            contradicts_history(own_base_fee, &past, price).or_else(|| {
                let is_absurd =
                    is_of_price && tip > base_fee.max(LEAST_CLAMP_WEI).saturating_mul(MOST_TIMES_BASE_FEE);
                is_absurd.then(|| format!("the base fee is {base_fee} wei, the tip {tip}"))
            })
        };
        Ok((of(Some(base_fee), tip), contradiction))
    }
}

/// Why a head's base fee does not fit those of past blocks; without them, the node's own price.
fn contradicts_history(base_fee: u128, past: &[u128], price: Option<u128>) -> Option<String> {
    match (past.iter().min(), past.iter().max(), price) {
        (Some(least), Some(most), _) if are_apart(base_fee, *least, *most) => Some(format!(
            "the head's base fee is {base_fee} wei, those of its history are {least} to {most}"
        )),
        (None, None, Some(price))
            if base_fee > price.saturating_mul(MOST_TIMES_NEXT).max(LEAST_CLAMP_WEI) =>
        {
            Some(format!(
                "the head's base fee is {base_fee} wei, the node's price {price}"
            ))
        }
        _ => None,
    }
}

/// The median over the blocks of the tip paid at [`TIP_PERCENTILE`]; 0 without any. An empty block needed none: otherwise a single
/// transaction in a quiet hour would set the tip of all that follow, ours among them.
fn median_tip(history: &Value) -> u128 {
    let rewards = history.get("reward").and_then(Value::as_array);
    let mut tips: Vec<u128> = rewards
        .into_iter()
        .flatten()
        .filter_map(|block| block.get(0).and_then(|tip| wei(tip).ok()))
        .collect();
    tips.sort_unstable();
    let middle = tips.len().saturating_sub(1) / 2;
    tips.get(middle).copied().unwrap_or(0)
}

fn fee_history() -> RpcCall {
    rpc::request(
        "eth_feeHistory",
        json!([crate::text::quantity(HISTORY_BLOCKS), "latest", [TIP_PERCENTILE]]),
    )
}

fn wei(value: &Value) -> Result<u128, Fault> {
    rpc::as_u256(value)
        .and_then(|wei| u128::try_from(wei).ok())
        .ok_or_else(|| Fault::unavailable("the node answered a price that is no quantity"))
}

/// Reads the data fee of bytes that compress badly. Where the predeploy is missing, the answer is empty.
fn l1_fee_question() -> EthCall {
    let mut data = Vec::new();
    let mut word = alloy_primitives::keccak256(b"");
    while (data.len() as u64) < L1_FEE_UNIT_BYTES {
        data.extend_from_slice(word.as_slice());
        word = alloy_primitives::keccak256(word);
    }
    EthCall {
        from: None,
        to: GAS_PRICE_ORACLE,
        data: GasPriceOracle::getL1FeeCall { data: data.into() }.abi_encode(),
        gas: None,
    }
}

/// The L1 data fee of a unit; `None`: no code there, or other code than the oracle's, so there is none.
fn l1_fee_of(result: RpcResult) -> Result<Option<U256>, Fault> {
    let fee = match rpc::executed(result, "getL1Fee")? {
        Executed::Returned(data) => data.first_chunk::<32>().map(|word| U256::from_be_bytes(*word)),
        Executed::Failed(_) => None,
    };
    if fee.is_some_and(|fee| fee > U256::from(MOST_L1_FEE_WEI)) {
        return Err(Fault::unavailable("getL1Fee: the node answered an absurd fee"));
    }
    Ok(fee)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_absurd_price_of_a_node_prices_nobody_out() {
        let gwei = 1_000_000_000_u128;
        let head = RpcResult::Ok(json!({"number": "0x1", "baseFeePerGas": "0x77359400"}));
        let price = RpcResult::Ok(json!("0x77359400"));
        let read = |history: Value| {
            let market = Market::read(head.clone(), RpcResult::Ok(history), price.clone());
            let (market, _) = market.expect("a market");
            (market.base_fee, market.tip)
        };
        let absurd = json!("0xffffffffffffffffffff");
        assert_eq!(read(json!({"baseFeePerGas": [absurd]})), (Some(8 * gwei), 0));
        assert_eq!(read(json!({"baseFeePerGas": [null]})), (Some(2 * gwei), 0));
        let tips = json!({"baseFeePerGas": ["0x77359400"], "reward": [[absurd]]});
        assert_eq!(read(tips), (Some(2 * gwei), 0));
    }
}
