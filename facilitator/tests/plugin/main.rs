//! The plugin boundary from outside: files, faults and rights.

mod contract;
mod example;
mod fault;
mod file;
mod panic;
mod sample;
mod support;
mod tap;
