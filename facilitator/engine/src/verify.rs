//! `/verify`: whether a payment is good right now. Nothing changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use sdk_plugin::PaymentRequest;
use sdk_plugin::scheme::{Planned, Refusal, Valid, Verdict};
use sdk_plugin::wire::{VerifyReply, reason};

use super::decide::{Decision, decide};
use super::settle::{self, Asked, NotAsked};
use super::{Engine, griefing, paused, public_message, settlement};

impl Engine {
    /// Whether the payment is good right now; an open or unreleased claim with the same payload and terms is.
    pub async fn verify(self: &Arc<Self>, request: PaymentRequest) -> VerifyReply {
        let asked = match self.ask(request.clone()).await {
            Ok(asked) => asked,
            Err(NotAsked::Refused(refusal)) => {
                return invalid(&refusal.reason, refusal.message.as_deref(), &refusal.payer);
            }
            Err(NotAsked::Stopped(fault)) => {
                return invalid(reason::UNEXPECTED_VERIFY_ERROR, Some(public_message(&fault)), "");
            }
        };
        match self.claim_row(&asked.claim).await {
            Ok(Some(row)) => match decide(&row, &asked.asker) {
                Decision::Wait | Decision::TakeRelease => {
                    return good(Valid {
                        payer: row.payer,
                        extra: None,
                    });
                }
                // What the chain may not show: a settlement without a transaction, or one that is in flight.
                Decision::Replay(_) | Decision::Duplicate { .. } | Decision::ReplayReason => {
                    return invalid(&row.replay_reason, None, &asked.payer);
                }
                Decision::SameFailure => {
                    let reply = settlement::same_failure(&row, &request.network_as_sent);
                    let reason = reply.error_reason.as_deref().unwrap_or(&row.replay_reason);
                    return invalid(reason, reply.error_message.as_deref(), &asked.payer);
                }
                Decision::Reopen => {}
            },
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a claim can't be looked up"),
        }
        if self.is_paused(&asked.kind) {
            return invalid(
                reason::UNEXPECTED_VERIFY_ERROR,
                Some(paused::MESSAGE),
                &asked.payer,
            );
        }
        if asked.kind.network.readiness().is_err() {
            let message = Some("this network is not ready; try again");
            return invalid(reason::UNEXPECTED_VERIFY_ERROR, message, &asked.payer);
        }
        if asked.kind.readiness().is_err() {
            return invalid(
                reason::UNEXPECTED_VERIFY_ERROR,
                Some(settle::NOT_READY),
                &asked.payer,
            );
        }
        if let Some(used_up) = self.used_up(&asked) {
            return invalid(reason::UNEXPECTED_VERIFY_ERROR, Some(used_up), &asked.payer);
        }
        match self.ops.verify(&asked.kind, &request).await {
            Ok(Verdict::Valid(valid)) => match self.must_wait(&asked, &request, &valid.payer).await {
                Some(refusal) => invalid(&refusal.reason, refusal.message.as_deref(), &valid.payer),
                None => good(valid),
            },
            Ok(Verdict::Invalid(refusal)) => {
                let payer = if refusal.payer.is_empty() {
                    &asked.payer
                } else {
                    &refusal.payer
                };
                invalid(&refusal.reason, refusal.message.as_deref(), payer)
            }
            Err(fault) => invalid(
                reason::UNEXPECTED_VERIFY_ERROR,
                Some(public_message(&fault)),
                &asked.payer,
            ),
        }
    }

    /// What a payer hears whose payments fail on chain. Only the plan tells payments from operations on earlier ones, which
    /// are held back for nobody.
    async fn must_wait(&self, asked: &Asked, request: &PaymentRequest, payer: &str) -> Option<Refusal> {
        let wait = self.griefing.must_wait(asked.kind.network.id(), payer)?;
        let keys = asked
            .identified
            .as_ref()
            .map(|identified| identified.conflict_keys.as_slice());
        let concerns_payer = match keys {
            None | Some([]) => true,
            Some(keys) => match self.ops.plan(&asked.kind, request).await {
                Ok(Planned::Plan(plan)) => griefing::concerns_payer(&plan, keys),
                // Settle says what is wrong with it.
                Ok(Planned::Refused(_) | Planned::Done(_)) | Err(_) => false,
            },
        };
        concerns_payer.then(|| wait.refusal())
    }

    /// Why a new settlement would be refused today whatever is paid with it.
    fn used_up(&self, asked: &Asked) -> Option<&'static str> {
        let network = &asked.kind.network;
        let run = self.run_of(network.id())?;
        let tenant = asked.asker.tenant.as_deref();
        run.budget
            .used_up(self.clock.now_ms(), tenant, || network.active_signers())
            .map(|account| account.used_up())
    }

    /// Open settlements by network, for metrics.
    pub fn measure(&self) {
        let mut open: BTreeMap<&str, f64> = BTreeMap::new();
        for (id, run) in &self.networks {
            let slots = u32::try_from(run.slots().len()).unwrap_or(u32::MAX);
            open.insert(id, f64::from(slots));
        }
        for (network, slots) in open {
            self.metrics
                .set("switchyard_open_slots", &[("network", network)], slots);
        }
    }
}

fn good(valid: Valid) -> VerifyReply {
    VerifyReply {
        is_valid: true,
        invalid_reason: None,
        invalid_message: None,
        payer: valid.payer,
        extra: valid.extra,
        extensions: None,
    }
}

fn invalid(reason: &str, message: Option<&str>, payer: &str) -> VerifyReply {
    VerifyReply {
        is_valid: false,
        invalid_reason: Some(reason.to_owned()),
        invalid_message: message.map(str::to_owned),
        payer: payer.to_owned(),
        extra: None,
        extensions: None,
    }
}
