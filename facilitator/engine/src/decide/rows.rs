//! Rows and jobs that a scheme hands over with a plan or a judgement: they ride in the commit of what they belong to,
//! within the bounds that the host's own services have.

use crate::registry::Kind;
use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::ops::service;

use base::limits::{check_job, check_write};
use journal::Event;

/// Store writes and jobs that come with one plan or judgement, each.
const MAX_ROWS: usize = 64;

/// The error is for the operator's log: it is the plugin's defect.
pub(crate) fn check(writes: &[StoreWrite], jobs: &[Job], kind: &Kind) -> Result<(), String> {
    let of_service = [(service::STORE, writes.len()), (service::JOB, jobs.len())];
    for (service, count) in of_service {
        if count > MAX_ROWS {
            return Err(format!("{count} for {service}, and {MAX_ROWS} are the most"));
        }
        if count > 0 && !kind.instance.services.contains(service) {
            return Err(format!(
                "something for {service}, which the manifest of {} does not ask for; add it to `services`",
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
