//! Counts what a thread allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread allocated and has not freed, since [`start`].
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread. Make it the global allocator of a test binary.
#[derive(Debug, Clone, Copy)]
pub struct Meter;

fn add(bytes: usize) {
    // The cells have no destructor; a thread that ends is not counted.
    let _ = HELD.try_with(|held| {
        held.set(held.get().saturating_add(bytes));
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

fn subtract(bytes: usize) {
    let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(bytes)));
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        subtract(layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`, and `System` made the block.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Starts counting on this thread.
pub(crate) fn start() {
    HELD.set(0);
    MOST.set(0);
}

/// The most bytes that this thread held at once since [`start`]; 0 where [`Meter`] is not the global allocator.
pub(crate) fn most_held() -> usize {
    MOST.get()
}
