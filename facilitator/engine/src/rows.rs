//! Rows and jobs that a scheme hands over with a plan or a judgement: they ride in the commit of what they belong to,
//! within the bounds that the host's own services have.

use sdk_plugin::host::{Job, StoreWrite};
use sdk_plugin::ops::service;

use super::Engine;
use super::settlement::Settlement;
use crate::registry::Kind;
use base::limits::{check_job, check_write};
use journal::Event;

/// Store writes and jobs that come with one plan or judgement, each.
const MAX_ROWS: usize = 64;

/// The error is for the operator's log: it is the plugin's defect.
pub(super) fn check(writes: &[StoreWrite], jobs: &[Job], kind: &Kind) -> Result<(), String> {
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

impl Engine {
    pub(super) fn store_events(&self, plugin: &str, writes: Vec<StoreWrite>) -> Vec<Event> {
        let now_ms = self.clock.now_ms();
        writes
            .into_iter()
            .map(|write| Event::Stored {
                plugin: plugin.to_owned(),
                write,
                now_ms,
            })
            .collect()
    }
}

pub(super) fn job_events(plugin: &str, jobs: Vec<Job>) -> impl Iterator<Item = Event> {
    jobs.into_iter().map(move |job| Event::JobScheduled {
        plugin: plugin.to_owned(),
        job,
    })
}

/// A judgement's rows and jobs, or none where they ask for too much: the payment has happened all the same.
pub(super) fn judged_rows(
    settlement: &Settlement,
    writes: Vec<StoreWrite>,
    jobs: Vec<Job>,
) -> (Vec<StoreWrite>, Vec<Job>) {
    let Some(kind) = &settlement.kind else {
        return (Vec::new(), Vec::new());
    };
    match check(&writes, &jobs, kind) {
        Ok(()) => (writes, jobs),
        Err(what) => {
            rows_lost(settlement, &format!("with its judgement comes {what}"));
            (Vec::new(), Vec::new())
        }
    }
}

pub(super) fn rows_lost(settlement: &Settlement, why: &str) {
    tracing::error!(settlement = settlement.id, kind = ?settlement.kind,
        "a payment is recorded without the rows of its scheme, which is the scheme's defect: {why}");
}
