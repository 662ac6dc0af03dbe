//! Jobs that plugins have scheduled.

use sdk_plugin::host::Job;
use serde::{Deserialize, Serialize};

/// A job and the plugin that owns it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRow {
    /// Id in the plugin's manifest.
    pub plugin: String,
    /// The job as the plugin scheduled it.
    pub job: Job,
    /// How often running it has failed since it was scheduled.
    #[serde(default)]
    pub faults: u32,
    /// When it is due after a failure, milliseconds since the epoch.
    #[serde(default)]
    pub again_at_ms: Option<u64>,
}

impl JobRow {
    /// Milliseconds since the epoch.
    #[must_use]
    pub fn due_at_ms(&self) -> u64 {
        self.again_at_ms.unwrap_or(self.job.run_at_ms)
    }
}
