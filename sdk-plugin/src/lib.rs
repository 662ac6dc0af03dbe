#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod abi;
pub mod amount;
pub mod chain;
pub mod config;
pub mod cx;
pub mod fault;
pub mod findings;
pub mod host;
mod lane;
pub mod manifest;
pub mod operation;
pub mod ops;
mod parties;
mod plan;
pub mod request;
pub mod rpc;
#[cfg(feature = "schema")]
mod schema;
#[cfg(feature = "schema")]
pub mod schemas;
pub mod scheme;
mod step_index;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod wire;

pub use amount::{Amount, HexBytes};
pub use async_trait::async_trait;
pub use chain::ChainDriver;
pub use cx::{CallContext, CallTerms, Cx, NetworkView};
pub use fault::{Fault, FaultKind};
pub use host::HostServices;
pub use manifest::Manifest;
pub use request::{PaymentRequest, ProtocolVersion, Purpose, Requirements};
pub use scheme::SchemeHandler;
pub use serde_json::Value;
pub use step_index::StepIndex;
