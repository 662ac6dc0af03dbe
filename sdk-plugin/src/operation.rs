//! The operations between host and plugin. Each has one definition: its name, its request, its response, and what a plugin
//! may do through the host while it serves the operation. Everything else about operations is derived from these
//! definitions.
//!
//! To add an operation, add a line to the table of `operations!`, and its message types to [`crate::ops`].

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};

use crate::host::{JobRequest, RpcRequest, RpcResponse, SignRequest, Signature, StoreRequest, StoreResponse};
use crate::ops::{
    BroadcastCall, BuildCall, CheckCall, ContextCall, Empty, FillCall, JobCall, JobReply, JudgeCall,
    LaneCall, ObserveCall, ObserveReply, PaymentCall, QuoteCall, RouteCall, SleepRequest, op, service,
};
#[cfg(feature = "schema")]
use crate::schema;
use crate::{chain, ops, scheme};

/// An operation of a plugin, or a service of its host.
pub trait Operation {
    /// The name in the ABI, in metrics and in schemas.
    const NAME: &'static str;
    /// The request message.
    type Request<'a>: Serialize + Deserialize<'a> + Send + Sync;
    /// The response message.
    type Response: Serialize + DeserializeOwned + Send + 'static;
}

/// An [`Operation`] that a host calls in a plugin.
pub trait PluginOperation: Operation {
    /// The same operation as a value.
    const KIND: OperationKind;
}

/// What a plugin may do through its host while it serves an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read from the network over `rpc.v1`.
    Read,
    /// Send, over `rpc.v1`, the attempt that the call is about.
    Send,
    /// Sign with the slot's key over `sign.v1`.
    Sign,
    /// Sign typed data over `sign.v1`, with the keys and domains that the operator has granted.
    SignTyped,
    /// Get and scan rows over `store.v1`.
    StoreRead,
    /// Write rows over `store.v1`.
    StoreWrite,
    /// Schedule and cancel jobs over `job.v1`.
    ScheduleJob,
}

/// The schemas of an operation's request and response.
#[cfg(feature = "schema")]
fn pair<O>() -> [schema::Named; 2]
where
    O: Operation,
    for<'a> O::Request<'a>: schemars::JsonSchema,
    O::Response: schemars::JsonSchema,
{
    [
        schema::named::<O::Request<'_>>(format!("{}.request", O::NAME)),
        schema::named::<O::Response>(format!("{}.response", O::NAME)),
    ]
}

macro_rules! operations {
    ($($(#[$doc:meta])* $operation:ident = $name:path: $request:ty => $response:ty, [$($right:ident),*];)*) => {
        /// The operations that a host calls in a plugin, as values.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum OperationKind {
            $($(#[$doc])* $operation,)*
        }

        impl OperationKind {
            /// Every operation, in the order of the definitions.
            pub const ALL: &'static [Self] = &[$(Self::$operation),*];

            /// The name in the ABI and in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$operation => $name,)*
                }
            }

            /// The operation of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|operation| operation.name() == name)
            }

            /// What a plugin may do while it serves this operation.
            #[must_use]
            pub const fn rights(self) -> &'static [Right] {
                match self {
                    $(Self::$operation => &[$(Right::$right),*],)*
                }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub struct $operation;

            impl Operation for $operation {
                const NAME: &'static str = $name;
                type Request<'a> = $request;
                type Response = $response;
            }

            impl PluginOperation for $operation {
                const KIND: OperationKind = OperationKind::$operation;
            }
        )*

        /// The schemas of every operation's request and response.
        #[cfg(feature = "schema")]
        pub(crate) fn operation_schemas() -> Vec<schema::Named> {
            [$(pair::<$operation>()),*].into_iter().flatten().collect()
        }
    };
}

// `identify` and `judge` are pure functions of their arguments. If they could read, one payment could get two claims, or
// be proven by something that the journal does not hold. The writes of a plan or a judgement are part of its commit, so
// only routes and jobs write rows through the host.
operations! {
    /// `x402.supported`: the kinds that a scheme serves now.
    Supported = op::SUPPORTED: ContextCall<'a> => scheme::Supported, [Read, StoreRead];
    /// `x402.identify`: what makes a payment unique.
    Identify = op::IDENTIFY: PaymentCall<'a> => scheme::Identity, [];
    /// `x402.verify`: whether a payment is good now.
    Verify = op::VERIFY: PaymentCall<'a> => scheme::Verdict, [Read, StoreRead];
    /// `x402.plan`: the steps of a settlement.
    Plan = op::PLAN: PaymentCall<'a> => scheme::Planned, [Read, StoreRead, ScheduleJob, SignTyped];
    /// `x402.judge`: what the evidence proves.
    Judge = op::JUDGE: JudgeCall<'a> => scheme::Judgement, [];
    /// `x402.route`: an HTTP request to a route of the scheme.
    Route = op::ROUTE: RouteCall<'a> => scheme::RouteResponse, [Read, StoreRead, StoreWrite, ScheduleJob];
    /// `x402.job`: a job that the scheme scheduled.
    Job = op::JOB: JobCall<'a> => JobReply, [Read, StoreRead, StoreWrite, ScheduleJob];
    /// `x402.check`: whether a scheme can serve its network.
    SchemeCheck = op::SCHEME_CHECK: ContextCall<'a> => scheme::SchemeCheck, [Read, StoreRead];
    /// `chain.check`: whether a driver can serve a network.
    Check = op::CHECK: CheckCall<'a> => chain::Readiness, [Read, StoreRead];
    /// `chain.lane`: a lane's next sequence and the signer's balance.
    Lane = op::LANE: LaneCall<'a> => chain::LaneState, [Read, StoreRead];
    /// `chain.quote`: the price to bid.
    Quote = op::QUOTE: QuoteCall<'a> => chain::Bid, [Read, StoreRead];
    /// `chain.build`: the signed transaction of some steps.
    Build = op::BUILD: BuildCall<'a> => chain::Built, [Read, Sign, StoreRead];
    /// `chain.fill`: a signed transaction that uses a slot and does nothing else.
    Fill = op::FILL: FillCall<'a> => chain::Built, [Read, Sign, StoreRead];
    /// `chain.broadcast`: sends a journaled attempt.
    Broadcast = op::BROADCAST: BroadcastCall<'a> => chain::Sent, [Read, Send, StoreRead];
    /// `chain.observe`: what the chain shows of attempts.
    Observe = op::OBSERVE: ObserveCall<'a> => ObserveReply, [Read, StoreRead];
    /// `plugin.start`: the first call of an instance, made once.
    Start = op::START: ContextCall<'a> => Empty, [];
    /// `plugin.health`: the instance's state, for operators.
    Health = op::HEALTH: ContextCall<'a> => ops::Health, [];
}

macro_rules! services {
    ($($(#[$doc:meta])* $service:ident = $name:path: $request:ty => $response:ty;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub struct $service;

            impl Operation for $service {
                const NAME: &'static str = $name;
                type Request<'a> = $request;
                type Response = $response;
            }
        )*

        /// The schemas of every service's request and response.
        #[cfg(feature = "schema")]
        pub(crate) fn service_schemas() -> Vec<schema::Named> {
            [$(pair::<$service>()),*].into_iter().flatten().collect()
        }
    };
}

services! {
    /// `rpc.v1`: JSON-RPC to the nodes of a network.
    RpcService = service::RPC: RpcRequest => RpcResponse;
    /// `sign.v1`: signatures by the keys of the host.
    SignService = service::SIGN: SignRequest => Signature;
    /// `store.v1`: the plugin's own rows.
    StoreService = service::STORE: StoreRequest => StoreResponse;
    /// `job.v1`: schedules and cancels jobs.
    JobService = service::JOB: JobRequest => Empty;
    /// `sleep.v1`: waits.
    SleepService = service::SLEEP: SleepRequest => Empty;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = OperationKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), OperationKind::ALL.len());
    }

    #[test]
    fn pure_operations_have_no_rights() {
        let without: Vec<OperationKind> = OperationKind::ALL
            .iter()
            .copied()
            .filter(|kind| kind.rights().is_empty())
            .collect();
        let expected = [
            OperationKind::Identify,
            OperationKind::Judge,
            OperationKind::Start,
            OperationKind::Health,
        ];
        assert_eq!(without, expected);
    }

    /// Every operation has a schema of its request and of its response.
    #[cfg(feature = "schema")]
    #[test]
    fn every_operation_has_the_schemas_of_its_messages() {
        let names: BTreeSet<String> = crate::schemas::all()
            .into_iter()
            .map(|named| named.name)
            .collect();
        for kind in OperationKind::ALL {
            for message in ["request", "response"] {
                let name = format!("{}.{message}", kind.name());
                assert!(names.contains(&name), "{name}");
            }
        }
    }
}
