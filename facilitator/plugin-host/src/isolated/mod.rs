//! Plugins in a process of their own, seen from the core.
//!
//! Only the way of the bytes differs from a plugin in this process: which calls are open, what they may do, how long they take,
//! how long a message may be and what was sent is in the bridge of the instance, as always. The process can only end, be silent
//! or write frames; each costs its own calls. When it ends, every call of it completes, and another one is started after a pause.
//!
//! | module | holds |
//! |---|---|
//! | `start`, `process` | its start and its end |
//! | `keeper` | the task that serves it and starts it again |
//! | `wire` | what it may write, and what that does |
//! | `trial` | its sandbox without its code |
//! | `watch` | its memory and processor time |

mod keeper;
mod process;
mod start;
mod trial;
mod watch;
mod wire;

use std::path::PathBuf;

pub(crate) use keeper::open;
pub use trial::try_sandbox;

/// Where a plugin's code runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// In this process.
    None,
    /// In a process of its own.
    Process(RunnerSettings),
}

/// The process of an isolated plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerSettings {
    /// A program that runs [`crate::runner::run`] when its first argument is [`crate::runner::SUBCOMMAND`].
    pub program: PathBuf,
    pub sandbox: Sandbox,
    /// Largest resident memory, and largest private memory.
    pub memory_bytes: u64,
}

/// What is done where the kernel lacks a part of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// The plugin is not loaded.
    Full,
    /// The plugin is loaded with the parts that are there.
    Partial,
}
