//! Every check of a lifecycle call, in the order of auth-capture-evm.md section 9.
//!
//! What needs no chain comes first as far as the order allows; then one batch answers the rest. A second batch is needed
//! only for an authorizer with code whose key made the signature, and while a node shows nothing of a payment at all.

use alloy_primitives::{B256, Bytes, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Cx, Fault, PaymentRequest};
use serde_json::json;

use super::super::AuthCaptureEvm;
use super::super::abi::{Escrow, EscrowV10, EscrowV11};
use super::super::authorizer::{Balances, Operation};
use super::super::config::RefundAgreement;
use super::super::deployment::FeeForm;
use super::super::fees::{Fee, FeeFault};
use super::super::payment_info::bound_salt;
use super::super::reason::{Dialect, No, Reason};
use super::super::records;
use super::super::revert;
use super::super::state::{self, State};
use super::super::terms::{Flow, OperatorType, Terms, is_our_signer};
use super::consent::{self, Consent};
use super::funding::{self, Funding};
use super::identify::payer_as_sent;
use super::payload::{Action, Payload};
use crate::rpc::{self, EthCall, Executed, Failure};

/// Waits between looks at a payment of which a node shows nothing, in milliseconds: it may lag.
const LOOK_AGAIN_MS: [u64; 4] = [200, 400, 800, 1_600];

/// What the checks are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A verdict: calls are simulated.
    Verdict,
    /// A plan: their gas is estimated, which simulates them.
    Plan,
}

#[derive(Debug)]
pub(super) enum Checked {
    Good(Box<Good>),
    Refused(Refusal),
}

/// An operation that passed every check.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) payer: String,
    pub(super) payload: Payload,
    pub(super) terms: Terms,
    pub(super) hash: B256,
    /// What the escrow holds now.
    pub(super) balances: Balances,
    /// The call, and the void behind it.
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

/// What needs no chain, up to step 10.
struct Asked<'a> {
    payload: Payload,
    terms: Terms,
    hash: B256,
    /// Of refunds.
    agreement: Option<&'a RefundAgreement>,
}

/// What one batch showed.
struct Shown {
    height: u64,
    now_s: u64,
    signed: bool,
    close_out_signed: bool,
    state: Option<State>,
    funds: Option<(Option<U256>, Option<U256>)>,
    /// One for each call; empty where they were not simulated.
    outcomes: Vec<Result<u64, Failure>>,
}

impl AuthCaptureEvm {
    pub(super) async fn lifecycle_check(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        wanted: Wanted,
    ) -> Result<Checked, Fault> {
        let payer = payer_as_sent(request);
        Ok(match self.lifecycle_checked(cx, request, wanted).await? {
            Ok(good) => Checked::Good(Box::new(good)),
            Err(no) => Checked::Refused(no.refusal(Dialect::V1_1, &payer)),
        })
    }

    async fn lifecycle_checked(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        wanted: Wanted,
    ) -> Result<Result<Good, No>, Fault> {
        macro_rules! or_refuse {
            ($checked:expr) => {
                match $checked {
                    Ok(good) => good,
                    Err(no) => return Ok(Err(no)),
                }
            };
        }
        let Asked {
            payload,
            terms,
            hash,
            agreement,
        } = or_refuse!(self.asked(cx.network(), request));
        // 9
        or_refuse!(salt_is_bound(cx, request, &payload, &terms, hash).await?);
        // 10
        or_refuse!(same_payment(&payload, &terms));
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
        let operation = or_refuse!(operation(&payload, &terms));
        let consent = Consent::wanted(&payload, &terms, hash, &operation);
        let refused_fee = fee_fault(&payload, &terms);
        let calls = calls(&payload, &terms, self.config.max_gas);
        let mut waits = LOOK_AGAIN_MS.into_iter();
        let shown = loop {
            let simulated = if refused_fee.is_none() {
                calls.as_slice()
            } else {
                &[]
            };
            let shown = look(cx, &terms, &payload, hash, &consent, simulated, wanted).await?;
            // 12
            if !shown.signed {
                return Ok(Err(No::new(
                    Reason::AuthorizerSignature,
                    "authorizerSignature is not extra.receiverAuthorizer's signature of this operation",
                )));
            }
            if let Some(no) = &consent.close_out_refused {
                return Ok(Err(no.clone()));
            }
            if !shown.close_out_signed {
                return Ok(Err(No::new(
                    Reason::VoidAuthorizerSignature,
                    "voidAuthorizerSignature is not extra.receiverAuthorizer's signature of a void",
                )));
            }
            if let Some(no) = &refused_fee {
                return Ok(Err(no.clone()));
            }
            or_refuse!(self.in_time(&payload, &terms, shown.now_s));
            // 13: a node that lags shows nothing at all.
            let nothing = shown.state.is_some_and(State::is_untouched);
            match waits.next().filter(|_| nothing) {
                Some(wait_ms) => cx.sleep_ms(wait_ms).await?,
                None => break shown,
            }
        };
        // 13, 14
        let balances = or_refuse!(self.in_state(&payload, shown.state));
        let funding = match (agreement, shown.funds) {
            (Some(agreement), Some(funds)) => Some(or_refuse!(
                funding::funded(cx, &terms, agreement, payload.amount, shown.now_s, funds).await?
            )),
            _ => None,
        };
        // 15
        let mut simulated = Vec::with_capacity(calls.len());
        for (call, outcome) in calls.into_iter().zip(shown.outcomes) {
            match outcome {
                Ok(gas) if gas <= self.config.max_gas => simulated.push(Simulated { call, gas }),
                Ok(gas) => {
                    return Ok(Err(No::new(
                        Reason::SimulationFailed,
                        format!("the call needs {gas} gas, {} are allowed", self.config.max_gas),
                    )));
                }
                Err(failure) => {
                    let reason = revert::reason(&failure).unwrap_or(Reason::SimulationFailed);
                    return Ok(Err(No::new(reason, revert::words(&failure))));
                }
            }
        }
        Ok(Ok(Good {
            payer: payer_as_sent(request),
            payload,
            terms,
            hash,
            balances,
            calls: simulated,
            funding,
            height: shown.height,
            now_s: shown.now_s,
        }))
    }

    /// Steps 1 to 8.
    fn asked(&self, network: &NetworkView, request: &PaymentRequest) -> Result<Asked<'_>, No> {
        // 1
        let payload = Payload::decode(&request.payload)?;
        // 2
        let terms = Terms::read(request, Dialect::V1_1, &self.config)?;
        // 3: the operator's own fee terms are those of the day on which a payment was opened, and not compared here.
        Terms::no_policy(&request.requirements.extra)?;
        match terms.operator_type {
            OperatorType::Custom if self.config.admits(terms.operator, &network.id) => {
                return Err(No::new(
                    Reason::LifecycleNotRelayed,
                    "captures, voids and refunds of a contract operator are that contract's own business",
                ));
            }
            OperatorType::Delegated if is_our_signer(terms.operator, network) => {}
            OperatorType::Custom | OperatorType::Delegated => {
                return Err(No::new(
                    Reason::OperatorNotAdmitted,
                    "extra.captureAuthorizer is neither a signer of this facilitator nor a contract that it admits",
                ));
            }
        }
        // 4, and with it 7
        if !terms.is_bound() {
            return Err(No::new(
                Reason::LifecycleNotRelayed,
                "nobody may order captures, voids and refunds of a payment without extra.receiverAuthorizer",
            ));
        }
        // 5
        if payload.action != Action::Refund && terms.flow != Flow::Escrow {
            return Err(No::new(
                Reason::PayloadType,
                "a charged payment holds nothing; it can be refunded only",
            ));
        }
        // 6
        let agreement = match payload.action {
            Action::Refund => Some(funding::agreement(
                &self.config,
                request,
                terms.receiver,
                terms.asset,
            )?),
            Action::Capture | Action::Void => None,
        };
        // 8
        if payload.info.operator != terms.operator {
            return Err(No::new(
                Reason::OperatorMismatch,
                "paymentInfo.operator is not extra.captureAuthorizer",
            ));
        }
        let hash = payload.info.hash(terms.place());
        Ok(Asked {
            payload,
            terms,
            hash,
            agreement,
        })
    }

    /// The deadlines of step 12. Inclusion counts, so a capture is not begun shortly before its own (T-74).
    fn in_time(&self, payload: &Payload, terms: &Terms, now_s: u64) -> Result<(), No> {
        match payload.action {
            Action::Capture
                if now_s.saturating_add(self.config.capture_margin_s) >= terms.capture_deadline_s =>
            {
                Err(No::new(
                    Reason::CaptureDeadlineExpired,
                    format!(
                        "captures end {} seconds before captureDeadline ({}); what is still held can be voided",
                        self.config.capture_margin_s, terms.capture_deadline_s
                    ),
                ))
            }
            Action::Refund if now_s >= terms.refund_deadline_s => Err(No::new(
                Reason::RefundDeadlineExpired,
                format!("refundDeadline ({}) is over", terms.refund_deadline_s),
            )),
            Action::Capture | Action::Void | Action::Refund => Ok(()),
        }
    }

    /// Steps 13 and 14.
    fn in_state(&self, payload: &Payload, state: Option<State>) -> Result<Balances, No> {
        let unexpected = |message: String| No::new(Reason::UnexpectedPaymentState, message);
        let balances = state
            .ok_or_else(|| unexpected("the escrow does not tell the payment's balances".into()))?
            .balances;
        if payload.action != Action::Void && balances != payload.expected {
            return Err(unexpected(format!(
                "capturable are {} and refundable {} units now, expected were {} and {}",
                balances.capturable,
                balances.refundable,
                payload.expected.capturable,
                payload.expected.refundable
            )));
        }
        let amount = payload.amount;
        match payload.action {
            Action::Capture => {
                if amount.is_zero() || amount > balances.capturable {
                    return Err(No::new(
                        Reason::AmountMismatch,
                        format!("a capture takes 1 to {} units", balances.capturable),
                    ));
                }
                let partial = amount < balances.capturable;
                if partial && amount < self.config.min_capture_amount.0 {
                    return Err(No::new(
                        Reason::AmountMismatch,
                        format!(
                            "a partial capture takes at least {} units here: small ones round fees down",
                            self.config.min_capture_amount
                        ),
                    ));
                }
                if payload.close_out.is_some() && !partial {
                    return Err(No::new(
                        Reason::VoidRemainderFullCapture,
                        "a capture of everything leaves nothing to void",
                    ));
                }
            }
            Action::Void if balances.capturable.is_zero() => {
                return Err(No::new(Reason::ZeroAuthorization, "nothing is held"));
            }
            Action::Void => {}
            Action::Refund => {
                if amount.is_zero() || amount > balances.refundable {
                    return Err(No::new(
                        Reason::RefundExceedsCapture,
                        format!("a refund gives back 1 to {} units", balances.refundable),
                    ));
                }
            }
        }
        Ok(balances)
    }
}

/// Step 9. A payment that was recognised by probing has a salt that commits to nobody; its record names the authorizer.
async fn salt_is_bound(
    cx: &Cx,
    request: &PaymentRequest,
    payload: &Payload,
    terms: &Terms,
    hash: B256,
) -> Result<Result<(), No>, Fault> {
    let bound = bound_salt(
        terms.receiver_authorizer,
        alloy_primitives::Address::ZERO,
        payload.salt_nonce,
    );
    if payload.info.salt == bound {
        return Ok(Ok(()));
    }
    let known = records::find(cx, &request.requirements.network, hash).await;
    let by_record = known.is_ok_and(|found| {
        found.is_some_and(|found| {
            found.record.salt_nonce.is_none() && found.record.receiver_authorizer == terms.receiver_authorizer
        })
    });
    Ok(if by_record {
        Ok(())
    } else {
        Err(No::new(
            Reason::SaltBindingMismatch,
            "paymentInfo.salt does not commit to extra.receiverAuthorizer with this saltNonce",
        ))
    })
}

/// Step 10.
fn same_payment(payload: &Payload, terms: &Terms) -> Result<(), No> {
    let info = &payload.info;
    let deadlines: [u64; 2] = [info.authorizationExpiry.to(), info.refundExpiry.to()];
    let differs = [
        ("receiver", info.receiver != terms.receiver, "payTo"),
        ("token", info.token != terms.asset, "asset"),
        ("maxAmount", info.maxAmount != terms.max_amount, "accepted.amount"),
        (
            "authorizationExpiry",
            deadlines[0] != terms.capture_deadline_s,
            "extra.captureDeadline",
        ),
        (
            "refundExpiry",
            deadlines[1] != terms.refund_deadline_s,
            "extra.refundDeadline",
        ),
        (
            "minFeeBps",
            info.minFeeBps != terms.fees.min_bps,
            "extra.minFeeBps",
        ),
        (
            "maxFeeBps",
            info.maxFeeBps != terms.fees.max_bps,
            "extra.maxFeeBps",
        ),
        (
            "feeReceiver",
            info.feeReceiver != terms.fees.recipient,
            "extra.feeRecipient",
        ),
    ];
    match differs.into_iter().find(|(_, differs, _)| *differs) {
        None => Ok(()),
        Some((member, _, term)) => Err(No::new(
            Reason::Extra,
            format!("paymentInfo.{member} is not {term}: lifecycle calls carry the values of the payment"),
        )),
    }
}

/// The fee's form, and whether there is all that a signature is over.
fn operation(payload: &Payload, terms: &Terms) -> Result<Operation, No> {
    if payload.action == Action::Capture {
        let fee = payload
            .fee
            .map_err(|message| No::new(Reason::PayloadFormat, message))?;
        if fee.form() != terms.deployment.fee_form {
            let wanted = match terms.deployment.fee_form {
                FeeForm::Bps => "feeBps",
                FeeForm::Amount => "feeAmount",
            };
            return Err(No::new(
                Reason::PayloadFormat,
                format!("this escrow takes payload.{wanted}"),
            ));
        }
    }
    payload.operation(&terms.deployment).ok_or_else(|| {
        No::new(
            Reason::FeeReceiver,
            "payload.feeReceiver must be a 20-byte hex address",
        )
    })
}

/// The fee rules of section 11.
fn fee_fault(payload: &Payload, terms: &Terms) -> Option<No> {
    let (Action::Capture, Ok(fee), Some(receiver)) = (payload.action, payload.fee, payload.fee_receiver)
    else {
        return None;
    };
    let (reason, message) = match terms.fees.fault(fee, receiver, payload.amount)? {
        FeeFault::Receiver => (
            Reason::FeeReceiver,
            "payload.feeReceiver is not extra.feeRecipient",
        ),
        FeeFault::OutOfRange => (
            Reason::FeeBpsOutOfRange,
            "the fee is not between extra.minFeeBps and extra.maxFeeBps of the amount",
        ),
        FeeFault::ZeroReceiver => (Reason::ZeroFeeReceiver, "a fee needs a receiver"),
    };
    Some(No::new(reason, message))
}

/// The calls of the escrow, from the operator: the operation's, and a void behind it.
fn calls(payload: &Payload, terms: &Terms, max_gas: u64) -> Vec<EthCall> {
    let call = |data: Vec<u8>| EthCall {
        from: Some(terms.operator),
        to: terms.deployment.escrow,
        data,
        gas: Some(max_gas),
    };
    let info = || payload.info.clone();
    let void = || call(Escrow::voidCall { paymentInfo: info() }.abi_encode());
    match payload.action {
        Action::Void => vec![void()],
        Action::Refund => vec![call(
            Escrow::refundCall {
                paymentInfo: info(),
                amount: payload.amount,
                tokenCollector: terms.deployment.operator_refund_collector,
                collectorData: Bytes::new(),
            }
            .abi_encode(),
        )],
        Action::Capture => {
            let fee_receiver = payload.fee_receiver.unwrap_or_default();
            let capture = payload.fee.ok().map(|fee| match fee {
                Fee::Bps(fee_bps) => EscrowV10::captureCall {
                    paymentInfo: info(),
                    amount: payload.amount,
                    feeBps: fee_bps,
                    feeReceiver: fee_receiver,
                }
                .abi_encode(),
                Fee::Amount(fee_amount) => EscrowV11::captureCall {
                    paymentInfo: info(),
                    amount: payload.amount,
                    feeAmount: fee_amount,
                    feeReceiver: fee_receiver,
                }
                .abi_encode(),
            });
            let close_out = payload.close_out.as_ref().map(|_| void());
            capture.map(call).into_iter().chain(close_out).collect()
        }
    }
}

/// One batch: the newest block's time, who signed, the payment's balances, a refund's funds, and the calls.
async fn look(
    cx: &Cx,
    terms: &Terms,
    payload: &Payload,
    hash: B256,
    consent: &Consent,
    calls: &[EthCall],
    wanted: Wanted,
) -> Result<Shown, Fault> {
    let mut batch: Vec<RpcCall> = vec![rpc::request("eth_getBlockByNumber", json!(["latest", false]))];
    for signed in consent.operation.iter().chain(&consent.close_out) {
        batch.extend(signed.reads());
    }
    batch.push(state::ask(terms.deployment.escrow, hash).call());
    if payload.action == Action::Refund {
        batch.extend(funding::reads(terms));
    }
    batch.extend(calls.iter().map(|call| match wanted {
        Wanted::Verdict => call.call(),
        Wanted::Plan => call.estimate(),
    }));
    let mut answers = rpc::read_all(cx, batch).await?;

    let head = rpc::value(answers.take()?, "eth_getBlockByNumber")?;
    let of_head = |name: &str| {
        head.get(name)
            .and_then(rpc::as_u64)
            .ok_or_else(|| Fault::unavailable(format!("the node answered a block without {name}")))
    };
    let (height, block_s) = (of_head("number")?, of_head("timestamp")?);
    let told = match &consent.operation {
        Some(signed) => Some((signed, signed.take(&mut answers)?)),
        None => None,
    };
    let told_close_out = match &consent.close_out {
        Some(signed) => Some((signed, signed.take(&mut answers)?)),
        None => None,
    };
    let state = State::of_answer(rpc::executed(answers.take()?, "paymentState")?);
    let funds = match payload.action {
        Action::Refund => Some(funding::take(&mut answers)?),
        Action::Capture | Action::Void => None,
    };
    let mut outcomes = Vec::with_capacity(calls.len());
    for _ in calls {
        outcomes.push(outcome(answers.take()?, wanted)?);
    }
    let signed = match told {
        Some((signed, told)) => signed.agrees(cx, told).await?,
        None => true,
    };
    let close_out_signed = match told_close_out {
        Some((close_out, told)) if signed => close_out.agrees(cx, told).await?,
        Some(_) | None => true,
    };
    Ok(Shown {
        height,
        now_s: cx.now_s().max(block_s),
        signed,
        close_out_signed,
        state,
        funds,
        outcomes,
    })
}

fn outcome(answer: RpcResult, wanted: Wanted) -> Result<Result<u64, Failure>, Fault> {
    match wanted {
        Wanted::Verdict => Ok(match rpc::executed(answer, "simulation of an escrow's call")? {
            Executed::Returned(_) => Ok(0),
            Executed::Failed(failure) => Err(failure),
        }),
        Wanted::Plan => {
            if let RpcResult::Error(error) = &answer
                && let Some(failure) = rpc::failure(error)
            {
                return Ok(Err(failure));
            }
            rpc::quantity(answer, "eth_estimateGas of an escrow's call").map(Ok)
        }
    }
}
