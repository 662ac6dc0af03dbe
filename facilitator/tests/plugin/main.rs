//! The plugin boundary from outside: files, faults and rights.

mod fault;
mod file;
mod panic;
mod support;
