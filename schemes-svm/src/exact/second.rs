//! A second opinion before the chain's state speaks against a payer.
//!
//! A node that lags has not seen the payer's new balance, or the block whose hash the buyer took from a faster node. So a
//! refusal by state is put to two nodes, and the one with the newer state decides. While even that one is behind what some
//! node has shown before, or does not know the blockhash, it is asked once more within a second. What is behind then judges
//! nobody: that is a fault of the nodes (`unexpected_verify_error`).
//!
//! Good payments never come here, so this costs calls for refused ones only. It does not help against nodes that lie.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sdk_plugin::host::RpcCall;
use sdk_plugin::{Cx, Fault};
use solana_address::Address;

use super::ExactSvm;
use super::check::{Opinion, Paid, Question};
use super::payment::Payment;
use super::terms::No;
use crate::driver::{chain_time, options::Options};
use crate::programs::CLOCK;
use crate::rpc::{self, Answers};

/// Pause before the nodes are asked once more, milliseconds: one or two blocks.
const PAUSE_MS: u64 = 700;
/// A chain clock that is older than this many seconds is one of a node that lags.
const LAG_S: u64 = 30;
/// For how long the newest slot that a node has shown is held against the others, milliseconds. One lie is forgotten.
const HEAD_GOOD_FOR_MS: u64 = 60_000;
/// What is said of a payee that can't receive the asset yet.
pub(crate) const NO_TOKEN_ACCOUNT: &str =
    "payTo has no token account for this asset; open it once or enable create_ata";

/// The newest slot of each network that a node has shown, and when, milliseconds since the epoch.
#[derive(Debug, Default)]
pub(super) struct Heads(Mutex<HashMap<String, (u64, u64)>>);

impl Heads {
    /// Takes in a node's slot, and gives the newest one so far.
    pub(super) fn saw(&self, cx: &Cx, slot: u64) -> u64 {
        let now_ms = cx.now_ms();
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let head = heads.entry(cx.network().id.clone()).or_insert((slot, now_ms));
        if slot >= head.0 || now_ms.saturating_sub(head.1) > HEAD_GOOD_FOR_MS {
            *head = (slot, now_ms);
        }
        head.0
    }
}

/// An opinion, and what the same node says of itself.
struct Witness {
    opinion: Opinion,
    /// Of the chain's clock, seconds since the epoch.
    time_s: Option<u64>,
    /// The payee's token account does not exist.
    lacks_destination: bool,
    blockhash_is_valid: Option<bool>,
}

impl ExactSvm {
    /// The verdict of the newest state that the nodes have; `first` is the refusal of the node that was asked before.
    pub(super) async fn second_opinion(
        &self,
        cx: &Cx,
        payment: &Payment,
        question: &Question,
        first_slot: u64,
        first: No,
    ) -> Result<Result<Paid, No>, Fault> {
        let options = Options::read(&cx.network().options)?;
        let must_reach = self.heads.saw(cx, first_slot);
        let mut refusal = first;
        let mut why_behind = None;
        let mut before = first_slot;
        for is_last in [false, true] {
            let newest = self.newest(cx, payment, question).await?;
            let slot = newest.opinion.slot;
            self.heads.saw(cx, slot);
            let no = match newest.opinion.verdict {
                Ok(paid) => return Ok(Ok(paid)),
                Err(no) => no,
            };
            let age_s = newest.time_s.map(|time_s| cx.now_s().saturating_sub(time_s));
            let unknown_blockhash = newest.opinion.unknown_blockhash;
            // A chain without regular blocks says so by this option.
            let has_clock = options.max_head_age_s != 0;
            why_behind = if slot < must_reach {
                Some(format!("slot {slot} of at least {must_reach}"))
            } else if has_clock && age_s.is_some_and(|age_s| age_s > LAG_S) {
                Some(format!("slot {slot} is {} s old", age_s.unwrap_or_default()))
            } else if unknown_blockhash && newest.blockhash_is_valid == Some(true) {
                Some("it calls the blockhash valid and does not find it".to_owned())
            } else if is_last && unknown_blockhash && has_clock && slot <= before {
                Some(format!("slot {slot} is all that there is after a pause"))
            } else {
                None
            };
            refusal = if newest.lacks_destination && !unknown_blockhash {
                No {
                    message: NO_TOKEN_ACCOUNT.into(),
                    ..no
                }
            } else {
                no
            };
            before = slot;
            if why_behind.is_none() && !unknown_blockhash {
                break;
            }
            if !is_last {
                cx.sleep_ms(PAUSE_MS).await?;
            }
        }
        match why_behind {
            None => Ok(Err(refusal)),
            Some(why) => Err(Fault::unavailable(format!(
                "the nodes of {} lag and can't judge a payment ({why}): {}",
                cx.network().id,
                refusal.message
            ))),
        }
    }

    /// What the node with the newest state says. Where no two answer, one does.
    async fn newest(&self, cx: &Cx, payment: &Payment, question: &Question) -> Result<Witness, Fault> {
        let blockhash = payment.transaction.message().recent_blockhash.to_string();
        let destination = payment.terms.destination(payment.transaction.message());
        let mut accounts = vec![CLOCK];
        accounts.extend(destination);
        let mut calls: Vec<RpcCall> = question.calls.clone();
        calls.push(rpc::accounts(&accounts));
        calls.push(rpc::is_blockhash_valid(&blockhash));
        let nodes = match rpc::read_by_two(cx, calls.clone()).await {
            Ok(nodes) => nodes,
            Err(_) => vec![rpc::read_all(cx, calls).await?],
        };
        let mut fault = Fault::unavailable("no node answered");
        let mut newest: Option<Witness> = None;
        for answers in nodes {
            match self.witness(cx, payment, question, destination, answers) {
                Ok(witness) => {
                    // Of the same slot, the one that lets the payment pass: nothing is lost that the chain does not allow.
                    let rank = |witness: &Witness| (witness.opinion.slot, witness.opinion.verdict.is_ok());
                    if newest.as_ref().is_none_or(|best| rank(best) < rank(&witness)) {
                        newest = Some(witness);
                    }
                }
                Err(trouble) => fault = trouble,
            }
        }
        newest.ok_or(fault)
    }

    fn witness(
        &self,
        cx: &Cx,
        payment: &Payment,
        question: &Question,
        destination: Option<Address>,
        answers: Answers,
    ) -> Result<Witness, Fault> {
        let mut opinion = self.opinion(cx, payment, question, answers)?;
        let count = 1 + usize::from(destination.is_some());
        let (slot, accounts) = rpc::account_list(opinion.rest.take()?, count)?;
        if opinion.slot == 0 {
            opinion.slot = slot;
        }
        let mut accounts = accounts.into_iter();
        let clock = accounts.next().flatten();
        let account = accounts.next().flatten();
        let is_theirs = destination.is_some() && opinion.destination == destination;
        let lacks_destination = is_theirs && account.is_none();
        let valid = rpc::at_slot(opinion.rest.take()?, "isBlockhashValid");
        Ok(Witness {
            time_s: clock.as_ref().and_then(chain_time),
            lacks_destination,
            // A node without this method still has its say about the rest.
            blockhash_is_valid: valid.ok().and_then(|(_, value)| value.as_bool()),
            opinion,
        })
    }
}
