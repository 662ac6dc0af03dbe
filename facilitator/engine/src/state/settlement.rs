//! One settlement in memory: its row, its waiting callers, and whether it can still be withdrawn.

use crate::decide::claim::RequestIdentity;
use crate::decide::replies;
use crate::registry::{Kind, Network};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use sdk_plugin::scheme::{Plan, Refusal};
use sdk_plugin::{PaymentRequest, StepIndex};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use base::service::{SettleAnswer, Settled};
use base::trace::{self, Trace};
use journal::{CommitError, SettlementRow};

/// How far a settlement is with its first commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being planned or waiting for a lane: withdrawn when its last caller leaves.
    Opening,
    /// The first commit is in progress.
    Committing,
    /// Owned by the engine: callers can't change it any more.
    Committed,
    /// Refused or withdrawn before the first commit.
    Gone,
}

/// A caller that waits.
#[derive(Debug)]
pub struct Waiter {
    pub number: u64,
    pub identity: RequestIdentity,
    pub network_as_sent: String,
    /// When the caller came. A late release needs an observation that began after this.
    pub joined: Instant,
    pub reply: oneshot::Sender<Settled>,
}

/// The state of a settlement that changes.
#[derive(Debug)]
pub struct State {
    pub phase: Phase,
    pub row: SettlementRow,
    /// In the order of arrival: the opener first.
    pub waiters: Vec<Waiter>,
    next_waiter: u64,
    /// The tries to put a later step into a slot.
    pub tries: Tries,
    /// Steps without a slot whose end is being judged.
    ending: Vec<StepIndex>,
    /// Head height when every undecided step had expired.
    pub ended_at_head: Option<u64>,
    /// Why the call of a step without a slot would fail. In memory only: after a restart it is simulated again.
    pub(crate) would_fail: Option<String>,
}

/// The tries to put a later step of a settlement into a slot.
#[derive(Debug, Default)]
pub struct Tries {
    /// The next one follows after a pause.
    is_scheduled: bool,
    /// How often in a row a step got no slot.
    failed: u32,
    /// How often its call would have failed.
    would_fail: u32,
}

impl Tries {
    /// A step got no slot. Returns how often in a row that had happened before; `None` when the next try is scheduled
    /// already.
    pub fn schedule(&mut self) -> Option<u32> {
        if self.is_scheduled {
            return None;
        }
        self.is_scheduled = true;
        let before = self.failed;
        self.failed = before.saturating_add(1);
        Some(before)
    }

    /// The step's call would fail now. Returns how often that was so.
    pub fn record_would_fail(&mut self) -> u32 {
        self.would_fail = self.would_fail.saturating_add(1);
        self.would_fail
    }

    /// The pause before the scheduled try is over.
    pub fn begin(&mut self) {
        self.is_scheduled = false;
    }

    /// A step got a slot.
    pub fn record_success(&mut self) {
        self.failed = 0;
        self.would_fail = 0;
    }
}

impl State {
    /// The end of a step without a slot is judged from now on; `false` when that was so before.
    pub fn begin_to_end(&mut self, step: StepIndex) -> bool {
        let is_new = !self.ending.contains(&step);
        if is_new {
            self.ending.push(step);
        }
        is_new
    }

    /// The end of the step is judged, or is no longer this process's.
    pub fn has_ended(&mut self, step: StepIndex) {
        self.ending.retain(|other| *other != step);
    }
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
    /// Of the request that opened it; after a restart, by its reference.
    pub trace: Option<Trace>,
    /// The generation before this one, which failed, when the same request opened it: a refusal answers with that
    /// failure.
    pub failed_before: OnceLock<SettlementRow>,
    /// Until when its first step may wait for others to share its transaction. Not set: it waits for none.
    pub gathers_until: OnceLock<Instant>,
    /// Which settlement had freed each of its conflict keys last, read before it was planned. Set where other nodes may
    /// use the keys.
    pub keys_seen: OnceLock<BTreeMap<String, u64>>,
    state: Mutex<State>,
    /// Wakes those who wait for the phase, or for a caller to leave.
    pub changed: Notify,
    /// Held during a commit that decides or releases, so that two such commits never overlap.
    pub deciding: tokio::sync::Mutex<()>,
}

/// The trace of the settlements in one slot: the first one's.
pub(crate) fn trace_of(covers: &[(Arc<Settlement>, StepIndex)]) -> Option<Trace> {
    covers.first().and_then(|(settlement, _)| settlement.trace)
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
            trace: trace::current().or_else(|| Trace::of_id(&row.reference)),
            claim: row.claim.clone(),
            network,
            kind,
            plan: OnceLock::new(),
            failed_before: OnceLock::new(),
            gathers_until: OnceLock::new(),
            keys_seen: OnceLock::new(),
            request,
            state: Mutex::new(State {
                phase,
                row,
                waiters: Vec::new(),
                next_waiter: 0,
                tries: Tries::default(),
                ending: Vec::new(),
                ended_at_head: None,
                would_fail: None,
            }),
            changed: Notify::new(),
            deciding: tokio::sync::Mutex::new(()),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The plan, if there is one that can be read.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.plan.get().and_then(Option::as_ref)
    }

    /// Whether any caller waits for its outcome.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        !self.lock().waiters.is_empty()
    }

    /// Withdraws it when no caller waits any more and nothing is journaled.
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

    /// Answers every waiting caller.
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
    pub fn join(
        &mut self,
        identity: RequestIdentity,
        network_as_sent: String,
    ) -> (u64, oneshot::Receiver<Settled>) {
        let number = self.next_waiter;
        self.next_waiter = self.next_waiter.saturating_add(1);
        let (reply, answer) = oneshot::channel();
        self.waiters.push(Waiter {
            number,
            identity,
            network_as_sent,
            joined: Instant::now(),
            reply,
        });
        (number, answer)
    }

    /// Removes a caller from the waiters; `false` when it is being answered already.
    pub fn leave(&mut self, number: u64) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|waiter| waiter.number != number);
        self.waiters.len() < before
    }

    /// The first waiting caller that this concerns.
    pub fn next_caller_if(&mut self, concerns: impl Fn(&Waiter) -> bool) -> Option<Waiter> {
        self.waiters.retain(|waiter| !waiter.reply.is_closed());
        let index = self.waiters.iter().position(concerns)?;
        Some(self.waiters.remove(index))
    }

    /// The first waiting caller.
    pub fn next_caller(&mut self) -> Option<Waiter> {
        self.waiters.retain(|waiter| !waiter.reply.is_closed());
        if self.waiters.is_empty() {
            None
        } else {
            Some(self.waiters.remove(0))
        }
    }
}

/// Ends a settlement without a commit: every caller gets the refusal.
pub(crate) fn refuse(settlement: &Settlement, refusal: &Refusal) {
    let payer = settlement.lock().row.payer.clone();
    let refusal = if refusal.payer.is_empty() {
        Refusal {
            payer,
            ..refusal.clone()
        }
    } else {
        refusal.clone()
    };
    settlement.give_up(|waiter| SettleAnswer::Reply(replies::failure(&refusal, "", &waiter.network_as_sent)));
}

/// Ends a settlement whose first commit the journal refused. If the same request failed before and the payer's balance no
/// longer suffices for another try, it gets the same failure, as if the scheme had found that when it planned.
pub(crate) fn refuse_commit(settlement: &Settlement, error: &CommitError) {
    let row = settlement.lock().row.clone();
    if let CommitError::PayloadClaimed(other) = error {
        tracing::error!(
            plugin = row.plugin,
            scheme = row.scheme,
            network = row.network,
            claim = row.claim,
            other,
            "payload_claimed_twice: nothing was sent: the plugin identified one payload as two payments; report this to its author"
        );
    }
    let is_short = matches!(error, CommitError::ReserveShort { .. });
    let failed_before = settlement.failed_before.get().filter(|_| is_short);
    settlement.give_up(|waiter| match failed_before {
        Some(row) => SettleAnswer::Reply(replies::same_failure(row, &waiter.network_as_sent)),
        None => replies::refusal_of_commit(error, &row, &waiter.network_as_sent),
    });
}
