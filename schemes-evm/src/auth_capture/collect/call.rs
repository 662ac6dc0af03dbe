//! The call that collects a payment: what is read for it, and what one node's results say about it.

use alloy_primitives::U256;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Amount, Cx, Fault};

use super::check::Funds;
use super::collection::Collection;
use super::custom::Sandbox;
use super::payment::Payment;
use crate::auth_capture::reason::{Reason, Rejection};
use crate::auth_capture::revert;
use crate::auth_capture::signed::Signed;
use crate::auth_capture::state::{self, READ_GAS, State};
use crate::rpc::{self, Answers, EthCall, Failure};
use crate::step::{self, Wanted};

/// What is read from the chain about the call itself.
pub(super) struct Call {
    pub(super) collection: Collection,
    pub(super) consent: Option<Signed>,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) call: EthCall,
    pub(super) max_gas: u64,
}

impl Call {
    /// The height is read before the balance, so that the balance is not older.
    pub(super) fn reads(&self, payment: &Payment, wanted: Wanted) -> Vec<RpcCall> {
        let mut reads = Vec::new();
        if let Some(consent) = &self.consent {
            reads.extend(consent.reads());
        }
        reads.push(state::payment_state(payment.terms.deployment.escrow, self.collection.hash).call());
        reads.push(rpc::balance_of(payment.terms.asset, payment.from(), Some(READ_GAS)).call());
        match (&self.sandbox, wanted) {
            (None, _) => reads.push(wanted.try_out(&self.call)),
            (Some(sandbox), Wanted::Verdict) => reads.push(sandbox.read(&self.call, self.collection.hash)),
            (Some(sandbox), Wanted::Plan) => {
                reads.push(sandbox.read(&self.call, self.collection.hash));
                reads.push(self.call.estimate());
            }
        }
        reads
    }

    /// Steps 33 and 34.
    pub(super) async fn outcome(
        &self,
        cx: &Cx,
        payment: &Payment,
        wanted: Wanted,
        height: u64,
        answers: &mut Answers,
    ) -> Result<Result<Funds, Rejection>, Fault> {
        let state = rpc::executed(answers.take()?, "paymentState of an escrow")?;
        let balance = rpc::executed_word(answers.take()?, "balanceOf of the payer")?;
        let Some(state) = State::of_answer(state) else {
            return Ok(Err(not_deployed()));
        };
        if let Some(sandbox) = &self.sandbox {
            match sandbox.judge(answers.take()?, self.collection.hash)? {
                Ok(()) => {}
                Err(rejection) => {
                    return Ok(Err(
                        rejection.explained(|failure| self.explain(payment, state, balance, failure))
                    ));
                }
            }
        }
        let simulated = match (wanted, &self.sandbox) {
            (Wanted::Verdict, Some(_)) => Ok(0),
            (Wanted::Verdict, None) => wanted.tried(answers.take()?, "simulation of the collection")?,
            (Wanted::Plan, _) => {
                let estimate = step::or_called(cx, answers.take()?, self.call.call(), self.max_gas).await?;
                estimated(estimate)?
            }
        };
        let gas = match simulated {
            Ok(gas) => gas,
            Err(failure) => return Ok(Err(self.explain(payment, state, balance, &failure))),
        };
        if gas > self.max_gas {
            return Ok(Err(Rejection::new(
                Reason::SimulationFailed,
                format!("the call needs {gas} gas, {} are allowed", self.max_gas),
            )));
        }
        if state.collected {
            return Ok(Err(already_collected()));
        }
        // A token that transfers but returns no balance can't be reserved against.
        let Some(available) = balance else {
            return Ok(Err(Rejection::new(
                Reason::SimulationFailed,
                "the asset answers no balance",
            )));
        };
        if available < payment.needs(&self.collection) {
            // Open payments of this payer count later; this one alone is too much already.
            return Ok(Err(insufficient_balance()));
        }
        Ok(Ok(Funds {
            available: Amount(available),
            height,
            gas,
        }))
    }

    /// The map of typed errors first; an unknown error is an old payment, a balance that is too low, or the contract's own
    /// message.
    fn explain(
        &self,
        payment: &Payment,
        state: State,
        balance: Option<U256>,
        failure: &Failure,
    ) -> Rejection {
        let message = revert::message(failure);
        if let Some(reason) = revert::reason(failure)
            .filter(|reason| self.sandbox.is_some() || revert::can_be_of_own_signer(*reason))
        {
            return Rejection::new(reason, message);
        }
        if state.collected {
            return already_collected();
        }
        let signed = U256::from(payment.terms.max_amount);
        if balance.is_some_and(|balance| balance < signed) {
            return insufficient_balance();
        }
        Rejection::new(Reason::SimulationFailed, message)
    }
}

fn estimated(answer: RpcResult) -> Result<Result<u64, Failure>, Fault> {
    Ok(
        match rpc::estimated(answer, "eth_estimateGas of the collection")? {
            Ok(0) => Err(Failure {
                data: Vec::new(),
                message: "the node estimates no gas at all".into(),
            }),
            tried => tried,
        },
    )
}

fn insufficient_balance() -> Rejection {
    Rejection::new(
        Reason::InsufficientBalance,
        "the payer has less than the signed amount",
    )
}

fn already_collected() -> Rejection {
    Rejection::new(
        Reason::PaymentAlreadyCollected,
        "the payment was collected before",
    )
}

pub(super) fn not_deployed() -> Rejection {
    Rejection::new(Reason::Extra, "the escrow is not deployed on this network")
}
