//! Confirms and explains refusals. A payer is never refused because of one node's answers alone: what the first node refused
//! is read from two nodes where there are two, in one batch. A simulation that failed is explained by a multicall in the
//! same batch, whose questions and their meaning are the method's (exact-evm.md sections 4 and 7).
//!
//! A node that lags answers "exceeds balance" for a payer who was funded a moment ago. So the node with the newest head
//! decides; of two with one head, the one whose calls run on the newer block. Of two equally new ones that differ the one
//! decides whose transfer works: a false yes costs gas at most, a false refusal costs a payment. A node whose calls run on
//! an older block than the head that it names refuses no payment.

use std::cmp::Reverse;

use alloy_primitives::U256;
use alloy_sol_types::{SolCall, SolValue};
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Cx, Fault};

use super::question::Question;
use super::trial::{Funds, Outcome, Trial};
use super::{SignedTransfer, out_of_gas, word};
use crate::abi::{MULTICALL3, Multicall};
use crate::rpc::{self, Answers, EthCall, Executed, Failure, Opinions};
use crate::second::BLOCKS_APART;
use crate::step;

/// The refusal that is confirmed, with its reason; or the funds, when the payment is valid after all. `failure`: the first
/// node's, where the simulation failed.
///
/// # Errors
/// No node answers, or none whose calls are as new as its head.
pub(super) async fn diagnose(
    cx: &Cx,
    question: &mut Question<'_>,
    failure: Option<&Failure>,
) -> Result<Result<Option<Funds>, Refusal>, Fault> {
    let mut views = views(cx, question, failure).await;
    if views.is_err() && question.trial.price.is_some() {
        // The price may be what the nodes mind.
        question.trial.price = None;
        views = self::views(cx, question, failure).await;
    }
    let mut views = views?;
    views.retain(View::counts);
    views.sort_by_key(|view| Reverse((view.height, view.calls_at)));
    let mut newest = views.into_iter();
    let Some(first) = newest.next() else {
        return Err(Fault::unavailable(
            "the nodes' calls run on an older block than their head: they say nothing of this payment",
        ));
    };
    let is_good = |other: &View| other.is_as_new_as(&first) && other.verdict.is_ok();
    Ok(match newest.find(is_good) {
        Some(good) => good.verdict,
        None => first.verdict,
    })
}

/// Confirms the refusal of a payer without code that has not signed, in three cheap reads: no simulation can show anything about
/// it. `None`: it is another refusal, or a node shows code, or none says something that counts.
///
/// # Errors
/// No node answers.
pub(super) async fn unsigned_account(
    cx: &Cx,
    question: &Question<'_>,
    refusal: Refusal,
) -> Result<Option<Refusal>, Fault> {
    let unsigned = question.unsigned(false, question.account_signed);
    if question.has_code || unsigned.as_ref() != Some(&refusal) {
        return Ok(None);
    }
    let calls = vec![
        rpc::newest_block(),
        multicall(of_block()).call(),
        rpc::get_code(question.transfer.from()),
    ];
    let mut views = Opinions::default();
    for node in rpc::compare_or_read(cx, calls).await?.sets {
        views.record(is_newly_without_code(node));
    }
    let views = views.into_result()?;
    // A view that does not count refuses nobody, and one with code needs the wallet's answer.
    let is_confirmed = views.contains(&Some(true)) && !views.contains(&Some(false));
    Ok(is_confirmed.then_some(refusal))
}

/// Whether a node shows no code at the payer's address; `None`: its calls run on an older block than its head.
fn is_newly_without_code(mut answers: Answers) -> Result<Option<bool>, Fault> {
    let (_, head_s) = rpc::head(answers.take()?)?;
    let findings = answers.take()?;
    let code = rpc::bytes(answers.take()?, "eth_getCode of the payer")?;
    let time_s = match rpc::executed(findings, "the block of a node's calls") {
        Ok(Executed::Returned(data)) => Findings::decode(&data).and_then(|findings| findings.time_s),
        Ok(Executed::Failed(_)) | Err(_) => None,
    };
    let is_stale = time_s.is_some_and(|time_s| time_s < U256::from(head_s));
    Ok((!is_stale || !code.is_empty()).then_some(code.is_empty()))
}

/// The view of each node that answers; a fault where none does.
async fn views(cx: &Cx, question: &Question<'_>, failure: Option<&Failure>) -> Result<Vec<View>, Fault> {
    let mut calls = vec![rpc::newest_block(), questions(question.transfer).call()];
    calls.extend(question.reads());
    let nodes = rpc::compare_or_read(cx, calls).await?.sets;
    let mut views = Opinions::default();
    for node in nodes {
        views.record(View::read(cx, question, failure, node).await);
    }
    views.into_result()
}

/// What one node shows.
struct View {
    height: u64,
    /// The number that the block of its calls has for contracts: on some chains that of another chain's block, so it is only
    /// compared with another node's.
    calls_at: Option<U256>,
    /// Its calls run on an older block than its head.
    is_stale: bool,
    /// Reasons that no later block takes back.
    permanent: &'static [&'static str],
    verdict: Result<Option<Funds>, Refusal>,
}

impl View {
    async fn read(
        cx: &Cx,
        question: &Question<'_>,
        failure: Option<&Failure>,
        mut answers: Answers,
    ) -> Result<Self, Fault> {
        let (height, head_s) = rpc::head(answers.take()?)?;
        let findings = answers.take()?;
        let outcome = question.judge(cx, &mut answers).await?;
        let findings = match (rpc::executed(findings, "diagnosis of a payment"), &outcome) {
            (Ok(Executed::Returned(data)), _) => Findings::decode(&data),
            (Ok(Executed::Failed(_)), _) => None,
            // Without it a failure has no name, and the payer would be refused for it.
            (Err(fault), Outcome::Failed { .. }) => return Err(fault),
            (Err(_), Outcome::Works(_) | Outcome::Refused(_)) => None,
        };
        let time_s = findings.as_ref().and_then(|findings| findings.time_s);
        let calls_at = findings.as_ref().and_then(|findings| findings.number);
        let verdict = match outcome {
            Outcome::Works(funds) => Ok(funds),
            Outcome::Refused(refusal) => Err(refusal),
            Outcome::Failed {
                failure: own,
                undeployed,
            } => {
                let failure = failure.filter(|_| own.text().is_empty());
                let failure = failure.unwrap_or(&own);
                let mut refusal = explained(cx, &question.trial, findings.as_ref(), failure);
                let reasons = question.transfer.reasons();
                // The specification has this reason for a settle only.
                if undeployed && question.settles && refusal.reason == reasons.simulation_failed {
                    reasons.deployment_failed.clone_into(&mut refusal.reason);
                }
                Err(refusal)
            }
        };
        Ok(Self {
            height,
            calls_at,
            is_stale: time_s.is_some_and(|time_s| time_s < U256::from(head_s)),
            permanent: question.transfer.reasons().permanent,
            verdict,
        })
    }

    /// What a state shows that never changes back counts whatever its age.
    fn counts(&self) -> bool {
        let is_for_good = |refusal: &Refusal| self.permanent.contains(&refusal.reason.as_str());
        !self.is_stale || self.verdict.as_ref().err().is_some_and(is_for_good)
    }

    /// Of views that are sorted, newest first.
    fn is_as_new_as(&self, newest: &Self) -> bool {
        let is_near = newest.height.saturating_sub(self.height) <= BLOCKS_APART;
        is_near
            && match (self.calls_at, newest.calls_at) {
                (Some(own), Some(newest)) => newest.saturating_sub(own) <= U256::from(BLOCKS_APART),
                // A node that does not return where its calls run is not older for that.
                (None, _) | (_, None) => true,
            }
    }
}

fn explained(cx: &Cx, trial: &Trial<'_>, findings: Option<&Findings>, failure: &Failure) -> Refusal {
    let transfer = trial.transfer;
    let text = failure.text();
    let reason = transfer.explain(findings.map(|findings| findings.own.as_slice()), &text);
    if reason == transfer.reasons().simulation_failed && out_of_gas::is_reported(&text) {
        let max_gas = trial.limits.max_gas;
        let why = step::too_much_gas("the transfer", max_gas, max_gas, cx.network());
        return transfer.refuse(
            reason,
            &format!("{text}: {}", why.replacen("needs", "needs more than", 1)),
        );
    }
    transfer.refuse(reason, &text)
}

/// The method's questions, and which block the calls run on.
fn questions(transfer: &dyn SignedTransfer) -> EthCall {
    let mut calls = transfer.questions();
    calls.extend(of_block());
    multicall(calls)
}

/// Time and number of the block that calls run on.
fn of_block() -> Vec<Multicall::Call> {
    let call = |call: Vec<u8>| Multicall::Call {
        target: MULTICALL3,
        callData: call.into(),
    };
    vec![
        call(Multicall::getCurrentBlockTimestampCall {}.abi_encode()),
        call(Multicall::getBlockNumberCall {}.abi_encode()),
    ]
}

fn multicall(calls: Vec<Multicall::Call>) -> EthCall {
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

/// The answers to [`questions`].
#[derive(Debug)]
struct Findings {
    /// To the method's questions.
    own: Vec<Multicall::Outcome>,
    /// Of the block on which the calls ran, in seconds since the epoch.
    time_s: Option<U256>,
    number: Option<U256>,
}

impl Findings {
    fn decode(data: &[u8]) -> Option<Self> {
        let mut outcomes = Vec::<Multicall::Outcome>::abi_decode(data).ok()?;
        let number = outcomes.pop()?;
        let time = outcomes.pop()?;
        Some(Self {
            own: outcomes,
            time_s: word(&time),
            number: word(&number),
        })
    }
}
