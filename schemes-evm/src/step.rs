//! What every scheme's checks and plans need of a call: who makes it, what it is tried for, and how it becomes a step.

use alloy_primitives::Address;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::host::{Level, RpcCall, RpcError, RpcResult};
use sdk_plugin::scheme::{Call, Refusal};
use sdk_plugin::{Amount, Cx, Fault, HexBytes};

use serde_json::json;

use crate::driver::options::Options;
use crate::rpc::{self, EthCall, Executed, Failure};
use crate::text;

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
    /// Trouble of the node.
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
    /// The limits of a transfer of `asset`, by the network's options; `max_gas` where they say nothing.
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
/// when it works (exact-evm.md section 15). Some chains run every call and estimate none.
///
/// # Errors
/// No node answered the call.
pub async fn or_called(
    cx: &Cx,
    estimate: RpcResult,
    call: &EthCall,
    assumed: u64,
) -> Result<RpcResult, Fault> {
    let estimate_error = match estimate {
        RpcResult::Error(error) if rpc::failure(&error).is_none() => error,
        answer @ (RpcResult::Ok(_) | RpcResult::Error(_)) => return Ok(answer),
    };
    let fields = json!({ "code": estimate_error.code, "message": estimate_error.message });
    cx.log(
        Level::Warn,
        "evm::gas",
        "eth_estimateGas does not work: the call is tried instead",
        &fields,
    );
    Ok(
        match rpc::read_well_formed(cx, vec![call.call()]).await?.take()? {
            RpcResult::Ok(_) => RpcResult::Ok(json!(text::quantity(assumed))),
            RpcResult::Error(error) if rpc::failure(&error).is_some() => RpcResult::Error(error),
            RpcResult::Error(error) => RpcResult::Error(RpcError {
                message: format!(
                    "{} to eth_estimateGas, and to eth_call {}",
                    estimate_error.message, error.message
                ),
                ..error
            }),
        },
    )
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

/// How the host spells our signer at an address, active or retained; `None`: it is none of ours.
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

/// The operator's allow-list of assets. The error says what the operator can do.
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

/// The call of a step. `gas`: what it used when it was tried; a quarter more is allowed, up to `max_gas`, because storage
/// may be warm there and cold when it counts.
///
/// # Errors
/// Calldata without a selector, a defect.
pub fn call(target: Address, data: Vec<u8>, gas: u64, max_gas: u64) -> Result<Call, Fault> {
    let selector = data
        .get(..4)
        .ok_or_else(|| Fault::internal("calldata without a selector"))?;
    Ok(Call {
        target: text::lower(target),
        operation: format!("0x{}", hex::encode(selector)),
        native_value: Amount::ZERO,
        compute_limit: Some(gas.saturating_add(gas / 4).min(max_gas)),
        data: HexBytes(data),
    })
}
