//! Closes slots, ends steps that get no slot any more, and recovers both after a panic.

use crate::outcome::Outcomes;
use crate::runtime::Runtime;
use std::sync::Arc;

pub(crate) mod closing;
pub(crate) mod explain;
pub(crate) mod revive;
pub(crate) mod unsent;

/// Ends slots and steps.
pub(crate) struct Endings {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) outcomes: Arc<Outcomes>,
}
