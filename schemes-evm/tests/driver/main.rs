//! The EVM driver against a scripted chain.

mod anchoring;
mod building;
mod node;
mod observing;
mod reading;
mod sending;
