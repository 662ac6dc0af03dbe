//! What is kept under an id, and what two ids have in common. Only reads.

use super::{AdoptError, Adopted, Adoption, Collisions, PAGE, prefix};
use crate::queries::decode;
use crate::row::{JobRow, KeyRow, SettlementRow, StoreValue};
use crate::{JournalError, RowKey, Rows, Table};

/// Tables whose keys begin with a plugin's id.
const KEYED: [Table; 4] = [Table::Claims, Table::ConflictKeys, Table::Store, Table::Jobs];

/// Every plugin id under which the journal keeps something, in order.
///
/// # Errors
/// The journal can't be read.
pub fn known_ids(rows: &mut dyn Rows) -> Result<Vec<String>, JournalError> {
    let mut known = Vec::new();
    for table in KEYED {
        let mut after: Option<String> = None;
        while let Some((key, _)) = rows.scan(table, "", after.as_deref(), 1)?.into_iter().next() {
            after = Some(match key.split_once('|') {
                // Of no plugin.
                Some(("", _)) => format!("|{}", char::MAX),
                // The id's other keys are skipped.
                Some((id, _)) => {
                    known.push(id.to_owned());
                    format!("{}{}", prefix(id), char::MAX)
                }
                None => key,
            });
        }
    }
    known.sort();
    known.dedup();
    Ok(known)
}

/// What the adoption would change now, `now_ms` milliseconds since the epoch.
///
/// # Errors
/// [`AdoptError::Nothing`] and [`AdoptError::Collide`], or the journal can't be read.
pub fn survey(rows: &mut dyn Rows, adoption: &Adoption, now_ms: u64) -> Result<Adopted, AdoptError> {
    let mut adopted = Adopted::default();
    each(rows, Table::Settlements, "", adoption, |_, page| {
        for (key, text) in page {
            let row: SettlementRow = decode(Table::Settlements, key, text)?;
            if row.plugin == adoption.from {
                adopted.settlements = adopted.settlements.saturating_add(1);
                let open = u64::from(!row.finished);
                adopted.unfinished = adopted.unfinished.saturating_add(open);
            }
        }
        Ok(())
    })?;
    let mut collisions = Collisions::default();
    compare(rows, Table::Claims, adoption, |own, _, new| {
        if new.is_some() {
            collisions.claims.add(own);
        }
        Ok(())
    })?;
    compare(rows, Table::ConflictKeys, adoption, |own, old, new| {
        if are_held(old, new)? {
            collisions.conflict_keys.add(own);
        }
        Ok(())
    })?;
    let rows_of_store = compare(rows, Table::Store, adoption, |own, old, new| {
        if kept_row(old, new, now_ms)? == Kept::Unclear {
            collisions.rows.add(own);
        }
        Ok(())
    })?;
    let jobs = compare(rows, Table::Jobs, adoption, |own, old, new| {
        if let Some(new) = new
            && !is_same_job(old, new)?
        {
            collisions.jobs.add(own);
        }
        Ok(())
    })?;
    (adopted.rows, adopted.jobs) = (rows_of_store, jobs);
    if adopted == Adopted::default() && !has_any(rows, adoption)? {
        return Err(AdoptError::Nothing {
            from: adoption.from.clone(),
            known: known_ids(rows)?,
        });
    }
    if !collisions.is_empty() {
        return Err(AdoptError::Collide {
            from: adoption.from.clone(),
            to: adoption.to.clone(),
            collisions: Box::new(collisions),
        });
    }
    Ok(adopted)
}

/// Whether any key is the old id's.
fn has_any(rows: &mut dyn Rows, adoption: &Adoption) -> Result<bool, JournalError> {
    for table in KEYED {
        if !rows.scan(table, &adoption.old_prefix(), None, 1)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every row whose key begins with `prefix`, a page at a time.
fn each(
    rows: &mut dyn Rows,
    table: Table,
    prefix: &str,
    adoption: &Adoption,
    mut with: impl FnMut(&mut dyn Rows, &[(String, String)]) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let mut after = None;
    loop {
        let page = next_page(rows, table, prefix, &mut after, adoption)?;
        if page.is_empty() {
            return Ok(());
        }
        with(rows, &page)?;
    }
}

/// The rows after `after`, which then names the last of them; empty: there are no more.
pub(super) fn next_page(
    rows: &mut dyn Rows,
    table: Table,
    prefix: &str,
    after: &mut Option<String>,
    adoption: &Adoption,
) -> Result<Vec<(String, String)>, JournalError> {
    let page = rows.scan(table, prefix, after.as_deref(), PAGE)?;
    if let Some((last, _)) = page.last() {
        *after = Some(last.clone());
    }
    adoption.count(page.len());
    Ok(page)
}

/// The old id's rows, each with that of the new id at the same key, and the key without the id. Returns how many there are.
fn compare(
    rows: &mut dyn Rows,
    table: Table,
    adoption: &Adoption,
    mut with: impl FnMut(&str, &str, Option<&str>) -> Result<(), JournalError>,
) -> Result<u64, JournalError> {
    let old = adoption.old_prefix();
    let mut count: u64 = 0;
    each(rows, table, &old, adoption, |rows, page| {
        for ((key, text), new) in page.iter().zip(counterparts(rows, table, adoption, page)?) {
            count = count.saturating_add(1);
            with(key.strip_prefix(&old).unwrap_or(key), text, new.as_deref())?;
        }
        Ok(())
    })?;
    Ok(count)
}

/// The rows of the new id at the keys of a page.
pub(super) fn counterparts(
    rows: &mut dyn Rows,
    table: Table,
    adoption: &Adoption,
    page: &[(String, String)],
) -> Result<Vec<Option<String>>, JournalError> {
    let keys: Vec<RowKey> = page
        .iter()
        .map(|(key, _)| (table, adoption.moved(key).unwrap_or_default()))
        .collect();
    rows.get_all(&keys)
}

/// Whether settlements of both ids hold the key. Nothing plans now, so that who freed it last says nothing.
fn are_held(old: &str, new: Option<&str>) -> Result<bool, JournalError> {
    let Some(new) = new else { return Ok(false) };
    Ok(is_held(old)? && is_held(new)?)
}

pub(super) fn is_held(text: &str) -> Result<bool, JournalError> {
    match decode(Table::ConflictKeys, "", text)? {
        KeyRow::Held(_) => Ok(true),
        KeyRow::Freed { .. } => Ok(false),
    }
}

/// Which of two rows of stores is kept under the new id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Old,
    New,
    /// Both live, and differ.
    Unclear,
}

/// A row that has ended does not exist for its plugin.
pub(super) fn kept_row(old: &str, new: Option<&str>, now_ms: u64) -> Result<Kept, JournalError> {
    let Some(new) = new else { return Ok(Kept::Old) };
    let old: StoreValue = decode(Table::Store, "", old)?;
    let new: StoreValue = decode(Table::Store, "", new)?;
    let has_ended = |row: &StoreValue| row.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms);
    Ok(if has_ended(&new) {
        Kept::Old
    } else if has_ended(&old) || old == new {
        Kept::New
    } else {
        Kept::Unclear
    })
}

/// The same job: how often it has failed does not matter.
fn is_same_job(old: &str, new: &str) -> Result<bool, JournalError> {
    let old: JobRow = decode(Table::Jobs, "", old)?;
    let new: JobRow = decode(Table::Jobs, "", new)?;
    Ok(old.job == new.job)
}
