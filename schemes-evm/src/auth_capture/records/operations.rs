//! What was done with payments, and when.

use alloy_primitives::{B256, U256};
use sdk_plugin::host::StoreWrite;
use sdk_plugin::{Cx, Fault, Value};
use serde::{Deserialize, Serialize};

use super::keys::{height_key, operations_prefix, skipped_void_key};
use super::{always, get, json, rows_expire_at_ms, scan};
use crate::auth_capture::fees::Fee;

/// What was done with a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationRow {
    #[serde(rename = "type")]
    pub kind: OperationKind,
    /// Atomic units; a void's is what went back.
    pub amount: U256,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee: Option<Fee>,
    /// Hash of the transaction.
    pub transaction: String,
    pub height: u64,
    /// When it was planned, seconds since the epoch.
    pub planned_at_s: u64,
    /// The rest is given back in a transaction of its own, once this one is final.
    #[serde(default)]
    pub voids_remainder: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    Authorize,
    Charge,
    Capture,
    Void,
    Refund,
}

/// Why the void after a capture did not happen. What was left is still held, or its payer has taken it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SkippedVoid {
    /// As `/settle` names it.
    pub reason: String,
    pub message: String,
    /// When it was decided, seconds since the epoch.
    pub at_s: u64,
}

/// A revert may carry any text.
const MESSAGE_CHARS: usize = 500;

impl SkippedVoid {
    #[must_use]
    pub fn new(reason: &str, message: &str, at_s: u64) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.chars().take(MESSAGE_CHARS).collect(),
            at_s,
        }
    }

    /// `planned_at_s`: of the capture.
    ///
    /// # Errors
    /// As [`super::Record::first_writes`].
    pub fn write(
        &self,
        network: &str,
        hash: B256,
        planned_at_s: u64,
        refund_deadline_s: u64,
    ) -> Result<StoreWrite, Fault> {
        let key = skipped_void_key(network, hash, planned_at_s);
        Ok(always(
            key,
            json(self)?,
            Some(rows_expire_at_ms(refund_deadline_s)),
        ))
    }
}

/// Why the void after the capture that was planned then did not happen. `None`: it did, or is still to come.
///
/// # Errors
/// As [`super::find`].
pub async fn skipped_void(
    cx: &Cx,
    network: &str,
    hash: B256,
    planned_at_s: u64,
) -> Result<Option<SkippedVoid>, Fault> {
    let found = get::<SkippedVoid>(cx, skipped_void_key(network, hash, planned_at_s)).await?;
    Ok(found.map(|found| found.record))
}

/// The rows of an operation: its own, and where the payment's balances are the newest. A capture that waits for its void
/// again, because a reorganisation undid both, takes back what was written of the void.
///
/// # Errors
/// As [`super::Record::first_writes`].
pub fn operation_writes(
    network: &str,
    hash: B256,
    operation: &OperationRow,
    refund_deadline_s: u64,
) -> Result<Vec<StoreWrite>, Fault> {
    let expires_at_ms = Some(rows_expire_at_ms(refund_deadline_s));
    let prefix = operations_prefix(network, hash);
    // Not by height: after a reorganisation the same transaction is the same row.
    let key = format!("{prefix}{:012}/{}", operation.planned_at_s, operation.transaction);
    let mut writes = vec![
        always(key, json(operation)?, expires_at_ms),
        always(height_key(network, hash), operation.height.into(), expires_at_ms),
    ];
    if operation.voids_remainder {
        let stale = skipped_void_key(network, hash, operation.planned_at_s);
        writes.push(always(stale, Value::Null, None));
    }
    Ok(writes)
}

/// The height at which the payment's balances moved last, as far as it is kept; 0 where nothing is.
///
/// # Errors
/// As [`super::find`].
pub async fn seen_height(cx: &Cx, network: &str, hash: B256) -> Result<u64, Fault> {
    let found = get::<u64>(cx, height_key(network, hash)).await?;
    Ok(found.map_or(0, |found| found.record))
}

/// Everything that was done with a payment, in the order of the chain; of more than 1,000 operations the first ones.
///
/// # Errors
/// As [`super::find`].
pub async fn operations(cx: &Cx, network: &str, hash: B256) -> Result<Vec<OperationRow>, Fault> {
    let prefix = operations_prefix(network, hash);
    let rows = scan(cx, prefix, None, 1_000).await?;
    let mut operations = rows
        .iter()
        .map(|row| {
            OperationRow::deserialize(&row.value)
                .map_err(|error| Fault::internal(format!("row {} can't be read: {error}", row.key)))
        })
        .collect::<Result<Vec<_>, _>>()?;
    // Two clocks may have planned two of them.
    operations.sort_by_key(|operation| operation.height);
    Ok(operations)
}
