//! Signatures of wallets that do not exist yet (ERC-6492), and the deployment of such a wallet with its first transfer.

use alloy_primitives::{Address, Bytes};
use sdk_plugin::Fault;
use sdk_plugin::cx::NetworkView;

use crate::deployment;
use crate::options::Options;
use crate::rpc::EthCall;
use crate::signature::Deployment;

/// What the signature's ERC-6492 wrapper is for.
#[derive(Debug)]
pub(crate) enum Wrapper {
    /// There is none, or it names nothing to call.
    None,
    /// A call that is not made, with the reason.
    Forbidden(String),
    /// The deployment of the payer's wallet, which the operator allows.
    Allowed(FirstTransfer),
}

/// A deployment, and the transfer after it.
#[derive(Debug)]
pub(crate) struct FirstTransfer {
    deployment: Deployment,
    asset: Address,
    /// Its calldata: the overload with signature bytes, which every wallet can use.
    transfer: Bytes,
}

impl Wrapper {
    /// `transfer`: the asset's calldata after the deployment.
    ///
    /// # Errors
    /// The network's options can't be read.
    pub(crate) fn of(
        deployment: Option<Deployment>,
        network: &NetworkView,
        asset: Address,
        transfer: impl FnOnce() -> Vec<u8>,
    ) -> Result<Self, Fault> {
        let Some(deployment) = deployment else {
            return Ok(Self::None);
        };
        let options = Options::read(&network.options)?;
        Ok(match deployment::allowed(&deployment, network, &options) {
            Ok(()) => Self::Allowed(FirstTransfer {
                deployment,
                asset,
                transfer: transfer().into(),
            }),
            Err(why) => Self::Forbidden(why),
        })
    }
}

impl FirstTransfer {
    /// The transaction's call. It has one spelling only, so that the driver can check it: without builder codes.
    pub(super) fn call(&self, sender: Address, gas: u64) -> EthCall {
        let data = deployment::call(&self.deployment, self.asset, self.transfer.clone());
        deployment::of_multicall(sender, data, gas)
    }

    /// The same with the result of each call.
    pub(super) fn rehearsal(&self, sender: Address, gas: u64) -> EthCall {
        let data = deployment::rehearsal(&self.deployment, self.asset, self.transfer.clone());
        deployment::of_multicall(sender, data, gas)
    }
}
