//! The jobs of a network that run.

use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Plugin and id.
pub(crate) type JobName = (String, String);

/// What a network's runner has going.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    pub(crate) running: Mutex<BTreeSet<JobName>>,
    /// Said to be without a plugin.
    pub(crate) orphans: Mutex<BTreeSet<JobName>>,
}
