//! Logs and metrics of a running process, and whether its disk accepts writes.
//!
//! Nothing here knows payments: other crates record events and samples, and this crate bounds and writes them.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

pub mod disk;
mod help;
mod json;
pub mod log;
pub mod metrics;
pub mod otlp;
pub mod process;
mod repetition;

pub use metrics::Metrics;
