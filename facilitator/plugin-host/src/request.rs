//! What an instance is created with.

use std::sync::Arc;

use base::calls::CallTable;
use sdk_plugin::{HostServices, Value};

use super::limits::Limits;

/// The instance to create.
#[derive(Clone)]
pub struct InstanceRequest {
    /// Unique in this process.
    pub instance_id: u64,
    /// Validated against the manifest's schema before any code of the plugin receives it.
    pub config: Value,
    pub host: Arc<dyn HostServices>,
    pub limits: Limits,
    /// The open calls of the core, from which it is known what a call is about.
    pub calls: Arc<CallTable>,
}

impl std::fmt::Debug for InstanceRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration may hold secrets.
        f.debug_struct("InstanceRequest")
            .field("instance_id", &self.instance_id)
            .finish_non_exhaustive()
    }
}
