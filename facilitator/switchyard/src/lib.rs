//! The `switchyard` binary as a library: the configuration, the wiring of the floors below, and the command line.
//!
//! The facilitator knows schemes, networks, bytes, keys, time and the journal, and no chain: everything about a chain is
//! behind `sdk_plugin::SchemeHandler` and `sdk_plugin::ChainDriver`.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

pub mod app;
pub mod cli;
pub mod config;
