//! The messages of every operation and host service, as both sides of the boundary write and read them.
//!
//! A request carries the call's context and the named arguments of the trait's function; a response is the function's
//! answer, always a JSON object. What the response types below don't name is a type of the traits themselves.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::chain::{Attempt, Bid, Evidence, Lane, Network, Observation, Slot, Watch};
use crate::host::Job;
use crate::scheme::{Plan, RouteRequest, Step};
use crate::{CallContext, PaymentRequest};

/// Names of the operations a host asks of a plugin.
pub mod op {
    pub const SUPPORTED: &str = "x402.supported";
    pub const IDENTIFY: &str = "x402.identify";
    pub const VERIFY: &str = "x402.verify";
    pub const PLAN: &str = "x402.plan";
    pub const JUDGE: &str = "x402.judge";
    pub const ROUTE: &str = "x402.route";
    pub const JOB: &str = "x402.job";
    pub const SCHEME_CHECK: &str = "x402.check";
    pub const CHECK: &str = "chain.check";
    pub const LANE: &str = "chain.lane";
    pub const QUOTE: &str = "chain.quote";
    pub const BUILD: &str = "chain.build";
    pub const FILL: &str = "chain.fill";
    pub const BROADCAST: &str = "chain.broadcast";
    pub const OBSERVE: &str = "chain.observe";
    pub const START: &str = "plugin.start";
    pub const HEALTH: &str = "plugin.health";
}

/// Names of the services a plugin asks of its host.
pub mod service {
    pub const RPC: &str = "rpc.v1";
    pub const SIGN: &str = "sign.v1";
    pub const STORE: &str = "store.v1";
    pub const JOB: &str = "job.v1";
    pub const SLEEP: &str = "sleep.v1";

    pub const ALL: [&str; 5] = [RPC, SIGN, STORE, JOB, SLEEP];
}

/// Request of `x402.supported`, `x402.check`, `plugin.start` and `plugin.health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContextCall<'a> {
    pub context: Cow<'a, CallContext>,
}

/// Request of `x402.identify`, `x402.verify` and `x402.plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PaymentCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub request: Cow<'a, PaymentRequest>,
}

/// Request of `x402.judge`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JudgeCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub plan: Cow<'a, Plan>,
    pub evidence: Cow<'a, Evidence>,
}

/// Request of `x402.route`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RouteCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub request: Cow<'a, RouteRequest>,
}

/// Request of `x402.job`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub job: Cow<'a, Job>,
}

/// Response of `x402.job`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobReply {
    pub requests: Vec<PaymentRequest>,
}

/// Request of `chain.check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub network: Cow<'a, Network>,
}

/// Request of `chain.lane`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LaneCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub lane: Cow<'a, Lane>,
}

/// Request of `chain.quote`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QuoteCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub lane: Cow<'a, Lane>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Cow<'a, Bid>>,
}

/// Request of `chain.build`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BuildCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub slot: Cow<'a, Slot>,
    pub bid: Cow<'a, Bid>,
    pub steps: Cow<'a, [Step]>,
}

/// Request of `chain.fill`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FillCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub slot: Cow<'a, Slot>,
    pub bid: Cow<'a, Bid>,
}

/// Request of `chain.broadcast`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BroadcastCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub attempt: Cow<'a, Attempt>,
}

/// Request of `chain.observe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ObserveCall<'a> {
    pub context: Cow<'a, CallContext>,
    pub watches: Cow<'a, [Watch]>,
}

/// Response of `chain.observe`: one observation per watch, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ObserveReply {
    pub observations: Vec<Observation>,
}

/// Response of `plugin.health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Health {
    pub healthy: bool,
    /// One sentence for the operator: what is wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Request of `sleep.v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SleepRequest {
    pub millis: u64,
}

/// Response of what has nothing to say: `plugin.start`, `job.v1`, `sleep.v1`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Empty {}

/// What may come with a negative status; the status itself says the kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FaultBody {
    #[serde(default)]
    pub message: String,
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

    /// The fault that a negative status and its response mean. Takes plain text for a message, and nothing at all.
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
