//! What is read from one node about a payment, and the verdict by its answers.

use alloy_primitives::B256;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Cx, Fault};

use super::trial::{Outcome, Trial};
use super::wrapper::Wrapper;
use super::{Order, SignedTransfer};
use crate::rpc::{self, Answers};
use crate::signature;

/// A payment, and what is known of it without the chain.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) transfer: &'a dyn SignedTransfer,
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
    pub(super) fn order(&self) -> Order {
        self.transfer.reasons().order
    }

    /// Whether the asset's code matters: a check that refuses already may come before it.
    pub(super) fn checks_asset(&self) -> bool {
        self.refused_later.is_none() || self.order() == Order::AssetThenSignature
    }

    /// Whether the signature is as an account makes it, and another one than the payer made it. That is a forgery unless the payer
    /// is a wallet, so nothing is tried before its code was read.
    pub(super) fn is_another_accounts(&self) -> bool {
        !self.account_signed
            && matches!(self.wrapper, Wrapper::None)
            && signature::split(self.signature).is_some()
    }

    /// The call of a wallet at the payer's address.
    pub(super) fn wallet_call(&self) -> RpcCall {
        signature::wallet_call(self.transfer.from(), self.digest, self.signature).call()
    }

    /// All reads, whatever the first node showed; [`Self::judge`] takes the answers.
    pub(super) fn reads(&self) -> Vec<RpcCall> {
        let mut reads = vec![rpc::get_code(self.transfer.from()), self.wallet_call()];
        if self.checks_asset() {
            reads.push(rpc::get_code(self.transfer.asset()));
        }
        if self.refused_later.is_none() {
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
        let mut asset_code = if self.checks_asset() {
            Some(answers.take()?)
        } else {
            None
        };
        if self.order() == Order::AssetThenSignature
            && let Some(refusal) = self.missing_asset(asset_code.take())?
        {
            return Ok(Outcome::Refused(refusal));
        }
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
        if let Some(refusal) = self.missing_asset(asset_code)? {
            return Ok(Outcome::Refused(refusal));
        }
        self.trial.take(cx, answers).await
    }

    /// The refusal of a payer who has not signed.
    pub(super) fn unsigned(&self, has_code: bool, has_signed: bool) -> Option<Refusal> {
        let reasons = self.transfer.reasons();
        match self.wrapper {
            Wrapper::Forbidden(why) if !has_code => {
                return Some(self.transfer.refuse(reasons.undeployed_wallet, why));
            }
            // A wallet that does not exist yet can't be called: its transfer is tried after its deployment.
            Wrapper::Allowed(_) if !has_code => return None,
            Wrapper::None | Wrapper::Forbidden(_) | Wrapper::Allowed(_) => {}
        }
        (!has_signed).then(|| {
            self.transfer
                .refuse(reasons.signature, "the signature is not the payer's")
        })
    }

    /// The refusal of an asset without code, by the answer about its code; `None`: it was not read, or was taken before.
    pub(super) fn missing_asset(&self, code: Option<RpcResult>) -> Result<Option<Refusal>, Fault> {
        let Some(code) = code else { return Ok(None) };
        let code = rpc::bytes(code, "eth_getCode of the asset")?;
        Ok(code.is_empty().then(|| {
            let reason = self.transfer.reasons().asset_not_deployed;
            self.transfer.refuse(reason, "the asset has no code")
        }))
    }
}
