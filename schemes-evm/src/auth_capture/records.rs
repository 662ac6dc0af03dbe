//! What is kept of a payment, so that a merchant who lost its own record can still capture or refund, and so that only
//! the tenant who opened a payment has us authorize for it.
//!
//! | key | value |
//! |---|---|
//! | `payment/<network>/<hash>` | a [`Record`]: written with the collection's first commit |
//! | `index/<network>/<tenant>/<list>/<capture deadline>/<hash>` | nothing; lists of a tenant in the order of deadlines |
//! | `operation/<network>/<hash>/<planned at>/<transaction>` | an [`OperationRow`]: written with what proves it |
//! | `usage/<network>/<hash>` | a [`Usage`]: what the merchant reported |
//! | `usage-id/<network>/<hash>/<id>` | the amount reported under that id |
//! | `refunded/<network>/<tenant>/<receiver>/<asset>` | a [`RefundLedger`]: what was planned within a day |
//!
//! Hashes and addresses are in lower case. A tenant's name is written as its hash: names may hold anything. Operations
//! have a row each, because what judges a step can't read. Rows go [`KEPT_AFTER_REFUND_DEADLINE_S`] after the last
//! moment at which they could matter.

use alloy_primitives::{Address, B256, U256, keccak256};
use sdk_plugin::host::{StoreCondition, StoreRequest, StoreResponse, StoreRow, StoreWrite};
use sdk_plugin::{Cx, Fault, Value};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::abi::PaymentInfo;
use super::fees::Fee;
use super::payment_info::Place;
use super::reason::Dialect;
use crate::text;

/// How long rows outlive their payment's refund deadline, in seconds.
pub const KEPT_AFTER_REFUND_DEADLINE_S: u64 = 90 * 86_400;

/// A payment as it was collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub payment_info: PaymentInfo,
    pub chain_id: u64,
    pub escrow: Address,
    /// Zero: nobody authorizes captures and refunds.
    pub receiver_authorizer: Address,
    /// Present when the buyer's salt commits to the authorizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt_nonce: Option<U256>,
    /// Who opened it; captures and refunds that we authorize are this tenant's alone.
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
        self.payment_info.hash(Place {
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

    /// The rows of a collection's first commit. `previous`: what [`find`] answered inside the payment's conflict key,
    /// with the payment not collected; it may be another tenant's that never came to anything, and is replaced. A row
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

    /// The row of an operation on this payment.
    ///
    /// # Errors
    /// As [`Self::first_writes`].
    pub fn operation_write(&self, operation: &OperationRow) -> Result<StoreWrite, Fault> {
        operation_write(&self.network(), self.hash(), operation, self.refund_deadline_s())
    }

    /// Milliseconds since the epoch.
    fn expires_at_ms(&self) -> u64 {
        rows_expire_at_ms(self.refund_deadline_s())
    }

    /// Keys of the lists that this payment is in.
    fn lists(&self) -> Vec<String> {
        let (network, tenant) = (self.network(), self.tenant.as_deref());
        let entry = entry(self.capture_deadline_s(), self.hash());
        [
            List::All,
            List::Receiver(self.payment_info.receiver),
            List::Operator(self.payment_info.operator),
        ]
        .into_iter()
        .map(|list| format!("{}{entry}", list.prefix(&network, tenant)))
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

/// The row of an operation, where a judge has no [`Record`] at hand.
///
/// # Errors
/// As [`Record::first_writes`].
pub fn operation_write(
    network: &str,
    hash: B256,
    operation: &OperationRow,
    refund_deadline_s: u64,
) -> Result<StoreWrite, Fault> {
    Ok(always(
        format!(
            "{}{:012}/{}",
            operations_prefix(network, hash),
            operation.planned_at_s,
            operation.transaction
        ),
        json(operation)?,
        Some(rows_expire_at_ms(refund_deadline_s)),
    ))
}

/// Amounts that a merchant reported as used, and that are captured for it in one go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Atomic units since the payment was opened. Whatever was captured counts against it.
    pub total: U256,
    pub reports: u64,
}

/// What one funding agreement has paid, or may still pay, by the hour: at most 25 of them.
///
/// Counted when a refund is planned, and not given back when it fails: a limit errs on the operator's side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundLedger {
    /// Hours since the epoch and atomic units, in order.
    hours: Vec<(u64, U256)>,
}

const HOUR_S: u64 = 3_600;
/// A window of whole hours that is never shorter than a day.
const HOURS: u64 = 24;

impl RefundLedger {
    /// Atomic units within the last 24 to 25 hours. `None` on overflow.
    #[must_use]
    pub fn spent(&self, now_s: u64) -> Option<U256> {
        let oldest = (now_s / HOUR_S).saturating_sub(HOURS);
        self.hours
            .iter()
            .filter(|(hour, _)| *hour >= oldest)
            .try_fold(U256::ZERO, |sum, (_, units)| sum.checked_add(*units))
    }

    /// With one more refund, if the limit allows it.
    #[must_use]
    pub fn with(&self, amount: U256, max_per_day: U256, now_s: u64) -> Option<Self> {
        let total = self.spent(now_s)?.checked_add(amount)?;
        if total > max_per_day {
            return None;
        }
        let now = now_s / HOUR_S;
        let oldest = now.saturating_sub(HOURS);
        let mut hours: Vec<_> = self
            .hours
            .iter()
            .copied()
            .filter(|(hour, _)| *hour >= oldest)
            .collect();
        match hours.iter_mut().find(|(hour, _)| *hour == now) {
            Some((_, units)) => *units = units.checked_add(amount)?,
            None => hours.push((now, amount)),
        }
        Some(Self { hours })
    }
}

/// A list of one tenant's payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    All,
    Receiver(Address),
    Operator(Address),
}

impl List {
    /// Rows behind it are in the order of capture deadlines.
    #[must_use]
    pub fn prefix(&self, network: &str, tenant: Option<&str>) -> String {
        let list = match self {
            Self::All => "all".to_owned(),
            Self::Receiver(address) => format!("receiver/{}", text::lower(*address)),
            Self::Operator(address) => format!("operator/{}", text::lower(*address)),
        };
        format!("index/{network}/{}/{list}/", tenant_key(tenant))
    }
}

/// What stands behind a list's prefix. Deadlines fit 48 bits, which is 15 digits.
#[must_use]
pub fn entry(capture_deadline_s: u64, hash: B256) -> String {
    format!("{capture_deadline_s:015}/{hash}")
}

/// Capture deadline and hash of a list's row.
#[must_use]
pub fn read_entry(entry: &str) -> Option<(u64, B256)> {
    let (deadline_s, hash) = entry.split_once('/')?;
    Some((deadline_s.parse().ok()?, text::word(hash)?))
}

#[must_use]
pub fn payment_key(network: &str, hash: B256) -> String {
    format!("payment/{network}/{hash}")
}

#[must_use]
pub fn operations_prefix(network: &str, hash: B256) -> String {
    format!("operation/{network}/{hash}/")
}

#[must_use]
pub fn usage_key(network: &str, hash: B256) -> String {
    format!("usage/{network}/{hash}")
}

/// `id` is the merchant's own text.
#[must_use]
pub fn usage_id_key(network: &str, hash: B256, id: &str) -> String {
    format!("usage-id/{network}/{hash}/{}", keccak256(id))
}

#[must_use]
pub fn refunded_key(network: &str, tenant: &str, receiver: Address, asset: Address) -> String {
    format!(
        "refunded/{network}/{}/{}/{}",
        tenant_key(Some(tenant)),
        text::lower(receiver),
        text::lower(asset)
    )
}

fn tenant_key(tenant: Option<&str>) -> String {
    tenant.map_or_else(|| "-".to_owned(), |name| keccak256(name).to_string())
}

/// A row that is there: what it says, and the value to compare with when it is replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<T = Record> {
    pub record: T,
    pub value: Value,
}

/// The record of a payment, if there is one.
///
/// # Errors
/// Trouble with the store, or a row that can't be read.
pub async fn find(cx: &Cx, network: &str, hash: B256) -> Result<Option<Found>, Fault> {
    get(cx, payment_key(network, hash)).await
}

/// The row behind `key`, if there is one.
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

/// Everything that was done with a payment, in the order in which it was planned; at most 1,000 operations.
///
/// # Errors
/// As [`find`].
pub async fn operations(cx: &Cx, network: &str, hash: B256) -> Result<Vec<OperationRow>, Fault> {
    let prefix = operations_prefix(network, hash);
    let rows = scan(cx, prefix, None, 1_000).await?;
    rows.iter()
        .map(|row| {
            OperationRow::deserialize(&row.value)
                .map_err(|error| Fault::internal(format!("row {} can't be read: {error}", row.key)))
        })
        .collect()
}

/// Rows in the order of their keys.
///
/// # Errors
/// Trouble with the store.
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
        // Written by somebody who did not see theirs.
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

    #[test]
    fn t64_a_days_refunds_are_limited_and_yesterdays_forgotten() {
        let limit = U256::from(100);
        let at = |hour: u64| hour * HOUR_S;
        let ledger = RefundLedger::default()
            .with(U256::from(60), limit, at(1_000))
            .expect("within the limit");
        assert_eq!(ledger.with(U256::from(41), limit, at(1_001)), None);
        let ledger = ledger
            .with(U256::from(40), limit, at(1_001))
            .expect("within the limit");
        assert_eq!(ledger.spent(at(1_024) + 3_599), Some(U256::from(100)));
        assert_eq!(ledger.spent(at(1_025)), Some(U256::from(40)));
        let ledger = ledger
            .with(U256::from(60), limit, at(1_025))
            .expect("within the limit");
        assert_eq!(ledger.hours.len(), 2, "what is forgotten is not kept");
        assert_eq!(
            RefundLedger::default().with(U256::MAX, limit, at(1)),
            None,
            "no amount overflows the limit"
        );
    }
}
