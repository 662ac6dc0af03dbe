//! Rows of plugins' stores, and payload bytes that are dropped.

use sdk_plugin::host::{StoreCondition, StoreWrite};
use serde_json::Value;

use crate::keys::store_key;
use crate::overlay::Overlay;
use crate::queries::get;
use crate::row::StoreValue;
use crate::{CommitError, Rows, Table};

use crate::change::put;

pub(crate) fn stored(
    rows: &mut Overlay<'_>,
    plugin: &str,
    write: &StoreWrite,
    now_ms: u64,
) -> Result<(), CommitError> {
    let key = store_key(plugin, &write.key);
    let current: Option<StoreValue> = get(rows, Table::Store, &key)?;
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

pub(crate) fn payloads_dropped(rows: &mut Overlay<'_>, finished_before_ms: u64) -> Result<(), CommitError> {
    let bound = format!("{finished_before_ms:020}");
    for (key, _) in rows.scan(Table::Finished, "", None, usize::MAX)? {
        if key >= bound {
            break;
        }
        let Some((_, id)) = key.split_once('|') else {
            continue;
        };
        rows.delete(Table::Plans, id);
        for (link, _) in rows.scan(Table::AttemptSteps, &format!("{id}|"), None, usize::MAX)? {
            if let Some(attempt) = link.rsplit('|').next() {
                rows.delete(Table::Payloads, attempt);
            }
        }
        rows.delete(Table::Finished, &key);
    }
    Ok(())
}
