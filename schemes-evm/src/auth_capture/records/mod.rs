//! What is kept of a payment, so that a merchant who lost its own record can still capture or refund, and so that only
//! the tenant to which a payment belongs has us authorize for it.
//!
//! | key | value |
//! |---|---|
//! | `payment/<network>/<hash>` | a [`Record`]: written with the collection's first commit |
//! | `index/<network>/<tenant>/<list>/<capture deadline>/<hash>` | nothing; lists of a tenant in the order of deadlines |
//! | `index/<network>/-/receiver/<receiver>/…` | the same for a receiver, whichever tenant had the payment collected |
//! | `operation/<network>/<hash>/<planned at>/<transaction>` | an [`OperationRow`]: written with what proves it |
//! | `skipped-void/<network>/<hash>/<planned at>` | a [`SkippedVoid`]: why the void after a capture did not happen |
//! | `height/<network>/<hash>` | the height of the last operation: a node that is not there yet shows old balances |
//! | `usage/<network>/<hash>` | a [`Usage`]: what the merchant reported |
//! | `usage-id/<network>/<hash>/<id>` | the amount reported under that id |
//! | `refunded/<network>/<tenant>/<receiver>/<asset>` | a [`RefundLedger`]: what was planned within a day |
//!
//! Hashes and addresses are in lower case. A tenant's name is written as its hash: names may hold anything. Operations
//! have a row each, because judge can't read the store. Rows expire [`KEPT_AFTER_REFUND_DEADLINE_S`] after the last
//! moment at which they could matter.

mod keys;
mod operations;
mod sums;

pub use keys::{List, entry, payment_key, read_entry, refunded_key, usage_id_key, usage_key};
pub use operations::{
    OperationKind, OperationRow, SkippedVoid, operation_writes, operations, seen_height, skipped_void,
};
pub use sums::{RefundLedger, Usage};

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::host::{StoreCondition, StoreRequest, StoreResponse, StoreRow, StoreWrite};
use sdk_plugin::{Cx, Fault, Value};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::abi::PaymentInfo;
use super::config::Config;
use super::payment_info::EscrowId;
use super::reason::Dialect;

/// How long rows outlive their payment's refund deadline, in seconds.
pub const KEPT_AFTER_REFUND_DEADLINE_S: u64 = 90 * 86_400;

/// A payment as it was collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub payment_info: PaymentInfo,
    pub chain_id: u64,
    pub escrow: Address,
    /// Zero: captures and refunds have no authorizer.
    pub receiver_authorizer: Address,
    /// Present when the buyer's salt commits to the authorizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt_nonce: Option<U256>,
    /// Who had it collected. It belongs to this tenant unless the operator gives its receiver to another: see
    /// [`Record::owner`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub dialect: Dialect,
    /// Taken at once (`charge`), not held (`authorize`).
    pub charged: bool,
    /// What was collected, in atomic units.
    pub amount: U256,
    /// EIP-712 domain members of the token, as the seller stated them.
    pub token_name: String,
    pub token_version: String,
    /// Seconds since the epoch.
    pub planned_at_s: u64,
}

impl Record {
    /// The escrow's key for the payment.
    #[must_use]
    pub fn hash(&self) -> B256 {
        self.payment_info.hash(EscrowId {
            chain_id: self.chain_id,
            escrow: self.escrow,
        })
    }

    /// CAIP-2.
    #[must_use]
    pub fn network(&self) -> String {
        format!("eip155:{}", self.chain_id)
    }

    /// Seconds since the epoch.
    #[must_use]
    pub fn capture_deadline_s(&self) -> u64 {
        self.payment_info.authorizationExpiry.to()
    }

    /// Seconds since the epoch.
    #[must_use]
    pub fn refund_deadline_s(&self) -> u64 {
        self.payment_info.refundExpiry.to()
    }

    /// The tenant that sees the payment, and that alone has us authorize captures, voids and refunds of it. Decided when it is
    /// read, so that a receiver's payments follow the operator's configuration. `None`: no owner.
    #[must_use]
    pub fn owner<'a>(&'a self, config: &'a Config) -> Option<&'a str> {
        config
            .tenant_of(self.payment_info.receiver)
            .or(self.tenant.as_deref())
    }

    /// The rows of a collection's first commit. `previous`: what [`find`] answered inside the payment's conflict key,
    /// with the payment not collected; it may be another tenant's that had no effect, and is replaced. A row
    /// that appeared in the meantime stops the commit.
    ///
    /// # Errors
    /// A record that can't be written as JSON, which is a defect.
    pub fn first_writes(&self, previous: Option<&Found>) -> Result<Vec<StoreWrite>, Fault> {
        let expires_at_ms = Some(self.expires_at_ms());
        let condition = match previous {
            None => StoreCondition::Absent,
            Some(found) => StoreCondition::Equals {
                value: found.value.clone(),
            },
        };
        let lists = self.lists();
        let mut writes = vec![StoreWrite {
            key: payment_key(&self.network(), self.hash()),
            value: json(self)?,
            condition,
            expires_at_ms,
        }];
        if let Some(found) = previous {
            let stale = found.record.lists().into_iter();
            writes.extend(
                stale
                    .filter(|key| !lists.contains(key))
                    .map(|key| always(key, Value::Null, None)),
            );
        }
        writes.extend(
            lists
                .into_iter()
                .map(|key| always(key, Value::from(1), expires_at_ms)),
        );
        Ok(writes)
    }

    /// The rows of an operation on this payment.
    ///
    /// # Errors
    /// As [`Self::first_writes`].
    pub fn operation_writes(&self, operation: &OperationRow) -> Result<Vec<StoreWrite>, Fault> {
        operation_writes(&self.network(), self.hash(), operation, self.refund_deadline_s())
    }

    /// Milliseconds since the epoch.
    fn expires_at_ms(&self) -> u64 {
        rows_expire_at_ms(self.refund_deadline_s())
    }

    /// Keys of the lists that this payment is in: three of its tenant, and its receiver's, which has no owner so that it
    /// serves the tenant to which the operator gives the receiver later.
    fn lists(&self) -> BTreeSet<String> {
        let (network, tenant) = (self.network(), self.tenant.as_deref());
        let entry = entry(self.capture_deadline_s(), self.hash());
        let by_receiver = List::Receiver(self.payment_info.receiver);
        [
            (List::All, tenant),
            (by_receiver, tenant),
            (List::Operator(self.payment_info.operator), tenant),
            (by_receiver, None),
        ]
        .into_iter()
        .map(|(list, tenant)| format!("{}{entry}", list.prefix(&network, tenant)))
        .collect()
    }
}

/// When rows about a payment go, in milliseconds since the epoch.
#[must_use]
pub fn rows_expire_at_ms(refund_deadline_s: u64) -> u64 {
    refund_deadline_s
        .saturating_add(KEPT_AFTER_REFUND_DEADLINE_S)
        .saturating_mul(1_000)
}

/// An existing row: its record, and the value to compare with when it is replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<T = Record> {
    pub record: T,
    pub value: Value,
}

/// The record of a payment, if there is one.
///
/// # Errors
/// A fault of the store, or a row that can't be read.
pub async fn find(cx: &Cx, network: &str, hash: B256) -> Result<Option<Found>, Fault> {
    get(cx, payment_key(network, hash)).await
}

/// The row under `key`, if there is one.
///
/// # Errors
/// As [`find`].
pub async fn get<T: DeserializeOwned>(cx: &Cx, key: String) -> Result<Option<Found<T>>, Fault> {
    let rows = rows(cx.store(StoreRequest::Get { key: key.clone() }).await?)?;
    rows.into_iter()
        .next()
        .map(|row| {
            let record = T::deserialize(&row.value)
                .map_err(|error| Fault::internal(format!("row {key} can't be read: {error}")))?;
            Ok(Found {
                record,
                value: row.value,
            })
        })
        .transpose()
}

/// Rows in the order of their keys.
///
/// # Errors
/// A fault of the store.
pub async fn scan(
    cx: &Cx,
    prefix: String,
    after: Option<String>,
    limit: u32,
) -> Result<Vec<StoreRow>, Fault> {
    rows(cx.store(StoreRequest::Scan { prefix, after, limit }).await?)
}

fn rows(response: StoreResponse) -> Result<Vec<StoreRow>, Fault> {
    match response {
        StoreResponse::Rows { rows } => Ok(rows),
        StoreResponse::Written | StoreResponse::Conflict { .. } => {
            Err(Fault::internal("the store answered a read with no rows"))
        }
    }
}

/// A write that replaces `found`, or makes the row where there is none.
///
/// # Errors
/// As [`Record::first_writes`].
pub fn replacing<T: Serialize>(
    key: String,
    found: Option<&Value>,
    row: &T,
    expires_at_ms: u64,
) -> Result<StoreWrite, Fault> {
    Ok(StoreWrite {
        key,
        value: json(row)?,
        condition: found.map_or(StoreCondition::Absent, |value| StoreCondition::Equals {
            value: value.clone(),
        }),
        expires_at_ms: Some(expires_at_ms),
    })
}

fn always(key: String, value: Value, expires_at_ms: Option<u64>) -> StoreWrite {
    StoreWrite {
        key,
        value,
        condition: StoreCondition::Always,
        expires_at_ms,
    }
}

fn json<T: Serialize>(row: &T) -> Result<Value, Fault> {
    serde_json::to_value(row).map_err(|error| Fault::internal(format!("a row can't be written: {error}")))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::aliases::{U48, U120};
    use sdk_plugin::testkit::{ScriptHost, block_on};

    use super::*;

    fn record(tenant: &str) -> Record {
        Record {
            payment_info: PaymentInfo {
                operator: Address::repeat_byte(1),
                payer: Address::repeat_byte(2),
                receiver: Address::repeat_byte(3),
                token: Address::repeat_byte(4),
                maxAmount: U120::from(1_000),
                preApprovalExpiry: U48::from(1_900_000_000u64),
                authorizationExpiry: U48::from(1_900_003_600u64),
                refundExpiry: U48::from(1_900_007_200u64),
                minFeeBps: 0,
                maxFeeBps: 0,
                feeReceiver: Address::ZERO,
                salt: U256::from(7),
            },
            chain_id: 8_453,
            escrow: Address::repeat_byte(5),
            receiver_authorizer: Address::ZERO,
            salt_nonce: None,
            tenant: Some(tenant.to_owned()),
            dialect: Dialect::V1_1,
            charged: false,
            amount: U256::from(1_000),
            token_name: "USDC".into(),
            token_version: "2".into(),
            planned_at_s: 1_800_000_000,
        }
    }

    fn write(host: &std::sync::Arc<ScriptHost>, writes: Vec<StoreWrite>) -> StoreResponse {
        let cx = host.cx(host.context("eip155:8453"));
        block_on(cx.store(StoreRequest::Write { writes })).expect("a store")
    }

    #[test]
    fn a_record_is_found_and_replaces_only_what_was_read() {
        let host = ScriptHost::at_unix_s(1_800_000_000);
        let cx = host.cx(host.context("eip155:8453"));
        let (ours, theirs) = (record("ours"), record("theirs"));
        assert_eq!(
            write(&host, theirs.first_writes(None).expect("rows")),
            StoreResponse::Written
        );
        // Written by another process that did not see this one's row.
        assert!(matches!(
            write(&host, ours.first_writes(None).expect("rows")),
            StoreResponse::Conflict { .. }
        ));
        let found = block_on(find(&cx, "eip155:8453", ours.hash()))
            .expect("a store")
            .expect("a row");
        assert_eq!(found.record, theirs);
        assert_eq!(
            write(&host, ours.first_writes(Some(&found)).expect("rows")),
            StoreResponse::Written
        );
        let list = |tenant| {
            let prefix = List::All.prefix("eip155:8453", Some(tenant));
            block_on(scan(&cx, prefix.clone(), None, 10))
                .expect("a store")
                .iter()
                .filter_map(|row| read_entry(row.key.strip_prefix(&prefix)?))
                .collect::<Vec<_>>()
        };
        assert_eq!(list("theirs"), []);
        assert_eq!(list("ours"), [(1_900_003_600, ours.hash())]);
    }

    #[test]
    fn t70_keys_are_in_lower_case_and_rows_outlive_the_refund_deadline() {
        let record = record("Ours");
        for write in record.first_writes(None).expect("rows") {
            assert_eq!(write.key, write.key.to_lowercase());
            assert_eq!(
                write.expires_at_ms,
                Some((1_900_007_200 + KEPT_AFTER_REFUND_DEADLINE_S) * 1_000)
            );
            assert!(write.key.len() < 512, "{}", write.key);
        }
    }
}
