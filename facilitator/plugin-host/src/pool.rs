//! The threads of one instance. A plugin's code runs on these and nowhere else, so code that blocks or uses all processor
//! time delays only its own instance.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

type Work = Box<dyn FnOnce() + Send>;

/// A queue, and the threads that run what is in it.
#[derive(Debug)]
pub(super) struct Pool {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The longest queue.
    capacity: usize,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("waiting", &self.state.lock().waiting.len())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    closed: bool,
}

impl Queue {
    fn work(&self) {
        loop {
            let mut state = self.state.lock();
            let work = loop {
                if let Some(work) = state.waiting.pop_front() {
                    break work;
                }
                if state.closed {
                    return;
                }
                self.changed.wait(&mut state);
            };
            drop(state);
            // A panic must not cost the instance a thread. The payload's drop could panic again.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
                std::mem::forget(payload);
            }
        }
    }
}

impl Pool {
    pub(super) fn new(name: &str, threads: usize, capacity: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let pool = Self {
            queue,
            threads: Mutex::default(),
            capacity,
        };
        for _ in 0..threads.max(1) {
            let queue = pool.queue.clone();
            let started = thread::Builder::new()
                .name(format!("plugin {name}"))
                .spawn(move || queue.work());
            match started {
                Ok(thread) => pool.threads.lock().push(thread),
                Err(error) => {
                    pool.close();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    /// Queues work; `false` when the queue is full or closed.
    pub(super) fn try_push(&self, work: impl FnOnce() + Send + 'static) -> bool {
        self.enqueue(Box::new(work), self.capacity)
    }

    /// Queues work that must run and whose amount the caller bounds; `false` only when the pool is closed.
    pub(super) fn push(&self, work: impl FnOnce() + Send + 'static) -> bool {
        self.enqueue(Box::new(work), usize::MAX)
    }

    fn enqueue(&self, work: Work, capacity: usize) -> bool {
        let mut state = self.queue.state.lock();
        if state.closed || state.waiting.len() >= capacity {
            return false;
        }
        state.waiting.push_back(work);
        drop(state);
        self.queue.changed.notify_one();
        true
    }

    /// Refuses new work. The threads run what is queued and end.
    fn close(&self) {
        self.queue.state.lock().closed = true;
        self.queue.changed.notify_all();
    }

    /// Closes and waits until all work has run: forever, where a plugin's code does not return.
    pub(super) fn finish(&self) {
        self.close();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // An error means that the thread panicked, which `work` excludes.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_full_queue_refuses_and_closing_runs_what_is_queued() {
        let pool = Pool::new("test", 1, 1).expect("threads");
        let (started, is_started) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        assert!(pool.try_push(move || {
            started.send(()).expect("test waits");
            gate.recv().expect("test opens the gate");
        }));
        is_started.recv().expect("first work starts");
        let also = done.clone();
        assert!(pool.try_push(move || done.send(1).expect("test waits")));
        assert!(!pool.try_push(|| ()), "one waits, the queue is full");
        assert!(
            pool.push(move || also.send(2).expect("test waits")),
            "completions are never refused"
        );
        go.send(()).expect("the gate listens");
        pool.finish();
        assert_eq!(is_done.iter().collect::<Vec<_>>(), [1, 2]);
        assert!(!pool.push(|| ()));
    }

    #[test]
    fn a_panic_costs_no_thread() {
        let pool = Pool::new("test", 1, 10).expect("threads");
        let (done, is_done) = mpsc::channel();
        assert!(pool.try_push(|| panic!("on purpose")));
        assert!(pool.try_push(move || done.send(()).expect("test waits")));
        assert_eq!(is_done.recv(), Ok(()));
        pool.finish();
    }
}
