//! Calls of a scheme as tests make them, and results of nodes that every test needs.

use super::block_on;
use crate::host::{RpcError, RpcResult};
use crate::scheme::{Identified, Identity, Plan, Planned, Refusal, Verdict};
use crate::{Cx, PaymentRequest, SchemeHandler, Value};

/// Identifies a payment.
///
/// # Panics
/// The scheme returns a fault.
pub fn identify(
    scheme: &impl SchemeHandler,
    cx: &Cx,
    request: &PaymentRequest,
) -> Result<Identified, Refusal> {
    match block_on(scheme.identify(cx, request)).expect("no fault") {
        Identity::Identified(identified) => Ok(identified),
        Identity::Refused(refusal) => Err(refusal),
    }
}

/// Verifies a payment and returns its payer.
///
/// # Panics
/// The scheme returns a fault.
pub fn verify(scheme: &impl SchemeHandler, cx: &Cx, request: &PaymentRequest) -> Result<String, Refusal> {
    match block_on(scheme.verify(cx, request)).expect("no fault") {
        Verdict::Valid(valid) => Ok(valid.payer),
        Verdict::Invalid(refusal) => Err(refusal),
    }
}

/// Plans a payment that needs a transaction.
///
/// # Panics
/// The scheme returns a fault, or settles without a transaction.
pub fn plan(scheme: &impl SchemeHandler, cx: &Cx, request: &PaymentRequest) -> Result<Plan, Refusal> {
    match block_on(scheme.plan(cx, request)).expect("no fault") {
        Planned::Plan(plan) => Ok(plan),
        Planned::Refused(refusal) => Err(refusal),
        Planned::Done(done) => panic!("settled without a transaction: {done:?}"),
    }
}

/// The JSON-RPC error of a node with an internal problem.
#[must_use]
pub fn internal_error() -> RpcResult {
    RpcResult::Error(RpcError {
        code: -32603,
        message: "internal error".into(),
        data: Value::Null,
    })
}
