//! The plugin boundary from outside: files, faults and rights.

#![allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")]

mod contract;
mod example;
mod fault;
mod file;
mod isolated;
mod panic;
mod sample;
mod support;
mod tap;
