//! The interface between the HTTP layer and the engine.
//!
//! Assumes that requests are normalised, and that their kind is served.

use std::fmt;
use std::time::Duration;

use crate::settlement::{FoundSettlement, LookUpError, SettlementName, SettlementPage, SettlementQuery};
use async_trait::async_trait;
use sdk_plugin::PaymentRequest;
use sdk_plugin::scheme::{RouteRequest, RouteResponse};
use sdk_plugin::wire::{SettleReply, SupportedReply, VerifyReply};
use sdk_plugin::{Fault, ProtocolVersion};

/// Verification and settlement of normalised requests.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Whether exactly this kind is served; `network` is CAIP-2.
    fn membership(&self, version: ProtocolVersion, scheme: &str, network: &str) -> Membership;

    /// The decision about a payment. Faults become `unexpected_verify_error`. `reserve`: a valid payment is promised to the
    /// request's tenant for at most this time, and refused if it is promised to another one.
    async fn verify(&self, request: PaymentRequest, reserve: Option<Duration>) -> VerifyReply;

    /// Ends a reservation that this tenant holds.
    async fn end_reservation(&self, claim: &str, tenant: &str) -> ReservationEnd;

    /// Settles a payment. Ends within the request's remaining time, plus at most one commit. The future may be dropped when
    /// the caller disconnects: that withdraws a settlement only while nothing of it is journaled.
    async fn settle(&self, request: PaymentRequest, wait: SettleWait) -> Settled;

    /// The kinds that are served now, from configuration and readiness.
    async fn supported(&self) -> SupportedReply;

    /// Every configured network and whether it can settle now.
    fn readiness(&self) -> Vec<NetworkReadiness>;

    /// Whether the journal can be used now, and what needs a person in it.
    fn journal(&self) -> JournalReadiness;

    /// The HTTP routes of schemes of this name. Without any network there are none.
    fn routed(&self, scheme: &str) -> SchemeRoutes;

    /// Calls a scheme's own HTTP route, on one of its [`Service::routed`] networks; `network` is empty for a route without
    /// one. A settlement that it starts is awaited for at most `wait`, plus one commit. The future is dropped when the
    /// caller disconnects. Headers that the scheme's manifest does not list are dropped.
    async fn route(&self, scheme: &str, network: &str, request: RouteRequest, wait: Duration) -> Routed;

    /// The settlements of this tenant that the name finds, the oldest first; those of other tenants are not among them.
    /// `tenant`: `None` for a facilitator without tenants. Reads the journal only, and the same reads are made whether or
    /// not the settlement exists.
    async fn find_settlements(
        &self,
        tenant: Option<&str>,
        name: &SettlementName,
    ) -> Result<Vec<FoundSettlement>, LookUpError>;

    /// One page of a tenant's settlements. Reads the journal only.
    async fn list_settlements(&self, query: &SettlementQuery) -> Result<SettlementPage, LookUpError>;
}

/// The HTTP routes of the schemes of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemeRoutes {
    /// CAIP-2, each once.
    pub networks: Vec<String>,
    /// What any of their manifests says.
    pub terms: RouteTerms,
}

impl SchemeRoutes {
    /// Adds the routes of one scheme on one network.
    pub fn add(&mut self, network: &str, routes: &RouteTerms) {
        let add = |list: &mut Vec<String>, text: &str| {
            if !list.iter().any(|known| known == text) {
                list.push(text.to_owned());
            }
        };
        add(&mut self.networks, network);
        for path in &routes.without_network {
            add(&mut self.terms.without_network, path);
        }
        for header in &routes.headers {
            add(&mut self.terms.headers, header);
        }
    }
}

/// What the manifest says of one scheme's routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTerms {
    /// Paths that are about no network, as in [`routes_without_network`](sdk_plugin::manifest::SchemeRole::routes_without_network).
    pub without_network: Vec<String>,
    /// Names of headers, in lower case.
    pub headers: Vec<String>,
}

impl RouteTerms {
    /// Whether the route at this path is about no network.
    #[must_use]
    pub fn is_without_network(&self, path: &str) -> bool {
        let mut listed = self.without_network.iter();
        listed.any(|listed| match listed.strip_suffix('*') {
            Some(above) => path.starts_with(above),
            None => path == listed,
        })
    }
}

/// What became of a wish to end a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservationEnd {
    /// The tenant held it, and it has ended.
    Ended,
    /// The tenant holds none of this name.
    NotHeld,
    /// The journal can't be reached now.
    Unavailable,
}

/// What the caller of a settle waits for, within the request's remaining time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SettleWait {
    /// After this time the caller prefers `settlement_pending` with the hash, as soon as there is one, to waiting for the
    /// chain.
    pub early: Option<Duration>,
    /// The caller gets `success` only once no reorganisation can take the payment away, and `settlement_pending` before.
    pub until_final: bool,
    /// How long the payment may wait for others to share its transaction. Less where the request's time is short.
    pub gather: Duration,
}

/// Answer of [`Service::membership`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    Served,
    /// The scheme is served, not on this network or in this version.
    OtherNetwork,
    /// No plugin serves the scheme.
    UnknownScheme,
}

/// How a settle ended for this caller.
#[derive(Debug, Clone, PartialEq)]
pub enum SettleAnswer {
    /// HTTP 200.
    Reply(SettleReply),
    /// HTTP 200 with exactly these bytes: the earlier answer for the same `Idempotency-Key`.
    Replay(String),
    /// HTTP 503: no settlement was started.
    Unavailable { retry_after_s: u64, message: String },
}

/// An answer that is being delivered to the caller.
#[derive(Debug)]
pub struct Settled {
    pub answer: SettleAnswer,
    pub receipt: Receipt,
}

impl From<SettleAnswer> for Settled {
    fn from(answer: SettleAnswer) -> Self {
        let receipt = Receipt::none();
        Self { answer, receipt }
    }
}

/// The answer of a scheme's route, which is being delivered to the caller.
#[derive(Debug)]
pub struct Routed {
    pub response: Result<RouteResponse, Fault>,
    pub receipt: Receipt,
}

impl From<Result<RouteResponse, Fault>> for Routed {
    fn from(response: Result<RouteResponse, Fault>) -> Self {
        let receipt = Receipt::none();
        Self { response, receipt }
    }
}

/// Accompanies an answer until the connection has it. Where the answer is lost (the caller disconnects, a task panics, a
/// time limit ends), the receipt is dropped with it, and its creator learns that the caller has no answer.
#[must_use = "dropping a receipt means that the answer was lost"]
pub struct Receipt(Option<OnEnd>);

type OnEnd = Box<dyn FnOnce(Delivery) + Send>;

/// How the delivery of an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The connection has the answer. Whether the caller reads it can't be known.
    Delivered,
    /// The connection received no byte of the answer.
    Lost,
    /// The answer was withdrawn: what it reports did not happen.
    Cancelled,
}

impl Receipt {
    /// For an answer whose loss does not matter.
    pub fn none() -> Self {
        Self(None)
    }

    /// `on_end` is called once; it must not block.
    pub fn new(on_end: impl FnOnce(Delivery) + Send + 'static) -> Self {
        Self(Some(Box::new(on_end)))
    }

    /// Reports that the connection has the answer.
    pub fn delivered(mut self) {
        self.end(Delivery::Delivered);
    }

    /// Withdraws the answer: what it reports did not happen, or was undone.
    pub fn cancel(mut self) {
        self.end(Delivery::Cancelled);
    }

    fn end(&mut self, delivery: Delivery) {
        if let Some(on_end) = self.0.take() {
            on_end(delivery);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.end(Delivery::Lost);
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.0.is_some() { "open" } else { "none" };
        f.debug_tuple("Receipt").field(&state).finish()
    }
}

/// One network's state for `/ready`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkReadiness {
    /// CAIP-2.
    pub network: String,
    pub ready: bool,
    /// For operators; without URLs.
    pub why_not: Option<String>,
    /// For operators: problems that do not prevent settling.
    pub warnings: Vec<String>,
    /// For operators: problems that need a person, although payments are accepted.
    pub alarms: Vec<String>,
    /// The checks of its schemes. For a network that is not ready, their last results.
    pub schemes: Vec<SchemeReadiness>,
}

impl NetworkReadiness {
    /// Whether any payment can be started on it.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.ready && (self.schemes.is_empty() || self.schemes.iter().any(|scheme| scheme.ready))
    }
}

/// The journal's state for `/ready`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalReadiness {
    /// For operators: why nothing can be recorded now.
    pub why_not: Option<String>,
    /// For operators: problems that need a person, although payments are accepted.
    pub alarms: Vec<String>,
}

/// The result of one scheme's check on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeReadiness {
    pub scheme: String,
    pub ready: bool,
    /// For operators.
    pub why_not: Option<String>,
    /// For operators: problems that do not prevent serving.
    pub warnings: Vec<String>,
}
