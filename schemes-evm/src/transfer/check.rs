//! Every check that reads the chain, in the specified order, with as few round trips as the order allows.
//!
//! Checks that need no chain are made before. If one of them refuses that comes later in the specified order, the checks
//! before it are still made first; such a payment is not simulated.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::host::RpcCall;
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Cx, Fault};
use serde_json::json;

use super::code_cache::CodeCache;
use super::gas_shortages::GasShortages;
use super::prices::{self, Prices};
use super::question::Question;
use super::trial::{Funds, Outcome, Trial};
use super::wrapper::FirstTransfer;
use super::{Attempt, Candidate, Order, SignedTransfer, Wrapper, diagnose};
use crate::options::Options;
use crate::recovery::KnownSigners;
use crate::rpc::{self, EthCall};
use crate::step::GasLimits;
use crate::{signature, text};

/// Checks transfers, and remembers what they show of assets and networks.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    assets_with_code: CodeCache,
    /// Payers with code, whose signature is not that of their own key.
    wallets: CodeCache,
    prices: Prices,
    gas_shortages: GasShortages,
    signers: KnownSigners,
}

/// A transfer that passed every check.
#[derive(Debug)]
pub(crate) struct Passed {
    /// The call that was tried.
    pub(crate) call: EthCall,
    /// It deploys the payer's wallet first.
    pub(crate) deploys: bool,
    /// The payer has no code: its key signed, and nothing that it wrote runs.
    pub(crate) by_account: bool,
    /// Present when a plan was wanted.
    pub(crate) funds: Option<Funds>,
}

impl Checks {
    /// As [`crate::recovery::signed_by`]; a signer that was recovered for a verify is remembered for the settle.
    pub(crate) fn signed_by(&self, payer: Address, digest: &B256, signature: &[u8]) -> bool {
        self.signers.signed_by(payer, digest, signature)
    }

    /// What passed, or the refusal.
    ///
    /// # Errors
    /// A fault of the nodes, or the network's options can't be read.
    pub(crate) async fn check(
        &self,
        cx: &Cx,
        candidate: Candidate<'_>,
        attempt: &Attempt,
    ) -> Result<Result<Passed, Refusal>, Fault> {
        let Candidate {
            transfer,
            digest,
            signature,
            account_signed,
            wrapper,
            sender,
            refused_later,
        } = candidate;
        let (chain_id, asset) = (transfer.chain_id(), transfer.asset());
        // An account that has signed itself has no wallet to deploy.
        let first = match &wrapper {
            Wrapper::Allowed(first) if !account_signed && refused_later.is_none() => {
                let is_deployed = has_code(cx, transfer.from()).await?;
                Some(first).filter(|_| !is_deployed)
            }
            Wrapper::Allowed(_) | Wrapper::Forbidden(_) | Wrapper::None => None,
        };
        let limits = limits(cx, transfer, attempt.max_gas, first)?;
        let mut question = Question {
            transfer,
            signature,
            digest,
            wrapper: &wrapper,
            account_signed,
            has_code: true,
            refused_later,
            settles: attempt.settles,
            trial: Trial {
                transfer,
                call: match first {
                    Some(first) => first.call(sender, limits.max_gas),
                    None => transfer
                        .call(sender, signature, limits.max_gas)
                        .followed_by(&attempt.suffix),
                },
                rehearsal: first.map(|first| first.rehearsal(sender, limits.max_gas)),
                wanted: attempt.wanted,
                limits,
                ran_short: self.gas_shortages.is_known(chain_id, asset, cx.now_ms()),
                // The answer of a wallet or a token may depend on the price of gas.
                price: self.prices.of(chain_id, cx.now_ms()),
            },
        };
        let outcome = self.first_opinion(cx, &mut question).await?;
        let funds = match (outcome, question.refused_later.clone()) {
            (Outcome::Works(funds), None) => Ok(funds),
            // The checks before it pass, so the refusal that comes later in order is returned.
            (Outcome::Works(_), Some(refusal)) => Err(refusal),
            (Outcome::Refused(refusal), _) => {
                match diagnose::unsigned_account(cx, &question, refusal).await? {
                    Some(refusal) => Err(refusal),
                    None => diagnose::diagnose(cx, &mut question, None).await?,
                }
            }
            (Outcome::Failed { failure, .. }, _) => {
                diagnose::diagnose(cx, &mut question, Some(&failure)).await?
            }
        };
        let by_account = question.account_signed && !question.has_code;
        let call = question.trial.call;
        Ok(funds.map(|funds| Passed {
            call,
            deploys: first.is_some(),
            by_account,
            funds,
        }))
    }

    /// Records that a transfer of the asset may have run out of gas on the call's network.
    pub(crate) fn ran_out_of_gas(&self, cx: &Cx, asset: Address) {
        self.gas_shortages.learn(cx, asset);
    }

    /// What the first node shows, in one round trip where possible. If a check that needs no chain has refused already, only
    /// the checks before it are made.
    async fn first_opinion(&self, cx: &Cx, question: &mut Question<'_>) -> Result<Outcome, Fault> {
        let transfer = question.transfer;
        let now_ms = cx.now_ms();
        let account_signed = question.account_signed;
        let FirstReads {
            calls,
            has_asset_code,
            has_trial,
            has_price,
        } = self.first_reads(question, now_ms);
        let mut answers = rpc::NODES.read_well_formed(cx, calls).await?;

        let has_code = !rpc::bytes(answers.take()?, "eth_getCode of the payer")?.is_empty();
        question.has_code = has_code;
        let wallet = if account_signed {
            None
        } else {
            Some(answers.take()?)
        };
        let mut asset_code = if has_asset_code {
            Some(answers.take()?)
        } else {
            None
        };
        if question.order() == Order::AssetThenSignature
            && let Some(refusal) = question.missing_asset(asset_code.take())?
        {
            return Ok(Outcome::Refused(refusal));
        }
        // The first batch could not know that the account has code. If it has, a second batch reads its wallet's answer.
        let has_signed = match (has_code, wallet) {
            (false, _) => account_signed,
            (true, Some(answer)) => signature::wallet_agrees(answer)?,
            (true, None) => {
                let calls = vec![question.wallet_call()];
                let mut answers = rpc::NODES.read_well_formed(cx, calls).await?;
                signature::wallet_agrees(answers.take()?)?
            }
        };
        if let Some(refusal) = question.unsigned(has_code, has_signed) {
            return Ok(Outcome::Refused(refusal));
        }
        if question.refused_later.is_some() {
            return Ok(Outcome::Works(None));
        }
        if let Some(refusal) = question.missing_asset(asset_code)? {
            return Ok(Outcome::Refused(refusal));
        }
        if has_asset_code {
            self.assets_with_code
                .record_code(transfer.chain_id(), transfer.asset(), now_ms);
        }
        if has_code && !account_signed {
            self.wallets
                .record_code(transfer.chain_id(), transfer.from(), now_ms);
        }

        let is_sent = question.settles;
        let trial = &mut question.trial;
        let mut outcome = if has_trial {
            Some(trial.take(cx, &mut answers).await)
        } else {
            None
        };
        if has_price {
            let price = self.prices.learn(transfer.chain_id(), now_ms, answers.take()?);
            // What is sent is tried at a price, and what a contract has signed. The next verify knows the price.
            if is_sent || !account_signed || has_code {
                trial.price = price;
                outcome = match outcome {
                    Some(outcome) => Some(again_at_price(cx, trial, outcome).await),
                    None => None,
                };
            }
        }
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => trial.run(cx).await,
        };
        let is_of_the_price = match (&outcome, trial.price) {
            (_, None) | (Ok(Outcome::Works(_) | Outcome::Refused(_)), Some(_)) => false,
            // The node may have rejected the price because it is below the base fee by now.
            (Err(_), Some(_)) => true,
            (Ok(Outcome::Failed { failure, .. }), Some(price)) => {
                prices::may_lack_funds(failure) && cant_pay(cx, trial, price).await?
            }
        };
        if is_of_the_price {
            self.prices.forget(transfer.chain_id());
            trial.price = None;
            return trial.run(cx).await;
        }
        outcome
    }

    /// The reads of the first batch.
    fn first_reads(&self, question: &Question<'_>, now_ms: u64) -> FirstReads {
        let transfer = question.transfer;
        let mut calls = vec![rpc::get_code(transfer.from())];
        if !question.account_signed {
            // Only a wallet can make this signature valid.
            calls.push(question.wallet_call());
        }
        let has_asset_code = question.checks_asset()
            && !self
                .assets_with_code
                .has_code(transfer.chain_id(), transfer.asset(), now_ms);
        if has_asset_code {
            calls.push(rpc::get_code(transfer.asset()));
        }
        let is_known_wallet = || {
            self.wallets
                .has_code(transfer.chain_id(), transfer.from(), now_ms)
        };
        let has_trial =
            question.refused_later.is_none() && (!question.is_another_accounts() || is_known_wallet());
        if has_trial {
            calls.extend(question.trial.reads());
        }
        let has_price = question.refused_later.is_none() && question.trial.price.is_none();
        if has_price {
            calls.push(prices::gas_price_call());
        }
        FirstReads {
            calls,
            has_asset_code,
            has_trial,
            has_price,
        }
    }
}

/// The first batch of reads about a payment.
struct FirstReads {
    calls: Vec<RpcCall>,
    /// It reads the asset's code, because that is not known yet.
    has_asset_code: bool,
    /// It tries the transfer.
    has_trial: bool,
    /// Its last read is the price of gas.
    has_price: bool,
}

/// The limits of the transfer, with its deployment where there is one. `max_gas`: the configured ceiling.
fn limits(
    cx: &Cx,
    transfer: &dyn SignedTransfer,
    max_gas: u64,
    first: Option<&FirstTransfer>,
) -> Result<GasLimits, Fault> {
    let limits = GasLimits::of(cx.network(), transfer.asset(), max_gas)?;
    if first.is_none() {
        return Ok(limits);
    }
    let options = Options::read(&cx.network().options)?;
    Ok(limits.with_deployment(options.deployment_gas))
}

/// Whether the payer's wallet is deployed already: what is tried depends on it.
async fn has_code(cx: &Cx, payer: Address) -> Result<bool, Fault> {
    let mut answers = rpc::NODES
        .read_well_formed(cx, vec![rpc::get_code(payer)])
        .await?;
    Ok(!rpc::bytes(answers.take()?, "eth_getCode of the payer")?.is_empty())
}

/// Whether the sender's balance is too low for the trial's gas at this price. That says nothing of the payment: the signer
/// must be funded, and the lane reports it.
async fn cant_pay(cx: &Cx, trial: &Trial<'_>, price: U256) -> Result<bool, Fault> {
    let Some(sender) = trial.call.from else {
        return Ok(false);
    };
    let read = rpc::request("eth_getBalance", json!([text::lower(sender), "latest"]));
    let mut answers = rpc::NODES.read_well_formed(cx, vec![read]).await?;
    let balance = rpc::big_quantity(answers.take()?, "eth_getBalance of the signer")?;
    let needed = price.saturating_mul(U256::from(trial.limits.max_gas));
    Ok(balance < needed)
}

/// Repeats a transfer that worked without a price, at the trial's price.
async fn again_at_price(
    cx: &Cx,
    trial: &Trial<'_>,
    outcome: Result<Outcome, Fault>,
) -> Result<Outcome, Fault> {
    match outcome {
        Ok(Outcome::Works(_)) if trial.price.is_some() => trial.run(cx).await,
        outcome => outcome,
    }
}
