//! The kill switch: kinds that take nothing new until an operator says so.
//!
//! A pause stops what is not journaled yet: nothing new is planned, and what waits for its lane is turned away before
//! its first commit. What is journaled is watched, carried on and answered as ever: stopping it would lose a hash.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Engine;
use crate::registry::Kind;
use base::pause::{self, Paused};

/// Between two looks at the file: twice within the second that is promised.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// What callers are told; the operator's reason is the operator's.
pub(super) const MESSAGE: &str = "the operator has paused this kind of payment; try again later";

impl Engine {
    /// Whether a kind takes nothing new.
    pub(super) fn is_paused(&self, kind: &Kind) -> bool {
        self.paused
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .stops(kind.network.id(), &kind.scheme)
    }

    /// Takes in what is paused, and says what has changed.
    pub fn set_paused(&self, now: Paused) {
        let before = {
            let mut paused = self.paused.write().unwrap_or_else(PoisonError::into_inner);
            if *paused == now {
                return;
            }
            std::mem::replace(&mut *paused, now.clone())
        };
        match &now {
            Paused::Nothing => tracing::warn!("nothing is paused any more"),
            Paused::Unreadable(why) => {
                tracing::error!("EVERYTHING IS PAUSED: {why}; `switchyard resume` writes the file anew")
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
    }

    /// Keeps looking at the file in the journal's directory that `switchyard pause` writes.
    pub fn watch_pauses(self: &Arc<Self>, directory: PathBuf) {
        self.keep("", "the look at the pauses", move |engine| {
            let directory = directory.clone();
            async move {
                loop {
                    tokio::time::sleep(LOOK_EVERY).await;
                    let folder = directory.clone();
                    let read = tokio::task::spawn_blocking(move || pause::read(&folder)).await;
                    engine.set_paused(read.unwrap_or_else(|error| Paused::Unreadable(error.to_string())));
                }
            }
        });
    }
}
