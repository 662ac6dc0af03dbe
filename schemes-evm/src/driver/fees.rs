//! What to bid. EIP-1559 from the fee history, the old way where blocks have no base fee, never above the ceiling.
//!
//! A new bid offers twice the next block's base fee plus the tip that recent blocks paid, so that it stays good while
//! blocks are full for a while. A replacement raises both fees of the previous bid by an eighth, the most that any node
//! requires, and follows the market where that is higher. It is refused once it would offer several times what blocks show.

use sdk_plugin::chain::Bid;
use sdk_plugin::{Amount, Cx, Fault};
use serde::{Deserialize, Serialize};

use super::EvmDriver;
use super::market::Market;
use crate::options::Options;

/// How long a price counts that a node has named, in milliseconds. A node that still wants it names it again.
const NAMED_PRICE_TTL_MS: u64 = 60_000;
/// A replacement offers at most this many times what a new bid would offer now. A node that calls every bid too low must not
/// raise the price without end: blocks show what is paid, a node's wording does not.
const MOST_TIMES_MARKET: u128 = 4;

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

/// A price that a node has named in a refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct NamedPrice {
    wei: u128,
    until_ms: u64,
}

impl NamedPrice {
    pub(super) fn now(cx: &Cx, wei: u128) -> Self {
        Self {
            wei,
            until_ms: cx.now_ms().saturating_add(NAMED_PRICE_TTL_MS),
        }
    }
}

impl EvmDriver {
    pub(super) async fn bid(&self, cx: &Cx, previous: Option<&Bid>) -> Result<Bid, Fault> {
        let options = Options::read(&cx.network().options)?;
        let previous = previous.map(Terms::read).transpose()?;
        let mut market = self.market(cx).await?;
        let named = self
            .networks()
            .get(&cx.network().id)
            .and_then(|known| known.named_price);
        if let Some(named) = named.filter(|named| cx.now_ms() < named.until_ms) {
            market.raise_to(named.wei);
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
}

impl Market {
    /// Offers at least the price that a node has named, as far as it is not absurd: a node's wording must not raise the
    /// price without end.
    fn raise_to(&mut self, named_wei: u128) {
        let price = self.base_fee.unwrap_or(0).saturating_add(self.tip).max(1);
        if named_wei <= price.saturating_mul(MOST_TIMES_MARKET) {
            self.tip = self.tip.max(named_wei);
        }
    }
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

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;
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
    fn t40_no_bid_goes_above_the_ceiling() {
        let options = Options {
            max_fee_per_gas_wei: 1_000_000_000,
            ..Options::default()
        };
        let near = bid(&market(Some(900_000_000), 50_000_000), None, &options, "n").expect("fits");
        assert_eq!(prices(near), (1_000_000_000, 50_000_000));
        let spike =
            bid(&market(Some(90_000_000_000), 1), None, &options, "eip155:1").expect_err("too expensive");
        assert_eq!(spike.kind, sdk_plugin::FaultKind::Denied, "nothing is started");
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
