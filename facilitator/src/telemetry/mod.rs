//! What operators see of a running process: metrics and logs.

mod help;
pub mod log;
pub mod metrics;

pub use metrics::Metrics;
