//! The engine as the HTTP API sees it.

mod settlements;

use crate::engine::Engine;
use crate::runtime::calls::RouteAbout;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::nearby::nearby;
use base::service::{
    JournalReadiness, Membership, NetworkReadiness, ReservationEnd, Routed, SchemeReadiness, SchemeRoutes,
    Service, SettleAnswer, SettleWait, Settled,
};
use base::settlement::{FoundSettlement, LookUpError, SettlementName, SettlementPage, SettlementQuery};
use sdk_plugin::scheme::{RouteRequest, RouteResponse};
use sdk_plugin::wire::{SettleReply, SupportedReply, VerifyReply};
use sdk_plugin::{Fault, PaymentRequest, ProtocolVersion, Purpose};
use tokio::time::Instant;
use tracing::Instrument as _;

/// A lane that stays closed for longer than this after its start needs a person.
const CLOSED_FOR: Duration = Duration::from_secs(30);

/// [`Service`] of a running engine.
#[derive(Debug, Clone)]
pub struct EngineService(Arc<Engine>);

impl EngineService {
    #[must_use]
    pub fn new(engine: Arc<Engine>) -> Self {
        Self(engine)
    }
}

#[async_trait]
impl Service for EngineService {
    fn membership(&self, version: ProtocolVersion, scheme: &str, network: &str) -> Membership {
        self.0
            .runtime
            .registry
            .membership(version.number(), scheme, network)
    }

    async fn verify(&self, request: PaymentRequest, reserve: Option<Duration>) -> VerifyReply {
        let network = request.network.clone();
        let settling = Arc::clone(&self.0.settling);
        let verify = async move { settling.verify(request, reserve).await };
        let reply = nearby(verify.in_current_span()).await;
        if !reply.is_valid {
            tracing::debug!(network, payer = %reply.payer, reason = reply.invalid_reason,
                detail = reply.invalid_message, "answered: not valid");
        }
        reply
    }

    async fn settle(&self, request: PaymentRequest, wait: SettleWait) -> Settled {
        self.0.settling.settle_waiting(request, wait).await
    }

    async fn end_reservation(&self, claim: &str, tenant: &str) -> ReservationEnd {
        self.0.end_reservation(claim, tenant).await
    }

    async fn supported(&self) -> SupportedReply {
        self.0.supported().await
    }

    fn readiness(&self) -> Vec<NetworkReadiness> {
        self.0.readiness()
    }

    fn journal(&self) -> JournalReadiness {
        self.0.runtime.shared_journal.readiness()
    }

    fn routed(&self, scheme: &str) -> SchemeRoutes {
        self.0.routed(scheme)
    }

    async fn route(&self, scheme: &str, network: &str, request: RouteRequest, wait: Duration) -> Routed {
        self.0.route(scheme, network, request, wait).await
    }

    async fn find_settlements(
        &self,
        tenant: Option<&str>,
        name: &SettlementName,
    ) -> Result<Vec<FoundSettlement>, LookUpError> {
        settlements::find(self.0.runtime.journal.as_ref(), tenant, name).await
    }

    async fn list_settlements(&self, query: &SettlementQuery) -> Result<SettlementPage, LookUpError> {
        settlements::list(self.0.runtime.journal.as_ref(), query).await
    }
}

/// Whether a text of a plugin can be the name of a protocol extension.
fn is_name(text: &str) -> bool {
    const LONGEST: usize = 64;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_part)
}

impl Engine {
    /// From live configuration and readiness. Of what plugins say, only their own kinds, signers that the host has a key for, and
    /// names of extensions are published.
    pub async fn supported(&self) -> SupportedReply {
        let mut reply = SupportedReply::default();
        for kind in self.runtime.registry.kinds() {
            if kind.readiness().is_err() || self.runtime.is_paused(kind) {
                continue;
            }
            let Ok(supported) = self.runtime.ops.supported(kind).await else {
                continue;
            };
            let own = |listed: &sdk_plugin::wire::Kind| {
                listed.x402_version == kind.version
                    && listed.scheme == kind.scheme
                    && listed.network == kind.network.id()
            };
            reply.kinds.extend(supported.kinds.into_iter().filter(own));
            for extension in supported.extensions.into_iter().filter(|name| is_name(name)) {
                if !reply.extensions.contains(&extension) {
                    reply.extensions.push(extension);
                }
            }
            let family = kind.network.id().split(':').next().unwrap_or_default();
            let signers: &mut Vec<String> = reply.signers.entry(format!("{family}:*")).or_default();
            // What a plugin says of others' keys is not for callers to trust.
            let known = kind.network.active_signers();
            for signer in supported
                .signers
                .into_iter()
                .filter(|signer| known.contains(signer))
            {
                if !signers.contains(&signer) {
                    signers.push(signer);
                }
            }
        }
        reply
    }

    /// Every configured network and whether it can settle now.
    #[must_use]
    pub fn readiness(&self) -> Vec<NetworkReadiness> {
        self.runtime
            .registry
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

    fn routed(&self, scheme: &str) -> SchemeRoutes {
        let mut routed = SchemeRoutes::default();
        for kind in self.runtime.registry.kinds().filter(|kind| kind.scheme == scheme) {
            if let Some(routes) = &kind.routes {
                routed.add(kind.network.id(), routes);
            }
        }
        routed
    }

    /// Serves a scheme's own HTTP route. It waits for the settlement of the route as long as `wait`.
    pub async fn route(
        self: &Arc<Self>,
        scheme: &str,
        network: &str,
        request: RouteRequest,
        wait: Duration,
    ) -> Routed {
        let deadline = Instant::now() + wait;
        let about = if network.is_empty() {
            RouteAbout::NoNetwork
        } else {
            RouteAbout::ItsNetwork
        };
        let found = self.runtime.registry.kinds().find_map(|kind| {
            let routes = kind.routes.as_ref().filter(|_| kind.scheme == scheme)?;
            let is_this = match about {
                RouteAbout::ItsNetwork => kind.network.id() == network,
                RouteAbout::NoNetwork => routes.is_without_network(&request.path),
            };
            is_this.then_some((kind, routes))
        });
        let Some((kind, routes)) = found else {
            return Err(Fault::unsupported("no such route")).into();
        };
        let mut request = request;
        request.headers.retain(|(name, _)| routes.headers.contains(name));
        let mut settle = match self.runtime.ops.route(kind, about, &request).await {
            Ok(RouteResponse::Settle { request }) => *request,
            other => return other.into(),
        };
        settle.purpose = Purpose::Route;
        let is_served = || {
            let mut kinds = self.runtime.registry.kinds();
            kinds.any(|served| {
                served.scheme == kind.scheme
                    && served.network.id() == settle.network
                    && served.instance.id == kind.instance.id
            })
        };
        let is_own = match about {
            RouteAbout::ItsNetwork => settle.network == kind.network.id(),
            RouteAbout::NoNetwork => is_served(),
        };
        if settle.scheme != kind.scheme || !is_own {
            return Err(Fault::denied("a route requested a settlement of another kind")).into();
        }
        settle.tenant.clone_from(&request.tenant);
        settle.idempotency_key.clone_from(&request.idempotency_key);
        let remaining = deadline.saturating_duration_since(Instant::now());
        settle.remaining_ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        let Settled { answer, receipt } = self.settling.settle_with_receipt(settle).await;
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
        match self.runtime.ops.route(kind, about, &again).await {
            Ok(response @ RouteResponse::Reply { .. }) => Routed {
                response: Ok(response),
                receipt,
            },
            // The caller does not get the outcome. The dropped receipt gives a release back.
            other => other.into(),
        }
    }

    /// A network's schemes, each once, with the result of their last self-check.
    fn schemes_of(&self, network: &str) -> Vec<SchemeReadiness> {
        let mut schemes: Vec<SchemeReadiness> = Vec::new();
        for kind in self
            .runtime
            .registry
            .kinds()
            .filter(|kind| kind.network.id() == network)
        {
            if schemes.iter().any(|known| known.scheme == kind.scheme) {
                continue;
            }
            let (check_result, scheme) = (kind.check_result(), kind.scheme.clone());
            let ready = check_result
                .as_ref()
                .is_some_and(|check_result| check_result.ready);
            let why_not = match (&check_result, ready) {
                (_, true) => None,
                (None, false) => Some("not checked yet".to_owned()),
                (Some(check_result), false) => check_result.why_not.clone(),
            };
            schemes.push(SchemeReadiness {
                scheme,
                ready,
                why_not,
                warnings: check_result
                    .map(|check_result| check_result.warnings)
                    .unwrap_or_default(),
            });
        }
        schemes
    }

    /// For operators: what needs a person on a network, even if the network is ready.
    pub(crate) fn alarms_on(&self, network: &str) -> Vec<String> {
        let overdue = self
            .runtime
            .run_of(network)
            .and_then(|run| run.health.overdue.lock().clone());
        let panics = self.runtime.panics.lock();
        let concern = panics
            .iter()
            .filter(|((on, _), _)| on == network || on.is_empty());
        let panics = concern
            .map(|((_, work), times)| {
                format!("{work} panicked {times} times since the start and was restarted: report the defect with the log")
            });
        let failing = self.outcomes.griefing.alarm(network);
        let closed = self.closed_lanes_on(network);
        let plugins = self.runtime.ops.plugin_troubles(&self.runtime.registry, network);
        let run = self.runtime.run_of(network);
        let signers = run.map_or_else(Vec::new, |run| self.runtime.ops.signer_troubles(&run.network));
        let others = closed
            .into_iter()
            .chain(failing)
            .chain(panics)
            .chain(plugins)
            .chain(signers);
        overdue.into_iter().chain(others).collect()
    }

    fn closed_lanes_on(&self, network: &str) -> Option<String> {
        let closed = self.runtime.run_of(network)?.long_closed(CLOSED_FOR);
        (!closed.is_empty()).then(|| {
            format!(
                "{} {} nothing yet: no RPC node shows a transaction count that can be compared with the journal's; the log says \
                 what is missing",
                closed.join(", "),
                if closed.len() == 1 { "sends" } else { "send" },
            )
        })
    }
}
