//! One settlement in memory: its row, who waits for it, and whether it can still be withdrawn.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sdk_plugin::PaymentRequest;
use sdk_plugin::scheme::{Plan, Refusal};
use sdk_plugin::wire::{SettleReply, reason};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::decide::Asker;
use crate::registry::{Kind, Network};
use base::service::{SettleAnswer, Settled};
use journal::{Outcome, PaidRow, SettlementRow};

/// Where a settlement is with respect to its first commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being planned or waiting for a lane: withdrawn when its last caller goes.
    Opening,
    /// The first commit is under way.
    Committing,
    /// Owned: nothing a caller does changes it.
    Committed,
    /// Refused or withdrawn before the first commit.
    Gone,
}

/// A caller that waits.
#[derive(Debug)]
pub struct Waiter {
    pub number: u64,
    pub asker: Asker,
    pub network_as_sent: String,
    /// When it came: a late release needs an observation that began after this.
    pub joined: Instant,
    pub reply: oneshot::Sender<Settled>,
}

/// What changes.
#[derive(Debug)]
pub struct State {
    pub phase: Phase,
    pub row: SettlementRow,
    /// In the order of arrival: the opener first.
    pub waiters: Vec<Waiter>,
    next_waiter: u64,
    /// A later step that could not be brought into a slot is asked for again after a pause.
    pub retrying: bool,
    /// How often in a row that was so.
    pub retries: u32,
    /// Head height when every undecided step had ended.
    pub ended_at_head: Option<u64>,
}

/// A settlement that is being opened, or is not finished.
#[derive(Debug)]
pub struct Settlement {
    pub id: u64,
    pub claim: String,
    pub network: Arc<Network>,
    /// `None` when no loaded plugin serves it any more.
    pub kind: Option<Arc<Kind>>,
    /// What is planned; `None` inside when a stored plan can't be read.
    pub plan: OnceLock<Option<Arc<Plan>>>,
    /// For planning; a resumed settlement needs none.
    pub request: Option<PaymentRequest>,
    /// The generation before this one, which failed, when the same request opened it: a refusal answers with that failure.
    pub failed_before: OnceLock<SettlementRow>,
    state: Mutex<State>,
    /// Wakes whoever waits for the phase, or for a caller that left.
    pub changed: Notify,
    /// Held across a commit that decides or releases, so that two never cross.
    pub deciding: tokio::sync::Mutex<()>,
}

impl Settlement {
    pub fn new(
        row: SettlementRow,
        phase: Phase,
        network: Arc<Network>,
        kind: Option<Arc<Kind>>,
        request: Option<PaymentRequest>,
    ) -> Self {
        Self {
            id: row.id,
            claim: row.claim.clone(),
            network,
            kind,
            plan: OnceLock::new(),
            failed_before: OnceLock::new(),
            request,
            state: Mutex::new(State {
                phase,
                row,
                waiters: Vec::new(),
                next_waiter: 0,
                retrying: false,
                retries: 0,
                ended_at_head: None,
            }),
            changed: Notify::new(),
            deciding: tokio::sync::Mutex::new(()),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics between two writes under this lock that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan, where there is one that can be read.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.plan.get().and_then(Option::as_ref)
    }

    /// Whether any caller waits for its outcome.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        !self.lock().waiters.is_empty()
    }

    /// Withdraws it when nobody waits any more and nothing is journaled.
    pub fn withdraw_if_deserted(&self) {
        {
            let mut state = self.lock();
            state.waiters.retain(|waiter| !waiter.reply.is_closed());
            if state.phase == Phase::Opening && state.waiters.is_empty() {
                state.phase = Phase::Gone;
            }
        }
        self.changed.notify_waiters();
    }

    /// Gives every waiter an answer.
    pub fn answer_all(&self, waiters: Vec<Waiter>, mut answer: impl FnMut(&Waiter) -> SettleAnswer) {
        for waiter in waiters {
            let answer = answer(&waiter);
            // A caller that has hung up needs no answer.
            let _ = waiter.reply.send(answer.into());
        }
    }

    /// Ends a settlement of which nothing is journaled.
    pub fn give_up(&self, answer: impl FnMut(&Waiter) -> SettleAnswer) {
        let waiters = {
            let mut state = self.lock();
            state.phase = Phase::Gone;
            std::mem::take(&mut state.waiters)
        };
        self.changed.notify_waiters();
        self.answer_all(waiters, answer);
    }
}

impl State {
    pub fn join(&mut self, asker: Asker, network_as_sent: String) -> (u64, oneshot::Receiver<Settled>) {
        let number = self.next_waiter;
        self.next_waiter = self.next_waiter.saturating_add(1);
        let (reply, answer) = oneshot::channel();
        self.waiters.push(Waiter {
            number,
            asker,
            network_as_sent,
            joined: Instant::now(),
            reply,
        });
        (number, answer)
    }

    /// Takes a caller off the list; `false` when it is being answered already.
    pub fn leave(&mut self, number: u64) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|waiter| waiter.number != number);
        self.waiters.len() < before
    }

    /// The first caller that is still there and that this concerns.
    pub fn next_caller_if(&mut self, concerns: impl Fn(&Waiter) -> bool) -> Option<Waiter> {
        self.waiters.retain(|waiter| !waiter.reply.is_closed());
        let index = self.waiters.iter().position(concerns)?;
        Some(self.waiters.remove(index))
    }

    /// The first caller that is still there.
    pub fn next_caller(&mut self) -> Option<Waiter> {
        self.waiters.retain(|waiter| !waiter.reply.is_closed());
        if self.waiters.is_empty() {
            None
        } else {
            Some(self.waiters.remove(0))
        }
    }
}

/// `success` for a payment that the chain shows.
#[must_use]
pub fn success(paid: &PaidRow, payer: &str, network_as_sent: &str) -> SettleReply {
    SettleReply {
        success: true,
        error_reason: None,
        error_message: None,
        payer: if paid.reply.payer.is_empty() {
            payer.to_owned()
        } else {
            paid.reply.payer.clone()
        },
        transaction: paid.tx_id.clone(),
        network: network_as_sent.to_owned(),
        amount: paid.reply.amount.map(|amount| amount.to_string()),
        extra: paid.reply.extra.clone(),
        extensions: paid.reply.extensions.clone(),
    }
}

/// A settle that did not succeed.
#[must_use]
pub fn failure(refusal: &Refusal, tx_id: &str, network_as_sent: &str) -> SettleReply {
    SettleReply {
        success: false,
        error_reason: Some(refusal.reason.clone()),
        error_message: refusal.message.clone(),
        payer: refusal.payer.clone(),
        transaction: tx_id.to_owned(),
        network: network_as_sent.to_owned(),
        amount: None,
        extra: None,
        extensions: None,
    }
}

/// What a caller gets whose wait ended before the outcome was known.
#[must_use]
pub fn pending(row: &SettlementRow, network_as_sent: &str) -> SettleReply {
    let refusal = Refusal::new(reason::SETTLEMENT_PENDING, row.payer.clone());
    failure(
        &refusal,
        row.tx_id.as_deref().unwrap_or_default(),
        network_as_sent,
    )
}

/// For a caller whose time has ended while a commit is under way that may put its payment on the chain: with a hash it
/// can ask again; without one nothing can have been begun.
#[must_use]
pub fn late(row: &SettlementRow, network_as_sent: &str) -> SettleAnswer {
    if row.tx_id.is_some() {
        SettleAnswer::Reply(pending(row, network_as_sent))
    } else {
        super::settle::unavailable("nothing was recorded within the time; try again")
    }
}

/// `duplicate_settlement` with the hash.
#[must_use]
pub fn duplicate(row: &SettlementRow, tx_id: &str, network_as_sent: &str) -> SettleReply {
    failure(
        &Refusal::new(reason::DUPLICATE_SETTLEMENT, row.payer.clone()),
        tx_id,
        network_as_sent,
    )
}

/// The answer to another use of the claim key.
#[must_use]
pub fn replayed(row: &SettlementRow, network_as_sent: &str) -> SettleReply {
    failure(
        &Refusal::new(row.replay_reason.clone(), row.payer.clone()),
        "",
        network_as_sent,
    )
}

/// The failure that was proven before.
#[must_use]
pub fn same_failure(row: &SettlementRow, network_as_sent: &str) -> SettleReply {
    match &row.outcome {
        Outcome::Failed { refusal, tx_id, .. } => failure(refusal, tx_id, network_as_sent),
        Outcome::Reversed {
            refusal: Some(refusal),
            ..
        } => {
            // No hash: the one that was given is not on the chain any more.
            let refusal = refusal.clone().with_message(REVERSED);
            failure(&refusal, "", network_as_sent)
        }
        Outcome::Reversed { refusal: None, .. } => duplicate(row, "", network_as_sent),
        Outcome::Open | Outcome::Paid(_) => pending(row, network_as_sent),
    }
}

const REVERSED: &str =
    "this payment was answered as success before; its block was replaced, and it is gone from the chain";
