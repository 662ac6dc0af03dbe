//! Turns a panic into a value: a defect costs one response, not the connection.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

/// The code panicked. The panic hook has logged where and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panicked;

/// Runs a future in place, so that dropping the returned future drops it.
pub(super) async fn catch_panic<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    // After a panic the future is not polled again, so no code observes its state.
    AssertUnwindSafe(future)
        .catch_unwind()
        .await
        .map_err(|_| Panicked)
}
