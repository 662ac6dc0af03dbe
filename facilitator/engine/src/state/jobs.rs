//! The running jobs of a network.

use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Plugin and id.
pub(crate) type JobName = (String, String);

/// What a network's job runner has in progress.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    pub(crate) running: Mutex<BTreeSet<JobName>>,
    /// Jobs that were logged as having no plugin.
    pub(crate) orphans: Mutex<BTreeSet<JobName>>,
}
