//! A settlement's record as JSON, for every door that shows it.

use base::settlement::{FoundSettlement, SettlementRecord};
use serde_json::{Map, Value, json};

use super::redaction::redact;
use super::times::iso;

/// Every member of a record. Members that are not known are left out.
#[must_use]
pub fn full(record: &SettlementRecord) -> Map<String, Value> {
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    add("id", json!(record.id));
    add("status", json!(record.status.name()));
    add("mayPayAgain", json!(record.may_pay_again));
    add("transaction", json!(record.transaction));
    add("network", json!(record.network));
    add("scheme", json!(record.scheme));
    add("payer", json!(record.payer));
    add("payTo", json!(record.pay_to));
    add("asset", json!(record.asset));
    if let Some(amount) = record.amount {
        add("amount", json!(amount.to_string()));
    }
    if let Some(fee) = record.fee {
        add("fee", json!(fee.to_string()));
    }
    if let Some(reason) = &record.error_reason {
        add("errorReason", json!(redact(reason)));
    }
    if let Some(message) = &record.error_message {
        add("errorMessage", json!(redact(message)));
    }
    add("released", json!(record.released));
    add("createdAt", json!(iso(record.created_at_ms)));
    add("updatedAt", json!(iso(record.updated_at_ms)));
    if let Some(expires_at_s) = record.expires_at_s {
        add("expiresAt", json!(iso(expires_at_s.saturating_mul(1_000))));
    }
    if let Some(retry_after_ms) = record.retry_after_ms {
        add("retryAfterMs", json!(retry_after_ms));
    }
    members
}

/// What a caller without credentials learns by a transaction, which is public.
fn public(record: &SettlementRecord) -> Map<String, Value> {
    let mut members = full(record);
    members.retain(|name, _| matches!(name.as_str(), "status" | "transaction" | "network"));
    members
}

/// The reply to a look-up: the only settlement, or `payments` if there are several. `None`: there is none.
pub(super) fn reply(found: &[FoundSettlement], has_tenants: bool) -> Option<Value> {
    let shown = |found: &FoundSettlement| {
        let members = if found.by_transaction && !has_tenants {
            public(&found.record)
        } else {
            full(&found.record)
        };
        Value::Object(members)
    };
    match found {
        [] => None,
        [only] => Some(shown(only)),
        several => Some(json!({ "payments": several.iter().map(shown).collect::<Vec<_>>() })),
    }
}
