//! Limits of one plugin instance.

use std::time::Duration;

/// What an instance may use of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Threads of its own.
    pub threads: usize,
    /// Calls that it serves at once for one network and of one kind (verifications, starts of settlements, calls of the
    /// engine), including those that it never completed. One more is `Overloaded`.
    pub concurrent_calls: usize,
    /// Longest time of a call.
    pub call_timeout: Duration,
    /// Host calls at once, with the same rule.
    pub host_calls: usize,
    /// Longest queue for its threads.
    pub queued_tasks: usize,
    /// Longest time to load the file and create the instance.
    pub create_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads: 2,
            concurrent_calls: 256,
            call_timeout: Duration::from_secs(20),
            host_calls: 1_024,
            queued_tasks: 4_096,
            create_timeout: Duration::from_secs(10),
        }
    }
}
