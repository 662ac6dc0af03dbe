//! Several nodes on one journal: which lanes this process owns, what it takes over, and what it continues or watches for
//! others.
//!
//! | task | what it does |
//! |---|---|
//! | [`leases`] | keeps this node's leases, notices which other nodes live ([`seen`]), takes what is free, and decides what others should have ([`share`]) |
//! | [`release`] | hands a lane over while this node lives |
//! | [`unserved`] | finds open payments that no node continues |
//! | [`take_up`] | brings a lane's open settlements and slots into memory, and starts the lane |
//! | [`adopt`] | continues settlements that other nodes have recorded for this node's lanes |
//! | [`watch`] | reads what became of settlements that other nodes continue, for the callers that wait here |
//!
//! A process that has its journal alone runs none of them. What a node may record is decided by the journal
//! (`journal::lease`), never here: everything here may be late or wrong, and costs time only.

pub(crate) mod adopt;
pub(crate) mod leases;
mod release;
mod seen;
mod share;
pub(crate) mod take_up;
mod unserved;
pub(crate) mod watch;

use crate::endings::Endings;
use crate::lane::Lanes;
use crate::outcome::Outcomes;
use crate::runtime::Runtime;
use journal::lease::Shared;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Owns lanes on behalf of this node.
pub(crate) struct Owner {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) endings: Arc<Endings>,
    pub(crate) lanes: Arc<Lanes>,
    /// Lanes that are being handed over.
    pub(crate) releasing: Mutex<BTreeSet<String>>,
}

impl Owner {
    /// Starts the tasks, where other nodes use the same journal.
    pub(crate) fn start(self: &Arc<Self>) {
        if !self.runtime.ownership.is_shared() {
            return;
        }
        let node = self
            .runtime
            .journal
            .shared()
            .map(Shared::node)
            .unwrap_or_default();
        tracing::info!(
            node,
            "shares_journal: other nodes may use the same journal; this is the name of this one"
        );
        let owner = Arc::clone(self);
        self.runtime.keep("", "the keeping of leases", move || {
            Arc::clone(&owner).keep_leases()
        });
        let owner = Arc::clone(self);
        self.runtime.keep("", "the taking over of settlements", move || {
            Arc::clone(&owner).keep_adopting()
        });
        let owner = Arc::clone(self);
        self.runtime
            .keep("", "the watching of other nodes' settlements", move || {
                Arc::clone(&owner).keep_watching()
            });
    }
}
