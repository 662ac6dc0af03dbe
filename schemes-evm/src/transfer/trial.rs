//! The transfer as it would be sent, simulated at the newest block: its result, the gas that it uses, and the state that a
//! simulation alone does not show, read in the same batch. Some tokens return for a used nonce instead of reverting
//! (exact-evm.md section 14), and a call of an address without code succeeds.

use alloy_primitives::U256;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Amount, Cx, Fault};

use super::SignedTransfer;
use crate::deployment::{self, Rehearsed};
use crate::rpc::{self, Answers, EthCall, Failure};
use crate::step::{self, GasLimits, Wanted};

/// A transfer to be tried.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    pub(super) transfer: &'a dyn SignedTransfer,
    /// The transaction's call.
    pub(super) call: EthCall,
    /// The same with the result of each part, where it deploys a wallet first.
    pub(super) rehearsal: Option<EthCall>,
    pub(super) wanted: Wanted,
    pub(super) limits: GasLimits,
    /// A transfer of this asset has run out of gas: estimates are not relied on.
    pub(super) ran_short: bool,
    /// Wei per unit of gas at which it is tried; `None`: without a price, as nodes run calls by default.
    pub(super) price: Option<U256>,
}

/// What a plan needs to know beyond "good".
#[derive(Debug, Clone, Copy)]
pub(crate) struct Funds {
    /// The payer's balance of the asset, in atomic units.
    pub(crate) available: Amount,
    /// The balance is that of this block or of a later one.
    pub(crate) height: u64,
    /// Of the transfer's transaction.
    pub(crate) gas_limit: u64,
}

/// What came of a trial.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It works; with the funds where a plan is wanted.
    Works(Option<Funds>),
    /// It can't pay, for a reason that needs no explanation. It takes two nodes to confirm it.
    Refused(Refusal),
    /// The EVM refused it. `undeployed`: it refused the wallet's deployment too.
    Failed { failure: Failure, undeployed: bool },
}

impl Outcome {
    fn failed(failure: Failure) -> Self {
        Self::Failed {
            failure,
            undeployed: false,
        }
    }
}

impl Trial<'_> {
    /// The height comes before the balance, so that the balance is not older.
    pub(super) fn reads(&self) -> Vec<RpcCall> {
        let rehearsal = self.rehearsal.iter().map(EthCall::call);
        let mut tried: Vec<RpcCall> = rehearsal.map(|call| self.at_price(call)).collect();
        if self.tries_call() {
            tried.push(self.at_price(self.wanted.try_out(&self.call)));
        }
        let mut reads = match self.wanted {
            Wanted::Verdict => Vec::new(),
            Wanted::Plan => {
                let balance = rpc::balance_of(self.transfer.asset(), self.transfer.from(), None);
                vec![rpc::block_number(), balance.call()]
            }
        };
        reads.extend(tried);
        reads.push(self.state().call());
        reads
    }

    fn at_price(&self, mut read: RpcCall) -> RpcCall {
        if let (Some(wei), Some(call)) = (self.price, read.params.get_mut(0)) {
            call["gasPrice"] = format!("{wei:#x}").into();
        }
        read
    }

    /// A verdict needs no more than a rehearsal.
    fn tries_call(&self) -> bool {
        self.rehearsal.is_none() || self.wanted == Wanted::Plan
    }

    /// Reads and takes.
    ///
    /// # Errors
    /// A fault of the node.
    pub(super) async fn run(&self, cx: &Cx) -> Result<Outcome, Fault> {
        let mut answers = rpc::NODES.read_well_formed(cx, self.reads()).await?;
        self.take(cx, &mut answers).await
    }

    /// Takes the answers to [`Self::reads`].
    ///
    /// # Errors
    /// A fault of the node.
    pub(super) async fn take(&self, cx: &Cx, answers: &mut Answers) -> Result<Outcome, Fault> {
        let funds = match self.wanted {
            Wanted::Verdict => None,
            Wanted::Plan => Some((answers.take()?, answers.take()?)),
        };
        let rehearsed = match self.rehearsal {
            Some(_) => Some(answers.take()?),
            None => None,
        };
        let tried = if self.tries_call() {
            Some(answers.take()?)
        } else {
            None
        };
        let state = answers.take()?;
        if let Some(answer) = rehearsed
            && let Rehearsed::Fails { failure, deployed } = deployment::rehearsed(answer)?
        {
            return Ok(Outcome::Failed {
                failure,
                undeployed: !deployed,
            });
        }
        let gas = match (tried, self.wanted) {
            (None, _) => Ok(0),
            (Some(tried), Wanted::Verdict) => self.wanted.tried(tried, "simulation of the transfer")?,
            (Some(tried), Wanted::Plan) => {
                let tried =
                    step::or_called(cx, tried, self.at_price(self.call.call()), self.limits.assumed).await?;
                self.wanted.tried(tried, "simulation of the transfer")?
            }
        };
        let gas = match gas {
            Ok(gas) => gas,
            Err(failure) => return Ok(Outcome::failed(failure)),
        };
        if let Some(refusal) = self.transfer.state_refused(state)? {
            return Ok(Outcome::Refused(refusal));
        }
        match funds {
            None => Ok(Outcome::Works(None)),
            Some((height, balance)) => self.funded(cx, gas, height, balance),
        }
    }

    fn funded(&self, cx: &Cx, gas: u64, height: RpcResult, balance: RpcResult) -> Result<Outcome, Fault> {
        let height = rpc::count(height, "eth_blockNumber")?;
        let available = rpc::executed_word(balance, "balanceOf of the payer")?;
        let max_gas = self.limits.max_gas;
        if gas > max_gas {
            let why = step::too_much_gas("the transfer", gas, max_gas, cx.network());
            let reason = self.transfer.reasons().simulation_failed;
            return Ok(Outcome::Refused(self.transfer.refuse(reason, &why)));
        }
        // A token that transfers but returns no balance can't be reserved against.
        let Some(available) = available.filter(|_| gas > 0) else {
            return Ok(Outcome::failed(Failure {
                data: Vec::new(),
                message: "the asset answers no balance".into(),
            }));
        };
        let required = self.transfer.amount();
        if available < required {
            // Open payments of this payer count later; this one alone is too much already.
            return Ok(Outcome::Refused(self.transfer.refuse(
                self.transfer.reasons().insufficient_balance,
                &format!("the payer has {available} atomic units of the asset, and {required} are required"),
            )));
        }
        Ok(Outcome::Works(Some(Funds {
            available: Amount(available),
            height,
            gas_limit: if self.ran_short {
                max_gas
            } else {
                step::gas_limit(&self.call.data, gas, max_gas)
            },
        })))
    }

    fn state(&self) -> EthCall {
        EthCall {
            gas: Some(self.limits.max_gas),
            ..self.transfer.state()
        }
    }
}
