//! The HTTP API: `/verify`, `/settle`, `/supported`, `/settlements`, and `/health`, `/ready`, `/metrics` for operators;
//! `/openapi.json` describes all of them.
//!
//! Guaranteed: every decided outcome is HTTP 200 with the protocol's envelope. Another status means that this request was
//! not carried out; it says nothing about a payment that an earlier request started.
//!
//! Not guaranteed: `/health`, `/ready` and `/metrics` are open to every caller that reaches the port. A proxy in front of
//! it decides who that is.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

mod admission;
mod app;
mod body;
mod buckets;
mod causes;
mod concurrency;
pub mod connections;
mod cors;
mod delivery;
mod endpoint;
mod envelope;
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
pub mod fuzzing;
mod lenient;
mod listen;
mod members;
pub mod names;
mod normalise;
mod openapi;
mod panics;
mod pay;
mod preference;
pub mod redaction;
mod reply;
mod request_id;
mod reservations;
mod route_network;
mod router;
mod scheme_routes;
mod settings;
pub mod settlement_json;
mod settlements;
mod status;
mod strict_json;
#[cfg(test)]
mod tests;
pub mod times;
pub mod tls;

pub use listen::{serve, serve_on, shutdown_signal};
pub use names::NetworkNames;
pub use settings::{AddressBlock, Origins, Rate, Scope, Server, Settings, Tenant, WaitUntil};
