//! The `switchyard` binary as a library: the configuration ([`config`]), the construction of a running facilitator from the
//! crates below ([`app`]), and the command line ([`cli`]).
//!
//! The facilitator knows schemes, networks, bytes, keys, time and the journal, but no chain: everything about a chain is in
//! implementations of `sdk_plugin::SchemeHandler` and `sdk_plugin::ChainDriver`.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

pub mod app;
pub mod cli;
pub mod config;
pub mod known;
