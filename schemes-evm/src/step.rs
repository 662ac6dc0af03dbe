//! What every scheme's checks and plans need of a call: who makes it, what it is tried for, and how it becomes a step.

use alloy_primitives::Address;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::scheme::{Call, Refusal};
use sdk_plugin::{Amount, Cx, Fault, HexBytes};

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
