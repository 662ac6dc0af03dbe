//! JSON-RPC for drivers and schemes: batches of reads, second opinions, sends, and errors of nodes.
//!
//! [`Cx::read`](crate::Cx::read) moves one batch. This module adds what every chain family needs on top of it:
//!
//! | need | item |
//! |---|---|
//! | split reads into batches that nodes accept, and reject malformed results | [`NodeProfile`] |
//! | compare the results of two nodes | [`compare_or_read`], [`Opinions`] |
//! | send a recorded attempt and classify the replies | [`SendMethod`] |
//! | turn an error or a malformed result into a [`Fault`] | [`value`], [`node_error`], [`malformed`] |
//!
//! An error of a node is never a reason to refuse a payment. Each family decides which errors are results of the chain, for
//! example an EVM revert; everything else is a [`Fault`], so that another node is tried.

mod batch;
mod opinion;
mod send;

pub use batch::{Answers, NodeProfile, Oversized};
pub use opinion::{NodeAnswers, Opinions, compare_or_read};
pub use send::{SendMethod, most_decisive};

use serde_json::Value;

use crate::Fault;
use crate::host::{RpcCall, RpcError, RpcResult};

/// Longest text of a node that an error message quotes, in bytes.
const MAX_QUOTED_BYTES: usize = 80;

/// A JSON-RPC call. `params` is usually an array.
#[must_use]
pub fn request(method: &str, params: Value) -> RpcCall {
    RpcCall {
        method: method.into(),
        params,
    }
}

/// The value of a read whose error is no reason to refuse a payment. `what` names the read in messages.
///
/// # Errors
/// The node answered with a JSON-RPC error: see [`node_error`].
pub fn value(result: RpcResult, what: &str) -> Result<Value, Fault> {
    match result {
        RpcResult::Ok(value) => Ok(value),
        RpcResult::Error(error) => Err(node_error(what, &error)),
    }
}

/// The fault for a JSON-RPC error that is no reason to refuse a payment.
#[must_use]
pub fn node_error(what: &str, error: &RpcError) -> Fault {
    Fault::unavailable(format!(
        "{what}: the node answered {} {:?}",
        error.code, error.message
    ))
}

/// The fault for a result that its method does not document; `found` describes the result.
#[must_use]
pub fn unexpected_answer(what: &str, found: &str) -> Fault {
    Fault::unavailable(format!("{what}: the node answered {found}"))
}

/// The fault for a result of the wrong type; `wanted` describes the right one.
#[must_use]
pub fn malformed(what: &str, wanted: &str, answer: &Value) -> Fault {
    let shown = match answer {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a JSON number".to_owned(),
        Value::String(text) if text.len() <= MAX_QUOTED_BYTES => format!("{text:?}"),
        Value::String(text) => format!("a text of {} bytes", text.len()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    unexpected_answer(what, &format!("{shown} instead of {wanted}"))
}
