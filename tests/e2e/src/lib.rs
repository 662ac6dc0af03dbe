//! The harness of the end-to-end tests, and of `cargo xtask demo`: it starts what an operator starts (the release binary
//! with its plugin file, a node, the official sellers and buyers), owns ports, folders and teardown, and breaks the
//! connection to the node on request.
//!
//! It builds nothing: `cargo xtask test` does, and a missing file is reported with that advice. Nothing here sleeps to
//! let things happen; [`wait::until`] polls a condition with an end.

pub mod binaries;
pub mod blocks;
pub mod compiled;
pub mod escrow;
pub mod facilitator;
pub mod fatal;
pub mod hold;
pub mod http;
pub mod leash;
pub mod order;
pub mod payment;
pub mod proxy;
pub mod raw;
pub mod shop;
pub mod sign;
#[cfg(feature = "solana")]
pub mod solana;
pub mod wait;
pub mod world;

pub use blocks::Blocks;
pub use facilitator::{Facilitator, ISOLATED, Output, Settings, SolanaNetwork};
pub use http::Reply;
pub use payment::Payment;
pub use proxy::{Edit, Fault, Kind, Lags, Proxy, Turn, View};
#[cfg(feature = "solana")]
pub use solana::SolanaWorld;
pub use world::World;

/// What could not be started, and what to do about it.
#[derive(Debug)]
pub struct Error(pub String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<devnet::Error> for Error {
    fn from(error: devnet::Error) -> Self {
        Error(error.to_string())
    }
}
