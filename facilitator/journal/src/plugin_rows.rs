//! What host services read and write in the journal: the signed bytes of attempts, and the store rows and jobs of
//! plugins.

use std::sync::Arc;

use async_trait::async_trait;
use sdk_plugin::host::{JobRequest, StoreRequest, StoreResponse};
use sdk_plugin::{Fault, HexBytes};

use crate::{Answer, CommitError, Event, Journal, JournalError, Query};
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
    pub fn new(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Self {
        Self { journal, clock }
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError> {
        self.journal.commit(events).await
    }
}

fn unreadable(error: &JournalError) -> Fault {
    Fault::unavailable(error.to_string())
}

fn out_of_shape(answer: &Answer) -> Fault {
    Fault::internal(format!("the journal answered out of shape: {answer:?}"))
}

#[async_trait]
impl AttemptBytes for JournalRows {
    async fn bytes(&self, attempt_id: &str) -> Result<Option<HexBytes>, Fault> {
        let Ok(attempt) = attempt_id.parse() else {
            return Ok(None);
        };
        match self.journal.query(Query::Bytes { attempt }).await {
            Ok(Answer::Bytes(bytes)) => Ok(bytes),
            Ok(other) => Err(out_of_shape(&other)),
            Err(error) => Err(unreadable(&error)),
        }
    }
}

#[async_trait]
impl PluginStore for JournalRows {
    async fn store(&self, plugin: &str, request: StoreRequest) -> Result<StoreResponse, Fault> {
        let (plugin, now_ms) = (plugin.to_owned(), self.clock.now_ms());
        let query = match request {
            StoreRequest::Get { key } => Query::StoreGet { plugin, key, now_ms },
            StoreRequest::Scan { prefix, after, limit } => Query::StoreScan {
                plugin,
                prefix,
                after,
                limit,
                now_ms,
            },
            StoreRequest::Write { writes } => {
                let events = writes
                    .into_iter()
                    .map(|write| Event::Stored {
                        plugin: plugin.clone(),
                        write,
                        now_ms,
                    })
                    .collect();
                return match self.commit(events).await {
                    Ok(()) => Ok(StoreResponse::Written),
                    Err(CommitError::StoreCondition(key)) => Ok(StoreResponse::Conflict { key }),
                    Err(error) => Err(Fault::unavailable(error.to_string())),
                };
            }
        };
        match self.journal.query(query).await {
            Ok(Answer::Rows(rows)) => Ok(StoreResponse::Rows { rows }),
            Ok(other) => Err(out_of_shape(&other)),
            Err(error) => Err(unreadable(&error)),
        }
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
        self.commit(vec![event])
            .await
            .map_err(|error| Fault::unavailable(error.to_string()))
    }
}
