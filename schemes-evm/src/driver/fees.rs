//! What to bid. EIP-1559 from the fee history, the old way where blocks have no base fee, never above the ceiling.
//!
//! A new bid offers twice the next block's base fee plus the tip that recent blocks paid, so that it stays good while
//! blocks are full for a while. A replacement raises both fees of the previous bid by an eighth, the most that any node
//! asks for, and follows the market where that is higher. It is refused once it would offer several times what blocks show.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use sdk_plugin::chain::Bid;
use sdk_plugin::host::{Level, RpcResult};
use sdk_plugin::{Amount, Cx, Fault, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::EvmDriver;
use super::options::Options;
use crate::abi::{GAS_PRICE_ORACLE, GasPriceOracle};
use crate::rpc::{self, EthCall, Executed};

/// How long a market is remembered, in milliseconds: about a block of a fast chain.
const MARKET_TTL_MS: u64 = 2_000;
/// How long a chain without an L1 data fee is not asked for one, in milliseconds: fees come with upgrades of a chain.
const NO_L1_FEE_TTL_MS: u64 = 3_600_000;
/// How long a price counts that a node has named, in milliseconds. A node that still wants it names it again.
const ASKED_PRICE_TTL_MS: u64 = 60_000;
/// Blocks of history that the tip is taken from.
const HISTORY_BLOCKS: u64 = 5;
/// Percentile of the tips in each of them.
const TIP_PERCENTILE: u64 = 50;
/// A replacement offers at most this many times what a new bid would offer now. A node that calls every bid too low must not
/// raise the price without end: blocks show what is paid, a node's wording does not.
const MOST_TIMES_MARKET: u128 = 4;
/// Bytes of transaction that one L1 data fee is quoted for.
pub(super) const L1_FEE_UNIT_BYTES: u64 = 512;

/// The driver's terms of a [`Bid`]. All prices in wei per unit of gas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terms {
    pub(super) fees: Fees,
    /// OP-stack: the L1 data fee of each started 512 bytes, in wei.
    #[serde(default)]
    pub(super) l1_fee_per_unit: Amount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Fees {
    Eip1559 {
        max_fee: Amount,
        max_priority_fee: Amount,
    },
    Legacy {
        gas_price: Amount,
    },
}

impl Terms {
    pub(super) fn read(bid: &Bid) -> Result<Self, Fault> {
        serde_json::from_value(bid.terms.clone())
            .map_err(|error| Fault::invalid(format!("the bid is not one of the EVM driver: {error}")))
    }
}

/// What the chain asks for now, in wei per unit of gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Market {
    /// `None`: blocks have no base fee.
    base_fee: Option<u128>,
    /// With a base fee, the tip; without, the whole price.
    tip: u128,
    l1_fee_per_unit: U256,
    head_height: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Remembered {
    market: Market,
    read_ms: u64,
}

/// A price that a node has asked for in a refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedPrice {
    wei: u128,
    until_ms: u64,
}

impl AskedPrice {
    pub(super) fn now(cx: &Cx, wei: u128) -> Self {
        Self {
            wei,
            until_ms: cx.now_ms().saturating_add(ASKED_PRICE_TTL_MS),
        }
    }
}

impl EvmDriver {
    pub(super) async fn bid(&self, cx: &Cx, previous: Option<&Bid>) -> Result<Bid, Fault> {
        let options = Options::read(&cx.network().options)?;
        let previous = previous.map(Terms::read).transpose()?;
        let mut market = self.market(cx).await?;
        let asked = self
            .networks()
            .get(&cx.network().id)
            .and_then(|known| known.asked_price);
        if let Some(asked) = asked.filter(|asked| cx.now_ms() < asked.until_ms) {
            market.raise_to(asked.wei);
        }
        let fees = bid(
            &market,
            previous.map(|terms| terms.fees),
            &options,
            &cx.network().id,
        )?;
        let terms = Terms {
            fees,
            l1_fee_per_unit: Amount(market.l1_fee_per_unit),
        };
        Ok(Bid {
            terms: serde_json::to_value(terms).map_err(|error| Fault::internal(format!("bid: {error}")))?,
            head_height: market.head_height,
        })
    }

    async fn market(&self, cx: &Cx) -> Result<Market, Fault> {
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
        let mut calls = vec![
            rpc::newest_block(),
            rpc::request(
                "eth_feeHistory",
                json!([crate::text::quantity(HISTORY_BLOCKS), "latest", [TIP_PERCENTILE]]),
            ),
            rpc::request("eth_gasPrice", json!([])),
        ];
        if has_l1_fee {
            calls.push(l1_fee_question().call());
        }
        let mut answers = rpc::read_well_formed(cx, calls).await?;
        let (head, history, price) = (answers.take()?, answers.take()?, answers.take()?);
        let l1_fee = if has_l1_fee {
            l1_fee_of(answers.take()?).unwrap_or_else(|fault| {
                // It only makes budgets exact: a node that can't tell it must not stop the network.
                let fields = json!({ "why": fault.message });
                cx.log(
                    Level::Warn,
                    "evm::fees",
                    "the L1 data fee could not be read: the last known one counts",
                    &fields,
                );
                Some(remembered.map_or(U256::ZERO, |known| known.market.l1_fee_per_unit))
            })
        } else {
            None
        };
        let market = Market::read(head, history, price, l1_fee.unwrap_or(U256::ZERO))?;
        let mut networks = self.networks();
        let known = networks.entry(network.clone()).or_default();
        known.market = Some(Remembered {
            market,
            read_ms: now_ms,
        });
        if has_l1_fee && l1_fee.is_none() {
            known.no_l1_fee_until_ms = Some(now_ms.saturating_add(NO_L1_FEE_TTL_MS));
        }
        Ok(market)
    }
}

/// The next block's base fee in a history is at most so many times the head's.
const MOST_TIMES_NEXT: u128 = 4;
/// Prices below this are believed whatever the head's base fee is, in wei per gas.
const LEAST_CLAMP_WEI: u128 = 1_000_000_000;
/// The tips of a history are at most so many times what the node itself calls the price.
const MOST_TIMES_PRICE: u128 = 100;

impl Market {
    /// Offers at least the price that a node has named, as far as it is not absurd: a node's wording must not raise the
    /// price without end.
    fn raise_to(&mut self, asked_wei: u128) {
        let price = self.base_fee.unwrap_or(0).saturating_add(self.tip).max(1);
        if asked_wei <= price.saturating_mul(MOST_TIMES_MARKET) {
            self.tip = self.tip.max(asked_wei);
        }
    }

    fn read(
        head: RpcResult,
        history: RpcResult,
        price: RpcResult,
        l1_fee_per_unit: U256,
    ) -> Result<Self, Fault> {
        let head = rpc::value(head, "eth_getBlockByNumber")?;
        let head_height = head
            .get("number")
            .and_then(rpc::as_u64)
            .ok_or_else(|| Fault::unavailable("the node's head block has no number"))?;
        let gas_price = rpc::value(price, "eth_gasPrice").and_then(|price| wei(&price));
        // Only the head block tells a chain before London from one whose base fee is 0: fee histories say 0 for both.
        let Some(own_base_fee) = head.get("baseFeePerGas").filter(|fee| !fee.is_null()) else {
            return Ok(Self {
                base_fee: None,
                tip: gas_price?,
                l1_fee_per_unit,
                head_height,
            });
        };
        let own_base_fee = wei(own_base_fee)?;
        let history = match (rpc::value(history, "eth_feeHistory"), &gas_price) {
            (Ok(history), _) => history,
            // Many nodes lack it: the head's own base fee and the node's price do as well.
            (Err(_), Ok(_)) => Value::Null,
            (Err(history), Err(price)) => {
                let (history, price) = (history.message, &price.message);
                return Err(Fault::unavailable(format!("{history}; {price}")));
            }
        };
        let next_base_fee = match history
            .get("baseFeePerGas")
            .and_then(Value::as_array)
            .and_then(|fees| fees.last())
        {
            // One answer with an absurd number must not price everybody out: a base fee rises by an eighth with a block.
            Some(fee) => wei(fee).map_or(own_base_fee, |fee| {
                fee.min(own_base_fee.saturating_mul(MOST_TIMES_NEXT).max(LEAST_CLAMP_WEI))
            }),
            None => own_base_fee,
        };
        let base_fee = next_base_fee.max(own_base_fee);
        let tip = match median_tip(&history) {
            // Empty blocks say nothing about tips; the node's own suggestion does.
            0 => gas_price.map_or(0, |price| price.saturating_sub(base_fee)),
            tip => match gas_price {
                Ok(price) if price > 0 => {
                    tip.min(price.saturating_mul(MOST_TIMES_PRICE).max(LEAST_CLAMP_WEI))
                }
                Ok(_) | Err(_) => tip,
            },
        };
        Ok(Self {
            base_fee: Some(base_fee),
            tip,
            l1_fee_per_unit,
            head_height,
        })
    }
}

/// The median over the blocks of the tip paid at [`TIP_PERCENTILE`]; 0 without any.
fn median_tip(history: &Value) -> u128 {
    let rewards = history.get("reward").and_then(Value::as_array);
    let mut tips: Vec<u128> = rewards
        .into_iter()
        .flatten()
        .filter_map(|block| block.get(0).and_then(|tip| wei(tip).ok()))
        .filter(|tip| *tip > 0)
        .collect();
    tips.sort_unstable();
    tips.get(tips.len() / 2).copied().unwrap_or(0)
}

fn bid(market: &Market, previous: Option<Fees>, options: &Options, network: &str) -> Result<Fees, Fault> {
    let ceiling = options.max_fee_per_gas_wei;
    let above = |needed: u128, why: &str| {
        Fault::denied(format!(
            "{why} on {network} takes {needed} wei per gas, above max_fee_per_gas_wei ({ceiling}); \
             raise it in the network's options, or wait for a lower price"
        ))
    };
    // Whatever the previous bid's form was, both of its prices must be beaten.
    let (least_max, least_tip) = match previous {
        None => (0, 0),
        Some(Fees::Eip1559 {
            max_fee,
            max_priority_fee,
        }) => (raised(max_fee)?, raised(max_priority_fee)?),
        Some(Fees::Legacy { gas_price }) => (raised(gas_price)?, raised(gas_price)?),
    };
    if least_max > ceiling {
        return Err(above(least_max, "replacing the previous transaction"));
    }
    let market_tip = market.tip.max(options.min_priority_fee_per_gas_wei);
    let market_price = match market.base_fee {
        Some(base_fee) => base_fee.saturating_mul(2).saturating_add(market_tip),
        None => market.tip.max(1),
    };
    let most = market_price.saturating_mul(MOST_TIMES_MARKET);
    if least_max > most {
        return Err(Fault::denied(format!(
            "the previous transaction on {network} already offers more than {MOST_TIMES_MARKET} times what blocks show \
             ({market_price} wei per gas): it is sent again as it is"
        )));
    }
    let eip1559 = market.base_fee.filter(|_| !options.legacy);
    let Some(base_fee) = eip1559 else {
        let legacy_price = match market.base_fee {
            None => market.tip,
            Some(base_fee) => base_fee.saturating_add(market.tip),
        };
        let gas_price = legacy_price.max(least_max).max(1);
        if gas_price > ceiling {
            return Err(above(gas_price, "the market"));
        }
        return Ok(Fees::Legacy {
            gas_price: Amount::from(gas_price),
        });
    };
    let tip = market_tip.max(least_tip);
    let needed = base_fee.saturating_add(tip);
    if needed > ceiling {
        return Err(above(needed, "the market"));
    }
    let max_fee = base_fee
        .saturating_mul(2)
        .saturating_add(tip)
        .min(ceiling)
        .max(least_max);
    Ok(Fees::Eip1559 {
        max_fee: Amount::from(max_fee),
        max_priority_fee: Amount::from(tip),
    })
}

/// An eighth more, rounded up, and at least 1 more.
fn raised(price: Amount) -> Result<u128, Fault> {
    u128::try_from(price.0)
        .ok()
        .and_then(|price| price.checked_add((price / 8).checked_add(1)?))
        .ok_or_else(|| Fault::invalid("the previous bid is absurd"))
}

fn wei(value: &Value) -> Result<u128, Fault> {
    rpc::as_u256(value)
        .and_then(|wei| u128::try_from(wei).ok())
        .ok_or_else(|| Fault::unavailable("the node answered a price that is no quantity"))
}

/// Asks for the data fee of bytes that compress badly. Where the predeploy is missing, the answer is empty.
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
    Ok(match rpc::executed(result, "getL1Fee")? {
        Executed::Returned(data) => data.first_chunk::<32>().map(|word| U256::from_be_bytes(*word)),
        Executed::Failed(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn market(base_fee: Option<u128>, tip: u128) -> Market {
        Market {
            base_fee,
            tip,
            l1_fee_per_unit: U256::ZERO,
            head_height: 1,
        }
    }

    fn prices(fees: Fees) -> (u128, u128) {
        let (max, tip) = match fees {
            Fees::Eip1559 {
                max_fee,
                max_priority_fee,
            } => (max_fee, max_priority_fee),
            Fees::Legacy { gas_price } => (gas_price, gas_price),
        };
        (max.0.to::<u128>(), tip.0.to::<u128>())
    }

    #[test]
    fn a_new_bid_doubles_the_base_fee_and_pays_the_market_tip() {
        let options = Options::default();
        let fees = bid(&market(Some(100), 5_000_000), None, &options, "n").expect("a bid");
        assert_eq!(prices(fees), (5_000_200, 5_000_000));
        let floor = bid(&market(Some(100), 0), None, &options, "n").expect("a bid");
        assert_eq!(prices(floor), (1_000_200, 1_000_000));
        let legacy = bid(&market(None, 7), None, &options, "n").expect("a bid");
        assert_eq!(
            legacy,
            Fees::Legacy {
                gas_price: Amount::from(7u64)
            }
        );
        let chosen = Options {
            legacy: true,
            ..options
        };
        let legacy = bid(&market(Some(100), 7), None, &chosen, "n").expect("a bid");
        assert_eq!(
            legacy,
            Fees::Legacy {
                gas_price: Amount::from(107u64)
            }
        );
    }

    #[test]
    fn one_absurd_price_of_a_node_prices_nobody_out() {
        let gwei = 1_000_000_000_u128;
        let head = RpcResult::Ok(json!({"number": "0x1", "baseFeePerGas": "0x77359400"}));
        let price = RpcResult::Ok(json!("0x77359400"));
        let read = |history: Value| {
            let market = Market::read(head.clone(), RpcResult::Ok(history), price.clone(), U256::ZERO);
            let market = market.expect("a market");
            (market.base_fee, market.tip)
        };
        let absurd = json!("0xffffffffffffffffffff");
        assert_eq!(read(json!({"baseFeePerGas": [absurd]})), (Some(8 * gwei), 0));
        assert_eq!(read(json!({"baseFeePerGas": [null]})), (Some(2 * gwei), 0));
        let tips = json!({"baseFeePerGas": ["0x77359400"], "reward": [[absurd]]});
        assert_eq!(read(tips), (Some(2 * gwei), 200 * gwei));
    }

    #[test]
    fn t40_no_bid_goes_above_the_ceiling() {
        let options = Options {
            max_fee_per_gas_wei: 1_000_000_000,
            ..Options::default()
        };
        let near = bid(&market(Some(900_000_000), 50_000_000), None, &options, "n").expect("fits");
        assert_eq!(prices(near), (1_000_000_000, 50_000_000));
        let spike = bid(&market(Some(90_000_000_000), 1), None, &options, "eip155:1").expect_err("too dear");
        assert_eq!(spike.kind, sdk_plugin::FaultKind::Denied);
        assert!(
            spike.message.contains("max_fee_per_gas_wei (1000000000)"),
            "{spike}"
        );
        assert!(bid(&market(None, 1_000_000_001), None, &options, "n").is_err());
        assert!(
            bid(&market(Some(1), 1), Some(near), &options, "n").is_err(),
            "no replacement above it"
        );
    }

    proptest! {
        #[test]
        fn replacements_satisfy_every_node(
            base in 0..u128::from(u64::MAX), tip in 0..u128::from(u64::MAX),
            later_base in 0..u128::from(u64::MAX), later_tip in 0..u128::from(u64::MAX),
            legacy_then_eip1559 in any::<bool>(),
        ) {
            let options = Options { max_fee_per_gas_wei: u128::MAX, ..Options::default() };
            let first = market((!legacy_then_eip1559).then_some(base), tip);
            let first = bid(&first, None, &options, "n").expect("a bid");
            let second = bid(&market(Some(later_base), later_tip), Some(first), &options, "n");
            let Ok(second) = second else {
                // Only where the first offers several times what blocks show by now.
                let tip = later_tip.max(options.min_priority_fee_per_gas_wei);
                let market_price = later_base * 2 + tip;
                prop_assert!(prices(first).0 * 9 / 8 + 2 > market_price * MOST_TIMES_MARKET);
                return Ok(());
            };
            let ((max, tip), (new_max, new_tip)) = (prices(first), prices(second));
            // 12.5 % more of both, without fractions.
            prop_assert!(new_max * 8 >= max * 9);
            prop_assert!(new_tip * 8 >= tip * 9);
            prop_assert!(new_max >= new_tip);
            prop_assert!(new_max >= later_base + later_tip);
        }
    }
}
