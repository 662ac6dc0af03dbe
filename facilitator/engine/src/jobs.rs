//! Jobs that schemes have requested: when one is due, its requests are settled like any `/settle`.
//!
//! Each network has its own runner, which runs a few jobs at once, so that a slow job delays neither the others nor
//! another network. A job is removed only after its requests were answered, so that a crash repeats it; claims make
//! that harmless. A job that could not run is postponed, longer each time.

use crate::decide::faults::passes_by_itself;
use crate::registry::Kind;
use crate::runtime::Runtime;
use crate::settle::Settling;
use crate::state::network::NetworkRun;
use crate::state::ownership::TASKS;
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::wire::reason;
use sdk_plugin::{Fault, Purpose};

use base::backoff::Backoff;
use base::service::SettleAnswer;
use journal::jobs::due_key;
use journal::{Event, JobRow};

/// Pause between two queries for due jobs. It doubles while every due job waits for a plugin, the end of a pause, or a
/// scheme's readiness.
const QUERY_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(8),
};
/// The most jobs of one network that run at once.
const AT_ONCE: usize = 8;
/// The most due jobs of one query.
const PAGE: u32 = 64;
/// How long to wait for a settlement that a job requested.
const SETTLE_WAIT: Duration = Duration::from_secs(60);
/// Pause before a job that could not run is tried again, doubled each time.
const FIRST_PAUSE_MS: u64 = 1_000;
/// The longest such pause if a defect is the cause.
const LONGEST_PAUSE_MS: u64 = 3_600 * 1_000;
/// The longest such pause if the cause is temporary: a due job must not wait for an hour once a node is back.
const LONGEST_OUTAGE_PAUSE_MS: u64 = 60 * 1_000;

/// The result of a query for due jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Some jobs are due, and none could be started.
    Blocked,
    NoneOrStarted,
}

/// Why a job is postponed.
struct Postponed {
    why: String,
    longest_pause_ms: u64,
}

impl Postponed {
    fn of_panic() -> Self {
        Self {
            why: "it panicked".into(),
            longest_pause_ms: LONGEST_PAUSE_MS,
        }
    }

    fn of(fault: &Fault) -> Self {
        Self {
            why: fault.to_string(),
            longest_pause_ms: if passes_by_itself(fault.kind) {
                LONGEST_OUTAGE_PAUSE_MS
            } else {
                LONGEST_PAUSE_MS
            },
        }
    }
}

/// Why a settlement was neither started nor refused: the facilitator itself had a problem. `None` for any other
/// answer.
fn not_started(answer: &SettleAnswer) -> Option<Postponed> {
    let (message, longest_pause_ms) = match answer {
        SettleAnswer::Unavailable { message, .. } => (Some(message), LONGEST_OUTAGE_PAUSE_MS),
        SettleAnswer::Reply(reply)
            if reply.error_reason.as_deref() == Some(reason::UNEXPECTED_SETTLE_ERROR)
                && reply.transaction.is_empty() =>
        {
            (reply.error_message.as_ref(), LONGEST_PAUSE_MS)
        }
        SettleAnswer::Reply(_) | SettleAnswer::Replay(_) => return None,
    };
    let message = message.map(String::as_str).unwrap_or_default();
    Some(Postponed {
        why: format!("a settlement was not started: {message}"),
        longest_pause_ms,
    })
}

/// How long a job waits after this many earlier failures, in milliseconds.
fn pause_ms(faults: u32, longest_ms: u64) -> u64 {
    let backoff = Backoff {
        first: Duration::from_millis(FIRST_PAUSE_MS),
        longest: Duration::from_millis(longest_ms),
    };
    u64::try_from(backoff.after(faults).as_millis()).unwrap_or(longest_ms)
}

/// Runs the jobs of schemes.
pub(crate) struct JobRunner {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) settling: Arc<Settling>,
}

impl JobRunner {
    pub(crate) fn start_jobs(self: &Arc<Self>) {
        for run in self.runtime.networks.values() {
            let id = run.network.id().to_owned();
            let run = Arc::clone(run);
            let runner = Arc::clone(self);
            self.runtime.keep(&id, "the runner of jobs", move || {
                Arc::clone(&runner).keep_running_jobs(Arc::clone(&run))
            });
        }
    }

    async fn keep_running_jobs(self: Arc<Self>, run: Arc<NetworkRun>) {
        let mut blocked: u32 = 0;
        loop {
            tokio::time::sleep(QUERY_BACKOFF.after(blocked)).await;
            blocked = match self.start_due_jobs(&run).await {
                // Due jobs that can't be started are not read again every second.
                Due::Blocked => blocked.saturating_add(1),
                Due::NoneOrStarted => 0,
            };
        }
    }

    /// Starts the due jobs of a network, as far as there is room. While the network or the kind accepts nothing
    /// new, its jobs wait, and no failure of theirs is counted.
    async fn start_due_jobs(self: &Arc<Self>, run: &Arc<NetworkRun>) -> Due {
        // One of several nodes runs the jobs of all.
        if run.network.readiness().is_err() || !self.runtime.ownership.owns_unit(TASKS) {
            return Due::NoneOrStarted;
        }
        let (mut after, mut blocked, mut started) = (None, false, false);
        loop {
            // Copied before the query: its result may still contain jobs that end meanwhile.
            let going = run.jobs.running.lock().clone();
            let now_ms = self.runtime.clock.now_ms();
            let page = self
                .runtime
                .journal
                .due_jobs(run.network.id(), now_ms, after.as_deref(), PAGE);
            let due = match page.await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "due jobs can't be read");
                    return Due::NoneOrStarted;
                }
            };
            after = due.last().map(due_key);
            let is_last = due.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for row in due {
                if run.jobs.running.lock().len() >= AT_ONCE {
                    return Due::NoneOrStarted;
                }
                let name = (row.plugin.clone(), row.job.id.clone());
                if going.contains(&name) {
                    continue;
                }
                let Some(kind) =
                    self.runtime
                        .registry
                        .kind_of(&row.plugin, &row.job.scheme, run.network.id())
                else {
                    blocked = true;
                    if run.jobs.orphans.lock().insert(name) {
                        tracing::warn!(plugin = row.plugin, job = %row.job.id, scheme = %row.job.scheme,
                            "a job is due and its plugin is not loaded: it waits until the plugin is loaded");
                    }
                    continue;
                };
                if self.runtime.is_paused(kind) || kind.readiness().is_err() {
                    blocked = true;
                    continue;
                }
                started = true;
                run.jobs.running.lock().insert(name);
                let (engine, run, kind) = (Arc::clone(self), Arc::clone(run), Arc::clone(kind));
                self.runtime.spawn(async move {
                    let name = (row.plugin.clone(), row.job.id.clone());
                    let running = engine.run_job(&run, &kind, row);
                    let _ = engine.runtime.survives(run.network.id(), "a job", running).await;
                    // A job that was not recorded as done or postponed is due again.
                    run.jobs.running.lock().remove(&name);
                });
            }
            if is_last {
                return if blocked && !started {
                    Due::Blocked
                } else {
                    Due::NoneOrStarted
                };
            }
        }
    }

    async fn run_job(self: &Arc<Self>, run: &NetworkRun, kind: &Kind, row: JobRow) {
        let carried_out = self
            .runtime
            .survives(run.network.id(), "a job", self.carry_out(kind, &row))
            .await
            .unwrap_or_else(|| Err(Postponed::of_panic()));
        let JobRow {
            plugin, job, faults, ..
        } = row;
        let event = match carried_out {
            Ok(()) => Event::JobDone {
                plugin,
                id: job.id,
                run_at_ms: job.run_at_ms,
            },
            Err(Postponed {
                why,
                longest_pause_ms,
            }) => {
                let pause_ms = pause_ms(faults, longest_pause_ms);
                tracing::warn!(plugin, job = %job.id, kind = %job.kind, times = faults.saturating_add(1), pause_ms,
                    "a job could not run and is postponed: {why}");
                Event::JobPutOff {
                    plugin,
                    id: job.id,
                    run_at_ms: job.run_at_ms,
                    again_at_ms: self.runtime.clock.now_ms().saturating_add(pause_ms),
                }
            }
        };
        if let Err(error) = self.runtime.journal.commit(vec![event]).await {
            tracing::warn!(%error, "the result of a job was not recorded; the job is repeated");
        }
    }

    /// Settles the job's requests, one after the other.
    async fn carry_out(self: &Arc<Self>, kind: &Kind, row: &JobRow) -> Result<(), Postponed> {
        let JobRow { plugin, job, .. } = row;
        let requests = self
            .runtime
            .ops
            .job(kind, job)
            .await
            .map_err(|fault| Postponed::of(&fault))?;
        let mut postponed = None;
        for mut request in requests {
            if request.scheme != job.scheme || request.network != job.network {
                tracing::error!(plugin, job = %job.id, "a job requests a settlement of another scheme or network");
                continue;
            }
            request.purpose = Purpose::Job;
            request.remaining_ms = u64::try_from(SETTLE_WAIT.as_millis()).unwrap_or(u64::MAX);
            let answer = self.settling.settle(request).await;
            tracing::info!(plugin, job = %job.id, ?answer, "a job's settlement was answered");
            postponed = not_started(&answer).or(postponed);
        }
        postponed.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_of_a_failing_job_doubles_up_to_its_limit() {
        let pauses: Vec<u64> = (0..5).map(|faults| pause_ms(faults, LONGEST_PAUSE_MS)).collect();
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000]);
        for faults in [12, 63, 64, u32::MAX] {
            assert_eq!(pause_ms(faults, LONGEST_PAUSE_MS), LONGEST_PAUSE_MS);
            assert_eq!(pause_ms(faults, LONGEST_OUTAGE_PAUSE_MS), LONGEST_OUTAGE_PAUSE_MS);
        }
    }
}
