//! Every check of a lifecycle call, in the order of auth-capture-evm.md section 9.
//!
//! What needs no chain comes first as far as the order allows; then one batch answers the rest. A second batch is needed
//! only for an authorizer with code whose key made the signature, and while a node shows nothing of a payment at all.

use alloy_primitives::{Address, B256};
use sdk_plugin::fault::FaultKind;
use sdk_plugin::{Cx, Fault, PaymentRequest};

use super::super::AuthCaptureEvm;
use super::super::authorizer::Balances;
use super::super::config::{Config, RefundAgreement};
use super::super::payment_info::bound_salt;
use super::super::reason::{Dialect, Reason, Rejection};
use super::super::records;
use super::super::revert;
use super::super::state::State;
use super::super::terms::Terms;
use super::consent::{self, Consent};
use super::funding::{self, Funding};
use super::identify::payer_as_sent;
use super::payload::Payload;
use super::reads::{self, NodeReads, Shown};
use super::request_check::{self, CheckedRequest};
use crate::rpc::{self, EthCall, Opinions};
use crate::second::{self, Opinion};
use crate::step::{Checked, Wanted};

/// Pauses before a payment is read again of which a node shows nothing, in milliseconds: the node may lag.
const RETRY_PAUSES_MS: [u64; 4] = [200, 400, 800, 1_600];

/// An operation that passed every check.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) payer: String,
    pub(super) payload: Payload,
    pub(super) terms: Terms,
    pub(super) hash: B256,
    /// What the escrow holds now.
    pub(super) balances: Balances,
    /// The call, and the void after it.
    pub(super) calls: Vec<Simulated>,
    /// Of refunds.
    pub(super) funding: Option<Funding>,
    /// What was read is of this block or a later one.
    pub(super) height: u64,
    /// Seconds since the epoch, by the host's clock or the chain's, whichever is ahead.
    pub(super) now_s: u64,
}

/// A call of the escrow by the payment's operator.
#[derive(Debug, Clone)]
pub(super) struct Simulated {
    pub(super) call: EthCall,
    /// Gas that it used; 0 where only a verdict was wanted.
    pub(super) gas: u64,
}

impl AuthCaptureEvm {
    pub(super) async fn lifecycle_check(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        wanted: Wanted,
    ) -> Result<Checked<Good>, Fault> {
        let payer = payer_as_sent(request);
        Ok(match self.lifecycle_checked(cx, request, wanted).await? {
            Ok(good) => Checked::Good(Box::new(good)),
            Err(rejection) => Checked::Refused(rejection.refusal(Dialect::V1_1, &payer)),
        })
    }

    async fn lifecycle_checked(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        wanted: Wanted,
    ) -> Result<Result<Good, Rejection>, Fault> {
        macro_rules! or_refuse {
            ($checked:expr) => {
                match $checked {
                    Ok(good) => good,
                    Err(rejection) => return Ok(Err(rejection)),
                }
            };
        }
        let CheckedRequest {
            payload,
            terms,
            hash,
            agreement,
        } = or_refuse!(request_check::read(&self.config, cx.network(), request));
        // 9
        or_refuse!(salt_is_bound(cx, request, &payload, &terms, hash).await?);
        // 10
        or_refuse!(request_check::same_payment(&payload, &terms));
        if request.requirements.network != cx.network().id {
            return Err(Fault::internal(
                "the requirements name another network than the call's",
            ));
        }
        // 11
        if payload.signature.is_none() {
            or_refuse!(consent::identity(cx, request, &terms, &self.config, hash).await?);
        }
        // 12
        let operation = or_refuse!(request_check::operation(&payload, &terms));
        let consent = Consent::wanted(&payload, &terms, hash, &operation);
        let refused_fee = request_check::fee_fault(&payload, &terms);
        let calls = reads::calls(&payload, &terms, self.config.max_gas);
        let seen_height = match records::seen_height(cx, &request.requirements.network, hash).await {
            Ok(height) => height,
            // Without a store nothing was ever recorded.
            Err(fault) if fault.kind == FaultKind::Denied => 0,
            Err(fault) => return Err(fault),
        };
        let simulated = if refused_fee.is_none() {
            calls.as_slice()
        } else {
            &[]
        };
        let question = Question {
            config: &self.config,
            refused_fee,
            close_out_refused: consent.close_out_refused.clone(),
            agreement,
            seen_height,
            reads: NodeReads {
                terms: &terms,
                payload: &payload,
                hash,
                operation: consent.operation,
                close_out: consent.close_out,
                calls: simulated,
                wanted,
            },
        };
        let shown = or_refuse!(question.answer(cx).await?);
        Ok(Ok(Good {
            payer: payer_as_sent(request),
            balances: shown.balances,
            calls: shown.calls,
            funding: shown.funding,
            height: shown.height,
            now_s: shown.now_s,
            payload,
            terms,
            hash,
        }))
    }
}

/// An operation, and what is read from one node about it.
struct Question<'a> {
    config: &'a Config,
    refused_fee: Option<Rejection>,
    close_out_refused: Option<Rejection>,
    agreement: Option<&'a RefundAgreement>,
    /// The chain has reached this block.
    seen_height: u64,
    reads: NodeReads<'a>,
}

/// What the chain shows of a good operation.
struct Answer {
    balances: Balances,
    funding: Option<Funding>,
    calls: Vec<Simulated>,
    height: u64,
    now_s: u64,
}

impl Question<'_> {
    async fn answer(&self, cx: &Cx) -> Result<Result<Answer, Rejection>, Fault> {
        let mut waits = RETRY_PAUSES_MS.into_iter();
        let shown = loop {
            let shown = self.reads.read(cx).await?;
            if self.refused_before_state(&shown).is_err() {
                break shown;
            }
            // 13: a node that lags shows nothing at all, or balances from before the last operation. Those may be just
            // the expected ones, and the escrow would let the operation happen on the others.
            let is_old = shown.height < self.seen_height;
            // At or after the block of an operation that we know of, nothing is what the chain shows: a reorganisation has
            // taken the payment back.
            let is_unknown = self.seen_height == 0 && shown.state.is_some_and(State::is_untouched);
            match waits.next().filter(|_| is_unknown || is_old) {
                Some(wait_ms) => cx.sleep_ms(wait_ms).await?,
                None if is_old => {
                    return Err(Fault::unavailable(
                        "the node has not come to the payment's last operation yet",
                    ));
                }
                None => break shown,
            }
        };
        let first = self.judge(cx, shown).await?;
        match first {
            Ok(answer) => Ok(Ok(answer)),
            Err(rejection) if self.is_certain(&rejection) => Ok(Err(rejection)),
            Err(rejection) => self.second_opinion(cx, rejection).await,
        }
    }

    /// Whether a refusal needs no chain.
    fn is_certain(&self, rejection: &Rejection) -> bool {
        [&self.refused_fee, &self.close_out_refused]
            .into_iter()
            .flatten()
            .any(|certain| certain.reason == rejection.reason && certain.message == rejection.message)
    }

    /// Nothing is refused because of one node's answers alone. Nodes that have not reached the payment's last operation do
    /// not count.
    async fn second_opinion(&self, cx: &Cx, first: Rejection) -> Result<Result<Answer, Rejection>, Fault> {
        let reads = self.reads.at_once();
        let mut opinions = Opinions::default();
        for mut answers in rpc::compare_or_read(cx, reads.reads()).await?.sets {
            let shown = match reads.take(cx, &mut answers).await {
                Ok(shown) => shown,
                Err(fault) => {
                    opinions.record(Err(fault));
                    continue;
                }
            };
            let height = shown.height;
            if height >= self.seen_height {
                let verdict = self.judge(cx, shown).await?;
                opinions.record(Ok(Opinion { height, verdict }));
            }
        }
        Ok(second::decide(opinions.into_result()?).unwrap_or(Err(first)))
    }

    /// What comes before the payment's state in order.
    fn refused_before_state(&self, shown: &Shown) -> Result<(), Rejection> {
        // 12
        if !shown.signed {
            return Err(Rejection::new(
                Reason::AuthorizerSignature,
                "authorizerSignature is not extra.receiverAuthorizer's signature of this operation",
            ));
        }
        if let Some(rejection) = &self.close_out_refused {
            return Err(rejection.clone());
        }
        if !shown.close_out_signed {
            return Err(Rejection::new(
                Reason::VoidAuthorizerSignature,
                "voidAuthorizerSignature is not extra.receiverAuthorizer's signature of a void",
            ));
        }
        if let Some(rejection) = &self.refused_fee {
            return Err(rejection.clone());
        }
        request_check::in_time(self.config, self.reads.payload, self.reads.terms, shown.now_s)
    }

    /// The verdict by one node's answers.
    async fn judge(&self, cx: &Cx, shown: Shown) -> Result<Result<Answer, Rejection>, Fault> {
        macro_rules! or_refuse {
            ($checked:expr) => {
                match $checked {
                    Ok(good) => good,
                    Err(rejection) => return Ok(Err(rejection)),
                }
            };
        }
        let (payload, terms) = (self.reads.payload, self.reads.terms);
        or_refuse!(self.refused_before_state(&shown));
        // 13, 14
        let balances = or_refuse!(
            request_check::in_state(self.config, payload, shown.state).map_err(Rejection::of_state)
        );
        let funding = match (self.agreement, shown.funds) {
            (Some(agreement), Some(funds)) => Some(or_refuse!(
                funding::funded(cx, terms, agreement, payload.amount, shown.now_s, funds)
                    .await?
                    .map_err(Rejection::of_state)
            )),
            _ => None,
        };
        // 15
        let max_gas = self.config.max_gas;
        let mut calls = Vec::with_capacity(self.reads.calls.len());
        for (call, outcome) in self.reads.calls.iter().zip(shown.outcomes) {
            match outcome {
                Ok(gas) if gas <= max_gas => calls.push(Simulated {
                    call: call.clone(),
                    gas,
                }),
                Ok(gas) => {
                    return Ok(Err(Rejection::new(
                        Reason::SimulationFailed,
                        format!("the call needs {gas} gas, {max_gas} are allowed"),
                    )));
                }
                Err(failure) => {
                    let reason = revert::reason(&failure).unwrap_or(Reason::SimulationFailed);
                    return Ok(Err(Rejection::new(reason, revert::message(&failure)).of_state()));
                }
            }
        }
        Ok(Ok(Answer {
            balances,
            funding,
            calls,
            height: shown.height,
            now_s: shown.now_s,
        }))
    }
}

/// Step 9. A payment that was recognised by probing has a salt without an authorizer; its record names the authorizer.
async fn salt_is_bound(
    cx: &Cx,
    request: &PaymentRequest,
    payload: &Payload,
    terms: &Terms,
    hash: B256,
) -> Result<Result<(), Rejection>, Fault> {
    let bound = bound_salt(terms.receiver_authorizer, Address::ZERO, payload.salt_nonce);
    if payload.info.salt == bound {
        return Ok(Ok(()));
    }
    let found = match records::find(cx, &request.requirements.network, hash).await {
        Ok(found) => found,
        // Without a store nothing was ever recognised by probing.
        Err(fault) if fault.kind == FaultKind::Denied => None,
        Err(fault) => return Err(fault),
    };
    let by_record = found.is_some_and(|found| {
        found.record.salt_nonce.is_none() && found.record.receiver_authorizer == terms.receiver_authorizer
    });
    Ok(if by_record {
        Ok(())
    } else {
        Err(Rejection::new(
            Reason::SaltBindingMismatch,
            "paymentInfo.salt does not commit to extra.receiverAuthorizer with this saltNonce",
        ))
    })
}
