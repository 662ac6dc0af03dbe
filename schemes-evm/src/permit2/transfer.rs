//! Permit2 as a method of moving an asset: the proxy's call, and the diagnosis of exact-evm.md section 7.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::host::RpcResult;
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Cx, Fault};

use super::abi::{
    AnyProxy, ExactProxy, FacilitatorBinding, PayeeBinding, Permission, TokenPermissions, TokenPermit,
    UptoProxy,
};
use super::approval::{self, LimitsByNetwork, Sponsored};
use super::payment::Payment;
use super::{Proxy, nonce, reason, sponsoring};
use crate::abi::AuthorizedToken::{allowanceCall, balanceOfCall};
use crate::abi::{Multicall, PERMIT2};
use crate::rpc::{self, EthCall, Executed};
use crate::signature::{self, Unwrapped};
use crate::step::{self, Checked};
use crate::transfer::{self, Attempt, Candidate, Checks, Funds, Order, Reasons, SignedTransfer, Wrapper};

const REASONS: Reasons = Reasons {
    order: Order::AssetThenSignature,
    signature: reason::SIGNATURE,
    undeployed_wallet: reason::SIGNATURE,
    // No wallet is deployed with a transfer by Permit2.
    deployment_failed: reason::SIMULATION_FAILED,
    asset_not_deployed: reason::ASSET_NOT_DEPLOYED,
    insufficient_balance: reason::INSUFFICIENT_BALANCE,
    simulation_failed: reason::SIMULATION_FAILED,
    permanent: &[reason::INVALID_NONCE],
};

/// A payment that passed every check.
#[derive(Debug)]
pub(crate) struct Good {
    pub(crate) payment: Payment,
    /// The signature that goes into the call.
    pub(crate) signature: Vec<u8>,
    /// Builder codes, at the end of the calldata.
    pub(crate) suffix: Vec<u8>,
    /// The payer has no code: its key signed, and nothing that it wrote runs.
    pub(crate) by_account: bool,
    /// Present when a plan was wanted.
    pub(crate) funds: Option<Funds>,
    /// Extensions of the request that it uses.
    pub(crate) used: Vec<String>,
    /// The payer has no allowance yet, and this gives it one.
    pub(crate) sponsored: Option<Sponsored>,
}

/// Every check of a decoded payment, in order.
///
/// # Errors
/// A fault of the nodes, or no signer.
pub(crate) async fn check(
    cx: &Cx,
    checks: &Checks,
    payment: Payment,
    attempt: Attempt,
    approvals: &LimitsByNetwork,
) -> Result<Checked<Good>, Fault> {
    if let Some(refusal) = payment.refused_terms(cx.network(), cx.now_s()) {
        return Ok(Checked::Refused(refusal));
    }
    let Some(Unwrapped { inner, deployment }) = payment.signature.clone() else {
        let why = "the ERC-6492 wrapper can't be decoded";
        return Ok(Checked::Refused(payment.refuse(reason::SIGNATURE, why)));
    };
    let sender = match payment.proxy {
        Proxy::Exact => step::first_signer(cx)?,
        // The proxy checks its caller.
        Proxy::Upto => payment.witness.facilitator.unwrap_or_default(),
    };
    let limits = approvals.get(&cx.network().id);
    let account_signed = checks.signed_by(payment.permit.from, &payment.digest, &inner);
    // Permit2 takes 27 and 28 for v, so 0 and 1 of an account's key are written like that; what a wallet reads stays as it is.
    let signature = if account_signed {
        signature::canonical(inner)
    } else {
        inner
    };
    let candidate = Candidate {
        transfer: &payment,
        digest: payment.digest,
        signature: &signature,
        account_signed,
        wrapper: deployment.map_or(Wrapper::None, |_| Wrapper::Forbidden(NO_DEPLOYMENT.into())),
        sender,
        refused_later: payment
            .refused_sponsoring(cx.now_s())
            .or_else(|| payment.refused_approval().filter(|_| limits.is_some())),
    };
    let (by_account, funds, sponsored) = match checks.check(cx, candidate, &attempt).await? {
        Ok(passed) => (passed.by_account, passed.funds, None),
        Err(refusal) => {
            let (true, Some(limits), Some(Ok(approval))) = (
                refusal.reason == reason::ALLOWANCE_REQUIRED,
                limits,
                &payment.approval,
            ) else {
                return Ok(Checked::Refused(payment.after_sponsoring(refusal)));
            };
            let tried = (attempt.wanted, attempt.max_gas);
            match approval::check(cx, limits, &payment, approval, tried).await? {
                Ok((sponsored, funds)) => (account_signed, funds, Some(sponsored)),
                Err(refusal) => return Ok(Checked::Refused(refusal)),
            }
        }
    };
    let mut used = attempt.used;
    used.extend(
        payment
            .sponsoring
            .as_ref()
            .map(|_| sponsoring::EXTENSION.to_owned()),
    );
    used.extend(sponsored.as_ref().map(|_| approval::EXTENSION.to_owned()));
    Ok(Checked::Good(Box::new(Good {
        used,
        payment,
        signature,
        suffix: attempt.suffix,
        by_account,
        funds,
        sponsored,
    })))
}

const NO_DEPLOYMENT: &str = "the payer's wallet is not deployed, and a payment by Permit2 does not deploy it: deploy it before the payment";

impl SignedTransfer for Payment {
    fn chain_id(&self) -> u64 {
        self.chain_id
    }

    fn asset(&self) -> Address {
        self.asset
    }

    fn from(&self) -> Address {
        self.permit.from
    }

    fn amount(&self) -> U256 {
        self.permit.amount
    }

    fn refuse(&self, reason: &str, message: &str) -> Refusal {
        Payment::refuse(self, reason, message)
    }

    fn reasons(&self) -> &'static Reasons {
        &REASONS
    }

    fn call(&self, sender: Address, signature: &[u8], gas: u64) -> EthCall {
        EthCall {
            from: Some(sender),
            to: self.proxy.address(),
            data: self.calldata(signature, self.permit.amount),
            gas: Some(gas),
        }
    }

    /// Whether the proxy is there: a call of an address without code succeeds.
    fn state(&self) -> EthCall {
        EthCall {
            from: None,
            to: self.proxy.address(),
            data: AnyProxy::PERMIT2Call {}.abi_encode(),
            gas: None,
        }
    }

    fn state_refused(&self, answer: RpcResult) -> Result<Option<Refusal>, Fault> {
        let named = match rpc::executed(answer, "PERMIT2 of the proxy")? {
            Executed::Returned(data) => is_permit2(&data),
            Executed::Failed(_) => false,
        };
        Ok((!named).then(|| self.refuse(reason::PROXY_NOT_DEPLOYED, NOT_DEPLOYED)))
    }

    fn questions(&self) -> Vec<Multicall::Call> {
        let (owner, nonce) = (self.permit.from, self.permit.nonce);
        let allowance = allowanceCall {
            owner,
            spender: PERMIT2,
        };
        [
            (self.proxy.address(), AnyProxy::PERMIT2Call {}.abi_encode()),
            (self.asset, balanceOfCall { account: owner }.abi_encode()),
            (self.asset, allowance.abi_encode()),
            (PERMIT2, nonce::bitmap_call(owner, nonce)),
        ]
        .map(|(target, call)| Multicall::Call {
            target,
            callData: call.into(),
        })
        .into()
    }

    /// A nonce that is used has a name of its own after the specified questions: it is a replay.
    fn explain(&self, outcomes: Option<&[Multicall::Outcome]>, _text: &str) -> &'static str {
        let Some([proxy, balance, allowance, nonces]) = outcomes else {
            return reason::SIMULATION_FAILED;
        };
        let is_short = |outcome| transfer::word(outcome).is_some_and(|units| units < self.permit.amount);
        let is_used = |word| nonce::is_used(word, self.permit.nonce);
        if !transfer::returned(proxy).is_some_and(is_permit2) {
            reason::PROXY_NOT_DEPLOYED
        } else if is_short(balance) {
            reason::INSUFFICIENT_BALANCE
        } else if is_short(allowance) {
            reason::ALLOWANCE_REQUIRED
        } else if transfer::word(nonces).is_some_and(is_used) {
            reason::INVALID_NONCE
        } else {
            reason::SIMULATION_FAILED
        }
    }
}

const NOT_DEPLOYED: &str = "the proxy of this scheme is not deployed on this network";

/// Whether a proxy's `PERMIT2()` returned this: a call of an address without code returns nothing.
pub(super) fn is_permit2(data: &[u8]) -> bool {
    data == PERMIT2.into_word().as_slice()
}

impl Payment {
    /// The proxy's calldata that moves `amount`, which is the permitted one in `exact`.
    pub(crate) fn calldata(&self, signature: &[u8], amount: U256) -> Vec<u8> {
        let owner = self.permit.from;
        let permit = Permission {
            permitted: TokenPermissions {
                token: self.permit.token,
                amount: self.permit.amount,
            },
            nonce: self.permit.nonce,
            deadline: self.permit.deadline,
        };
        let signature = signature.to_vec().into();
        let permit2612 = self.sponsoring.as_ref().and_then(|sponsoring| {
            let signed = sponsoring.as_ref().ok()?;
            Some(TokenPermit {
                value: signed.amount,
                deadline: signed.deadline,
                r: signed.r,
                s: signed.s,
                v: signed.v,
            })
        });
        let (to, valid_after) = (self.witness.to, self.witness.valid_after);
        match self.proxy {
            Proxy::Exact => {
                let witness = PayeeBinding {
                    to,
                    validAfter: valid_after,
                };
                match permit2612 {
                    None => ExactProxy::settleCall {
                        permit,
                        owner,
                        witness,
                        signature,
                    }
                    .abi_encode(),
                    Some(permit2612) => ExactProxy::settleWithPermitCall {
                        permit2612,
                        permit,
                        owner,
                        witness,
                        signature,
                    }
                    .abi_encode(),
                }
            }
            Proxy::Upto => {
                let witness = FacilitatorBinding {
                    to,
                    facilitator: self.witness.facilitator.unwrap_or_default(),
                    validAfter: valid_after,
                };
                match permit2612 {
                    None => UptoProxy::settleCall {
                        permit,
                        amount,
                        owner,
                        witness,
                        signature,
                    }
                    .abi_encode(),
                    Some(permit2612) => UptoProxy::settleWithPermitCall {
                        permit2612,
                        permit,
                        amount,
                        owner,
                        witness,
                        signature,
                    }
                    .abi_encode(),
                }
            }
        }
    }
}
