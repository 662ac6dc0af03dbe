//! What host services read and write in the journal: the signed bytes of attempts, and the store rows and jobs of
//! plugins.

use std::sync::Arc;

use async_trait::async_trait;
use sdk_plugin::host::{JobRequest, StoreRequest, StoreResponse, StoreWrite};
use sdk_plugin::{Fault, HexBytes};

use crate::{CommitError, Event, Journal, JournalError};
use base::clock::Clock;

/// The journal's signed bytes, by attempt.
#[async_trait]
pub trait AttemptBytes: Send + Sync + 'static {
    /// `None`: no such attempt is journaled, or its bytes are dropped.
    async fn bytes(&self, attempt_id: &str) -> Result<Option<HexBytes>, Fault>;
}

/// Rows of plugins. What one plugin writes, no other can see.
#[async_trait]
pub trait PluginStore: Send + Sync + 'static {
    /// `plugin`: the manifest's id. Keys, values and limits are within bounds.
    async fn store(&self, plugin: &str, request: StoreRequest) -> Result<StoreResponse, Fault>;
}

/// Jobs of plugins.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// `plugin`: the manifest's id. Durable when it returns.
    async fn job(&self, plugin: &str, request: JobRequest) -> Result<(), Fault>;
}

/// The journal, as host services use it.
#[derive(Clone)]
pub struct JournalRows {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for JournalRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalRows").finish_non_exhaustive()
    }
}

impl JournalRows {
    /// Rows of `journal`; `clock` decides which rows of a store have expired.
    pub fn new(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Self {
        Self { journal, clock }
    }

    async fn write(
        &self,
        plugin: &str,
        writes: Vec<StoreWrite>,
        now_ms: u64,
    ) -> Result<StoreResponse, Fault> {
        let events = writes
            .into_iter()
            .map(|write| Event::Stored {
                plugin: plugin.to_owned(),
                write,
                now_ms,
            })
            .collect();
        match self.journal.commit(events).await {
            Ok(()) => Ok(StoreResponse::Written),
            Err(CommitError::StoreCondition(key)) => Ok(StoreResponse::Conflict { key }),
            Err(error) => Err(Fault::unavailable(error.to_string())),
        }
    }
}

fn unreadable(error: &JournalError) -> Fault {
    Fault::unavailable(error.to_string())
}

#[async_trait]
impl AttemptBytes for JournalRows {
    async fn bytes(&self, attempt_id: &str) -> Result<Option<HexBytes>, Fault> {
        let Ok(attempt) = attempt_id.parse() else {
            return Ok(None);
        };
        self.journal
            .bytes(attempt)
            .await
            .map_err(|error| unreadable(&error))
    }
}

#[async_trait]
impl PluginStore for JournalRows {
    async fn store(&self, plugin: &str, request: StoreRequest) -> Result<StoreResponse, Fault> {
        let now_ms = self.clock.now_ms();
        let rows = match request {
            StoreRequest::Get { key } => {
                let row = self.journal.store_get(plugin, &key, now_ms).await;
                row.map(|row| row.into_iter().collect())
            }
            StoreRequest::Scan { prefix, after, limit } => {
                let after = after.as_deref();
                self.journal
                    .store_scan(plugin, &prefix, after, limit, now_ms)
                    .await
            }
            StoreRequest::Write { writes } => return self.write(plugin, writes, now_ms).await,
        };
        rows.map(|rows| StoreResponse::Rows { rows })
            .map_err(|error| unreadable(&error))
    }
}

#[async_trait]
impl Jobs for JournalRows {
    async fn job(&self, plugin: &str, request: JobRequest) -> Result<(), Fault> {
        let plugin = plugin.to_owned();
        let event = match request {
            JobRequest::Schedule { job } => Event::JobScheduled { plugin, job },
            JobRequest::Cancel { id } => Event::JobCancelled { plugin, id },
        };
        self.journal
            .commit(vec![event])
            .await
            .map_err(|error| Fault::unavailable(error.to_string()))
    }
}
