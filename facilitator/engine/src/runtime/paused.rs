//! The kill switch: kinds that accept nothing new until an operator resumes them.
//!
//! A pause stops what is not journaled yet: nothing new is planned, and what waits for its lane is refused before its
//! first commit. What is journaled is still watched, continued and answered: stopping it would lose a hash.

use crate::registry::Kind;
use crate::runtime::Runtime;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::pause::{self, Paused};

/// Pause between two reads of the file: two reads fit into the second that is promised.
const READ_PERIOD: Duration = Duration::from_millis(400);

impl Runtime {
    /// Whether a kind accepts nothing new.
    pub(crate) fn is_paused(&self, kind: &Kind) -> bool {
        self.paused.read().stops(kind.network.id(), &kind.scheme)
    }

    /// What is paused and drained.
    pub(crate) fn paused(&self) -> Paused {
        self.paused.read().clone()
    }

    /// Records what is paused, and logs what has changed.
    pub fn set_paused(&self, now: Paused) {
        let before = {
            let mut paused = self.paused.write();
            if *paused == now {
                return;
            }
            std::mem::replace(&mut *paused, now.clone())
        };
        match &now {
            Paused::Nothing => tracing::warn!("nothing is paused any more"),
            Paused::Unreadable(why) => {
                tracing::error!(
                    "EVERYTHING IS PAUSED: {why}; `switchyard resume` lifts a pause that can't be read"
                )
            }
            Paused::These(pauses) => {
                for pause in pauses {
                    if !matches!(&before, Paused::These(known) if known.contains(pause)) {
                        tracing::error!("PAUSED: {pause}");
                    }
                }
            }
        }
        for kind in self.registry.kinds() {
            let value = if self.is_paused(kind) { 1.0 } else { 0.0 };
            let labels = [("network", kind.network.id()), ("scheme", kind.scheme.as_str())];
            self.metrics.set("switchyard_paused", &labels, value);
        }
        for network in self.registry.networks() {
            network.set_drained(now.drained(network.id()));
        }
    }

    /// Keeps reading the file in the journal's directory that `switchyard pause` writes.
    pub fn watch_pauses(self: &Arc<Self>, directory: PathBuf) {
        let runtime = Arc::clone(self);
        self.keep("", "the reading of pauses", move || {
            let (runtime, directory) = (Arc::clone(&runtime), directory.clone());
            async move {
                loop {
                    tokio::time::sleep(READ_PERIOD).await;
                    let folder = directory.clone();
                    let read = tokio::task::spawn_blocking(move || pause::read(&folder)).await;
                    runtime.set_paused(read.unwrap_or_else(|error| Paused::Unreadable(error.to_string())));
                }
            }
        });
    }
}
