//! One batch of reads for all checks of a lifecycle call that need the chain, and the calls that it simulates.

use alloy_primitives::{B256, Bytes, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::host::RpcCall;
use sdk_plugin::{Cx, Fault};

use super::super::abi::{Escrow, EscrowV10, EscrowV11};
use super::super::fees::Fee;
use super::super::signed::Signed;
use super::super::state::{self, State};
use super::super::terms::Terms;
use super::funding;
use super::payload::{Action, Payload};
use crate::rpc::{self, Answers, EthCall, Failure};
use crate::step::{self, Wanted};

/// What one batch showed.
pub(super) struct Shown {
    pub(super) height: u64,
    pub(super) now_s: u64,
    pub(super) signed: bool,
    pub(super) close_out_signed: bool,
    pub(super) state: Option<State>,
    pub(super) funds: Option<(Option<U256>, Option<U256>)>,
    /// One for each call; empty where they were not simulated.
    pub(super) outcomes: Vec<Result<u64, Failure>>,
}

/// The calls of the escrow, from the operator: the operation's, and a void after it.
pub(super) fn calls(payload: &Payload, terms: &Terms, max_gas: u64) -> Vec<EthCall> {
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

/// What is read in one batch: the newest block's time, who signed, the payment's balances, a refund's funds, and the calls.
pub(super) struct NodeReads<'a> {
    pub(super) terms: &'a Terms,
    pub(super) payload: &'a Payload,
    pub(super) hash: B256,
    /// Who must have signed: the operation, and giving back the rest.
    pub(super) operation: Option<Signed>,
    pub(super) close_out: Option<Signed>,
    pub(super) calls: &'a [EthCall],
    pub(super) wanted: Wanted,
}

impl<'a> NodeReads<'a> {
    /// The same, in one round trip whatever the signers are.
    pub(super) fn at_once(&self) -> Self {
        Self {
            operation: self.operation.as_ref().map(Signed::at_once),
            close_out: self.close_out.as_ref().map(Signed::at_once),
            ..*self
        }
    }

    pub(super) fn reads(&self) -> Vec<RpcCall> {
        let mut reads = vec![rpc::newest_block()];
        for signed in self.operation.iter().chain(&self.close_out) {
            reads.extend(signed.reads());
        }
        reads.push(state::payment_state(self.terms.deployment.escrow, self.hash).call());
        if self.payload.action == Action::Refund {
            reads.extend(funding::reads(self.terms));
        }
        reads.extend(self.calls.iter().map(|call| self.wanted.try_out(call)));
        reads
    }

    /// Reads and takes.
    pub(super) async fn read(&self, cx: &Cx) -> Result<Shown, Fault> {
        let mut answers = rpc::NODES.read_well_formed(cx, self.reads()).await?;
        self.take(cx, &mut answers).await
    }

    /// Takes one node's answers to [`Self::reads`].
    pub(super) async fn take(&self, cx: &Cx, answers: &mut Answers) -> Result<Shown, Fault> {
        let (height, block_s) = rpc::head(answers.take()?)?;
        let answer = match &self.operation {
            Some(signed) => Some((signed, signed.take(answers)?)),
            None => None,
        };
        let close_out_answer = match &self.close_out {
            Some(signed) => Some((signed, signed.take(answers)?)),
            None => None,
        };
        let state = State::of_answer(rpc::executed(answers.take()?, "paymentState")?);
        let funds = match self.payload.action {
            Action::Refund => Some(funding::take(answers)?),
            Action::Capture | Action::Void => None,
        };
        let mut outcomes = Vec::with_capacity(self.calls.len());
        for call in self.calls {
            let tried = answers.take()?;
            let tried = match self.wanted {
                Wanted::Verdict => tried,
                Wanted::Plan => step::or_called(cx, tried, call.call(), call.gas.unwrap_or_default()).await?,
            };
            outcomes.push(self.wanted.tried(tried, "an escrow's call, tried")?);
        }
        let signed = match answer {
            Some((signed, answer)) => signed.agrees(cx, answer).await?,
            None => true,
        };
        let close_out_signed = match close_out_answer {
            Some((close_out, answer)) if signed => close_out.agrees(cx, answer).await?,
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
}
