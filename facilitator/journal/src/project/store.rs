//! Rows of plugins' stores.

use sdk_plugin::host::{StoreCondition, StoreWrite};
use serde_json::Value;

use crate::keys::{expiry_key, store_key};
use crate::overlay::Overlay;
use crate::queries::get;
use crate::row::StoreValue;
use crate::{CommitError, Table};

use crate::change::put;

pub(crate) fn stored(
    rows: &mut Overlay<'_>,
    plugin: &str,
    write: &StoreWrite,
    now_ms: u64,
) -> Result<(), CommitError> {
    let key = store_key(plugin, &write.key);
    let current: Option<StoreValue> = get(rows, Table::Store, &key)?;
    if let Some(at_ms) = current.as_ref().and_then(|current| current.expires_at_ms) {
        rows.delete(Table::StoreExpiry, &expiry_key(at_ms, &key));
    }
    let current = current
        .filter(|v| v.expires_at_ms.is_none_or(|at| at > now_ms))
        .map(|v| v.value);
    let holds = match &write.condition {
        StoreCondition::Always => true,
        StoreCondition::Absent => current.is_none(),
        StoreCondition::Equals { value } => current.as_ref() == Some(value),
    };
    if !holds {
        return Err(CommitError::StoreCondition(write.key.clone()));
    }
    if write.value == Value::Null {
        rows.delete(Table::Store, &key);
        return Ok(());
    }
    if let Some(at_ms) = write.expires_at_ms {
        put(rows, Table::StoreExpiry, &expiry_key(at_ms, &key), &())?;
    }
    put(
        rows,
        Table::Store,
        &key,
        &StoreValue {
            value: write.value.clone(),
            expires_at_ms: write.expires_at_ms,
        },
    )
}
