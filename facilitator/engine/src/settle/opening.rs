//! From an identified request to its settlement: join one, decide from the claim's row, or open one.

use super::known::Known;
use super::{Asked, Found, Settling};
use crate::decide::claim::{Decision, decide};
use crate::decide::keys::own_key;
use crate::decide::replies;
use crate::decide::replies::{paused, plain};
use crate::registry::Kind;
use crate::state::settlement::{Phase, Settlement};
use base::service::SettleAnswer;
use journal::{JournalError, Outcome, SettlementRow};
use sdk_plugin::scheme::{Identified, Refusal};
use sdk_plugin::wire::reason;
use sdk_plugin::{PaymentRequest, Purpose};
use sha2::{Digest, Sha256};
use std::sync::Arc;

impl Settling {
    /// Reads the claim once: join, decide, or open.
    pub(super) async fn find(
        self: &Arc<Self>,
        asked: &Arc<Asked>,
        known: &Known,
    ) -> Result<Found, JournalError> {
        if let Some(found) = self.find_in_memory(asked, known) {
            return Ok(found);
        }
        let stored = self.runtime.journal.claim(&asked.claim).await?;
        let network = &asked.request.network_as_sent;
        let mut failed_before = None;
        let generation = match stored {
            None => 0,
            Some(row) if self.is_undelivered(&row, asked, known) => return Ok(Found::Again),
            Some(row) => match decide(&row, &asked.asker) {
                Decision::Reopen => {
                    let generation = row.generation.saturating_add(1);
                    let failed = matches!(row.outcome, Outcome::Failed { .. });
                    failed_before = Some(row).filter(|row| failed && asked.asker.is_equal(row));
                    generation
                }
                Decision::Wait => return Ok(Found::Again),
                Decision::TakeRelease if !row.finished => return Ok(Found::Again),
                Decision::TakeRelease => {
                    let settled = self.take_stored_release(row, asked).await;
                    return Ok(Found::Decided(Box::new(settled)));
                }
                decision => return Ok(Found::Decided(Box::new(plain(decision, &row, network).into()))),
            },
        };
        Ok(self.open(asked, generation, failed_before))
    }

    /// Whether the claim's release is being delivered to another caller with an equal request. Until it is known
    /// whether that answer arrived, nothing can be said about the release. Records in `known` what this caller may get
    /// meanwhile.
    pub(super) fn is_undelivered(&self, row: &SettlementRow, asked: &Asked, known: &Known) -> bool {
        let is_equal = asked.asker.is_equal(row);
        if is_equal {
            known.set_row(row);
        }
        is_equal && self.outcomes.is_in_delivery(row.id)
    }

    pub(super) fn find_in_memory(self: &Arc<Self>, asked: &Arc<Asked>, known: &Known) -> Option<Found> {
        let holder = self.runtime.claims.holder(&asked.claim)?;
        let network = &asked.request.network_as_sent;
        let mut state = holder.lock();
        if state.phase == Phase::Gone || state.row.finished {
            return Some(Found::Again);
        }
        if self.is_undelivered(&state.row, asked, known) {
            return Some(Found::Again);
        }
        Some(match decide(&state.row, &asked.asker) {
            Decision::Wait => {
                let (number, answer) = state.join(asked.asker.clone(), network.clone());
                drop(state);
                Found::Waiting {
                    settlement: holder,
                    number,
                    answer,
                }
            }
            // What may still be reorganised away is polled again first.
            Decision::TakeRelease | Decision::Replay(_) => {
                let (number, answer) = state.join(asked.asker.clone(), network.clone());
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
                Found::Waiting {
                    settlement: holder,
                    number,
                    answer,
                }
            }
            Decision::Reopen => Found::Again,
            decision => Found::Decided(Box::new(plain(decision, &state.row, network).into())),
        })
    }

    /// Joins an equal request that is being planned, or starts planning.
    pub(super) fn open(
        self: &Arc<Self>,
        asked: &Arc<Asked>,
        generation: u32,
        failed_before: Option<SettlementRow>,
    ) -> Found {
        let network_as_sent = asked.request.network_as_sent.clone();
        let Some(identified) = &asked.identified else {
            let refusal = Refusal::new(reason::UNEXPECTED_SETTLE_ERROR, asked.payer.clone())
                .with_message("this network's handler failed; try again");
            let reply = replies::failure(&refusal, "", &network_as_sent);
            return Found::Decided(Box::new(SettleAnswer::Reply(reply).into()));
        };
        if self.runtime.is_paused(&asked.kind) {
            return Found::Decided(Box::new(paused().into()));
        }
        let opened = self.runtime.claims.with(&asked.claim, |claim| {
            if claim.holder.is_some() {
                return Err(Found::Again);
            }
            if let Some(found) = join_opening(&claim.opening, asked) {
                return Err(found);
            }
            let settlement = Arc::new(Settlement::new(
                self.new_row(asked, identified, generation),
                Phase::Opening,
                Arc::clone(&asked.kind.network),
                Some(Arc::clone(&asked.kind)),
                Some(asked.request.clone()),
            ));
            if let Some(row) = failed_before {
                // Set once: no other task has this settlement yet.
                let _ = settlement.failed_before.set(row);
            }
            claim.opening.push(Arc::clone(&settlement));
            let (number, answer) = settlement.lock().join(asked.asker.clone(), network_as_sent);
            Ok((settlement, number, answer))
        });
        let (settlement, number, answer) = match opened {
            Ok(opened) => opened,
            Err(found) => return found,
        };
        let (settling, task) = (Arc::clone(self), Arc::clone(&settlement));
        self.runtime.spawn(async move { settling.prepare(task).await });
        Found::Waiting {
            settlement,
            number,
            answer,
        }
    }

    /// The row of a settlement that is opened now.
    pub(super) fn new_row(&self, asked: &Asked, identified: &Identified, generation: u32) -> SettlementRow {
        SettlementRow {
            id: self.runtime.journal.new_id(),
            claim: asked.claim.clone(),
            generation,
            plugin: asked.kind.instance.plugin.clone(),
            scheme: asked.kind.scheme.clone(),
            version: asked.request.version,
            network: asked.kind.network.id().to_owned(),
            tenant: asked.asker.tenant.clone(),
            fingerprint: asked.asker.fingerprint.clone(),
            digest: asked.asker.digest.clone(),
            request: request_hash(&asked.request),
            replay_reason: identified.replay_reason.clone(),
            replayable_until_s: identified.replayable_until_s,
            payer: asked.payer.clone(),
            conflict_keys: conflict_keys(&asked.kind, identified),
            opened_at_ms: self.runtime.clock.now_ms(),
            second_source: asked.kind.network.settings.wants_second_source(
                &asked.request.requirements.asset,
                asked.request.requirements.amount,
            ),
            steps: Vec::new(),
            outcome: Outcome::Open,
            release: None,
            tx_id: None,
            finished: false,
            withheld: false,
        }
    }
}

/// Joins a settlement with equal payload and terms that has no commit yet.
pub(super) fn join_opening(opening: &[Arc<Settlement>], asked: &Asked) -> Option<Found> {
    opening.iter().find_map(|settlement| {
        let mut state = settlement.lock();
        if state.phase == Phase::Gone || !asked.asker.is_equal(&state.row) {
            return None;
        }
        let (number, answer) = state.join(asked.asker.clone(), asked.request.network_as_sent.clone());
        Some(Found::Waiting {
            settlement: Arc::clone(settlement),
            number,
            answer,
        })
    })
}

/// Hash over everything a scheme may identify by, the tenant included.
pub(super) fn request_hash(request: &PaymentRequest) -> String {
    let stripped = PaymentRequest {
        network_as_sent: String::new(),
        purpose: Purpose::Settle,
        idempotency_key: None,
        remaining_ms: 0,
        ..request.clone()
    };
    // A request came in as JSON, so it can be written as JSON. The empty text would match nothing.
    serde_json::to_vec(&stripped)
        .map(|text| hex::encode(Sha256::digest(text)))
        .unwrap_or_default()
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
