//! The threads of one instance. A plugin's code runs on these and nowhere else, so code that blocks or uses all processor
//! time delays only its own instance.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use base::nearby::woken_by;
use parking_lot::{Condvar, Mutex};

type Work = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The queue whose next work this thread collects; null at other times.
    static COLLECTING: Cell<*const Queue> = const { Cell::new(std::ptr::null()) };
    /// The work that this thread does next, ahead of what is queued.
    static NEXT: RefCell<Option<Work>> = const { RefCell::new(None) };
}

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
            self.run_with_next(work);
        }
    }

    /// Runs work, then the futures of the host that it woke, and then the call or task that these made ready: no other thread
    /// is woken for any of them.
    fn run_with_next(&self, work: Work) {
        let mut next = Some(work);
        while let Some(work) = next {
            for woken in woken_by(|| run(work)) {
                self.collecting(|| woken.run());
            }
            next = NEXT.take();
        }
    }

    /// Runs a completion or a future of the host. The first work for this pool that it makes ready becomes [`NEXT`].
    fn collecting(&self, work: impl FnOnce()) {
        COLLECTING.set(self);
        run(work);
        COLLECTING.set(std::ptr::null());
    }
}

/// A panic must not cost the instance a thread. The payload's drop could panic again.
fn run(work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        std::mem::forget(payload);
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

    /// Queues work; `false` when the queue is full or closed. The first work that comes from a completion of this pool, or
    /// from a future that an answer of this plugin woke, needs no position: it runs on the same thread right after that.
    pub(super) fn try_push(&self, work: impl FnOnce() + Send + 'static) -> bool {
        let work: Work = Box::new(work);
        if std::ptr::eq(COLLECTING.get(), &raw const *self.queue) {
            let is_taken = NEXT.with_borrow(Option::is_some);
            if !is_taken {
                NEXT.set(Some(work));
                return true;
            }
        }
        self.enqueue(work, self.capacity)
    }

    /// Queues a completion, which must run and whose amount the caller bounds; `false` only when the pool is closed.
    pub(super) fn push_completion(&self, work: impl FnOnce() + Send + 'static) -> bool {
        let queue = Arc::clone(&self.queue);
        self.enqueue(Box::new(move || queue.collecting(work)), usize::MAX)
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
            pool.push_completion(move || also.send(2).expect("test waits")),
            "completions are never refused"
        );
        go.send(()).expect("the gate listens");
        pool.finish();
        assert_eq!(is_done.iter().collect::<Vec<_>>(), [1, 2]);
        assert!(!pool.push_completion(|| ()));
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

    #[test]
    fn what_a_completion_makes_ready_runs_after_it_on_its_thread() {
        let pool = Arc::new(Pool::new("test", 2, 1).expect("threads"));
        let (done, is_done) = mpsc::channel();
        let own = Arc::clone(&pool);
        let tell = move |what: &'static str| {
            let done = done.clone();
            move || done.send((what, thread::current().id())).expect("test waits")
        };
        assert!(pool.push_completion(move || {
            assert!(own.try_push(tell("first")));
            assert!(own.try_push(tell("second")));
            tell("completion")();
            // Its end is not the end of what it has made ready.
            panic!("on purpose");
        }));
        let ran: std::collections::BTreeMap<_, _> = is_done.iter().collect();
        assert_eq!(ran.len(), 3);
        assert_eq!(ran["first"], ran["completion"]);
        pool.finish();
    }

    #[test]
    fn a_completion_of_another_pool_lends_no_thread() {
        let [pool, other] = ["one", "other"].map(|name| Arc::new(Pool::new(name, 1, 1).expect("threads")));
        let (done, is_done) = mpsc::channel();
        let target = Arc::clone(&other);
        assert!(pool.push_completion(move || {
            let own = thread::current().id();
            assert!(target.try_push(move || done.send(thread::current().id() != own).expect("test waits")));
        }));
        assert_eq!(is_done.recv(), Ok(true));
        pool.finish();
        other.finish();
    }
}
