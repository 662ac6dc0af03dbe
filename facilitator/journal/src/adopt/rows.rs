//! The changes of an adoption, in the back end's transaction.

use base::allowed_releases as allowed;

use super::known::{self, Kept};
use super::{AdoptError, Adopted, Adoption, still_gone};
use crate::keys::{REPLAY_KEYS, expiry_key, id_key, store_key};
use crate::lease::{self, Lease, as_rows};
use crate::queries::decode;
use crate::row::{JobRow, SettlementRow, StoreValue};
use crate::settings::RELEASES_ALLOWED;
use crate::{JournalError, RowKey, Storage, Table, Write, jobs, lookups};
use sdk_plugin::Value;

type Writes = Vec<(RowKey, Write)>;

/// Checks that nothing contradicts the adoption, and changes every row. `gone`: leases of nodes that have ended.
///
/// The caller holds a transaction in which nothing else writes, and undoes it after an error.
///
/// # Errors
/// Those of [`known::survey`], [`AdoptError::InUse`], or a row can't be read or written.
pub(crate) fn change(
    rows: &mut dyn Storage,
    adoption: &Adoption,
    gone: &[Lease],
    now_ms: u64,
) -> Result<Adopted, AdoptError> {
    still_gone(gone, lease::all(as_rows(rows))?)?;
    let adopted = known::survey(as_rows(rows), adoption, now_ms)?;
    // A node that was stopped and wakes finds that its lease is lost, and ends: it still has the old plugin.
    let ended = gone
        .iter()
        .map(|lease| ((Table::Leases, lease.unit.clone()), Write::Delete));
    rows.write_all(&ended.collect::<Writes>())?;
    for table in Table::ALL {
        change_table(rows, table, adoption, now_ms)?;
    }
    Ok(adopted)
}

fn change_table(
    rows: &mut dyn Storage,
    table: Table,
    adoption: &Adoption,
    now_ms: u64,
) -> Result<(), JournalError> {
    match table {
        Table::Settlements => settlements(rows, adoption),
        Table::Claims => moved(rows, table, adoption, |_, key, to, text, _| {
            Ok(one_moved(table, key, to, text))
        }),
        Table::ConflictKeys => moved(rows, table, adoption, |_, key, to, text, new| match new {
            Some(_) if !known::is_held(text)? => Ok(vec![removed(table, key)]),
            Some(_) | None => Ok(one_moved(table, key, to, text)),
        }),
        Table::Store => {
            moved(rows, table, adoption, |_, key, to, text, new| {
                store_row(key, to, text, new, now_ms)
            })?;
            replay_keys(rows, adoption)
        }
        Table::Jobs => moved(rows, table, adoption, |adoption, key, to, text, new| {
            job(adoption, key, to, text, new)
        }),
        // Announcements of nodes that have ended.
        Table::Intents => moved(rows, table, adoption, |_, key, _, _, _| {
            Ok(vec![removed(table, key)])
        }),
        Table::Settings => allowed_releases(rows, adoption),
        // Changed with the rows whose order or look-up they are.
        Table::Lookups | Table::StoreExpiry | Table::DueJobs
        // Named by ids, hashes, lanes or the chain: no plugin's id is in them.
        | Table::Requests
        | Table::Unfinished
        | Table::Finished
        | Table::Plans
        | Table::Attempts
        | Table::AttemptSteps
        | Table::Payloads
        | Table::OpenSlots
        | Table::ClosedSlots
        | Table::Lanes
        | Table::Evidence
        | Table::Reserves
        | Table::Holds
        | Table::Withheld
        | Table::History
        | Table::Spending
        | Table::FinalHeights
        | Table::Leases
        | Table::Handovers
        | Table::Grants => Ok(()),
    }
}

/// Every settlement of the old id, with the key by which its whole claim is searched.
fn settlements(rows: &mut dyn Storage, adoption: &Adoption) -> Result<(), JournalError> {
    let table = Table::Settlements;
    pages(rows, table, "", adoption, |_, page| {
        let mut writes = Writes::new();
        for (key, text) in page {
            let mut row: SettlementRow = decode(table, key, text)?;
            if row.plugin != adoption.from {
                continue;
            }
            adoption.to.clone_into(&mut row.plugin);
            if let Some(claim) = adoption.moved(&row.claim) {
                let old = lookups::claim_key(&row.claim, row.id);
                let new = lookups::claim_key(&claim, row.id);
                writes.push(removed(Table::Lookups, &old));
                writes.push(((Table::Lookups, new), Write::Put("null".into())));
                row.claim = claim;
            }
            for key in &mut row.conflict_keys {
                if let Some(moved) = adoption.moved(key) {
                    *key = moved;
                }
            }
            writes.push(put(table, &id_key(row.id), &row)?);
        }
        Ok(writes)
    })
}

/// What becomes of the rows of the old id. `with` gets the old key, the new one, the row, and the row at the new key.
fn moved(
    rows: &mut dyn Storage,
    table: Table,
    adoption: &Adoption,
    with: impl Fn(&Adoption, &str, &str, &str, Option<&str>) -> Result<Writes, JournalError>,
) -> Result<(), JournalError> {
    pages(rows, table, &adoption.old_prefix(), adoption, |rows, page| {
        let mut writes = Writes::new();
        let new = known::counterparts(as_rows(rows), table, adoption, page)?;
        for ((key, text), new) in page.iter().zip(new) {
            let to = adoption.moved(key).unwrap_or_default();
            writes.extend(with(adoption, key, &to, text, new.as_deref())?);
        }
        Ok(writes)
    })
}

/// Changes rows whose keys begin with `prefix`, a page at a time.
fn pages(
    rows: &mut dyn Storage,
    table: Table,
    prefix: &str,
    adoption: &Adoption,
    mut with: impl FnMut(&mut dyn Storage, &[(String, String)]) -> Result<Writes, JournalError>,
) -> Result<(), JournalError> {
    let mut after = None;
    loop {
        let page = known::next_page(as_rows(rows), table, prefix, &mut after, adoption)?;
        if page.is_empty() {
            return Ok(());
        }
        let writes = with(rows, &page)?;
        rows.write_all(&writes)?;
    }
}

fn store_row(
    key: &str,
    to: &str,
    text: &str,
    new: Option<&str>,
    now_ms: u64,
) -> Result<Writes, JournalError> {
    let mut writes = Writes::new();
    let ends = |key: &str, text: &str| -> Result<Option<String>, JournalError> {
        let row: StoreValue = decode(Table::Store, key, text)?;
        Ok(row.expires_at_ms.map(|at_ms| expiry_key(at_ms, key)))
    };
    writes.extend(ends(key, text)?.map(|end| removed(Table::StoreExpiry, &end)));
    match known::kept_row(text, new, now_ms)? {
        Kept::Old => {
            if let Some(new) = new {
                writes.extend(ends(to, new)?.map(|end| removed(Table::StoreExpiry, &end)));
            }
            let end = ends(to, text)?;
            writes.extend(end.map(|end| ((Table::StoreExpiry, end), Write::Put("null".into()))));
            writes.extend(one_moved(Table::Store, key, to, text));
        }
        Kept::New | Kept::Unclear => writes.push(removed(Table::Store, key)),
    }
    Ok(writes)
}

/// Replay keys name the claims that have them.
fn replay_keys(rows: &mut dyn Storage, adoption: &Adoption) -> Result<(), JournalError> {
    let table = Table::Store;
    pages(rows, table, &store_key(REPLAY_KEYS, ""), adoption, |_, page| {
        let mut writes = Writes::new();
        for (key, text) in page {
            let row: StoreValue = decode(table, key, text)?;
            if let Some(holder) = row.value.as_str().and_then(|holder| adoption.moved(holder)) {
                let row = StoreValue {
                    value: Value::String(holder),
                    ..row
                };
                writes.push(put(table, key, &row)?);
            }
        }
        Ok(writes)
    })
}

/// A job of both ids is the same one: the new id's keeps its own count of failures.
fn job(
    adoption: &Adoption,
    key: &str,
    to: &str,
    text: &str,
    new: Option<&str>,
) -> Result<Writes, JournalError> {
    let before: JobRow = decode(Table::Jobs, key, text)?;
    let mut writes = vec![
        removed(Table::DueJobs, &jobs::due_key(&before)),
        removed(Table::Jobs, key),
    ];
    if new.is_none() {
        let row = JobRow {
            plugin: adoption.to.clone(),
            ..before
        };
        writes.push(((Table::DueJobs, jobs::due_key(&row)), Write::Put("null".into())));
        writes.push(put(Table::Jobs, to, &row)?);
    }
    Ok(writes)
}

/// Releases that an operator allowed, and that no node has applied yet: they name the claim.
fn allowed_releases(rows: &mut dyn Storage, adoption: &Adoption) -> Result<(), JournalError> {
    let text = as_rows(rows).get(Table::Settings, RELEASES_ALLOWED)?;
    // A damaged list allows nothing.
    let Some(mut list) = text.as_deref().and_then(allowed::from_text) else {
        return Ok(());
    };
    if !adoption.move_claims(&mut list) {
        return Ok(());
    }
    let text = allowed::to_text(&list)
        .map_err(|error| JournalError(format!("the allowed releases can't be written: {error}")))?;
    rows.write(Table::Settings, RELEASES_ALLOWED, &Write::Put(text))
}

impl Adoption {
    /// Gives the claims of allowed releases the new id. Returns whether any had the old one.
    pub fn move_claims(&self, list: &mut [allowed::AllowedRelease]) -> bool {
        let mut any = false;
        for release in list {
            if let Some(claim) = self.moved(&release.claim) {
                release.claim = claim;
                any = true;
            }
        }
        any
    }
}

fn one_moved(table: Table, key: &str, to: &str, text: &str) -> Writes {
    vec![
        removed(table, key),
        ((table, to.to_owned()), Write::Put(text.to_owned())),
    ]
}

fn removed(table: Table, key: &str) -> (RowKey, Write) {
    ((table, key.to_owned()), Write::Delete)
}

fn put(table: Table, key: &str, row: &impl serde::Serialize) -> Result<(RowKey, Write), JournalError> {
    let text = serde_json::to_string(row)
        .map_err(|error| JournalError(format!("{} row {key} can't be written: {error}", table.name())))?;
    Ok(((table, key.to_owned()), Write::Put(text)))
}
