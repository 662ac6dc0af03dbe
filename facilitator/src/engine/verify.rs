//! Everything that changes nothing: verify, supported, readiness, routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sdk_plugin::scheme::{Planned, Refusal, RouteRequest, RouteResponse, Valid, Verdict};
use sdk_plugin::wire::{SettleReply, SupportedReply, VerifyReply, reason};
use sdk_plugin::{Fault, PaymentRequest, ProtocolVersion, Purpose};
use tokio::time::Instant;

use super::decide::{Decision, decide};
use super::settle::{self, Asked, NotAsked};
use super::{Engine, griefing, paused, public_message, settlement};
use crate::service::{Membership, NetworkReadiness, Routed, SchemeReadiness, Service, SettleAnswer, Settled};

#[async_trait]
impl Service for Arc<Engine> {
    fn membership(&self, version: ProtocolVersion, scheme: &str, network: &str) -> Membership {
        self.registry.membership(version.number(), scheme, network)
    }

    async fn verify(&self, request: PaymentRequest) -> VerifyReply {
        let network = request.network.clone();
        let reply = Engine::verify(self, request).await;
        if !reply.is_valid {
            tracing::debug!(network, payer = %reply.payer, reason = reply.invalid_reason,
                detail = reply.invalid_message, "told: not valid");
        }
        reply
    }

    async fn settle(&self, request: PaymentRequest, early: Option<Duration>) -> Settled {
        self.settle_early(request, early).await
    }

    async fn supported(&self) -> SupportedReply {
        let mut reply = SupportedReply::default();
        for kind in self.registry.kinds() {
            if kind.readiness().is_err() || self.is_paused(kind) {
                continue;
            }
            let Ok(supported) = self.ops.supported(kind).await else {
                continue;
            };
            let own = |listed: &sdk_plugin::wire::Kind| {
                listed.x402_version == kind.version
                    && listed.scheme == kind.scheme
                    && listed.network == kind.network.id()
            };
            reply.kinds.extend(supported.kinds.into_iter().filter(own));
            for extension in supported.extensions {
                if !reply.extensions.contains(&extension) {
                    reply.extensions.push(extension);
                }
            }
            let family = kind.network.id().split(':').next().unwrap_or_default();
            let signers: &mut Vec<String> = reply.signers.entry(format!("{family}:*")).or_default();
            for signer in supported.signers {
                if !signers.contains(&signer) {
                    signers.push(signer);
                }
            }
        }
        reply
    }

    fn readiness(&self) -> Vec<NetworkReadiness> {
        self.registry
            .networks()
            .map(|network| {
                let state = network.readiness();
                NetworkReadiness {
                    network: network.id().to_owned(),
                    ready: state.is_ok(),
                    why_not: state.err(),
                    warnings: network.warnings(),
                    alarms: self.alarms_on(network.id()),
                    schemes: self.schemes_of(network.id()),
                }
            })
            .collect()
    }

    fn routed(&self, scheme: &str) -> Vec<String> {
        let mut networks: Vec<String> = Vec::new();
        for kind in self
            .registry
            .kinds()
            .filter(|kind| kind.scheme == scheme && kind.routes)
        {
            if !networks.iter().any(|id| id == kind.network.id()) {
                networks.push(kind.network.id().to_owned());
            }
        }
        networks
    }

    async fn route(&self, scheme: &str, network: &str, request: RouteRequest, wait: Duration) -> Routed {
        let deadline = Instant::now() + wait;
        let kind = self
            .registry
            .kinds()
            .find(|kind| kind.scheme == scheme && kind.network.id() == network && kind.routes);
        let Some(kind) = kind else {
            return Err(Fault::unsupported("no such route")).into();
        };
        let mut settle = match self.ops.route(kind, &request).await {
            Ok(RouteResponse::Settle { request }) => *request,
            other => return other.into(),
        };
        settle.purpose = Purpose::Route;
        if settle.scheme != kind.scheme || settle.network != kind.network.id() {
            return Err(Fault::denied("a route asked for a settlement of another kind")).into();
        }
        settle.tenant.clone_from(&request.tenant);
        settle.idempotency_key.clone_from(&request.idempotency_key);
        let remaining = deadline.saturating_duration_since(Instant::now());
        settle.remaining_ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        let Settled { answer, receipt } = self.settle_with_receipt(settle).await;
        let outcome: SettleReply = match answer {
            SettleAnswer::Reply(reply) => reply,
            SettleAnswer::Replay(body) => match serde_json::from_str(&body) {
                Ok(reply) => reply,
                Err(_) => return Err(Fault::internal("a recorded reply can't be read")).into(),
            },
            SettleAnswer::Unavailable {
                message,
                retry_after_s,
            } => {
                return Err(Fault {
                    retry_after_ms: Some(retry_after_s.saturating_mul(1_000)),
                    ..Fault::unavailable(message)
                })
                .into();
            }
        };
        let again = RouteRequest {
            outcome: Some(outcome),
            ..request
        };
        match self.ops.route(kind, &again).await {
            Ok(response @ RouteResponse::Reply { .. }) => Routed {
                response: Ok(response),
                receipt,
            },
            // The caller does not hear of the outcome: dropped, the receipt gives a release back.
            other => other.into(),
        }
    }
}

impl Engine {
    /// A network's schemes, each once, and what each said of itself.
    fn schemes_of(&self, network: &str) -> Vec<SchemeReadiness> {
        let mut schemes: Vec<SchemeReadiness> = Vec::new();
        for kind in self.registry.kinds().filter(|kind| kind.network.id() == network) {
            if schemes.iter().any(|known| known.scheme == kind.scheme) {
                continue;
            }
            let (word, scheme) = (kind.word(), kind.scheme.clone());
            let ready = word.as_ref().is_some_and(|word| word.ready);
            let why_not = match (&word, ready) {
                (_, true) => None,
                (None, false) => Some("not checked yet".to_owned()),
                (Some(word), false) => word.why_not.clone(),
            };
            schemes.push(SchemeReadiness {
                scheme,
                ready,
                why_not,
                warnings: word.map(|word| word.warnings).unwrap_or_default(),
            });
        }
        schemes
    }

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
