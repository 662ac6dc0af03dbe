//! A second opinion before the chain's state counts against a payer, or against our own fee payer.
//!
//! A node that lags has not seen the payer's new balance, or the block whose hash the buyer took from a faster node. So a
//! refusal by state is read from two nodes, and the one with the newer state decides. While even that one lags what nodes
//! have shown before, or does not know the blockhash, it is read once more within a second. A node that still lags then
//! refuses no payment: that is a fault of the nodes (`unexpected_verify_error`).
//!
//! A slot that is far from every other one is no newer state (see [`crate::slots`]): of two nodes that are so far apart the
//! one decides that lets the payment pass, and where both refuse it the one whose slot is close to the known one.
//!
//! Good payments never come here, so this costs calls for refused ones only. It does not help against nodes that report
//! wrong slots close to the right one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sdk_plugin::host::RpcCall;
use sdk_plugin::{Cx, Fault};
use solana_address::Address;

use super::ExactSvm;
use super::check::Paid;
use super::opinion::{Cause, Opinion, Question};
use super::payment::Payment;
use super::terms::Rejection;
use crate::driver::{chain_time, options::Options};
use crate::programs::CLOCK;
use crate::rpc::{self, Answers, Opinions};
use crate::slots::is_near;

/// Pause before the nodes are read once more, milliseconds: one or two blocks.
const PAUSE_MS: u64 = 700;
/// A chain clock that is older than this many seconds is one of a node that lags.
const LAG_S: u64 = 30;
/// For how long later slots are compared with a slot that the nodes have reached, milliseconds.
const HEAD_GOOD_FOR_MS: u64 = 60_000;
/// Slots that nodes of one chain are usually apart. Within them a node that does not know a blockhash, or finds our fee payer
/// unfunded, is not the newer one.
const USUALLY_APART_SLOTS: u64 = 8;
/// The message for a payee that can't receive the asset yet.
pub(crate) const NO_TOKEN_ACCOUNT: &str =
    "payTo has no token account for this asset; open it once or enable create_ata";

/// The slot of each network that all nodes of an answer have reached, and when, milliseconds since the epoch.
#[derive(Debug, Default)]
pub(super) struct Heads(Mutex<HashMap<String, (u64, u64)>>);

impl Heads {
    /// `None`: nothing of the last minute.
    fn known(&self, cx: &Cx) -> Option<u64> {
        let heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (slot, seen_ms) = heads.get(&cx.network().id)?;
        (cx.now_ms().saturating_sub(*seen_ms) <= HEAD_GOOD_FOR_MS).then_some(*slot)
    }

    fn reached(&self, cx: &Cx, slot: u64) {
        if self.known(cx).is_none_or(|known| known <= slot) {
            let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            heads.insert(cx.network().id.clone(), (slot, cx.now_ms()));
        }
    }
}

/// An opinion, and what else the same node shows.
struct Witness {
    opinion: Opinion,
    /// Of the chain's clock, seconds since the epoch.
    time_s: Option<u64>,
    /// The payee's token account does not exist.
    lacks_destination: bool,
    blockhash_is_valid: Option<bool>,
    /// No other source shows a slot close to its own, though there is one.
    is_outlier: bool,
}

impl Witness {
    fn slot(&self) -> u64 {
        self.opinion.slot
    }

    fn lets_pass(&self) -> bool {
        self.opinion.verdict.is_ok()
    }

    fn age_s(&self, cx: &Cx) -> Option<u64> {
        self.time_s.map(|time_s| cx.now_s().saturating_sub(time_s))
    }
}

impl ExactSvm {
    /// Whether a slot is close to those of the lists of blockhashes, which are read all the time.
    pub(super) fn is_plausible(&self, cx: &Cx, slot: u64) -> bool {
        let known = self.blockhashes.slot(&cx.network().id);
        known.is_none_or(|known| is_near(known, slot))
    }

    /// The verdict of the newest state that the nodes have; the node that was read before showed the slot `first`.
    pub(super) async fn second_opinion(
        &self,
        cx: &Cx,
        payment: &Payment,
        question: &Question,
        first: u64,
    ) -> Result<Result<Paid, Rejection>, Fault> {
        // This option declares a chain without regular blocks.
        let has_clock = Options::read(&cx.network().options)?.max_head_age_s != 0;
        let known = self.heads.known(cx);
        let mut before = first;
        let mut is_last = false;
        loop {
            let newest = self.newest(cx, payment, question).await?;
            let slot = newest.slot();
            let age_s = newest.age_s(cx);
            let rejection = match newest.opinion.verdict {
                Ok(paid) => return Ok(Ok(paid)),
                Err(rejection) => rejection,
            };
            let must_reach = known.max(Some(first).filter(|first| is_near(*first, slot)));
            let must_reach = must_reach.unwrap_or_default();
            let unknown_blockhash = match newest.opinion.cause {
                Cause::FeePayerUnfunded => return Err(Fault::unavailable(rejection.message)),
                Cause::UnknownBlockhash => true,
                Cause::Payment => false,
            };
            let why_lagging = if newest.is_outlier {
                Some(format!("slot {slot} is far from what other nodes have shown"))
            } else if slot < must_reach {
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
            let refusal = if newest.lacks_destination && !unknown_blockhash {
                Rejection {
                    message: NO_TOKEN_ACCOUNT.into(),
                    ..rejection
                }
            } else {
                rejection
            };
            match why_lagging {
                None if is_last || !unknown_blockhash => return Ok(Err(refusal)),
                Some(why) if is_last => {
                    return Err(Fault::unavailable(format!(
                        "the nodes of {} lag and can't judge a payment ({why}): {}",
                        cx.network().id,
                        refusal.message
                    )));
                }
                None | Some(_) => {}
            }
            before = slot;
            is_last = true;
            cx.sleep_ms(PAUSE_MS).await?;
        }
    }

    /// What the node with the newest state shows. Where no two answer, one does.
    async fn newest(&self, cx: &Cx, payment: &Payment, question: &Question) -> Result<Witness, Fault> {
        let blockhash = payment.transaction.message().recent_blockhash.to_string();
        let destination = payment.terms.destination(payment.transaction.message());
        let mut accounts = vec![CLOCK];
        accounts.extend(destination);
        let mut calls: Vec<RpcCall> = question.calls.clone();
        calls.push(rpc::accounts(&accounts));
        calls.push(rpc::is_blockhash_valid(&blockhash));
        let nodes = rpc::compare_or_read(cx, calls).await?;
        let wanted = nodes.sets.len().saturating_add(usize::from(nodes.one_is_missing));
        let mut witnesses = Opinions::default();
        for answers in nodes.sets {
            witnesses.record(self.witness(cx, payment, question, destination, answers));
        }
        let witnesses: Vec<Witness> = witnesses.into_result()?;
        let known = self.heads.known(cx);
        let known = known.or_else(|| self.blockhashes.slot(&cx.network().id));
        let slots: Vec<u64> = witnesses.iter().map(Witness::slot).collect();
        let lowest = slots.iter().min().copied().unwrap_or_default();
        let highest = slots.iter().max().copied().unwrap_or_default();
        // The lower one of two: one node alone does not prove that the chain has come so far.
        if slots.len() == wanted && is_near(lowest, highest) {
            self.heads.reached(cx, lowest);
        }
        let is_alone = slots.len() < wanted;
        let newest = witnesses.into_iter().reduce(|one, other| {
            if is_better(cx, &other, &one, known) {
                other
            } else {
                one
            }
        });
        let mut newest = newest.ok_or_else(|| Fault::unavailable("no node answered"))?;
        newest.is_outlier = is_alone && known.is_some_and(|known| !is_near(known, newest.slot()));
        Ok(newest)
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
            // For a node without this method, only this value is missing.
            blockhash_is_valid: valid.ok().and_then(|(_, value)| value.as_bool()),
            is_outlier: false,
            opinion,
        })
    }
}

/// Whether `one` decides and not `other`.
fn is_better(cx: &Cx, one: &Witness, other: &Witness, known: Option<u64>) -> bool {
    let (a, b) = (one.slot(), other.slot());
    if !is_near(a, b) {
        let rank = |witness: &Witness| {
            (
                witness.age_s(cx).is_none_or(|age_s| age_s <= LAG_S),
                witness.lets_pass(),
                known.is_some_and(|known| is_near(known, witness.slot())),
                witness.opinion.cause == Cause::Payment,
                witness.slot(),
            )
        };
        return rank(one) > rank(other);
    }
    let adds_nothing = |witness: &Witness| !witness.lets_pass() && witness.opinion.cause != Cause::Payment;
    if a.abs_diff(b) <= USUALLY_APART_SLOTS && (adds_nothing(one) || adds_nothing(other)) {
        return (one.lets_pass(), a) > (other.lets_pass(), b);
    }
    // Of the same slot, the one that lets the payment pass: nothing is lost that the chain does not allow.
    (a, one.lets_pass()) > (b, other.lets_pass())
}
