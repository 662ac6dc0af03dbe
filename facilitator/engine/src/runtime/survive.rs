//! A panic is a defect. It ends the piece of work in which it happens and nothing else: the loop around it continues,
//! what the work had recorded is read back from the journal, and operators see an alarm.
//!
//! Assumed: the journal stays consistent whatever panics. Code that panics between two writes that belong together
//! holds no lock in memory.

use crate::runtime::Runtime;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

/// Pause before work that panicked is tried again.
pub(crate) const AFTER_A_PANIC: Duration = Duration::from_secs(1);

impl Runtime {
    /// Runs a piece of work; `None`: it panicked. An empty `network` stands for what concerns all of them.
    pub(crate) async fn survives<T>(
        &self,
        network: &str,
        work: &'static str,
        task: impl Future<Output = T>,
    ) -> Option<T> {
        match AssertUnwindSafe(task).catch_unwind().await {
            Ok(done) => Some(done),
            Err(payload) => {
                // Dropping the payload could panic again.
                std::mem::forget(payload);
                self.record_panic(network, work);
                None
            }
        }
    }

    /// The same, but repeats the work until it does not panic.
    pub(crate) async fn insist<T, F>(
        &self,
        network: &str,
        work: &'static str,
        mut task: impl FnMut() -> F,
    ) -> T
    where
        F: Future<Output = T>,
    {
        loop {
            if let Some(done) = self.survives(network, work, task()).await {
                return done;
            }
            tokio::time::sleep(AFTER_A_PANIC).await;
        }
    }

    /// Starts a task that is restarted when it panics.
    pub(crate) fn keep<F>(
        self: &Arc<Self>,
        network: &str,
        work: &'static str,
        task: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (runtime, network) = (Arc::clone(self), network.to_owned());
        self.spawn(async move {
            runtime.insist(&network, work, task).await;
        });
    }

    fn record_panic(&self, network: &str, work: &'static str) {
        tracing::error!(
            network,
            "panic: {work} panicked, which is a defect: report it with the lines before this one. The work \
            restarts from what is recorded"
        );
        self.metrics
            .add("switchyard_panics_total", &[("network", network)], 1);
        let mut panics = self.panics.lock();
        let times = panics.entry((network.to_owned(), work)).or_default();
        *times = times.saturating_add(1);
    }
}
