//! Futures that continue on the thread that woke them, where that thread lends itself: each change of threads costs more than
//! most of the steps of such a future do.
//!
//! A plugin's threads lend themselves after a call is complete (`plugin_host`). A future that was woken there runs on before
//! the thread takes other work, and what it calls next in the same plugin needs no other thread either. A future that is woken
//! elsewhere runs on the tokio runtime.
//!
//! Only for futures whose end nothing but their caller needs, such as a verify's: while a plugin blocks the thread between its
//! answer and its return, the future does not run, and not even its own time limits end it. Its caller waits with a limit of
//! its own, and drops it. Nothing of lanes, the journal or timers may depend on it.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_task::Runnable;
use tokio::runtime::Handle;

thread_local! {
    /// What the work of this thread has woken; `None` on threads that do not lend themselves now.
    static WOKEN: RefCell<Option<Vec<Woken>>> = const { RefCell::new(None) };
}

/// A future that can continue.
#[derive(Debug)]
pub struct Woken(Runnable);

impl Woken {
    /// Polls it once.
    pub fn run(self) {
        self.0.run();
    }
}

/// Runs `work`, which must not unwind, and returns what it has woken. The caller runs it on this thread.
pub fn woken_by(work: impl FnOnce()) -> Vec<Woken> {
    WOKEN.set(Some(Vec::new()));
    work();
    WOKEN.take().unwrap_or_default()
}

/// The output of a future that continues on threads that lend themselves. It is polled for the first time here. Dropping this
/// drops the future, and a panic of the future panics here.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn nearby<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = Handle::current();
    let schedule = {
        let runtime = runtime.clone();
        move |runnable: Runnable| {
            if let Some(Woken(runnable)) = lent(Woken(runnable)) {
                // Nobody waits for its end but the future itself, which holds the task.
                drop(runtime.spawn(async move { Woken(runnable).run() }));
            }
        }
    };
    let future = Inside {
        runtime,
        future: Box::pin(future),
    };
    let (runnable, task) = async_task::Builder::new()
        .propagate_panic(true)
        .spawn(|_: &()| future, schedule);
    runnable.run();
    task.await
}

/// Gives it to the thread; `Some`: the thread does not lend itself.
fn lent(woken: Woken) -> Option<Woken> {
    WOKEN.with_borrow_mut(|list| match list {
        Some(list) => {
            list.push(woken);
            None
        }
        None => Some(woken),
    })
}

/// A future that finds its runtime on every thread: its timers need it.
struct Inside<F> {
    runtime: Handle,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Inside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _inside = this.runtime.enter();
        this.future.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_continues_on_the_thread_that_woke_it_and_lends_itself() {
        let (answer, answered) = oneshot::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let first = thread::current().id();
        let other = thread::spawn(move || {
            has_begun.recv().expect("the future begins");
            let woken = woken_by(|| answer.send(()).expect("it waits"));
            assert_eq!(woken.len(), 1);
            woken.into_iter().for_each(Woken::run);
            thread::current().id()
        });
        let ran_on = nearby(async move {
            assert_eq!(thread::current().id(), first);
            begun.send(()).expect("the other thread waits");
            answered.await.expect("an answer");
            let here = thread::current().id();
            // Timers work on any thread.
            tokio::time::sleep(Duration::from_millis(1)).await;
            (here, thread::current().id())
        });
        let (after_answer, after_timer) = ran_on.await;
        assert_eq!(after_answer, other.join().expect("no panic"));
        assert_eq!(after_timer, first, "the runtime's only thread");
    }

    #[tokio::test]
    async fn it_continues_on_the_runtime_when_it_is_woken_elsewhere() {
        let (answer, answered) = oneshot::channel::<u8>();
        let other = thread::spawn(move || answer.send(7).expect("it waits"));
        assert_eq!(nearby(async move { answered.await.expect("an answer") }).await, 7);
        other.join().expect("no panic");
    }

    #[tokio::test]
    async fn what_is_dropped_is_dropped_and_a_panic_arrives() {
        let (held, is_dropped) = oneshot::channel::<()>();
        let waiting = nearby(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert!(
            tokio::time::timeout(Duration::from_millis(1), waiting)
                .await
                .is_err()
        );
        assert!(is_dropped.await.is_err(), "the future is gone");
        // The runtime catches it.
        let panicked = tokio::task::spawn(nearby(async { panic!("on purpose") })).await;
        assert!(panicked.is_err_and(|error| error.is_panic()));
    }
}
