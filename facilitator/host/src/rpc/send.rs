//! Sends: the plugin's params with the journal's bytes in them, tried at one node after another.
//!
//! Assumes that the journal holds the bytes (law 3). A plugin supplies only the params around them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sdk_plugin::host::{RpcCall, RpcResult, SendEncoding};
use sdk_plugin::{Fault, FaultKind, HexBytes, Value};
use tokio::time::Instant;

use super::exchange::Batch;
use super::failure::{Failure, Failures, node_error_code};
use super::pool::Pool;
use super::retries::{Retries, SEND_PAUSES};
use super::selection::{Candidate, Order, Remaining};
use super::{FAILOVER_AFTER, MethodList, RpcPools, Traffic, not_listed};

/// The string in a send's params that stands for the journaled bytes.
pub const BYTES_PLACEHOLDER: &str = "$bytes";

/// One send.
#[derive(Debug, Clone, Copy)]
pub struct SendRequest<'a> {
    pub method: &'a str,
    /// Holds the string [`BYTES_PLACEHOLDER`] exactly once, as a value.
    pub params: &'a Value,
    /// The journaled bytes.
    pub bytes: &'a HexBytes,
    pub encoding: SendEncoding,
}

impl RpcPools {
    /// The results of the nodes that returned one, in the order tried; the last is `Ok` if any is.
    ///
    /// # Errors
    /// `Unavailable` when the bytes certainly reached no node; `Indeterminate` when they may have reached a node that did
    /// not answer, and no other node answered.
    pub async fn send(
        &self,
        network: &str,
        request: SendRequest<'_>,
        allowed: &MethodList,
    ) -> Result<Vec<RpcResult>, Fault> {
        let pool = self.pool(network)?;
        if !allowed.contains(request.method) {
            return Err(not_listed(request.method, "sends"));
        }
        let call = RpcCall {
            method: request.method.to_owned(),
            params: insert_bytes(request)?,
        };
        let batch = self.batch(std::slice::from_ref(&call))?;
        let deadline = Instant::now() + pool.limits().deadline;
        let _permit = pool.enter(Traffic::Engine, deadline).await?;
        let order = Order::Send {
            first: pool.next_send_start(request.bytes),
        };
        send_until_accepted(pool, order, &batch, deadline).await
    }
}

async fn send_until_accepted(
    pool: &Pool,
    order: Order,
    batch: &Batch,
    deadline: Instant,
) -> Result<Vec<RpcResult>, Fault> {
    let mut answers = Vec::new();
    let mut failures = Failures::default();
    let mut retries = Retries::new(pool, SEND_PAUSES);
    loop {
        let Some(Candidate { node, remaining, .. }) =
            pool.next(order, batch, retries.tried(), deadline).await
        else {
            if answers.is_empty() && retries.wait_for_next_round(deadline).await {
                continue;
            }
            break;
        };
        retries.record_try(node);
        // The same bytes can land only once, so trying the next node early is safe.
        let limit = (remaining == Remaining::Some).then_some(FAILOVER_AFTER);
        match pool.call_within(node, batch, deadline, limit).await {
            Ok(results) => {
                match node_error_code(&results) {
                    Some(code) => pool.record_failure(node, &Failure::NodeError { code }),
                    None => pool.record_success(node),
                }
                node.record_answered_send();
                let is_accepted = results.iter().any(|result| matches!(result, RpcResult::Ok(_)));
                answers.extend(results);
                if is_accepted {
                    break;
                }
            }
            Err(failure) => {
                if failure == Failure::TimedOut {
                    node.record_unanswered_send(Instant::now());
                }
                failures.record(pool, node, &failure);
                retries.record_failure(node);
            }
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    if !answers.is_empty() {
        return Ok(answers);
    }
    let kind = if failures.may_have_arrived() {
        FaultKind::Indeterminate
    } else {
        FaultKind::Unavailable
    };
    Err(failures.into_fault(pool, kind))
}

/// The params with the bytes in place of the placeholder.
fn insert_bytes(request: SendRequest<'_>) -> Result<Value, Fault> {
    let text = match request.encoding {
        SendEncoding::Hex => request.bytes.to_string(),
        SendEncoding::Base64 => STANDARD.encode(request.bytes),
    };
    let mut params = request.params.clone();
    let found = replace_placeholders(&mut params, &text);
    if found != 1 {
        return Err(Fault::invalid(format!(
            "the params of a send must hold the string {BYTES_PLACEHOLDER} exactly once, not {found} times"
        )));
    }
    Ok(params)
}

/// Replaces every placeholder, and returns how many there were.
fn replace_placeholders(value: &mut Value, bytes: &str) -> usize {
    match value {
        Value::String(text) if text == BYTES_PLACEHOLDER => {
            bytes.clone_into(text);
            1
        }
        Value::Array(items) => items
            .iter_mut()
            .map(|item| replace_placeholders(item, bytes))
            .sum(),
        Value::Object(members) => members
            .values_mut()
            .map(|member| replace_placeholders(member, bytes))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
