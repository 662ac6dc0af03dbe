//! What operators see of a running process: metrics and logs.

pub mod disk;
mod floods;
mod help;
mod json;
pub mod log;
pub mod metrics;

pub use metrics::Metrics;
