//! The EVM driver against a scripted chain.

mod anchoring;
mod building;
mod limits;
mod node;
mod observing;
mod reading;
mod sending;
