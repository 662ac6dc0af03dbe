//! How many requests are inside at once: row H3 of the dispatch checklist.
//!
//! A request holds a place in one gate at a time: of those that are being read while its body arrives, then of its own
//! network and endpoint. So a chain that answers nobody keeps its own callers waiting and no others. Reads such as
//! `/supported` have a gate of their own. Every gate has `max_concurrent_requests` places; what is held at most is that
//! number times the networks and endpoints that are served, since only a request that was dispatched reaches its
//! network's gate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What a request that was read asks of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Verify,
    Settle,
    Route,
}

/// The gate is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A place, until this is dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// All gates.
#[derive(Debug)]
pub(super) struct Gates {
    places: usize,
    reading: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    networks: Mutex<HashMap<(Endpoint, String), Arc<Semaphore>>>,
    inside: Arc<watch::Sender<u32>>,
}

/// A request that may change something and is not answered yet.
#[derive(Debug)]
pub(super) struct Inside(Arc<watch::Sender<u32>>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.send_modify(|inside| *inside = inside.saturating_sub(1));
    }
}

impl Gates {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places,
            reading: Arc::new(Semaphore::new(places)),
            reads: Arc::new(Semaphore::new(places)),
            networks: Mutex::default(),
            inside: Arc::new(watch::Sender::new(0)),
        }
    }

    /// A place for a request whose body is still to come.
    pub(super) fn reading(&self) -> Result<Place, Full> {
        place(&self.reading)
    }

    /// A place for a request that only asks what is served.
    pub(super) fn read(&self) -> Result<Place, Full> {
        place(&self.reads)
    }

    /// A place for a request to a network that is served.
    pub(super) fn network(&self, endpoint: Endpoint, network: &str) -> Result<Place, Full> {
        let gate = {
            // No code that can panic runs under this lock.
            let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
            let gate = networks.entry((endpoint, network.to_owned()));
            Arc::clone(gate.or_insert_with(|| Arc::new(Semaphore::new(self.places))))
        };
        place(&gate)
    }

    /// Counts a request until the answer is dropped.
    pub(super) fn enter(&self) -> Inside {
        self.inside
            .send_modify(|inside| *inside = inside.saturating_add(1));
        Inside(Arc::clone(&self.inside))
    }

    /// Requests that are counted now.
    pub(super) fn inside(&self) -> u32 {
        *self.inside.borrow()
    }

    /// Waits until none is counted.
    pub(super) async fn empty(&self) {
        // Fails when the sender is gone; it is a part of `self`.
        drop(self.inside.subscribe().wait_for(|inside| *inside == 0).await);
    }
}

fn place(gate: &Arc<Semaphore>) -> Result<Place, Full> {
    Arc::clone(gate).try_acquire_owned().map_err(|_| Full)
}
