//! Why did a simulation fail? One multicall, first match wins (exact-evm.md section 4, D1 to D6), and the chain's own
//! judgement of the time before D6.

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{SolCall, SolValue};
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Cx, Fault};

use super::payment::Payment;
use super::{reason, revert};
use crate::abi::AuthorizedToken::{authorizationStateCall, balanceOfCall, nameCall, versionCall};
use crate::abi::{MULTICALL3, Multicall};
use crate::rpc::{self, EthCall, Executed, Failure};

/// The refusal that explains `failure`. A node that does not answer is a fault; a multicall that the chain refuses
/// leaves the general reason.
pub(super) async fn diagnose(cx: &Cx, payment: &Payment, failure: &Failure) -> Result<Refusal, Fault> {
    let answer = rpc::read_all(cx, vec![questions(payment).call()]).await?.take()?;
    let reason = match rpc::executed(answer, "diagnosis of a failed simulation")? {
        Executed::Returned(data) => Vec::<Multicall::Outcome>::abi_decode(&data)
            .ok()
            .and_then(|outcomes| Findings::read(&outcomes))
            .map_or(reason::SIMULATION_FAILED, |findings| findings.reason(payment)),
        Executed::Failed(_) => reason::SIMULATION_FAILED,
    };
    let text = failure.text();
    // The chain's clock may be ahead of this host's: what it says about the time is as good as our own check (T-20).
    let reason = match (reason, revert::reason_for(&text)) {
        (reason::SIMULATION_FAILED, said @ (reason::VALID_BEFORE | reason::VALID_AFTER)) => said,
        (reason, _) => reason,
    };
    Ok(payment.refuse(reason, &text))
}

fn questions(payment: &Payment) -> EthCall {
    let account = payment.authorization.from;
    let nonce = payment.authorization.nonce;
    let ask = |call: Vec<u8>| Multicall::Call {
        target: payment.asset,
        callData: call.into(),
    };
    let calls = vec![
        ask(balanceOfCall { account }.abi_encode()),
        ask(nameCall {}.abi_encode()),
        ask(versionCall {}.abi_encode()),
        ask(authorizationStateCall {
            authorizer: account,
            nonce,
        }
        .abi_encode()),
    ];
    EthCall {
        from: None,
        to: MULTICALL3,
        data: Multicall::tryAggregateCall {
            requireSuccess: false,
            calls,
        }
        .abi_encode(),
        gas: None,
    }
}

/// What the token says of itself; `None` where it gave no answer that can be read.
#[derive(Debug)]
struct Findings {
    balance: Option<U256>,
    name: Option<String>,
    version: Option<String>,
    used: Option<bool>,
}

impl Findings {
    fn read(outcomes: &[Multicall::Outcome]) -> Option<Self> {
        let [balance, name, version, used] = outcomes else {
            return None;
        };
        Some(Self {
            balance: word(balance),
            name: returned(name).and_then(|data| String::abi_decode(data).ok()),
            version: returned(version).and_then(|data| String::abi_decode(data).ok()),
            used: word(used).map(|word| !word.is_zero()),
        })
    }

    fn reason(&self, payment: &Payment) -> &'static str {
        let differs =
            |said: &Option<String>, expected: &str| said.as_ref().is_some_and(|said| said != expected);
        match self.used {
            None => reason::EIP3009_NOT_SUPPORTED,
            Some(true) => reason::NONCE_USED,
            Some(false) if differs(&self.name, &payment.token_name) => reason::TOKEN_NAME,
            Some(false) if differs(&self.version, &payment.token_version) => reason::TOKEN_VERSION,
            Some(false) if self.balance.is_some_and(|balance| balance < payment.amount) => {
                reason::INSUFFICIENT_BALANCE
            }
            Some(false) => reason::SIMULATION_FAILED,
        }
    }
}

fn returned(outcome: &Multicall::Outcome) -> Option<&Bytes> {
    outcome.success.then_some(&outcome.returnData)
}

fn word(outcome: &Multicall::Outcome) -> Option<U256> {
    returned(outcome)
        .and_then(|data| data.first_chunk::<32>())
        .map(|word| U256::from_be_bytes(*word))
}
