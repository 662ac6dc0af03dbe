//! Limits on how many requests are handled at once: row H3 of the dispatch checklist.
//!
//! A request holds one permit at a time: first a permit for receiving its body, then a permit of its own network and
//! endpoint. A chain whose nodes do not answer therefore delays only its own callers. Reads such as `/supported` have
//! permits of their own. Each of these limits is `max_concurrent_requests`. The total is bounded by that number times the
//! served networks and endpoints, because only a dispatched request reaches its network's limit.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What a dispatched request does on its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Verify,
    Settle,
    Route,
}

/// All permits of a limit are in use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LimitReached;

/// Counts against a limit until it is dropped.
pub(super) type Permit = OwnedSemaphorePermit;

/// All limits.
#[derive(Debug)]
pub(super) struct ConcurrencyLimits {
    permits_per_limit: usize,
    receiving: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    networks: DashMap<(Endpoint, String), Arc<Semaphore>>,
    in_flight: Arc<watch::Sender<u32>>,
}

/// Marks a request that may change something and is not answered yet, until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<watch::Sender<u32>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl ConcurrencyLimits {
    pub(super) fn new(permits_per_limit: usize) -> Self {
        Self {
            permits_per_limit,
            receiving: Arc::new(Semaphore::new(permits_per_limit)),
            reads: Arc::new(Semaphore::new(permits_per_limit)),
            networks: DashMap::new(),
            in_flight: Arc::new(watch::Sender::new(0)),
        }
    }

    /// A permit for a request whose body is not received yet.
    pub(super) fn receive(&self) -> Result<Permit, LimitReached> {
        acquire(&self.receiving)
    }

    /// A permit for a request that only reads what is served.
    pub(super) fn read(&self) -> Result<Permit, LimitReached> {
        acquire(&self.reads)
    }

    /// A permit for a request to a served network.
    pub(super) fn dispatch(&self, endpoint: Endpoint, network: &str) -> Result<Permit, LimitReached> {
        let limit = {
            let limit = self.networks.entry((endpoint, network.to_owned()));
            Arc::clone(&limit.or_insert_with(|| Arc::new(Semaphore::new(self.permits_per_limit))))
        };
        acquire(&limit)
    }

    /// Counts a request until the returned value is dropped.
    pub(super) fn count(&self) -> InFlight {
        self.in_flight
            .send_modify(|count| *count = count.saturating_add(1));
        InFlight(Arc::clone(&self.in_flight))
    }

    /// Requests that are in flight now.
    pub(super) fn in_flight(&self) -> u32 {
        *self.in_flight.borrow()
    }

    /// Waits until no request is in flight.
    pub(super) async fn wait_until_idle(&self) {
        // Fails only when the sender is gone, and `self` owns it.
        drop(self.in_flight.subscribe().wait_for(|count| *count == 0).await);
    }
}

fn acquire(limit: &Arc<Semaphore>) -> Result<Permit, LimitReached> {
    Arc::clone(limit).try_acquire_owned().map_err(|_| LimitReached)
}
