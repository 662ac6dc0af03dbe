//! Jobs that schemes asked for: when one is due, its requests go the way of any `/settle`.
//!
//! A job is taken off only after its requests were answered, so that a crash repeats it; claims make that harmless.

use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::Purpose;

use super::Engine;
use crate::journal::{Answer, Event, JobRow, Query};

/// Between two looks for due jobs.
const EVERY: Duration = Duration::from_secs(1);
/// Plans and signed bytes are dropped this long after a settlement finished.
const KEEP_PAYLOADS_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// Between two rounds of housekeeping.
const HOUSEKEEPING_EVERY_MS: u64 = 3_600 * 1_000;

impl Engine {
    pub(super) fn start_jobs(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        self.spawn(async move {
            let mut cleaned_ms = 0;
            loop {
                tokio::time::sleep(EVERY).await;
                engine.run_due_jobs().await;
                let now_ms = engine.clock.now_ms();
                if now_ms.saturating_sub(cleaned_ms) >= HOUSEKEEPING_EVERY_MS {
                    cleaned_ms = now_ms;
                    let finished_before_ms = now_ms.saturating_sub(KEEP_PAYLOADS_MS);
                    let events = vec![Event::PayloadsDropped { finished_before_ms }];
                    if let Err(error) = engine.journal.commit(events).await {
                        tracing::warn!(%error, "housekeeping was put off");
                    }
                }
            }
        });
    }

    async fn run_due_jobs(self: &Arc<Self>) {
        let due = match self
            .journal
            .query(Query::DueJobs {
                now_ms: self.clock.now_ms(),
            })
            .await
        {
            Ok(Answer::Jobs(due)) => due,
            Ok(other) => return tracing::error!("the journal answered out of shape: {other:?}"),
            Err(error) => return tracing::error!(%error, "due jobs can't be read"),
        };
        for row in due {
            self.run_job(row).await;
        }
    }

    async fn run_job(self: &Arc<Self>, row: JobRow) {
        let JobRow { plugin, job } = row;
        let Some(kind) = self.registry.kind_of(&plugin, &job.scheme, &job.network) else {
            return tracing::warn!(plugin, job = %job.id, "a job is due and its plugin is not loaded");
        };
        if self.is_paused(kind) {
            // It stays, and is due when the pause is over.
            return;
        }
        let Ok(requests) = self.ops.job(kind, &job).await else {
            return;
        };
        for mut request in requests {
            request.purpose = Purpose::Job;
            if request.scheme != job.scheme || request.network != job.network {
                tracing::error!(plugin, job = %job.id, "a job asks for a settlement of another scheme or network");
                continue;
            }
            let answer = self.settle(request).await;
            tracing::info!(plugin, job = %job.id, ?answer, "a job's settlement was answered");
        }
        let done = Event::JobCancelled { plugin, id: job.id };
        if let Err(error) = self.journal.commit(vec![done]).await {
            tracing::warn!(%error, "a job that was done was not taken off; it is repeated");
        }
    }
}
