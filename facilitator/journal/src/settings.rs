//! What an operator sets for every node that shares the journal, as texts with names. Each node polls them; nothing of it is
//! in the log of events.

use std::collections::BTreeMap;

use crate::{JournalError, Rows, Storage, Table, Write};

/// What is paused.
pub const PAUSED: &str = "paused";
/// Withheld releases that the operator allows.
pub const RELEASES_ALLOWED: &str = "releases_allowed";
/// How often allowed releases were recorded. When it changes, each node reads its open settlements anew.
pub const RELEASES_APPLIED: &str = "releases_applied";

/// Every setting, by its name.
///
/// # Errors
/// When the table can't be read.
pub fn all(rows: &mut dyn Rows) -> Result<BTreeMap<String, String>, JournalError> {
    let found = rows.scan(Table::Settings, "", None, usize::MAX)?;
    Ok(found.into_iter().collect())
}

/// Sets it inside the caller's transaction, if it still is as it was seen; `seen` is `None` where it was not set. Returns
/// whether it is set.
///
/// # Errors
/// When the row can't be read or written.
pub fn put(rows: &mut dyn Storage, name: &str, seen: Option<&str>, text: &str) -> Result<bool, JournalError> {
    let now = rows.get(Table::Settings, name)?;
    if now.as_deref() != seen {
        return Ok(false);
    }
    let write = match now {
        Some(_) => Write::Put(text.to_owned()),
        None => Write::Insert(text.to_owned()),
    };
    rows.write(Table::Settings, name, &write)?;
    Ok(true)
}
