//! The EVM driver against a scripted chain.

mod anchoring;
mod brief;
mod building;
mod clients;
mod limits;
mod malformed;
mod node;
mod observing;
mod prices;
mod reading;
mod sending;
mod sharing;
mod tokens;
#[path = "../common/two_nodes.rs"]
mod two_nodes;
