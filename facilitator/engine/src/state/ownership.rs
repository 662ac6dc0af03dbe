//! Which lanes this process owns. A process that has its journal alone owns all of them.

use journal::keys::lane_key;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// The task that one of several nodes does for all: jobs, and the removal of what is old.
pub(crate) const TASKS: &str = "tasks";

/// The units that this process owns.
#[derive(Debug)]
pub(crate) struct Ownership {
    /// `None`: all of them.
    held: Option<Mutex<BTreeSet<String>>>,
    /// Units that some node which lives has compared with the chain.
    compared: Mutex<BTreeSet<String>>,
    /// A unit that another node took from this one.
    lost: watch::Sender<Option<String>>,
    /// The process is about to end.
    is_leaving: AtomicBool,
}

impl Ownership {
    pub(crate) fn new(is_shared: bool) -> Self {
        Self {
            held: is_shared.then(Mutex::default),
            compared: Mutex::default(),
            lost: watch::Sender::new(None),
            is_leaving: AtomicBool::new(false),
        }
    }

    /// The process is about to end: it keeps what it owns, and takes nothing.
    pub(crate) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Whether other nodes use the same journal.
    pub(crate) fn is_shared(&self) -> bool {
        self.held.is_some()
    }

    /// Whether this process may send from this signer.
    pub(crate) fn owns(&self, network: &str, signer: &str) -> bool {
        self.owns_unit(&lane_key(network, signer))
    }

    /// Whether this process owns a unit.
    pub(crate) fn owns_unit(&self, unit: &str) -> bool {
        self.held.as_ref().is_none_or(|held| held.lock().contains(unit))
    }

    /// Records which units are compared with the chain, of all nodes.
    pub(crate) fn set_compared(&self, units: BTreeSet<String>) {
        *self.compared.lock() = units;
    }

    /// Whether some node which lives has compared this signer's transactions with the journal.
    pub(crate) fn is_compared(&self, network: &str, signer: &str) -> bool {
        self.compared.lock().contains(&lane_key(network, signer))
    }

    /// Every unit that this process owns, where it does not own all of them.
    pub(crate) fn units(&self) -> Vec<String> {
        let held = self.held.iter().flat_map(|held| held.lock().clone());
        held.collect()
    }

    pub(crate) fn add(&self, unit: &str) {
        if let Some(held) = &self.held {
            held.lock().insert(unit.to_owned());
        }
    }

    pub(crate) fn remove(&self, unit: &str) {
        if let Some(held) = &self.held {
            held.lock().remove(unit);
        }
    }

    /// Another node took the unit: this process can record nothing about it any more.
    pub(crate) fn lose(&self, unit: &str) {
        self.remove(unit);
        self.lost.send_replace(Some(unit.to_owned()));
    }

    /// Ends when a unit was lost, with its name.
    pub(crate) async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        let unit = lost.wait_for(Option::is_some).await;
        // The sender lives as long as this.
        let unit = unit.ok().and_then(|unit| unit.clone());
        unit.unwrap_or_default()
    }
}
