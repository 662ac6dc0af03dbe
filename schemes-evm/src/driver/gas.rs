//! Whether payments can be made: a transfer of 0 of each asset, estimated after the start and when calls to the nodes have
//! failed: chains count gas on scales of their own, and some nodes estimate nothing at all (exact-evm.md section 15).

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::{Cx, Fault};

use crate::abi::AuthorizedToken;
use crate::rpc::{self, EthCall, Failure};
use crate::step::GasLimits;
use crate::text;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Probe {
    /// The nodes run no calls: the methods that do not work, with their errors.
    pub(super) broken: Option<String>,
    pub(super) warnings: Vec<String>,
}

/// A call that is tried.
struct Trial {
    /// `None`: it is an empty call of the signer to itself.
    asset: Option<Address>,
    call: EthCall,
}

impl Trial {
    /// One for each asset; one empty call where no asset is known.
    fn all(signer: Address, assets: &[Address]) -> Vec<Self> {
        let of = |asset: Option<Address>| Self {
            asset,
            call: EthCall {
                from: Some(signer),
                to: asset.unwrap_or(signer),
                data: asset.map(|_| transfer_of_nothing(signer)).unwrap_or_default(),
                gas: None,
            },
        };
        if assets.is_empty() {
            return vec![of(None)];
        }
        assets.iter().map(|asset| of(Some(*asset))).collect()
    }

    /// A revert is no finding: some tokens refuse a transfer of 0.
    fn too_much_gas(
        &self,
        cx: &Cx,
        estimated: Result<u64, Failure>,
        max_gas: u64,
    ) -> Result<Option<String>, Fault> {
        let (Some(asset), Ok(gas)) = (self.asset, estimated) else {
            return Ok(None);
        };
        let max_gas = GasLimits::of(cx.network(), asset, max_gas)?.max_gas;
        Ok((gas > max_gas).then(|| {
            format!(
                "a plain transfer of asset {} needs {gas} gas, max_gas is {max_gas}: `exact` refuses payments; raise \
                 max_gas in the network's options, for this asset in asset_gas",
                text::lower(asset)
            )
        }))
    }

    /// What it represents, in warnings.
    fn payments(&self) -> String {
        match self.asset {
            Some(asset) => format!("payments with asset {}", text::lower(asset)),
            None => "payments".to_owned(),
        }
    }
}

/// Tries a transfer of each asset from `signer` to itself, in one round trip. `max_gas`: the scheme's own limit of a payment,
/// for networks whose options name none.
///
/// # Errors
/// No node answers.
pub(super) async fn probe(
    cx: &Cx,
    signer: Address,
    assets: &[Address],
    max_gas: u64,
) -> Result<Probe, Fault> {
    let trials = Trial::all(signer, assets);
    let mut calls = Vec::new();
    for trial in &trials {
        calls.extend([
            rpc::get_code(trial.call.to),
            trial.call.estimate(),
            trial.call.call(),
        ]);
    }
    let mut answers = rpc::NODES.read_all(cx, calls).await?;
    let mut probe = Probe::default();
    let mut any_works = false;
    let mut broken = Vec::new();
    for trial in &trials {
        let code = rpc::bytes(answers.take()?, "eth_getCode of an asset")?;
        let estimate = rpc::estimated(answers.take()?, "eth_estimateGas");
        let called = rpc::executed(answers.take()?, "eth_call");
        if let Some(asset) = trial.asset.filter(|_| code.is_empty()) {
            probe.warnings.push(format!(
                "asset {} has no code on this network: nothing can be paid with it; correct the network's assets",
                text::lower(asset)
            ));
            continue;
        }
        match (estimate, called) {
            // Checks of payments make calls, whether or not gas is estimated.
            (estimate, Err(call)) => {
                let estimate = estimate.err().map(|fault| format!("{}; ", fault.message));
                let why = format!("{}{}", estimate.unwrap_or_default(), call.message);
                broken.push((trial, why));
            }
            (Err(fault), Ok(_)) => {
                any_works = true;
                probe.warnings.push(format!(
                    "{}: the gas of {} is not estimated, and their limit is max_gas; write fixed_gas in the network's \
                     options",
                    fault.message,
                    trial.payments()
                ));
            }
            (Ok(estimated), Ok(_)) => {
                any_works = true;
                probe.warnings.extend(trial.too_much_gas(cx, estimated, max_gas)?);
            }
        }
    }
    if any_works {
        // The methods work: it is this token that the nodes can't run, which is no reason to stop the others.
        let warnings = broken.into_iter().map(|(trial, why)| {
            format!(
                "{why}: {} are not possible; take the asset out of the network's assets, or use other nodes",
                trial.payments()
            )
        });
        probe.warnings.extend(warnings);
    } else {
        probe.broken = broken.into_iter().next().map(|(_, why)| why);
    }
    Ok(probe)
}

fn transfer_of_nothing(signer: Address) -> Vec<u8> {
    AuthorizedToken::transferCall {
        to: signer,
        value: U256::ZERO,
    }
    .abi_encode()
}
