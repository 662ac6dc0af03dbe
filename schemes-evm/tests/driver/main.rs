//! The EVM driver against a scripted chain.

mod anchoring;
mod building;
mod limits;
mod malformed;
mod node;
mod observing;
mod prices;
mod reading;
mod sending;
mod two_nodes;
