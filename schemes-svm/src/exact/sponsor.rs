//! How many token accounts were paid for: a payee can close one, keep its rent, and request the next.

use sdk_plugin::host::{StoreCondition, StoreRequest, StoreResponse, StoreWrite};
use sdk_plugin::{Cx, Fault, Value};
use serde_json::json;
use solana_address::Address;

use super::config::CreateAta;

/// The counters that one more account moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counters(Vec<(String, Option<u64>)>);

/// Reads the counters; `None` when one more account would pass a limit.
pub(super) async fn counters(
    cx: &Cx,
    limits: &CreateAta,
    pay_to: &Address,
    tenant: Option<&str>,
) -> Result<Option<Counters>, Fault> {
    let network = &cx.network().id;
    let rows = [
        (
            format!("sponsored/{network}/pay_to/{pay_to}"),
            limits.max_per_pay_to,
        ),
        (
            format!("sponsored/{network}/tenant/{}", tenant.unwrap_or_default()),
            limits.max_per_tenant,
        ),
    ];
    let mut counters = Vec::new();
    for (key, limit) in rows {
        let count = count(cx, &key).await?;
        if count.unwrap_or(0) >= limit {
            return Ok(None);
        }
        counters.push((key, count));
    }
    Ok(Some(Counters(counters)))
}

async fn count(cx: &Cx, key: &str) -> Result<Option<u64>, Fault> {
    match cx.store(StoreRequest::Get { key: key.into() }).await? {
        StoreResponse::Rows { rows } => Ok(rows.first().and_then(|row| row.value.as_u64())),
        StoreResponse::Written | StoreResponse::Conflict { .. } => {
            Err(Fault::internal("the store answered a read with something else"))
        }
    }
}

impl Counters {
    /// One more, unless another process was faster: then the settlement does not start.
    pub(super) fn writes(self) -> Vec<StoreWrite> {
        self.0
            .into_iter()
            .map(|(key, before)| StoreWrite {
                key,
                value: json!(before.unwrap_or(0).saturating_add(1)),
                condition: before.map_or(StoreCondition::Absent, |count| StoreCondition::Equals {
                    value: Value::from(count),
                }),
                expires_at_ms: None,
            })
            .collect()
    }
}
