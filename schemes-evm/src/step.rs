//! What every scheme's checks and plans need of a call: who makes it, what it is tried for, and how it becomes a step.

use alloy_primitives::{Address, U256};
use sdk_plugin::chain::Evidence;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::host::{Level, RpcCall, RpcError, RpcResult};
use sdk_plugin::scheme::{Call, Plan, Refusal, Step};
use sdk_plugin::{Amount, Cx, Fault, HexBytes, PaymentRequest, Value};

use serde_json::{Map, json};

use crate::options::Options;
use crate::rpc::{self, EthCall, Executed, Failure};
use crate::text;

/// Default of the setting `max_gas` of `exact`.
pub const DEFAULT_MAX_GAS: u64 = 400_000;

/// What checks are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A verdict: calls are simulated.
    Verdict,
    /// A plan: their gas is estimated, which simulates them.
    Plan,
}

/// Outcome of the checks.
#[derive(Debug)]
pub enum Checked<G> {
    Good(Box<G>),
    Refused(Refusal),
}

impl Wanted {
    /// A verdict needs no balance: the simulation decides. A promise needs one.
    #[must_use]
    pub fn of_verify(request: &PaymentRequest) -> Self {
        if request.wants_reserves {
            Self::Plan
        } else {
            Self::Verdict
        }
    }

    /// The read that tries a call; [`Self::tried`] takes its answer.
    #[must_use]
    pub fn try_out(self, call: &EthCall) -> RpcCall {
        match self {
            Self::Verdict => call.call(),
            Self::Plan => call.estimate(),
        }
    }

    /// Gas that the call used, 0 where only a verdict was wanted; or the EVM's refusal.
    ///
    /// # Errors
    /// A fault of the node.
    pub fn tried(self, answer: RpcResult, what: &str) -> Result<Result<u64, Failure>, Fault> {
        match self {
            Self::Verdict => Ok(match rpc::executed(answer, what)? {
                Executed::Returned(_) => Ok(0),
                Executed::Failed(failure) => Err(failure),
            }),
            Self::Plan => rpc::estimated(answer, what),
        }
    }
}

/// How much gas a call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GasLimits {
    /// The ceiling, in simulation and in the transaction.
    pub max_gas: u64,
    /// What a call is taken to use where no node can estimate it.
    pub assumed: u64,
}

impl GasLimits {
    /// The limits of a transfer of `asset`, by the network's options; `max_gas` where they set none.
    ///
    /// # Errors
    /// The options can't be read.
    pub fn of(network: &NetworkView, asset: Address, max_gas: u64) -> Result<Self, Fault> {
        let options = Options::read(&network.options)?;
        let own = options
            .asset_gas
            .get(&text::lower(asset))
            .copied()
            .unwrap_or_default();
        let first = |choices: [u64; 3]| choices.into_iter().find(|gas| *gas > 0).unwrap_or(max_gas);
        let max_gas = first([own.max_gas, options.max_gas, max_gas]);
        let fixed = first([own.fixed_gas, options.fixed_gas, max_gas]);
        Ok(Self {
            max_gas,
            assumed: fixed.min(max_gas),
        })
    }

    /// The same with a deployment before the transfer.
    #[must_use]
    pub fn with_deployment(self, gas: u64) -> Self {
        Self {
            max_gas: self.max_gas.saturating_add(gas),
            assumed: self.assumed.saturating_add(gas),
        }
    }
}

/// That a call needs more gas than it may use, and what the operator can do.
#[must_use]
pub fn too_much_gas(what: &str, gas: u64, max_gas: u64, network: &NetworkView) -> String {
    let id = &network.id;
    format!(
        "{what} needs {gas} gas, this network's max_gas is {max_gas}; the operator can raise max_gas in the options of \
         networks.{id:?}"
    )
}

/// The answer to an estimate; where nodes fail to make one for reasons of their own, that of the call itself: `assumed` gas
/// when it works (exact-evm.md section 15). Some chains run every call and estimate none. An estimate that no such call can
/// have is none.
///
/// # Errors
/// No node answered the call.
pub async fn or_called(
    cx: &Cx,
    estimate: RpcResult,
    call: RpcCall,
    assumed: u64,
) -> Result<RpcResult, Fault> {
    let estimate_error = match estimate {
        RpcResult::Error(error) if rpc::failure(&error).is_none() => error,
        RpcResult::Ok(gas) if rpc::as_u64(&gas).is_some_and(|gas| gas < rpc::LEAST_CALL_GAS) => RpcError {
            code: 0,
            message: format!("the estimate {gas} is too low for a call that moves tokens"),
            data: Value::Null,
        },
        answer @ (RpcResult::Ok(_) | RpcResult::Error(_)) => return Ok(answer),
    };
    let fields = json!({ "code": estimate_error.code, "message": estimate_error.message });
    cx.log(
        Level::Warn,
        "evm::gas",
        "eth_estimateGas does not work: the call is tried instead",
        &fields,
    );
    Ok(match rpc::NODES.read_well_formed(cx, vec![call]).await?.take()? {
        RpcResult::Ok(_) => RpcResult::Ok(json!(text::quantity(assumed))),
        RpcResult::Error(error) if rpc::failure(&error).is_some() => RpcResult::Error(error),
        RpcResult::Error(error) => RpcResult::Error(RpcError {
            message: format!(
                "{} to eth_estimateGas, and to eth_call {}",
                estimate_error.message, error.message
            ),
            ..error
        }),
    })
}

/// The step of a plan that evidence is about.
///
/// # Errors
/// The plan has no such step, a defect of the host.
pub fn of_evidence<'a>(plan: &'a Plan, evidence: &Evidence) -> Result<&'a Step, Fault> {
    evidence
        .step
        .of(&plan.steps)
        .ok_or_else(|| Fault::invalid(format!("the plan has no step {}", evidence.step)))
}

/// Seconds that a signature must still be good for, so that a transaction sent now lands in time.
const TIME_MARGIN_S: u64 = 6;

/// Whether a signature ends too soon. Both in seconds since the epoch.
#[must_use]
pub fn is_over(end_s: U256, now_s: u64) -> bool {
    end_s < U256::from(now_s) + U256::from(TIME_MARGIN_S)
}

/// Digests have the chain id of the requirements, and reads go to the network of the call.
///
/// # Errors
/// They differ, a defect of the host.
pub fn same_network(cx: &Cx, request: &PaymentRequest) -> Result<(), Fault> {
    if request.requirements.network == cx.network().id {
        return Ok(());
    }
    Err(Fault::internal(
        "the requirements name another network than the call's",
    ))
}

/// The account whose call is simulated where any signer may send it.
///
/// # Errors
/// No signer is granted.
pub fn first_signer(cx: &Cx) -> Result<Address, Fault> {
    let network = cx.network();
    let lane = network
        .lanes
        .first()
        .ok_or_else(|| Fault::unavailable(format!("no signer is granted on {}", network.id)))?;
    text::address(&lane.signer)
        .ok_or_else(|| Fault::internal(format!("the lane's signer on {} is not an address", network.id)))
}

/// The host's spelling of our signer at an address, active or retained; `None`: it is not one of ours.
#[must_use]
pub fn signer_at(address: Address, network: &NetworkView) -> Option<&str> {
    network
        .lanes
        .iter()
        .chain(&network.retained)
        .find(|lane| text::address(&lane.signer) == Some(address))
        .map(|lane| lane.signer.as_str())
}

/// Whether our signer at an address serves earlier payments only. Where two keys have one address, the current one counts.
#[must_use]
pub fn is_retired(address: Address, network: &NetworkView) -> bool {
    let is_it = |signer: &String| text::address(signer) == Some(address);
    let is_current = network.lanes.iter().any(|lane| is_it(&lane.signer));
    !is_current && network.retired.iter().any(is_it)
}

/// The operator's allow-list of assets. The error names what the operator can do.
///
/// # Errors
/// The asset is not on it.
pub fn listed(asset: Address, network: &NetworkView) -> Result<(), String> {
    let asset = text::lower(asset);
    let listed = network
        .assets
        .as_ref()
        .is_none_or(|assets| assets.iter().any(|listed| listed.eq_ignore_ascii_case(&asset)));
    if listed {
        return Ok(());
    }
    let id = &network.id;
    Err(format!(
        "asset {asset} is not allowed on {id}; the operator can add it to `assets` of network {id}"
    ))
}

/// Whether transfers of an asset may share a transaction: the operator has listed it. The calls of a transaction share its
/// gas, so that an unknown asset could use up that of the others.
///
/// # Errors
/// The network's options can't be read.
pub fn is_batchable(asset: Address, network: &NetworkView) -> Result<bool, Fault> {
    let is_described = Options::read(&network.options)?.tokens.contains_key(&asset);
    Ok(is_described || (network.assets.is_some() && listed(asset, network).is_ok()))
}

/// What tells a payment from the others of its transaction (T-125): the nonce that its payer signed, and the positions in the
/// block of the logs that prove it.
#[must_use]
pub fn apart_in_transaction(nonce: Value, items: &[String]) -> Map<String, Value> {
    let position = |item: &String| item.rsplit_once('/')?.1.parse::<u64>().ok();
    let indices: Vec<u64> = items.iter().filter_map(position).collect();
    Map::from_iter([
        ("nonce".to_owned(), nonce),
        ("logIndices".to_owned(), json!(indices)),
    ])
}

/// Gas that every transaction uses.
const TRANSACTION_GAS: u64 = 21_000;
/// Gas for a byte of calldata at the most (EIP-2028).
const CALLDATA_BYTE_GAS: u64 = 16;
/// Gas for what a transfer by signature does at Ethereum's prices (EIP-2929): a signature checked (3,000), the nonce's slot
/// written for the first time (22,100), the payer's balance changed (5,000) and the payee's written for the first time
/// (22,100), a proxy with its implementation and five more slots read (some 16,000), and two events (some 4,000); rounded
/// up.
const TRANSFER_GAS: u64 = 75_000;

/// Gas limit of the transaction of a call that moves tokens. `used`: what it used when it was tried; a quarter more is allowed,
/// because storage may be warm there and cold when it counts. A node's estimate can be too low: the limit is never below what a
/// common transfer needs. What is not used is not paid. At most `max_gas`.
#[must_use]
pub fn gas_limit(data: &[u8], used: u64, max_gas: u64) -> u64 {
    let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
    let least = bytes
        .saturating_mul(CALLDATA_BYTE_GAS)
        .saturating_add(TRANSACTION_GAS + TRANSFER_GAS);
    used.saturating_add(used / 4).max(least).min(max_gas)
}

/// The call of a step, with the gas limit of its transaction.
///
/// # Errors
/// Calldata without a selector, a defect.
pub fn call(target: Address, data: Vec<u8>, gas_limit: u64) -> Result<Call, Fault> {
    let selector = data
        .get(..4)
        .ok_or_else(|| Fault::internal("calldata without a selector"))?;
    Ok(Call {
        target: text::lower(target),
        operation: format!("0x{}", hex::encode(selector)),
        native_value: Amount::ZERO,
        compute_limit: Some(gas_limit),
        data: HexBytes(data),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gas_limit_is_the_estimate_and_a_quarter_but_enough_for_a_transfer() {
        let data = [0; 292];
        assert_eq!(gas_limit(&data, 90_000, 400_000), 112_500);
        assert_eq!(gas_limit(&data, 390_000, 400_000), 400_000);
        assert_eq!(gas_limit(&data, 30_000, 400_000), 100_672);
        assert_eq!(gas_limit(&data, 30_000, 80_000), 80_000, "the operator's ceiling");
        assert_eq!(gas_limit(&[0; 8_192], 0, u64::MAX), 227_072);
        assert_eq!(gas_limit(&data, u64::MAX, 400_000), 400_000);
    }
}
