//! Settlements that need no transaction now: those that never do, and the release of one that landed before.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Asked;
use super::answers::{refusal_of_commit, unavailable};
use crate::Engine;
use crate::rows::job_events;
use crate::settlement::{self, Phase, Settlement};
use base::service::{SettleAnswer, Settled};
use journal::{CommitError, Event, NewSettlement, Outcome, PaidRow, Release, SettlementRow};

impl Engine {
    /// A settlement whose effect needs no transaction: recorded, released and answered in one commit.
    pub(super) async fn settle_without_transaction(
        self: &Arc<Self>,
        settlement: &Arc<Settlement>,
        done: sdk_plugin::scheme::Done,
    ) {
        let paid = PaidRow {
            tx_id: String::new(),
            height: 0,
            items: Vec::new(),
            reply: done.reply,
            repeatable: false,
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
        let reply = settlement::success(&paid, &row.payer, &caller.network_as_sent);
        let now_ms = self.clock.now_ms();
        let number = self.journal.new_id();
        let release = Release {
            number,
            tenant: caller.asker.tenant.clone(),
            idempotency_key: caller.asker.idempotency_key.clone(),
            body: serde_json::to_string(&reply).unwrap_or_default(),
            at_ms: now_ms,
        };
        let mut events = vec![Event::Opened(Box::new(NewSettlement::new(
            row.clone(),
            String::new(),
            Vec::new(),
            Vec::new(),
        )))];
        events.extend(self.store_events(&row.plugin, done.writes));
        events.extend(job_events(&row.plugin, done.jobs));
        events.push(Event::Paid {
            settlement: row.id,
            step: 0,
            tx_id: String::new(),
            height: 0,
            items: Vec::new(),
            reply: paid.reply,
            repeatable: false,
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
        let receipt = self.receipt(row.id, &row.claim, number);
        match self.journal.commit(events).await {
            Ok(()) => {
                let answer = SettleAnswer::Reply(reply);
                // A caller that has hung up drops the answer, and the receipt with it gives the release back.
                let _ = caller.reply.send(Settled { answer, receipt });
                let row = row.clone();
                settlement.give_up(|waiter| {
                    SettleAnswer::Reply(settlement::duplicate(&row, "", &waiter.network_as_sent))
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

    /// The release of a payment that landed, finished, and was told to nobody. A task of the engine's own takes it: the
    /// caller may hang up while the commit is under way, and then the release is given back.
    pub(super) async fn take_stored_release(
        self: &Arc<Self>,
        row: SettlementRow,
        asked: &Arc<Asked>,
    ) -> Settled {
        let (reply, answer) = oneshot::channel();
        let (engine, asked) = (Arc::clone(self), Arc::clone(asked));
        let unanswered = settlement::late(&row, &asked.request.network_as_sent);
        self.spawn(async move {
            let settled = engine.release_stored(&row, &asked).await;
            // A caller that has hung up drops the answer, and the receipt with it gives the release back.
            drop(reply.send(settled));
        });
        answer.await.unwrap_or_else(|_| unanswered.into())
    }

    async fn release_stored(self: &Arc<Self>, row: &SettlementRow, asked: &Asked) -> Settled {
        let Outcome::Paid(paid) = &row.outcome else {
            return unavailable("the claim changed; try again").into();
        };
        let network = &asked.request.network_as_sent;
        let reply = settlement::success(paid, &row.payer, network);
        let number = self.journal.new_id();
        let release = Release {
            number,
            tenant: asked.asker.tenant.clone(),
            idempotency_key: asked.asker.idempotency_key.clone(),
            body: serde_json::to_string(&reply).unwrap_or_default(),
            at_ms: self.clock.now_ms(),
        };
        if !self.may_release(&row.network, row.id) || self.is_in_delivery(row.id) {
            return settlement::late(row, network).into();
        }
        let receipt = self.receipt(row.id, &row.claim, number);
        match self
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
                if self.is_in_delivery(row.id) {
                    settlement::late(row, network).into()
                } else {
                    SettleAnswer::Reply(settlement::duplicate(row, &paid.tx_id, network)).into()
                }
            }
            Err(error) => {
                receipt.cancel();
                tracing::error!(settlement = row.id, %error, "a release could not be recorded");
                settlement::late(row, network).into()
            }
        }
    }
}
