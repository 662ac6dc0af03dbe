//! The stages in which rows of finished settlements are removed: see the module `project::retention`.

use serde::{Deserialize, Serialize};

/// What is removed of a finished settlement in time, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Its plan and signed bytes.
    Payloads,
    /// Its attempts, closed slots and history.
    Details,
    /// Everything but what refuses a replay.
    Settlement,
    /// The rest, once nobody can use the authorization any more.
    Claim,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 4] = [Self::Payloads, Self::Details, Self::Settlement, Self::Claim];
}
