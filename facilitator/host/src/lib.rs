//! The outside world for plugins and the engine: RPC pools, private keys, and the host services over them.
//!
//! | module | holds |
//! |---|---|
//! | [`rpc`] | the nodes of each network: failover, checks, sends |
//! | [`custody`] | private keys by name, and signatures |
//! | [`services`] | what one plugin instance may use of both, of the journal and of the clock |

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

pub mod custody;
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub mod fuzzing;
pub mod rpc;
pub mod services;
