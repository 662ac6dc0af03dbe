//! Host services: what plugins and the engine use of the outside world.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

pub mod custody;
pub mod rpc;
pub mod services;
