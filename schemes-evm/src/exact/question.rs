//! What is read from one node about a payment, and the verdict by its answers.

use alloy_primitives::B256;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Cx, Fault};

use super::payment::Payment;
use super::reason;
use super::trial::{Outcome, Trial};
use crate::deployment;
use crate::options::Options;
use crate::rpc::{self, Answers};
use crate::signature::{self, Deployment};

/// What the signature's ERC-6492 wrapper is for.
#[derive(Debug)]
pub(super) enum Wrapper {
    /// There is none, or it names nothing to call.
    None,
    /// A call that the operator does not allow, with the reason.
    Forbidden(String),
    /// The deployment of the payer's wallet.
    Allowed(Deployment),
}

impl Wrapper {
    /// # Errors
    /// The network's options can't be read.
    pub(super) fn of(deployment: Option<Deployment>, network: &NetworkView) -> Result<Self, Fault> {
        let Some(deployment) = deployment else {
            return Ok(Self::None);
        };
        let options = Options::read(&network.options)?;
        Ok(match deployment::allowed(&deployment, network, &options) {
            Ok(()) => Self::Allowed(deployment),
            Err(why) => Self::Forbidden(why),
        })
    }
}

/// A payment, and what is known of it without the chain.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) payment: &'a Payment,
    /// The signature without an ERC-6492 wrapper.
    pub(super) signature: &'a [u8],
    pub(super) digest: B256,
    pub(super) wrapper: &'a Wrapper,
    /// The payer's key made the signature, which decides only where the payer has no code.
    pub(super) account_signed: bool,
    /// The payer has code, as far as it was read.
    pub(super) has_code: bool,
    /// A refusal that needs no chain and comes after the signature in the order of checks: nothing is simulated.
    pub(super) refused_later: Option<Refusal>,
    /// A settle is checked, not a verify.
    pub(super) settles: bool,
    pub(super) trial: Trial<'a>,
}

impl Question<'_> {
    /// The call of a wallet at the payer's address.
    pub(super) fn wallet_call(&self) -> RpcCall {
        let from = self.payment.authorization.from;
        signature::wallet_call(from, self.digest, self.signature).call()
    }

    /// All reads, whatever the first node showed; [`Self::judge`] takes the answers.
    pub(super) fn reads(&self) -> Vec<RpcCall> {
        let mut reads = vec![rpc::get_code(self.payment.authorization.from), self.wallet_call()];
        if self.refused_later.is_none() {
            reads.push(rpc::get_code(self.payment.asset));
            reads.extend(self.trial.reads());
        }
        reads
    }

    /// One node's opinion, by its answers to [`Self::reads`].
    ///
    /// # Errors
    /// A fault of the node.
    pub(super) async fn judge(&self, cx: &Cx, answers: &mut Answers) -> Result<Outcome, Fault> {
        let has_code = !rpc::bytes(answers.take()?, "eth_getCode of the payer")?.is_empty();
        let wallet = answers.take()?;
        let has_signed = if has_code {
            signature::wallet_agrees(wallet)?
        } else {
            self.account_signed
        };
        if let Some(refusal) = self.unsigned(has_code, has_signed) {
            return Ok(Outcome::Refused(refusal));
        }
        if let Some(refusal) = &self.refused_later {
            return Ok(Outcome::Refused(refusal.clone()));
        }
        if let Some(refusal) = self.missing_asset(answers.take()?)? {
            return Ok(Outcome::Refused(refusal));
        }
        self.trial.take(cx, answers).await
    }

    /// The refusal of a payer who has not signed.
    pub(super) fn unsigned(&self, has_code: bool, has_signed: bool) -> Option<Refusal> {
        match self.wrapper {
            Wrapper::Forbidden(why) if !has_code => {
                return Some(self.payment.refuse(reason::FACTORY_NOT_ALLOWED, why));
            }
            // A wallet that does not exist yet can't be called: its transfer is tried after its deployment.
            Wrapper::Allowed(_) if !has_code => return None,
            Wrapper::None | Wrapper::Forbidden(_) | Wrapper::Allowed(_) => {}
        }
        (!has_signed).then(|| {
            self.payment
                .refuse(reason::SIGNATURE, "the signature is not the payer's")
        })
    }

    /// The refusal of an asset without code, by the answer about its code.
    pub(super) fn missing_asset(&self, code: RpcResult) -> Result<Option<Refusal>, Fault> {
        let code = rpc::bytes(code, "eth_getCode of the asset")?;
        Ok(code.is_empty().then(|| {
            self.payment
                .refuse(reason::ASSET_NOT_DEPLOYED, "the asset has no code")
        }))
    }
}
