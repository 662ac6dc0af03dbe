//! What the crates of the facilitator share and none of them owns: the clock, the scopes of calls into plugins, size limits
//! of plugins' rows, the interface between HTTP and the engine, the state of nodes as a value, and the small files with
//! which an operator controls a running process.
//!
//! Nothing here does network I/O.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

pub mod allowed_releases;
pub mod backoff;
pub mod calls;
pub mod clock;
pub mod key_digests;
pub mod limits;
pub mod list_file;
pub mod nearby;
pub mod nodes;
pub mod pause;
pub mod service;
pub mod settlement;
pub mod signers;
pub mod span;
pub mod suggest;
pub mod trace;
