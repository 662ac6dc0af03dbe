//! Every check of verify, in the specified order, with as few round trips as the order allows.
//!
//! Checks that need no chain are made first. If one of them refuses, the signature is still checked before the refusal is
//! returned: that check comes earlier in the specified order, and needs the payer's code. Such a payment is not simulated.

use alloy_primitives::Address;
use sdk_plugin::host::RpcCall;
use sdk_plugin::request::Purpose;
use sdk_plugin::{Cx, Fault, PaymentRequest};

use super::payment::Payment;
use super::question::{Question, Wrapper};
use super::trial::{Funds, Outcome, Trial};
use super::{ExactEvm, diagnose, prices, reason};
use crate::options::Options;
use crate::rpc;
use crate::signature::{self, Unwrapped};
use crate::step::{self, Checked, GasLimits, Wanted};

/// A payment that passed every check.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) payment: Payment,
    pub(super) call: Transaction,
    /// The payer has no code: its key signed, and nothing that it wrote runs.
    pub(super) by_account: bool,
    /// Present when a plan was wanted.
    pub(super) funds: Option<Funds>,
}

/// The transaction's call.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) target: Address,
    pub(super) data: Vec<u8>,
    /// It deploys the payer's wallet first.
    pub(super) deploys: bool,
}

impl ExactEvm {
    pub(super) async fn check(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        wanted: Wanted,
    ) -> Result<Checked<Good>, Fault> {
        let payment = match Payment::decode(request) {
            Ok(payment) => payment,
            Err(refusal) => return Ok(Checked::Refused(refusal)),
        };
        // The digest has the chain id of the requirements, and the reads go to the network of the call.
        if request.requirements.network != cx.network().id {
            return Err(Fault::internal(
                "the requirements name another network than the call's",
            ));
        }
        let Some(Unwrapped { inner, deployment }) = payment.signature.clone() else {
            return Ok(refused(
                &payment,
                reason::SIGNATURE,
                "the ERC-6492 wrapper can't be decoded",
            ));
        };
        let facilitator = step::first_signer(cx)?;
        let digest = payment.digest();
        let account_signed = self
            .signers
            .signed_by(payment.authorization.from, &digest, &inner);
        let refused_later = payment
            .refused_terms(cx.now_s())
            // In the specified order this comes directly before the first use of the asset.
            .or_else(|| {
                let refused = step::listed(payment.asset, cx.network()).err()?;
                Some(payment.refuse(reason::INVALID_PAYMENT_REQUIREMENTS, &refused))
            });

        let wrapper = Wrapper::of(deployment, cx.network())?;
        // An account that has signed itself has no wallet to deploy.
        let deploys = match &wrapper {
            Wrapper::Allowed(deployment) if !account_signed && refused_later.is_none() => {
                let is_deployed = has_code(cx, payment.authorization.from).await?;
                Some(deployment).filter(|_| !is_deployed)
            }
            Wrapper::Allowed(_) | Wrapper::Forbidden(_) | Wrapper::None => None,
        };
        // Simulated as it is sent: with the same suffix.
        let suffix = self
            .config
            .builder_code
            .suffix(request.version, &request.extensions);
        let limits = self.limits(cx, &payment, deploys.is_some())?;
        let mut question = Question {
            payment: &payment,
            signature: &inner,
            digest,
            wrapper: &wrapper,
            account_signed,
            has_code: true,
            refused_later,
            settles: request.purpose != Purpose::Verify,
            trial: Trial {
                payment: &payment,
                transfer: payment.transfer(facilitator, &inner, deploys, &suffix, limits.max_gas),
                rehearsal: deploys
                    .map(|deployment| payment.rehearsal(facilitator, &inner, deployment, limits.max_gas)),
                wanted,
                limits,
                ran_short: self
                    .gas_shortages
                    .is_known(payment.chain_id, payment.asset, cx.now_ms()),
                // The answer of a wallet or a token may depend on the price of gas.
                price: self.prices.of(payment.chain_id, cx.now_ms()),
            },
        };
        let outcome = self.first_opinion(cx, &mut question).await?;
        let funds = match (outcome, question.refused_later.clone()) {
            (Outcome::Works(funds), None) => Ok(funds),
            // The signature is valid, so the refusal that comes after it in order is returned.
            (Outcome::Works(_), Some(refusal)) => Err(refusal),
            (Outcome::Refused(_), _) => diagnose::diagnose(cx, &mut question, None).await?,
            (Outcome::Failed { failure, .. }, _) => {
                diagnose::diagnose(cx, &mut question, Some(&failure)).await?
            }
        };
        let call = Transaction {
            target: question.trial.transfer.to,
            data: std::mem::take(&mut question.trial.transfer.data),
            deploys: deploys.is_some(),
        };
        let by_account = question.account_signed && !question.has_code;
        Ok(match funds {
            Ok(funds) => Checked::Good(Box::new(Good {
                payment,
                call,
                by_account,
                funds,
            })),
            Err(refusal) => Checked::Refused(refusal),
        })
    }

    fn limits(&self, cx: &Cx, payment: &Payment, deploys: bool) -> Result<GasLimits, Fault> {
        let limits = GasLimits::of(cx.network(), payment.asset, self.config.max_gas)?;
        if !deploys {
            return Ok(limits);
        }
        let options = Options::read(&cx.network().options)?;
        Ok(limits.with_deployment(options.deployment_gas))
    }

    /// What the first node shows, in one round trip where possible. If a check that needs no chain has refused already, only
    /// the signature is checked.
    async fn first_opinion(&self, cx: &Cx, question: &mut Question<'_>) -> Result<Outcome, Fault> {
        let payment = question.payment;
        let now_ms = cx.now_ms();
        let account_signed = question.account_signed;
        let FirstReads {
            calls,
            has_asset_code,
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
        if has_asset_code {
            if let Some(refusal) = question.missing_asset(answers.take()?)? {
                return Ok(Outcome::Refused(refusal));
            }
            self.assets_with_code
                .record_code(payment.chain_id, payment.asset, now_ms);
        }

        let is_sent = question.settles;
        let trial = &mut question.trial;
        let mut outcome = trial.take(cx, &mut answers).await;
        if has_price {
            let price = self.prices.learn(payment.chain_id, now_ms, answers.take()?);
            // What is sent is tried at a price, and what a contract has signed. The next verify knows the price.
            if is_sent || !account_signed || has_code {
                trial.price = price;
                outcome = again_at_price(cx, trial, outcome).await;
            }
        }
        if outcome.is_err() && trial.price.is_some() {
            // The node may have rejected the price because it is now below the base fee, or because this signer can't pay it.
            self.prices.forget(payment.chain_id);
            trial.price = None;
            return trial.run(cx).await;
        }
        outcome
    }

    /// The reads of the first batch.
    fn first_reads(&self, question: &Question<'_>, now_ms: u64) -> FirstReads {
        let payment = question.payment;
        let mut calls = vec![rpc::get_code(payment.authorization.from)];
        if !question.account_signed {
            // Only a wallet can make this signature valid.
            calls.push(question.wallet_call());
        }
        let mut has_asset_code = false;
        if question.refused_later.is_none() {
            has_asset_code = !self
                .assets_with_code
                .has_code(payment.chain_id, payment.asset, now_ms);
            if has_asset_code {
                calls.push(rpc::get_code(payment.asset));
            }
            calls.extend(question.trial.reads());
        }
        let has_price = question.refused_later.is_none() && question.trial.price.is_none();
        if has_price {
            calls.push(prices::gas_price_call());
        }
        FirstReads {
            calls,
            has_asset_code,
            has_price,
        }
    }
}

/// The first batch of reads about a payment.
struct FirstReads {
    calls: Vec<RpcCall>,
    /// It reads the asset's code, because that is not known yet.
    has_asset_code: bool,
    /// Its last read is the price of gas.
    has_price: bool,
}

/// Whether the payer's wallet is deployed already: what is tried depends on it.
async fn has_code(cx: &Cx, payer: Address) -> Result<bool, Fault> {
    let mut answers = rpc::NODES
        .read_well_formed(cx, vec![rpc::get_code(payer)])
        .await?;
    Ok(!rpc::bytes(answers.take()?, "eth_getCode of the payer")?.is_empty())
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

fn refused(payment: &Payment, reason: &str, message: &str) -> Checked<Good> {
    Checked::Refused(payment.refuse(reason, message))
}
