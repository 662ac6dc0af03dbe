//! The scheme's side: what must happen for a payment, and what proves that it did.

mod plan;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::plan::{
    Call, EvidenceWanted, Gate, Guard, Hold, LaneChoice, LogFilter, OnFail, Plan, ReadAt, ReadWanted,
    Reserve, Step,
};
use crate::chain::Evidence;
use crate::host::{Job, StoreWrite};
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

    /// Read-only: is this payment good right now? A refusal is a verdict with a reason, never a fault.
    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault>;

    /// Read-only, all the slow reads: verify again, simulate, and say what must be done.
    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault>;

    /// No I/O: what does this evidence mean for the plan's step `evidence.step`?
    async fn judge(&self, cx: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault>;

    /// HTTP under `/{scheme}/…` that the scheme itself defines, about `cx.network()`, which the host takes from the
    /// request; called again with the outcome after a settle. With tenants configured only they get here.
    async fn route(&self, _cx: &Cx, request: &RouteRequest) -> Result<RouteResponse, Fault> {
        Err(Fault::unsupported(format!(
            "no route {} {}",
            request.method, request.path
        )))
    }

    /// Can it serve `cx.network()` now: are its contracts there and what they must be, do nodes offer what it needs? Asked
    /// at the start, again and again while the process runs, and by an operator's check. A scheme that is not ready is
    /// not advertised and begins nothing; what is open goes on, and other schemes are not touched.
    async fn check(&self, _cx: &Cx) -> Result<SchemeCheck, Fault> {
        Ok(SchemeCheck::ready())
    }

    /// A job it asked for earlier: requests that go the way of any `/settle`. The host sets their purpose and remaining
    /// time. A job whose handler faults, or of whose requests one could not be begun, runs again later.
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
    pub ready: bool,
    /// One sentence for the operator when it is not: what is wrong and what to write or do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Sentences about what does not keep it from serving.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl SchemeCheck {
    #[must_use]
    pub fn ready() -> Self {
        Self {
            ready: true,
            why_not: None,
            warnings: Vec::new(),
        }
    }

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
    /// The request is in order and what it was asked for did not fit what the chain shows: an operation with the same
    /// conflict key that is under way may make it fit. Such a request waits for that operation; any other refusal is final.
    #[serde(default, skip_serializing_if = "crate::chain::is_false")]
    pub of_state: bool,
    /// Of a judgement: written with the failure, as [`Paid::writes`] are with a payment. Elsewhere ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<StoreWrite>,
}

impl Refusal {
    pub fn new(reason: impl Into<String>, payer: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            message: None,
            payer: payer.into(),
            of_state: false,
            writes: Vec::new(),
        }
    }

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
    Identified(Identified),
    Refused(Refusal),
}

/// What makes an authorization unique. The host adds network and plugin to keys and the tenant to fingerprints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Identified {
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
    Valid(Valid),
    Invalid(Refusal),
}

/// A good payment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Valid {
    pub payer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

/// Answer of [`SchemeHandler::plan`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Planned {
    Plan(Plan),
    Refused(Refusal),
    /// Settled without any transaction (a zero amount): `transaction` stays empty.
    Done(Done),
}

/// A settlement that needs no transaction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Done {
    pub reply: PaidReply,
    #[serde(default)]
    pub writes: Vec<StoreWrite>,
    /// Scheduled in the same commit, as in [`Plan::jobs`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
}

/// The scheme's part of a successful settle reply; the host adds transaction and network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PaidReply {
    pub payer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// Answer of [`SchemeHandler::judge`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Judgement {
    Paid(Paid),
    /// The evidence proves that this step's attempt did not pay and can't.
    NotPaid(Refusal),
    /// The step did what it had to, and it is not the one that pays.
    Next,
    /// The evidence is not enough; observe again.
    Unproven {
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
    pub reply: PaidReply,
    /// Written with the outcome. The payment is on the chain: when a condition does not hold, the outcome is recorded
    /// without any of them, and the operator's log says so. A reorganisation does not take them back.
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
    pub method: String,
    /// Behind `/{scheme}`, beginning with `/`.
    pub path: String,
    #[serde(default)]
    pub query: Vec<(String, String)>,
    #[serde(default)]
    pub body: Value,
    /// The authenticated caller; `None` where the operator runs without tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The caller's `Idempotency-Key` header: a settle that the route asks for is made under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Set when the route asked for a settle before: what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<crate::wire::SettleReply>,
}

/// Answer of [`SchemeHandler::route`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum RouteResponse {
    Reply {
        status: u16,
        body: Value,
    },
    /// Of the route's own scheme and network. The host sets purpose, tenant, idempotency key and remaining time.
    Settle {
        request: Box<PaymentRequest>,
    },
}
