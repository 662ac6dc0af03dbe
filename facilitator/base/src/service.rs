//! What the HTTP layer asks of the core: the one seam between the wire and the engine.
//!
//! Requests are already normalised and known to be for a kind that is served.

use std::fmt;
use std::time::Duration;

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

    /// Always decided: faults become `unexpected_verify_error`.
    async fn verify(&self, request: PaymentRequest) -> VerifyReply;

    /// Ends within the request's remaining time, give or take one commit. The future may be dropped when the caller
    /// hangs up: that withdraws a settlement only while nothing of it is journaled. `early`: after this time the caller
    /// prefers `settlement_pending` with the hash, as soon as there is one, to waiting for the chain.
    async fn settle(&self, request: PaymentRequest, early: Option<Duration>) -> Settled;

    /// From live configuration and readiness.
    async fn supported(&self) -> SupportedReply;

    /// Every configured network and whether it can settle now.
    fn readiness(&self) -> Vec<NetworkReadiness>;

    /// Networks on which a scheme of this name defines HTTP routes, CAIP-2, each once.
    fn routed(&self, scheme: &str) -> Vec<String>;

    /// A scheme's own HTTP route, on one of its [`Service::routed`] networks. What it settles is waited for as long as
    /// `wait`, give or take one commit; dropping the future is the caller's hang-up.
    async fn route(&self, scheme: &str, network: &str, request: RouteRequest, wait: Duration) -> Routed;
}

/// Answer of [`Service::membership`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    Served,
    /// The scheme is served, not on this network or in this version.
    OtherNetwork,
    /// Nobody serves the scheme.
    UnknownScheme,
}

/// How a settle ended for this caller.
#[derive(Debug, Clone, PartialEq)]
pub enum SettleAnswer {
    /// HTTP 200.
    Reply(SettleReply),
    /// HTTP 200 with exactly these bytes: the answer given before under the same `Idempotency-Key`.
    Replay(String),
    /// HTTP 503: nothing was begun.
    Unavailable { retry_after_s: u64, message: String },
}

/// An answer on its way to the caller.
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

/// What a scheme's route answers, on its way to the caller.
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

/// Travels with an answer until the connection has taken it. Wherever the answer gets lost on the way (the caller hangs
/// up, a task panics, a time limit ends), the receipt is dropped with it, and its maker hears that nobody was told.
#[must_use = "dropping a receipt means that the answer was lost"]
pub struct Receipt(Option<OnEnd>);

type OnEnd = Box<dyn FnOnce(Delivery) + Send>;

/// How an answer's way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The connection has the answer. Whether the caller reads it, nobody can know.
    Delivered,
    /// No byte of the answer was given to a connection.
    Lost,
    /// There is nothing to deliver: what the answer would have said did not happen.
    Cancelled,
}

impl Receipt {
    /// For an answer that may get lost.
    pub fn none() -> Self {
        Self(None)
    }

    /// `on_end` is called once; it must not block.
    pub fn new(on_end: impl FnOnce(Delivery) + Send + 'static) -> Self {
        Self(Some(Box::new(on_end)))
    }

    /// The connection has taken the answer.
    pub fn delivered(mut self) {
        self.end(Delivery::Delivered);
    }

    /// What the answer would have said did not happen, or was undone.
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
    /// For operators: what does not keep it from settling.
    pub warnings: Vec<String>,
    /// For operators: what needs a person, though payments may be begun.
    pub alarms: Vec<String>,
    /// What its schemes say of themselves. Of a network that is not ready, what they said when it was.
    pub schemes: Vec<SchemeReadiness>,
}

impl NetworkReadiness {
    /// Whether any payment can be begun on it.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.ready && (self.schemes.is_empty() || self.schemes.iter().any(|scheme| scheme.ready))
    }
}

/// One scheme's word about itself on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeReadiness {
    pub scheme: String,
    pub ready: bool,
    /// For operators.
    pub why_not: Option<String>,
    /// For operators: what does not keep it from serving.
    pub warnings: Vec<String>,
}
