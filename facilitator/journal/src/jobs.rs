//! Jobs as rows: scheduled, postponed, done. A second table orders the jobs by time, so that a query for due jobs
//! reads no other ones.

use sdk_plugin::host::Job;

use super::keys::store_key;
use super::overlay::Overlay;
use super::queries::{decode, get};
use super::row::JobRow;
use super::{CommitError, JournalError, Rows, Table, change};

/// Keys of a network's jobs begin with this in the order by time.
fn network_prefix(network: &str) -> String {
    // CAIP-2 ids contain no bar.
    format!("{network}|")
}

/// A job's key in the order by time: network, time, plugin and id.
#[must_use]
pub fn due_key(row: &JobRow) -> String {
    let key = store_key(&row.plugin, &row.job.id);
    format!(
        "{}{:020}|{key}",
        network_prefix(&row.job.network),
        row.due_at_ms()
    )
}

fn find(rows: &mut dyn Rows, plugin: &str, id: &str) -> Result<Option<JobRow>, JournalError> {
    get(rows, Table::Jobs, &store_key(plugin, id))
}

fn replace(rows: &mut Overlay<'_>, before: Option<&JobRow>, row: &JobRow) -> Result<(), CommitError> {
    if let Some(before) = before {
        rows.delete(Table::DueJobs, &due_key(before));
    }
    change::put(rows, Table::Jobs, &store_key(&row.plugin, &row.job.id), row)?;
    change::put(rows, Table::DueJobs, &due_key(row), &())
}

fn remove(rows: &mut Overlay<'_>, row: &JobRow) -> Result<(), CommitError> {
    rows.delete(Table::DueJobs, &due_key(row));
    rows.delete(Table::Jobs, &store_key(&row.plugin, &row.job.id));
    Ok(())
}

/// A job with the same id is replaced, and its count of failures is reset.
pub(super) fn scheduled(rows: &mut Overlay<'_>, plugin: &str, job: &Job) -> Result<(), CommitError> {
    let before = find(rows, plugin, &job.id)?;
    let row = JobRow {
        plugin: plugin.to_owned(),
        job: job.clone(),
        faults: 0,
        again_at_ms: None,
    };
    replace(rows, before.as_ref(), &row)
}

pub(super) fn cancelled(rows: &mut Overlay<'_>, plugin: &str, id: &str) -> Result<(), CommitError> {
    match find(rows, plugin, id)? {
        Some(row) => remove(rows, &row),
        None => Ok(()),
    }
}

/// The job that was due at `run_at_ms` has run. A job that was scheduled again meanwhile, for another time, stays.
pub(super) fn done(
    rows: &mut Overlay<'_>,
    plugin: &str,
    id: &str,
    run_at_ms: u64,
) -> Result<(), CommitError> {
    match find(rows, plugin, id)? {
        Some(row) if row.job.run_at_ms == run_at_ms => remove(rows, &row),
        Some(_) | None => Ok(()),
    }
}

/// The same job could not be run: it is due again later, and the failure is counted.
pub(super) fn reschedule(
    rows: &mut Overlay<'_>,
    plugin: &str,
    id: &str,
    run_at_ms: u64,
    again_at_ms: u64,
) -> Result<(), CommitError> {
    match find(rows, plugin, id)? {
        Some(before) if before.job.run_at_ms == run_at_ms => {
            let row = JobRow {
                faults: before.faults.saturating_add(1),
                again_at_ms: Some(again_at_ms),
                ..before.clone()
            };
            replace(rows, Some(&before), &row)
        }
        Some(_) | None => Ok(()),
    }
}

/// A network's jobs that are due, the earliest first, after the key `after` (a [`due_key`]), at most `limit`.
pub(super) fn due(
    rows: &mut dyn Rows,
    network: &str,
    now_ms: u64,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<JobRow>, JournalError> {
    let prefix = network_prefix(network);
    let end = format!("{prefix}{:020}", now_ms.saturating_add(1));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut due = Vec::new();
    for (due_key, _) in rows.scan(Table::DueJobs, &prefix, after, limit)? {
        if due_key >= end {
            break;
        }
        let key = due_key
            .strip_prefix(&prefix)
            .and_then(|rest| Some(rest.split_once('|')?.1))
            .ok_or_else(|| JournalError(format!("{due_key} is no key of a due job")))?;
        let text = rows
            .get(Table::Jobs, key)?
            .ok_or_else(|| JournalError(format!("job {key} is due and has no row")))?;
        due.push(decode(Table::Jobs, key, &text)?);
    }
    Ok(due)
}
