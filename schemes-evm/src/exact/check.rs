//! Every check of verify, in the specified order, with as few round trips as the order allows.
//!
//! What can be decided without the chain is decided first; the answer then waits for the signature's verdict, which
//! needs the payer's code and comes before it in order. A payment that is refused either way is not simulated.

use sdk_plugin::{Cx, Fault, PaymentRequest};

use super::payment::Payment;
use super::trial::{Funds, Outcome, Trial};
use super::{ExactEvm, diagnose, prices, reason};
use crate::rpc;
use crate::signature::{self, Unwrapped};
use crate::step::{self, Checked, GasLimits, Wanted};

/// A payment that passed every check.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) payment: Payment,
    /// The signature that goes into the call, without an ERC-6492 wrapper.
    pub(super) signature: Vec<u8>,
    /// Present when a plan was wanted.
    pub(super) funds: Option<Funds>,
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
        // The digest's chain id is the requirements', the reads go to the call's network.
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
        let now_ms = cx.now_ms();
        let from = payment.authorization.from;
        let digest = payment.digest();
        let account_signed = signature::signed_by(from, &digest, &inner);
        let refused_later = payment
            .refused_terms(cx.now_s())
            // In the place right before the asset is first touched.
            .or_else(|| {
                let refused = step::listed(payment.asset, cx.network()).err()?;
                Some(payment.refuse(reason::INVALID_PAYMENT_REQUIREMENTS, &refused))
            });

        let limits = GasLimits::of(cx.network(), payment.asset, self.config.max_gas)?;
        let known_price = self.prices.of(payment.chain_id, now_ms);
        let mut trial = Trial {
            payment: &payment,
            transfer: payment.transfer(facilitator, &inner, limits.max_gas),
            wanted,
            limits,
            // A wallet may answer by the price of gas; whose signature an account's is, no price changes.
            price: known_price.filter(|_| !account_signed),
        };
        let mut batch = vec![rpc::get_code(from)];
        if !account_signed {
            // Only a wallet can make this signature good: ask in the same round trip.
            batch.push(signature::ask_wallet(from, digest, &inner).call());
        }
        let asset_known = self
            .assets_with_code
            .has_code(payment.chain_id, payment.asset, now_ms);
        if refused_later.is_none() {
            if !asset_known {
                batch.push(rpc::get_code(payment.asset));
            }
            batch.extend(trial.reads());
        }
        let asks_price = !account_signed && known_price.is_none();
        if asks_price {
            batch.push(prices::ask());
        }
        let mut answers = rpc::read_well_formed(cx, batch).await?;

        let has_code = !rpc::bytes(answers.take()?, "eth_getCode of the payer")?.is_empty();
        let wallet = if account_signed {
            None
        } else {
            Some(answers.take()?)
        };
        if !has_code && deployment.is_some() {
            return Ok(refused(
                &payment,
                reason::FACTORY_NOT_ALLOWED,
                "the payer's wallet is not deployed, and no factory is allowed to deploy it",
            ));
        }
        // Of an account with code, which the batch could not know of: its word, and the transfer once more, at a price.
        let mut at_price = None;
        let signed = match (has_code, wallet) {
            (false, _) => account_signed,
            (true, Some(answer)) => signature::wallet_agrees(answer)?,
            (true, None) => {
                let mut calls = vec![signature::ask_wallet(from, digest, &inner).call()];
                trial.price = known_price;
                match known_price {
                    Some(_) => calls.extend(trial.reads()),
                    None => calls.push(prices::ask()),
                }
                let mut answers = rpc::read_well_formed(cx, calls).await?;
                let agrees = signature::wallet_agrees(answers.take()?)?;
                at_price = Some(answers);
                agrees
            }
        };
        if !signed {
            return Ok(refused(
                &payment,
                reason::SIGNATURE,
                "the signature is not the payer's",
            ));
        }
        if let Some(refusal) = refused_later {
            return Ok(Checked::Refused(refusal));
        }
        if !asset_known {
            if rpc::bytes(answers.take()?, "eth_getCode of the asset")?.is_empty() {
                return Ok(refused(
                    &payment,
                    reason::ASSET_NOT_DEPLOYED,
                    "the asset has no code",
                ));
            }
            self.assets_with_code
                .saw_code(payment.chain_id, payment.asset, now_ms);
        }

        let outcome = match (trial.price, at_price) {
            (Some(_), Some(mut answers)) => trial.take(cx, &mut answers).await,
            (None, Some(mut own)) => {
                let outcome = trial.take(cx, &mut answers).await;
                trial.price = self.prices.learn(payment.chain_id, now_ms, own.take()?);
                again_at_price(cx, &trial, outcome).await
            }
            (_, None) => {
                let outcome = trial.take(cx, &mut answers).await;
                if asks_price && has_code {
                    trial.price = self.prices.learn(payment.chain_id, now_ms, answers.take()?);
                    again_at_price(cx, &trial, outcome).await
                } else {
                    outcome
                }
            }
        };
        let outcome = match outcome {
            // The price may be what the node minds: below the base fee by now, or more than this one signer has.
            Err(_) if trial.price.is_some() => {
                trial.price = None;
                trial.run(cx).await?
            }
            outcome => outcome?,
        };
        let funds = match outcome {
            Outcome::Works(funds) => Ok(funds),
            Outcome::Refused(refusal) => Err(refusal),
            Outcome::Failed(failure) => diagnose::diagnose(cx, &trial, &failure).await?,
        };
        Ok(match funds {
            Ok(funds) => Checked::Good(Box::new(Good {
                payment,
                signature: inner,
                funds,
            })),
            Err(refusal) => Checked::Refused(refusal),
        })
    }
}

/// A transfer that works without a price, tried once more at the trial's.
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
