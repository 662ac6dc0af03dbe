//! What operators see of a running process: metrics and logs.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

pub mod disk;
mod floods;
mod help;
mod json;
pub mod log;
pub mod metrics;

pub use metrics::Metrics;
