//! `/verify`: whether a payment is good right now. Nothing changes.

use crate::decide::claim::{Decision, decide};
use crate::decide::faults::public_message;
use crate::decide::replies::PAUSED;
use crate::decide::{payers, replies};
use crate::settle::{CallRejected, NOT_READY, PaymentCall, Settling};
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::PaymentRequest;
use sdk_plugin::scheme::{Planned, Refusal, Valid, Verdict};
use sdk_plugin::wire::{VerifyReply, reason};

impl Settling {
    /// Whether the payment is valid now. An open or unreleased claim with the same payload and terms counts as valid.
    ///
    /// `reserve`: a valid payment is promised to the caller for at most this time, and refused if it is promised to
    /// another one.
    pub async fn verify(self: &Arc<Self>, request: PaymentRequest, reserve: Option<Duration>) -> VerifyReply {
        let request = PaymentRequest {
            wants_reserves: reserve.is_some(),
            ..request
        };
        let call = match self.identify(request).await {
            Ok(call) => call,
            Err(CallRejected::Refused(refusal)) => {
                return invalid(&refusal.reason, refusal.message.as_deref(), &refusal.payer);
            }
            Err(CallRejected::Stopped(fault)) => {
                return invalid(reason::UNEXPECTED_VERIFY_ERROR, Some(public_message(&fault)), "");
            }
        };
        let request = &call.request;
        let known = match self.runtime.claim_row(&call.claim).await {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(%error, "a claim can't be read");
                None
            }
        };
        if let Some(row) = &known {
            match decide(row, &call.identity) {
                Decision::Wait | Decision::TakeRelease => {
                    return good(Valid {
                        payer: row.payer.clone(),
                        ..Valid::default()
                    });
                }
                // What the chain may not show: a settlement without a transaction, or one that is in flight.
                Decision::Replay(_) | Decision::Duplicate { .. } | Decision::ReplayReason => {
                    return invalid(&row.replay_reason, None, &call.payer);
                }
                Decision::SameFailure => {
                    let reply = replies::same_failure(row, &request.network_as_sent);
                    let reason = reply.error_reason.as_deref().unwrap_or(&row.replay_reason);
                    return invalid(reason, reply.error_message.as_deref(), &call.payer);
                }
                Decision::Reopen => {}
            }
        }
        if self.runtime.is_paused(&call.kind) {
            return invalid(reason::UNEXPECTED_VERIFY_ERROR, Some(PAUSED), &call.payer);
        }
        if call.kind.network.readiness().is_err() {
            let message = Some("this network is not ready; try again");
            return invalid(reason::UNEXPECTED_VERIFY_ERROR, message, &call.payer);
        }
        if call.kind.readiness().is_err() {
            return invalid(reason::UNEXPECTED_VERIFY_ERROR, Some(NOT_READY), &call.payer);
        }
        if let Some(used_up) = self.used_up(&call) {
            return invalid(reason::UNEXPECTED_VERIFY_ERROR, Some(used_up), &call.payer);
        }
        match self.runtime.ops.verify(&call.kind, request).await {
            Ok(Verdict::Valid(valid)) if valid.parties.check(&valid.payer).is_err() => {
                tracing::error!(kind = ?call.kind, "a verdict names impossible parties: report this to the plugin's author");
                invalid(reason::UNEXPECTED_VERIFY_ERROR, None, &call.payer)
            }
            Ok(Verdict::Valid(valid)) => match self.must_wait(&call, request, &valid.payer).await {
                Some(refusal) => invalid(&refusal.reason, refusal.message.as_deref(), &valid.payer),
                None => self.promise(&call, valid, known.as_ref(), reserve).await,
            },
            Ok(Verdict::Invalid(refusal)) => {
                let payer = if refusal.payer.is_empty() {
                    &call.payer
                } else {
                    &refusal.payer
                };
                VerifyReply {
                    extensions: refusal.extensions(),
                    ..invalid(&refusal.reason, refusal.message.as_deref(), payer)
                }
            }
            Err(fault) => invalid(
                reason::UNEXPECTED_VERIFY_ERROR,
                Some(public_message(&fault)),
                &call.payer,
            ),
        }
    }

    /// The refusal for a payer whose payments fail on chain. Only the plan tells payments from operations on earlier
    /// ones, and those operations are never held back.
    async fn must_wait(&self, call: &PaymentCall, request: &PaymentRequest, payer: &str) -> Option<Refusal> {
        let wait = self.outcomes.griefing.must_wait(call.kind.network.id(), payer)?;
        let keys = call
            .identified
            .as_ref()
            .map(|identified| identified.conflict_keys.as_slice());
        let concerns_payer = match keys {
            None | Some([]) => true,
            Some(keys) => match self.runtime.ops.plan(&call.kind, request).await {
                Ok(Planned::Plan(plan)) => payers::concerns_payer(&plan, keys),
                // Settle reports what is wrong with it.
                Ok(Planned::Refused(_) | Planned::Done(_)) | Err(_) => false,
            },
        };
        concerns_payer.then(|| wait.refusal())
    }

    /// Why a new settlement would be refused today, whatever its payment.
    fn used_up(&self, call: &PaymentCall) -> Option<&'static str> {
        let network = &call.kind.network;
        let run = self.runtime.run_of(network.id())?;
        let tenant = call.identity.tenant.as_deref();
        run.budget
            .used_up(self.runtime.clock.now_ms(), tenant, || network.active_signers())
            .map(|account| account.used_up())
    }
}

pub(super) fn good(valid: Valid) -> VerifyReply {
    VerifyReply {
        is_valid: true,
        invalid_reason: None,
        invalid_message: None,
        payer: valid.payer,
        extra: valid.extra,
        extensions: valid.extensions,
    }
}

pub(super) fn invalid(reason: &str, message: Option<&str>, payer: &str) -> VerifyReply {
    VerifyReply {
        is_valid: false,
        invalid_reason: Some(reason.to_owned()),
        invalid_message: message.map(str::to_owned),
        payer: payer.to_owned(),
        extra: None,
        extensions: None,
    }
}
