//! Host services: what plugins and the engine use of the outside world.

pub mod calls;
pub mod clock;
pub mod custody;
pub mod rpc;
pub mod services;
