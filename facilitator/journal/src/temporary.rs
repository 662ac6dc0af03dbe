//! Rows that nodes leave for each other and that count for a short time: how much of a day's budget is taken, and who plans a
//! settlement of which claim. [`dead`] finds those that count for nothing any more.

use sdk_plugin::Amount;

use crate::lease::as_rows;
use crate::queries::{decode, get};
use crate::{JournalError, RowKey, Rows, Storage, Table, Write};

/// How long an announcement counts, milliseconds: longer than any request waits.
pub const INTENT_MS: u64 = 120_000;
/// An announcement that is older than this, milliseconds, is removed.
const INTENT_KEPT_MS: u64 = 10 * INTENT_MS;
/// A part of a day's budget is removed so long after the day began, milliseconds: the clocks of nodes differ by less.
const GRANT_KEPT_MS: u64 = 3 * 24 * 3_600 * 1_000;

/// More nodes than plan one claim at once.
const MOST_INTENTS: usize = 64;
/// Announcements that are read at once.
const PAGE: usize = 256;

/// Takes an amount from a sum that all nodes share, inside the caller's transaction; see [`Shared::take_grant`](crate::lease::Shared::take_grant).
///
/// # Errors
/// When a row can't be read or written.
pub fn take_grant(
    rows: &mut dyn Storage,
    key: &str,
    amount: Amount,
    limit: Amount,
) -> Result<bool, JournalError> {
    let taken: Option<Amount> = get(as_rows(rows), Table::Grants, key)?;
    let after = taken.unwrap_or_default().checked_add(amount);
    let Some(after) = after.filter(|after| *after <= limit) else {
        return Ok(false);
    };
    let text =
        serde_json::to_string(&after).map_err(|error| JournalError(format!("grants {key}: {error}")))?;
    let write = if taken.is_some() {
        Write::Put(text)
    } else {
        Write::Insert(text)
    };
    rows.write(Table::Grants, key, &write)?;
    Ok(true)
}

/// See [`Shared::announce`](crate::lease::Shared::announce).
///
/// # Errors
/// When the row can't be written.
pub fn announce(rows: &mut dyn Storage, node: &str, claim: &str, now_ms: u64) -> Result<(), JournalError> {
    let write = Write::Put(now_ms.to_string());
    rows.write(Table::Intents, &intent_key(claim, node), &write)
}

/// See [`Shared::withdraw`](crate::lease::Shared::withdraw).
///
/// # Errors
/// When the row can't be removed.
pub fn withdraw(rows: &mut dyn Storage, node: &str, claim: &str) -> Result<(), JournalError> {
    rows.write(Table::Intents, &intent_key(claim, node), &Write::Delete)
}

/// See [`Shared::is_announced`](crate::lease::Shared::is_announced).
///
/// # Errors
/// When a row can't be read.
pub fn is_announced(rows: &mut dyn Rows, node: &str, claim: &str, now_ms: u64) -> Result<bool, JournalError> {
    let own = intent_key(claim, node);
    for (key, text) in rows.scan(Table::Intents, &intent_key(claim, ""), None, MOST_INTENTS)? {
        let at_ms: u64 = decode(Table::Intents, &key, &text)?;
        if key != own && at_ms.saturating_add(INTENT_MS) > now_ms {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Names of nodes contain no `|`.
pub(crate) fn intent_key(claim: &str, node: &str) -> String {
    format!("{claim}|{node}")
}

/// Rows that count for nothing any more at this time of the database, at most `limit` of each kind.
///
/// # Errors
/// When a row can't be read.
pub fn dead(rows: &mut dyn Rows, now_ms: u64, limit: usize) -> Result<Vec<RowKey>, JournalError> {
    // In the order of their days.
    let grants = rows.scan(Table::Grants, "", None, limit)?;
    let mut found: Vec<RowKey> = grants
        .into_iter()
        .filter(|(key, _)| is_grant_over(key, now_ms))
        .map(|(key, _)| (Table::Grants, key))
        .collect();
    let (mut after, mut left): (Option<String>, usize) = (None, limit);
    while left > 0 {
        let page = rows.scan(Table::Intents, "", after.as_deref(), PAGE)?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|(key, _)| key.clone());
        for (key, text) in page {
            if left > 0 && is_intent_over(&key, &text, now_ms)? {
                found.push((Table::Intents, key));
                left = left.saturating_sub(1);
            }
        }
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// Removes those of these rows that still count for nothing, inside the caller's transaction. Returns how many.
///
/// # Errors
/// When a row can't be read or removed.
pub fn remove_dead(rows: &mut dyn Storage, now_ms: u64, keys: &[RowKey]) -> Result<usize, JournalError> {
    let mut writes = Vec::new();
    for ((table, key), text) in keys.iter().zip(rows.get_all(keys)?) {
        let Some(text) = text else { continue };
        let is_dead = match table {
            Table::Grants => is_grant_over(key, now_ms),
            Table::Intents => is_intent_over(key, &text, now_ms)?,
            _ => false,
        };
        if is_dead {
            writes.push(((*table, key.clone()), Write::Delete));
        }
    }
    rows.write_all(&writes)?;
    Ok(writes.len())
}

/// Keys begin with the millisecond at which the day began.
fn is_grant_over(key: &str, now_ms: u64) -> bool {
    let began_ms = key.split('|').next().and_then(|day| day.parse::<u64>().ok());
    began_ms.is_some_and(|began_ms| began_ms.saturating_add(GRANT_KEPT_MS) <= now_ms)
}

fn is_intent_over(key: &str, text: &str, now_ms: u64) -> Result<bool, JournalError> {
    let at_ms: u64 = decode(Table::Intents, key, text)?;
    Ok(at_ms.saturating_add(INTENT_KEPT_MS) <= now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Tables;

    const DAY_MS: u64 = 24 * 3_600 * 1_000;
    const NODE: &str = "west-1-17";

    #[test]
    fn only_what_counts_for_nothing_is_removed_and_only_so_much_at_once() {
        let mut tables = Tables::default();
        let (ten, limit) = (Amount::from(10_u64), Amount::from(100_u64));
        for day in 0..6 {
            let key = format!("{:020}|eip155:1|network", day * DAY_MS);
            assert!(take_grant(&mut tables, &key, ten, limit).unwrap());
        }
        let now_ms = 5 * DAY_MS + 1;
        for (claim, at_ms) in [
            ("a", 0),
            ("b", now_ms - INTENT_KEPT_MS),
            ("c", now_ms - INTENT_MS),
            ("d", now_ms),
        ] {
            announce(&mut tables, NODE, claim, at_ms).unwrap();
        }
        let found = dead(&mut tables, now_ms, 2).unwrap();
        assert_eq!(found.len(), 4, "two of each kind: {found:?}");
        // Announced again after it was read.
        announce(&mut tables, NODE, "b", now_ms).unwrap();
        assert_eq!(remove_dead(&mut tables, now_ms, &found), Ok(3));
        let found = dead(&mut tables, now_ms, 2).unwrap();
        assert_eq!(remove_dead(&mut tables, now_ms, &found), Ok(1));
        assert_eq!(dead(&mut tables, now_ms, 2), Ok(vec![]));
        let left: Vec<String> = tables.into_keys().map(|(_, key)| key).collect();
        let days = [3, 4, 5].map(|day| format!("{:020}|eip155:1|network", day * DAY_MS));
        let intents = ["b", "c", "d"].map(|claim| intent_key(claim, NODE));
        assert_eq!(left, [days, intents].concat());
    }

    #[test]
    fn dead_announcements_are_found_behind_many_that_count() {
        let mut tables = Tables::default();
        for claim in 0..PAGE * 2 {
            announce(&mut tables, NODE, &format!("{claim:05}"), INTENT_KEPT_MS).unwrap();
        }
        announce(&mut tables, NODE, "99999", 0).unwrap();
        let found = dead(&mut tables, INTENT_KEPT_MS, 9).unwrap();
        assert_eq!(found, [(Table::Intents, intent_key("99999", NODE))]);
    }
}
