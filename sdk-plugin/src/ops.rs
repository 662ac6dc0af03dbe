//! The messages of every operation and host service, as both sides of the boundary write and read them.
//!
//! A request carries the call's context and the named arguments of the trait's function; a response is the function's
//! answer, always a JSON object. Other responses are the types of the traits themselves.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::chain::{Attempt, Bid, Evidence, Lane, Network, Observation, Slot, Watch};
use crate::host::Job;
use crate::scheme::{Plan, RouteRequest, Step};
use crate::{CallContext, PaymentRequest};

/// Names of the operations that a host calls.
pub mod op {
    /// [`SchemeHandler::supported`](crate::SchemeHandler::supported).
    pub const SUPPORTED: &str = "x402.supported";
    /// [`SchemeHandler::identify`](crate::SchemeHandler::identify).
    pub const IDENTIFY: &str = "x402.identify";
    /// [`SchemeHandler::verify`](crate::SchemeHandler::verify).
    pub const VERIFY: &str = "x402.verify";
    /// [`SchemeHandler::plan`](crate::SchemeHandler::plan).
    pub const PLAN: &str = "x402.plan";
    /// [`SchemeHandler::judge`](crate::SchemeHandler::judge).
    pub const JUDGE: &str = "x402.judge";
    /// [`SchemeHandler::route`](crate::SchemeHandler::route).
    pub const ROUTE: &str = "x402.route";
    /// [`SchemeHandler::job`](crate::SchemeHandler::job).
    pub const JOB: &str = "x402.job";
    /// [`SchemeHandler::check`](crate::SchemeHandler::check).
    pub const SCHEME_CHECK: &str = "x402.check";
    /// [`ChainDriver::check`](crate::ChainDriver::check).
    pub const CHECK: &str = "chain.check";
    /// [`ChainDriver::lane`](crate::ChainDriver::lane).
    pub const LANE: &str = "chain.lane";
    /// [`ChainDriver::quote`](crate::ChainDriver::quote).
    pub const QUOTE: &str = "chain.quote";
    /// [`ChainDriver::build`](crate::ChainDriver::build).
    pub const BUILD: &str = "chain.build";
    /// [`ChainDriver::fill`](crate::ChainDriver::fill).
    pub const FILL: &str = "chain.fill";
    /// [`ChainDriver::broadcast`](crate::ChainDriver::broadcast).
    pub const BROADCAST: &str = "chain.broadcast";
    /// [`ChainDriver::observe`](crate::ChainDriver::observe).
    pub const OBSERVE: &str = "chain.observe";
    /// [`Lifecycle::start`](crate::abi::Lifecycle::start).
    pub const START: &str = "plugin.start";
    /// [`Lifecycle::health`](crate::abi::Lifecycle::health).
    pub const HEALTH: &str = "plugin.health";
}

/// Names of the services that a plugin calls.
pub mod service {
    /// JSON-RPC to a network's nodes.
    pub const RPC: &str = "rpc.v1";
    /// Signatures by keys in custody.
    pub const SIGN: &str = "sign.v1";
    /// Rows of the plugin.
    pub const STORE: &str = "store.v1";
    /// Work for later.
    pub const JOB: &str = "job.v1";
    /// Time passes.
    pub const SLEEP: &str = "sleep.v1";

    /// Every service.
    pub const ALL: [&str; 5] = [RPC, SIGN, STORE, JOB, SLEEP];
}

/// Request of `x402.supported`, `x402.check`, `plugin.start` and `plugin.health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContextCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
}

/// Request of `x402.identify`, `x402.verify` and `x402.plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PaymentCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The payment.
    pub request: Cow<'a, PaymentRequest>,
}

/// Request of `x402.judge`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JudgeCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The plan being judged.
    pub plan: Cow<'a, Plan>,
    /// What the chain shows for one of its steps.
    pub evidence: Cow<'a, Evidence>,
}

/// Request of `x402.route`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RouteCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The HTTP request.
    pub request: Cow<'a, RouteRequest>,
}

/// Request of `x402.job`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The job that is due.
    pub job: Cow<'a, Job>,
}

/// Response of `x402.job`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobReply {
    /// Requests to settle, in any order.
    pub requests: Vec<PaymentRequest>,
}

/// Request of `chain.check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The network as configured, with its keys.
    pub network: Cow<'a, Network>,
}

/// Request of `chain.lane`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LaneCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The lane to read.
    pub lane: Cow<'a, Lane>,
}

/// Request of `chain.quote`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QuoteCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The lane that bids.
    pub lane: Cow<'a, Lane>,
    /// The bid to replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Cow<'a, Bid>>,
}

/// Request of `chain.build`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BuildCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The slot to fill with a transaction.
    pub slot: Cow<'a, Slot>,
    /// What the transaction offers to pay.
    pub bid: Cow<'a, Bid>,
    /// The steps to carry.
    pub steps: Cow<'a, [Step]>,
}

/// Request of `chain.fill`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FillCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The slot to fill with a transaction.
    pub slot: Cow<'a, Slot>,
    /// What the transaction offers to pay.
    pub bid: Cow<'a, Bid>,
}

/// Request of `chain.broadcast`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BroadcastCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The attempt to send.
    pub attempt: Cow<'a, Attempt>,
}

/// Request of `chain.observe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ObserveCall<'a> {
    /// What travels with every operation.
    pub context: Cow<'a, CallContext>,
    /// The attempts to observe.
    pub watches: Cow<'a, [Watch]>,
}

/// Response of `chain.observe`: one observation per watch, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ObserveReply {
    /// One per watch, in their order.
    pub observations: Vec<Observation>,
}

/// Response of `plugin.health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Health {
    /// Whether the instance can work.
    pub healthy: bool,
    /// One sentence for the operator: what is wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Request of `sleep.v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SleepRequest {
    /// Milliseconds to wait.
    pub millis: u64,
}

/// Response without members: `plugin.start`, `job.v1`, `sleep.v1`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Empty {}

/// Optional body of a negative status; the status itself is the kind of fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FaultBody {
    /// For operators.
    #[serde(default)]
    pub message: String,
    /// Milliseconds from now after which a new try makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Longest fault message in characters that is read from the other side.
const FAULT_MESSAGE_CHARS: usize = 1_000;

impl FaultBody {
    /// The body of `fault`, as JSON.
    #[must_use]
    pub fn encode(fault: &crate::Fault) -> Vec<u8> {
        let body = Self {
            message: fault.message.clone(),
            retry_after_ms: fault.retry_after_ms,
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The fault that a negative status and its response mean. The response may be plain text or empty.
    #[must_use]
    pub fn decode(status: i32, body: &[u8]) -> crate::Fault {
        let Self {
            message,
            retry_after_ms,
        } = serde_json::from_slice(body).unwrap_or_else(|_| Self {
            message: String::from_utf8_lossy(body).trim().to_owned(),
            retry_after_ms: None,
        });
        let message = match message.char_indices().nth(FAULT_MESSAGE_CHARS) {
            Some((end, _)) => message.get(..end).unwrap_or_default().to_owned(),
            None if message.is_empty() => format!("status {status} without a message"),
            None => message,
        };
        crate::Fault {
            kind: crate::FaultKind::from_status(status),
            message,
            retry_after_ms,
        }
    }
}
