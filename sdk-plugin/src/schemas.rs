//! JSON schemas of everything that crosses the boundary, derived from the types.
//!
//! They are checked in as `schemas/*.json`, for authors who write in another language: a diff of them is a change of
//! the ABI. `UPDATE_SCHEMAS=1 cargo test -p sdk-plugin --features schema` writes them anew.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};

use crate::chain::{Bid, Built, LaneState, Readiness, Sent};
use crate::host::{JobRequest, RpcRequest, RpcResponse, SignRequest, Signature, StoreRequest, StoreResponse};
use crate::ops::{
    BroadcastCall, BuildCall, CheckCall, ContextCall, Empty, FaultBody, FillCall, Health, JobCall, JobReply,
    JudgeCall, LaneCall, ObserveCall, ObserveReply, PaymentCall, QuoteCall, RouteCall, SleepRequest, op,
    service,
};
use crate::scheme::{Identity, Judgement, Planned, RouteResponse, SchemeCheck, Supported, Verdict};

/// A schema and the name of its message: `x402.verify.request`, `rpc.v1.response`, `fault`, `manifest`.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Name of the message.
    pub name: String,
    /// JSON schema, draft 2020-12.
    pub schema: Schema,
}

fn named<T: JsonSchema>(name: impl Into<String>) -> Named {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(bound_integers));
    let schema = settings.into_generator().into_root_schema_for::<T>();
    Named {
        name: name.into(),
        schema,
    }
}

/// Numbers are doubles to many a JSON library: no integer is larger than 2^53 - 1 (R9).
fn bound_integers(schema: &mut Schema) {
    const LARGEST: i64 = (1 << 53) - 1;
    let format = schema
        .get("format")
        .and_then(|format| format.as_str())
        .unwrap_or_default();
    let signed = format == "int64";
    if signed || format == "uint64" {
        schema.insert("maximum".to_owned(), LARGEST.into());
    }
    if signed {
        schema.insert("minimum".to_owned(), (-LARGEST).into());
    }
}

fn pair<Q: JsonSchema, A: JsonSchema>(name: &str) -> [Named; 2] {
    [
        named::<Q>(format!("{name}.request")),
        named::<A>(format!("{name}.response")),
    ]
}

/// Every schema: two per operation and host service, the body of a fault, and the manifest.
#[must_use]
pub fn all() -> Vec<Named> {
    let mut all = [
        pair::<ContextCall<'_>, Supported>(op::SUPPORTED),
        pair::<PaymentCall<'_>, Identity>(op::IDENTIFY),
        pair::<PaymentCall<'_>, Verdict>(op::VERIFY),
        pair::<PaymentCall<'_>, Planned>(op::PLAN),
        pair::<JudgeCall<'_>, Judgement>(op::JUDGE),
        pair::<RouteCall<'_>, RouteResponse>(op::ROUTE),
        pair::<JobCall<'_>, JobReply>(op::JOB),
        pair::<ContextCall<'_>, SchemeCheck>(op::SCHEME_CHECK),
        pair::<CheckCall<'_>, Readiness>(op::CHECK),
        pair::<LaneCall<'_>, LaneState>(op::LANE),
        pair::<QuoteCall<'_>, Bid>(op::QUOTE),
        pair::<BuildCall<'_>, Built>(op::BUILD),
        pair::<FillCall<'_>, Built>(op::FILL),
        pair::<BroadcastCall<'_>, Sent>(op::BROADCAST),
        pair::<ObserveCall<'_>, ObserveReply>(op::OBSERVE),
        pair::<ContextCall<'_>, Empty>(op::START),
        pair::<ContextCall<'_>, Health>(op::HEALTH),
        pair::<RpcRequest, RpcResponse>(service::RPC),
        pair::<SignRequest, Signature>(service::SIGN),
        pair::<StoreRequest, StoreResponse>(service::STORE),
        pair::<JobRequest, Empty>(service::JOB),
        pair::<SleepRequest, Empty>(service::SLEEP),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    all.push(named::<FaultBody>("fault"));
    all.push(named::<crate::Manifest>("manifest"));
    all
}
