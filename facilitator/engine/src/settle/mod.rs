//! From a request to a planned settlement in a lane's queue, and the wait for what becomes of it.
//!
//! Until the first commit a settlement belongs to its callers and is withdrawn with the last of them; from it on it is
//! the engine's own, and a caller that leaves changes nothing.

mod answers;
mod done;
mod keys;
mod known;
mod told;
mod wait;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use sdk_plugin::scheme::{Identified, Identity, Planned, Refusal};
use sdk_plugin::wire::reason;
use sdk_plugin::{Fault, PaymentRequest, Purpose};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::decide::{Asker, Decision, decide};
use super::lane::{Queued, Work};
use super::settlement::{self, Phase, Settlement};
use super::survive::AFTER_A_PANIC;
use super::{Engine, fingerprint_of, griefing, lock, own_key, plan_check, rows};
use crate::registry::Kind;
pub(super) use answers::{paused, refusal_of_commit, refuse, unavailable};
use answers::{plain, stopped, unexpected};
use base::service::{SettleAnswer, Settled};
use journal::{JournalError, Outcome, SettlementRow, StepRow, StepState};
use known::Known;
use wait::{Patience, withdrawn};

/// How long past its time a caller waits for a commit that is under way.
const COMMIT_GRACE: Duration = Duration::from_secs(5);
/// How long past its time a caller is answered at the latest. Longer than the wait for a commit.
const LAST_GRACE: Duration = Duration::from_secs(7);
/// Suggested to callers whose settlement was not begun, seconds.
pub(super) const RETRY_AFTER_S: u64 = 2;
/// What callers are told of a plan that asks for too much; the operator's log has the whole.
const NOT_GRANTED: &str = "the scheme planned something that it was not granted";
/// What callers are told of a scheme that says that it can't be served now.
pub(super) const NOT_READY: &str = "this kind of payment is not ready on this network; try again";
/// Looks at a claim before giving up: each look meets another process's or another moment's state.
const LOOKS: u32 = 50;

/// One request on its way.
pub(super) struct Asked {
    pub kind: Arc<Kind>,
    pub request: PaymentRequest,
    /// `None`: the plugin could not say, but the journal knows this very request; nothing new can be opened.
    pub identified: Option<Identified>,
    pub payer: String,
    pub claim: String,
    pub asker: Asker,
}

/// Why a request could not be identified.
pub(super) enum NotAsked {
    Refused(Refusal),
    Stopped(Fault),
}

enum Found {
    /// In line for the outcome.
    Waiting {
        settlement: Arc<Settlement>,
        number: u64,
        answer: oneshot::Receiver<Settled>,
    },
    Decided(Box<Settled>),
    /// Look again: the state changed between two looks.
    Again,
}

impl Engine {
    /// Settles a payment, or says what became of it. The answer counts as delivered when this returns.
    pub async fn settle(self: &Arc<Self>, request: PaymentRequest) -> SettleAnswer {
        let Settled { answer, receipt } = self.settle_with_receipt(request).await;
        receipt.delivered();
        answer
    }

    /// Settles a payment, or says what became of it, within the request's time and [`LAST_GRACE`], whatever hangs: who
    /// has a recorded transaction hears its hash.
    pub async fn settle_with_receipt(self: &Arc<Self>, request: PaymentRequest) -> Settled {
        self.settle_early(request, None).await
    }

    /// The same; after `early` the caller prefers `settlement_pending` with the hash to waiting for the chain.
    pub async fn settle_early(self: &Arc<Self>, request: PaymentRequest, early: Option<Duration>) -> Settled {
        let now = Instant::now();
        let deadline = now + Duration::from_millis(request.remaining_ms);
        let patience = Patience {
            early: early.map(|early| now + early).filter(|early| *early < deadline),
            last: deadline,
        };
        let (network, network_as_sent) = (request.network.clone(), request.network_as_sent.clone());
        let known = Known::default();
        let settled = {
            let settled = AssertUnwindSafe(self.settle_known(request, patience, &known)).catch_unwind();
            tokio::time::timeout_at(deadline + LAST_GRACE, settled).await
        };
        let settled = match settled {
            Ok(Ok(settled)) => settled,
            Ok(Err(panic)) => match known.row() {
                Some(row) => settlement::late(&row, &network_as_sent).into(),
                None => resume_unwind(panic),
            },
            Err(_) => {
                tracing::error!(
                    network,
                    claim = known.claim(),
                    "a settle did not end within its time: does the disk hang?"
                );
                match known.row() {
                    Some(row) => settlement::late(&row, &network_as_sent).into(),
                    None => unavailable("no answer within the time; try again").into(),
                }
            }
        };
        told::log(&network, &known.claim(), &settled.answer);
        settled
    }

    async fn settle_known(
        self: &Arc<Self>,
        request: PaymentRequest,
        patience: Patience,
        known: &Known,
    ) -> Settled {
        let network_as_sent = request.network_as_sent.clone();
        match self.ask(request).await {
            Ok(asked) => {
                known.set_claim(&asked.claim);
                self.settle_claim(&Arc::new(asked), patience, known).await
            }
            Err(NotAsked::Refused(refusal)) => {
                SettleAnswer::Reply(settlement::failure(&refusal, "", &network_as_sent)).into()
            }
            Err(NotAsked::Stopped(fault)) => stopped(&fault, &network_as_sent).into(),
        }
    }

    async fn settle_claim(
        self: &Arc<Self>,
        asked: &Arc<Asked>,
        patience: Patience,
        known: &Known,
    ) -> Settled {
        for look in 0..LOOKS {
            match self.find(asked, known).await {
                Ok(Found::Waiting {
                    settlement,
                    number,
                    answer,
                }) => {
                    known.set_held(&settlement);
                    return self.wait(asked, settlement, number, answer, patience).await;
                }
                Ok(Found::Decided(answer)) => return *answer,
                Ok(Found::Again) => tokio::time::sleep(Duration::from_millis(u64::from(look))).await,
                Err(error) => {
                    tracing::error!(%error, "a claim can't be looked up");
                    return unavailable("the journal can't be read").into();
                }
            }
        }
        match known.row() {
            Some(row) => settlement::late(&row, &asked.request.network_as_sent).into(),
            None => unavailable("the claim is busy").into(),
        }
    }

    /// Identifies a request; the error is what to refuse it with.
    pub(super) async fn ask(&self, request: PaymentRequest) -> Result<Asked, NotAsked> {
        let kind = self
            .registry
            .kind(request.version.number(), &request.scheme, &request.network)
            .ok_or_else(|| NotAsked::Stopped(Fault::unsupported("this kind is not served")))?;
        let identified = match self.ops.identify(kind, &request).await {
            Ok(Identity::Identified(identified)) => identified,
            Ok(Identity::Refused(refusal)) => return Err(NotAsked::Refused(refusal)),
            Err(fault) => {
                // What is on its way must not be called failed because its plugin is in trouble now.
                return match self.known(kind, &request).await {
                    Ok(known) => known.ok_or(NotAsked::Stopped(fault)),
                    Err(error) => {
                        tracing::error!(%error, "a request can't be looked up");
                        Err(NotAsked::Stopped(Fault::unavailable("the journal can't be read")))
                    }
                };
            }
        };
        let asker = Asker {
            fingerprint: fingerprint_of(&identified.fingerprint, request.tenant.as_deref()),
            digest: identified.payload_digest.clone(),
            tenant: request.tenant.clone(),
            idempotency_key: request.idempotency_key.clone(),
        };
        let claim = own_key(kind, &identified.claim_key);
        let payer = identified.payer.clone();
        Ok(Asked {
            kind: Arc::clone(kind),
            request,
            identified: Some(identified),
            payer,
            claim,
            asker,
        })
    }

    /// The claim that this very request opened before.
    async fn known(&self, kind: &Arc<Kind>, request: &PaymentRequest) -> Result<Option<Asked>, JournalError> {
        let hash = request_hash(request);
        // In memory only while its first commit is under way; recorded before that, it stays found.
        let held = self.committing(&hash);
        let Some(row) = self.journal.request(&hash).await?.or(held) else {
            return Ok(None);
        };
        if row.plugin != kind.instance.plugin {
            return Ok(None);
        }
        let asker = Asker {
            fingerprint: row.fingerprint,
            digest: row.digest,
            tenant: request.tenant.clone(),
            idempotency_key: request.idempotency_key.clone(),
        };
        Ok(Some(Asked {
            kind: Arc::clone(kind),
            request: request.clone(),
            identified: None,
            payer: row.payer,
            claim: row.claim,
            asker,
        }))
    }

    /// The settlement with this request whose first commit is under way.
    fn committing(&self, request: &str) -> Option<SettlementRow> {
        let claims = lock(&self.claims);
        claims.values().find_map(|claim| {
            let state = claim.holder.as_ref()?.lock();
            let is_it = state.phase == Phase::Committing && state.row.request == request;
            is_it.then(|| state.row.clone())
        })
    }

    /// The newest row of a claim, from memory or from the journal.
    pub(super) async fn claim_row(&self, claim: &str) -> Result<Option<SettlementRow>, JournalError> {
        let holder = lock(&self.claims)
            .get(claim)
            .and_then(|claim| claim.holder.clone());
        if let Some(holder) = holder {
            return Ok(Some(holder.lock().row.clone()));
        }
        self.journal.claim(claim).await
    }

    /// One look at the claim: join, decide, or open.
    async fn find(self: &Arc<Self>, asked: &Arc<Asked>, known: &Known) -> Result<Found, JournalError> {
        if let Some(found) = self.find_in_memory(asked, known) {
            return Ok(found);
        }
        let stored = self.journal.claim(&asked.claim).await?;
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

    /// Whether the claim's release is on its way to another caller with an equal request: until it is known whether that
    /// answer arrived, nothing can be said about the release. Notes what this caller may be told meanwhile.
    fn is_undelivered(&self, row: &SettlementRow, asked: &Asked, known: &Known) -> bool {
        let is_equal = asked.asker.is_equal(row);
        if is_equal {
            known.set_row(row);
        }
        is_equal && self.is_in_delivery(row.id)
    }

    fn find_in_memory(self: &Arc<Self>, asked: &Arc<Asked>, known: &Known) -> Option<Found> {
        let holder = lock(&self.claims)
            .get(&asked.claim)
            .and_then(|claim| claim.holder.clone())?;
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
            // What may still be reorganised away is looked at again first.
            Decision::TakeRelease | Decision::Replay(_) => {
                let (number, answer) = state.join(asked.asker.clone(), network.clone());
                drop(state);
                if let Some(run) = self.run_of(holder.network.id()) {
                    run.poll_now(&holder);
                }
                let settlement = Arc::clone(&holder);
                self.keep(holder.network.id(), "an answer", move |engine| {
                    let settlement = Arc::clone(&settlement);
                    async move { engine.serve_waiters(&settlement, None).await }
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

    /// Joins an equal request that is being planned, or begins to plan.
    fn open(
        self: &Arc<Self>,
        asked: &Arc<Asked>,
        generation: u32,
        failed_before: Option<SettlementRow>,
    ) -> Found {
        let network_as_sent = asked.request.network_as_sent.clone();
        let Some(identified) = &asked.identified else {
            let refusal = Refusal::new(reason::UNEXPECTED_SETTLE_ERROR, asked.payer.clone())
                .with_message("this network's handler failed; try again");
            let reply = settlement::failure(&refusal, "", &network_as_sent);
            return Found::Decided(Box::new(SettleAnswer::Reply(reply).into()));
        };
        if self.is_paused(&asked.kind) {
            return Found::Decided(Box::new(paused().into()));
        }
        let mut claims = lock(&self.claims);
        let claim = claims.entry(asked.claim.clone()).or_default();
        if claim.holder.is_some() {
            return Found::Again;
        }
        for settlement in &claim.opening {
            let mut state = settlement.lock();
            if state.phase != Phase::Gone && asked.asker.is_equal(&state.row) {
                let (number, answer) = state.join(asked.asker.clone(), network_as_sent);
                drop(state);
                return Found::Waiting {
                    settlement: Arc::clone(settlement),
                    number,
                    answer,
                };
            }
        }
        let row = SettlementRow {
            id: self.journal.new_id(),
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
            opened_at_ms: self.clock.now_ms(),
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
        };
        let settlement = Arc::new(Settlement::new(
            row,
            Phase::Opening,
            Arc::clone(&asked.kind.network),
            Some(Arc::clone(&asked.kind)),
            Some(asked.request.clone()),
        ));
        if let Some(row) = failed_before {
            // Set once: nobody else has this settlement yet.
            let _ = settlement.failed_before.set(row);
        }
        let (number, answer) = settlement.lock().join(asked.asker.clone(), network_as_sent);
        claim.opening.push(Arc::clone(&settlement));
        drop(claims);
        let (engine, task) = (Arc::clone(self), Arc::clone(&settlement));
        self.spawn(async move { engine.prepare(task).await });
        Found::Waiting {
            settlement,
            number,
            answer,
        }
    }

    /// Plans a settlement and brings it into a lane's queue; whatever stops it, its callers are answered.
    async fn prepare(self: Arc<Self>, settlement: Arc<Settlement>) {
        let network = settlement.network.id();
        let prepared = async {
            let keys = settlement.lock().row.conflict_keys.clone();
            if self.take_keys(&settlement, &keys).await {
                self.plan_and_queue(&settlement).await;
            }
        };
        if self
            .survives(network, "a settlement's planning", prepared)
            .await
            .is_none()
        {
            let recover = || self.recover_planning(&settlement);
            self.insist(network, "a settlement's planning", recover).await;
        }
        if settlement.lock().phase == Phase::Gone {
            self.forget(&settlement);
        }
    }

    /// After a panic. What needs no transaction may be recorded, and its success told to nobody: the next equal request gets
    /// it.
    async fn recover_planning(&self, settlement: &Arc<Settlement>) {
        while let Err(error) = self.recover_first_commit(settlement).await {
            tracing::error!(%error, settlement = settlement.id, "a settlement can't be looked up");
            tokio::time::sleep(AFTER_A_PANIC).await;
        }
        let row = settlement.lock().row.clone();
        settlement.give_up(|waiter| settlement::late(&row, &waiter.network_as_sent));
    }

    async fn plan_and_queue(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        let (Some(kind), Some(request)) = (&settlement.kind, &settlement.request) else {
            return settlement.give_up(|_| unavailable("no handler"));
        };
        if let Err(why) = kind.network.readiness() {
            tracing::debug!(
                network = kind.network.id(),
                "a settlement was not begun: the network is not ready: {why}"
            );
            return settlement.give_up(|_| unavailable("this network is not ready; try again"));
        }
        if let Err(why) = kind.readiness() {
            tracing::debug!(
                ?kind,
                "a settlement was not begun: the scheme is not ready: {why}"
            );
            return settlement.give_up(|_| unavailable(NOT_READY));
        }
        let planned = tokio::select! {
            biased;
            () = withdrawn(settlement) => return,
            planned = self.ops.plan(kind, request) => planned,
        };
        let plan = match planned {
            Ok(Planned::Plan(plan)) => plan,
            Ok(Planned::Refused(refusal)) => return refuse_now(settlement, &refusal),
            Ok(Planned::Done(_)) if self.is_paused(kind) => return settlement.give_up(|_| paused()),
            Ok(Planned::Done(done)) => {
                if let Err(what) = rows::check(&done.writes, &done.jobs, kind) {
                    tracing::error!(kind = ?kind, "a settlement without a transaction was refused: {what}");
                    return unexpected(settlement, NOT_GRANTED);
                }
                return self.settle_without_transaction(settlement, done).await;
            }
            Err(fault) => return settlement.give_up(|waiter| stopped(&fault, &waiter.network_as_sent)),
        };
        let concerns_payer = griefing::concerns_payer(&plan, &settlement.lock().row.conflict_keys);
        if let Some(wait) = self
            .griefing
            .must_wait(kind.network.id(), &plan.payer)
            .filter(|_| concerns_payer)
        {
            return refuse(settlement, &wait.refusal());
        }
        if let Err(what) = plan_check::check(&plan, kind) {
            tracing::error!(kind = ?kind, "a plan was refused: {what}");
            return unexpected(settlement, NOT_GRANTED);
        }
        {
            let mut state = settlement.lock();
            state.row.steps = plan.steps.iter().map(waiting).collect();
            // A scheme may move more than the requirements name.
            let settings = &kind.network.settings;
            state.row.second_source |= plan
                .reserves
                .iter()
                .any(|reserve| settings.wants_second_source(&reserve.asset, reserve.amount));
            if !plan.payer.is_empty() {
                state.row.payer.clone_from(&plan.payer);
            }
        }
        let Some(choice) = plan.steps.first().map(|step| step.lane.clone()) else {
            return;
        };
        let payer = concerns_payer.then(|| settlement.lock().row.payer.to_ascii_lowercase());
        let payer = payer.filter(|payer| !payer.is_empty());
        // Set once: planning runs once for each settlement.
        let _ = settlement.plan.set(Some(Arc::new(plan)));
        let lane = self
            .run_of(settlement.network.id())
            .and_then(|run| run.choose(&choice, self.clock.now_ms()));
        let Some(lane) = lane else {
            return settlement.give_up(|_| unavailable("no signer of this network is ready"));
        };
        match lane.queue(Work {
            settlement: Arc::clone(settlement),
            step: 0,
            payer,
        }) {
            Queued::Yes => {}
            Queued::PayerFull => settlement
                .give_up(|_| unavailable("too many payments of this payer wait for this network; try again")),
            Queued::Full => settlement.give_up(|_| unavailable("too many settlements wait for this network")),
            Queued::Closed => settlement.give_up(|_| unavailable("this network's signer is stopping")),
        }
    }
}

/// Refuses what the scheme does not find good now. What failed before and is no longer good gets the same failure.
fn refuse_now(settlement: &Settlement, refusal: &Refusal) {
    match settlement.failed_before.get() {
        Some(row) => settlement
            .give_up(|waiter| SettleAnswer::Reply(settlement::same_failure(row, &waiter.network_as_sent))),
        None => refuse(settlement, refusal),
    }
}

fn waiting(step: &sdk_plugin::scheme::Step) -> StepRow {
    StepRow {
        state: StepState::Waiting,
        pays: step.pays,
        is_final: false,
        ground: None,
    }
}

/// Hash over everything a scheme may identify by, the tenant included.
fn request_hash(request: &PaymentRequest) -> String {
    let stripped = PaymentRequest {
        network_as_sent: String::new(),
        purpose: Purpose::Settle,
        idempotency_key: None,
        remaining_ms: 0,
        ..request.clone()
    };
    // A request came in as JSON: it can be written as JSON. The empty text would match nothing.
    serde_json::to_vec(&stripped)
        .map(|text| hex::encode(Sha256::digest(text)))
        .unwrap_or_default()
}

fn conflict_keys(kind: &Kind, identified: &Identified) -> Vec<String> {
    let mut keys: Vec<String> = identified
        .conflict_keys
        .iter()
        .map(|key| own_key(kind, key))
        .collect();
    keys.sort();
    keys.dedup();
    keys
}
