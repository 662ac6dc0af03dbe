//! A wallet's deployment and its first transfer, in one transaction (ERC-6492).
//!
//! Multicall3 makes both calls, so a factory's code never runs with our signer as its caller.
//!
//! The notes name `tryAggregate(false, …)`, which keeps the result of each call: that is how the calls are rehearsed. It can't
//! be what is sent: its transaction succeeds when the transfer fails, and a bad signature would make us pay for a wallet.
//! `tryAggregate(true, …)` would fail when another account has deployed the wallet first. `aggregate3` has a flag for each
//! call: the factory's may fail, and when the transfer fails the whole transaction reverts, with the deployment.
//!
//! A grant of `aggregate3` alone would permit every call to every contract. So the driver decodes what a plan has for
//! Multicall3 and builds only what [`check`] allows.

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolCall;
use sdk_plugin::Fault;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::host::RpcResult;

use crate::abi::AuthorizedToken::transferWithAuthorization_1Call as TransferCall;
use crate::abi::{MULTICALL3, Multicall};
use crate::options::Options;
use crate::rpc::{self, EthCall, Executed, Failure};
use crate::signature::Deployment;
use crate::{step, text};

/// Largest calldata of a factory's call, in bytes. A wallet with several passkeys needs less than 2,000.
pub const MAX_FACTORY_CALLDATA_BYTES: usize = 8 * 1024;

/// Whether the operator allows this factory call.
///
/// # Errors
/// Why not, and what the operator can do.
pub fn allowed(deployment: &Deployment, network: &NetworkView, options: &Options) -> Result<(), String> {
    let Deployment { factory, calldata } = deployment;
    let (id, shown) = (&network.id, text::lower(*factory));
    let Some(selectors) = options.wallet_factories.get(factory) else {
        return Err(format!(
            "the payer's wallet is not deployed, and factory {shown} is not allowed to deploy it; the operator can add it \
             to wallet_factories in the options of networks.{id:?}"
        ));
    };
    let is_listed = calldata
        .first_chunk::<4>()
        .is_some_and(|selector| selectors.iter().any(|listed| listed.0 == *selector));
    if !is_listed {
        return Err(format!(
            "the payer's wallet is not deployed, and this call of factory {shown} is not allowed; the operator can add its \
             selector to wallet_factories in the options of networks.{id:?}"
        ));
    }
    if calldata.len() > MAX_FACTORY_CALLDATA_BYTES {
        return Err(format!(
            "the calldata for factory {shown} has {} bytes, and at most {MAX_FACTORY_CALLDATA_BYTES} are allowed",
            calldata.len()
        ));
    }
    Ok(())
}

/// The transaction's call: the deployment may fail, because the wallet may exist by then; without the transfer nothing stays.
#[must_use]
pub fn call(deployment: &Deployment, asset: Address, transfer: Bytes) -> Vec<u8> {
    let calls = vec![
        Multicall::Call3 {
            target: deployment.factory,
            allowFailure: true,
            callData: deployment.calldata.clone(),
        },
        Multicall::Call3 {
            target: asset,
            allowFailure: false,
            callData: transfer,
        },
    ];
    Multicall::aggregate3Call { calls }.abi_encode()
}

/// The same two calls, with the result of each; [`rehearsed`] reads the answer.
#[must_use]
pub fn rehearsal(deployment: &Deployment, asset: Address, transfer: Bytes) -> Vec<u8> {
    let calls = vec![
        Multicall::Call {
            target: deployment.factory,
            callData: deployment.calldata.clone(),
        },
        Multicall::Call {
            target: asset,
            callData: transfer,
        },
    ];
    Multicall::tryAggregateCall {
        requireSuccess: false,
        calls,
    }
    .abi_encode()
}

/// How a rehearsal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rehearsed {
    Works,
    /// The transfer failed. `deployed`: the factory's call did not.
    Fails {
        failure: Failure,
        deployed: bool,
    },
}

/// Reads the answer to a [`rehearsal`].
///
/// # Errors
/// A fault of the node.
pub fn rehearsed(answer: RpcResult) -> Result<Rehearsed, Fault> {
    let data = match rpc::executed(answer, "rehearsal of a deployment")? {
        Executed::Returned(data) => data,
        Executed::Failed(failure) => {
            return Ok(Rehearsed::Fails {
                failure,
                deployed: true,
            });
        }
    };
    let outcomes = Multicall::tryAggregateCall::abi_decode_returns(&data).unwrap_or_default();
    let [deployment, transfer] = outcomes.as_slice() else {
        // An address without code returns nothing.
        return Ok(Rehearsed::Fails {
            failure: Failure {
                data: Vec::new(),
                message: "Multicall3 gave no results: it is not deployed on this network".into(),
            },
            deployed: true,
        });
    };
    if transfer.success {
        return Ok(Rehearsed::Works);
    }
    Ok(Rehearsed::Fails {
        failure: Failure {
            data: transfer.returnData.to_vec(),
            message: "execution reverted".into(),
        },
        deployed: deployment.success,
    })
}

/// Whether a call of Multicall3 in a plan may be built: an allowed deployment that may fail, then the transfer of an allowed
/// asset that must not, and nothing else.
///
/// # Errors
/// What else it is.
pub fn check(data: &[u8], network: &NetworkView) -> Result<(), String> {
    let options = Options::read(&network.options).map_err(|fault| fault.message)?;
    let decoded = Multicall::aggregate3Call::abi_decode(data).map_err(|_| "it is no aggregate3")?;
    let [deployment, transfer] = decoded.calls.as_slice() else {
        return Err(format!("it makes {} calls", decoded.calls.len()));
    };
    if !deployment.allowFailure || transfer.allowFailure {
        return Err("its transfer may fail, or its deployment may not".into());
    }
    let wanted = Deployment {
        factory: deployment.target,
        calldata: deployment.callData.clone(),
    };
    allowed(&wanted, network, &options)?;
    step::listed(transfer.target, network)?;
    let is_transfer = TransferCall::abi_decode(&transfer.callData)
        .is_ok_and(|call| call.abi_encode() == transfer.callData.as_ref());
    if !is_transfer {
        return Err("its second call is no transferWithAuthorization with signature bytes".into());
    }
    // One meaning, one spelling: no second reader may see other calls in these bytes.
    if call(&wanted, transfer.target, transfer.callData.clone()) != data {
        return Err("it is not encoded canonically".into());
    }
    Ok(())
}

/// Whether a call's target is the one that [`check`] is about.
#[must_use]
pub fn is_target(target: Address) -> bool {
    target == MULTICALL3
}

/// A call of Multicall3.
#[must_use]
pub fn of_multicall(from: Address, data: Vec<u8>, gas: u64) -> EthCall {
    EthCall {
        from: Some(from),
        to: MULTICALL3,
        data,
        gas: Some(gas),
    }
}
