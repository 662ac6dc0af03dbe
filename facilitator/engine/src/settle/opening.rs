//! From an identified request to its settlement: join one, decide from the claim's row, or open one.

use super::known_claim::KnownClaim;
use super::{Lookup, PaymentCall, Settling};
use crate::decide::claim::{Decision, decide};
use crate::decide::hashes::{payload_hash, request_hash};
use crate::decide::keys::own_key;
use crate::decide::replies;
use crate::decide::replies::{paused, plain};
use crate::registry::Kind;
use crate::state::settlement::{Phase, Settlement};
use base::service::SettleAnswer;
use journal::{JournalError, Outcome, SettlementRow};
use sdk_plugin::scheme::{Identified, Refusal};
use sdk_plugin::wire::reason;
use std::sync::Arc;
use tokio::time::Instant;

impl Settling {
    /// Reads the claim once: join, decide, or open.
    pub(super) async fn find(
        self: &Arc<Self>,
        call: &Arc<PaymentCall>,
        known: &KnownClaim,
    ) -> Result<Lookup, JournalError> {
        if let Some(found) = self.find_in_memory(call, known) {
            return Ok(found);
        }
        let stored = self.runtime.journal.claim(&call.claim).await?;
        let network = &call.request.network_as_sent;
        let mut failed_before = None;
        let generation = match stored {
            None => 0,
            Some(row) if self.is_undelivered(&row, call, known) => return Ok(Lookup::Retry),
            Some(row) if self.is_elsewhere(&row, call) => return self.join_elsewhere(row, call).await,
            Some(row) => match decide(&row, &call.identity) {
                Decision::Reopen => {
                    let generation = row.generation.saturating_add(1);
                    let failed = matches!(row.outcome, Outcome::Failed { .. });
                    failed_before = Some(row).filter(|row| failed && call.identity.is_equal(row));
                    generation
                }
                Decision::Wait => return Ok(Lookup::Retry),
                Decision::TakeRelease if !row.finished => return Ok(Lookup::Retry),
                Decision::TakeRelease => {
                    let settled = self.take_stored_release(row, call).await;
                    return Ok(Lookup::Decided(Box::new(settled)));
                }
                Decision::Replay(_) if !self.outcomes.keep_release(&row).await => return Ok(Lookup::Retry),
                decision => return Ok(Lookup::Decided(Box::new(plain(decision, &row, network).into()))),
            },
        };
        Ok(self.open(call, generation, failed_before))
    }

    /// Whether the claim's release is being delivered to another caller with an equal request. Until it is known
    /// whether that answer arrived, nothing can be said about the release. Records in `known` what this caller may get
    /// meanwhile.
    pub(super) fn is_undelivered(&self, row: &SettlementRow, call: &PaymentCall, known: &KnownClaim) -> bool {
        let is_equal = call.identity.is_equal(row);
        if is_equal {
            known.set_row(row);
        }
        is_equal && self.outcomes.is_in_delivery(row.id)
    }

    pub(super) fn find_in_memory(
        self: &Arc<Self>,
        call: &Arc<PaymentCall>,
        known: &KnownClaim,
    ) -> Option<Lookup> {
        let holder = self.runtime.claims.holder(&call.claim)?;
        let network = &call.request.network_as_sent;
        let mut state = holder.lock();
        if state.phase == Phase::Gone || state.row.finished {
            return Some(Lookup::Retry);
        }
        // The journal may have another settlement of the claim, and refuse this one: nobody else is answered by it.
        if state.phase == Phase::Committing && !call.identity.is_equal(&state.row) {
            return Some(Lookup::Retry);
        }
        if self.is_undelivered(&state.row, call, known) {
            return Some(Lookup::Retry);
        }
        Some(match decide(&state.row, &call.identity) {
            Decision::Wait => {
                let (number, answer) = state.join(call.identity.clone(), network.clone());
                drop(state);
                Lookup::Waiting {
                    settlement: holder,
                    number,
                    answer,
                }
            }
            // What may still be reorganised away is polled again first.
            Decision::TakeRelease | Decision::Replay(_) => {
                let (number, answer) = state.join(call.identity.clone(), network.clone());
                drop(state);
                if let Some(run) = self.runtime.run_of(holder.network.id()) {
                    run.poll_now(&holder);
                }
                let settlement = Arc::clone(&holder);
                let outcomes = Arc::clone(&self.outcomes);
                self.runtime.keep(holder.network.id(), "an answer", move || {
                    let (outcomes, settlement) = (Arc::clone(&outcomes), Arc::clone(&settlement));
                    async move { outcomes.serve_waiters(&settlement, None).await }
                });
                Lookup::Waiting {
                    settlement: holder,
                    number,
                    answer,
                }
            }
            Decision::Reopen => Lookup::Retry,
            decision => Lookup::Decided(Box::new(plain(decision, &state.row, network).into())),
        })
    }

    /// Joins an equal request that is being planned, or starts planning.
    pub(super) fn open(
        self: &Arc<Self>,
        call: &Arc<PaymentCall>,
        generation: u32,
        failed_before: Option<SettlementRow>,
    ) -> Lookup {
        let network_as_sent = call.request.network_as_sent.clone();
        let Some(identified) = &call.identified else {
            let refusal = Refusal::new(reason::UNEXPECTED_SETTLE_ERROR, call.payer.clone())
                .with_message("this network's handler failed; try again");
            let reply = replies::failure(&refusal, "", &network_as_sent);
            return Lookup::Decided(Box::new(SettleAnswer::Reply(reply).into()));
        };
        if self.runtime.is_paused(&call.kind) {
            return Lookup::Decided(Box::new(paused().into()));
        }
        let opened = self.runtime.claims.with(&call.claim, |claim| {
            if claim.holder.is_some() {
                return Err(Lookup::Retry);
            }
            if let Some(found) = join_opening(&claim.opening, call) {
                return Err(found);
            }
            let settlement = Arc::new(Settlement::new(
                self.new_row(call, identified, generation),
                Phase::Opening,
                Arc::clone(&call.kind.network),
                Some(Arc::clone(&call.kind)),
                Some(call.request.clone()),
            ));
            if let Some(row) = failed_before {
                // Set once: no other task has this settlement yet.
                let _ = settlement.failed_before.set(row);
            }
            if !call.gather.is_zero() {
                // Set once, too.
                let _ = settlement.gathers_until.set(Instant::now() + call.gather);
            }
            claim.opening.push(Arc::clone(&settlement));
            let (number, answer) = settlement.lock().join(call.identity.clone(), network_as_sent);
            Ok((settlement, number, answer))
        });
        let (settlement, number, answer) = match opened {
            Ok(opened) => opened,
            Err(found) => return found,
        };
        let (settling, task) = (Arc::clone(self), Arc::clone(&settlement));
        self.runtime.spawn(async move { settling.prepare(task).await });
        Lookup::Waiting {
            settlement,
            number,
            answer,
        }
    }

    /// The row of a settlement that is opened now.
    pub(super) fn new_row(
        &self,
        call: &PaymentCall,
        identified: &Identified,
        generation: u32,
    ) -> SettlementRow {
        let id = self.runtime.journal.new_id();
        let requirements = &call.request.requirements;
        SettlementRow {
            id,
            reference: self.runtime.journal.reference(id),
            pay_to: requirements.pay_to.clone(),
            asset: requirements.asset.clone(),
            amount: Some(requirements.amount),
            idempotency_key: call.identity.idempotency_key.clone(),
            expires_at_s: None,
            home: None,
            handed_over: false,
            updated_at_ms: 0,
            claim: call.claim.clone(),
            generation,
            plugin: call.kind.instance.plugin.clone(),
            scheme: call.kind.scheme.clone(),
            version: call.request.version,
            network: call.kind.network.id().to_owned(),
            tenant: call.identity.tenant.clone(),
            fingerprint: call.identity.fingerprint.clone(),
            digest: call.identity.digest.clone(),
            request: request_hash(&call.request),
            payload: payload_hash(&call.kind, &call.request),
            replay_reason: identified.replay_reason.clone(),
            replayable_until_s: identified.replayable_until_s,
            payer: call.payer.clone(),
            conflict_keys: conflict_keys(&call.kind, identified),
            opened_at_ms: self.runtime.clock.now_ms(),
            second_source: call
                .kind
                .network
                .settings
                .wants_second_source(&call.request.requirements.asset, call.request.requirements.amount),
            steps: Vec::new(),
            outcome: Outcome::Open,
            release: None,
            tx_id: None,
            finished: false,
            withheld: false,
            costs: Vec::new(),
        }
    }
}

/// Joins a settlement with equal payload and terms that has no commit yet.
pub(super) fn join_opening(opening: &[Arc<Settlement>], call: &PaymentCall) -> Option<Lookup> {
    opening.iter().find_map(|settlement| {
        let mut state = settlement.lock();
        if state.phase == Phase::Gone || !call.identity.is_equal(&state.row) {
            return None;
        }
        let (number, answer) = state.join(call.identity.clone(), call.request.network_as_sent.clone());
        Some(Lookup::Waiting {
            settlement: Arc::clone(settlement),
            number,
            answer,
        })
    })
}

pub(super) fn conflict_keys(kind: &Kind, identified: &Identified) -> Vec<String> {
    let mut keys: Vec<String> = identified
        .conflict_keys
        .iter()
        .map(|key| own_key(kind, key))
        .collect();
    keys.sort();
    keys.dedup();
    keys
}
