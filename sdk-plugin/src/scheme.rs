//! The scheme's side: what must happen for a payment, and what proves that it did.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::chain::Evidence;
use crate::host::{Job, StoreWrite};
pub use crate::parties::Parties;
pub use crate::plan::{
    Call, EvidenceWanted, Gate, Guard, Hold, LaneChoice, LogFilter, OnFail, Plan, ReadAt, ReadWanted,
    Reserve, Step,
};
use crate::wire::Kind;
use crate::{Amount, Cx, Fault, PaymentRequest};

/// One way of paying, on every network of one family.
///
/// Five functions give exactly-once settlement, crash recovery, fee bumping, failover and limits for free. None of
/// them signs or sends. Calls may be repeated, cancelled between awaits, and made by several nodes at once.
#[async_trait]
pub trait SchemeHandler: Send + Sync + 'static {
    /// Kinds served now on `cx.network()`, with their `extra`, signer addresses and extensions. Cheap.
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault>;

    /// What makes this authorization unique: a pure function of the request, without I/O, clock or changeable
    /// setting. Refuses only where no claim key can be formed; every other check is [`Self::verify`]'s and
    /// [`Self::plan`]'s, in the specified order.
    async fn identify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault>;

    /// Read-only: whether the payment is valid now. A refusal is a verdict with a reason, never a fault.
    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault>;

    /// Read-only, with all slow reads: verifies again, simulates, and returns what must be done.
    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault>;

    /// No I/O: what the evidence means for the plan's step `evidence.step`.
    async fn judge(&self, cx: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault>;

    /// HTTP under `/{scheme}/…` that the scheme itself defines, about `cx.network()`, which the host takes from the
    /// request; called again with the outcome after a settle. With tenants configured only they get here. The id of
    /// `cx.network()` is empty in a route that the manifest lists as one without a network.
    async fn route(&self, _cx: &Cx, request: &RouteRequest) -> Result<RouteResponse, Fault> {
        Err(Fault::unsupported(format!(
            "no route {} {}",
            request.method, request.path
        )))
    }

    /// Whether the scheme can serve `cx.network()` now: its contracts exist and are the right ones, and nodes offer the
    /// methods that it needs. Called at start, repeatedly while the process runs, and by an operator's check. A scheme that
    /// is not ready is not advertised and starts no settlement; open settlements continue, and other schemes are not
    /// affected.
    async fn check(&self, _cx: &Cx) -> Result<SchemeCheck, Fault> {
        Ok(SchemeCheck::ready())
    }

    /// A job that the scheme scheduled: requests that are settled like any `/settle`. The host sets their purpose and remaining
    /// time. A job runs again later when its handler has a fault, or when one of its requests could not be started.
    async fn job(&self, _cx: &Cx, job: &Job) -> Result<Vec<PaymentRequest>, Fault> {
        Err(Fault::unsupported(format!("no job {:?}", job.kind)))
    }
}

/// What a scheme serves on one network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Supported {
    /// `network` is CAIP-2 here, also for version 1: the host writes the plain name.
    pub kinds: Vec<Kind>,
    /// Protocol extensions that the scheme handles.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Addresses that may sign for this facilitator.
    #[serde(default)]
    pub signers: Vec<String>,
}

/// Answer of [`SchemeHandler::check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SchemeCheck {
    /// Whether the scheme can serve the network.
    pub ready: bool,
    /// One sentence for the operator when it is not: what is wrong and what to write or do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Sentences about what does not keep it from serving.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl SchemeCheck {
    /// A check without findings.
    #[must_use]
    pub fn ready() -> Self {
        Self {
            ready: true,
            why_not: None,
            warnings: Vec::new(),
        }
    }

    /// A check that stops the scheme on this network.
    pub fn not_ready(why_not: impl Into<String>) -> Self {
        Self {
            ready: false,
            why_not: Some(why_not.into()),
            warnings: Vec::new(),
        }
    }
}

/// A refused payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// A reason string of the scheme's specification.
    pub reason: String,
    /// For humans; the host cuts it to 500 characters and removes addresses of services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Empty when unknown.
    #[serde(default)]
    pub payer: String,
    /// The request is well formed but does not fit what the chain shows now: an operation with the same
    /// conflict key that is in flight may make it fit. Such a request waits for that operation; any other refusal is final.
    #[serde(default, skip_serializing_if = "crate::chain::is_false")]
    pub of_state: bool,
    /// The request's extension that the refusal is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<Box<str>>,
    /// Of a judgement: written with the failure, as [`Paid::writes`] are with a payment. Elsewhere ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<StoreWrite>,
}

impl Refusal {
    /// What became of the extension that the refusal is about.
    #[must_use]
    pub fn extensions(&self) -> Option<Map<String, Value>> {
        let rejected = serde_json::json!({ "status": "rejected", "rejectedReason": self.reason });
        let key = self.extension.as_deref()?.to_owned();
        Some(Map::from_iter([(key, rejected)]))
    }

    /// A refusal without a message.
    pub fn new(reason: impl Into<String>, payer: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            message: None,
            payer: payer.into(),
            of_state: false,
            extension: None,
            writes: Vec::new(),
        }
    }

    /// The same refusal with a message for people.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Marks a refusal that rests on what the chain shows now.
    #[must_use]
    pub fn of_state(mut self) -> Self {
        self.of_state = true;
        self
    }
}

/// Answer of [`SchemeHandler::identify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Identity {
    /// The payment has a claim key.
    Identified(Identified),
    /// No claim key can be formed.
    Refused(Refusal),
}

/// What makes an authorization unique. The host adds network and plugin to keys and the tenant to fingerprints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Identified {
    /// The payer's address.
    pub payer: String,
    /// Unique on chain (EIP-3009: token, payer, nonce). Never signature bytes: they are malleable.
    pub claim_key: String,
    /// At most one open settlement per key, planned inside it.
    #[serde(default)]
    pub conflict_keys: Vec<String>,
    /// The terms in canonical form: asset, payee, amount and the extra members that matter.
    pub fingerprint: String,
    /// Canonical digest of what the buyer signed and of the buyer's signatures; not of encodings.
    pub payload_digest: String,
    /// The reason that answers another use of the same claim key.
    pub replay_reason: String,
    /// Until when the authorization could be used again, seconds since the epoch; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayable_until_s: Option<u64>,
}

/// Answer of [`SchemeHandler::verify`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Verdict {
    /// The payment is good now.
    Valid(Valid),
    /// The payment is refused.
    Invalid(Refusal),
}

/// A good payment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Valid {
    /// The payer's address.
    pub payer: String,
    /// `extra` of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    /// What the payment needs of the payer's funds, with what this verify read of them, where the request wants it
    /// ([`PaymentRequest::wants_reserves`]); empty where no balance could be read. `None`: the payment can't be reserved,
    /// because it is an operation on an earlier payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserves: Option<Vec<Reserve>>,
    /// Who sends and receives money.
    #[serde(default, skip_serializing_if = "Parties::is_empty")]
    pub parties: Parties,
    /// As [`PaidReply::extensions`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// Answer of [`SchemeHandler::plan`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Planned {
    /// Transactions are needed.
    Plan(Plan),
    /// The payment is refused.
    Refused(Refusal),
    /// Settled without any transaction (a zero amount): `transaction` stays empty.
    Done(Done),
}

/// A settlement that needs no transaction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The scheme's part of the reply.
    pub reply: PaidReply,
    /// Written in the commit that records the settlement.
    #[serde(default)]
    pub writes: Vec<StoreWrite>,
    /// Scheduled in the same commit, as in [`Plan::jobs`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
    /// As [`Paid::repeatable`].
    #[serde(default, skip_serializing_if = "crate::chain::is_false")]
    pub repeatable: bool,
    /// Who sends and receives money, where the scheme keeps the accounts itself.
    #[serde(default, skip_serializing_if = "Parties::is_empty")]
    pub parties: Parties,
}

/// The scheme's part of a successful settle reply; the host adds transaction and network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PaidReply {
    /// The payer's address.
    pub payer: String,
    /// What was paid, atomic units of the asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// `extra` of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    /// By extension. An object with a text `status` says what became of the request's extension: callers get it in the header
    /// `EXTENSION-RESPONSES`, with its members `rejectedReason`, `reason` and `code`. Everything else is `extensions` of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// What became of each of these extensions of a request: it was used.
#[must_use]
pub fn extensions_used(keys: &[String]) -> Option<Map<String, Value>> {
    let used = keys
        .iter()
        .map(|key| (key.clone(), serde_json::json!({ "status": "success" })));
    (!keys.is_empty()).then(|| used.collect())
}

/// Answer of [`SchemeHandler::judge`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Judgement {
    /// The step paid.
    Paid(Paid),
    /// The evidence proves that this step's attempt did not pay and can't.
    NotPaid(Refusal),
    /// The step did what it had to, and it is not the one that pays.
    Next,
    /// The evidence is not enough; observe again.
    Unproven {
        /// For the operator's log.
        why: String,
    },
}

/// Proof of payment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Paid {
    /// The transaction that paid: the attempt's own, or one of `evidence.foreign`.
    pub tx_id: String,
    /// Ids of the logs or deltas that prove it; each proves one claim only. At least one.
    pub items: Vec<String>,
    /// The scheme's part of the reply.
    pub reply: PaidReply,
    /// Written with the outcome. The payment is on the chain: when a condition does not hold, the outcome is recorded
    /// without any of them, and the operator's log reports it. A reorganisation does not undo them.
    #[serde(default)]
    pub writes: Vec<StoreWrite>,
    /// Scheduled with the outcome, as in [`Plan::jobs`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
    /// The same authorization may be settled again (a partial voucher collection).
    #[serde(default)]
    pub repeatable: bool,
}

/// An HTTP request under `/{scheme}/…`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RouteRequest {
    /// HTTP method, upper case.
    pub method: String,
    /// The part after `/{scheme}`, beginning with `/`.
    pub path: String,
    /// Names and values, decoded, in their order.
    #[serde(default)]
    pub query: Vec<(String, String)>,
    /// The JSON body; `Null` without one.
    #[serde(default)]
    pub body: Value,
    /// Names in lower case, and values, of the request's headers that the manifest lists
    /// ([`route_headers`](crate::manifest::SchemeRole::route_headers)), in their order. One whose value is no text is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The authenticated caller; `None` where the operator runs without tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The caller's `Idempotency-Key` header: a settle that the route requests is made under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The result of the settle that the route requested; set on the second call only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<crate::wire::SettleReply>,
}

/// Answer of [`SchemeHandler::route`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum RouteResponse {
    /// Reply to the caller.
    Reply {
        /// HTTP status, 200 to 599: a number, as in the JSON message.
        status: u16,
        /// JSON body.
        body: Value,
    },
    /// Of the route's own scheme and network; in a route without a network, of any network on which the same instance serves
    /// the scheme. The host sets purpose, tenant, idempotency key and remaining time.
    Settle {
        /// The payment to settle.
        request: Box<PaymentRequest>,
    },
}
