//! Rows and jobs that a scheme returns with a plan or a judgement. They are part of the same commit, within the
//! limits of the host's own services.

use crate::registry::Kind;
use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::ops::service;

use base::limits::{check_job, check_write};
use journal::Event;

/// The most store writes of one plan or judgement, and the most jobs.
const MAX_ROWS: usize = 64;

/// Checks the store writes and jobs of a plan or judgement.
///
/// # Errors
///
/// A sentence for the operator's log: the plugin has a defect.
pub(crate) fn check(writes: &[StoreWrite], jobs: &[Job], kind: &Kind) -> Result<(), String> {
    let of_service = [(service::STORE, writes.len()), (service::JOB, jobs.len())];
    for (service, count) in of_service {
        if count > MAX_ROWS {
            return Err(format!(
                "{count} for {service}, more than the maximum of {MAX_ROWS}"
            ));
        }
        if count > 0 && !kind.instance.services.contains(service) {
            return Err(format!(
                "something for {service}, which the manifest of {} does not list; add it to `services`",
                kind.instance.plugin
            ));
        }
    }
    for write in writes {
        check_write(write).map_err(|fault| fault.message)?;
    }
    for job in jobs {
        check_job(job).map_err(|fault| fault.message)?;
        if job.scheme != kind.scheme || job.network != kind.network.id() {
            return Err(format!(
                "the job {:?} for {} on {}, and it is {} on {}",
                job.id,
                job.scheme,
                job.network,
                kind.scheme,
                kind.network.id()
            ));
        }
    }
    Ok(())
}

pub(crate) fn job_events(plugin: &str, jobs: Vec<Job>) -> impl Iterator<Item = Event> {
    jobs.into_iter().map(move |job| Event::JobScheduled {
        plugin: plugin.to_owned(),
        job,
    })
}

/// Events for a scheme's store writes.
pub(crate) fn store_events(plugin: &str, writes: Vec<StoreWrite>, now_ms: u64) -> Vec<Event> {
    writes
        .into_iter()
        .map(|write| Event::Stored {
            plugin: plugin.to_owned(),
            write,
            now_ms,
        })
        .collect()
}
