//! Every check of verify, in the specified order, with as few round trips as the order allows.
//!
//! What can be decided without the chain is decided first. Refusals that come after the signatures in order wait for
//! the signatures' verdict; a payment that is refused either way is not simulated.

use sdk_plugin::host::RpcCall;
use sdk_plugin::{Amount, Cx, Fault, PaymentRequest};

use super::call::{Call, not_deployed};
use super::collection::{Collection, target};
use super::custom::Sandbox;
use super::payment::Payment;
use crate::auth_capture::AuthCaptureEvm;
use crate::auth_capture::config::Config;
use crate::auth_capture::reason::{Dialect, Reason, Rejection};
use crate::auth_capture::signed::Signed;
use crate::auth_capture::terms::OperatorType;
use crate::rpc::{self, Answers, EthCall, Opinions};
use crate::second::{self, Opinion};
use crate::signature;
use crate::step::{self, Checked, Wanted};

/// A payment that passed every check.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) payment: Payment,
    pub(super) collection: Collection,
    pub(super) funds: Funds,
    /// Present with a contract operator.
    pub(super) sandbox: Option<Sandbox>,
}

/// What a plan needs to know beyond "good".
#[derive(Debug, Clone, Copy)]
pub(super) struct Funds {
    /// The payer's balance of the asset, in atomic units.
    pub(super) available: Amount,
    /// The balance is that of this block or of a later one.
    pub(super) height: u64,
    /// Gas that the call used, where it was estimated.
    pub(super) gas: u64,
}

impl AuthCaptureEvm {
    pub(super) async fn collect_check(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        wanted: Wanted,
    ) -> Result<Checked<Good>, Fault> {
        let payment = match Payment::read(request, &self.config) {
            Ok(payment) => payment,
            Err(refusal) => return Ok(Checked::Refused(refusal)),
        };
        match self.checked(cx, request, wanted, &payment).await? {
            Ok((collection, funds, sandbox)) => Ok(Checked::Good(Box::new(Good {
                payment,
                collection,
                funds,
                sandbox,
            }))),
            Err(rejection) => Ok(Checked::Refused(payment.refuse(rejection))),
        }
    }

    async fn checked(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        wanted: Wanted,
        payment: &Payment,
    ) -> Result<Result<(Collection, Funds, Option<Sandbox>), Rejection>, Fault> {
        let network = cx.network();
        step::same_network(cx, request)?;
        // 14 to 25
        if let Err(rejection) =
            payment.refused_before_signature(request, &self.config, network, wanted, cx.now_s())
        {
            return Ok(Err(rejection));
        }
        let Some(unwrapped) = payment.payload.unwrapped.clone() else {
            return Ok(Err(Rejection::new(
                Reason::Signature,
                "the ERC-6492 wrapper can't be decoded",
            )));
        };
        let from = payment.from();
        let digest = payment.payload.authorization.digest(&payment.terms);
        // 28 to 31, which come after the signature in order, and the reads for the later steps.
        let call = match payment.collection() {
            Ok(collection) => self.call(cx, request, payment, collection).await?,
            Err(rejection) => Err(rejection),
        };
        let mut question = Question {
            payment,
            config: &self.config,
            signed: Signed::new(from, digest, &unwrapped.inner),
            deploys: unwrapped.deployment.is_some(),
            call,
            wanted,
        };
        let mut answers = rpc::NODES.read_well_formed(cx, question.reads()).await?;
        let verdict = match question.opinion(cx, &mut answers).await?.verdict {
            Ok(funds) => Ok(funds),
            Err(Objection::Certain(rejection)) => Err(rejection),
            Err(Objection::OfChain(_)) => question.second_opinion(cx).await?,
        };
        Ok(match (verdict, question.call) {
            (Ok(funds), Ok(call)) => Ok((call.collection, funds, call.sandbox)),
            (Err(rejection), _) | (Ok(_), Err(rejection)) => Err(rejection),
        })
    }

    /// Who consents to a charge, and how the call is tried.
    async fn call(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        payment: &Payment,
        collection: Collection,
    ) -> Result<Result<Call, Rejection>, Fault> {
        let terms = &payment.terms;
        let consent = match self.consent(request, payment, &collection) {
            Ok(consent) => consent,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let (sender, max_gas) = match terms.operator_type {
            OperatorType::Delegated => (terms.operator, self.config.max_gas),
            OperatorType::Custom => (step::first_signer(cx)?, self.config.custom_max_gas),
        };
        let call = EthCall {
            from: Some(sender),
            to: target(terms),
            data: collection.calldata(&payment.payload.signature),
            gas: Some(max_gas),
        };
        let sandbox = match terms.operator_type {
            OperatorType::Delegated => None,
            OperatorType::Custom => {
                let Some(store) = self.stores.of(cx, terms.escrow_id(), terms.operator).await? else {
                    return Ok(Err(not_deployed()));
                };
                Some(Sandbox::new(cx.network(), payment, &collection, store))
            }
        };
        Ok(Ok(Call {
            collection,
            consent,
            sandbox,
            call,
            max_gas,
        }))
    }

    /// Step 32: `None` where no consent is needed, because nothing is charged yet, the dialect has no consent, or we are the
    /// authorizer and the tenant is known.
    fn consent(
        &self,
        request: &PaymentRequest,
        payment: &Payment,
        collection: &Collection,
    ) -> Result<Option<Signed>, Rejection> {
        let terms = &payment.terms;
        if terms.dialect == Dialect::V1_0 || !collection.completed {
            return Ok(None);
        }
        let Some(operation) = collection.operation(&payment.payload.signature) else {
            return Ok(None);
        };
        match &payment.payload.completion.authorizer_signature {
            Some(signature) => {
                let digest = operation.digest(collection.hash, terms.chain_id, terms.operator);
                Ok(Some(Signed::new(terms.receiver_authorizer, digest, signature)))
            }
            // The check of the payload's form has shown that the address is ours.
            None if self.config.speaks_for(request.tenant.as_deref(), terms.receiver) => Ok(None),
            None => Err(Rejection::new(
                Reason::UnauthenticatedAuthorizerRequest,
                "without payload.authorizerSignature the request must come from the tenant that speaks for payTo here",
            )),
        }
    }
}

/// Why a payment is refused.
#[derive(Debug)]
enum Objection {
    /// Because of what one node shows.
    OfChain(Rejection),
    /// Whatever the chain shows.
    Certain(Rejection),
}

/// A payment, and what is read from one node about it.
struct Question<'a> {
    payment: &'a Payment,
    config: &'a Config,
    /// By the payer.
    signed: Signed,
    /// The signature's wrapper would deploy a wallet.
    deploys: bool,
    /// Or the refusal that comes after the payer's signature in order.
    call: Result<Call, Rejection>,
    wanted: Wanted,
}

impl Question<'_> {
    fn reads(&self) -> Vec<RpcCall> {
        let mut reads = vec![rpc::newest_block()];
        reads.extend(self.signed.reads());
        if let Ok(call) = &self.call {
            reads.extend(call.reads(self.payment, self.wanted));
        }
        reads
    }

    /// A payer is never refused because of one node's answers alone.
    ///
    /// # Errors
    /// No node answers.
    async fn second_opinion(&mut self, cx: &Cx) -> Result<Result<Funds, Rejection>, Fault> {
        self.signed = self.signed.at_once();
        if let Ok(call) = &mut self.call {
            call.consent = call.consent.as_ref().map(Signed::at_once);
        }
        let mut opinions = Opinions::default();
        for mut answers in rpc::compare_or_read(cx, self.reads()).await?.sets {
            opinions.record(self.opinion(cx, &mut answers).await);
        }
        let verdict = second::decide(opinions.into_result()?)
            .ok_or_else(|| Fault::internal("a second opinion without answers"))?;
        Ok(verdict.map_err(|objection| match objection {
            Objection::OfChain(rejection) | Objection::Certain(rejection) => rejection,
        }))
    }

    /// What one node shows, by its answers to [`Self::reads`].
    async fn opinion(&self, cx: &Cx, answers: &mut Answers) -> Result<Opinion<Funds, Objection>, Fault> {
        let (height, timestamp_s) = rpc::head(answers.take()?)?;
        let verdict = self.verdict(cx, height, timestamp_s, answers).await?;
        Ok(Opinion { height, verdict })
    }

    async fn verdict(
        &self,
        cx: &Cx,
        height: u64,
        timestamp_s: u64,
        answers: &mut Answers,
    ) -> Result<Result<Funds, Objection>, Fault> {
        let payment = self.payment;
        let of_chain = |reason, message: &str| Ok(Err(Objection::OfChain(Rejection::new(reason, message))));
        // The chain's clock may be ahead of this host's: the escrow goes by the chain's.
        if let Err(rejection) = payment.in_time(self.config, timestamp_s.max(cx.now_s())) {
            return Ok(Err(Objection::OfChain(rejection)));
        }
        // 26
        let answer = self.signed.take(answers)?;
        // The collector makes a wrapper's call in any case, at our expense: also for a payer who has code, or needs none.
        if let Some(target) = signature::wrapper_target(&payment.payload.signature)
            && !self.config.wallet_factories.contains(&target)
        {
            return Ok(Err(Objection::Certain(Rejection::new(
                Reason::Erc6492FactoryNotAllowed,
                "the signature's wrapper (ERC-6492) calls a contract that is not allowed here; send the bare signature of \
                 a wallet that exists",
            ))));
        }
        let counterfactual = self.deploys && !answer.has_code;
        // 27: a wallet that does not exist yet can't be called; the simulation deploys it.
        if !counterfactual && !self.signed.agrees(cx, answer).await? {
            return of_chain(Reason::Signature, "the signature is not the payer's");
        }
        let call = match &self.call {
            Ok(call) => call,
            Err(rejection) => return Ok(Err(Objection::Certain(rejection.clone()))),
        };
        // 32
        if let Some(consent) = &call.consent {
            let answer = consent.take(answers)?;
            if !consent.agrees(cx, answer).await? {
                return of_chain(
                    Reason::AuthorizerSignature,
                    "payload.authorizerSignature is not extra.receiverAuthorizer's over this charge",
                );
            }
        }
        // 33, 34
        let funds = call.outcome(cx, payment, self.wanted, height, answers).await?;
        Ok(funds.map_err(Objection::OfChain))
    }
}
