//! Bounded concurrency with a bounded queue: how many requests of a network run at once, and how many wait.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Bounded concurrency with a bounded queue.
#[derive(Debug)]
pub(super) struct Gate {
    running: Semaphore,
    waiting: AtomicUsize,
    max_waiting: usize,
}

/// The queue is full, or no turn came ahead of the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Leaves the queue when dropped, also when the waiting future is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    pub(super) fn new(max_running: usize, max_waiting: usize) -> Self {
        Self {
            running: Semaphore::new(max_running.min(Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            max_waiting,
        }
    }

    pub(super) async fn enter(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Full> {
        if let Ok(permit) = self.running.try_acquire() {
            return Ok(permit);
        }
        let ahead = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if ahead >= self.max_waiting {
            return Err(Full);
        }
        match timeout_at(deadline, self.running.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // Too late, or closed, which never happens.
            Err(_) | Ok(Err(_)) => Err(Full),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_and_has_a_deadline() {
        let gate = Gate::new(1, 1);
        let deadline = Instant::now() + Duration::from_secs(1);
        let running = gate.enter(deadline).await.unwrap();
        let (queued, refused) = tokio::join!(gate.enter(deadline), gate.enter(deadline));
        assert_eq!(refused.err(), Some(Full), "the queue is full");
        assert_eq!(queued.err(), Some(Full), "no turn ahead of the deadline");
        drop(running);
        assert!(gate.enter(deadline).await.is_ok());
        assert_eq!(gate.waiting.load(Ordering::Acquire), 0);
    }
}
