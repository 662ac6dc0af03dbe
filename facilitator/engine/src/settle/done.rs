//! Settlements that need no transaction now: those that never need one, and the release of one that landed before.

use crate::decide::replies;
use crate::decide::replies::{refusal_of_commit, unavailable};
use crate::decide::rows::{job_events, store_events};
use crate::settle::{PaymentCall, Settling};
use crate::state::settlement::{Phase, Settlement};
use sdk_plugin::StepIndex;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use base::service::{SettleAnswer, Settled};
use journal::{CommitError, Event, NewSettlement, Outcome, PaidRow, Release, SettlementRow};

/// How long a release waits until the lanes of the network are compared with the chain.
const COMPARED_WITHIN: Duration = Duration::from_secs(5);

impl Settling {
    /// Settles a payment whose effect needs no transaction: it is recorded, released and answered in one commit.
    pub(crate) async fn settle_without_transaction(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        done: sdk_plugin::scheme::Done,
    ) {
        let paid = PaidRow {
            tx_id: String::new(),
            height: 0,
            items: Vec::new(),
            reply: done.reply,
            repeatable: done.repeatable,
        };
        let (row, caller) = {
            let mut state = settlement.lock();
            let Some(caller) = state.next_caller() else {
                state.phase = Phase::Gone;
                return;
            };
            state.phase = Phase::Committing;
            (state.row.clone(), caller)
        };
        let reply = replies::success(&paid, &row, &caller.network_as_sent);
        let now_ms = self.runtime.clock.now_ms();
        let number = self.runtime.journal.new_id();
        let release = Release {
            number,
            tenant: caller.identity.tenant.clone(),
            idempotency_key: caller.identity.idempotency_key.clone(),
            body: serde_json::to_string(&reply).unwrap_or_default(),
            at_ms: now_ms,
        };
        let mut events = vec![Event::Opened(Box::new(NewSettlement::new(
            row.clone(),
            String::new(),
            Vec::new(),
            Vec::new(),
        )))];
        events.extend(store_events(&row.plugin, done.writes, now_ms));
        events.extend(job_events(&row.plugin, done.jobs));
        events.push(Event::Paid {
            settlement: row.id,
            step: StepIndex::FIRST,
            tx_id: String::new(),
            height: 0,
            items: Vec::new(),
            reply: paid.reply.clone(),
            repeatable: paid.repeatable,
        });
        events.push(Event::Released {
            settlement: row.id,
            release,
        });
        events.push(Event::KeysFreed { settlement: row.id });
        events.push(Event::Finished {
            settlement: row.id,
            at_ms: now_ms,
        });
        let receipt = self.outcomes.receipt(row.id, &row.claim, number);
        match self.runtime.journal.commit(events).await {
            Ok(()) => {
                self.runtime.end_reservation(&row.claim);
                self.outcomes.report_paid(settlement, &row, &paid);
                let answer = SettleAnswer::Reply(reply);
                // A caller that has hung up drops the answer. The receipt is dropped with it and gives the release
                // back.
                let _ = caller.reply.send(Settled { answer, receipt });
                let row = row.clone();
                settlement.give_up(|waiter| {
                    SettleAnswer::Reply(replies::duplicate(&row, "", &waiter.network_as_sent))
                });
            }
            Err(error) => {
                receipt.cancel();
                let answer = refusal_of_commit(&error, &row, &caller.network_as_sent);
                let _ = caller.reply.send(answer.into());
                settlement.give_up(|waiter| refusal_of_commit(&error, &row, &waiter.network_as_sent));
            }
        }
    }

    /// Takes the release of a payment that landed, finished, and was reported to no caller. A separate task of the
    /// engine takes it: if the caller hangs up during the commit, the release is given back.
    pub(crate) async fn take_stored_release(
        self: &Arc<Self>,
        row: SettlementRow,
        call: &Arc<PaymentCall>,
    ) -> Settled {
        let (reply, answer) = oneshot::channel();
        let (engine, call) = (Arc::clone(self), Arc::clone(call));
        let unanswered = replies::late(&row, &call.request.network_as_sent);
        self.runtime.spawn(async move {
            let settled = engine.release_stored(&row, &call).await;
            // A caller that has hung up drops the answer. The receipt is dropped with it and gives the release back.
            drop(reply.send(settled));
        });
        answer.await.unwrap_or_else(|_| unanswered.into())
    }

    /// After a start, and where nodes share the journal after a lane got another owner, the journal is compared with the chain
    /// within seconds.
    async fn wait_until_compared(&self, row: &SettlementRow) {
        let began = Instant::now();
        while !self.outcomes.may_release(&row.network, row.id) && began.elapsed() < COMPARED_WITHIN {
            tokio::time::sleep(COMPARED_WITHIN / 20).await;
        }
    }

    async fn release_stored(self: &Arc<Self>, row: &SettlementRow, call: &PaymentCall) -> Settled {
        let Outcome::Paid(paid) = &row.outcome else {
            return unavailable("the claim changed; try again").into();
        };
        let network = &call.request.network_as_sent;
        let reply = replies::success(paid, row, network);
        let number = self.runtime.journal.new_id();
        let release = Release {
            number,
            tenant: call.identity.tenant.clone(),
            idempotency_key: call.identity.idempotency_key.clone(),
            body: serde_json::to_string(&reply).unwrap_or_default(),
            at_ms: self.runtime.clock.now_ms(),
        };
        self.wait_until_compared(row).await;
        if !self.outcomes.may_release(&row.network, row.id) || self.outcomes.is_in_delivery(row.id) {
            return replies::late(row, network).into();
        }
        let receipt = self.outcomes.receipt(row.id, &row.claim, number);
        match self
            .runtime
            .journal
            .commit(vec![Event::Released {
                settlement: row.id,
                release,
            }])
            .await
        {
            Ok(()) => Settled {
                answer: SettleAnswer::Reply(reply),
                receipt,
            },
            Err(CommitError::AlreadyReleased) => {
                receipt.cancel();
                if self.outcomes.is_in_delivery(row.id) {
                    replies::late(row, network).into()
                } else {
                    SettleAnswer::Reply(replies::duplicate(row, &paid.tx_id, network)).into()
                }
            }
            Err(error) => {
                receipt.cancel();
                tracing::error!(settlement = row.id, %error, "a release could not be recorded");
                replies::late(row, network).into()
            }
        }
    }
}
