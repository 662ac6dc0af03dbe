//! Can the assets be paid with here? A transfer of nothing of each, estimated once after the start and after each failure of
//! the nodes: chains count gas on scales of their own, and some estimate nothing at all.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::{Cx, Fault};

use crate::abi::AuthorizedToken;
use crate::exact::DEFAULT_MAX_GAS;
use crate::rpc::{self, EthCall};
use crate::step::GasLimits;
use crate::text;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) why_not: Option<String>,
    pub(super) warnings: Vec<String>,
}

/// Tries a transfer of each asset from `signer` to itself.
///
/// # Errors
/// No node answers.
pub(super) async fn probe(cx: &Cx, signer: Address, assets: &[Address]) -> Result<Probe, Fault> {
    let transfers: Vec<EthCall> = assets.iter().map(|asset| transfer(signer, *asset)).collect();
    let mut calls = Vec::new();
    for (asset, transfer) in assets.iter().zip(&transfers) {
        calls.extend([rpc::get_code(*asset), transfer.estimate()]);
    }
    let mut answers = rpc::read_all(cx, calls).await?;
    let mut probe = Probe::default();
    // What no node estimates: it is called.
    let mut left = Vec::new();
    for (asset, transfer) in assets.iter().zip(&transfers) {
        let code = rpc::bytes(answers.take()?, "eth_getCode of an asset")?;
        let estimate = answers.take()?;
        let named = text::lower(*asset);
        if code.is_empty() {
            probe.warnings.push(format!(
                "asset {named} has no code on this network: nothing can be paid with it; correct the network's assets"
            ));
            continue;
        }
        let max_gas = GasLimits::of(cx.network(), *asset, DEFAULT_MAX_GAS)?.max_gas;
        match rpc::estimated(estimate, "eth_estimateGas") {
            Ok(Ok(gas)) if gas > max_gas => probe.warnings.push(format!(
                "a plain transfer of asset {named} needs {gas} gas, max_gas is {max_gas}: payments are refused; raise \
                 max_gas in the network's options, for this asset in asset_gas"
            )),
            // A revert here says nothing of payments: some tokens refuse a transfer of nothing.
            Ok(Ok(_) | Err(_)) => {}
            Err(fault) => left.push((named, transfer, fault)),
        }
    }
    let calls = left.iter().map(|(_, transfer, _)| transfer.call()).collect();
    let mut answers = rpc::read_all(cx, calls).await?;
    for (named, _, estimate) in left {
        match rpc::executed(answers.take()?, "eth_call") {
            Ok(_) => probe.warnings.push(format!(
                "{}: the gas of payments with asset {named} is not estimated, and their limit is max_gas; write \
                 fixed_gas in the network's options",
                estimate.message
            )),
            Err(call) => {
                let why = format!("{}; {}", estimate.message, call.message);
                probe.why_not.get_or_insert(why);
            }
        }
    }
    Ok(probe)
}

fn transfer(signer: Address, asset: Address) -> EthCall {
    let call = AuthorizedToken::transferCall {
        to: signer,
        value: U256::ZERO,
    };
    EthCall {
        from: Some(signer),
        to: asset,
        data: call.abi_encode(),
        gas: None,
    }
}
