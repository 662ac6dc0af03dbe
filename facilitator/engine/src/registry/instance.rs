//! A loaded plugin with its configuration, as the engine needs it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use sdk_plugin::HostServices;
use sdk_plugin::host::Authorizer;

/// A loaded plugin with one configuration.
pub struct Instance {
    /// Unique in this process.
    pub id: u64,
    /// Its name in the configuration.
    pub name: String,
    /// The manifest's id. Rows and claims are stored under it.
    pub plugin: String,
    /// Host services that its manifest requests.
    pub services: BTreeSet<String>,
    pub host: Arc<dyn HostServices>,
    /// Keys with which its plans may sign typed data.
    pub authorizers: Vec<Authorizer>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Instance {
    /// What a scheme sees of them; the driver of a network, whose scheme is empty, sees none.
    pub(crate) fn authorizers_of(&self, scheme: &str) -> Vec<Authorizer> {
        if scheme.is_empty() {
            Vec::new()
        } else {
            self.authorizers.clone()
        }
    }
}
