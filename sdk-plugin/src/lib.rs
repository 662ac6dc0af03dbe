//! What a plugin author depends on, and nothing more.
//!
//! A **scheme** says what must happen for a payment and what proves it ([`SchemeHandler`]); a **driver** says
//! how one family of chains does it ([`ChainDriver`]); the host decides when, keeps the record, and owns
//! retries, replacement, recovery and replies. Both get everything they need from the outside world through
//! [`HostServices`]: no sockets, keys, clocks, files or threads of their own.
//!
//! Every type here is also a message of the plugin ABI: JSON with `camelCase` members, unknown members
//! ignored, bytes as `0x` hex, amounts as decimal strings, other integers below 2^53.

pub mod abi;
pub mod amount;
pub mod chain;
pub mod cx;
pub mod fault;
pub mod host;
pub mod manifest;
pub mod ops;
pub mod request;
#[cfg(feature = "schema")]
pub mod schemas;
pub mod scheme;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod wire;

pub use amount::{Amount, HexBytes};
pub use async_trait::async_trait;
pub use chain::ChainDriver;
pub use cx::{CallContext, Cx, NetworkView};
pub use fault::{Fault, FaultKind};
pub use host::HostServices;
pub use manifest::Manifest;
pub use request::{PaymentRequest, ProtocolVersion, Purpose, Requirements};
pub use scheme::SchemeHandler;
pub use serde_json::Value;
