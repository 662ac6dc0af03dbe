//! The threads of one instance. A plugin's code runs on these and nowhere else, so one that blocks or burns processor time
//! starves its own instance and nobody else.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

type Work = Box<dyn FnOnce() + Send>;

/// A queue and the threads that empty it.
#[derive(Debug)]
pub(super) struct Pool {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Most pieces of work that may wait.
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
            // A panic of ours must not cost the instance a thread; the payload's own drop could panic again.
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
        self.put(Box::new(work), self.capacity)
    }

    /// Queues work that must be done and whose amount the caller bounds; `false` only when the pool is closed.
    pub(super) fn push(&self, work: impl FnOnce() + Send + 'static) -> bool {
        self.put(Box::new(work), usize::MAX)
    }

    fn put(&self, work: Work, capacity: usize) -> bool {
        let mut state = self.queue.state.lock();
        if state.closed || state.waiting.len() >= capacity {
            return false;
        }
        state.waiting.push_back(work);
        drop(state);
        self.queue.changed.notify_one();
        true
    }

    /// Takes no more work and does what is waiting.
    fn close(&self) {
        self.queue.state.lock().closed = true;
        self.queue.changed.notify_all();
    }

    /// Closes and waits until all work is done: for ever, where a plugin's code does not return.
    pub(super) fn finish(&self) {
        self.close();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // Errs only when the thread panicked, which `work` excludes.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_full_queue_refuses_and_closing_does_what_is_waiting() {
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
