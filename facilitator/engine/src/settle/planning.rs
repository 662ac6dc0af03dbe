//! Plans a settlement and queues it at a lane.

use super::NOT_READY;
use super::Settling;
use super::answers::unexpected;
use super::handover::Place;
use super::opening::conflict_keys;
use super::wait::withdrawn;
use crate::decide::keys::{fingerprint_of, own_key};
use crate::decide::replies::{paused, stopped, unavailable};
use crate::decide::{payers, plan_check, replies, rows};
use crate::registry::Kind;
use crate::runtime::survive::AFTER_A_PANIC;
use crate::state::lane::{Queued, Work};
use crate::state::settlement::{Phase, Settlement, refuse};
use base::service::SettleAnswer;
use base::trace;
use journal::{StepRow, StepState};
use sdk_plugin::scheme::{Identity, Parties, Plan, Planned, Refusal};
use sdk_plugin::{Fault, PaymentRequest, Purpose, StepIndex};
use std::sync::Arc;

/// The reply to callers for a plan that exceeds its grants; the operator's log has the details.
const NOT_GRANTED: &str = "the scheme planned something that it was not granted";
/// The same for a scheme that names one payment in two ways.
const MISNAMED: &str = "the scheme identified this payment as another one when it was called again";

impl Settling {
    /// Plans a settlement and puts it into a lane's queue. If anything stops it, its callers are answered.
    pub(super) async fn prepare(self: Arc<Self>, settlement: Arc<Settlement>) {
        let network = settlement.network.id();
        let prepared = trace::within(settlement.trace, async {
            let keys = settlement.lock().row.conflict_keys.clone();
            let is_ready = self.take_keys(&settlement, &keys).await
                && self.see_keys(&settlement, &keys).await
                && self.announce(&settlement).await;
            if is_ready {
                self.plan_and_queue(&settlement).await;
            }
        });
        if self
            .runtime
            .survives(network, "a settlement's planning", prepared)
            .await
            .is_none()
        {
            let recover = || self.recover_planning(&settlement);
            self.runtime
                .insist(network, "a settlement's planning", recover)
                .await;
        }
        if settlement.lock().phase == Phase::Gone {
            self.runtime.claims.forget(&settlement);
        }
        self.withdraw(&settlement.claim);
    }

    /// The plan of a settlement; `None`: its callers have their answer.
    async fn plan_what_is_named_alike(
        &self,
        settlement: &Settlement,
        kind: &Kind,
        request: &PaymentRequest,
    ) -> Option<Result<Planned, Fault>> {
        // Beside the plan, so that it takes no time of its own.
        let plan = self.runtime.ops.plan(kind, request);
        let (planned, is_named_alike) = tokio::join!(plan, self.is_named_alike(settlement, kind, request));
        match is_named_alike {
            Ok(true) => return Some(planned),
            Ok(false) => unexpected(settlement, MISNAMED),
            Err(fault) => settlement.give_up(|waiter| stopped(&fault, &waiter.network_as_sent)),
        }
        None
    }

    /// Whether the plugin names a caller's payment as it did before, when it is called for another purpose and with other time
    /// left. A claim that depends on either would let one payment be settled twice.
    async fn is_named_alike(
        &self,
        settlement: &Settlement,
        kind: &Kind,
        request: &PaymentRequest,
    ) -> Result<bool, Fault> {
        match request.purpose {
            Purpose::Settle => {}
            Purpose::Verify | Purpose::Route | Purpose::Job => return Ok(true),
        }
        let again = PaymentRequest {
            purpose: Purpose::Verify,
            remaining_ms: request.remaining_ms / 2,
            idempotency_key: None,
            ..request.clone()
        };
        let identity = self.runtime.ops.identify(kind, &again).await?;
        let state = settlement.lock();
        let row = &state.row;
        let is_alike = match &identity {
            Identity::Identified(named) => {
                own_key(kind, &named.claim_key) == row.claim
                    && conflict_keys(kind, named) == row.conflict_keys
                    && fingerprint_of(&named.fingerprint, row.tenant.as_deref()) == row.fingerprint
                    && named.payload_digest == row.digest
            }
            Identity::Refused(_) => false,
        };
        if !is_alike {
            tracing::error!(
                plugin = row.plugin,
                ?kind,
                claim = row.claim,
                ?identity,
                "payment_misnamed: nothing was sent: the plugin identified one payment in two ways; report this to its author"
            );
        }
        Ok(is_alike)
    }

    /// After a panic. A settlement that needs no transaction may be recorded and its success reported to no caller:
    /// then the next equal request gets it.
    pub(super) async fn recover_planning(&self, settlement: &Arc<Settlement>) {
        while let Err(error) = self.endings.recover_first_commit(settlement).await {
            tracing::error!(%error, settlement = settlement.id, "a settlement can't be read");
            tokio::time::sleep(AFTER_A_PANIC).await;
        }
        let row = settlement.lock().row.clone();
        settlement.give_up(|waiter| replies::late(&row, &waiter.network_as_sent));
    }

    pub(super) async fn plan_and_queue(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        let (Some(kind), Some(request)) = (&settlement.kind, &settlement.request) else {
            return settlement.give_up(|_| unavailable("no handler"));
        };
        if let Err(why) = kind.network.readiness() {
            tracing::debug!(
                network = kind.network.id(),
                "a settlement was not started: the network is not ready: {why}"
            );
            return settlement.give_up(|_| unavailable("this network is not ready; try again"));
        }
        if let Err(why) = kind.readiness() {
            tracing::debug!(
                ?kind,
                "a settlement was not started: the scheme is not ready: {why}"
            );
            return settlement.give_up(|_| unavailable(NOT_READY));
        }
        let planned = tokio::select! {
            biased;
            () = withdrawn(settlement) => return,
            planned = self.plan_what_is_named_alike(settlement, kind, request) => planned,
        };
        let Some(planned) = planned else { return };
        let mut plan = match planned {
            Ok(Planned::Plan(plan)) => plan,
            Ok(Planned::Refused(refusal)) => return refuse_now(settlement, &refusal),
            Ok(Planned::Done(_)) if self.runtime.is_paused(kind) => return settlement.give_up(|_| paused()),
            Ok(Planned::Done(done)) => {
                let is_allowed = rows::check(&done.writes, &done.jobs, kind);
                let of_payer = done.parties.check(&done.reply.payer).map_err(str::to_owned);
                if let Err(what) = is_allowed.and(of_payer) {
                    tracing::error!(kind = ?kind, "a settlement without a transaction was refused: {what}");
                    return unexpected(settlement, NOT_GRANTED);
                }
                return self.settle_without_transaction(settlement, done).await;
            }
            Err(fault) => return settlement.give_up(|waiter| stopped(&fault, &waiter.network_as_sent)),
        };
        let concerns_payer = payers::concerns_payer(&plan, &settlement.lock().row.conflict_keys);
        if let Some(wait) = self
            .outcomes
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
        // They are of no use afterwards, and a plan is recorded.
        plan.parties = Parties::default();
        take_over(settlement, &plan, kind);
        let place = self.place_of(settlement, &plan);
        let payer = concerns_payer.then(|| settlement.lock().row.payer.to_ascii_lowercase());
        let payer = payer.filter(|payer| !payer.is_empty());
        // Set once: planning runs once for each settlement.
        let _ = settlement.plan.set(Some(Arc::new(plan)));
        let lane = match place {
            Place::Here(choice) => self
                .runtime
                .run_of(settlement.network.id())
                .and_then(|run| run.choose(&choice, self.runtime.clock.now_ms())),
            Place::Elsewhere(lane) => return self.hand_over(settlement, &lane).await,
            Place::SeveralSigners => {
                tracing::error!(
                    ?kind,
                    "a plan was refused: it names several signers, and where several nodes share the journal \
                     all steps of a payment have one"
                );
                return unexpected(settlement, NOT_GRANTED);
            }
            Place::Nowhere => None,
        };
        let Some(lane) = lane else {
            return settlement.give_up(|_| unavailable("no signer of this network is ready"));
        };
        match lane.queue(Work {
            settlement: Arc::clone(settlement),
            step: StepIndex::FIRST,
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

/// Refuses a payment that the scheme calls invalid now. If it failed before and is no longer valid, it gets the same
/// failure.
pub(super) fn refuse_now(settlement: &Settlement, refusal: &Refusal) {
    match settlement.failed_before.get() {
        Some(row) => settlement
            .give_up(|waiter| SettleAnswer::Reply(replies::same_failure(row, &waiter.network_as_sent))),
        None => refuse(settlement, refusal),
    }
}

/// Puts into the settlement's row what its plan says.
fn take_over(settlement: &Settlement, plan: &Plan, kind: &Kind) {
    let mut state = settlement.lock();
    state.row.steps = plan.steps.iter().map(waiting).collect();
    state.row.expires_at_s = plan.steps.iter().filter_map(|step| step.expires_at_s).max();
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

pub(super) fn waiting(step: &sdk_plugin::scheme::Step) -> StepRow {
    StepRow {
        state: StepState::Waiting,
        pays: step.pays,
        is_final: false,
        ground: None,
    }
}
