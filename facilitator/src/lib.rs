//! The core of Switchyard: HTTP on top, the journal at the bottom, and no module reaches up.
//!
//! It knows schemes, networks, bytes, keys, time and the journal, and no chain: everything about a chain is behind
//! `sdk_plugin::SchemeHandler` and `sdk_plugin::ChainDriver`.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

pub mod allowed;
pub mod app;
pub mod cli;
pub mod config;
pub mod engine;
pub mod host;
pub mod http;
pub mod journal;
pub mod pause;
pub mod plugin;
pub mod registry;
pub mod service;
pub mod telemetry;
